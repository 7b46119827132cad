from __future__ import annotations

import time
from dataclasses import replace
from datetime import date

import pytest

from lisa_ci.model import KnownFailure, Leg, Outcome, Profile, Result, Run
from lisa_ci.reporting.known import Baseline
from lisa_ci.reporting.reasons import Kind
from tests.doubles.evidence import STARTED, make_result

LEG = Leg(id="small", profile=Profile(name="small"), tasks=())
RUN = Run(leg="small", plan_digest="", subject_digest="", attempt=1, started=STARTED, is_complete=True)
ENTRY = KnownFailure(
    case="ltp#fork*", reason="too slow", owner="kernel-team", expires=STARTED.date(), link="https://example.org/1"
)


def failed(case: str) -> Result:
    return make_result("ltp", case, Outcome.FAILED)


def test_a_known_failure_is_excused_and_told() -> None:
    baseline = Baseline([ENTRY])
    assert baseline.take(RUN, LEG, failed("fork14"), Kind.FAILED) is ENTRY
    assert baseline.take(RUN, LEG, failed("clone01"), Kind.FAILED) is None
    assert baseline.excused == 1
    assert list(baseline.notes()) == [
        "known failure: small/ltp#fork14: too slow (kernel-team, until 2026-01-02, https://example.org/1)"
    ]


def test_a_case_that_could_not_judge_is_excused_and_one_that_took_its_machine_down_is_not() -> None:
    baseline = Baseline([ENTRY])
    assert baseline.take(RUN, LEG, failed("fork14"), Kind.ERRORED) is ENTRY
    for kind in (Kind.CRASHED, Kind.LOST):
        assert baseline.take(RUN, LEG, failed("fork14"), kind) is None
    assert baseline.excused == 1


def test_the_last_day_counts_and_the_day_after_does_not() -> None:
    old = replace(ENTRY, expires=date(2026, 1, 1))
    baseline = Baseline([old])
    assert baseline.take(RUN, LEG, failed("fork14"), Kind.FAILED) is None
    assert baseline.expired(RUN, LEG, failed("fork14")) == (
        " (known, too slow: expired on 2026-01-01, kernel-team answers for it)"
    )
    assert Baseline([ENTRY]).expired(RUN, LEG, failed("fork14")) == ""
    assert list(baseline.notes()) == []


def test_an_expired_entry_does_not_hide_a_later_one() -> None:
    old, new = replace(ENTRY, expires=date(2026, 1, 1)), replace(ENTRY, reason="still too slow")
    assert Baseline([old, new]).take(RUN, LEG, failed("fork14"), Kind.FAILED) is new


def test_an_unexpected_pass_is_told_and_excuses_nothing() -> None:
    baseline = Baseline([ENTRY])
    assert baseline.take(RUN, LEG, make_result("ltp", "fork14"), None) is None
    assert list(baseline.notes()) == ["passed unexpectedly, take them out of the baseline: small/ltp#fork14"]


def test_a_skipped_case_is_neither() -> None:
    baseline = Baseline([ENTRY])
    assert baseline.take(RUN, LEG, make_result("ltp", "fork14", Outcome.SKIPPED), None) is None
    assert list(baseline.notes()) == []


def test_notes_name_a_few_cases_and_count_the_rest() -> None:
    baseline = Baseline([ENTRY])
    for number in range(1000):
        baseline.take(RUN, LEG, failed(f"fork{number}"), Kind.FAILED)
        baseline.take(RUN, LEG, make_result("ltp", f"fork{number}"), None)
    known, passed = baseline.notes()
    assert known.count("ltp#fork") == passed.count("ltp#fork") == 5
    assert " and 995 more: too slow" in known
    assert passed.endswith(" and 995 more")


@pytest.mark.parametrize("count", [5000])
def test_thousands_of_entries_cost_a_look_up_each(count: int) -> None:
    baseline = Baseline([replace(ENTRY, case=f"ltp#case-{number}") for number in range(count)])
    started = time.perf_counter()
    for number in range(count):
        assert baseline.take(RUN, LEG, failed(f"case-{number}"), Kind.FAILED) is not None
    assert time.perf_counter() - started < 2
