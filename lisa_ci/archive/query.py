"""Questions to summaries: which runs, which of their cases, and how often. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Final

from lisa_ci.archive.layout import OUTCOMES, RunName, Summary
from lisa_ci.model import Outcome

_LISTS_MOST: Final = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is asked for; an empty field asks for nothing.

    ``names``, ``legs``, ``profiles`` and ``cases`` (``suite#case``) are globs of which one has to match; ``subject``
    and ``finding`` (a fingerprint) are beginnings; ``until`` is the last day.
    """

    since: date | None = None
    until: date | None = None
    names: tuple[str, ...] = ()
    legs: tuple[str, ...] = ()
    profiles: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    subject: str = ""
    cases: tuple[str, ...] = ()
    outcomes: frozenset[Outcome] = frozenset()
    finding: str = ""

    def takes_name(self, name: RunName) -> bool:
        """What can be said of a run before its summary is read."""
        return (
            (self.since is None or name.day >= self.since)
            and (self.until is None or name.day <= self.until)
            and _any(self.names, name.name)
            and _any(self.legs, name.leg)
        )

    def takes_run(self, run: Summary) -> bool:
        return (
            _any(self.profiles, run.profile)
            and run.subject.startswith(self.subject)
            and all(run.labels.get(name) == value for name, value in self.labels.items())
            and (not self.finding or any(mark.fingerprint.startswith(self.finding) for mark in run.findings))
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseRow:
    """How a case ended in a run."""

    run: Summary
    case: str
    outcome: Outcome
    wall_ms: int


class Cases:
    """The cases that are asked for; the runs of a month share their lists, so each list is looked at once."""

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self._letters = {letter for letter, outcome in OUTCOMES.items() if outcome in wanted.outcomes}
        self._positions: dict[tuple[str, ...], tuple[int, ...]] = {}

    def of(self, run: Summary) -> Iterator[CaseRow]:
        """With a finding asked for: the cases that it came up in."""
        marked = None
        if self._wanted.finding:
            marked = {mark.case for mark in run.findings if mark.fingerprint.startswith(self._wanted.finding)}
        for position in self._in(run.cases):
            letter = run.outcomes[position]
            if self._letters and letter not in self._letters:
                continue
            case = run.cases[position]
            if marked is None or case in marked:
                yield CaseRow(run=run, case=case, outcome=OUTCOMES[letter], wall_ms=run.wall_ms[position])

    def _in(self, cases: tuple[str, ...]) -> tuple[int, ...]:
        found = self._positions.get(cases)
        if found is None:
            if len(self._positions) >= _LISTS_MOST:
                self._positions.clear()
            found = tuple(n for n, case in enumerate(cases) if _any(self._wanted.cases, case))
            self._positions[cases] = found
        return found


def _any(globs: tuple[str, ...], text: str) -> bool:
    return not globs or any(fnmatchcase(text, glob) for glob in globs)


# ---- how often -----------------------------------------------------------------------------------------------------


class By(StrEnum):
    CASE = "case"
    PROFILE = "profile"
    LEG = "leg"
    NAME = "name"
    DAY = "day"
    SUBJECT = "subject"
    FINDING = "finding"


@dataclass(slots=True, kw_only=True)
class Tally:
    """Results with one thing in common. ``wall_ms``: of those that passed or failed. ``title``: of a finding."""

    runs: int = 0
    counts: dict[Outcome, int] = field(default_factory=lambda: dict.fromkeys(Outcome, 0))
    wall_ms: list[int] = field(default_factory=list)
    title: str = ""
    last_run: str = ""

    @property
    def failed_percent(self) -> float:
        """Of those that were judged."""
        judged = self.counts[Outcome.PASSED] + self.counts[Outcome.FAILED]
        return 100 * self.counts[Outcome.FAILED] / judged if judged else 0.0

    @property
    def median_ms(self) -> float:
        return statistics.median(self.wall_ms) if self.wall_ms else 0.0

    @property
    def is_mixed(self) -> bool:
        """It passed and it failed: on one and the same subject that is a flake."""
        return bool(self.counts[Outcome.PASSED] and self.counts[Outcome.FAILED])


def tallied(runs: Iterable[Summary], wanted: Wanted, by: By) -> dict[str, Tally]:
    """Key -> how its results ended, the worst first: most failures, then most that nobody could judge, then by key."""
    cases = Cases(wanted)
    found: dict[str, Tally] = {}
    for run in runs:
        if by is By.FINDING:
            _take_findings(found, run, wanted)
            continue
        seen = set()
        for row in cases.of(run):
            key = _key(row, by)
            tally = found.setdefault(key, Tally())
            if key not in seen:
                seen.add(key)
                tally.runs += 1
                tally.last_run = max(tally.last_run, run.started.isoformat())
            tally.counts[row.outcome] += 1
            if row.outcome in {Outcome.PASSED, Outcome.FAILED}:
                tally.wall_ms.append(row.wall_ms)
    return dict(sorted(found.items(), key=lambda item: (_badness(item[1]), item[0])))


def _badness(tally: Tally) -> tuple[int, int, int]:
    judged_by_findings = -tally.runs if tally.title else 0
    return judged_by_findings, -tally.counts[Outcome.FAILED], -tally.counts[Outcome.ERRORED]


def _take_findings(found: dict[str, Tally], run: Summary, wanted: Wanted) -> None:
    seen = set()
    for mark in run.findings:
        key = mark.fingerprint
        if not key.startswith(wanted.finding) or not _any(wanted.cases, mark.case or "") or key in seen:
            continue
        seen.add(key)
        tally = found.setdefault(key, Tally(title=f"{mark.category}: {mark.title}"))
        tally.runs += 1
        tally.last_run = max(tally.last_run, run.started.isoformat())


def _key(row: CaseRow, by: By) -> str:
    match by:
        case By.CASE:
            return row.case
        case By.PROFILE:
            return row.run.profile
        case By.LEG:
            return row.run.leg
        case By.NAME:
            return row.run.name
        case By.DAY:
            return row.run.day.isoformat()
        case _:
            return row.run.subject
