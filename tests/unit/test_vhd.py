from __future__ import annotations

import hashlib
import struct
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lisa_ci import vhd
from lisa_ci.errors import VerificationError
from lisa_ci.vhd import Footer, footer_for

MIB = 1 << 20
GIB = 1 << 30
SIZES = st.integers(1, 40 << 20).map(lambda count: count * MIB)


def make(path: Path, footer: Footer, size: int | None = None) -> Path:
    with path.open("wb") as file:
        file.truncate(footer.current_bytes if size is None else size)
        file.seek(0, 2)
        file.write(footer.pack())
    return path


def test_the_footers_of_the_known_answers_come_out_byte_for_byte() -> None:
    one = footer_for(GIB, unique_id=bytes(range(16))).pack()
    assert struct.unpack_from(">I", one, 64)[0] == 0xFFFFF061
    assert hashlib.sha256(one).hexdigest() == "a4c5279e590a24597c7021b5879bc9b0048a891e497014a3f014730cacf7e32a"
    two = footer_for(30 * GIB, unique_id=bytes(16), timestamp=700_000_000).pack()
    assert struct.unpack_from(">I", two, 64)[0] == 0xFFFFEDA8
    assert hashlib.sha256(two).hexdigest() == "23d92ef16ab101d732fd26f2e93ab307ff16dff291ab602d4e0f9aeb7150abae"


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (20 * MIB, (602, 4, 17)),
        (GIB, (2080, 16, 63)),
        (4 * GIB, (8322, 16, 63)),
        (5 * GIB, (10402, 16, 63)),
        (30 * GIB, (62415, 16, 63)),
        (32 * GIB, (16448, 16, 255)),
        (64 * GIB, (32896, 16, 255)),
        (128 * GIB, (65535, 16, 255)),
        (4096 * GIB, (65535, 16, 255)),
    ],
)
def test_the_geometry_follows_the_specification(size: int, expected: tuple[int, int, int]) -> None:
    assert vhd.geometry(size) == expected


@given(SIZES)
def test_the_geometry_never_reaches_beyond_the_disk_and_fits_its_fields(size: int) -> None:
    cylinders, heads, sectors = vhd.geometry(size)
    assert cylinders * heads * sectors * 512 <= size
    assert cylinders <= 65535
    assert 0 < heads <= 16
    assert 0 < sectors <= 255


@given(SIZES, st.binary(min_size=16, max_size=16), st.integers(0, 0xFFFFFFFF))
def test_a_footer_is_read_back_as_it_was_written(size: int, unique_id: bytes, timestamp: int) -> None:
    footer = footer_for(size, unique_id=unique_id, timestamp=timestamp)
    assert vhd.read_footer(footer.pack()) == footer


@given(st.binary(max_size=600))
def test_bytes_that_are_no_footer_are_told(data: bytes) -> None:
    with pytest.raises(VerificationError, match="footer"):
        vhd.read_footer(data)


@given(st.integers(0, 511), st.integers(0, 7))
def test_no_flipped_bit_of_a_footer_goes_unnoticed(place: int, bit: int) -> None:
    data = bytearray(footer_for(GIB, unique_id=bytes(16)).pack())
    data[place] ^= 1 << bit
    with pytest.raises(VerificationError, match=r"cookie|checksum"):
        vhd.read_footer(bytes(data))


def test_a_disk_that_is_not_whole_mib_has_no_footer() -> None:
    with pytest.raises(ValueError, match="not a whole number of MiB"):
        footer_for(GIB + 512, unique_id=bytes(16))


def test_a_file_made_by_us_breaks_no_rule(tmp_path: Path) -> None:
    path = tmp_path / "disk.vhd"
    path.write_bytes(b"x" * 1000)
    vhd.append_footer(path, 20 * MIB, disk_digest="ab" * 32)
    assert path.stat().st_size == 20 * MIB + 512
    assert path.read_bytes()[:1001] == b"x" * 1000 + b"\0"
    assert list(vhd.flaws(path)) == []


GOOD = footer_for(20 * MIB, unique_id=bytes(16))


@pytest.mark.parametrize(
    ("footer", "size", "told"),
    [
        (replace(GOOD, kind=3), None, "disk type 3"),
        (replace(GOOD, data_offset=512), None, "dynamic VHD"),
        (replace(GOOD, features=0), None, "features 0x0"),
        (replace(GOOD, current_bytes=20 * MIB + 512, original_bytes=20 * MIB + 512), None, "whole number of MiB"),
        (GOOD, 19 * MIB, "its footer says 20971520 + 512"),
        (replace(GOOD, original_bytes=MIB), None, "original size of 1048576"),
        (replace(GOOD, current_bytes=32768 * GIB), 20 * MIB, "Azure takes at most"),
        (replace(GOOD, creator=b"qemu"), None, "size it by cylinders"),
        (replace(GOOD, cylinders=1), None, "has the geometry 1/4/17"),
        (replace(GOOD, saved_state=1), None, "saved state"),
    ],
)
def test_each_rule_is_told_when_it_is_broken(tmp_path: Path, footer: Footer, size: int | None, told: str) -> None:
    flaws = list(vhd.flaws(make(tmp_path / "disk.vhd", footer, size)))
    assert any(told in flaw for flaw in flaws), flaws


def test_something_in_the_reserved_bytes_is_told(tmp_path: Path) -> None:
    data = bytearray(GOOD.pack())
    data[100] = 1
    struct.pack_into(">I", data, 64, vhd.checksum(data))
    path = tmp_path / "disk.vhd"
    path.write_bytes(bytes(20 * MIB) + data)
    assert list(vhd.flaws(path)) == ["has something in the reserved bytes of its footer"]


def test_a_file_without_a_footer_is_told(tmp_path: Path) -> None:
    (tmp_path / "short").write_bytes(b"x")
    (tmp_path / "raw").write_bytes(bytes(1024))
    assert list(vhd.flaws(tmp_path / "short")) == ["has 1 bytes, a footer alone has 512"]
    assert "cookie 'conectix' is missing" in next(vhd.flaws(tmp_path / "raw"))


def test_the_id_is_made_from_the_disk_and_marked_as_such() -> None:
    made = vhd.id_from_digest("ff" * 32)
    assert made.hex() == "ffffffffffff8fffbfffffffffffffff"
    assert vhd.id_from_digest("00" * 32) != made


@pytest.mark.parametrize(
    ("text", "expected"),
    [("946684801", 1), ("0", 0), ("", 0), ("tomorrow", 0), ("-5", 0), ("999999999999", 0xFFFFFFFF), ("٣", 0)],
)
def test_the_timestamp_comes_from_the_source_date_alone(
    monkeypatch: pytest.MonkeyPatch, text: str, expected: int
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", text)
    assert vhd.timestamp_from_environment() == expected
