"""``lisa-ci plan``: the plan of a workflow run, and the matrix of its legs."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path

import click

from lisa_ci import files, registry
from lisa_ci.commands._cloud import find_cloud_image
from lisa_ci.commands._evidence import PREVIOUS, readable
from lisa_ci.commands.check import annotate
from lisa_ci.console import Console
from lisa_ci.errors import DataError, PipelineError
from lisa_ci.events import Level, Message
from lisa_ci.github.commands import neutral
from lisa_ci.github.event import attempt
from lisa_ci.github.matrix import matrix_json
from lisa_ci.github.outputs import is_github, set_output
from lisa_ci.model import Plan
from lisa_ci.pipeline import baseline, load_pipeline
from lisa_ci.pipeline.console_settings import expired
from lisa_ci.pipeline.subject import find_subject
from lisa_ci.planning import counted, explain, make_plan, refuse_empty
from lisa_ci.platforms.azure import legs
from lisa_ci.reporting.proven import earlier_attempts, is_proven


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
@click.option(
    "--azure-answers",
    "answers",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of `lisa-ci azure ask`: put each Azure leg where there is room, the cheapest place first.",
)
@PREVIOUS
@click.option("--explain", "with_reasons", is_flag=True, help="Print why each suite runs on each profile, or does not.")
@click.pass_obj
def command(
    console: Console,
    file: Path,
    out: Path | None,
    image: Path | None,
    with_matrix: bool,
    answers: Path | None,
    previous: Path | None,
    with_reasons: bool,
) -> None:
    """Plan which suites run on which profiles, in which legs.

    The same pipeline and image give the same plan, to the byte. On GitHub the outputs matrix, count and digest are set;
    matrix and count are of the legs that have to run.
    Exit 3: the plan is empty, and the pipeline does not allow that.
    """
    try:
        pipeline = load_pipeline(file, registry.known())
        subject = find_subject(pipeline, console.emit, image=image, cloud=find_cloud_image)
        plan = make_plan(pipeline, subject)
        plan = plan if answers is None else legs.placed(plan, legs.read_answers(answers))
    except PipelineError as error:
        if is_github():
            annotate(error)
        raise
    if with_reasons:
        text = explain(plan)
        click.echo(neutral(text) if is_github() else text, nl=False)
    # Not in the plan's own notes: the same pipeline gives the same plan on every day.
    today = datetime.now(UTC).date()
    for note in [*plan.notes, *expired(plan.console, today), *baseline.expired(plan.baseline, today)]:
        console.emit(Message(text=note, level=Level.WARNING))
    refuse_empty(plan)
    _deliver(console, plan, out, previous=previous, with_matrix=with_matrix, is_quiet=with_reasons)


def _deliver(
    console: Console, plan: Plan, out: Path | None, *, previous: Path | None, with_matrix: bool, is_quiet: bool
) -> None:
    data = files.encode(plan)
    if len(data) > files.PLAN_LIMIT:
        raise PipelineError(
            f"the plan has {len(data) >> 20} MiB, and {files.PLAN_LIMIT >> 20} are read back",
            hint="put 'requires' on suites instead of thousands of cases, or use fewer profiles",
        )
    digest = hashlib.sha256(data).hexdigest()
    proven = _proven(console, plan, digest, previous) if previous is not None else frozenset()
    matrix = matrix_json(plan, without=proven)
    if out is not None:
        files.write_atomically(out, data)
        console.say(f"{out}: {counted(len(plan.legs), 'leg')}, digest {digest}")
    elif not with_matrix and not is_quiet:
        click.echo(data, nl=False)
    if with_matrix:
        click.echo(matrix)
    if is_github():
        set_output("matrix", matrix)
        set_output("count", str(len(plan.legs) - len(proven)))
        set_output("digest", digest)


def _proven(console: Console, plan: Plan, digest: str, previous: Path) -> frozenset[str]:
    """Ids of the legs of which earlier attempts have proven every case, for exactly this plan; each is told."""

    def damaged(error: DataError) -> None:
        console.emit(Message(text=f"not used: {error.message}", level=Level.WARNING))

    before = attempt() if is_github() else None
    earlier = earlier_attempts(plan, digest, readable(previous, damaged), before=before)
    proven = {leg: one for leg, one in earlier.items() if is_proven(plan, one.run)}
    for leg, one in proven.items():
        console.say(f"leg {leg}: proven by attempt {one.latest}, not run again")
    return frozenset(proven)
