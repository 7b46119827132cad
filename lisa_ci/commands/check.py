"""``lisa-ci check``: is a pipeline file right, with its suites."""

from __future__ import annotations

from pathlib import Path

import click

from lisa_ci import registry
from lisa_ci.console import Console
from lisa_ci.errors import PipelineError
from lisa_ci.events import Level, Message
from lisa_ci.github.commands import command as workflow_command
from lisa_ci.github.outputs import is_github
from lisa_ci.pipeline import load_pipeline
from lisa_ci.planning import advice


@click.command
@click.argument("file", type=click.Path(path_type=Path), default=Path("lisa-ci.yml"))
@click.pass_obj
def command(console: Console, file: Path) -> None:
    """Check FILE (lisa-ci.yml where none is named) and the suites it selects; exit 2 with every mistake there is."""
    try:
        pipeline = load_pipeline(file, registry.known())
    except PipelineError as error:
        if is_github():
            annotate(error)
        raise
    for sentence in advice(pipeline):
        console.emit(Message(text=f"{file}: {sentence}", level=Level.WARNING))
    cases = sum(len(selection.suite.cases or ()) for selection in pipeline.suites)
    console.say(
        f"{file}: {len(pipeline.profiles)} profiles, {len(pipeline.suites)} suites, {cases} cases stated; no mistakes"
    )


def annotate(error: PipelineError) -> None:
    """Show each mistake at its line in the pull request."""
    for problem in error.problems:
        text = f"{problem.message}; {problem.hint}" if problem.hint else problem.message
        place = problem.location
        line, column = (place.line, place.column) if place else (None, None)
        click.echo(workflow_command("error", text, file=place.file if place else None, line=line, col=column))
