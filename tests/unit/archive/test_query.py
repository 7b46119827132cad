"""Which runs and cases an answer is about, and how they are counted."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from lisa_ci.archive.layout import LETTERS, Mark, Summary, name_of
from lisa_ci.archive.query import By, Cases, Wanted, tallied
from lisa_ci.model import Outcome

PASSED, FAILED, ERRORED, SKIPPED = Outcome.PASSED, Outcome.FAILED, Outcome.ERRORED, Outcome.SKIPPED


def run(number: int, *, profile: str = "small", **outcomes: Outcome) -> Summary:
    """A run of suite ``s``; each case took its position in seconds."""
    return Summary(
        id=f"{number:016x}",
        name="nightly",
        leg=f"{profile}.1of2",
        profile=profile,
        attempt=1,
        started=datetime(2026, 3, 1, tzinfo=UTC) + timedelta(days=number),
        subject="ab" * 32,
        labels={"team": "kernel"},
        cases=tuple(f"s#{case}" for case in outcomes),
        outcomes="".join(LETTERS[outcome] for outcome in outcomes.values()),
        wall_ms=tuple(1000 * n for n in range(len(outcomes))),
        findings=(Mark(fingerprint="f00d", category="oops", title="in foo", case="s#b"),) if number == 1 else (),
    )


RUNS = (
    run(0, a=PASSED, b=PASSED, c=SKIPPED),
    run(1, a=PASSED, b=FAILED, c=SKIPPED),
    run(2, profile="big", a=ERRORED, b=FAILED),
)


@pytest.mark.parametrize(
    ("wanted", "numbers"),
    [
        (Wanted(), {0, 1, 2}),
        (Wanted(since=date(2026, 3, 2)), {1, 2}),
        (Wanted(until=date(2026, 3, 2)), {0, 1}),
        (Wanted(names=("night*",), legs=("big*", "x")), {2}),
        (Wanted(names=("other",)), set()),
        (Wanted(profiles=("s?all",)), {0, 1}),
        (Wanted(subject="abab"), {0, 1, 2}),
        (Wanted(subject="cd"), set()),
        (Wanted(labels={"team": "kernel"}), {0, 1, 2}),
        (Wanted(labels={"team": "kernel", "x": "y"}), set()),
        (Wanted(finding="f0"), {1}),
    ],
)
def test_runs_are_chosen_by_all_that_is_asked(wanted: Wanted, numbers: set[int]) -> None:
    found = {n for n, one in enumerate(RUNS) if wanted.takes_name(name_of(one)) and wanted.takes_run(one)}
    assert found == numbers


@pytest.mark.parametrize(
    ("wanted", "rows"),
    [
        (Wanted(cases=("s#b",)), ["0b passed 1000", "1b failed 1000", "2b failed 1000"]),
        (Wanted(outcomes=frozenset({FAILED})), ["1b failed 1000", "2b failed 1000"]),
        (
            Wanted(cases=("*#a", "*#c"), outcomes=frozenset({ERRORED, SKIPPED})),
            ["0c skipped 2000", "1c skipped 2000", "2a errored 0"],
        ),
        (Wanted(finding="f00d"), ["1b failed 1000"]),
        (Wanted(cases=("none",)), []),
    ],
)
def test_cases_are_chosen_by_name_outcome_and_finding(wanted: Wanted, rows: list[str]) -> None:
    cases = Cases(wanted)
    found = [row for one in RUNS for row in cases.of(one)]
    assert [f"{int(row.run.id, 16)}{row.case[2:]} {row.outcome} {row.wall_ms}" for row in found] == rows


def test_more_lists_of_cases_than_are_remembered_change_no_answer() -> None:
    runs = [run(n % 20, **{f"c{n}": PASSED, "x": FAILED}) for n in range(600)]
    cases = Cases(Wanted(cases=("s#c*",)))
    assert [row.case for one in runs for row in cases.of(one)] == [f"s#c{n}" for n in range(600)]


def test_cases_are_counted_the_worst_first() -> None:
    found = tallied(RUNS, Wanted(), By.CASE)
    assert list(found) == ["s#b", "s#a", "s#c"]
    worst = found["s#b"]
    assert (worst.runs, worst.counts[FAILED], round(worst.failed_percent), worst.median_ms) == (3, 2, 67, 1000)
    assert worst.is_mixed
    assert not found["s#c"].is_mixed
    assert (found["s#c"].failed_percent, found["s#c"].median_ms) == (0, 0)


@pytest.mark.parametrize(
    ("by", "keys"),
    [
        (By.PROFILE, ["big", "small"]),
        (By.LEG, ["big.1of2", "small.1of2"]),
        (By.NAME, ["nightly"]),
        (By.DAY, ["2026-03-03", "2026-03-02", "2026-03-01"]),
        (By.SUBJECT, ["ab" * 32]),
        (By.FINDING, ["f00d"]),
    ],
)
def test_results_are_counted_by_what_is_asked(by: By, keys: list[str]) -> None:
    assert list(tallied(RUNS, Wanted(), by)) == keys


def test_a_finding_counts_once_a_run_and_keeps_its_title() -> None:
    (tally,) = tallied([RUNS[1], RUNS[1]], Wanted(finding="f"), By.FINDING).values()
    assert (tally.runs, tally.title, tally.last_run[:10]) == (2, "oops: in foo", "2026-03-02")
