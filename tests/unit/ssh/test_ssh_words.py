from __future__ import annotations

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lisa_ci.errors import PipelineError
from lisa_ci.model import Become
from lisa_ci.ssh.words import MAX_LINE, Capped, Marked, command_line, sentence

WORDS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))


@given(st.lists(WORDS, min_size=1))
def test_a_shell_reads_back_the_words_that_were_quoted(words: list[str]) -> None:
    line = command_line(tuple(words), Become.NONE).decode()
    assert shlex.split(line) == ["exec", *words]


def test_sudo_never_asks_and_never_takes_arguments_for_its_own() -> None:
    assert command_line(("-x", "a b"), Become.SUDO) == b"exec sudo -n -- -x 'a b'"


def test_bytes_that_are_no_text_pass_unchanged() -> None:
    assert command_line(("ls", b"\xff\xfe".decode("utf-8", "surrogateescape")), Become.NONE) == b"exec ls '\xff\xfe'"


def test_an_empty_command_is_refused() -> None:
    with pytest.raises(PipelineError, match="not a command"):
        command_line((), Become.NONE)


def test_a_nul_byte_is_refused() -> None:
    with pytest.raises(PipelineError, match="NUL"):
        command_line(("a", "b\0c"), Become.NONE)


def test_a_line_longer_than_the_kernel_takes_is_refused_with_a_way_out() -> None:
    with pytest.raises(PipelineError, match="too long") as caught:
        command_line(("x" * MAX_LINE,), Become.NONE)
    assert "stdin" in caught.value.hint


@given(st.lists(st.binary(max_size=40)), st.integers(min_value=1, max_value=20).map(lambda half: 2 * half))
def test_capped_output_is_the_first_and_last_bytes_and_the_count_between(blocks: list[bytes], limit: int) -> None:
    capped = Capped(limit)
    for block in blocks:
        capped.append(block)
    whole = b"".join(blocks)
    if len(whole) <= limit:
        assert (capped.kept, capped.dropped_bytes, capped.head_bytes) == (whole, 0, 0)
    else:
        half = limit // 2
        assert capped.kept == whole[:half] + whole[-half:]
        assert capped.dropped_bytes == len(whole) - limit
        assert capped.head_bytes == half


def test_capped_output_holds_no_more_than_it_keeps_and_one_block() -> None:
    capped = Capped(1000)
    for _ in range(10_000):
        capped.append(bytes(700))
    assert len(capped._head) + len(capped._tail) <= 500 + 1000 + 700
    assert capped.dropped_bytes == 7_000_000 - 1000


@pytest.mark.parametrize(
    ("stream", "group", "output"),
    [
        (b"\nlisa-ci-group 4711\n", 4711, b""),
        (b"\nlisa-ci-group 4711\nx\n\nlisa-ci-group 5\n", 4711, b"x\n\nlisa-ci-group 5\n"),
        (b"Welcome to x\nlisa-ci-group 12\nout", 12, b"out"),
        (b"\nlisa-ci-group \nout", 0, b"out"),
        (b"", None, b""),
        (b"This account is not available\n", None, b""),
        (b"\nlisa-ci-group 99999999999999999999\nout", None, b""),
        (b"\nlisa-ci-group -1\nout", None, b""),
        (b"\nlisa-ci-group 1; rm -rf /\nout", None, b""),
    ],
)
@pytest.mark.parametrize("size", [1, 3, 1000])
def test_only_what_comes_after_the_mark_is_output(stream: bytes, group: int | None, output: bytes, size: int) -> None:
    taken: list[bytes] = []
    marked = Marked(taken.append)
    for start in range(0, len(stream), size):
        marked(stream[start : start + size])
    assert (marked.group, b"".join(taken)) == (group, output)


def test_noise_without_end_is_not_kept() -> None:
    marked = Marked(lambda _: None)
    for _ in range(100):
        marked(b"x" * 100_000)
    assert len(marked.noise) <= 4096
    marked(b"\nlisa-ci-group 7\n")
    assert marked.group == 7


@given(st.binary())
def test_a_sentence_is_one_short_printable_line(text: bytes) -> None:
    shown = sentence(text)
    assert len(shown) <= 300
    assert shown == "" or shown.isprintable()


def test_a_sentence_is_the_last_line_that_says_something() -> None:
    assert sentence(b"cat: warning\ncat: x: No such file\n\n \n") == "cat: x: No such file"
    assert sentence(b"\x1b[31mred\n") == "?[31mred"
