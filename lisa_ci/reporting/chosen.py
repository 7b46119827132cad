"""Which of the evidence counts: for every planned leg its latest attempt, if it is about this plan and this subject.

Only the heads (``run.json``) and the inventories are held; results stay on disk until somebody reads them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from lisa_ci.files import LegEvidence
from lisa_ci.model import Leg, Plan, Reason, Result, Run
from lisa_ci.reporting.reasons import Kind, reason


@dataclass(frozen=True, slots=True, kw_only=True)
class LegRun:
    """What counts for one planned leg. ``inventory``: suite -> case ids, None where the leg wrote none."""

    leg: Leg
    run: Run
    inventory: Mapping[str, tuple[str, ...]] | None
    results: Callable[[], Iterator[Result]]

    @property
    def is_judged(self) -> bool:
        """The leg came to its end and had a machine: what its cases say is about the image."""
        return self.run.is_complete and not self.run.error


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """The runs that count, by leg id, and why some of the evidence must not."""

    runs: Mapping[str, LegRun]
    reasons: tuple[Reason, ...]


def choose(plan: Plan, plan_digest: str, evidence: Iterable[LegEvidence]) -> Chosen:
    """Sort the evidence out: what is foreign is a reason, unless a later attempt of the same leg replaced it.

    The latest attempt of a leg replaces earlier ones: "re-run failed jobs" on GitHub adds attempts of the same plan,
    "re-run all jobs" those of a new plan, and the artifacts of the old one stay. Two folders of the same attempt say
    two things at once, and then nothing is proven.
    """
    desk = _Desk(plan=plan, plan_digest=plan_digest)
    for one in evidence:
        desk.take(one)
    return Chosen(runs=desk.runs, reasons=tuple(desk.open_reasons()))


@dataclass(slots=True, kw_only=True)
class _Desk:
    plan: Plan
    plan_digest: str
    runs: dict[str, LegRun] = field(default_factory=dict)
    # Why a run was refused, and which attempt of which leg it was.
    refused: list[tuple[int, Reason]] = field(default_factory=list)
    # The shards of a suite write the same inventory: held once.
    _inventories: dict[bytes, tuple[str, ...]] = field(default_factory=dict)

    def take(self, evidence: LegEvidence) -> None:
        run = evidence.run
        leg = self.plan.leg(run.leg)
        if leg is None:
            folder = evidence.folder.name
            self._refuse(Kind.UNPLANNED_LEG, f"folder {folder} holds results for a leg that is not in the plan", run)
            return
        if run.plan_digest != self.plan_digest:
            told = f"{_short(run.plan_digest)}, not {_short(self.plan_digest)}"
            self._refuse(Kind.OTHER_PLAN, f"attempt {run.attempt} is about another plan: {told}", run)
            return
        subject = self.plan.subject.digest
        if run.subject_digest != subject:
            told = f"{_short(run.subject_digest)}, not {_short(subject)}"
            self._refuse(Kind.OTHER_SUBJECT, f"attempt {run.attempt} tested another image: {told}", run)
            return
        inventory = evidence.inventory
        if inventory is not None and inventory.leg != run.leg:
            self._refuse(Kind.OTHER_LEG, f"its inventory is that of another leg, {inventory.leg!r}", run)
            return
        before = self.runs.get(run.leg)
        if before is not None and before.run.attempt == run.attempt:
            told = f"attempt {run.attempt} is there twice, the second time in folder {evidence.folder.name}"
            self._refuse(Kind.DUPLICATE_LEG, told, run)
        elif before is None or before.run.attempt < run.attempt:
            held = None if inventory is None else {name: self._once(ids) for name, ids in inventory.suites.items()}
            self.runs[run.leg] = LegRun(leg=leg, run=run, inventory=held, results=evidence.results)

    def _refuse(self, kind: Kind, message: str, run: Run) -> None:
        self.refused.append((run.attempt, reason(kind, message, leg=run.leg)))

    def open_reasons(self) -> Iterator[Reason]:
        """The refusals that no later attempt of the same leg has made idle."""
        for attempt, why in self.refused:
            counts = self.runs.get(why.leg or "")
            if counts is None or counts.run.attempt <= attempt:
                yield why

    def _once(self, ids: tuple[str, ...]) -> tuple[str, ...]:
        ordered = tuple(sorted(ids))
        digest = hashlib.sha256("\0".join(ordered).encode("utf-8", "replace")).digest()
        return self._inventories.setdefault(digest, ordered)


def _short(digest: str) -> str:
    return digest[:16] or "none"
