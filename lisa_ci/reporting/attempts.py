"""Several attempts of one leg as one: no proof is lost, and none is made better by running again.

Of each case the worst proof counts, whichever attempt it is from, and the earliest of equal ones. What infrastructure
left open (``faults.is_proof``) counts only where no attempt has a proof; of those, the latest. So the order in which
attempts are found does not matter, and a case that failed once has failed for this plan.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from lisa_ci.errors import DataError
from lisa_ci.faults import is_proof
from lisa_ci.model import Outcome, Result, Run

_WORST_FIRST: Final = (Outcome.ERRORED, Outcome.FAILED, Outcome.PASSED, Outcome.SKIPPED)
_LOST: Final = len(_WORST_FIRST)
_NOT_RUN: Final = _LOST + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One attempt of a leg; ``results`` reads its journal anew at each call."""

    run: Run
    results: Callable[[], Iterator[Result]]


def merged(attempts: Sequence[Attempt], shown: int) -> Iterator[Result]:
    """The results that count. Those of another attempt than ``shown`` say in their note where they are from.

    Reads each journal twice and holds the ids of the leg's cases. What an attempt says twice of a case is given twice.
    A DataError of one journal is raised when everything that can be read was given.
    """
    ordered = sorted(attempts, key=lambda attempt: attempt.run.attempt)
    best: dict[str, int] = {}
    for number, attempt in enumerate(ordered):
        try:
            for result in attempt.results():
                weight = _rank(attempt.run, result) * len(ordered)
                weight += number if weight < _LOST * len(ordered) else len(ordered) - 1 - number
                best[result.key] = min(weight, best.get(result.key, weight))
        except DataError:
            continue  # raised below, when it is read again
    broken: DataError | None = None
    for number, attempt in enumerate(ordered):
        try:
            for result in attempt.results():
                if _number(best.get(result.key, -1), len(ordered)) == number:
                    yield result if attempt.run.attempt == shown else noted(result, attempt.run.attempt)
        except DataError as error:
            broken = broken or error
    if broken is not None:
        raise broken


def noted(result: Result, attempt: int) -> Result:
    """The result, with a note of the attempt that it is from, unless it has one."""
    told = f"attempt {attempt}"
    if told in result.note.split("; "):
        return result
    return replace(result, note="; ".join(part for part in (told, result.note) if part))


def _rank(run: Run, result: Result) -> int:
    if is_proof(run, result):
        return _WORST_FIRST.index(result.outcome)
    return _LOST if result.loss else _NOT_RUN


def _number(weight: int, attempts: int) -> int:
    """Which attempt, in their order, a weight stands for."""
    rank, place = divmod(weight, attempts)
    return place if rank < _LOST else attempts - 1 - place
