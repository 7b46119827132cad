from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from lisa_ci.errors import PipelineError
from lisa_ci.github.limits import OUTPUT_BYTES, SUMMARY_BYTES
from lisa_ci.github.outputs import append_summary, cut_markdown, is_github, set_environment, set_output
from tests.doubles.github_runner import read_outputs


@given(value=st.text(st.characters(exclude_categories=["Cs"])))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_runner_reads_the_value_that_was_set(value: str, tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_bytes(b"")
    assert set_output("name", value, environment={"GITHUB_OUTPUT": str(path)})
    assert set_output("last", "x=y<<z", environment={"GITHUB_OUTPUT": str(path)})
    assert read_outputs(path.read_bytes().decode()) == {"name": value, "last": "x=y<<z"}


def test_outside_github_nothing_is_written_and_it_says_so() -> None:
    assert not set_output("name", "value", environment={})
    assert not set_environment("NAME", "value", environment={})
    assert not append_summary("# hello", environment={})


def test_it_is_github_only_when_the_runner_says_so() -> None:
    assert is_github({"GITHUB_ACTIONS": "true"})
    assert not is_github({"GITHUB_ACTIONS": "false"})
    assert not is_github({})


@pytest.mark.parametrize("value", ["a\nghadelimiter_1\nb", "ghadelimiter_"])
def test_a_value_that_holds_the_delimiter_is_refused(value: str, tmp_path: Path) -> None:
    path = tmp_path / "out"
    with pytest.raises(PipelineError, match="ghadelimiter_"):
        set_output("name", value, environment={"GITHUB_OUTPUT": str(path)})
    assert not path.exists()


@pytest.mark.parametrize("name", ["", "a b", "a\nb", "a=b", "a<<b", "1a", "ü"])
def test_a_name_that_could_be_read_otherwise_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match="not a name"):
        set_output(name, "x", environment={"GITHUB_OUTPUT": str(tmp_path / "out")})


def test_an_output_that_github_cannot_carry_is_refused_with_a_way_out(tmp_path: Path) -> None:
    path = tmp_path / "out"
    environment = {"GITHUB_OUTPUT": str(path)}
    set_output("fits", "x" * (OUTPUT_BYTES // 2 - 200), environment=environment)
    with pytest.raises(PipelineError, match="1,000,000") as caught:
        set_output("more", "x" * (OUTPUT_BYTES // 2), environment=environment)
    assert "artifact" in caught.value.hint
    assert list(read_outputs(path.read_text())) == ["fits"]


def test_the_size_is_measured_as_utf_16(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match="UTF-16"):
        set_output("name", "x" * (OUTPUT_BYTES // 2 + 1), environment={"GITHUB_OUTPUT": str(tmp_path / "out")})


def test_node_options_are_refused_as_the_runner_does(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match=r"(?i)NODE_OPTIONS"):
        set_environment("node_options", "x", environment={"GITHUB_ENV": str(tmp_path / "env")})


def test_an_environment_variable_is_set(tmp_path: Path) -> None:
    path = tmp_path / "env"
    assert set_environment("NAME", "two\nlines", environment={"GITHUB_ENV": str(path)})
    assert read_outputs(path.read_text()) == {"NAME": "two\nlines"}


# ---- the summary ---------------------------------------------------------------------------------------------------


def test_what_the_step_wrote_before_counts_for_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "summary"
    path.write_text("before\n" * 100_000)
    for _ in range(3):
        append_summary("line é\n" * 100_000, environment={"GITHUB_STEP_SUMMARY": str(path)})
    assert path.stat().st_size <= SUMMARY_BYTES
    assert path.read_text().startswith("before\n")
    assert "Cut here" in path.read_text()


def test_a_summary_that_fits_is_whole_and_ends_with_a_newline(tmp_path: Path) -> None:
    path = tmp_path / "summary"
    append_summary("# one", environment={"GITHUB_STEP_SUMMARY": str(path)})
    append_summary("# two\n", environment={"GITHUB_STEP_SUMMARY": str(path)})
    assert path.read_text() == "# one\n# two\n"


PARTS = st.lists(
    st.sampled_from(
        [
            "text\n",
            "é\U0001f600\n",
            "```text\n",
            "````\n",
            "```\n",
            "~~~\n",
            "<details><summary>x</summary>\n",
            "</details>\n",
            "| a | b |\n|---|---|\n| 1 | 2 |\n",
            "\n",
            "- item\n",
        ]
    ),
    max_size=60,
).map("".join)


@given(PARTS, st.integers(min_value=0, max_value=800))
@settings(deadline=None)
def test_cut_markdown_fits_and_starts_like_the_original(text: str, limit: int) -> None:
    cut = cut_markdown(text, limit)
    assert len(cut.encode()) <= limit
    if cut and cut != text:
        kept = cut[: cut.rindex("\n*Cut here")] if "\n*Cut here" in cut else cut
        lines = kept.splitlines()
        same = max(len(lines) - 6, 0)  # what follows may be the ending
        assert text.splitlines()[:same] == lines[:same]


DETAILS = "<details><summary>x</summary>\n"
AFTER_HTML = "text\n" * 23 + DETAILS + "</details>\n" * 3 + "```text\ntext\né\U0001f600\n" + DETAILS * 3


@given(PARTS, st.integers(min_value=200, max_value=800))
@example(text=AFTER_HTML, limit=287)
@settings(deadline=None)
def test_cut_markdown_leaves_no_code_block_open(text: str, limit: int) -> None:
    cut = cut_markdown(text, limit)
    if cut != text:
        tokens = MarkdownIt().parse(cut)
        # The note stands outside of every code block, as emphasis.
        assert any("Cut here" in (token.content or "") for token in tokens if token.type == "inline")


def test_cut_markdown_closes_details() -> None:
    text = "<details><summary>x</summary>\n\n" + "line\n" * 1000
    cut = cut_markdown(text, 400)
    assert cut.count("<details>") == cut.count("</details>") == 1


def test_a_tag_in_the_middle_of_a_line_does_not_count_as_details() -> None:
    text = "<details><summary>x</summary>\n\n" + "- `</details>`\n" * 1000
    assert cut_markdown(text, 400).endswith("</details>\n\n" + cut_markdown(text, 400).splitlines()[-1] + "\n")
