"""What a saved memory (vmcore) tells of the kernel that it was the memory of. Pure: its first bytes in, facts out.

Three forms are known: ELF (what ``cp /proc/vmcore`` gives, Documentation/admin-guide/kdump), the compressed form of
makedumpfile (``diskdump_mod.h``), and its flattened form, which it writes to pipes. All have VMCOREINFO near their
beginning (Documentation/admin-guide/kdump/vmcoreinfo.rst).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

HEAD_BYTES: Final = 512 << 10
"""How much of a vmcore's beginning is enough."""

_FLAT: Final = b"makedumpfile"
_FLAT_HEADER_BYTES: Final = 4096
_PT_NOTE: Final = 4
_NT_GNU_BUILD_ID: Final = 3
_MOST: Final = 4096  # program headers, notes, records


@dataclass(frozen=True, slots=True, kw_only=True)
class VmcoreFacts:
    """``build_id`` (hex) and ``release`` are '' where the vmcore does not tell; ``crashed`` is seconds since 1970."""

    form: str
    release: str = ""
    build_id: str = ""
    crashed: int = 0


def read_vmcore(head: bytes) -> VmcoreFacts | None:
    """The facts in the first bytes of a vmcore; None for what is none."""
    form = ""
    if head.startswith(_FLAT):
        form, head = "flattened ", _unflattened(head)
    if head.startswith(b"\x7fELF\x02\x01"):
        form, told = f"{form}ELF", _elf_information(head)
    elif head.startswith((b"KDUMP   ", b"DISKDUMP")):
        form, told = f"{form}kdump", _kdump_information(head)
    else:
        return None
    lines = dict(line.split("=", 1) for line in told.decode("ascii", "replace").split("\n")[:_MOST] if "=" in line)
    crashed = lines.get("CRASHTIME", "")
    return VmcoreFacts(
        form=form,
        release=lines.get("OSRELEASE", "")[:100],
        build_id=lines.get("BUILD-ID", "")[:128],
        crashed=int(crashed) if crashed.isascii() and crashed.isdigit() and len(crashed) < 16 else 0,
    )


def build_id_of(notes: bytes) -> str:
    """The running kernel's build id (hex), of what ``/sys/kernel/notes`` holds; '' for none."""
    return next((data.hex() for name, kind, data in _notes(notes) if name == b"GNU" and kind == _NT_GNU_BUILD_ID), "")


def _unflattened(data: bytes) -> bytes:
    """The beginning of the file that the records would make: big-endian offset, size, and that many bytes."""
    whole = bytearray()
    place = _FLAT_HEADER_BYTES
    for _ in range(_MOST):
        if place + 16 > len(data):
            break
        offset, size = struct.unpack_from(">qq", data, place)
        place += 16
        if offset < 0 or size < 0:
            break
        if offset < HEAD_BYTES:
            part = data[place : place + min(size, HEAD_BYTES - offset)]
            whole += bytes(max(0, offset + len(part) - len(whole)))
            whole[offset : offset + len(part)] = part
        place += size
    return bytes(whole)


def _elf_information(data: bytes) -> bytes:
    if len(data) < 64:
        return b""
    (headers,) = struct.unpack_from("<Q", data, 32)
    size, count = struct.unpack_from("<HH", data, 54)
    for number in range(min(count, _MOST)):
        place = headers + number * size
        if size < 56 or place + 56 > len(data):
            break
        (kind,) = struct.unpack_from("<I", data, place)
        (offset,) = struct.unpack_from("<Q", data, place + 8)
        (length,) = struct.unpack_from("<Q", data, place + 32)
        if kind == _PT_NOTE:
            for name, _, told in _notes(data[offset : offset + length]):
                if name == b"VMCOREINFO":
                    return told
    return b""


def _kdump_information(data: bytes) -> bytes:
    """The sub-header in the second block tells where VMCOREINFO is."""
    if len(data) < 432:
        return b""
    (block,) = struct.unpack_from("<i", data, 428)
    if block < 432 or block + 48 > len(data):
        return b""
    offset, size = struct.unpack_from("<qQ", data, block + 32)
    return data[offset : offset + size] if offset > 0 else b""


def _notes(data: bytes) -> Iterator[tuple[bytes, int, bytes]]:
    """ELF notes: name, type, descriptor; each padded to four bytes."""
    place = 0
    for _ in range(_MOST):
        if place + 12 > len(data):
            return
        name_size, size, kind = struct.unpack_from("<III", data, place)
        place += 12
        name = data[place : place + name_size].rstrip(b"\0")
        place += -(-name_size // 4) * 4
        yield name, kind, data[place : place + size]
        place += -(-size // 4) * 4
