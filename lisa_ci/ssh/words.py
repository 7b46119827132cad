"""The pure parts of running a command: quoting, the scripts we send, capped output."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from typing import Final

from lisa_ci.errors import PipelineError
from lisa_ci.model import Become

MAX_LINE: Final = (
    120 * 1024
)  # bytes; Linux takes one argument of 128 KiB, and the whole line is one for the login shell

# Tells its process group, then becomes the command. The group is what we end when the time is over. What comes before
# that line is not the command's: a login shell's start files may print, and sudo may refuse.
RUN: Final = r"""read -r _ _ _ _ group _ </proc/self/stat
printf "\nlisa-ci-group %s\n" "$group"
exec "$@" 2>&1"""

# $1 file. Marked for the same reason; errors stay apart from the file's bytes.
GET: Final = r'''printf "\nlisa-ci-group \n"; exec cat -- "$1"'''

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

_GROUP: Final = re.compile(rb"\nlisa-ci-group (\d{0,10})\n")
_NOISE: Final = 4096  # bytes kept of what comes before the mark


def command_line(arguments: tuple[str, ...], become: Become) -> bytes:
    """The line for the login shell (any POSIX shell) that runs exactly ``arguments``, whatever is in them."""
    if not arguments or any("\0" in argument for argument in arguments):
        raise PipelineError(f"{arguments!r:.200} is not a command: an argument holds a NUL byte, or there is none")
    prefix = ("exec", "sudo", "-n", "--") if become is Become.SUDO else ("exec",)
    line = " ".join((*prefix, *map(shlex.quote, arguments))).encode("utf-8", "surrogateescape")
    if len(line) > MAX_LINE:
        raise PipelineError(f"a command of {len(line)} bytes is too long (at most {MAX_LINE})", hint="send it as stdin")
    return line


def sentence(text: bytes) -> str:
    """The last line a tool printed, safe to show: printable, at most 300 characters."""
    lines = [line for line in text.decode("utf-8", "replace").splitlines() if line.strip()]
    return "".join(char if char.isprintable() else "?" for char in (lines[-1] if lines else ""))[:300]


class Marked:
    """Hands on what comes after the mark of RUN and GET, from a stream in any pieces.

    ``group`` is None until the mark came; then the process group, 0 where the machine could not tell.
    """

    def __init__(self, take: Callable[[bytes], None]) -> None:
        self._take = take
        self._before = bytearray(b"\n")
        self.group: int | None = None

    def __call__(self, data: bytes) -> None:
        if self.group is not None:
            self._take(data)
            return
        self._before += data
        found = _GROUP.search(self._before)
        if found is None:
            del self._before[:-_NOISE]
            return
        rest = bytes(self._before[found.end() :])
        self.group = int(found[1] or 0)
        self._before = self._before[: found.start()]
        if rest:
            self._take(rest)

    @property
    def noise(self) -> bytes:
        """The end of what came before the mark."""
        return bytes(self._before)


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
