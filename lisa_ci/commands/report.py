"""``lisa-ci report``: judge the results against the plan, and write what people and programs read of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click

from lisa_ci import files
from lisa_ci.commands._evidence import readable
from lisa_ci.console import Console
from lisa_ci.errors import DataError, LisaCiError
from lisa_ci.github import event, outputs
from lisa_ci.github.commands import neutral, printable
from lisa_ci.model import Plan, Reason, Result, Verdict
from lisa_ci.reporting.annotations import annotate
from lisa_ci.reporting.chosen import LegRun
from lisa_ci.reporting.highlights import Highlights
from lisa_ci.reporting.junit import JUnitWriter
from lisa_ci.reporting.reasons import Kind, reason
from lisa_ci.reporting.summary import summary
from lisa_ci.reporting.verdict import decide
from lisa_ci.reporting.words import headline, reason_lines

_LINES: Final = 20


@click.command(short_help="judge the results against the plan: JUnit, summary, annotations, gate")
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
    type=click.Path(file_okay=False, path_type=Path),
    help="The folder that holds one folder for each leg.",
)
@click.option(
    "--out",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Where to write verdict.json, junit.xml and summary.md.",
)
@click.pass_obj
def command(console: Console, plan_file: Path, results: Path, out: Path) -> int:
    """Judge the results against the plan.

    Exit code 0: every planned case is proven and none failed. Exit code 1: not green, and each reason is told.
    On GitHub it also annotates, adds to the job's summary, and sets the outputs passed, releasable and verdict.
    """
    plan, digest = files.read_plan(plan_file)
    is_github = outputs.is_github()
    told = write_report(plan, digest, results, out, latest=event.attempt() if is_github else None)
    lines = [headline(told.verdict), *reason_lines(told.verdict)]
    shown = lines[: _LINES + 1] + ([f"and {len(lines) - _LINES - 1} more"] if len(lines) > _LINES + 1 else [])
    for line in shown:
        click.echo(neutral(line) if is_github else printable(line))
    if is_github:
        _tell_github(told, out)
    console.say(f"report: {out / 'summary.md'}")
    return 0 if told.verdict.passed else 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A verdict with what people are shown of it. ``markdown`` is the summary page."""

    verdict: Verdict
    highlights: Highlights
    markdown: str


def write_report(plan: Plan, digest: str, results: Path, out: Path, *, latest: int | None = None) -> Told:
    """Read the results once and write ``verdict.json``, ``junit.xml`` and ``summary.md`` into ``out``.

    ``latest`` is the attempt that asks: on GitHub nothing can be from a later one.
    """
    highlights = Highlights()
    broken: list[Reason] = []
    temporary = out / ".junit.xml.part"
    try:
        out.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as stream:
            junit = JUnitWriter(stream, plan)

            def watch(run: LegRun, result: Result) -> None:
                junit.take(run, result)
                highlights.take(run, result)

            def damaged(error: DataError) -> None:
                broken.append(reason(Kind.UNREADABLE, str(error)))

            verdict = decide(
                plan,
                digest,
                readable(results, damaged),
                broken=broken,
                watch=watch,
                begin=highlights.begin,
                latest=latest,
            )
            junit.close(verdict.reasons)
        temporary.replace(out / "junit.xml")
    except OSError as error:
        raise LisaCiError(
            f"cannot write the report into {out}: {error.strerror}", hint="check the folder and the free space"
        ) from error
    markdown = summary(plan, verdict, highlights)
    files.write_atomically(out / "verdict.json", files.encode(verdict))
    files.write_atomically(out / "summary.md", markdown.encode())
    return Told(verdict=verdict, highlights=highlights, markdown=markdown)


def _tell_github(told: Told, out: Path) -> None:
    for line in annotate(told.verdict, told.highlights, workspace=event.workspace()):
        click.echo(line)
    outputs.append_summary(told.markdown)
    outputs.set_output("passed", str(told.verdict.passed).lower())
    outputs.set_output("releasable", str(told.verdict.releasable).lower())
    outputs.set_output("verdict", str(out / "verdict.json"))
