"""``lisa-ci plan``: the plan of a workflow run, and the matrix of its legs."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path

import click

from lisa_ci import files, registry
from lisa_ci.commands.check import annotate
from lisa_ci.console import Console
from lisa_ci.errors import PipelineError
from lisa_ci.events import Level, Message
from lisa_ci.github.commands import neutral
from lisa_ci.github.matrix import matrix_json
from lisa_ci.github.outputs import is_github, set_output
from lisa_ci.model import Plan
from lisa_ci.pipeline import load_pipeline
from lisa_ci.pipeline.console_settings import expired
from lisa_ci.pipeline.subject import find_subject
from lisa_ci.planning import counted, explain, make_plan, refuse_empty


@click.command
@click.option(
    "--file",
    "-f",
    "file",
    type=click.Path(path_type=Path),
    default=Path("lisa-ci.yml"),
    show_default=True,
    help="The pipeline file.",
)
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), help="Where to write the plan.  [default: stdout]"
)
@click.option(
    "--image", type=click.Path(path_type=Path), help="The image file, instead of the one in the pipeline file."
)
@click.option("--matrix", "with_matrix", is_flag=True, help="Print the matrix of a GitHub job on stdout, in one line.")
@click.option("--explain", "with_reasons", is_flag=True, help="Print why each suite runs on each profile, or does not.")
@click.pass_obj
def command(
    console: Console, file: Path, out: Path | None, image: Path | None, with_matrix: bool, with_reasons: bool
) -> None:
    """Plan which suites run on which profiles, in which legs.

    The same pipeline and image give the same plan, to the byte. On GitHub the outputs matrix, count and digest are set.
    Exit 3: the plan is empty, and the pipeline does not allow that.
    """
    try:
        pipeline = load_pipeline(file, registry.known())
        subject = find_subject(pipeline, console.emit, image=image)
        plan = make_plan(pipeline, subject)
    except PipelineError as error:
        if is_github():
            annotate(error)
        raise
    if with_reasons:
        text = explain(plan)
        click.echo(neutral(text) if is_github() else text, nl=False)
    # Not in the plan's own notes: the same pipeline gives the same plan on every day.
    for note in [*plan.notes, *expired(plan.console, datetime.now(UTC).date())]:
        console.emit(Message(text=note, level=Level.WARNING))
    refuse_empty(plan)
    _deliver(console, plan, out, with_matrix=with_matrix, is_quiet=with_reasons)


def _deliver(console: Console, plan: Plan, out: Path | None, *, with_matrix: bool, is_quiet: bool) -> None:
    matrix = matrix_json(plan)
    data = files.encode(plan)
    if len(data) > files.PLAN_LIMIT:
        raise PipelineError(
            f"the plan has {len(data) >> 20} MiB, and {files.PLAN_LIMIT >> 20} are read back",
            hint="put 'requires' on suites instead of thousands of cases, or use fewer profiles",
        )
    digest = hashlib.sha256(data).hexdigest()
    if out is not None:
        files.write_atomically(out, data)
        console.say(f"{out}: {counted(len(plan.legs), 'leg')}, digest {digest}")
    elif not with_matrix and not is_quiet:
        click.echo(data, nl=False)
    if with_matrix:
        click.echo(matrix)
    if is_github():
        set_output("matrix", matrix)
        set_output("count", str(len(plan.legs)))
        set_output("digest", digest)
