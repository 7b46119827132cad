from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lisa_ci.ssh.knock import NoSshError, find_banner


@pytest.mark.parametrize(
    ("seen", "found"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n", b"SSH-2.0-OpenSSH_9.2\r\n"),
        (b"SSH-2.0-x\nmore", b"SSH-2.0-x\nmore"),
        (b"welcome\r\nto SSH-2.0\r\nSSH-2.0-x\r\n\0\0", b"SSH-2.0-x\r\n\0\0"),
        (b"", None),
        (b"SSH-2.0-x", None),
        (b"welcome\r\n", None),
        (b"welcome\r\nSSH-2.0-x", None),
    ],
)
def test_the_banner_is_the_first_line_that_begins_with_ssh(seen: bytes, found: bytes | None) -> None:
    assert find_banner(seen) == found


@pytest.mark.parametrize(
    "seen",
    [b"x" * 9000, b"\n" * 9000, b"HTTP/1.1 400\r\n" * 1000, b"SSH-" + b"x" * 300, b"a\nSSH-" + b"x" * 300 + b"\n"],
)
def test_what_never_becomes_ssh_is_given_up(seen: bytes) -> None:
    with pytest.raises(NoSshError):
        find_banner(seen)


@given(st.lists(st.sampled_from([b"SSH-2.0-x", b"\n", b"\r\n", b"hello", b"\0"]), max_size=20), st.integers(0, 40))
def test_it_does_not_matter_in_which_pieces_a_banner_comes(parts: list[bytes], cut: int) -> None:
    whole = b"".join(parts)
    early = find_banner(whole[:cut])
    late = find_banner(whole)
    assert early is None or (late is not None and late.startswith(early))
