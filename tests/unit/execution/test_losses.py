"""What a lost machine, a splat or a full disk means for the case: every pair of what it promised and what happened."""

from __future__ import annotations

from datetime import timedelta

import pytest

from lisa_ci.errors import Loss, MachineLostError
from lisa_ci.execution import losses
from lisa_ci.execution.clock import OutOfTimeError
from lisa_ci.execution.frames import Ended
from lisa_ci.model import Case, Category, Completed, Expectation, Finding, Outcome, Result

SECOND = timedelta(seconds=1)
PANIC = Finding(category=Category.PANIC, title="Kernel panic: sysrq", fingerprint="0" * 16, text="the trace")
WARNING = Finding(category=Category.WARNING, title="WARNING in foo", fingerprint="1" * 16, text="cut here")
ALLOWED = Finding(category=Category.WARNING, title="WARNING in foo", fingerprint="1" * 16, allowed="known bug 42")
OOM = Finding(category=Category.OOM_KILL, title="Out of memory: killed", fingerprint="2" * 16)


def case(*expects: Expectation) -> Case:
    return Case(suite="s", id="c", title="The case", expects=expects)


def lost(loss: Loss, *findings: Finding, expects: tuple[Expectation, ...] = ()) -> Result:
    error = MachineLostError("bios at 127.0.0.1:1 is lost: gone", loss=loss)
    return losses.lost(case(*expects), error, findings, "last words", SECOND)


def judged(
    outcome: Outcome,
    *findings: Finding,
    expects: tuple[Expectation, ...] = (),
    code: int = 0,
    **ended: object,
) -> Result:
    end = Ended(1, Completed(exit=code), **ended)  # type: ignore[arg-type]
    result = Result(suite="s", case="c", outcome=outcome, exit=code, detail="said so")
    return losses.judged(case(*expects), end, result, findings)


def test_the_case_that_lost_its_machine_is_errored_with_the_finding_as_its_cause() -> None:
    result = lost(Loss.PANIC, PANIC)
    assert result.outcome is Outcome.ERRORED
    assert result.message == "while the case ran: gone: Kernel panic: sysrq"
    assert (result.loss, result.detail, result.wall, result.title) == (Loss.PANIC, "the trace", SECOND, "The case")
    assert result.findings == (PANIC,)


def test_without_a_finding_the_last_words_of_the_console_are_kept() -> None:
    result = lost(Loss.SILENCE)
    assert (result.message, result.detail) == ("while the case ran: gone", "last words")


def test_a_kill_for_want_of_memory_is_not_called_the_cause_of_a_crash() -> None:
    assert lost(Loss.PANIC, OOM, PANIC).message.endswith("gone: Kernel panic: sysrq")


@pytest.mark.parametrize(
    ("loss", "expects", "findings", "outcome"),
    [
        (Loss.PANIC, Expectation.PANIC, (PANIC,), Outcome.PASSED),
        (Loss.PANIC, Expectation.REBOOT, (PANIC,), Outcome.ERRORED),
        (Loss.PANIC, Expectation.OOM, (PANIC,), Outcome.ERRORED),
        (Loss.SILENCE, Expectation.PANIC, (PANIC,), Outcome.PASSED),
        (Loss.CONNECTION, Expectation.PANIC, (PANIC,), Outcome.PASSED),
        (Loss.SILENCE, Expectation.REBOOT, (PANIC,), Outcome.ERRORED),
        (Loss.REBOOT, Expectation.REBOOT, (), Outcome.PASSED),
        (Loss.REBOOT, Expectation.PANIC, (PANIC,), Outcome.PASSED),
        (Loss.REBOOT, Expectation.PANIC, (), Outcome.ERRORED),
        (Loss.POWER_OFF, Expectation.REBOOT, (), Outcome.ERRORED),
        (Loss.RUNNER, Expectation.OOM, (OOM,), Outcome.PASSED),
        (Loss.RUNNER, Expectation.OOM, (), Outcome.ERRORED),
        (Loss.CONNECTION, Expectation.PANIC, (), Outcome.ERRORED),
        (Loss.CONNECTION, Expectation.REBOOT, (), Outcome.ERRORED),
        (Loss.SILENCE, Expectation.PANIC, (), Outcome.ERRORED),
        (Loss.DESTROYED, Expectation.REBOOT, (), Outcome.ERRORED),
    ],
)
def test_only_what_a_case_expects_makes_a_loss_a_success(
    loss: Loss, expects: Expectation, findings: tuple[Finding, ...], outcome: Outcome
) -> None:
    result = lost(loss, *findings, expects=(expects,))
    assert result.outcome is outcome
    assert result.loss is loss


def test_the_end_of_the_legs_time_is_nobodys_success() -> None:
    error = OutOfTimeError("the leg ran out of its 60 s")
    result = losses.lost(case(Expectation.PANIC, Expectation.REBOOT), error, (), "", SECOND)
    assert (result.outcome, result.loss) == (Outcome.ERRORED, None)


def test_a_case_that_passed_while_the_kernel_splatted_is_failed() -> None:
    result = judged(Outcome.PASSED, WARNING)
    assert result.outcome is Outcome.FAILED
    assert result.message == "it passed, but the kernel said: WARNING in foo"
    assert result.detail == "said so\n\ncut here"
    assert result.findings == (WARNING,)


def test_a_skip_hides_no_splat() -> None:
    assert judged(Outcome.SKIPPED, WARNING).outcome is Outcome.FAILED


@pytest.mark.parametrize(
    ("findings", "expects", "taint"),
    [
        ((ALLOWED,), (), 0),
        ((ALLOWED,), (), 1 << 9),  # the finding that is allowed explains the taint
        ((WARNING,), (Expectation.SPLAT,), 1 << 9),
        ((OOM,), (), 0),
        ((), (), 1 << 12),  # a module from outside the tree is no fault
        ((), (), 0),
    ],
)
def test_what_is_allowed_expected_or_no_fault_leaves_a_pass_alone(
    findings: tuple[Finding, ...], expects: tuple[Expectation, ...], taint: int
) -> None:
    result = judged(Outcome.PASSED, *findings, expects=expects, taint=taint)
    assert result.outcome is Outcome.PASSED
    assert result.findings == findings


@pytest.mark.parametrize("bit", losses.TAINTS)
def test_a_taint_tells_of_a_splat_where_there_is_no_console(bit: int) -> None:
    result = judged(Outcome.PASSED, taint=bit)
    assert result.outcome is Outcome.FAILED
    assert losses.TAINTS[bit] in result.message


def test_a_failure_stays_what_its_driver_says() -> None:
    result = judged(Outcome.FAILED, WARNING, taint=1 << 9)
    assert (result.outcome, result.message, result.findings) == (Outcome.FAILED, "", (WARNING,))


def test_a_full_disk_is_no_judgement_of_the_image() -> None:
    for outcome in Outcome:
        result = judged(outcome, dirt=frozenset({"full", "files"}))
        assert result.outcome is Outcome.ERRORED
        assert result.message == "it left the machine's disk full"


def test_lost_output_is_no_judgement_either() -> None:
    assert judged(Outcome.PASSED, is_output_lost=True).outcome is Outcome.ERRORED


@pytest.mark.parametrize("expects", [Expectation.PANIC, Expectation.REBOOT, Expectation.OOM])
def test_a_case_that_did_not_do_what_it_promised_is_failed(expects: Expectation) -> None:
    result = judged(Outcome.PASSED, expects=(expects,))
    assert result.outcome is Outcome.FAILED
    assert result.message.endswith(f"where it expects: {expects}")


def test_a_case_killed_for_want_of_memory_passes_where_it_expects_that() -> None:
    assert judged(Outcome.FAILED, OOM, expects=(Expectation.OOM,), code=137).outcome is Outcome.PASSED
    assert judged(Outcome.PASSED, OOM, expects=(Expectation.OOM,)).outcome is Outcome.PASSED
    assert judged(Outcome.FAILED, expects=(Expectation.OOM,), code=137).outcome is Outcome.FAILED
    assert judged(Outcome.FAILED, OOM, code=137).outcome is Outcome.FAILED


def test_a_result_holds_a_handful_of_findings() -> None:
    assert len(judged(Outcome.PASSED, *[WARNING] * 50).findings) == losses.FINDINGS_LIMIT
