from __future__ import annotations

import re
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lisa_ci.github.commands import Fence, add_mask, command, cut, endgroup, group, neutral, printable
from tests.doubles.github_runner import Issued, read_log

# Text as tests print it, and the pieces a hostile one would use.
HOSTILE = st.lists(
    st.one_of(
        st.text(st.characters(codec=None)),
        st.sampled_from(
            ["::", "##[", "]", "error", "::error::x", "##[error]x", "%0A", "%25", "\n", "\r", " ", "\x1b[1m"]
        ),
    )
).map("".join)


@given(HOSTILE)
@example("100 %0A %250A % \r\n::error::no")
@settings(deadline=None)
def test_the_runner_reads_the_data_that_was_given(data: str) -> None:
    (issued,) = read_log([command("notice", data)])
    assert issued == Issued("notice", cut(printable(data), 4096))


@given(HOSTILE.filter(str.strip), HOSTILE)
@settings(deadline=None)
def test_the_runner_reads_the_properties_that_were_given(title: str, data: str) -> None:
    line = command("error", data, title=title, file="a,b:c=d.sh", line=3, endLine=None, col=None)
    (issued,) = read_log([line])
    # The runner trims around all properties; ours has a property after the title.
    assert issued.properties == {"title": printable(title), "file": "a,b:c=d.sh", "line": "3"}


@given(HOSTILE)
@settings(deadline=None)
def test_a_command_is_one_line_that_can_be_written(data: str) -> None:
    line = command("warning", data, title=data)
    assert "\n" not in line
    assert "\r" not in line
    line.encode()


def test_percent_is_escaped_before_everything_else() -> None:
    assert command("error", "50%\r\n", title="a:b,c%") == "::error title=a%3Ab%2Cc%25::50%25%0D%0A"


def test_properties_without_a_value_are_left_out() -> None:
    assert command("error", "x", title="", file=None, line=None) == "::error::x"


def test_line_zero_is_a_value() -> None:
    assert command("error", "x", line=0) == "::error line=0::x"


@pytest.mark.parametrize("name", ["", "Error", "err or", "error::x", "error\n"])
def test_a_name_that_is_no_command_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="not the name"):
        command(name)


def test_a_property_that_github_does_not_know_is_refused() -> None:
    with pytest.raises(ValueError, match="column"):
        command("error", "x", column=3)


@pytest.mark.parametrize("text", ["x" * 5000, "\U0001f600" * 3000, "é" * 4097])
def test_a_message_is_cut_to_what_github_keeps_never_inside_a_character(text: str) -> None:
    (issued,) = read_log([command("error", text)])
    assert len(issued.data.encode("utf-16-le")) <= 2 * 4096
    assert issued.data.endswith("… (cut)")
    assert set(issued.data.removesuffix(" … (cut)")) == {text[0]}


@pytest.mark.parametrize("text", ["x" * 4096, "\U0001f600" * 2048])
def test_a_message_that_just_fits_is_whole(text: str) -> None:
    (issued,) = read_log([command("error", text)])
    assert issued.data == text


def test_the_title_of_a_group_is_one_line() -> None:
    assert read_log([group("boot\n::error::x"), "inside", endgroup()]) == [
        Issued("group", "boot ::error::x"),
        Issued("endgroup", ""),
    ]


def test_a_secret_is_masked_as_a_whole_and_line_by_line_but_not_its_short_pieces() -> None:
    issued = read_log(add_mask("  first line\nab\nsecond % line\n"))
    assert [one.data for one in issued] == ["first line\nab\nsecond % line", "first line", "second % line"]


def test_an_empty_secret_masks_nothing() -> None:
    assert list(add_mask(" \n ")) == []


@given(st.lists(HOSTILE))
@settings(deadline=None)
def test_nothing_inside_a_fence_is_a_command(lines: list[str]) -> None:
    fence = Fence()
    issued = read_log([*fence.wrap(lines), command("notice", "after")])
    assert [one.name for one in issued] == ["stop-commands", "notice"]


def test_each_fence_has_a_token_that_cannot_be_guessed() -> None:
    tokens = {Fence().opening for _ in range(100)}
    assert len(tokens) == 100
    assert all(re.fullmatch(r"::stop-commands::lisa-ci-[0-9a-f]{32}", token) for token in tokens)


@given(HOSTILE)
@example("\x1b[0m::error::x")
@example("a\r::error::x")
@example("\xa0\u2003::error::x")
@example("#\x1b[0m#[error]x")
@settings(deadline=None)
def test_neutral_text_holds_no_command(text: str) -> None:
    assert read_log([neutral(text)]) == []


@pytest.mark.parametrize("text", ["std::vector<int>", "12:30::", "plain", "a ## [b]", "#[derive]"])
def test_neutral_leaves_harmless_text_as_it_is(text: str) -> None:
    assert neutral(text) == text


@given(HOSTILE)
@settings(deadline=None)
def test_printable_text_has_no_control_characters_but_newlines_and_tabs(text: str) -> None:
    shown = printable(text)
    assert all(character in "\t\n\r" or not re.match(r"[\x00-\x1f\x7f-\x9f]", character) for character in shown)
    shown.encode()


def test_colours_and_titles_are_taken_out_whole() -> None:
    assert printable("\x1b[1;31mred\x1b[0m \x1b]0;title\x07end\x1b]8;;http://x\x1b\\link") == "red endlink"


def test_a_sequence_that_never_ends_hides_nothing() -> None:
    assert printable("\x1b]0;FAILED: the disk is gone") == "0;FAILED: the disk is gone"


@pytest.mark.parametrize("piece", ["\n", "\x1b[0", "\x1b]0", "\x1b", "##", " ", "\r\n:"])
def test_cleaning_a_megabyte_takes_no_time_that_grows_with_its_square(piece: str) -> None:
    text = piece * (1_000_000 // len(piece))
    started = time.process_time()
    neutral(text)
    assert time.process_time() - started < 3
