"""Scenarios whose cases are steps of one story: each may need that others went well, and what needs one that did not
is not judged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Final

from lisa_ci.errors import MachineLostError, ProvisioningError
from lisa_ci.model import Case, Outcome, Result

_SHOWN: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """How one step ended. ``message`` is empty for what passed. ``metrics`` as in ``Result``."""

    outcome: Outcome = Outcome.PASSED
    message: str = ""
    detail: str = ""
    wall: timedelta = timedelta()
    metrics: Mapping[str, float] = field(default_factory=dict)


def failed(message: str, detail: str = "") -> Judged:
    return Judged(outcome=Outcome.FAILED, message=message, detail=detail)


def passed_unless(message: str, detail: str = "") -> Judged:
    """Failed where there is a message; the detail is kept in both cases."""
    return failed(message, detail) if message else Judged(detail=detail)


def errored(message: str) -> Judged:
    return Judged(outcome=Outcome.ERRORED, message=message)


def skipped(reason: str) -> Judged:
    return Judged(outcome=Outcome.SKIPPED, message=reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """The step of the case ``id``; it is taken only where those that it ``needs``, which stand before it, passed.

    Those of ``after`` stand before it too and are taken before it, however they end.
    """

    id: str
    take: Callable[[], Judged]
    needs: tuple[str, ...] = ()
    after: tuple[str, ...] = ()


def results_of(
    cases: Sequence[Case], steps: Sequence[Step], *, name: str, stopwatch: Callable[[], float]
) -> Iterator[Result]:
    """One result for each case: the steps that are asked for and those that they build on are taken, in their order.

    A ProvisioningError of a step is an ERRORED case. MachineLostError goes through: nothing tells what did it.
    """
    wanted = {case.id: case for case in cases}
    known = [step.id for step in steps]
    for case_id in [case_id for case_id in wanted if case_id not in known]:
        message = f"scenario {name} has no case '{case_id}', only {', '.join(known)}"
        yield result(wanted.pop(case_id), errored(message))
    taken = set(wanted)
    for step in reversed(steps):
        if step.id in taken:
            taken.update(step.needs, step.after)
    ended: dict[str, Judged] = {}
    for step in steps:
        if step.id in taken:
            ended[step.id] = _taken(step, ended, stopwatch)
        if step.id in wanted:
            yield result(wanted[step.id], ended[step.id])


def _taken(step: Step, ended: Mapping[str, Judged], stopwatch: Callable[[], float]) -> Judged:
    for need in step.needs:
        if ended[need].outcome is not Outcome.PASSED:
            said = f"{need} {ended[need].outcome}: {ended[need].message}"
            return skipped(said) if ended[need].outcome is Outcome.SKIPPED else errored(f"not judged, {said}")
    began = stopwatch()
    try:
        judged = step.take()
    except MachineLostError:
        raise
    except ProvisioningError as error:
        judged = errored(error.message)
    wall = timedelta(seconds=stopwatch() - began)
    return replace(judged, wall=wall)


def result(case: Case, judged: Judged) -> Result:
    return Result(
        suite=case.suite,
        case=case.id,
        title=case.title,
        outcome=judged.outcome,
        message=" ".join(judged.message.split())[:_SHOWN],
        detail=judged.detail,
        wall=judged.wall,
        metrics=judged.metrics,
    )


def said(output: bytes) -> str:
    """The end of what a command printed, on one line."""
    return " ".join(output[-300:].decode("utf-8", "replace").split())
