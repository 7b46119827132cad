"""``baseline.yml``: cases that are known to fail, each with a reason, an owner and a last day. Reads and writes it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from datetime import date
from pathlib import Path
from typing import Final

from lisa_ci.errors import Location, PipelineError
from lisa_ci.model import SCHEMA, KnownFailure
from lisa_ci.pipeline.console_settings import Day
from lisa_ci.pipeline.document import parse_document, shown
from lisa_ci.pipeline.kinds import Text, Whole
from lisa_ci.pipeline.places import from_here, read_source
from lisa_ci.pipeline.reading import Found, Reading
from lisa_ci.pipeline.tables import ListOf, Setting, Table

REASON_LIMIT: Final = 300
ENTRY_LIMIT: Final = 5000
_GLOB: Final = r"[a-z0-9._*?!\[\]-]+"

ENTRY: Final = Table(
    title="known failure",
    description="Cases that are known to fail, as long as somebody answers for them.",
    settings=(
        Setting(
            name="case",
            kind=Text(
                words="SUITE#CASE, where each may be a glob",
                pattern=f"{_GLOB}#{_GLOB}",
                most=300,
                hint="write it as the report does, 'kselftest#timers.*'",
            ),
            description="The case as the report names it, or a glob (`*`, `?`, `[...]`).",
            is_required=True,
            example="kselftest#timers.rtcpie",
        ),
        Setting(
            name="profile",
            kind=Text(words="a profile's name or a glob", pattern=_GLOB, most=200, hint="write '*' for all of them"),
            description="On which profiles.",
            default="*",
            example="small-*",
        ),
        Setting(
            name="reason",
            kind=Text(words="a reason, in words", most=REASON_LIMIT),
            description="Why it fails, and why that is tolerated.",
            is_required=True,
            example="the emulated clock is too coarse",
        ),
        Setting(
            name="link",
            kind=Text(words="an https:// address", pattern=r"https?://[!-~]+", most=2000, hint="write https://..."),
            description="Where more is known.",
            example="https://bugs.example.org/4711",
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
            description="Last day on which it counts (UTC). After that the failure shuts the gate again.",
            is_required=True,
            example="2027-06-30",
        ),
    ),
)
BASELINE: Final = Table(
    title="baseline",
    description="Known failures of a pipeline.",
    settings=(
        Setting(
            name="schema",
            kind=Whole(least=SCHEMA, most=SCHEMA),
            description="Version of this format.",
            is_required=True,
            example=SCHEMA,
        ),
        Setting(
            name="known",
            kind=ListOf(kind=ENTRY, most=ENTRY_LIMIT),
            description="The known failures. Of several that are about a case, the first that has not expired counts.",
            is_required=True,
        ),
    ),
)


def load_baseline(path: Path) -> tuple[KnownFailure, ...]:
    """The known failures in a file. PipelineError with every mistake, each at its place."""
    file = from_here(path)
    data = read_source(path, file, "'lisa-ci baseline update' writes one from results")
    return parse_baseline(data, file)


def parse_baseline(data: bytes, file: str) -> tuple[KnownFailure, ...]:
    """The known failures in ``data``; messages call it ``file``."""
    root, problems = parse_document(data, file)
    if root is None:
        place = Location(file=file, line=1, column=1)
        raise PipelineError(
            "the file is empty", hint="an empty baseline is 'schema: 1' and 'known: []'", location=place
        )
    reading = Reading(file, problems)
    found = BASELINE.read(root, reading, "baseline")
    entries = found.get("known") if found else None
    built: dict[tuple[str, str], Found] = {}
    for entry in entries.value if entries else ():
        case, profile = entry.get("case"), entry.get("profile")
        if case is None:
            continue
        key = (case.value, profile.value if profile else "*")
        if key in built:
            where = f"the first is in line {built[key].location.line}"
            reading.report(f"{shown(case.value)} is known twice for the same profiles", case.location, where)
        built.setdefault(key, entry)
    reading.stop_on_problems()
    return tuple(KnownFailure(**entry.plain()) for entry in built.values())


def expired(known: Iterable[KnownFailure], today: date) -> Iterator[str]:
    """A sentence for each entry that does not count any more."""
    for one in known:
        if one.expires < today:
            yield (
                f"baseline: {shown(one.case)} on {shown(one.profile)} shuts the gate again: "
                f"what {one.owner} answers for expired on {one.expires.isoformat()}"
            )


def baseline_text(known: Iterable[KnownFailure], *, head: str = "") -> str:
    """The file that holds these, sorted by case and profile, so that two people's changes rarely meet.

    ``head`` is what stands above, comments as a rule.
    """
    lines = [*head.splitlines(), f"schema: {SCHEMA}"]
    entries = sorted(known, key=lambda one: (one.case, one.profile))
    lines.append("known:" if entries else "known: []")
    for one in entries:
        lines.append(f"  - case: {_quoted(one.case)}")
        lines += [f"    profile: {_quoted(one.profile)}"] if one.profile != "*" else []
        lines.append(f"    reason: {_quoted(one.reason)}")
        lines += [f"    link: {_quoted(one.link)}"] if one.link else []
        lines.append(f"    owner: {_quoted(one.owner)}")
        lines.append(f"    expires: {one.expires.isoformat()}")
    return "\n".join([*lines, ""])


def head_of(text: str) -> str:
    """The comments and blank lines at the top of a file, which stay when it is written anew."""
    kept = []
    for line in text.splitlines():
        if line.strip() and not line.startswith("#"):
            break
        kept.append(line)
    return "\n".join(kept)


def _quoted(text: str) -> str:
    """In double quotes, which YAML reads as JSON does; what no reason may hold becomes a question mark."""
    return json.dumps("".join(letter if letter.isprintable() else "?" for letter in text), ensure_ascii=False)
