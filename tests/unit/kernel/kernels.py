"""Small files that look like those of a kernel."""

from __future__ import annotations

import struct

RELEASE = "6.9.1-mine"
BANNER = f"{RELEASE} (me@here) #7 SMP PREEMPT_DYNAMIC Fri Jan  2 03:04:05 UTC 2026"


def bzimage(banner: str = BANNER) -> bytes:
    data = bytearray(0x1000)
    data[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", data, 0x20E, 0x800 - 0x200)
    data[0x800 : 0x800 + len(banner) + 1] = banner.encode() + b"\0"
    return bytes(data)


def note(kind: int, name: bytes, value: bytes) -> bytes:
    def padded(data: bytes) -> bytes:
        return data + bytes(-len(data) % 4)

    return struct.pack("<III", len(name) + 1, len(value), kind) + padded(name + b"\0") + padded(value)


def elf(notes: bytes, *, kind: int = 7) -> bytes:
    """A 64-bit ELF file with one section of notes."""
    head = bytearray(64)
    head[:6] = b"\x7fELF\x02\x01"
    struct.pack_into("<Q", head, 40, 64 + len(notes))
    struct.pack_into("<HH", head, 58, 64, 2)
    section = bytearray(64)
    struct.pack_into("<I", section, 4, kind)
    struct.pack_into("<QQ", section, 24, 64, len(notes))
    return bytes(head) + notes + bytes(64) + bytes(section)


def program(*, is_static: bool = True) -> bytes:
    """A 64-bit program with one program header."""
    head = bytearray(64)
    head[:6] = b"\x7fELF\x02\x01"
    struct.pack_into("<Q", head, 32, 64)
    struct.pack_into("<HH", head, 54, 56, 1)
    return bytes(head) + struct.pack("<I", 1 if is_static else 3) + bytes(52)
