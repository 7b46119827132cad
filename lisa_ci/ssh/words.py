"""The pure parts of running a command: quoting, the scripts we send, capped output."""

from __future__ import annotations

import re
import shlex
from typing import Final

from lisa_ci.errors import PipelineError
from lisa_ci.model import Become

MAX_LINE: Final = (
    120 * 1024
)  # bytes; Linux takes one argument of 128 KiB, and the whole line is one for the login shell

# Says its process group on stderr, then becomes the command. The group is what we end when the time is over. It also
# proves that the way here (login shell, sudo) worked, so that sudo's failures are not taken for the command's.
RUN: Final = 'read -r _ _ _ _ group _ </proc/self/stat; echo "lisa-ci-group $group" >&2; exec "$@" 2>&1'

# $1 target, $2 size in bytes, $3 mode. A file that is cut short never gets its name.
PUT: Final = """set -e
umask 022
[ ! -d "$1" ] || { echo "is a directory" >&2; exit 1; }
case $1 in */*) mkdir -p -- "${1%/*}/" ;; esac
part=$1.lisa-ci-part
trap 'rm -f -- "$part"' EXIT
cat >"$part"
[ "$(wc -c <"$part")" -eq "$2" ] || { echo "was cut short" >&2; exit 1; }
chmod "$3" "$part"
mv -f -- "$part" "$1"
"""

# $1 target folder. -o: files belong to whoever unpacks; -m: no complaint when the machine's clock is behind.
PUT_TREE: Final = 'umask 022; mkdir -p -- "$1" && exec tar -x -o -m -f - -C "$1"'

# $1 process group; gone already is no error. Without "--", which the kills of dash and busybox do not take.
END: Final = 'kill -KILL "-$1" 2>/dev/null || :'

REBOOT: Final = "systemctl --no-block reboot || reboot"

_GROUP: Final = re.compile(rb"^lisa-ci-group (\d{0,10})$", re.MULTILINE)


def command_line(arguments: tuple[str, ...], become: Become) -> bytes:
    """The line for the login shell (any POSIX shell) that runs exactly ``arguments``, whatever is in them."""
    if not arguments or any("\0" in argument for argument in arguments):
        raise PipelineError(f"{arguments!r:.200} is not a command: an argument holds a NUL byte, or there is none")
    prefix = ("exec", "sudo", "-n", "--") if become is Become.SUDO else ("exec",)
    line = " ".join((*prefix, *map(shlex.quote, arguments))).encode("utf-8", "surrogateescape")
    if len(line) > MAX_LINE:
        raise PipelineError(f"a command of {len(line)} bytes is too long (at most {MAX_LINE})", hint="send it as stdin")
    return line


def group_of(errors: bytes) -> int | None:
    """The process group that RUN told; 0 when it could not tell (no /proc); None when RUN was never reached."""
    found = _GROUP.search(errors)
    return int(found[1] or 0) if found else None


def sentence(text: bytes) -> str:
    """The last line a tool printed, safe to show: printable, at most 300 characters."""
    lines = [line for line in text.decode("utf-8", "replace").splitlines() if line.strip()]
    return "".join(char if char.isprintable() else "?" for char in (lines[-1] if lines else ""))[:300]


class Capped:
    """Keeps the first and the last ``limit / 2`` bytes of a stream, and counts what was between them."""

    def __init__(self, limit: int) -> None:
        self._half = limit // 2
        self._head = bytearray()
        self._tail = bytearray()
        self._total = 0

    def append(self, data: bytes) -> None:
        self._total += len(data)
        room = self._half - len(self._head)
        if room > 0:
            self._head += data[:room]
            data = data[room:]
        self._tail += data
        # Cutting at twice the size makes the cost per byte constant.
        if len(self._tail) > 2 * self._half:
            del self._tail[: -self._half]

    @property
    def kept(self) -> bytes:
        return bytes(self._head + self._tail[-self._half :])

    @property
    def dropped_bytes(self) -> int:
        return self._total - len(self._head) - min(len(self._tail), self._half)

    @property
    def head_bytes(self) -> int:
        """Where the cut is in ``kept``; 0 when nothing was cut."""
        return len(self._head) if self.dropped_bytes else 0
