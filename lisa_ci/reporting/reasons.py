"""The kinds of reason that keep a gate shut, and a collector that a hostile leg cannot fill."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from enum import StrEnum
from typing import Final

from lisa_ci import faults
from lisa_ci.faults import Fault
from lisa_ci.github.commands import cut, printable
from lisa_ci.model import Leg, Outcome, Reason, Result, Run

PER_KIND: Final = 50
NAMES: Final = 5
_MESSAGE_UNITS: Final = 600


class Kind(StrEnum):
    """Every kind, worst first: false evidence, then what was not proven, then what the tests say.

    The values are stable: programs read them in ``verdict.json``. Each is explained in docs/report.md.
    """

    UNREADABLE = "unreadable"
    OTHER_PLAN = "other-plan"
    OTHER_SUBJECT = "other-subject"
    OTHER_LEG = "other-leg"
    UNPLANNED_LEG = "unplanned-leg"
    DUPLICATE_LEG = "duplicate-leg"
    LATER_ATTEMPT = "later-attempt"
    INCOMPLETE_SHARDS = "incomplete-shards"
    EMPTY_PLAN = "empty-plan"
    MISSING_LEG = "missing-leg"
    NOT_JUDGED = "not-judged"
    INCOMPLETE_RUN = "incomplete-run"
    PARTIAL_RUN = "partial-run"
    MISSING_INVENTORY = "missing-inventory"
    DIFFERENT_INVENTORY = "different-inventory"
    UNKNOWN_CASE = "unknown-case"
    WRONG_LEG = "wrong-leg"
    REPEATED_RESULT = "repeated-result"
    MISSING_RESULT = "missing-result"
    LOST = "lost"
    ERRORED = "errored"
    DEAD_IMAGE = "dead-image"
    CRASHED = "crashed"
    CONSOLE = "console"
    FAILED = "failed"
    NOTHING_RUN = "nothing-run"


INFRASTRUCTURE: Final = frozenset({Kind.MISSING_LEG, Kind.NOT_JUDGED, Kind.INCOMPLETE_RUN, Kind.LOST})
"""Kinds that say nothing about the image: the world failed, and a retry may help."""
PROOF: Final = frozenset({Kind.ERRORED, Kind.DEAD_IMAGE, Kind.CRASHED, Kind.CONSOLE, Kind.FAILED})
"""Kinds that are proof against the image, or a test: running the same plan again does not take them back."""
OF_CASES: Final = frozenset({Kind.LOST, Kind.ERRORED, Kind.CRASHED, Kind.FAILED})
"""Kinds of which each reason is about one result: whoever shows the results tells them there."""

_OF_FAULT: Final = {Fault.WORLD: Kind.LOST, Fault.TEST: Kind.ERRORED, Fault.IMAGE: Kind.CRASHED}

_RANK: Final = {kind: rank for rank, kind in enumerate(Kind)}


def reason(kind: Kind, message: str, *, leg: Leg | str | None = None, case: str | None = None) -> Reason:
    """One reason. The message may hold text from a machine: it is made printable, one line, and cut."""
    return Reason(
        kind=kind.value,
        message=cut(" ".join(printable(message).split()), _MESSAGE_UNITS),
        leg=leg.id if isinstance(leg, Leg) else leg,
        case=case,
        is_infrastructure=kind in INFRASTRUCTURE,
    )


def named(ids: Sequence[str]) -> str:
    """The first few ids, and how many more there are."""
    more = f" and {len(ids) - NAMES} more" if len(ids) > NAMES else ""
    return ", ".join(ids[:NAMES]) + more


def kind_of(run: Run, result: Result) -> Kind | None:
    """What a result is to the gate; None for one that shuts none."""
    fault = faults.of_result(run, result)
    if fault is not None:
        return _OF_FAULT[fault]
    return Kind.FAILED if result.outcome is Outcome.FAILED else None


class Reasons:
    """Keeps the first reasons of each kind and counts the rest."""

    def __init__(self) -> None:
        self._kept: list[Reason] = []
        self._counts: Counter[str] = Counter()

    def add(self, *reasons: Reason) -> None:
        for one in reasons:
            self._counts[one.kind] += 1
            if self._counts[one.kind] <= PER_KIND:
                self._kept.append(one)

    @property
    def kinds(self) -> frozenset[str]:
        return frozenset(self._counts)

    def __len__(self) -> int:
        return sum(self._counts.values())

    def sorted(self) -> tuple[Reason, ...]:
        """Worst kind first, as found within a kind, and after each kind how many of it are not listed."""
        rest = [
            reason(Kind(kind), f"and {count - PER_KIND} more of this kind")
            for kind, count in self._counts.items()
            if count > PER_KIND
        ]
        return tuple(sorted([*self._kept, *rest], key=lambda one: _RANK[Kind(one.kind)]))
