"""Who a kernel is: the release and version that ``uname`` prints, and the build id, read from its files.

Sources: Documentation/arch/x86/boot.rst ("HdrS" at 0x202, kernel_version at 0x20e), ELF-64 (man 5 elf),
NT_GNU_BUILD_ID in the notes that Linux also shows in /sys/kernel/notes.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from lisa_ci.errors import PipelineError

RELEASE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+~-]{0,63}", re.ASCII)
_SETUP_BYTES: Final = 64 << 10
_MAGIC_AT, _VERSION_AT, _BASE = 0x202, 0x20E, 0x200
_BANNER_LIMIT: Final = 512
_VERSION: Final = re.compile(r"#\d[ -~]*")
_NOTES_LIMIT: Final = 1 << 20
_MAX_SECTIONS: Final = 65_535
_SHT_NOTE, _BUILD_ID = 7, 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """``release`` is ``uname -r``, ``version`` ``uname -v`` ('' where unknown), ``build_id`` hex ('' where unknown)."""

    release: str
    version: str = ""
    build_id: str = ""


def read_image(path: Path) -> Identity:
    """Release and version in the header of a bzImage. PipelineError for a file that is none."""
    with path.open("rb") as file:
        setup = file.read(_SETUP_BYTES)
    if setup[_MAGIC_AT : _MAGIC_AT + 4] != b"HdrS":
        raise PipelineError(
            f"{path} is no x86 kernel that can be booted (bzImage)",
            hint="vmlinux is what debuggers read; the build leaves the bootable one in arch/x86/boot/bzImage",
        )
    place = struct.unpack_from("<H", setup, _VERSION_AT)[0] + _BASE
    banner = setup[place : place + _BANNER_LIMIT].split(b"\0")[0].decode("ascii", "replace")
    release = banner.split(" ")[0]
    if not RELEASE.fullmatch(release):
        raise PipelineError(f"{path} says no release that uname could print, but {release[:80]!r}")
    version = _VERSION.search(banner)
    return Identity(release=release, version=version[0] if version else "")


def read_build_id(vmlinux: Path) -> str:
    """The build id (hex) in the notes of an ELF file; '' where it has none. PipelineError for what is no ELF file."""
    with vmlinux.open("rb") as file:
        for data in _note_sections(file, str(vmlinux)):
            if found := build_id(data):
                return found
    return ""


def build_id(notes: bytes) -> str:
    """The build id (hex) among ELF notes, as in a section of vmlinux or in /sys/kernel/notes; '' for none."""
    place = 0
    while place + 12 <= len(notes):
        name_bytes, value_bytes, kind = struct.unpack_from("<III", notes, place)
        name_at = place + 12
        value_at = name_at + -(-name_bytes // 4) * 4
        if value_at + value_bytes > len(notes):
            return ""
        if kind == _BUILD_ID and notes[name_at : name_at + name_bytes] == b"GNU\0":
            return notes[value_at : value_at + value_bytes].hex()
        place = value_at + -(-value_bytes // 4) * 4
    return ""


def _note_sections(file: BinaryIO, name: str) -> Iterator[bytes]:
    head = file.read(64)
    if head[:5] != b"\x7fELF\x02" or len(head) < 64 or head[5] != 1:
        raise PipelineError(f"{name} is no 64-bit ELF file", hint="kernel.vmlinux is the file 'vmlinux' of the build")
    table, entry_bytes, count = struct.unpack_from("<Q", head, 40)[0], *struct.unpack_from("<HH", head, 58)
    if entry_bytes != 64:
        return
    file.seek(table)
    sections = file.read(entry_bytes * min(count, _MAX_SECTIONS))
    for start in range(0, len(sections) - 63, 64):
        kind = struct.unpack_from("<I", sections, start + 4)[0]
        offset, size = struct.unpack_from("<QQ", sections, start + 24)
        if kind == _SHT_NOTE and size <= _NOTES_LIMIT and offset < 1 << 62:
            file.seek(offset)
            yield file.read(size)
