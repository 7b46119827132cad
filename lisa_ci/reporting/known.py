"""Known failures at the gate: which results they excuse, and what has to be told of them.

A day counts by the leg's own start, never by the clock of whoever reads the results: the same plan and results give
the same verdict.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

from lisa_ci.model import KnownFailure, Leg, Outcome, Result, Run
from lisa_ci.reporting.reasons import NAMES, Kind, kind_of

EXCUSABLE: Final = frozenset({Kind.FAILED, Kind.ERRORED})
"""A case that takes its machine down, or was lost with it, is no known failure: skip it in the pipeline instead."""
_GLOB: Final = re.compile(r"[*?\[]")


class Baseline:
    """The plan's known failures, and what the results say about each."""

    def __init__(self, known: Sequence[KnownFailure]) -> None:
        self._known = known
        self._exact: dict[str, list[int]] = {}  # thousands of entries are one look-up for a case, not thousands
        self._globs: list[int] = []
        for index, entry in enumerate(known):
            if _GLOB.search(entry.case):
                self._globs.append(index)
            else:
                self._exact.setdefault(entry.case, []).append(index)
        self._excused: Counter[int] = Counter()
        self._examples: dict[int, list[str]] = {}
        self._names: list[str] = []
        self._passed: list[str] = []
        self._passed_count = 0

    def tell(self, run: Run, leg: Leg, result: Result) -> Result:
        """The result as gate and report take it: SKIPPED for a known failure, with its entry as the reason.

        A failure whose entry has expired says so. Every result is shown, so that unexpected passes are seen.
        """
        about = [] if not self._known else list(self._about(leg, result))
        if not about:
            return result
        counting = next((index for index in about if _counts(self._known[index], run)), None)
        if result.outcome is Outcome.PASSED:
            if counting is not None:
                self._pass(f"{leg.profile.name}/{result.key}")
            return result
        if kind_of(run, result) not in EXCUSABLE:
            return result
        if counting is None:
            return replace(result, message=f"{result.message or 'failed'} ({_over(self._known[about[0]])})")
        self._excuse(counting, f"{leg.profile.name}/{result.key}")
        self._names.append(f"{leg.id}/{result.key}")
        said = f": {result.message}" if result.message else ""
        return replace(result, outcome=Outcome.SKIPPED, message=f"known failure: {_words(self._known[counting])}{said}")

    @property
    def excused(self) -> tuple[str, ...]:
        """The results that were taken off the gate, ``leg/suite#case``, sorted."""
        return tuple(sorted(self._names))

    def notes(self) -> Iterator[str]:
        """What people must know though it does not shut the gate."""
        for index, count in sorted(self._excused.items()):
            names = self._examples[index]
            yield f"known failure: {_named(names, count)}: {_words(self._known[index])}"
        if self._passed:
            yield f"passed unexpectedly, take out of the baseline: {_named(self._passed, self._passed_count)}"

    def _pass(self, name: str) -> None:
        self._passed_count += 1
        if len(self._passed) < NAMES:
            self._passed.append(name)

    def _excuse(self, index: int, name: str) -> None:
        self._excused[index] += 1
        examples = self._examples.setdefault(index, [])
        if len(examples) < NAMES:
            examples.append(name)

    def _about(self, leg: Leg, result: Result) -> Iterator[int]:
        """The entries about a case on a leg's profile, in the order of the file."""
        for index in sorted([*self._exact.get(result.key, ()), *self._globs]):
            if self._known[index].covers(leg.profile.name, result.key):
                yield index


def _counts(entry: KnownFailure, run: Run) -> bool:
    return run.started.date() <= entry.expires


def _words(entry: KnownFailure) -> str:
    link = f", {entry.link}" if entry.link else ""
    return f"{entry.reason} ({entry.owner}, until {entry.expires.isoformat()}{link})"


def _over(entry: KnownFailure) -> str:
    return f"known, {entry.reason}: expired on {entry.expires.isoformat()}, {entry.owner} answers for it"


def _named(names: Sequence[str], count: int) -> str:
    more = f" and {count - len(names)} more" if count > len(names) else ""
    return ", ".join(names) + more
