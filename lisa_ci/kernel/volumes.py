"""The partitions and file systems of an image, read from its container: where ``root=`` leads, before anything boots.

Sources: UEFI specification 5.3 (GPT), the Discoverable Partitions Specification (types), and the superblocks of ext4
(Documentation/filesystems/ext4), XFS and btrfs.
"""

from __future__ import annotations

import struct
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lisa_ci import image as images
from lisa_ci import nbd
from lisa_ci.errors import PipelineError, ToolError
from lisa_ci.model import Image, ImageFormat

_SECTOR: Final = 512
_ROOT_X86_64: Final = uuid.UUID("4f68bce3-e8cd-4db1-96e7-fbcaf984b709")
_PROTECTIVE: Final = 0xEE
_MAX_ENTRIES: Final = 256
_READ_SECONDS: Final = 30.0
_BTRFS_AT: Final = 0x10000
_HAS_JOURNAL, _EXTENTS = 0x4, 0x40

Reader = Callable[[int, int], bytes]
"""(offset, size) -> the disk's bytes there; fewer at its end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """A partition (``number`` counts from 1) or the whole disk (0), and the file system on it.

    ``kind`` is ext2, ext3, ext4, xfs, btrfs, or '' for what is none of them. ``part_uuid`` is as the kernel's
    ``root=PARTUUID=`` takes it.
    """

    number: int
    offset: int
    size: int
    part_uuid: str = ""
    part_label: str = ""
    is_root: bool = False
    kind: str = ""
    uuid: str = ""
    label: str = ""

    @property
    def address(self) -> str:
        """What ``root=`` says for it."""
        return f"PARTUUID={self.part_uuid}" if self.part_uuid else "/dev/vda"


def volumes(image: Image, path: Path) -> tuple[Volume, ...]:
    """All volumes of the image in ``path``. PipelineError where it cannot be read."""
    with _opened(image, path) as read:
        return tuple(read_volumes(read, image.size_bytes))


def find_root(found: Sequence[Volume], address: str) -> Volume:
    """The volume that ``address`` (what stands behind ``root=``, '' for none) means. PipelineError tells what is there.

    Without an address: the partition whose type says root, else the largest file system.
    """
    if address:
        chosen = [volume for volume in found if _is_meant(volume, address)]
        if len(chosen) != 1:
            raise PipelineError(
                f"root={address} means {'more than one' if chosen else 'no'} partition of the image; {_told(found)}",
                hint="correct kernel.command_line, or give the kernel an initrd that knows how to find its root",
            )
        return chosen[0]
    typed = [volume for volume in found if volume.is_root and volume.kind]
    systems = typed or [volume for volume in found if volume.kind]
    if not systems:
        raise PipelineError(
            f"no ext4, XFS or btrfs file system is on the image; {_told(found)}",
            hint="give the kernel an initrd and a command_line that find the root file system",
        )
    return max(systems, key=lambda volume: volume.size)


def _is_meant(volume: Volume, address: str) -> bool:
    kind, equals, value = address.partition("=")
    value = value.strip('"')
    match kind if equals else "":
        case "UUID":
            return volume.uuid.lower() == value.lower() and bool(volume.kind)
        case "LABEL":
            return volume.label == value and bool(volume.kind)
        case "PARTUUID":
            return volume.part_uuid.lower() == value.lower() and bool(volume.number)
        case "PARTLABEL":
            return volume.part_label == value and bool(volume.number)
    return address == (f"/dev/vda{volume.number}" if volume.number else "/dev/vda")


def _told(found: Sequence[Volume]) -> str:
    said = [
        f"/dev/vda{volume.number or ''} ({' '.join(filter(None, (volume.kind, volume.label, volume.uuid)))})"
        for volume in found
        if volume.kind
    ]
    return f"it has {', '.join(said[:8])}" if said else "it has none that we can read"


@contextmanager
def _opened(image: Image, path: Path) -> Iterator[Reader]:
    if image.format is ImageFormat.RAW:
        with path.open("rb") as file:

            def read(offset: int, size: int) -> bytes:
                file.seek(offset)
                return file.read(size)

            yield read
        return
    container = images.QEMU_FORMAT[image.format]
    server = images.limited("qemu-nbd", "--read-only", f"--format={container}", str(path.absolute()))
    try:
        with nbd.served(server) as export:

            def ask(offset: int, size: int) -> bytes:
                size = max(0, min(size, export.size - offset))
                asked = [(offset, size)] if size else []
                return b"".join(export.read(asked, time.monotonic() + _READ_SECONDS))

            yield ask
    except ToolError as error:
        raise PipelineError(f"image {image.path} cannot be read: {error.message}", hint=error.hint) from error


# ---- partitions ----------------------------------------------------------------------------------------------------


def read_volumes(read: Reader, size: int) -> Iterator[Volume]:
    """The whole disk first, then the partitions of its GPT or MBR that lie within ``size`` bytes."""
    yield _with_system(Volume(number=0, offset=0, size=size), read)
    head = read(0, 2 * _SECTOR).ljust(2 * _SECTOR, b"\0")
    if head[510:512] != b"\x55\xaa":
        return
    kinds = [head[446 + 16 * number + 4] for number in range(4)]
    partitions = _gpt(read, head[_SECTOR:], size) if _PROTECTIVE in kinds else _mbr(head, size)
    for volume in partitions:
        yield _with_system(volume, read)


def _gpt(read: Reader, header: bytes, size: int) -> Iterator[Volume]:
    first_entry, count, entry_bytes = struct.unpack_from("<QII", header, 72)
    if header[:8] != b"EFI PART" or not 128 <= entry_bytes <= 4096:
        return
    for number in range(min(count, _MAX_ENTRIES)):
        place = first_entry * _SECTOR + number * entry_bytes
        entry = read(place, 128) if place + 128 <= size else b""
        if len(entry) < 128:
            return
        first, last = struct.unpack_from("<QQ", entry, 32)
        kind = uuid.UUID(bytes_le=entry[:16])
        if kind.int and first <= last and (last + 1) * _SECTOR <= size:
            yield Volume(
                number=number + 1,
                offset=first * _SECTOR,
                size=(last + 1 - first) * _SECTOR,
                part_uuid=str(uuid.UUID(bytes_le=entry[16:32])),
                part_label=_shown(entry[56:128].decode("utf-16-le", "replace")),
                is_root=kind == _ROOT_X86_64,
            )


def _mbr(head: bytes, size: int) -> Iterator[Volume]:
    """The primary ones; the kernel makes their PARTUUID of the disk's signature."""
    signature = struct.unpack_from("<I", head, 440)[0]
    for number in range(4):
        place = 446 + 16 * number
        start, count = struct.unpack_from("<II", head, place + 8)
        if head[place + 4] and count and (start + count) * _SECTOR <= size:
            yield Volume(
                number=number + 1,
                offset=start * _SECTOR,
                size=count * _SECTOR,
                part_uuid=f"{signature:08x}-{number + 1:02x}",
            )


# ---- file systems --------------------------------------------------------------------------------------------------


def _with_system(volume: Volume, read: Reader) -> Volume:
    head = read(volume.offset, 4096) if volume.size >= 4096 else b""
    kind, identity, label = "", b"", b""
    if head[1024 + 0x38 : 1024 + 0x3A] == b"\x53\xef":
        compatible, incompatible = struct.unpack_from("<II", head, 1024 + 0x5C)
        kind = "ext4" if incompatible & _EXTENTS else "ext3" if compatible & _HAS_JOURNAL else "ext2"
        identity, label = head[1024 + 0x68 : 1024 + 0x78], head[1024 + 0x78 : 1024 + 0x88]
    elif head[:4] == b"XFSB":
        kind, identity, label = "xfs", head[0x20:0x30], head[0x6C:0x78]
    elif volume.size > _BTRFS_AT + 4096:
        block = read(volume.offset + _BTRFS_AT, 4096)
        if block[0x40:0x48] == b"_BHRfS_M":
            kind, identity, label = "btrfs", block[0x20:0x30], block[0x12B:0x22B]
    if not kind or len(identity) < 16:
        return volume
    return Volume(
        number=volume.number,
        offset=volume.offset,
        size=volume.size,
        part_uuid=volume.part_uuid,
        part_label=volume.part_label,
        is_root=volume.is_root,
        kind=kind,
        uuid=str(uuid.UUID(bytes=identity)),
        label=_shown(label.decode(errors="replace")),
    )


def _shown(text: str) -> str:
    """A label, up to its zero; one that could not be typed is none."""
    text = text.partition("\0")[0]
    return text if text.isprintable() else ""
