"""Several attempts of a leg, merged: nothing is lost, nothing gets better, and their order does not matter."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lisa_ci import files
from lisa_ci.errors import DataError, Loss
from lisa_ci.faults import is_proof
from lisa_ci.model import Category, Finding, Outcome, Plan, Result, Run, Verdict
from lisa_ci.reporting.attempts import Attempt, merged, noted
from lisa_ci.reporting.reasons import Kind
from lisa_ci.reporting.verdict import decide
from tests.doubles.evidence import STARTED, make_plan, make_result, plan_digest, results_of, write_leg

BASE = Run(leg="small", plan_digest="p", subject_digest="s", attempt=1, started=STARTED, is_complete=True)
GOOD = {Outcome.PASSED, Outcome.SKIPPED}


def verdict(plan: Plan, results: Path, **settings: int) -> Verdict:
    return decide(plan, plan_digest(plan), files.read_results(results), **settings)  # type: ignore[arg-type]


def kinds(verdict: Verdict) -> list[str]:
    return [reason.kind for reason in verdict.reasons]


def attempt(number: int, *results: Result, error: str = "", is_complete: bool = True) -> Attempt:
    run = replace(BASE, attempt=number, error=error, is_complete=is_complete)
    return Attempt(run=run, results=lambda: iter(results))


def outcomes(*attempts: Attempt) -> dict[str, Outcome]:
    return {result.case: result.outcome for result in merged(attempts, 99)}


def lost(case: str, loss: Loss | None = Loss.CONNECTION) -> Result:
    return make_result("boot", case, Outcome.ERRORED, loss=loss)


# ---- the merge -----------------------------------------------------------------------------------------------------


def test_what_infrastructure_took_is_replaced_by_a_proof_and_a_failure_is_not() -> None:
    first = attempt(1, lost("a"), make_result("boot", "b", Outcome.FAILED), lost("c", Loss.PANIC))
    second = attempt(2, *(make_result("boot", case) for case in "abc"))
    assert outcomes(first, second) == {"a": Outcome.PASSED, "b": Outcome.FAILED, "c": Outcome.ERRORED}


def test_a_failure_that_only_a_later_attempt_saw_counts_as_well() -> None:
    first = attempt(1, make_result("boot", "a"))
    assert outcomes(first, attempt(2, make_result("boot", "a", Outcome.FAILED))) == {"a": Outcome.FAILED}


def test_of_results_without_a_proof_the_latest_is_told_and_one_that_ran_before_one_that_did_not() -> None:
    never = lost("a", None)
    first = attempt(1, replace(lost("a"), message="first"))
    third = attempt(3, replace(lost("a"), message="third"))
    told = list(merged([third, attempt(4, never, error="no machine"), first], 3))
    assert [result.message for result in told] == ["third"]


def test_only_results_of_other_attempts_say_so() -> None:
    told = merged([attempt(1, make_result("boot", "a")), attempt(2, make_result("boot", "b"))], 2)
    assert [(result.case, result.note) for result in told] == [("a", "attempt 1"), ("b", "")]


def test_a_note_of_an_attempt_stands_before_what_was_noted_and_only_once() -> None:
    result = noted(make_result("boot", "a", note="ran a second time"), 1)
    assert result.note == "attempt 1; ran a second time"
    assert noted(result, 1) == result
    assert noted(noted(result, 12), 1).note == "attempt 12; attempt 1; ran a second time"


def test_a_journal_that_breaks_hides_nothing_of_the_others() -> None:
    def broken() -> Iterator[Result]:
        yield make_result("boot", "a")
        raise DataError("torn")

    told = merged([Attempt(run=BASE, results=broken), attempt(2, make_result("boot", "b"))], 2)
    assert [result.case for result in itertools.islice(told, 2)] == ["a", "b"]
    with pytest.raises(DataError, match="torn"):
        next(told)


RESULTS = st.lists(
    st.builds(
        lambda case, outcome, loss: make_result("boot", case, outcome, loss=loss),
        st.sampled_from("abcd"),
        st.sampled_from(Outcome),
        st.none() | st.sampled_from(Loss),
    ),
    max_size=6,
)
ATTEMPTS = st.lists(st.tuples(RESULTS, st.sampled_from(["", "no machine"]), st.booleans()), min_size=1, max_size=4).map(
    lambda told: [
        attempt(number, *results, error=error, is_complete=is_complete)
        for number, (results, error, is_complete) in enumerate(told, start=1)
    ]
)


@given(ATTEMPTS, st.randoms(use_true_random=False))
@settings(deadline=None)
def test_the_order_of_attempts_does_not_matter(attempts: list[Attempt], random: object) -> None:
    shuffled = list(attempts)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert list(merged(attempts, 1)) == list(merged(shuffled, 1))


def of(attempts: Sequence[Attempt], case: str) -> list[tuple[Run, Result]]:
    return [(one.run, result) for one in attempts for result in one.results() if result.case == case]


@given(ATTEMPTS)
@settings(deadline=None)
def test_no_case_is_lost_none_is_made_up_and_nothing_bad_becomes_good(attempts: list[Attempt]) -> None:
    told = list(merged(attempts, 1))
    for case in "abcd":
        before = of(attempts, case)
        after = [result for result in told if result.case == case]
        assert bool(before) == bool(after)
        plain = [replace(result, note="") for result in after]
        assert all(result in [one for _, one in before] for result in plain)
        proofs = [result for run, result in before if is_proof(run, result)]
        if any(result.outcome not in GOOD for result in proofs):
            assert any(result.outcome not in GOOD for result in after)
        if not proofs:
            assert all(result.outcome is Outcome.ERRORED for result in after)


@given(ATTEMPTS, st.permutations([1, 2, 3, 4]))
@settings(deadline=None, max_examples=50)
def test_running_again_never_opens_a_gate_that_a_proof_has_shut(attempts: list[Attempt], order: list[int]) -> None:
    """Whatever an attempt proved against the image, no other takes it back, in whatever order they are read."""
    bad = {result.key for run, result in of_all(attempts) if is_proof(run, result) and result.outcome not in GOOD}
    told = list(merged([attempts[number - 1] for number in order if number <= len(attempts)], len(attempts)))
    assert bad <= {result.key for result in told if result.outcome not in GOOD}


def of_all(attempts: Sequence[Attempt]) -> list[tuple[Run, Result]]:
    return [(one.run, result) for one in attempts for result in one.results()]


# ---- the gate ------------------------------------------------------------------------------------------------------


def write(root: Path, plan: Plan, number: int, results: Sequence[Result] | None = None, **fields: object) -> None:
    write_leg(
        root,
        plan,
        "small",
        results,
        attempt=number,
        folder=f"lisa-ci-leg-small-{number}",
        **fields,  # type: ignore[arg-type]
    )


def test_a_second_attempt_that_proves_the_rest_makes_the_gate_green(tmp_path: Path) -> None:
    plan = make_plan()
    write(tmp_path, plan, 1, results_of(plan, "small", {"boot#b": Outcome.ERRORED}))
    assert kinds(verdict(plan, tmp_path)) == [Kind.LOST]
    write(tmp_path, plan, 2, [make_result("boot", "b")], is_complete=True)
    told = verdict(plan, tmp_path)
    assert told.releasable
    assert told.counts["passed"] == 3


def test_a_failure_stays_whatever_later_attempts_say(tmp_path: Path) -> None:
    plan = make_plan()
    failed = results_of(plan, "small", {"boot#a": Outcome.FAILED})
    write(tmp_path, plan, 1)
    write(tmp_path, plan, 2, failed)
    write(tmp_path, plan, 10)
    told = verdict(plan, tmp_path)
    assert [(reason.kind, reason.case) for reason in told.reasons] == [(Kind.FAILED, "boot#a")]
    assert told.counts == {"passed": 2, "failed": 1, "errored": 0, "skipped": 0}


def test_a_second_attempt_without_a_machine_takes_nothing_from_the_first(tmp_path: Path) -> None:
    plan = make_plan()
    write(tmp_path, plan, 1)
    never = [make_result("boot", case, Outcome.ERRORED, loss=None) for case in "abc"]
    write(tmp_path, plan, 2, never, error="no machine", has_inventory=False)
    assert verdict(plan, tmp_path).releasable


def test_an_image_that_died_is_not_brought_back_by_an_attempt_that_came_up(tmp_path: Path) -> None:
    plan = make_plan()
    panic = Finding(category=Category.PANIC, title="Kernel panic - not syncing", fingerprint="1" * 16)
    never = [make_result("boot", case, Outcome.ERRORED, loss=None) for case in "abc"]
    write(tmp_path, plan, 1, never, error="no login in 300 s", has_inventory=False, findings=(panic,))
    write(tmp_path, plan, 2)
    told = verdict(plan, tmp_path)
    assert kinds(told) == [Kind.DEAD_IMAGE, Kind.CONSOLE]
    assert not any(reason.is_infrastructure for reason in told.reasons)
    assert "Kernel panic" in told.reasons[0].message


def test_what_a_console_said_in_an_earlier_attempt_still_counts(tmp_path: Path) -> None:
    plan = make_plan()
    splat = Finding(category=Category.WARNING, title="WARNING: at x.c:1", fingerprint="2" * 16)
    write(tmp_path, plan, 1, results_of(plan, "small", {"boot#b": Outcome.ERRORED}), findings=(splat, splat))
    write(tmp_path, plan, 2, findings=(replace(splat, fingerprint="3" * 16, allowed="known, #7"),))
    assert kinds(verdict(plan, tmp_path)) == [Kind.CONSOLE]


def test_an_attempt_after_the_one_that_judges_cannot_be(tmp_path: Path) -> None:
    plan = make_plan()
    write(tmp_path, plan, 1)
    write(tmp_path, plan, 3)
    told = verdict(plan, tmp_path, latest=2)
    assert kinds(told) == [Kind.LATER_ATTEMPT]
    assert told.counts["passed"] == 3
    assert verdict(plan, tmp_path, latest=3).passed


@pytest.mark.parametrize("folder", ["lisa-ci-leg-small-2", "lisa-ci-leg-large-1"])
def test_a_folder_that_says_another_leg_or_attempt_than_its_name_is_not_believed(folder: str, tmp_path: Path) -> None:
    plan = make_plan()
    write_leg(tmp_path, plan, "small", attempt=1, folder=folder)
    assert kinds(verdict(plan, tmp_path)) == [Kind.OTHER_LEG, Kind.MISSING_LEG]


def test_an_earlier_attempt_that_is_there_twice_stays_a_reason(tmp_path: Path) -> None:
    plan = make_plan()
    write_leg(tmp_path, plan, "small", attempt=1, folder="small")
    write(tmp_path, plan, 1, results_of(plan, "small", {"boot#a": Outcome.FAILED}))
    write(tmp_path, plan, 2)
    assert Kind.DUPLICATE_LEG in kinds(verdict(plan, tmp_path))


def test_a_run_of_some_cases_after_a_whole_one_is_not_passed_over(tmp_path: Path) -> None:
    plan = make_plan()
    write(tmp_path, plan, 1)
    write(tmp_path, plan, 2, [make_result("boot", "a")], only=["boot#a"])
    assert kinds(verdict(plan, tmp_path)) == [Kind.PARTIAL_RUN]


def test_the_verdict_over_attempts_has_the_same_bytes_whatever_their_folders_are_called(tmp_path: Path) -> None:
    plan = make_plan()
    told = [
        results_of(plan, "small", {"boot#a": Outcome.FAILED}),
        results_of(plan, "small", {"boot#b": Outcome.ERRORED}),
    ]
    for root, names in (("one", ("a", "b")), ("two", ("b", "a"))):
        for number, (name, results) in enumerate(zip(names, told, strict=True), start=1):
            write_leg(tmp_path / root, plan, "small", results, attempt=number, folder=name)
    assert files.encode(verdict(plan, tmp_path / "one")) == files.encode(verdict(plan, tmp_path / "two"))
