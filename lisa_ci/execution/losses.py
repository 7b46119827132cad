"""What a lost machine, a splat or a full disk means for the case it happened to. Pure."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from lisa_ci import faults
from lisa_ci.errors import Loss, MachineLostError, ProvisioningError
from lisa_ci.execution.frames import Ended
from lisa_ci.execution.record import errored
from lisa_ci.model import Case, Category, Expectation, Finding, Outcome, Result

FINDINGS_LIMIT: Final = 5  # of one result
# Bits of /proc/sys/kernel/tainted by which the kernel says that something went wrong in it (tainted-kernels.rst).
TAINTS: Final = {
    1 << 4: "a machine check",
    1 << 5: "a bad page",
    1 << 7: "an oops",
    1 << 9: "a warning",
    1 << 14: "a lockup",
}
_LOST_OUTPUT: Final = "its output is lost: something held it open, or killed the part of the runner that keeps it"
_KILLED: Final = 137  # 128 + SIGKILL
_FULL: Final = "it left the machine's disk full"


_ROLE: Final = re.compile(r"\((server[0-9]{0,2})\) at \S+ is lost: ")


def reason(error: ProvisioningError) -> str:
    """Why a machine was lost, without its name: whoever reads it knows the machine by its leg, and by its role."""
    role = role_of(error)
    return f"{role}: {why}" if (why := error.message.rpartition(" is lost: ")[2]) and role else why


def role_of(error: ProvisioningError) -> str:
    """The role of the machine that was lost; '' for the one that cases run in."""
    found = _ROLE.search(error.message)
    return found[1] if found else ""


def lost(case: Case, error: ProvisioningError, findings: Sequence[Finding], last_words: str, wall: timedelta) -> Result:
    """The result of a case under which the machine, or the leg's time, went away, ``wall`` after it began."""
    loss = error.loss if isinstance(error, MachineLostError) else None
    mine = tuple(findings[:FINDINGS_LIMIT])
    why = reason(error)
    title = next((found.title for found in mine if found.category is not Category.OOM_KILL), "")
    detail = "\n\n".join(found.text for found in mine if found.text) or last_words
    if _happened(loss, mine) in case.expects:
        return Result(
            suite=case.suite,
            case=case.id,
            title=case.title,
            outcome=Outcome.PASSED,
            message=f"as expected: {why}"[:500],
            detail=detail,
            wall=wall,
            loss=loss,
            findings=mine,
        )
    result = errored(case, f"while the case ran: {why}{f': {title}' if title else ''}", detail=detail)
    return dataclasses.replace(result, loss=loss, findings=mine, wall=wall)


def _happened(loss: Loss | None, findings: Sequence[Finding]) -> Expectation | None:
    """What the case did to its machine, in the words of what it may expect."""
    said = {found.category for found in findings}
    match loss:
        case Loss.PANIC:
            return Expectation.PANIC
        case Loss.REBOOT:  # many kernels reboot by themselves after a panic
            return Expectation.PANIC if Category.PANIC in said else Expectation.REBOOT
        case Loss.SILENCE | Loss.CONNECTION if Category.PANIC in said:  # a machine whose platform tells no panic
            return Expectation.PANIC
        case Loss.RUNNER if Category.OOM_KILL in said:
            return Expectation.OOM
    return None


def judged(case: Case, ended: Ended, result: Result, findings: Sequence[Finding]) -> Result:
    """The driver's result, held against what the kernel said and what the case did to its machine."""
    mine = tuple(findings[:FINDINGS_LIMIT])
    result = dataclasses.replace(result, findings=mine)
    if ended.is_output_lost:
        return _not_judged(result, _LOST_OUTPUT)
    if "full" in ended.dirt:
        return _not_judged(result, _FULL)
    if _was_killed_as_expected(case, result, mine):
        return dataclasses.replace(result, outcome=Outcome.PASSED, message="as expected: killed for want of memory")
    if result.outcome not in {Outcome.PASSED, Outcome.SKIPPED}:
        return result
    missing = _missing(case, mine)
    if missing:
        return _failed(result, f"it passed, but {missing}")
    trouble = _trouble(case, ended.taint, mine)
    return _failed(result, f"it {result.outcome}, but {trouble}") if trouble else result


def observed(case: Case, result: Result, findings: Sequence[Finding]) -> Result:
    """A scenario's result, held against what the kernels of its machines said meanwhile."""
    mine = tuple(findings[:FINDINGS_LIMIT])
    result = dataclasses.replace(result, findings=mine)
    trouble = "" if case.expects else _trouble(case, 0, mine)
    return _failed(result, f"it passed, but {trouble}") if trouble and result.outcome is Outcome.PASSED else result


def _was_killed_as_expected(case: Case, result: Result, findings: Sequence[Finding]) -> bool:
    was_killed = result.exit == _KILLED and any(found.category is Category.OOM_KILL for found in findings)
    return was_killed and Expectation.OOM in case.expects


def _missing(case: Case, findings: Sequence[Finding]) -> str:
    """What the case promised to do to its machine, and has not done."""
    if {Expectation.PANIC, Expectation.REBOOT} & set(case.expects):
        return f"its machine went on, where it expects: {', '.join(case.expects)}"
    if Expectation.OOM in case.expects and not any(found.category is Category.OOM_KILL for found in findings):
        return "nothing was killed for want of memory, where it expects: oom"
    return ""


def _trouble(case: Case, taint: int, findings: Sequence[Finding]) -> str:
    """What the kernel said, where neither the case nor the allow-list expects it."""
    if Expectation.SPLAT in case.expects:
        return ""
    bad = faults.unallowed(findings)
    if bad:
        return f"the kernel said: {bad[0].title}"
    told = [what for bit, what in TAINTS.items() if taint & bit]
    # A finding that the allow-list knows explains the taint that came with it.
    if told and not any(found.allowed for found in findings):
        return f"the kernel became tainted by {' and '.join(told)}"
    return ""


def _not_judged(result: Result, message: str) -> Result:
    """What the driver made of the output says nothing of the image, but it is told."""
    detail = "\n\n".join(part for part in (result.message, result.detail) if part)
    return dataclasses.replace(result, outcome=Outcome.ERRORED, message=message, detail=detail, children=())


def _failed(result: Result, message: str) -> Result:
    detail = "\n\n".join([result.detail, *(found.text for found in result.findings)]).strip()
    return dataclasses.replace(result, outcome=Outcome.FAILED, message=message[:500], detail=detail)
