"""Known failures at the gate: which results they excuse, and what has to be told of them.

A day counts by the leg's own start, never by the clock of whoever reads the results: the same plan and results give
the same verdict.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

from lisa_ci.model import KnownFailure, Leg, Outcome, Result, Run
from lisa_ci.reporting.reasons import NAMES, Kind

_GLOB: Final = re.compile(r"[*?\[]")
EXCUSABLE: Final = frozenset({Kind.FAILED, Kind.ERRORED})
"""A case that takes its machine down, or was lost with it, is no known failure: skip it in the pipeline instead."""


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
        self._passed: list[str] = []
        self._passed_count = 0

    def take(self, run: Run, leg: Leg, result: Result, kind: Kind | None) -> KnownFailure | None:
        """The entry that takes this result off the gate; None where it counts as it is.

        ``kind`` is what the result is to the gate. Every result is shown, so that unexpected passes are seen.
        """
        if not self._known:
            return None
        found = self._find(run, leg, result)
        if found is None:
            return None
        index, entry = found
        if result.outcome is Outcome.PASSED:
            self._passed_count += 1
            if len(self._passed) < NAMES:
                self._passed.append(f"{leg.profile.name}/{result.key}")
        elif kind in EXCUSABLE:
            self._excused[index] += 1
            examples = self._examples.setdefault(index, [])
            if len(examples) < NAMES:
                examples.append(f"{leg.profile.name}/{result.key}")
            return entry
        return None

    def expired(self, run: Run, leg: Leg, result: Result) -> str:
        """What to add to the reason of a failure that was known until its entry expired; ''."""
        for _, entry in self._about(leg, result):
            if not _counts(entry, run):
                return f" (known, {entry.reason}: expired on {entry.expires.isoformat()}, {entry.owner} answers for it)"
        return ""

    @property
    def excused(self) -> int:
        """Results that were taken off the gate."""
        return self._excused.total()

    def notes(self) -> Iterator[str]:
        """What people must know though it does not shut the gate."""
        for index, count in sorted(self._excused.items()):
            entry, names = self._known[index], self._examples[index]
            more = f" and {count - len(names)} more" if count > len(names) else ""
            link = f", {entry.link}" if entry.link else ""
            until = f"{entry.owner}, until {entry.expires.isoformat()}{link}"
            yield f"known failure: {', '.join(names)}{more}: {entry.reason} ({until})"
        if self._passed:
            rest = self._passed_count - len(self._passed)
            more = f" and {rest} more" if rest else ""
            yield f"passed unexpectedly, take them out of the baseline: {', '.join(self._passed)}{more}"

    def _find(self, run: Run, leg: Leg, result: Result) -> tuple[int, KnownFailure] | None:
        return next(((index, entry) for index, entry in self._about(leg, result) if _counts(entry, run)), None)

    def _about(self, leg: Leg, result: Result) -> Iterator[tuple[int, KnownFailure]]:
        """The entries about a case on a leg's profile, in the order of the file."""
        for index in sorted([*self._exact.get(result.key, ()), *self._globs]):
            if self._known[index].covers(leg.profile.name, result.key):
                yield index, self._known[index]


def _counts(entry: KnownFailure, run: Run) -> bool:
    return run.started.date() <= entry.expires
