"""``lisa-ci compare BEFORE AFTER``: the results of two runs, or of two legs of one run, side by side."""

from __future__ import annotations

from pathlib import Path

import click

from lisa_ci import files
from lisa_ci.commands._evidence import readable
from lisa_ci.console import Console
from lisa_ci.errors import DataError
from lisa_ci.events import Level, Message
from lisa_ci.github.commands import neutral, printable
from lisa_ci.github.outputs import append_summary, is_github
from lisa_ci.reporting import compared
from lisa_ci.reporting.compare import Side, compare, side_of

_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.command
@click.argument("before", type=_FOLDER)
@click.argument("after", type=_FOLDER)
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "markdown", "json"]),
    default="text",
    show_default=True,
    help="What to print on stdout.",
)
@click.option("--fail-on-new", is_flag=True, help="Exit 1 where a case, or a sub-test of one, fails that did not.")
@click.pass_obj
def command(console: Console, before: Path, after: Path, form: str, fail_on_new: bool) -> int:
    """Compare what two runs left: new failures, what is mended, skips, times.

    BEFORE and AFTER are folders that 'lisa-ci run --out' wrote, or one leg in such a folder. Two single legs are
    compared whatever their names, so that two profiles, images or kernels can be. On GitHub the page is added to the
    job's summary.

    Exit 0: compared. Exit 1: with --fail-on-new, something fails that did not.
    """
    found = compare(_side(console, before), _side(console, after))
    page = compared.markdown(found)
    match form:
        case "json":
            click.echo(files.encode(found), nl=False)
        case "markdown":
            click.echo(page, nl=False)
        case _:
            for line in compared.text(found):
                click.echo(neutral(line) if is_github() else printable(line))
    if is_github():
        append_summary(page)
    return 1 if fail_on_new and found.is_worse else 0


def _side(console: Console, folder: Path) -> Side:
    """A run's folder, or a leg's; DataError where nothing in it can be read."""

    def damaged(error: DataError) -> None:
        console.emit(Message(text=f"not used: {error.message}", level=Level.WARNING))

    one = files.read_leg(folder)
    side = side_of(folder.name or str(folder), [one] if one is not None else readable(folder, damaged))
    if not side.cases:
        raise DataError(f"{folder} holds no results", hint="name the folder that 'run --out' wrote, or a leg in it")
    return side
