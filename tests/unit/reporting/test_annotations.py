from __future__ import annotations

from pathlib import Path

import pytest

from lisa_ci import files
from lisa_ci.model import Category, Finding, Outcome, Plan
from lisa_ci.reporting.annotations import annotate
from lisa_ci.reporting.highlights import Highlights
from lisa_ci.reporting.verdict import decide
from tests.doubles.evidence import make_plan, make_result, plan_digest, results_of, write_leg
from tests.doubles.github_runner import Issued, read_log

WORKSPACE = Path("/work/repository")


def issued(plan: Plan, results: Path) -> list[Issued]:
    highlights = Highlights()
    verdict = decide(plan, plan_digest(plan), files.read_results(results), watch=highlights.take)
    return read_log(annotate(verdict, highlights, workspace=WORKSPACE))


def failing(count: int, outcome: Outcome = Outcome.FAILED) -> Plan:
    return make_plan(suites={"boot": [f"{outcome}-{number}" for number in range(count)]})


def test_a_green_verdict_annotates_nothing(tmp_path: Path) -> None:
    plan = make_plan()
    write_leg(tmp_path, plan, "small")
    assert issued(plan, tmp_path) == []


def test_the_first_error_is_the_verdict_and_the_next_names_the_case_and_the_place(tmp_path: Path) -> None:
    plan = make_plan()
    bad = make_result("boot", "a", Outcome.FAILED, file="checks/a.sh", line=4, detail="no route")
    write_leg(tmp_path, plan, "small", [bad, *results_of(plan, "small")[1:]])
    first, second = issued(plan, tmp_path)
    assert first.name == "error"
    assert first.properties == {"title": "Not green: example"}
    assert first.data == "example is not green: 1 reason; 1 leg; 2 passed, 1 failed"
    assert second.properties == {"title": "boot#a on small", "file": "checks/a.sh", "line": "4"}
    assert second.data.splitlines()[:2] == ["exit 1", "no route"]
    assert "reproduce: lisa-ci run small" in second.data


def test_a_failure_says_how_to_mend_it(tmp_path: Path) -> None:
    plan = make_plan()
    bad = make_result("boot", "a", Outcome.FAILED, mend="enable the unit")
    write_leg(tmp_path, plan, "small", [bad, *results_of(plan, "small")[1:]])
    assert "to mend it: enable the unit" in issued(plan, tmp_path)[1].data.splitlines()


def test_the_worlds_faults_are_warnings_with_a_title_of_their_own(tmp_path: Path) -> None:
    plan = make_plan(profiles=("small", "large"))
    write_leg(tmp_path, plan, "small", results_of(plan, "small", {"boot#a": Outcome.ERRORED}))
    told = issued(plan, tmp_path)
    assert [(one.name, one.properties["title"]) for one in told] == [
        ("error", "Not green: example"),
        ("warning", "Infrastructure: missing leg, large"),
        ("warning", "Infrastructure: machine lost (connection), boot#a on small"),
    ]
    assert "a retry may help" in told[0].data


@pytest.mark.parametrize(("failed", "rest"), [(9, 0), (10, 1), (50, 41), (60, 51), (500, 491)])
def test_what_does_not_fit_is_counted_in_one_notice(failed: int, rest: int, tmp_path: Path) -> None:
    plan = failing(failed)
    write_leg(tmp_path, plan, "small", [make_result("boot", f"failed-{n}", Outcome.FAILED) for n in range(failed)])
    told = issued(plan, tmp_path)
    assert sum(one.name == "error" for one in told) == min(failed + 1, 10)
    notices = [one.data for one in told if one.name == "notice"]
    assert notices == (
        [f"{rest} more findings do not fit; the job's summary and the report's files have them"] if rest else []
    )


def test_there_are_at_most_ten_warnings(tmp_path: Path) -> None:
    plan = make_plan(profiles=[f"profile-{number}" for number in range(30)])
    told = issued(plan, tmp_path)
    assert [one.name for one in told].count("warning") == 10
    assert "20 more findings" in told[-1].data


@pytest.mark.parametrize(
    ("file", "shown"),
    [
        ("checks/a.sh", "checks/a.sh"),
        ("./checks/../checks/a.sh", "checks/a.sh"),
        ("/work/repository/checks/a.sh", "checks/a.sh"),
        ("/usr/share/test/a.sh", None),
        ("../other/a.sh", None),
        ("/work/repository-2/a.sh", None),
        ("..", None),
        (".", None),
        ("", None),
        ("a\\b.sh", None),
    ],
)
def test_a_file_is_named_only_where_it_lies_in_the_checkout(file: str, shown: str | None, tmp_path: Path) -> None:
    plan = make_plan()
    bad = make_result("boot", "a", Outcome.FAILED, file=file, line=3)
    write_leg(tmp_path, plan, "small", [bad, *results_of(plan, "small")[1:]])
    properties = issued(plan, tmp_path)[1].properties
    assert properties.get("file") == shown
    assert properties.get("line") == (None if shown is None else "3")


@pytest.mark.parametrize("line", [0, -3, None])
def test_a_line_that_is_no_line_is_left_out(line: int | None, tmp_path: Path) -> None:
    plan = make_plan()
    bad = make_result("boot", "a", Outcome.FAILED, file="a.sh", line=line)
    write_leg(tmp_path, plan, "small", [bad, *results_of(plan, "small")[1:]])
    assert issued(plan, tmp_path)[1].properties == {"title": "boot#a on small", "file": "a.sh"}


def test_what_a_test_printed_cannot_issue_a_command(tmp_path: Path) -> None:
    plan = make_plan()
    text = "x\n::error::pwned\n##[set-output name=passed]true\r::stop-commands::x"
    bad = make_result("boot", "a", Outcome.FAILED, file=text, line=3, message=text, detail=text, title=text)
    write_leg(tmp_path, plan, "small", [bad, *results_of(plan, "small")[1:]])
    assert [one.name for one in issued(plan, tmp_path)] == ["error", "error"]


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("kernel BUG at /work/repository/widget.c:50!", ("widget.c", "50")),
        ("kernel BUG at fs/ext4/inode.c:2710!", ("fs/ext4/inode.c", "2710")),
        ("WARNING: CPU: 0 PID: 1 at kernel/core.c:9 func+0x12/0x34", ("kernel/core.c", "9")),
        ("WARNING: fs/inode.c:417 at drop_nlink+0xc5/0x110, CPU#1: rm/5966", ("fs/inode.c", "417")),
        ("kernel BUG at /elsewhere/widget.c:50!", (None, None)),
        ("BUG: kernel NULL pointer dereference, address: 0000000000000000", (None, None)),
        ("Oops: 0002 [#1]\n[source: widget_sum at /work/repository/widget.c:29]", ("widget.c", "29")),
        ("Oops: a test says [source: widget_sum at widget.c:29]", (None, None)),
    ],
)
def test_the_line_that_the_kernel_names_is_annotated(
    text: str, place: tuple[str | None, str | None], tmp_path: Path
) -> None:
    plan = make_plan()
    found = Finding(category=Category.BUG, title="kernel BUG", fingerprint="a" * 16, text=text, case="boot#a")
    bad = make_result("boot", "a", Outcome.FAILED, findings=(found,))
    write_leg(tmp_path, plan, "small", [bad, *results_of(plan, "small")[1:]])
    [told] = [one for one in issued(plan, tmp_path) if one.properties["title"] == "boot#a on small"]
    assert (told.properties.get("file"), told.properties.get("line")) == place


def test_the_place_that_a_test_names_itself_comes_first(tmp_path: Path) -> None:
    plan = make_plan()
    found = Finding(category=Category.BUG, title="b", fingerprint="a" * 16, text="kernel BUG at a.c:1!", case="boot#a")
    bad = make_result("boot", "a", Outcome.FAILED, findings=(found,), file="test.c", line=7)
    write_leg(tmp_path, plan, "small", [bad, *results_of(plan, "small")[1:]])
    assert "test.c" in {one.properties.get("file") for one in issued(plan, tmp_path)}
