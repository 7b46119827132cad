"""Which of the evidence counts: for every planned leg its attempts, if they are about this plan and this subject.

Only the heads (``run.json``) and the inventories are held; results stay on disk until somebody reads them.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from lisa_ci import faults
from lisa_ci.faults import Fault
from lisa_ci.files import LegEvidence
from lisa_ci.model import Category, Finding, Leg, Plan, Reason, Receipt, Recovery, Result, Run
from lisa_ci.reporting.attempts import Attempt, merged
from lisa_ci.reporting.reasons import Kind, reason

_ARTIFACT: Final = re.compile(r"lisa-ci-leg-(.+)-([0-9]{1,9})")
_FINAL: Final = frozenset({Kind.DUPLICATE_LEG, Kind.LATER_ATTEMPT, Kind.OTHER_LEG})


@dataclass(frozen=True, slots=True, kw_only=True)
class LegRun:
    """What counts for one planned leg. ``inventory``: suite -> case ids, None where the leg wrote none.

    ``run`` is the head of the latest attempt that was judged, or of the latest; ``attempts`` are the heads of all.
    """

    leg: Leg
    run: Run
    inventory: Mapping[str, tuple[str, ...]] | None
    results: Callable[[], Iterator[Result]]
    attempts: tuple[Run, ...] = ()

    @property
    def is_judged(self) -> bool:
        """The leg came to its end and had a machine: what its cases say is about the image."""
        return faults.of_run(self.run) is None

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What the consoles of all attempts said that belongs to no case, each once."""
        found: dict[tuple[Category, str, str], Finding] = {}
        for run in self._heads:
            for one in run.findings:
                found.setdefault((one.category, one.fingerprint, one.allowed), one)
        return tuple(found.values())

    @property
    def recoveries(self) -> tuple[Recovery, ...]:
        """Each time that a machine was brought back, in all attempts."""
        return tuple(recovery for run in self._heads for recovery in run.recoveries)

    @property
    def receipts(self) -> tuple[tuple[int, Receipt], ...]:
        """Attempt and receipt of everything that was made where it costs money."""
        return tuple((run.attempt, receipt) for run in self._heads for receipt in run.receipts)

    @property
    def _heads(self) -> tuple[Run, ...]:
        return self.attempts or (self.run,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """The runs that count, by leg id, and why some of the evidence must not."""

    runs: Mapping[str, LegRun]
    reasons: tuple[Reason, ...]


def choose(plan: Plan, plan_digest: str, evidence: Iterable[LegEvidence], *, latest: int | None = None) -> Chosen:
    """Sort the evidence out: what is foreign is a reason, unless a later attempt of the same leg replaced it.

    All attempts of a leg for this plan count together (reporting/attempts.py). Those of another plan are left behind
    by "re-run all jobs" on GitHub and do no harm. Two folders of the same attempt say two things at once, and then
    nothing is proven. An attempt after ``latest``, the one that asks, cannot be.
    """
    desk = _Desk(plan=plan, plan_digest=plan_digest, latest=latest)
    for one in evidence:
        desk.take(one)
    return Chosen(runs=desk.runs(), reasons=tuple(desk.open_reasons()))


@dataclass(slots=True, kw_only=True)
class _Desk:
    plan: Plan
    plan_digest: str
    latest: int | None
    # Leg id -> attempt -> what it left.
    taken: dict[str, dict[int, LegEvidence]] = field(default_factory=dict)
    # Why a run was refused, and which attempt of which leg it was.
    refused: list[tuple[int, Reason]] = field(default_factory=list)
    # The shards of a suite write the same inventory: held once.
    _inventories: dict[bytes, tuple[str, ...]] = field(default_factory=dict)

    def take(self, evidence: LegEvidence) -> None:
        run = evidence.run
        if self.plan.leg(run.leg) is None:
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
        if self.latest is not None and run.attempt > self.latest:
            told = f"it claims to be attempt {run.attempt}, and this is attempt {self.latest}"
            self._refuse(Kind.LATER_ATTEMPT, told, run)
            return
        mixed = _mixed(evidence)
        if mixed:
            self._refuse(Kind.OTHER_LEG, mixed, run)
            return
        attempts = self.taken.setdefault(run.leg, {})
        if run.attempt in attempts:
            told = f"attempt {run.attempt} is there twice, the second time in folder {evidence.folder.name}"
            self._refuse(Kind.DUPLICATE_LEG, told, run)
            return
        attempts[run.attempt] = evidence

    def _refuse(self, kind: Kind, message: str, run: Run) -> None:
        self.refused.append((run.attempt, reason(kind, message, leg=run.leg)))

    def runs(self) -> dict[str, LegRun]:
        return {
            leg.id: self._leg_run(leg, [attempts[number] for number in sorted(attempts)])
            for leg in self.plan.legs
            if (attempts := self.taken.get(leg.id))
        }

    def _leg_run(self, leg: Leg, evidence: Sequence[LegEvidence]) -> LegRun:
        shown = _shown(evidence)
        parts = [Attempt(run=one.run, results=one.results) for one in evidence]
        suites = None if shown.inventory is None else shown.inventory.suites
        return LegRun(
            leg=leg,
            run=shown.run,
            inventory=None if suites is None else {name: self._once(ids) for name, ids in suites.items()},
            results=shown.results if len(parts) == 1 else functools.partial(merged, parts, shown.run.attempt),
            attempts=tuple(one.run for one in evidence),
        )

    def open_reasons(self) -> Iterator[Reason]:
        """The refusals that no later attempt of the same leg has made idle."""
        for attempt, why in self.refused:
            latest = max(self.taken.get(why.leg or "", {}), default=0)
            if latest <= attempt or why.kind in _FINAL:
                yield why

    def _once(self, ids: tuple[str, ...]) -> tuple[str, ...]:
        ordered = tuple(sorted(ids))
        digest = hashlib.sha256("\0".join(ordered).encode("utf-8", "replace")).digest()
        return self._inventories.setdefault(digest, ordered)


def _shown(evidence: Sequence[LegEvidence]) -> LegEvidence:
    """The latest attempt whose image was dead, else the latest that was judged, else the latest.

    A run of some cases is not passed over where it is the latest: somebody has to see it.
    """
    if evidence[-1].run.only:
        return evidence[-1]
    for fault in (Fault.IMAGE, None):
        told = [one for one in evidence if not one.run.only and faults.of_run(one.run) is fault]
        if told:
            return told[-1]
    return evidence[-1]


def _mixed(evidence: LegEvidence) -> str:
    """What shows that a folder holds files of two legs, or of two attempts; '' for nothing."""
    run, inventory = evidence.run, evidence.inventory
    if inventory is not None and inventory.leg != run.leg:
        return f"its inventory is that of another leg, {inventory.leg!r}"
    named = _ARTIFACT.fullmatch(evidence.folder.name)
    if named is not None and (named[1], int(named[2])) != (run.leg, run.attempt):
        return f"folder {evidence.folder.name} holds attempt {run.attempt} of this leg"
    return ""


def _short(digest: str) -> str:
    return digest[:16] or "none"
