"""What earlier attempts have proven of a plan, so that a later one need not run it again."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from lisa_ci.errors import DataError
from lisa_ci.faults import is_proof
from lisa_ci.files import LegEvidence
from lisa_ci.model import Inventory, Plan, Result
from lisa_ci.reporting.attempts import Attempt, merged
from lisa_ci.reporting.chosen import LegRun, choose
from lisa_ci.reporting.judging import judge
from lisa_ci.reporting.known import Baseline
from lisa_ci.reporting.reasons import PROOF, Kind, Reasons

_CONTRADICTIONS: Final = frozenset({Kind.DUPLICATE_LEG, Kind.OTHER_LEG})


@dataclass(frozen=True, slots=True, kw_only=True)
class Earlier:
    """What the earlier attempts of one leg left. ``latest`` is the highest of their numbers."""

    run: LegRun
    evidence: tuple[LegEvidence, ...]

    @property
    def inventory(self) -> Inventory | None:
        """Of the attempt whose head counts."""
        return next(one.inventory for one in self.evidence if one.run == self.run.run)

    @property
    def latest(self) -> int:
        return max(run.attempt for run in self.run.attempts)

    def proofs(self) -> list[Result]:
        """The results that need not run again, each with the attempt it is from; DataError for a broken journal."""
        return list(merged([_proofs_only(one) for one in self.evidence], shown=0))


def earlier_attempts(
    plan: Plan, plan_digest: str, evidence: Iterable[LegEvidence], *, before: int | None
) -> dict[str, Earlier]:
    """Leg id -> what its attempts before ``before`` left for this plan and subject (None: whatever their number).

    A leg whose folders contradict each other is left out: then everything of it runs again.
    """
    kept = list(evidence)
    chosen = choose(plan, plan_digest, kept, latest=None if before is None else before - 1)
    doubtful = {reason.leg for reason in chosen.reasons if reason.kind in _CONTRADICTIONS}
    return {
        leg: Earlier(run=run, evidence=tuple(one for one in kept if one.run in run.attempts))
        for leg, run in chosen.runs.items()
        if leg not in doubtful and not any(head.only for head in run.attempts)
    }


def is_proven(plan: Plan, run: LegRun) -> bool:
    """True where each case of the leg has its proof, good or bad, and nothing speaks against the evidence."""
    reasons = Reasons()
    judge(plan, run, reasons, _nobody, Baseline(plan.baseline))
    return reasons.kinds <= PROOF


def proofs_of(earlier: Earlier) -> list[Result]:
    """The proofs, none where a journal cannot be read: what is damaged proves nothing."""
    try:
        return earlier.proofs()
    except DataError:
        return []


def _proofs_only(evidence: LegEvidence) -> Attempt:
    run = evidence.run
    return Attempt(run=run, results=lambda: (result for result in evidence.results() if is_proof(run, result)))


def _nobody(_run: LegRun, _result: Result) -> None:
    return
