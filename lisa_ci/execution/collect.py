"""What a machine says about itself: facts for the head of the run, and files for whoever looks for a cause."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Final

from lisa_ci.protocols import Machine

LOG_LIMIT: Final = 900 * 1024  # bytes of each file, below the cap of ``Machine.run``
_FACT_LIMIT: Final = 200
_LINE_LIMIT: Final = 64

_FACTS: Final = r"""
say() { [ -z "$2" ] || printf '%s=%s\n' "$1" "$2"; }
say kernel "$(uname -r)"
say machine "$(uname -m)"
PRETTY_NAME=
[ -r /etc/os-release ] && . /etc/os-release
say system "$PRETTY_NAME"
say systemd "$(systemctl --version 2>/dev/null | head -n 1)"
say cpu "$(sed -n 's/^model name[^:]*: *//p' /proc/cpuinfo | head -n 1)"
say cores "$(grep -c '^processor' /proc/cpuinfo)"
say memory_kib "$(sed -n 's/^MemTotal: *\([0-9]*\).*/\1/p' /proc/meminfo)"
say virtualization "$(systemd-detect-virt 2>/dev/null)"
say shell "$(readlink -f /bin/sh)"
say command_line "$(cat /proc/cmdline)"
"""

# File name -> what prints it. Each is harmless where its program is missing; the newest lines count.
_LOGS: Final = {
    "dmesg.txt": "dmesg 2>&1",
    "journal.txt": "journalctl -b --no-pager -o short-precise 2>&1",
    "os-release.txt": "cat /etc/os-release 2>&1",
    "failed-units.txt": "systemctl --no-pager --plain --failed list-units 2>&1",
}


def facts(machine: Machine, *, timeout: timedelta) -> Mapping[str, str]:
    """Name -> value, each one short line; what the machine cannot tell is absent."""
    completed = machine.run("sh", "-c", _FACTS, timeout=timeout)
    found = {}
    for line in completed.output.decode("utf-8", "replace").splitlines()[:_LINE_LIMIT]:
        name, equals, value = line.partition("=")
        if equals and name.isidentifier() and len(name) <= 30:
            found[name] = "".join(c if c.isprintable() else "?" for c in value.strip())[:_FACT_LIMIT]
    return found


def telemetry(machine: Machine, folder: Path, *, timeout: timedelta) -> None:
    """The machine's logs into ``folder``, one file each; ``timeout`` is for each of them."""
    folder.mkdir(exist_ok=True)
    for name, shell_line in _LOGS.items():
        program = shell_line.split()[0]
        wanted = f"command -v {program} >/dev/null || exit 0; {shell_line} | tail -c {LOG_LIMIT}"
        completed = machine.run("sh", "-c", wanted, timeout=timeout)
        if completed.output:
            (folder / name).write_bytes(completed.output)
