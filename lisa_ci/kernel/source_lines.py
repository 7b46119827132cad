"""From a frame that a kernel printed to the line of its source, by the debug information of what was delivered.

BUG and WARNING name their line themselves; an oops names a function and an offset. binutils' ``objdump`` and
``addr2line`` know the rest where vmlinux or the module was not stripped; without them, or without it, nothing is said.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

from lisa_ci import process
from lisa_ci.errors import LisaCiError
from lisa_ci.kernel.boot import parts_of
from lisa_ci.kernel.parts import Parts
from lisa_ci.model import Kernel

FRAMES: Final = 8  # of one report
LOOK_UPS: Final = 20  # programs started for one machine's reports
_LIMIT: Final = timedelta(seconds=20)
_OUTPUT: Final = 64 << 20
_NAME: Final = (
    r"(?P<name>[A-Za-z_][\w.$]{0,200})\+0x(?P<offset>[0-9a-f]{1,8})/0x[0-9a-f]{1,8}"
    r"(?: \[(?P<module>[\w-]{1,64})\b[^\]]*\])?"
)
_COUNTER: Final = re.compile(rf"(?:RIP: (?:[0-9a-f]{{4}}:)?|pc : |PC is at ){_NAME}", re.ASCII)
_FRAME: Final = re.compile(rf"^(?:\[[^\]]{{1,40}}\] ?)* {{1,4}}{_NAME}", re.ASCII | re.MULTILINE)
_SYMBOL: Final = re.compile(r"([0-9a-f]{8,16}) .{7} (\S+)\t[0-9a-f]{8,16} (?:\.\w+ )?(\S+)", re.ASCII)
_PLACE: Final = re.compile(r"(/?[\w./+@~-]{1,300}):(\d{1,7})(?: |$)", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """``offset`` bytes into function ``name``; ``module`` is '' for the kernel itself."""

    name: str
    offset: int
    module: str = ""


def frames(text: str) -> Iterator[Frame]:
    """The frames of a report, where it happened first, guesses (``? name``) left out; at most FRAMES."""
    counter = _COUNTER.search(text)
    found = [counter] if counter else []
    trace = text.find("Call ", counter.end() if counter else 0)
    if trace >= 0:
        found += list(_FRAME.finditer(text, trace))
    for one in found[:FRAMES]:
        yield Frame(name=one["name"], offset=int(one["offset"], 16), module=(one["module"] or "").replace("-", "_"))


class SourceLines:
    """Looks frames up in a kernel's files, each once, and no more than LOOK_UPS of them."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._known: dict[Frame, str] = {}
        self._left = LOOK_UPS
        self._has_tools = process.find("addr2line") is not None and process.find("objdump") is not None

    def place(self, text: str) -> str:
        """``FUNCTION at FILE:LINE`` of the first frame of a report that can be told; '' where none can."""
        for frame in frames(text):
            if place := self._place(frame):
                return f"{frame.name} at {place}"
        return ""

    def _place(self, frame: Frame) -> str:
        if frame not in self._known:
            if not self._has_tools or self._left <= 0:
                return ""
            self._left -= 1
            try:
                self._known[frame] = self._look_up(frame)
            except (LisaCiError, OSError):  # a look beside the point must not cost the run anything
                self._known[frame] = ""
        return self._known[frame]

    def _look_up(self, frame: Frame) -> str:
        parts = parts_of(self._kernel)  # laid out already, by whoever booted it
        if frame.module:
            file = _module(parts, frame.module)
            if file is None or (found := _symbol_of_module(file, frame.name)) is None:
                return ""
            section, address = found
            return _line_of(file, address + frame.offset, "-j", section)
        vmlinux, start = parts.vmlinux, _start(parts, frame.name)
        return "" if vmlinux is None or start is None else _line_of(vmlinux, start + frame.offset)


def _module(parts: Parts, name: str) -> Path | None:
    folder = parts.module_folder
    if folder is None:
        return None
    # Modules of the repository's own are in updates/, and modprobe prefers them as well.
    found = [path for path in folder.rglob("*.ko") if path.stem.replace("-", "_") == name]
    return min(found, key=lambda path: ("updates" not in path.relative_to(folder).parts, path), default=None)


def _start(parts: Parts, name: str) -> int | None:
    """The address of a function of the kernel itself, as System.map says it."""
    if parts.system_map is None:
        return None
    with parts.system_map.open("rb") as file:
        for line in file:
            words = line.split()
            if len(words) == 3 and words[1] in {b"t", b"T", b"w", b"W"} and words[2] == name.encode():
                return int(words[0], 16)
    return None


def _symbol_of_module(file: Path, name: str) -> tuple[str, int] | None:
    """Section and address of a function in a module that is not linked to a place yet."""
    told = process.check(["objdump", "-t", file], timeout=_LIMIT, limit=_OUTPUT).decode("ascii", "replace")
    for line in told.splitlines():
        symbol = _SYMBOL.match(line)
        if symbol and symbol[3] == name:
            return symbol[2], int(symbol[1], 16)
    return None


def _line_of(file: Path, address: int, *more: str) -> str:
    told = process.check(["addr2line", *more, "-e", file, hex(address)], timeout=_LIMIT, limit=_OUTPUT)
    place = _PLACE.match(told.decode("utf-8", "replace"))
    return f"{place[1]}:{place[2]}" if place and int(place[2]) > 0 else ""
