"""A case's result, put together in the one way that all drivers share; and how many sub-tests of it are kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from lisa_ci.drivers import wording
from lisa_ci.drivers.metrics import metrics
from lisa_ci.model import Case, Completed, Outcome, Result, SubResult

CHILD_LIMIT: Final = 10_000  # sub-tests kept of one case; only failures may take the last tenth
NAME_LIMIT: Final = 300  # characters of a sub-test's name
BAD: Final = frozenset({Outcome.FAILED, Outcome.ERRORED})


@dataclass(slots=True)
class Room:
    """Counts the sub-tests of one case over all depths."""

    kept: int = 0
    dropped: int = 0

    def keep(self, outcome: Outcome) -> bool:
        """True when a sub-test with this outcome still has room; else it is counted as dropped."""
        room = CHILD_LIMIT if outcome in BAD else CHILD_LIMIT - CHILD_LIMIT // 10
        if self.kept >= room:
            self.dropped += 1
            return False
        self.kept += 1
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where in the sources a test says that it failed; ``line`` counts from 1."""

    file: str
    line: int | None = None


def result_of(
    case: Case,
    completed: Completed,
    outcome: Outcome,
    message: str,
    *,
    children: tuple[SubResult, ...] = (),
    dropped_children: int = 0,
    place: Place | None = None,
    measures: bool = False,
) -> Result:
    """The result of ``case``; its output's tail and the place only where it did not end well.

    ``measures``: its output may hold figures.
    """
    figures, note = metrics(completed) if measures else ({}, "")
    is_bad = outcome in BAD
    return Result(
        suite=case.suite,
        case=case.id,
        title=case.title,
        outcome=outcome,
        message=wording.one_line(message),
        detail=wording.detail(completed) if is_bad else "",
        exit=completed.exit,
        wall=completed.wall,
        cpu=completed.cpu,
        peak_memory_bytes=completed.peak_memory_bytes,
        children=children,
        dropped_children=dropped_children,
        file=place.file if is_bad and place else None,
        line=place.line if is_bad and place else None,
        metrics=figures,
        note=note,
    )
