"""Questions to summaries: which runs, which of their cases, and how often. Pure."""

from __future__ import annotations

import itertools
import statistics
from array import array
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Final

from lisa_ci.archive.layout import OUTCOMES, RunName, Summary
from lisa_ci.model import Outcome

_LISTS_MOST: Final = 256
_AT_ONCE: Final = 500  # runs
_JUDGED: Final = frozenset("pf")


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
    """The cases that are asked for; the runs of a month share their lists, so each list is looked at once.

    ``letters`` are the outcomes that are asked for.
    """

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self.letters = "".join(letter for letter, one in OUTCOMES.items() if one in (wanted.outcomes or set(Outcome)))
        self._places: dict[tuple[str, ...], tuple[int, ...]] = {}

    def of(self, run: Summary) -> Iterator[CaseRow]:
        for place in self.places(run):
            letter = run.outcomes[place]
            if letter in self.letters:
                yield CaseRow(run=run, case=run.cases[place], outcome=OUTCOMES[letter], wall_ms=run.wall_ms[place])

    def places(self, run: Summary) -> tuple[int, ...]:
        """Where they are in the run's list. With a finding asked for: the cases that it came up in."""
        found = self._places.get(run.cases)
        if found is None:
            if len(self._places) >= _LISTS_MOST:
                self._places.clear()
            found = tuple(n for n, case in enumerate(run.cases) if _any(self._wanted.cases, case))
            self._places[run.cases] = found
        if not self._wanted.finding:
            return found
        marked = {mark.case for mark in run.findings if mark.fingerprint.startswith(self._wanted.finding)}
        return tuple(place for place in found if run.cases[place] in marked)


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
    wall_ms: array[int] = field(default_factory=lambda: array("q"))
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

    def add(self, letters: Sequence[str], wall_ms: Sequence[int], asked: Collection[str]) -> int:
        """Count these results, as far as their letter is asked for; how many that were."""
        count = 0
        for letter in asked:
            found = letters.count(letter)
            self.counts[OUTCOMES[letter]] += found
            count += found
        judged = _JUDGED & set(asked)
        self.wall_ms.extend(itertools.compress(wall_ms, [letter in judged for letter in letters]))
        return count


def tallied(runs: Iterable[Summary], wanted: Wanted, by: By) -> dict[str, Tally]:
    """Key -> how its results ended, the worst first: most failures, then most that nobody could judge, then by key."""
    found: dict[str, Tally] = defaultdict(Tally)
    if by is By.FINDING:
        for run in runs:
            _take_findings(found, run, wanted)
    elif by is By.CASE:
        _take_cases(found, runs, Cases(wanted))
    else:
        cases = Cases(wanted)
        for run in runs:
            places = cases.places(run)
            letters = "".join(run.outcomes[place] for place in places)
            _take(found, _key(run, by), run, letters, [run.wall_ms[place] for place in places], cases)
    return dict(sorted(found.items(), key=lambda item: (_badness(item[1]), item[0])))


def _take(found: dict[str, Tally], key: str, run: Summary, letters: str, wall_ms: Sequence[int], cases: Cases) -> None:
    if any(letter in letters for letter in cases.letters):
        tally = found[key]
        tally.add(letters, wall_ms, cases.letters)
        tally.runs += 1
        tally.last_run = max(tally.last_run, run.started.isoformat())


def _take_cases(found: dict[str, Tally], runs: Iterable[Summary], cases: Cases) -> None:
    """Runs of one list of cases are counted together, a case after the other: that is ten times faster."""
    waiting: dict[tuple[tuple[str, ...], tuple[int, ...]], list[Summary]] = defaultdict(list)
    for run in runs:
        group = waiting[run.cases, cases.places(run)]
        group.append(run)
        if len(group) >= _AT_ONCE:
            _take_columns(found, group, cases)
            group.clear()
    for group in waiting.values():
        if group:
            _take_columns(found, group, cases)


def _take_columns(found: dict[str, Tally], group: Sequence[Summary], cases: Cases) -> None:
    letters = list(zip(*(run.outcomes for run in group), strict=True))
    wall_ms = list(zip(*(run.wall_ms for run in group), strict=True))
    last = max(run.started.isoformat() for run in group)
    for place in cases.places(group[0]):
        if any(letter in letters[place] for letter in cases.letters):
            tally = found[group[0].cases[place]]
            tally.runs += tally.add(letters[place], wall_ms[place], cases.letters)
            tally.last_run = max(tally.last_run, last)


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
        tally = found[key]
        tally.title = tally.title or f"{mark.category}: {mark.title}"
        tally.runs += 1
        tally.last_run = max(tally.last_run, run.started.isoformat())


def _key(run: Summary, by: By) -> str:
    match by:
        case By.PROFILE:
            return run.profile
        case By.LEG:
            return run.leg
        case By.NAME:
            return run.name
        case By.DAY:
            return run.day.isoformat()
        case _:
            return run.subject
