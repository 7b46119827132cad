"""Two runs side by side: every way in which a case can differ, and that nothing else is told."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from lisa_ci import files
from lisa_ci.cli import cli
from lisa_ci.errors import Loss
from lisa_ci.model import Outcome, Result, SubResult
from lisa_ci.reporting import compared
from lisa_ci.reporting.compare import Change, Comparison, Difference, Ended, Side, compare, side_of
from tests.doubles.evidence import make_plan, make_result, results_of, write_leg

PASSED, FAILED, SKIPPED, ERRORED = Outcome.PASSED, Outcome.FAILED, Outcome.SKIPPED, Outcome.ERRORED


def side(name: str = "a", **cases: Ended) -> Side:
    return Side(name=name, cases={f"s#{case}": ended for case, ended in cases.items()})


def ended(outcome: Outcome = PASSED, message: str = "", *failed: str, judged: bool = True, seconds: float = 0) -> Ended:
    wall = timedelta(seconds=seconds)
    return Ended(outcome=outcome, message=message, failed=frozenset(failed), is_judged=judged, wall=wall)


def changes(found: Comparison) -> list[tuple[str, str]]:
    return [(one.case, one.change.value) for one in found.differences]


@pytest.mark.parametrize(
    ("before", "after", "change"),
    [
        (ended(), ended(FAILED), "broken"),
        (ended(SKIPPED), ended(FAILED), "broken"),
        (None, ended(ERRORED), "broken"),
        (ended(FAILED, "", "x"), ended(FAILED, "", "x", "y"), "fails-more"),
        (ended(FAILED, "", "x"), ended(FAILED, "", "y"), "fails-more"),
        (ended(FAILED, "", "x", "y"), ended(FAILED, "", "y"), "fails-less"),
        (ended(FAILED), ended(), "fixed"),
        (ended(FAILED), ended(SKIPPED, "why"), "skipped"),
        (ended(), ended(SKIPPED, "why"), "skipped"),
        (ended(SKIPPED, "why"), ended(), "not-skipped"),
        (ended(SKIPPED, "why"), ended(SKIPPED, "other"), "skip-reason"),
        (ended(), ended(ERRORED, judged=False), "not-judged"),
        (ended(ERRORED, judged=False), ended(FAILED), "not-judged"),
        (ended(FAILED), None, "gone"),
        (None, ended(), "new"),
        (ended(), ended(), None),
        (ended(FAILED, "x"), ended(FAILED, "y"), None),
        (ended(SKIPPED, "why"), ended(SKIPPED, "why"), None),
    ],
)
def test_each_pair_of_outcomes_has_one_name(before: Ended | None, after: Ended | None, change: str | None) -> None:
    first = side(**({} if before is None else {"case": before}), same=ended())
    second = side(**({} if after is None else {"case": after}), same=ended())
    found = compare(first, second)
    assert changes(found) == ([] if change is None else [("s#case", change)])
    assert found.is_worse == (change in {"broken", "fails-more"})
    assert found.same == (2 if change is None else 1)


def test_a_reason_that_only_names_another_kernel_is_the_same() -> None:
    first = replace(side(c=ended(SKIPPED, "kernel 6.1.0-cloud is older than 6.6")), facts={"kernel": "6.1.0-cloud"})
    second = replace(side(c=ended(SKIPPED, "kernel 6.1.0 is older than 6.6")), facts={"kernel": "6.1.0"})
    assert compare(first, second).differences == ()
    other = replace(second, cases={"s#c": ended(SKIPPED, "kernel 6.1.0 is older than 6.7")})
    assert changes(compare(first, other)) == [("s#c", "skip-reason")]


def test_what_the_change_has_to_answer_for_comes_first() -> None:
    found = compare(
        side(a=ended(), b=ended(FAILED), z=ended()), side(a=ended(SKIPPED), b=ended(), z=ended(FAILED, "exit 1"))
    )
    assert changes(found) == [("s#z", "broken"), ("s#b", "fixed"), ("s#a", "skipped")]


def test_only_times_that_doubled_and_are_a_second_apart_are_told() -> None:
    found = compare(
        side(much=ended(seconds=2), little=ended(seconds=0.1), some=ended(seconds=10)),
        side(much=ended(seconds=5), little=ended(seconds=0.9), some=ended(seconds=19)),
    )
    assert [took.name for took in found.times] == ["s#much"]
    [suite] = found.suites
    assert (suite.name, suite.before.total_seconds(), suite.after.total_seconds()) == ("s", 12.1, 24.9)


def test_shards_and_attempts_of_a_profile_are_one_side(tmp_path: Path) -> None:
    plan = make_plan(shards={"boot": 2})
    for leg in plan.legs:
        write_leg(tmp_path, plan, leg.id, results_of(plan, leg.id, {}))
    found = side_of("a", files.read_results(tmp_path))
    assert {key.rpartition("/")[2] for key in found.cases} == {"boot#a", "boot#b", "boot#c"}
    assert all(one.outcome is PASSED for one in found.cases.values())


def test_a_failed_sub_test_is_named_with_what_it_lies_in(tmp_path: Path) -> None:
    inner = SubResult(name="in", outcome=FAILED)
    children = (SubResult(name="out", outcome=FAILED, children=(SubResult(name="ok", outcome=PASSED), inner)),)
    result = replace(make_result("boot", "a", FAILED), children=children)
    assert ended_of(tmp_path, result).failed == {"out > in"}


def test_a_case_that_infrastructure_took_is_not_judged(tmp_path: Path) -> None:
    assert not ended_of(tmp_path, make_result("boot", "a", ERRORED, loss=Loss.CONNECTION)).is_judged


def ended_of(folder: Path, result: Result) -> Ended:
    plan = make_plan(suites={"boot": ("a",)})
    write_leg(folder, plan, "small", [result])
    [one] = side_of("a", files.read_results(folder)).cases.values()
    return one


# ---- for people ----------------------------------------------------------------------------------------------------

HOSTILE = "::error::no | `code` <b>@somebody</b>\x1b[31m"


def test_nothing_that_a_machine_printed_is_read_as_markdown() -> None:
    page = compared.markdown(compare(side(x=ended()), side(x=ended(FAILED, HOSTILE))))
    [line] = [line for line in page.splitlines() if "@somebody" in line]
    assert line.count("|") == 5
    assert "\x1b" not in page
    assert "``::error::no" in line


def test_a_long_list_is_cut_and_says_so() -> None:
    many = {f"c{number}": ended() for number in range(300)}
    found = compare(side(**many), side(**{name: ended(FAILED) for name in many}))
    assert "and 200 more" in compared.markdown(found)
    assert "  and 200 more" in list(compared.text(found))


def two_runs(tmp_path: Path) -> tuple[str, str]:
    plan = make_plan()
    write_leg(tmp_path / "before", plan, "small", results_of(plan, "small", {"boot#b": FAILED}))
    write_leg(tmp_path / "after", plan, "small", results_of(plan, "small", {"boot#a": FAILED}))
    return str(tmp_path / "before"), str(tmp_path / "after")


def test_new_failures_decide_the_exit_code_only_where_asked(tmp_path: Path) -> None:
    words = ["compare", *two_runs(tmp_path)]
    plain = CliRunner().invoke(cli, words, standalone_mode=False)
    assert plain.return_value == 0
    assert plain.stdout.startswith("before -> after: new failures: 1, mended: 1; the same: 1\n")
    assert "  boot#a: passed -> failed; exit 1" in plain.stdout.splitlines()
    assert CliRunner().invoke(cli, [*words, "--fail-on-new"], standalone_mode=False).return_value == 1
    same = ["compare", words[1], words[1], "--fail-on-new"]
    assert CliRunner().invoke(cli, same, standalone_mode=False).return_value == 0


def test_programs_get_json_with_a_schema(tmp_path: Path) -> None:
    told = CliRunner().invoke(cli, ["compare", *two_runs(tmp_path), "--format", "json"], standalone_mode=False)
    found = json.loads(told.stdout)
    assert found["schema"] == 1
    assert [(one["case"], one["change"]) for one in found["differences"]] == [("boot#a", "broken"), ("boot#b", "fixed")]


def test_two_legs_of_one_run_are_compared_whatever_their_names(tmp_path: Path) -> None:
    plan = make_plan(profiles=("small", "large"))
    write_leg(tmp_path, plan, "small", results_of(plan, "small", {}))
    write_leg(tmp_path, plan, "large", results_of(plan, "large", {"boot#c": FAILED}))
    told = CliRunner().invoke(cli, ["compare", str(tmp_path / "small"), str(tmp_path / "large")], standalone_mode=False)
    assert "  boot#c: passed -> failed; exit 1" in told.stdout.splitlines()


def test_on_github_the_page_goes_into_the_summary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    CliRunner().invoke(cli, ["compare", *two_runs(tmp_path)], standalone_mode=False)
    assert "### New failures: 1" in (tmp_path / "summary.md").read_text()


def test_a_folder_without_results_is_no_run_without_differences(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    told = CliRunner().invoke(cli, ["compare", str(tmp_path / "empty"), str(tmp_path / "empty")], standalone_mode=False)
    assert "holds no results" in str(told.exception)


def test_every_change_has_a_heading_of_its_own() -> None:
    differences = tuple(
        Difference(case=f"s#{change}", change=change, before=PASSED, after=FAILED, message="") for change in Change
    )
    found = replace(compare(side(), side()), differences=differences)
    headings = [line for line in compared.markdown(found).splitlines() if line.startswith("### ")]
    assert len(set(headings)) == len(Change)
