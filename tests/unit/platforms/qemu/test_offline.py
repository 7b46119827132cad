from __future__ import annotations

import io
import struct
import uuid

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lisa_ci.errors import ProvisioningError
from lisa_ci.platforms.qemu.offline import Partition, find_root, find_user, partitions

MIB = 1 << 20
SIZE = 16 * MIB
LINUX = uuid.UUID("0fc63daf-8483-4772-8e79-3d69d8477de4")
ROOT = uuid.UUID("4f68bce3-e8cd-4db1-96e7-fbcaf984b709")


def blank() -> bytearray:
    return bytearray(SIZE)


def mbr(disk: bytearray, *parts: tuple[int, int, int]) -> None:
    """(type, first sector, sectors) each."""
    disk[510:512] = b"\x55\xaa"
    for number, (kind, start, count) in enumerate(parts):
        struct.pack_into("<4xB3xII", disk, 446 + 16 * number, kind, start, count)


def gpt(disk: bytearray, *parts: tuple[uuid.UUID, int, int], entry_bytes: int = 128, count: int = 128) -> None:
    """(type, first, last) each."""
    mbr(disk, (0xEE, 1, SIZE // 512 - 1))
    disk[512:520] = b"EFI PART"
    struct.pack_into("<QII", disk, 512 + 72, 2, count, entry_bytes)
    for number, (kind, first, last) in enumerate(parts):
        place = 1024 + number * entry_bytes
        disk[place : place + 16] = kind.bytes_le
        struct.pack_into("<QQ", disk, place + 32, first, last)


def ext(disk: bytearray, offset: int, *, is_dirty: bool = False) -> None:
    struct.pack_into("<H", disk, offset + 1024 + 0x38, 0xEF53)
    struct.pack_into("<I", disk, offset + 1024 + 0x60, 0x4 if is_dirty else 0x2)


def root_of(disk: bytearray) -> Partition:
    return find_root(io.BytesIO(disk), SIZE)


def test_the_root_is_the_partition_whose_type_says_so() -> None:
    disk = blank()
    gpt(disk, (LINUX, 2048, 14000), (ROOT, 16384, 20000))
    ext(disk, 2048 * 512)
    ext(disk, 16384 * 512)
    assert root_of(disk).offset == 16384 * 512


def test_without_such_a_type_the_largest_ext_file_system_is_the_root() -> None:
    disk = blank()
    mbr(disk, (0x83, 2048, 2048), (0x83, 4096, 8192), (0x0C, 12288, 16384))
    ext(disk, 2048 * 512)
    ext(disk, 4096 * 512)
    assert root_of(disk) == Partition(offset=4096 * 512, size=8192 * 512)


def test_a_disk_without_partitions_may_be_the_file_system() -> None:
    disk = blank()
    ext(disk, 0)
    assert root_of(disk) == Partition(offset=0, size=SIZE)


def test_a_disk_without_ext_is_refused_with_a_way_out() -> None:
    with pytest.raises(ProvisioningError, match="no ext2/3/4") as caught:
        root_of(blank())
    assert "credentials" in caught.value.hint


def test_a_file_system_that_was_not_unmounted_is_not_touched() -> None:
    disk = blank()
    ext(disk, 0, is_dirty=True)
    with pytest.raises(ProvisioningError, match="was not unmounted"):
        root_of(disk)


def test_partitions_beyond_the_end_are_left_out() -> None:
    disk = blank()
    gpt(disk, (ROOT, 2048, 1 << 40), (LINUX, 5, 4))
    assert not list(partitions(io.BytesIO(disk), SIZE))
    disk = blank()
    mbr(disk, (0x83, 2048, 0xFFFFFFFF))
    assert not list(partitions(io.BytesIO(disk), SIZE))


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=4096), st.booleans(), st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1))
def test_no_bytes_of_a_disk_break_the_search(noise: bytes, with_table: bool, count: int, first: int) -> None:
    disk = bytearray(noise.ljust(8192, b"\0"))
    if with_table:
        disk[510:512] = b"\x55\xaa"
        disk[446 + 4] = 0xEE
        disk[512:520] = b"EFI PART"
        struct.pack_into("<QII", disk, 512 + 72, first, count, 128)
    found = list(partitions(io.BytesIO(disk), len(disk)))
    assert all(part.offset + part.size <= len(disk) for part in found)


PASSWD = b"root:x:0:0:root:/root:/bin/bash\nadmin:x:1000:1001::/home/admin:/bin/sh\nodd:x:7:7::/home/a b:/bin/sh\n"


def test_a_user_is_found_with_ids_and_home() -> None:
    user = find_user(PASSWD, "admin")
    assert (user.uid, user.gid, user.home) == (1000, 1001, "/home/admin")


@pytest.mark.parametrize("name", ["nobody", "odd", ""])
def test_an_unknown_user_or_a_strange_home_is_refused(name: str) -> None:
    with pytest.raises(ProvisioningError, match="no user"):
        find_user(PASSWD, name)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=300))
def test_no_passwd_breaks_the_search_or_smuggles_a_word_into_debugfs(line: bytes) -> None:
    try:
        home = find_user(b"root:x:0:0::" + line, "root").home
    except ProvisioningError:
        return
    assert home.startswith("/")
    assert not set(home) & set(" \t\n\r;\"'\\")
