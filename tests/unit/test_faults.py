from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from lisa_ci.errors import Loss
from lisa_ci.faults import DEADLY, NO_TIMER, OF_LOSS, Fault, deadly, is_proof, of_result, of_run, unallowed
from lisa_ci.model import Category, Finding, Outcome, Result, Run

JUDGED = Run(
    leg="desk",
    plan_digest="d",
    subject_digest="s",
    attempt=1,
    started=datetime(2026, 1, 2, tzinfo=UTC),
    is_complete=True,
)
NO_MACHINE = replace(JUDGED, error="no machine")
DIED = replace(JUDGED, is_complete=False)
ERRORED = Result(suite="boot", case="a", outcome=Outcome.ERRORED)


def found(category: Category, allowed: str = "") -> Finding:
    return Finding(category=category, title=f"a {category}", fingerprint="0" * 16, allowed=allowed)


def test_every_way_to_lose_a_machine_is_somebodys_fault() -> None:
    assert set(OF_LOSS) == set(Loss)
    assert {loss for loss, fault in OF_LOSS.items() if fault is Fault.WORLD} == {Loss.CONNECTION, Loss.DESTROYED}


@pytest.mark.parametrize(
    ("run", "fault"),
    [
        (JUDGED, None),
        (NO_MACHINE, Fault.WORLD),
        (DIED, Fault.WORLD),
        (replace(NO_MACHINE, findings=(found(Category.PANIC),)), Fault.IMAGE),
        (replace(NO_MACHINE, findings=(found(Category.PANIC, "known"),)), Fault.IMAGE),
        (replace(NO_MACHINE, findings=(found(Category.WARNING),)), Fault.WORLD),
        (replace(DIED, findings=(found(Category.PANIC),)), Fault.WORLD),
        (replace(JUDGED, findings=(found(Category.PANIC),)), None),
    ],
)
def test_a_leg_without_a_machine_is_the_images_fault_where_its_console_says_so(run: Run, fault: Fault | None) -> None:
    assert of_run(run) is fault


@pytest.mark.parametrize("outcome", [Outcome.PASSED, Outcome.FAILED, Outcome.SKIPPED])
@pytest.mark.parametrize("run", [JUDGED, NO_MACHINE, DIED])
def test_a_case_that_was_judged_is_proof_whatever_became_of_its_leg(run: Run, outcome: Outcome) -> None:
    result = replace(ERRORED, outcome=outcome, loss=Loss.CONNECTION)
    assert of_result(run, result) is None
    assert is_proof(run, result)


@pytest.mark.parametrize(
    ("run", "loss", "fault"),
    [
        (JUDGED, None, Fault.TEST),
        (JUDGED, Loss.CONNECTION, Fault.WORLD),
        (JUDGED, Loss.PANIC, Fault.IMAGE),
        (NO_MACHINE, None, Fault.WORLD),
        (NO_MACHINE, Loss.PANIC, Fault.IMAGE),
        (DIED, None, Fault.WORLD),
        (DIED, Loss.SILENCE, Fault.IMAGE),
    ],
)
def test_only_what_the_world_took_may_run_again(run: Run, loss: Loss | None, fault: Fault) -> None:
    result = replace(ERRORED, loss=loss)
    assert of_result(run, result) is fault
    assert is_proof(run, result) == (fault is not Fault.WORLD)


def test_allowed_and_harmless_findings_are_no_trouble() -> None:
    told = [found(Category.WARNING, "known"), found(Category.OOM_KILL), found(Category.OOPS)]
    assert [each.category for each in unallowed(told)] == [Category.OOPS]


def test_a_panic_for_lack_of_a_timer_is_the_doing_of_what_emulates_it() -> None:
    """Debian's 6.1.192 on QEMU 7.2 beside so much other work that the timer did not tick within its test."""
    told = replace(found(Category.PANIC), title=f"Kernel panic: {NO_TIMER}  Boot with apic=debug and send a report.")
    run = replace(NO_MACHINE, findings=(told,))
    assert (deadly([told]), of_run(run), is_proof(run, ERRORED)) == (None, Fault.WORLD, False)
    assert unallowed([told]) == ()
    assert of_run(replace(run, findings=(told, found(Category.PANIC)))) is Fault.IMAGE
    for other in (replace(told, category=Category.WARNING), replace(told, case="boot#a")):
        assert unallowed([other]) == (other,)


def test_the_first_deadly_finding_is_told() -> None:
    assert deadly([found(Category.WARNING), found(Category.PANIC), found(Category.FAILED_ROOT)]) == found(
        Category.PANIC
    )
    assert deadly([found(category) for category in Category if category not in DEADLY]) is None
