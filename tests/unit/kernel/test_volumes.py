"""``root=`` is followed on the host: what it does not find, no machine would find."""

from __future__ import annotations

import struct
import uuid

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lisa_ci.errors import PipelineError
from lisa_ci.kernel.volumes import Volume, find_root, read_volumes

MIB = 1 << 20
ROOT = uuid.UUID("4f68bce3-e8cd-4db1-96e7-fbcaf984b709")
DATA = uuid.UUID("0fc63daf-8483-4772-8e79-3d69d8477de4")
IDS = [uuid.UUID(int=number + 1) for number in range(4)]


def put(disk: bytearray, place: int, data: bytes) -> None:
    disk[place : place + len(data)] = data


def ext4(disk: bytearray, at: int, *, label: str, identity: uuid.UUID) -> None:
    put(disk, at + 1024 + 0x38, b"\x53\xef")
    put(disk, at + 1024 + 0x5C, struct.pack("<II", 0x4, 0x40))
    put(disk, at + 1024 + 0x68, identity.bytes)
    put(disk, at + 1024 + 0x78, label.encode())


def gpt(*, root_type: uuid.UUID = ROOT) -> bytearray:
    """Partitions of a MiB: ext4 'data', the root with ext4 'root', XFS, btrfs."""
    disk = bytearray(8 * MIB)
    put(disk, 446 + 4, b"\xee")
    put(disk, 510, b"\x55\xaa")
    put(disk, 512, b"EFI PART")
    put(disk, 512 + 72, struct.pack("<QII", 2, 4, 128))
    for number, kind in enumerate((DATA, root_type, DATA, DATA)):
        name = f"part{number}".encode("utf-16-le")
        first = (1 + number) * 2048
        entry = kind.bytes_le + IDS[number].bytes_le + struct.pack("<QQQ", first, first + 2047, 0) + name
        put(disk, 1024 + 128 * number, entry)
    ext4(disk, MIB, label="data", identity=uuid.UUID(int=11))
    ext4(disk, 2 * MIB, label="root", identity=uuid.UUID(int=12))
    put(disk, 3 * MIB, b"XFSB")
    put(disk, 3 * MIB + 0x20, uuid.UUID(int=13).bytes)
    put(disk, 3 * MIB + 0x6C, b"big")
    put(disk, 4 * MIB + 0x10040, b"_BHRfS_M")
    put(disk, 4 * MIB + 0x10020, uuid.UUID(int=14).bytes)
    put(disk, 4 * MIB + 0x1012B, b"butter")
    return disk


def found(disk: bytes | bytearray) -> tuple[Volume, ...]:
    return tuple(read_volumes(lambda offset, size: bytes(disk[offset : offset + size]), len(disk)))


def test_partitions_and_their_file_systems_are_found() -> None:
    assert [(one.number, one.kind, one.label, one.part_label, one.is_root) for one in found(gpt())] == [
        (0, "", "", "", False),
        (1, "ext4", "data", "part0", False),
        (2, "ext4", "root", "part1", True),
        (3, "xfs", "big", "part2", False),
        (4, "btrfs", "butter", "part3", False),
    ]


@pytest.mark.parametrize(
    ("address", "number"),
    [
        ("", 2),
        ("LABEL=data", 1),
        (f"UUID={uuid.UUID(int=13)}", 3),
        (f"UUID={str(uuid.UUID(int=14)).upper()}", 4),
        (f"PARTUUID={IDS[3]}", 4),
        ('PARTLABEL="part0"', 1),
        ("/dev/vda3", 3),
        ("/dev/vda", 0),
    ],
)
def test_every_address_leads_to_its_volume(address: str, number: int) -> None:
    assert find_root(found(gpt()), address).number == number


@pytest.mark.parametrize("address", ["LABEL=gone", "UUID=", "PARTUUID=", "/dev/sda1", "/dev/mapper/vg-root", "LABEL="])
def test_an_address_that_leads_nowhere_is_told_with_what_is_there(address: str) -> None:
    with pytest.raises(PipelineError, match=r"means no partition of the image; it has /dev/vda1 \(ext4 data"):
        find_root(found(gpt()), address)


def test_an_address_of_two_volumes_is_told() -> None:
    disk = gpt()
    ext4(disk, MIB, label="root", identity=uuid.UUID(int=11))
    with pytest.raises(PipelineError, match="more than one partition"):
        find_root(found(disk), "LABEL=root")


def test_without_a_type_the_largest_file_system_is_the_root() -> None:
    disk = gpt(root_type=DATA)
    put(disk, 1024 + 128 * 3 + 40, struct.pack("<Q", 4 * 2048 + 4095))
    assert find_root(found(disk), "").number == 4


def test_an_mbr_has_the_partuuids_that_the_kernel_makes() -> None:
    disk = bytearray(3 * MIB)
    put(disk, 510, b"\x55\xaa")
    put(disk, 440, struct.pack("<I", 0xDEADBEEF))
    put(disk, 446 + 4, b"\x83")
    put(disk, 446 + 8, struct.pack("<II", 2048, 2048))
    ext4(disk, MIB, label="root", identity=uuid.UUID(int=1))
    root = find_root(found(disk), "")
    assert (root.number, root.address) == (1, "PARTUUID=deadbeef-01")
    assert find_root(found(disk), "PARTUUID=DEADBEEF-01") == root


def test_a_disk_without_partitions_may_be_the_file_system() -> None:
    disk = bytearray(MIB)
    ext4(disk, 0, label="all", identity=uuid.UUID(int=1))
    root = find_root(found(disk), "LABEL=all")
    assert (root.number, root.address) == (0, "/dev/vda")


def test_a_disk_without_a_file_system_is_told() -> None:
    with pytest.raises(PipelineError, match="no ext4, XFS or btrfs file system is on the image; it has none"):
        find_root(found(bytes(MIB)), "")


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_any_table_is_read_without_leaving_the_disk(data: st.DataObject) -> None:
    disk = gpt()
    for place in data.draw(st.lists(st.integers(440, 1024 + 512), max_size=20)):
        disk[place] = data.draw(st.integers(0, 255))
    for volume in found(disk):
        assert 0 <= volume.offset <= volume.offset + volume.size <= len(disk)
