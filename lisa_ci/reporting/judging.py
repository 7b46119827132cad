"""One leg against the plan: is there exactly one result for every case that it had to run?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import Enum
from fnmatch import fnmatchcase
from typing import Final

from lisa_ci import faults
from lisa_ci.errors import DataError
from lisa_ci.faults import Fault
from lisa_ci.model import Outcome, Plan, PlannedSuite, Reason, Result, Run, Task, is_id
from lisa_ci.reporting.chosen import LegRun
from lisa_ci.reporting.known import Baseline
from lisa_ci.reporting.reasons import Kind, Reasons, kind_of, named, reason

Watch = Callable[[LegRun, Result], None]
UNPLANNED: Final = "(not planned)"
"""Results of suites that are not planned on the leg are counted under one name, however many names they use."""
_UNTOLD: Final = {
    Kind.FAILED: "the case failed",
    Kind.CRASHED: "the machine died while the case ran",
    Kind.ERRORED: "the case could not judge the image",
    Kind.LOST: "the machine was lost while the case ran",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """How the cases of one leg ended, suite by suite."""

    suites: Mapping[str, Counter[Outcome]]

    @property
    def total(self) -> Counter[Outcome]:
        return sum(self.suites.values(), Counter())


def judge(plan: Plan, run: LegRun, reasons: Reasons, watch: Watch, baseline: Baseline) -> Counts:
    """Read the leg's results once; add to ``reasons`` whatever speaks against it and is no known failure.

    A leg that was not judged, died, or ran only some cases gets one reason for all the results that it lacks.
    """
    tasks = {task.suite: _Open.of(task, run, _planned(plan, task.suite)) for task in run.leg.tasks}
    suites: dict[str, Counter[Outcome]] = {task: Counter() for task in tasks}
    try:
        for result in run.results():
            taken = baseline.tell(run.run, run.leg, result)
            suites.setdefault(result.suite if result.suite in tasks else UNPLANNED, Counter())[taken.outcome] += 1
            watch(run, taken)
            _judge_result(run, tasks.get(result.suite), result, taken, reasons)
    except DataError as error:
        reasons.add(reason(Kind.UNREADABLE, str(error), leg=run.leg))
    counts = Counts(suites=suites)
    if run.run.only:
        told = f"the leg ran with --case {' '.join(run.run.only)}: not everything that was planned"
        reasons.add(reason(Kind.PARTIAL_RUN, told, leg=run.leg))
    reasons.add(*_said_by_console(run))
    if faults.of_run(run.run) is Fault.IMAGE:
        reasons.add(reason(Kind.DEAD_IMAGE, dead(run.run), leg=run.leg))
    elif run.run.error:
        reasons.add(reason(Kind.NOT_JUDGED, f"the image was not judged: {run.run.error}", leg=run.leg))
    elif not run.run.is_complete:
        told = f"the leg died on its way; cases with a result: {counts.total.total()}"
        reasons.add(reason(Kind.INCOMPLETE_RUN, told, leg=run.leg))
    elif not run.run.only:
        for task in tasks.values():
            task.close(run, reasons)
    return counts


def dead(run: Run) -> str:
    """What a leg tells whose image took its machine down for good."""
    found = faults.deadly(run.findings)
    return f"the image gave no machine: {run.error}; its console: {found.title if found else 'nothing'}"


def is_told_by_leg(run: Run, result: Result) -> bool:
    """True for a case that only lacks a machine: one reason tells it for the whole leg."""
    return result.outcome is Outcome.ERRORED and result.loss is None and faults.of_run(run) is not None


def _said_by_console(run: LegRun) -> Iterator[Reason]:
    for found in faults.unallowed(run.findings):
        told = f"while no case ran, the console said: {found.title} ({found.category}, {found.fingerprint})"
        yield reason(Kind.CONSOLE, told, leg=run.leg)


def _planned(plan: Plan, suite: str) -> PlannedSuite | None:
    return next((planned for planned in plan.suites if planned.name == suite), None)


class _Stand(Enum):
    """Where a case stands on this leg. ELSEWHERE: another shard has it."""

    MISSING = 1
    SEEN = 2
    ELSEWHERE = 3
    LEFT_OUT = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class _Selection:
    """Which cases a task has to run. ``globs`` are the keys of ``left_out`` that are no ids."""

    task: Task
    globs: tuple[str, ...]

    @classmethod
    def of(cls, task: Task) -> _Selection:
        return cls(task=task, globs=tuple(key for key in task.left_out if not is_id(key)))

    def stand(self, case: str) -> _Stand:
        """Where a case stands before there are results."""
        if not self.task.shard.contains(case):
            return _Stand.ELSEWHERE
        return _Stand.LEFT_OUT if self.is_left_out(case) else _Stand.MISSING

    def is_left_out(self, case: str) -> bool:
        """True for a case that was planned to be left out, by selection or because the profile cannot run it."""
        if self.task.only and not any(fnmatchcase(case, glob) for glob in self.task.only):
            return True
        return case in self.task.left_out or any(fnmatchcase(case, glob) for glob in self.globs)


@dataclass(slots=True, kw_only=True)
class _Open:
    """A task and where each case of its suite stands. ``cases`` None: the leg wrote no inventory of the suite.

    One dictionary for everything, because a suite may have a million cases.
    """

    selection: _Selection
    planned: frozenset[str] | None
    cases: dict[str, _Stand] | None

    @classmethod
    def of(cls, task: Task, run: LegRun, planned: PlannedSuite | None) -> _Open:
        ids = None if run.inventory is None else run.inventory.get(task.suite)
        selection = _Selection.of(task)
        return cls(
            selection=selection,
            planned=None if planned is None or planned.cases is None else frozenset(planned.cases),
            cases=None if ids is None else {case: selection.stand(case) for case in ids},
        )

    def close(self, run: LegRun, reasons: Reasons) -> None:
        """After the last result: what the suite still owes."""
        suite = self.selection.task.suite
        if self.cases is None:
            told = f"the leg does not say which cases suite {suite} has on its machine"
            reasons.add(reason(Kind.MISSING_INVENTORY, told, leg=run.leg))
            return
        if self.planned is not None:
            reasons.add(*self._other_than_planned(run, self.planned, self.cases.keys()))
        for case, stand in self.cases.items():
            if stand is _Stand.MISSING:
                reasons.add(reason(Kind.MISSING_RESULT, "the case has no result", leg=run.leg, case=f"{suite}#{case}"))

    def _other_than_planned(self, run: LegRun, planned: frozenset[str], ids: AbstractSet[str]) -> list[Reason]:
        lost = sorted(case for case in planned - ids if not self.selection.is_left_out(case))
        added = sorted(ids - planned)
        suite = self.selection.task.suite
        told = [
            *([f"suite {suite} lacks planned cases: {named(lost)}"] if lost else []),
            *([f"suite {suite} has cases that were not planned: {named(added)}"] if added else []),
        ]
        return [reason(Kind.DIFFERENT_INVENTORY, message, leg=run.leg) for message in told]


def _judge_result(run: LegRun, task: _Open | None, result: Result, taken: Result, reasons: Reasons) -> None:
    """``taken`` is the result as the baseline takes it; whether it belongs here is asked of what the leg left."""
    kind, told = _misplaced(task, result)
    if kind is not None:
        reasons.add(reason(kind, told, leg=run.leg, case=result.key))
    bad = None if is_told_by_leg(run.run, taken) else kind_of(run.run, taken)
    if bad is not None:
        reasons.add(reason(bad, taken.message or _UNTOLD[bad], leg=run.leg, case=result.key))


def _misplaced(task: _Open | None, result: Result) -> tuple[Kind | None, str]:
    """Why this result does not belong here; (None, "") when it does. Strikes the case off the missing ones."""
    if task is None:
        return Kind.UNKNOWN_CASE, "the suite is not planned on this leg"
    stand = task.selection.stand(result.case) if task.cases is None else task.cases.get(result.case)
    match stand:
        case None:
            return Kind.UNKNOWN_CASE, "there is a result for a case that the machine's inventory does not have"
        case _Stand.ELSEWHERE:
            shard = task.selection.task.shard
            return Kind.WRONG_LEG, f"the case belongs to another shard than {shard.index} of {shard.count}"
        case _Stand.LEFT_OUT if result.outcome is not Outcome.SKIPPED:
            return Kind.UNKNOWN_CASE, "the case was to be left out, and has a result"
        case _Stand.SEEN:
            return Kind.REPEATED_RESULT, "the case has more than one result"
        case _Stand.MISSING if task.cases is not None:
            task.cases[result.case] = _Stand.SEEN
    return None, ""
