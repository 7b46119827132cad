"""A comparison for people: as text for a terminal, as Markdown for a summary page or a comment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Final

from lisa_ci.model import Outcome
from lisa_ci.reporting.compare import Change, Comparison, Difference, Took
from lisa_ci.reporting.markdown import cell, code, table

_SHOWN: Final = 100  # cases under one heading
_SUB_TESTS: Final = 5
_DIGEST: Final = 19
_WORDS: Final = {
    Change.BROKEN: "New failures",
    Change.FAILS_MORE: "More sub-tests fail",
    Change.FIXED: "Mended",
    Change.FAILS_LESS: "Fewer sub-tests fail",
    Change.NOT_JUDGED: "Not judged on one side",
    Change.SKIPPED: "Skipped now",
    Change.NOT_SKIPPED: "No longer skipped",
    Change.SKIP_REASON: "Skipped for another reason",
    Change.GONE: "Cases that are gone",
    Change.NEW: "New cases",
}


def headline(compared: Comparison) -> str:
    """``a -> b: new failures: 2, mended: 1; the same: 97``."""
    counts = {change: len(_of(compared, change)) for change in Change}
    told = [f"{_WORDS[change].lower()}: {counts[change]}" for change in Change if counts[change]]
    return f"{compared.before} -> {compared.after}: {', '.join(told) or 'no difference'}; the same: {compared.same}"


def text(compared: Comparison) -> Iterator[str]:
    """Lines for a terminal or a log; what came from a machine is to be made printable by whoever prints it."""
    yield headline(compared)
    yield f"before: {_counts(compared.counts_before)}"
    yield f"after:  {_counts(compared.counts_after)}"
    yield from (f"{name}: {_short(name, old)} -> {_short(name, new)}" for name, (old, new) in compared.facts.items())
    for change in Change:
        found = _of(compared, change)
        if found:
            yield f"{_WORDS[change]}: {len(found)}"
            yield from (f"  {one.case}: {_said(one)}" for one in found[:_SHOWN])
            yield from _rest(found, "  ")
    for took in compared.suites:
        yield f"{took.name}: {_span(took.before)} -> {_span(took.after)}"
    yield from (f"  {took.name}: {_span(took.before)} -> {_span(took.after)}" for took in compared.times)


def markdown(compared: Comparison) -> str:
    """A page. Nothing in it that came from a machine is read as Markdown or HTML."""
    lines = [f"## {'❌' if compared.is_worse else '✅'} {code(headline(compared))}", ""]
    lines += table(
        ("", "before:", "after:"),
        [
            (f"{outcome}", str(compared.counts_before[outcome]), str(compared.counts_after[outcome]))
            for outcome in Outcome
        ],
    )
    if compared.facts:
        lines += ["", "### What was run", ""]
        rows = (
            (cell(name), cell(_short(name, old)), cell(_short(name, new)))
            for name, (old, new) in compared.facts.items()
        )
        lines += table(("", "before", "after"), rows)
    for change in Change:
        found = _of(compared, change)
        if found:
            lines += ["", f"### {_WORDS[change]}: {len(found)}", ""]
            lines += table(("case", "before", "after", "why"), (_row(one) for one in found[:_SHOWN]))
            lines += _rest(found, "")
    if compared.suites:
        lines += ["", "### Times", ""]
        lines += table(("", "before:", "after:"), (_time_row(took) for took in (*compared.suites, *compared.times)))
    return "\n".join(lines) + "\n"


def _of(compared: Comparison, change: Change) -> list[Difference]:
    return [one for one in compared.differences if one.change is change]


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items() if count) or "no cases"


def _said(one: Difference) -> str:
    outcomes = f"{one.before or 'not there'} -> {one.after or 'not there'}"
    return "; ".join(part for part in (outcomes, one.message, _sub_tests(one)) if part)


def _sub_tests(one: Difference) -> str:
    more = f" and {len(one.sub_tests) - _SUB_TESTS} more" if len(one.sub_tests) > _SUB_TESTS else ""
    return f"{', '.join(one.sub_tests[:_SUB_TESTS])}{more}"


def _row(one: Difference) -> tuple[str, ...]:
    why = "; ".join(part for part in (one.message, _sub_tests(one)) if part)
    return (cell(one.case), one.before or "", one.after or "", cell(why) if why else "")


def _time_row(took: Took) -> tuple[str, ...]:
    return (cell(took.name), _span(took.before), _span(took.after))


def _rest(found: Sequence[Difference], indent: str) -> Iterator[str]:
    if len(found) > _SHOWN:
        yield f"{indent}and {len(found) - _SHOWN} more"


def _span(time: timedelta) -> str:
    return f"{time.total_seconds():.1f} s"


def _short(name: str, value: str) -> str:
    return " + ".join(part[:_DIGEST] for part in value.split("+")) if name == "subject" else value or "-"
