"""What people are shown of all results: the first bad cases of each kind, cut to an excerpt, why cases were skipped,
how often machines were brought back, and what their consoles said; everything counted, and held in bounds.
"""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from lisa_ci import faults
from lisa_ci.github.commands import cut, printable
from lisa_ci.model import Finding, Outcome, Result, SubResult
from lisa_ci.reporting.chosen import LegRun
from lisa_ci.reporting.figures import Figures
from lisa_ci.reporting.judging import is_told_by_leg
from lisa_ci.reporting.reasons import Kind, kind_of
from lisa_ci.reporting.receipts import LegReceipt

PER_KIND: Final = 50
PER_LEG: Final = 20
_HEAD: Final = 1_000
_TAIL: Final = 3_000
_SUB_RESULTS: Final = 10
_SKIPS: Final = 200
_SAID: Final = 200
_OTHER: Final = "(other reasons)"
_KERNEL_PLACE: Final = re.compile(
    r"(?:kernel BUG at |WARNING: (?:CPU: \d+ PID: \d+ at )?|^\[source: \S{1,250} at )"
    r"([\w./+-]{1,300}\.[chS]):(\d{1,7})\b",
    re.ASCII | re.MULTILINE,
)
_ATTEMPT: Final = re.compile(r"attempt [0-9]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Highlight:
    """One case that failed or was not judged. Its texts are from the machine: cut, and made printable, not trusted.

    ``loss`` is how the machine was lost, '' where it was not. ``said`` is the worst that the console said meanwhile.
    """

    leg: str
    suite: str
    case: str
    kind: Kind
    title: str
    message: str
    loss: str
    said: str
    note: str
    mend: str
    excerpt: str
    file: str | None
    line: int | None
    log: str | None

    @property
    def key(self) -> str:
        return f"{self.suite}#{self.case}"

    @property
    def reproduce(self) -> str:
        """The command that runs this case alone, on a desk, and leaves the machine up."""
        leg, case = shlex.quote(self.leg), shlex.quote(self.key)
        return f"lisa-ci run {leg} --plan plan.json --out reproduce --case {case} --keep"


@dataclass(frozen=True, slots=True, kw_only=True)
class Comeback:
    """How often the machines of a leg were brought back, and for what: (reason, case, method, seconds), the first."""

    leg: str
    count: int
    seconds: float
    first: tuple[tuple[str, str, str, float], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """A finding of the console: of no case, or one that is allowed. ``allowed`` is why it is, '' where it is not."""

    leg: str
    case: str
    category: str
    title: str
    fingerprint: str
    text: str
    allowed: str


@dataclass(slots=True)
class Highlights:
    """Takes every result as ``decide`` shows them; holds a bounded number, whatever the legs wrote."""

    _kept: dict[Kind, list[Highlight]] = field(default_factory=dict)
    _counts: Counter[Kind] = field(default_factory=Counter)
    _skips: Counter[tuple[str, str]] = field(default_factory=Counter)
    _comebacks: dict[str, Comeback] = field(default_factory=dict)
    _receipts: list[LegReceipt] = field(default_factory=list)
    _said: dict[tuple[str, str, str], Said] = field(default_factory=dict)
    figures: Figures = field(default_factory=Figures)
    _dropped: int = 0
    _carried: Counter[str] = field(default_factory=Counter)

    def begin(self, run: LegRun) -> None:
        """What the head of a leg says, before its results."""
        if run.recoveries:
            self._comebacks[run.leg.id] = _comeback(run)
        for found in run.findings:
            self._hear(run, found)
        for attempt, receipt in run.receipts:
            self._receipts.append(LegReceipt(leg=run.leg.id, attempt=attempt, receipt=receipt))

    def take(self, run: LegRun, result: Result) -> None:
        for found in result.findings:
            if found.allowed:
                self._hear(run, found)
        if any(_ATTEMPT.fullmatch(part) for part in result.note.split("; ")):
            self._carried[run.leg.id] += 1
        self.figures.take(run.leg.id, result)
        if is_told_by_leg(run.run, result):
            return  # one reason tells it for the whole leg
        kind = kind_of(run.run, result)
        if kind is not None:
            self._counts[kind] += 1
            kept = self._kept.setdefault(kind, [])
            if len(kept) < PER_KIND:
                kept.append(_highlight(run, result, kind))
        elif result.outcome is Outcome.SKIPPED:
            key = (_short(result.suite), _short(result.message) or "(no reason given)")
            if key not in self._skips and len(self._skips) >= _SKIPS:
                key = ("", _OTHER)
            self._skips[key] += 1

    def of(self, kind: Kind) -> tuple[Highlight, ...]:
        return tuple(self._kept.get(kind, ()))

    def count(self, kind: Kind) -> int:
        """How many there were, also those that are not kept."""
        return self._counts[kind]

    def receipts(self) -> tuple[LegReceipt, ...]:
        return tuple(self._receipts)

    def comebacks(self) -> tuple[Comeback, ...]:
        return tuple(self._comebacks.values())

    def said(self) -> tuple[Said, ...]:
        """The consoles' findings that belong to no case, and the allowed ones, each once for a leg."""
        return tuple(self._said.values())

    @property
    def dropped(self) -> int:
        """Findings of consoles that are not held."""
        return self._dropped

    def carried(self) -> Mapping[str, int]:
        """Leg id -> how many of its results are from an earlier attempt."""
        return self._carried

    def skipped(self) -> int:
        return self._skips.total()

    def _hear(self, run: LegRun, found: Finding) -> None:
        key = (run.leg.id, found.fingerprint, found.allowed)
        if key in self._said:
            return
        if len(self._said) >= _SAID:
            self._dropped += 1
            return
        self._said[key] = Said(
            leg=run.leg.id,
            case=_short(found.case or ""),
            category=found.category.value,
            title=_short(found.title),
            fingerprint=_short(found.fingerprint),
            text=printable(found.text[: _HEAD + _TAIL]).strip("\n"),
            allowed=_short(found.allowed),
        )

    def skips(self) -> list[tuple[str, str, int]]:
        """(suite, reason, number of cases), the most frequent first; the suite is '' where many are put together."""
        ordered = sorted(self._skips.items(), key=lambda item: (-item[1], item[0]))
        return [(suite, reason, count) for (suite, reason), count in ordered]


def _comeback(run: LegRun) -> Comeback:
    seconds = [max(recovery.wall.total_seconds(), 0.0) for recovery in run.recoveries]
    first = zip(run.recoveries[:PER_LEG], seconds, strict=False)
    return Comeback(
        leg=run.leg.id,
        count=len(seconds),
        seconds=sum(seconds),
        first=tuple((_short(one.reason), _short(one.case or ""), one.method.value, wall) for one, wall in first),
    )


def _highlight(run: LegRun, result: Result, kind: Kind) -> Highlight:
    worst = next(iter([*faults.unallowed(result.findings), *result.findings]), None)
    file, line = (result.file, result.line) if result.file else _kernel_place(worst)
    return Highlight(
        leg=run.leg.id,
        suite=_short(result.suite),
        case=_short(result.case),
        kind=kind,
        title=_short(result.title),
        message=_short(result.message, 500),
        loss=result.loss.value if result.loss else "",
        said=_short(worst.title) if worst else "",
        note=_short(result.note),
        mend=_short(result.mend, 500),
        excerpt=_excerpt(result),
        file=None if file is None else _short(file),
        line=line,
        log=None if result.log is None else _short(result.log),
    )


def _kernel_place(found: Finding | None) -> tuple[str | None, int | None]:
    """The line of source that the kernel itself names, as BUG and WARNING do, or that its debug information gave."""
    named = _KERNEL_PLACE.search(found.text) if found else None
    return (named[1], int(named[2])) if named else (None, None)


def _short(text: str, units: int = 200) -> str:
    return cut(" ".join(printable(text[: 4 * units]).split()), units)


def _excerpt(result: Result) -> str:
    """The sub-tests that did not pass, then beginning and end of what the case printed."""
    detail = result.detail
    if len(detail) > _HEAD + _TAIL:
        detail = f"{detail[:_HEAD]}\n[… {len(detail) - _HEAD - _TAIL} characters left out …]\n{detail[-_TAIL:]}"
    bad = [_sub_line(child) for child in _bad(result)]
    shown = bad[:_SUB_RESULTS] + ([f"and {len(bad) - _SUB_RESULTS} more sub-tests"] if len(bad) > _SUB_RESULTS else [])
    return printable("\n".join([*shown, detail])).strip("\n")


def _sub_line(child: SubResult) -> str:
    return ": ".join(part for part in (child.outcome.value, _short(child.name), _short(child.message)) if part)


def _bad(result: Result) -> Iterator[SubResult]:
    """The innermost sub-tests that failed or were not judged."""
    waiting = list(result.children[::-1])
    while waiting:
        child = waiting.pop()
        if child.outcome not in {Outcome.FAILED, Outcome.ERRORED}:
            continue
        inner = [one for one in child.children if one.outcome in {Outcome.FAILED, Outcome.ERRORED}]
        if inner:
            waiting.extend(inner[::-1])
        else:
            yield child
