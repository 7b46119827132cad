"""The gate with a baseline: what is known does not shut it, what expired does, what passes is told."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from pathlib import Path

from lisa_ci import files
from lisa_ci.errors import Loss
from lisa_ci.model import KnownFailure, Outcome, Plan, Verdict
from lisa_ci.reporting.junit import JUnitWriter
from lisa_ci.reporting.reasons import Kind
from lisa_ci.reporting.verdict import decide
from tests.doubles.evidence import STARTED, make_plan, make_result, plan_digest, results_of, write_leg

KNOWN = KnownFailure(case="boot#b", reason="too slow", owner="kernel-team", expires=STARTED.date())
EXPIRED = replace(KNOWN, expires=date(2026, 1, 1))


def judged(tmp_path: Path, known: KnownFailure, outcomes: Mapping[str, Outcome], **options: object) -> Verdict:
    plan = replace(make_plan(**options), baseline=(known,))  # type: ignore[arg-type]
    write_leg(tmp_path, plan, "small", results_of(plan, "small", outcomes))
    return decide(plan, plan_digest(plan), files.read_results(tmp_path))


def kinds(verdict: Verdict) -> list[str]:
    return [reason.kind for reason in verdict.reasons]


def test_a_known_failure_does_not_shut_the_gate_and_is_told(tmp_path: Path) -> None:
    told = judged(tmp_path, KNOWN, {"boot#b": Outcome.FAILED})
    assert told.passed
    assert told.counts == {"passed": 2, "failed": 0, "errored": 0, "skipped": 1}
    assert told.blocks == ("not every case passed, 1 failed as the baseline knows",)
    assert told.known == ("small/boot#b",)
    assert told.notes == ("known failure: small/boot#b: too slow (kernel-team, until 2026-01-02)",)


def test_what_is_signed_has_no_known_failure_in_it(tmp_path: Path) -> None:
    assert not judged(tmp_path, KNOWN, {"boot#b": Outcome.FAILED}).releasable
    assert judged(tmp_path, EXPIRED, {}).releasable


def test_a_plan_may_let_known_failures_into_a_release_and_nothing_else(tmp_path: Path) -> None:
    release = replace(make_plan().release, allow_known_failures=True)
    lenient = replace(make_plan(), baseline=(KNOWN,), release=release)
    write_leg(tmp_path / "known", lenient, "small", results_of(lenient, "small", {"boot#b": Outcome.FAILED}))
    told = decide(lenient, plan_digest(lenient), files.read_results(tmp_path / "known"))
    assert told.releasable
    assert told.known == ("small/boot#b",)
    bad = {"boot#a": Outcome.FAILED, "boot#b": Outcome.FAILED}
    write_leg(tmp_path / "more", lenient, "small", results_of(lenient, "small", bad))
    assert not decide(lenient, plan_digest(lenient), files.read_results(tmp_path / "more")).releasable


def test_another_failure_beside_it_still_does(tmp_path: Path) -> None:
    told = judged(tmp_path, KNOWN, {"boot#a": Outcome.FAILED, "boot#b": Outcome.FAILED})
    assert [(reason.kind, reason.case) for reason in told.reasons] == [(Kind.FAILED, "boot#a")]


def test_an_expired_entry_shuts_the_gate_and_names_who_answers(tmp_path: Path) -> None:
    told = judged(tmp_path, EXPIRED, {"boot#b": Outcome.FAILED})
    assert kinds(told) == [Kind.FAILED]
    assert told.reasons[0].message == ("exit 1 (known, too slow: expired on 2026-01-01, kernel-team answers for it)")


def test_an_unexpected_pass_shuts_nothing_and_is_told(tmp_path: Path) -> None:
    told = judged(tmp_path, KNOWN, {})
    assert told.releasable
    assert told.notes == ("passed unexpectedly, take out of the baseline: small/boot#b",)


def test_a_case_that_takes_its_machine_down_is_no_known_failure(tmp_path: Path) -> None:
    plan = replace(make_plan(), baseline=(KNOWN,))
    results = [
        make_result("boot", "a"),
        make_result("boot", "b", Outcome.ERRORED, loss=Loss.PANIC),
        make_result("boot", "c"),
    ]
    write_leg(tmp_path, plan, "small", results)
    assert kinds(decide(plan, plan_digest(plan), files.read_results(tmp_path))) == [Kind.CRASHED]


def test_a_suite_of_which_nothing_but_known_failures_ran_proves_nothing(tmp_path: Path) -> None:
    known = replace(KNOWN, case="boot#*")
    bad = dict.fromkeys(("boot#a", "boot#b", "boot#c"), Outcome.FAILED)
    assert kinds(judged(tmp_path, known, bad)) == [Kind.NOTHING_RUN]


def test_a_known_failure_that_has_no_business_there_is_still_out_of_place(tmp_path: Path) -> None:
    plan = replace(make_plan(left_out={"b": "too small"}), baseline=(KNOWN,))
    results = [make_result("boot", "a"), make_result("boot", "b", Outcome.FAILED), make_result("boot", "c")]
    write_leg(tmp_path, plan, "small", results)
    assert kinds(decide(plan, plan_digest(plan), files.read_results(tmp_path))) == [Kind.UNKNOWN_CASE]


def test_junit_tells_it_as_skipped_with_the_reason(tmp_path: Path) -> None:
    plan: Plan = replace(make_plan(), baseline=(KNOWN,))
    write_leg(tmp_path, plan, "small", results_of(plan, "small", {"boot#b": Outcome.FAILED}))
    stream = io.BytesIO()
    junit = JUnitWriter(stream, plan)
    decide(plan, plan_digest(plan), files.read_results(tmp_path), watch=junit.take)
    junit.close(())
    text = stream.getvalue().decode()
    assert "<failure" not in text
    assert 'message="known failure: too slow (kernel-team, until 2026-01-02): exit 1"' in text
