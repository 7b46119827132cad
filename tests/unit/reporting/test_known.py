from __future__ import annotations

import time
from dataclasses import replace
from datetime import date

import pytest

from lisa_ci.errors import Loss
from lisa_ci.model import KnownFailure, Leg, Outcome, Profile, Result, Run
from lisa_ci.reporting.known import Baseline
from tests.doubles.evidence import STARTED, make_result

LEG = Leg(id="small", profile=Profile(name="small"), tasks=())
RUN = Run(leg="small", plan_digest="", subject_digest="", attempt=1, started=STARTED, is_complete=True)
ENTRY = KnownFailure(
    case="ltp#fork*", reason="too slow", owner="kernel-team", expires=STARTED.date(), link="https://example.org/1"
)
OLD = replace(ENTRY, expires=date(2026, 1, 1))


def failed(case: str, **fields: object) -> Result:
    return make_result("ltp", case, Outcome.FAILED, **fields)


def told(baseline: Baseline, result: Result) -> Result:
    return baseline.tell(RUN, LEG, result)


def test_a_known_failure_is_told_as_a_skip_with_its_reason() -> None:
    baseline = Baseline([ENTRY])
    result = told(baseline, failed("fork14"))
    assert result.outcome is Outcome.SKIPPED
    assert result.message == ("known failure: too slow (kernel-team, until 2026-01-02, https://example.org/1): exit 1")
    assert list(baseline.notes()) == [
        "known failure: small/ltp#fork14: too slow (kernel-team, until 2026-01-02, https://example.org/1)"
    ]


def test_other_cases_profiles_and_skips_stay_as_they_are() -> None:
    baseline = Baseline([ENTRY, replace(ENTRY, case="ltp#clone01", profile="large")])
    for result in (failed("clone01"), failed("exec01"), make_result("ltp", "fork14", Outcome.SKIPPED)):
        assert told(baseline, result) is result
    assert list(baseline.notes()) == []


def test_a_case_that_could_not_judge_is_excused() -> None:
    broken = make_result("ltp", "fork14", Outcome.ERRORED, loss=None)
    assert told(Baseline([ENTRY]), broken).outcome is Outcome.SKIPPED


@pytest.mark.parametrize("loss", [Loss.CONNECTION, Loss.PANIC])
def test_a_case_that_lost_its_machine_is_not_excused(loss: Loss) -> None:
    lost = make_result("ltp", "fork14", Outcome.ERRORED, loss=loss)
    assert told(Baseline([ENTRY]), lost) is lost


def test_the_last_day_counts_and_the_day_after_the_failure_is_back_and_says_so() -> None:
    assert told(Baseline([ENTRY]), failed("fork14")).outcome is Outcome.SKIPPED
    baseline = Baseline([OLD])
    result = told(baseline, failed("fork14"))
    assert result.outcome is Outcome.FAILED
    assert result.message == "exit 1 (known, too slow: expired on 2026-01-01, kernel-team answers for it)"
    assert list(baseline.notes()) == []


def test_an_expired_entry_does_not_hide_a_later_one() -> None:
    assert told(Baseline([OLD, ENTRY]), failed("fork14")).outcome is Outcome.SKIPPED


def test_an_unexpected_pass_stays_a_pass_and_is_told() -> None:
    baseline = Baseline([ENTRY])
    good = make_result("ltp", "fork14")
    assert told(baseline, good) is good
    assert list(baseline.notes()) == ["passed unexpectedly, take out of the baseline: small/ltp#fork14"]
    old = Baseline([OLD])
    assert told(old, good) is good
    assert list(old.notes()) == []


def test_notes_name_a_few_cases_and_count_the_rest() -> None:
    baseline = Baseline([ENTRY])
    for number in range(1000):
        told(baseline, failed(f"fork{number}"))
        told(baseline, make_result("ltp", f"fork{number}"))
    known, passed = baseline.notes()
    assert known.count("ltp#fork") == passed.count("ltp#fork") == 5
    assert " and 995 more: too slow" in known
    assert passed.endswith(" and 995 more")


def test_thousands_of_entries_cost_a_look_up_each() -> None:
    count = 5000
    baseline = Baseline([replace(ENTRY, case=f"ltp#case-{number}") for number in range(count)])
    started = time.perf_counter()
    for number in range(count):
        assert told(baseline, failed(f"case-{number}")).outcome is Outcome.SKIPPED
    assert time.perf_counter() - started < 5
