"""The checks of suites/security on this host, in a mount namespace of their own where the world is made a wrong one.

As in tests/integration/test_suites.py: a program that says something else comes first in PATH, a file is bound over the
system's. What a world changes is gone with the namespace.
"""

from __future__ import annotations

import os
import shlex
from datetime import timedelta

from lisa_ci import files, process
from lisa_ci.drivers.shell import ShellDriver
from lisa_ci.model import Case, Completed, Result

SUITE = files.shipped("suites") / "security"
TIMEOUT = timedelta(seconds=60)

BEGIN = r"""
set -e
mount -t tmpfs none /mnt
mkdir /mnt/bin /mnt/put /mnt/look /mnt/suite
cp -a . /mnt/suite
cd /mnt/suite
PATH=/mnt/bin:$PATH
program() { printf '#!/bin/sh\n%s\n' "$2" >"/mnt/bin/$1"; chmod +x "/mnt/bin/$1"; }
put() { printf '%b' "$2" >/mnt/put/file.$$; mount --bind /mnt/put/file.$$ "$1"; }
# A tree of the kernel's that this host may lack: what is put there lies in memory.
tree() { mount -t tmpfs -o mode=755 none "$1"; }
# /proc/sys is read-only or not ours to change: values of our own are bound over it.
setting() {
  n=$((${n:-0} + 1))
  echo "$2" >"/mnt/put/setting.$n"
  mount --bind "/mnt/put/setting.$n" "/proc/sys/$(echo "$1" | tr . /)"
}
cp -a /etc /mnt/etc
mount --bind /mnt/etc /etc
"""


def run(check: str, *prelude: str, **variables: str) -> Result:
    """The result of a check (its file and arguments) after the lines of ``prelude`` changed the world."""
    environment = {"PATH": os.environ["PATH"], "SECURITY_ROOTS": "/mnt/look"} | variables
    lines = [BEGIN, *prelude, "set +e", f"exec ./{check}"]
    inside = ["unshare", "--mount", "sh", "-c", f"cd {shlex.quote(str(SUITE))} || exit 1\n" + "\n".join(lines)]
    finished = process.run(inside, timeout=TIMEOUT, environment=environment)
    completed = Completed(exit=finished.exit, output=finished.stdout + finished.stderr)
    return ShellDriver().interpret(Case(suite="security", id=check.split(maxsplit=1)[0]), completed)
