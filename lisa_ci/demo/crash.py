"""Scenario ``crash`` of the demo: what a leg must leave although its suite panics, hangs and fills its machine."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lisa_ci import files
from lisa_ci.errors import Loss
from lisa_ci.model import Outcome, Result, Run

LEG: Final = "bios"
EXPECTED: Final = {
    "before": Outcome.PASSED,
    "writes": Outcome.PASSED,
    "panics": Outcome.ERRORED,
    "hangs": Outcome.ERRORED,
    "fills-the-disk": Outcome.ERRORED,
}
_LOSSES: Final = {"panics": {Loss.PANIC, Loss.REBOOT}, "hangs": {Loss.SILENCE}}
_BROUGHT_BACK: Final = ("panics", "hangs")  # nothing runs behind the last case


@dataclass(frozen=True, slots=True, kw_only=True)
class Survived:
    """``lines`` tell people what happened, ``problems`` what did not end as it should, ``summary`` is one sentence."""

    lines: tuple[str, ...]
    problems: tuple[str, ...]
    summary: str


def survived(results: Path) -> Survived:
    """What the leg in ``results`` left; DataError where it cannot be read."""
    evidence = files.read_leg(results / LEG)
    if evidence is None:
        return Survived(lines=(), problems=("the leg left no results",), summary="no results")
    return judge(evidence.run, list(evidence.results()))


def judge(run: Run, results: list[Result]) -> Survived:
    """Pure part of ``survived``."""
    found = {result.case: result for result in results}
    lines = [f"{result.case}: {result.outcome}{': ' + result.message if result.message else ''}" for result in results]
    lines += [
        f"brought back after {recovery.case} by {recovery.method} in {recovery.wall.total_seconds():.1f} s: "
        f"{recovery.reason}"
        for recovery in run.recoveries
    ]
    problems = [
        f"{case} should be {outcome} and {f'is {found[case].outcome}' if case in found else 'has no result'}"
        for case, outcome in EXPECTED.items()
        if case not in found or found[case].outcome is not outcome
    ]
    problems += [f"{result.case} is {result.outcome} without a cause" for result in results if _lacks_cause(result)]
    brought_back = [recovery.case or "" for recovery in run.recoveries]
    for case in _BROUGHT_BACK:
        if not any(name.endswith(case) for name in brought_back):
            problems.append(f"the machine was not brought back after {case}")
    counts = Counter(result.outcome for result in results)
    told = ", ".join(f"{counts[outcome]} {outcome}" for outcome in Outcome if counts[outcome])
    spent = sum(recovery.wall.total_seconds() for recovery in run.recoveries)
    summary = f"{told}; one machine, brought back {len(run.recoveries)} times in {spent:.1f} s"
    return Survived(lines=tuple(lines), problems=tuple(problems), summary=summary)


def _lacks_cause(result: Result) -> bool:
    if result.outcome is not Outcome.ERRORED:
        return False
    return not result.message or (result.case in _LOSSES and result.loss not in _LOSSES[result.case])
