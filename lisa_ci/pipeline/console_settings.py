"""What ``lisa-ci.yml`` may say about the console: findings that do not fail a case, for a reason and for a time."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

from lisa_ci.model import Allowance, Category
from lisa_ci.pipeline.document import Node, ScalarNode, shown
from lisa_ci.pipeline.kinds import Choice, Text
from lisa_ci.pipeline.reading import Found, Reading, Schema, describe
from lisa_ci.pipeline.tables import ListOf, Setting, Table

_DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """A day, ``2027-06-30``, with or without quotes: YAML's own reading of it loses nothing."""

    words: str = "a day (YYYY-MM-DD)"

    def schema(self) -> Schema:
        return {"type": "string", "format": "date", "pattern": f"^{_DAY.pattern}$"}

    def read(self, node: Node, reading: Reading, name: str) -> Found | None:
        text = node.text if isinstance(node, ScalarNode) and node.tag in {"str", "timestamp"} else ""
        if _DAY.fullmatch(text) is None:
            reading.report(
                f"'{name}' must be {self.words}, not {describe(node)}", node.location, "write it as 2027-06-30"
            )
            return None
        try:
            return Found(date.fromisoformat(text), node.location)
        except ValueError:
            reading.report(f"'{name}' {shown(text)} is no day of the calendar", node.location, "correct it")
            return None


ALLOWANCE: Final = Table(
    title="allowance",
    description=(
        "A finding on the console that does not fail a case, as long as somebody answers for it. What is looked for, "
        "and what a finding's title and fingerprint are: [the console](console.md)."
    ),
    one_of=(("fingerprint", "match"),),
    settings=(
        Setting(
            name="fingerprint",
            kind=Text(
                words="16 hexadecimal digits", pattern="[0-9a-f]{16}", hint="the report and the run's folder tell it"
            ),
            description="The finding's fingerprint: this one and no other.",
            example="1f0c2a9b7d3e4856",
        ),
        Setting(
            name="match",
            kind=Text(words="a title or a glob (*, ?, [...])", most=200),
            description="The finding's title, or a glob over it.",
            example="WARNING in drm_*",
        ),
        Setting(
            name="category",
            kind=Choice(of=Category),
            description="Allows it in this category only.",
            example="warning",
        ),
        Setting(
            name="reason",
            kind=Text(words="a reason, in words", most=300),
            description="Why it does not matter.",
            is_required=True,
            example="known, fixed in 6.12.4; the image ships 6.12.2",
        ),
        Setting(
            name="owner",
            kind=Text(words="a person or a team", most=100),
            description="Who answers for it.",
            is_required=True,
            example="kernel-team",
        ),
        Setting(
            name="expires",
            kind=Day(),
            description="Last day on which it counts (UTC). After that the finding fails cases again.",
            is_required=True,
            example="2027-06-30",
        ),
    ),
)
CONSOLE: Final = ListOf(kind=ALLOWANCE, most=1000)


def build_allowances(entries: Found | None, reading: Reading) -> tuple[Allowance, ...]:
    """The allowances of a file; one that is given twice is a mistake, and wrong ones are left out."""
    built: dict[tuple[object, ...], Allowance] = {}
    places: dict[tuple[object, ...], int | None] = {}
    for entry in entries.value if entries else ():
        if not entry.is_whole:
            continue
        allowance = Allowance(**entry.plain())
        key = (allowance.fingerprint, allowance.match, allowance.category)
        if key in built:
            reading.report("this finding is allowed twice", entry.location, f"the first is in line {places[key]}")
            continue
        built[key] = allowance
        places[key] = entry.location.line
    return tuple(built.values())


def expired(allowances: Sequence[Allowance], today: date) -> Iterator[str]:
    """A sentence for each allowance that does not count any more."""
    for one in allowances:
        if one.expires < today:
            yield (
                f"console: what {one.owner} allowed as {shown(one.fingerprint or one.match or '')} fails cases again: "
                f"the allowance expired on {one.expires.isoformat()}"
            )
