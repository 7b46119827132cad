"""``lisa-ci baseline``: the file of known failures, written from results."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import click

from lisa_ci import files
from lisa_ci.commands._evidence import readable
from lisa_ci.console import Console
from lisa_ci.errors import DataError
from lisa_ci.events import Level, Message
from lisa_ci.model import KnownFailure, Leg, Outcome, Plan, Result, Run
from lisa_ci.pipeline.baseline import REASON_LIMIT, baseline_text, head_of, parse_baseline
from lisa_ci.pipeline.places import from_here, read_source
from lisa_ci.reporting.chosen import choose
from lisa_ci.reporting.known import EXCUSABLE
from lisa_ci.reporting.reasons import kind_of

_DAYS: Final = 30


@click.group("baseline", context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Known failures: cases that may fail for now, each with a reason, an owner and a last day."""


@command.command("update", short_help="write the file from results")
@click.option(
    "--plan",
    "plan_file",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The plan that was run.",
)
@click.option(
    "--results",
    required=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="The folder that holds one folder for each leg.",
)
@click.option(
    "--file",
    "file",
    default=Path("baseline.yml"),
    show_default=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="The file to write, and to start from where it exists.",
)
@click.option("--owner", required=True, help="Who answers for the new entries.")
@click.option("--reason", default="", help="Why they fail; the failure's own message where it is not given.")
@click.option("--link", default="", help="Where more is known of them.")
@click.option(
    "--expires",
    type=click.DateTime(["%Y-%m-%d"]),
    help=f"The last day on which they count (UTC).  [default: in {_DAYS} days]",
)
@click.pass_obj
def update(
    console: Console,
    plan_file: Path,
    results: Path,
    file: Path,
    owner: str,
    reason: str,
    link: str,
    expires: datetime | None,
) -> None:
    """Write the file of known failures from the results of a plan.

    A failure that no entry covers gets one. An entry whose cases all passed is taken out, and one that expired while
    its cases still fail is left as it is, for somebody to answer. Comments above the first key stay.
    """
    plan, digest = files.read_plan(plan_file)
    data = read_source(file, from_here(file)) if file.exists() else b""
    old = parse_baseline(data, from_here(file)) if data else ()
    last = expires.date() if expires else datetime.now(UTC).date() + timedelta(days=_DAYS)
    seen = _read(console, plan, digest, results)
    template = KnownFailure(case="", reason=reason, owner=owner, link=link, expires=last)
    new = missing(old, seen, template)
    kept = tuple(entry for entry in old if not is_over(entry, seen))
    content = baseline_text([*kept, *new], head=head_of(data.decode("utf-8-sig")))
    parse_baseline(content.encode(), from_here(file))  # an owner or a link that the file may not hold is told here
    files.write_atomically(file, content.encode())
    console.say(f"{file}: {len(new)} new, {len(old) - len(kept)} taken out, {len(kept)} kept")


@dataclass(slots=True)
class Seen:
    """How a case ended, profile by profile: ``messages`` of those on which it failed, and where it ``passed``."""

    messages: dict[str, str] = field(default_factory=dict)
    passed: set[str] = field(default_factory=set)


def _read(console: Console, plan: Plan, digest: str, results: Path) -> dict[str, Seen]:
    """Case (``suite#case``) -> how it ended. Only evidence that the gate would take counts."""

    def damaged(error: DataError) -> None:
        console.emit(Message(text=f"not used: {error.message}", level=Level.WARNING))

    chosen = choose(plan, digest, readable(results, damaged))
    for refused in chosen.reasons:
        console.emit(Message(text=f"not used: {refused.message}", level=Level.WARNING))
    if plan.legs and not chosen.runs:
        raise DataError(f"{results} holds no results of this plan", hint="name the folder that 'run --out' wrote")
    seen: dict[str, Seen] = {}
    for run in chosen.runs.values():
        for result in run.results():
            _take(seen, run.run, run.leg, result)
    return seen


def _take(seen: dict[str, Seen], run: Run, leg: Leg, result: Result) -> None:
    if result.outcome is Outcome.PASSED:
        seen.setdefault(result.key, Seen()).passed.add(leg.profile.name)
    elif kind_of(run, result) in EXCUSABLE:
        seen.setdefault(result.key, Seen()).messages[leg.profile.name] = result.message


def missing(old: Iterable[KnownFailure], seen: Mapping[str, Seen], template: KnownFailure) -> list[KnownFailure]:
    """New entries, made from ``template``, for the failures that no old one covers.

    One for all profiles where a case failed wherever it was judged, else one for each profile.
    """
    known = tuple(old)
    made = []
    for case, one in sorted(seen.items()):
        open_on = [name for name in sorted(one.messages) if not any(entry.covers(name, case) for entry in known)]
        if not open_on:
            continue
        is_everywhere = not one.passed and len(open_on) == len(one.messages)
        for profile in ["*"] if is_everywhere else open_on:
            message = one.messages[open_on[0] if is_everywhere else profile]
            reason = template.reason or f"not looked into: {message or 'it failed'}"[:REASON_LIMIT]
            made.append(dataclasses.replace(template, case=case, profile=profile, reason=reason))
    return made


def is_over(entry: KnownFailure, seen: Mapping[str, Seen]) -> bool:
    """True for an entry of which some case passed and none failed any more."""
    passed = False
    for case, one in seen.items():
        if any(entry.covers(profile, case) for profile in one.messages):
            return False
        passed = passed or any(entry.covers(profile, case) for profile in one.passed)
    return passed
