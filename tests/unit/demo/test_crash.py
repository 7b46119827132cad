"""What the crash demo takes for survival."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta

import pytest

from lisa_ci.demo import crash
from lisa_ci.errors import Loss
from lisa_ci.model import Method, Outcome, Recovery, Result, Run


def result(case: str) -> Result:
    outcome = crash.EXPECTED[case]
    loss = {"panics": Loss.PANIC, "hangs": Loss.SILENCE}.get(case)
    message = "" if outcome is Outcome.PASSED else f"why {case} errored"
    return Result(suite="crash", case=case, outcome=outcome, message=message, loss=loss)


RESULTS = [result(case) for case in crash.EXPECTED]
RECOVERIES = tuple(
    Recovery(reason="its kernel panicked", case=f"crash#{case}", method=method, wall=timedelta(seconds=2))
    for case, method in (("panics", Method.SNAPSHOT), ("hangs", Method.SNAPSHOT))
)
RUN = Run(leg=crash.LEG, plan_digest="", subject_digest="", attempt=1, started=datetime.now(UTC), recoveries=RECOVERIES)


def test_two_passed_and_three_errored_with_a_cause_is_survival() -> None:
    survived = crash.judge(RUN, RESULTS)
    assert survived.problems == ()
    assert survived.summary == "2 passed, 3 errored; one machine, brought back 2 times in 4.0 s"
    assert "brought back after crash#hangs by snapshot in 2.0 s: its kernel panicked" in survived.lines


def test_a_case_without_a_result_is_told() -> None:
    assert "fills-the-disk should be errored and has no result" in crash.judge(RUN, RESULTS[:-1]).problems


def test_a_case_that_should_have_errored_is_told() -> None:
    results = [dataclasses.replace(one, outcome=Outcome.PASSED) for one in RESULTS]
    assert "hangs should be errored and is passed" in crash.judge(RUN, results).problems


@pytest.mark.parametrize("change", [{"loss": Loss.CONNECTION}, {"message": ""}])
def test_an_error_without_its_cause_is_told(change: dict[str, object]) -> None:
    results = [dataclasses.replace(one, **change) if one.case == "panics" else one for one in RESULTS]  # type: ignore[arg-type]
    assert crash.judge(RUN, results).problems == ("panics is errored without a cause",)


def test_a_machine_that_did_not_come_back_is_told() -> None:
    run = dataclasses.replace(RUN, recoveries=RECOVERIES[:1])
    assert crash.judge(run, RESULTS).problems == ("the machine was not brought back after hangs",)
