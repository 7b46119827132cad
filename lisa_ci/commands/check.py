"""``lisa-ci check``: are a pipeline file, its suites and the workflows beside it right."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import click

from lisa_ci import registry
from lisa_ci.console import Console
from lisa_ci.errors import PipelineError, Problem
from lisa_ci.events import Level, Message
from lisa_ci.github.commands import command as workflow_command
from lisa_ci.github.outputs import is_github
from lisa_ci.pipeline import baseline, load_pipeline
from lisa_ci.pipeline.console_settings import expired
from lisa_ci.pipeline.workflows import check_workflows
from lisa_ci.planning import advice, counted
from lisa_ci.platforms.azure import images_ref, retirement

T = TypeVar("T")


@click.command
@click.argument("file", type=click.Path(path_type=Path), default=Path("lisa-ci.yml"))
@click.pass_obj
def command(console: Console, file: Path) -> None:
    """Check FILE (lisa-ci.yml where none is named), the suites it selects, and the workflows beside it.

    Exit 2 with every mistake there is, each with file, line and column; warnings are for things that are allowed.
    """
    problems: list[Problem] = []
    pipeline = _collect(problems, lambda: load_pipeline(file, registry.known()))
    found = _collect(problems, lambda: check_workflows(file.parent))
    problems += found.mistakes if found else ()
    if pipeline and pipeline.image and pipeline.image.azure:
        named = pipeline.image.azure
        _collect(problems, lambda: images_ref.parse(named))
    for warning in found.advice if found else ():
        place = f"{warning.location}: " if warning.location else ""
        _warn(console, f"{place}{warning.message}; {warning.hint}")
    for sentence in advice(pipeline) if pipeline else ():
        _warn(console, f"{file}: {sentence}")
    today = datetime.now(UTC).date()
    for sentence in expired(pipeline.console, today) if pipeline else ():
        _warn(console, f"{file}: {sentence}")
    for sentence in baseline.expired(pipeline.baseline, today) if pipeline else ():
        _warn(console, f"{file}: {sentence}")
    for profile in pipeline.profiles if pipeline else ():
        for sentence in retirement.warnings(profile, today):
            _warn(console, f"{file}: {sentence}")
    if problems:
        error = PipelineError(f"{file}: {counted(len(problems), 'mistake')}", problems=tuple(problems))
        if is_github():
            annotate(error)
        raise error
    if pipeline:
        cases = sum(len(selection.suite.cases or ()) for selection in pipeline.suites)
        counts = ", ".join(
            [
                counted(len(pipeline.profiles), "profile"),
                counted(len(pipeline.suites), "suite"),
                counted(cases, "stated case"),
            ]
        )
        console.say(f"{file}: {counts}; no mistakes")


def _collect(problems: list[Problem], read: Callable[[], T]) -> T | None:
    """What ``read`` gives; its mistakes join the others, so that one wrong file does not hide another's."""
    try:
        return read()
    except PipelineError as error:
        problems += error.problems
        return None


def _warn(console: Console, text: str) -> None:
    console.emit(Message(text=text, level=Level.WARNING))


def annotate(error: PipelineError) -> None:
    """Show each mistake at its line in the pull request."""
    for problem in error.problems:
        text = f"{problem.message}; {problem.hint}" if problem.hint else problem.message
        place = problem.location
        line, column = (place.line, place.column) if place else (None, None)
        click.echo(workflow_command("error", text, file=place.file if place else None, line=line, col=column))
