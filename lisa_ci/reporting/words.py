"""A verdict in one sentence: the same in the log, in the annotation and on top of the summary."""

from __future__ import annotations

from collections.abc import Iterator

from lisa_ci.model import Outcome, Verdict


def headline(verdict: Verdict) -> str:
    """``example is not green: 2 reasons; 3 legs; 40 passed, 1 failed``."""
    number = len(verdict.reasons)
    if verdict.releasable:
        state = "green and releasable"
    elif verdict.passed:
        state = "green, not for release"
    else:
        state = f"not green: {number} reason{'' if number == 1 else 's'}"
    legs = len(verdict.legs)
    counts = ", ".join(f"{count} {name}" for name in Outcome if (count := verdict.counts.get(name, 0)))
    return f"{verdict.name} is {state}; {legs} leg{'' if legs == 1 else 's'}; {counts or 'no results'}"


def reason_lines(verdict: Verdict) -> Iterator[str]:
    """The reasons, one a line, for a log."""
    for reason in verdict.reasons:
        where = " ".join(part for part in (reason.leg, reason.case) if part)
        yield f"{reason.kind}: {f'{where}: ' if where else ''}{reason.message}"
