"""What people are shown of all results: the first failures, cut to an excerpt, and why cases were skipped, counted."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from lisa_ci.github.commands import cut, printable
from lisa_ci.model import Outcome, Result, SubResult
from lisa_ci.reporting.chosen import LegRun

PER_OUTCOME: Final = 50
_HEAD: Final = 1_000
_TAIL: Final = 3_000
_SUB_RESULTS: Final = 10
_SKIPS: Final = 200
_OTHER: Final = "(other reasons)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One case that failed or was not judged. Its texts are from the machine: cut, and made printable, not trusted."""

    leg: str
    suite: str
    case: str
    outcome: Outcome
    title: str
    message: str
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


@dataclass(slots=True)
class Findings:
    """Takes every result as ``decide`` shows them; holds a bounded number, whatever the legs wrote."""

    _kept: dict[Outcome, list[Finding]] = field(default_factory=dict)
    _counts: Counter[Outcome] = field(default_factory=Counter)
    _skips: Counter[tuple[str, str]] = field(default_factory=Counter)

    def take(self, run: LegRun, result: Result) -> None:
        if result.outcome is Outcome.ERRORED and run.run.error:
            return  # one reason tells it for the whole leg
        self._counts[result.outcome] += 1
        match result.outcome:
            case Outcome.FAILED | Outcome.ERRORED:
                kept = self._kept.setdefault(result.outcome, [])
                if len(kept) < PER_OUTCOME:
                    kept.append(_finding(run, result))
            case Outcome.SKIPPED:
                key = (_short(result.suite), _short(result.message) or "(no reason given)")
                if key not in self._skips and len(self._skips) >= _SKIPS:
                    key = ("", _OTHER)
                self._skips[key] += 1
            case Outcome.PASSED:
                pass

    def of(self, outcome: Outcome) -> tuple[Finding, ...]:
        return tuple(self._kept.get(outcome, ()))

    def count(self, outcome: Outcome) -> int:
        """How many there were, also those that are not kept."""
        return self._counts[outcome]

    def skips(self) -> list[tuple[str, str, int]]:
        """(suite, reason, number of cases), the most frequent first; the suite is '' where many are put together."""
        ordered = sorted(self._skips.items(), key=lambda item: (-item[1], item[0]))
        return [(suite, reason, count) for (suite, reason), count in ordered]


def _finding(run: LegRun, result: Result) -> Finding:
    return Finding(
        leg=run.leg.id,
        suite=_short(result.suite),
        case=_short(result.case),
        outcome=result.outcome,
        title=_short(result.title),
        message=_short(result.message, 500),
        excerpt=_excerpt(result),
        file=None if result.file is None else _short(result.file),
        line=result.line,
        log=None if result.log is None else _short(result.log),
    )


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
