"""The evidence in a release: the plan and what its legs left, judged anew each time. A stored verdict is never read.

The judge comes from outside (``reporting.decide``, wired by the commands), so that the gate of a pull request and
the gate of a signature are one and the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from lisa_ci import files
from lisa_ci.errors import DataError
from lisa_ci.files import LegEvidence
from lisa_ci.model import Outcome, Plan, Result, Verdict
from lisa_ci.release import folder

MAX_NAMES: Final = 200_000

Seen = Callable[[str, Result], None]


class Judge(Protocol):
    """Decides from the plan and the evidence, and tells ``seen`` each result that counts, with its leg's id."""

    def __call__(self, plan: Plan, plan_digest: str, evidence: Iterable[LegEvidence], seen: Seen) -> Verdict: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What the evidence says. ``passed``, ``failed`` and ``known`` (failed as the baseline knows) are
    ``leg/suite#case``, sorted.
    """

    plan_digest: str
    verdict: Verdict
    passed: tuple[str, ...]
    failed: tuple[str, ...]
    known: tuple[str, ...] = ()


def read(root: Path, judge: Judge) -> Proof:
    """Judge the evidence of the release in ``root``. DataError where it cannot be read."""
    plan, digest = files.read_plan(root / folder.PLAN)
    passed: set[str] = set()
    failed: set[str] = set()

    def seen(leg: str, result: Result) -> None:
        if len(passed) + len(failed) >= MAX_NAMES:
            raise DataError(f"{folder.EVIDENCE} has more than {MAX_NAMES} results")
        if result.outcome is Outcome.PASSED:
            passed.add(f"{leg}/{result.key}")
        elif result.outcome is not Outcome.SKIPPED:
            failed.add(f"{leg}/{result.key}")

    verdict = judge(plan, digest, files.read_results(root / folder.RESULTS), seen)
    return Proof(
        plan_digest=digest,
        verdict=verdict,
        passed=tuple(sorted(passed)),
        failed=tuple(sorted(failed)),
        known=verdict.known,
    )
