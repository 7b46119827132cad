"""The fixed VHD: a raw disk with a footer of 512 bytes behind it, as Azure and Hyper-V want it.

The footer is ours because the usual writer stamps the time and a random id into it, and rounds the disk up to a
cylinder. Here the same disk gives the same bytes, and the size is exact. Layout: "Virtual Hard Disk Image Format
Specification" 1.0; big-endian throughout.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lisa_ci.errors import VerificationError

FOOTER_BYTES: Final = 512
SECTOR_BYTES: Final = 512
MIB: Final = 1 << 20
AZURE_LEAST_BYTES: Final = 20 * MIB
AZURE_MOST_BYTES: Final = 32767 << 30
EPOCH: Final = 946_684_800  # 2000-01-01T00:00:00Z in Unix time

_LAYOUT: Final = struct.Struct(">8sIIQI4sI4sQQHBBII16sB427x")
_CHECKSUM_AT: Final = 64
_RESERVED_AT: Final = 85
_COOKIE: Final = b"conectix"
_FEATURES: Final = 2
_VERSION: Final = 0x00010000
_NO_OFFSET: Final = 0xFFFFFFFFFFFFFFFF
_FIXED: Final = 2
_CREATOR_VERSION: Final = 0x000A0000
# These programs size the disk by cylinders, so readers ignore the exact size they wrote beside it.
_SIZED_BY_GEOMETRY: Final = frozenset({b"vpc ", b"vs  ", b"qemu"})
_MAX_SECTORS: Final = 65535 * 16 * 255


@dataclass(frozen=True, slots=True, kw_only=True)
class Footer:
    """What the last 512 bytes say. ``timestamp`` counts seconds from EPOCH; ``unique_id`` is 16 bytes."""

    cookie: bytes = _COOKIE
    features: int = _FEATURES
    version: int = _VERSION
    data_offset: int = _NO_OFFSET
    timestamp: int = 0
    creator: bytes = b"win "
    creator_version: int = _CREATOR_VERSION
    host: bytes = b"Wi2k"
    original_bytes: int
    current_bytes: int
    cylinders: int
    heads: int
    sectors: int
    kind: int = _FIXED
    unique_id: bytes
    saved_state: int = 0

    def pack(self) -> bytes:
        """The 512 bytes, checksum included."""
        blank = bytearray(
            _LAYOUT.pack(
                self.cookie,
                self.features,
                self.version,
                self.data_offset,
                self.timestamp,
                self.creator,
                self.creator_version,
                self.host,
                self.original_bytes,
                self.current_bytes,
                self.cylinders,
                self.heads,
                self.sectors,
                self.kind,
                0,
                self.unique_id,
                self.saved_state,
            )
        )
        struct.pack_into(">I", blank, _CHECKSUM_AT, checksum(blank))
        return bytes(blank)


def checksum(footer: bytes | bytearray) -> int:
    """One's complement of the sum of all bytes, the checksum's own field counted as zero."""
    own = sum(footer[_CHECKSUM_AT : _CHECKSUM_AT + 4])
    return ~(sum(footer) - own) & 0xFFFFFFFF


def geometry(size_bytes: int) -> tuple[int, int, int]:
    """Cylinders, heads, sectors a track for a disk, by the algorithm in the specification's appendix."""
    total = min(size_bytes // SECTOR_BYTES, _MAX_SECTORS)
    if total >= 65535 * 16 * 63:
        sectors, heads = 255, 16
        tracks = total // sectors
    else:
        sectors = 17
        tracks = total // sectors
        heads = max(4, (tracks + 1023) // 1024)
        if tracks >= heads * 1024 or heads > 16:
            sectors, heads = 31, 16
            tracks = total // sectors
        if tracks >= heads * 1024:
            sectors, heads = 63, 16
            tracks = total // sectors
    return tracks // heads, heads, sectors


def footer_for(size_bytes: int, *, unique_id: bytes, timestamp: int = 0) -> Footer:
    """The footer of a disk of that size, which must be a whole number of MiB."""
    if size_bytes <= 0 or size_bytes % MIB:
        raise ValueError(f"{size_bytes} bytes is not a whole number of MiB")
    cylinders, heads, sectors = geometry(size_bytes)
    return Footer(
        timestamp=timestamp,
        original_bytes=size_bytes,
        current_bytes=size_bytes,
        cylinders=cylinders,
        heads=heads,
        sectors=sectors,
        unique_id=unique_id,
    )


def id_from_digest(disk_digest: str) -> bytes:
    """16 bytes that name the disk: its digest, marked as a UUID of version 8 (made by a rule of its own)."""
    raw = bytearray(bytes.fromhex(disk_digest)[:16])
    raw[6] = (raw[6] & 0x0F) | 0x80
    raw[8] = (raw[8] & 0x3F) | 0x80
    return bytes(raw)


def timestamp_from_environment() -> int:
    """SOURCE_DATE_EPOCH in the footer's own count, kept within 32 bits; 0 where it is not set or not a number."""
    text = os.environ.get("SOURCE_DATE_EPOCH", "")
    if not (text.isascii() and text.isdigit() and len(text) <= 12):
        return 0
    return min(max(0, int(text) - EPOCH), 0xFFFFFFFF)


def read_footer(data: bytes) -> Footer:
    """The footer in 512 bytes. VerificationError unless it is one, with its checksum right."""
    if len(data) != FOOTER_BYTES:
        raise VerificationError(f"a VHD footer has {FOOTER_BYTES} bytes, here are {len(data)}")
    fields = _LAYOUT.unpack(data)
    if fields[0] != _COOKIE:
        raise VerificationError("there is no VHD footer at the end (its cookie 'conectix' is missing)")
    if fields[14] != checksum(data):
        raise VerificationError(f"the footer's checksum is {fields[14]:#010x}, its bytes give {checksum(data):#010x}")
    return Footer(
        cookie=fields[0],
        features=fields[1],
        version=fields[2],
        data_offset=fields[3],
        timestamp=fields[4],
        creator=fields[5],
        creator_version=fields[6],
        host=fields[7],
        original_bytes=fields[8],
        current_bytes=fields[9],
        cylinders=fields[10],
        heads=fields[11],
        sectors=fields[12],
        kind=fields[13],
        unique_id=fields[15],
        saved_state=fields[16],
    )


def append_footer(path: Path, size_bytes: int, *, disk_digest: str, timestamp: int = 0) -> None:
    """Make a raw disk of ``size_bytes`` a fixed VHD; the file grows to ``size_bytes`` with a hole where it is short."""
    footer = footer_for(size_bytes, unique_id=id_from_digest(disk_digest), timestamp=timestamp)
    with path.open("r+b") as file:
        file.truncate(size_bytes)
        file.seek(size_bytes)
        file.write(footer.pack())


def flaws(path: Path) -> Iterator[str]:
    """Every rule of a fixed VHD for Azure that this file breaks, as a sentence; nothing where it keeps all.

    The least size is not among them: see ``is_too_small_for_azure``.
    """
    length = path.stat().st_size
    if length < FOOTER_BYTES:
        yield f"has {length} bytes, a footer alone has {FOOTER_BYTES}"
        return
    with path.open("rb") as file:
        file.seek(length - FOOTER_BYTES)
        data = file.read(FOOTER_BYTES)
    try:
        footer = read_footer(data)
    except VerificationError as error:
        yield error.message
        return
    yield from _flaws_of(footer, data, length)


def _flaws_of(footer: Footer, data: bytes, length: int) -> Iterator[str]:
    size = footer.current_bytes
    if footer.kind != _FIXED:
        yield f"is of disk type {footer.kind}, only 2 (fixed) can be uploaded"
    if footer.data_offset != _NO_OFFSET:
        yield "points to a header, which only a dynamic VHD has"
    if not footer.features & _FEATURES or footer.version != _VERSION:
        yield f"has features {footer.features:#x} and version {footer.version:#x}, not 0x2 and 0x10000"
    if size % MIB:
        yield f"has a disk of {size} bytes, which is not a whole number of MiB"
    if length != size + FOOTER_BYTES:
        yield f"has {length} bytes, its footer says {size} + {FOOTER_BYTES}"
    if footer.original_bytes != size:
        yield f"has an original size of {footer.original_bytes} bytes beside a current size of {size}"
    if size > AZURE_MOST_BYTES:
        yield f"has a disk of {size} bytes, Azure takes at most {AZURE_MOST_BYTES}"
    if footer.creator in _SIZED_BY_GEOMETRY:
        yield f"is made by {footer.creator.decode(errors='replace')!r}, so readers size it by cylinders"
    if (footer.cylinders, footer.heads, footer.sectors) != geometry(size):
        yield f"has the geometry {footer.cylinders}/{footer.heads}/{footer.sectors}, its size gives {geometry(size)}"
    if footer.saved_state:
        yield "holds the saved state of a machine"
    if any(data[_RESERVED_AT:]):
        yield "has something in the reserved bytes of its footer"


def is_too_small_for_azure(size_bytes: int) -> bool:
    return size_bytes < AZURE_LEAST_BYTES
