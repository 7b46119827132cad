from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lisa_ci.errors import DataError
from lisa_ci.release import sums

A, B = "a" * 64, "b" * 64
NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,8}(/[a-z0-9]{1,8}){0,3}", fullmatch=True).filter(
    lambda name: ".." not in name
)
DIGESTS = st.binary(min_size=32, max_size=32).map(bytes.hex)


@given(st.dictionaries(NAMES, DIGESTS, min_size=1, max_size=8))
def test_what_is_written_is_read_back(digests: dict[str, str]) -> None:
    assert sums.parse(sums.write(digests)) == digests


@given(st.dictionaries(NAMES, DIGESTS, min_size=1, max_size=3), st.data())
def test_bytes_that_are_accepted_are_exactly_what_would_be_written(
    digests: dict[str, str], data: st.DataObject
) -> None:
    content = bytearray(sums.write(digests))
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] = data.draw(st.integers(0, 255))
    with suppress(DataError):
        assert sums.write(sums.parse(bytes(content))) == bytes(content)


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    with suppress(DataError):
        assert sums.write(sums.parse(data)) == data


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (f"{A}  ../x\n", "SHA256SUMS:1"),
        (f"{A}  /etc/passwd\n", "SHA256SUMS:1"),
        (f"{A}  a/../b\n", "SHA256SUMS:1"),
        (f"{A}  a..b\n", "SHA256SUMS:1"),
        (f"{A}  .hidden\n", "SHA256SUMS:1"),
        (f"{A}  a\\b\n", "SHA256SUMS:1"),
        (f"{A}  a/b/c/d/e\n", "SHA256SUMS:1"),
        (f"{A} *x\n", "SHA256SUMS:1"),
        (f"{A.upper()}  x\n", "SHA256SUMS:1"),
        (f"{A}  x\r\n", "SHA256SUMS:1"),
        (f"{A}  x\n\n", "SHA256SUMS:2"),
        (f"{A}  x\n{B}  x\n", "SHA256SUMS:2: 'x' is repeated"),
        (f"{A}  y\n{B}  x\n", "SHA256SUMS:2: 'x' is repeated or out of order"),
        (f"{A}  x", "end with a newline"),
        ("", "end with a newline"),
        (f"{A}  ü\n", "must be ASCII"),
    ],
)
def test_what_the_writer_would_not_write_is_refused(text: str, told: str) -> None:
    with pytest.raises(DataError, match=told.replace("(", r"\(")):
        sums.parse(text.encode())


def test_a_huge_file_is_refused_unread() -> None:
    with pytest.raises(DataError, match="larger than 4 MiB"):
        sums.parse(b"x" * (sums.LIMIT_BYTES + 1))


def test_a_name_that_no_release_may_contain_is_never_written() -> None:
    with pytest.raises(ValueError, match="is not a name"):
        sums.write({"../x": A})
