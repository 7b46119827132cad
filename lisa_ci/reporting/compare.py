"""Two runs held side by side: what fails now and did not, what is mended, what is skipped for another reason, times.

Nothing here knows a plan or a gate: the two may be of other images, kernels or plans, which is why they are compared.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Final

from lisa_ci import faults
from lisa_ci.files import LegEvidence
from lisa_ci.model import SCHEMA, Outcome, Result, Run, SubResult
from lisa_ci.reporting.attempts import Attempt, merged

MESSAGE_LIMIT: Final = 300  # characters of a message that are kept
SUB_TESTS: Final = 1000  # failed sub-tests of a case that are kept
TIMES: Final = 10
_SLOWER: Final = 2.0
_LEAST: Final = timedelta(seconds=1)
_FACT: Final = 4  # characters of a fact that is looked for in reasons; a shorter one may be in any word
_BAD: Final = frozenset({Outcome.FAILED, Outcome.ERRORED})


class Change(StrEnum):
    """How a case differs. The first two are what a change of the image or the kernel has to answer for."""

    BROKEN = "broken"
    FAILS_MORE = "fails-more"
    FIXED = "fixed"
    FAILS_LESS = "fails-less"
    NOT_JUDGED = "not-judged"
    SKIPPED = "skipped"
    NOT_SKIPPED = "not-skipped"
    SKIP_REASON = "skip-reason"
    GONE = "gone"
    NEW = "new"


WORSE: Final = frozenset({Change.BROKEN, Change.FAILS_MORE})


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a case ended on one side. ``is_judged`` is False where infrastructure took it. ``failed``: sub-tests."""

    outcome: Outcome
    message: str = ""
    wall: timedelta = timedelta()
    is_judged: bool = True
    failed: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One run. ``cases``: ``profile/suite#case`` (``suite#case`` of a single leg) -> how it ended."""

    name: str
    cases: Mapping[str, Ended]
    facts: Mapping[str, str] = field(default_factory=dict)
    subject_digests: tuple[str, ...] = ()

    @property
    def counts(self) -> dict[str, int]:
        told = Counter(one.outcome for one in self.cases.values())
        return {outcome.value: told[outcome] for outcome in Outcome}


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A case that differs; ``before`` or ``after`` is None where that side does not have it."""

    case: str
    change: Change
    before: Outcome | None
    after: Outcome | None
    message: str
    sub_tests: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Took:
    """What both sides took for the same: a suite, or a case."""

    name: str
    before: timedelta
    after: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """``differences`` are sorted by their change, the worst first. ``facts``: name -> before, after, where they differ.

    ``suites`` took that long on both sides, over the cases that both ran; ``times`` are the cases whose time changed
    most, of those that took at least twice as long, or half, and a second.
    """

    schema: int = SCHEMA
    before: str
    after: str
    counts_before: Mapping[str, int]
    counts_after: Mapping[str, int]
    same: int
    facts: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    differences: tuple[Difference, ...] = ()
    suites: tuple[Took, ...] = ()
    times: tuple[Took, ...] = ()

    @property
    def is_worse(self) -> bool:
        return any(one.change in WORSE for one in self.differences)


def side_of(name: str, evidence: Iterable[LegEvidence]) -> Side:
    """A side from the legs' folders. The attempts of a leg count together, the shards of a profile are one."""
    legs: dict[str, list[LegEvidence]] = {}
    for one in evidence:
        legs.setdefault(one.run.leg, []).append(one)
    profiles = {leg: _profile(found[-1].run) for leg, found in legs.items()}
    is_single = len(set(profiles.values())) == 1
    cases: dict[str, Ended] = {}
    facts: dict[str, set[str]] = {}
    for leg, found in sorted(legs.items()):
        latest = max((one.run for one in found), key=lambda run: run.attempt)
        attempts = [Attempt(run=one.run, results=one.results) for one in found]
        prefix = "" if is_single else f"{profiles[leg]}/"
        for result in merged(attempts, latest.attempt):
            cases[prefix + result.key] = _ended(latest, result)
        for fact, value in latest.facts.items():
            facts.setdefault(fact, set()).add(value)
    return Side(
        name=name,
        cases=cases,
        facts={fact: ", ".join(sorted(values)) for fact, values in sorted(facts.items())},
        subject_digests=tuple(sorted({one.run.subject_digest for found in legs.values() for one in found})),
    )


def _profile(run: Run) -> str:
    return run.facts.get("profile", run.leg)


def _ended(run: Run, result: Result) -> Ended:
    return Ended(
        outcome=result.outcome,
        message=" ".join(result.message.split())[:MESSAGE_LIMIT],
        wall=result.wall,
        is_judged=faults.is_proof(run, result),
        failed=frozenset(name for name, _ in zip(_failed(result.children), range(SUB_TESTS), strict=False)),
    )


def _failed(children: Iterable[SubResult], above: str = "") -> Iterator[str]:
    """Names of the innermost sub-tests that failed, with what they lie in."""
    for child in children:
        name = f"{above}{child.name}"
        if child.outcome in _BAD:
            inner = False
            for below in _failed(child.children, f"{name} > "):
                inner = True
                yield below
            if not inner:
                yield name[:MESSAGE_LIMIT]


def compare(before: Side, after: Side) -> Comparison:
    """What differs between two sides, case by case."""
    keys = sorted(before.cases.keys() | after.cases.keys())
    plain = _Plain(before.facts, after.facts)
    pairs = ((key, before.cases.get(key), after.cases.get(key)) for key in keys)
    differences = [found for key, old, new in pairs if (found := _difference(key, old, new, plain))]
    order = list(Change)
    names = before.facts.keys() | after.facts.keys()
    facts = {name: (before.facts.get(name, ""), after.facts.get(name, "")) for name in sorted(names)}
    facts["subject"] = (", ".join(before.subject_digests), ", ".join(after.subject_digests))
    return Comparison(
        before=before.name,
        after=after.name,
        counts_before=before.counts,
        counts_after=after.counts,
        same=len(keys) - len(differences),
        facts={name: pair for name, pair in facts.items() if pair[0] != pair[1]},
        differences=tuple(sorted(differences, key=lambda one: (order.index(one.change), one.case))),
        suites=tuple(_by_suite(before, after)),
        times=tuple(_times(before, after)),
    )


class _Plain:
    """Reasons that differ in nothing but a fact of their side (the kernel's release) are the same."""

    def __init__(self, before: Mapping[str, str], after: Mapping[str, str]) -> None:
        names = [name for name in before.keys() & after.keys() if before[name] != after[name]]
        self._before = {before[name]: f"({name})" for name in names if len(before[name]) >= _FACT}
        self._after = {after[name]: f"({name})" for name in names if len(after[name]) >= _FACT}

    def is_same(self, before: str, after: str) -> bool:
        return before == after or _without(before, self._before) == _without(after, self._after)


def _without(text: str, facts: Mapping[str, str]) -> str:
    for value in sorted(facts, key=len, reverse=True):
        text = text.replace(value, facts[value])
    return text


def _difference(case: str, before: Ended | None, after: Ended | None, plain: _Plain) -> Difference | None:
    change, sub_tests = _change(before, after, plain)
    if change is None:
        return None
    told = after or before
    return Difference(
        case=case,
        change=change,
        before=before.outcome if before else None,
        after=after.outcome if after else None,
        message=told.message if told else "",
        sub_tests=sub_tests,
    )


def _change(before: Ended | None, after: Ended | None, plain: _Plain) -> tuple[Change | None, tuple[str, ...]]:
    if after is None:
        return Change.GONE, ()
    if not after.is_judged or (before is not None and not before.is_judged):
        return Change.NOT_JUDGED, ()
    if after.outcome in _BAD:
        return _change_to_bad(before, after)
    if before is None:
        return Change.NEW, ()
    if after.outcome is Outcome.SKIPPED:
        if before.outcome is not Outcome.SKIPPED:
            return Change.SKIPPED, ()
        return (None if plain.is_same(before.message, after.message) else Change.SKIP_REASON), ()
    if before.outcome is Outcome.PASSED:
        return None, ()
    return (Change.NOT_SKIPPED if before.outcome is Outcome.SKIPPED else Change.FIXED), ()


def _change_to_bad(before: Ended | None, after: Ended) -> tuple[Change | None, tuple[str, ...]]:
    """A case that is bad now: worse than before, better, or the same."""
    if before is None or before.outcome not in _BAD:
        return Change.BROKEN, tuple(sorted(after.failed))
    if more := after.failed - before.failed:
        return Change.FAILS_MORE, tuple(sorted(more))
    if less := before.failed - after.failed:
        return Change.FAILS_LESS, tuple(sorted(less))
    return None, ()


def _by_suite(before: Side, after: Side) -> Iterator[Took]:
    totals: dict[str, list[timedelta]] = {}
    for case in sorted(before.cases.keys() & after.cases.keys()):
        total = totals.setdefault(case.partition("#")[0], [timedelta(), timedelta()])
        total[0] += before.cases[case].wall
        total[1] += after.cases[case].wall
    for suite, (first, second) in totals.items():
        yield Took(name=suite, before=first, after=second)


def _times(before: Side, after: Side) -> list[Took]:
    found = []
    for case in before.cases.keys() & after.cases.keys():
        first, second = before.cases[case].wall, after.cases[case].wall
        longer, shorter = max(first, second), min(first, second)
        if longer - shorter >= _LEAST and longer >= _SLOWER * shorter:
            found.append(Took(name=case, before=first, after=second))
    return sorted(found, key=_by_change)[:TIMES]


def _by_change(took: Took) -> tuple[timedelta, str]:
    return -abs(took.after - took.before), took.name
