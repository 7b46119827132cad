"""``lisa-ci demo``: everything, end to end, on a small Debian image made on this host.

The demo calls the program's own commands, in this process, with the very words it shows: each line can be typed again.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Iterable
from datetime import timedelta
from pathlib import Path
from typing import Final

import click

from lisa_ci import files
from lisa_ci.commands import doctor
from lisa_ci.console import Console
from lisa_ci.demo import crash
from lisa_ci.demo.folder import DemoFolder, Scenario
from lisa_ci.demo.image import MAX_AGE, SUITE, build_image, cache_folder
from lisa_ci.errors import LisaCiError, ProvisioningError
from lisa_ci.events import Level, Message

Step = Callable[..., int]
_OUT: Final = Path("lisa-ci-demo")


@click.command
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=_OUT,
    show_default=True,
    help="Where everything goes. An earlier demo's files in it are replaced, other files are never touched.",
)
@click.option(
    "--scenario",
    type=click.Choice([item.value for item in Scenario]),
    default=Scenario.RELEASE.value,
    show_default=True,
    help="crash: a suite panics, hangs and fills its machine, and every case still has its result.",
)
@click.option("--suite", default=SUITE, show_default=True, help="The Debian release of the image.")
@click.option("--mirror", default="", help="The package mirror.  [default: this host's own, else Debian's]")
@click.option("--rebuild", is_flag=True, help="Make the image anew, although a young one is in the cache.")
@click.pass_context
def command(ctx: click.Context, out: Path, scenario: str, suite: str, mirror: str, rebuild: bool) -> int:
    """Build a small Debian image, test it on two machines, judge, pack, sign, verify and publish it.

    DIR holds the plan, the results, the report, the release, the published folder and the public key. Exit 1: the
    gate says no, and nothing is released; with --scenario crash the gate has to say no, and exit 1 means that something
    was lost.
    """
    console: Console = ctx.obj
    started = time.monotonic()
    doctor.require("demo", doctor.examine("demo"))
    folder = DemoFolder(root=out)
    max_age = timedelta(0) if rebuild else MAX_AGE
    chosen = Scenario(scenario)
    folder.begin(build_image(cache_folder(), console.emit, suite=suite, mirror=mirror, max_age=max_age), chosen)
    step = _steps(ctx, console)

    step("plan", "--file", folder.pipeline, "--out", folder.plan)
    plan, digest = files.read_plan(folder.plan)
    unjudged = _run_legs(step, console, folder, [leg.id for leg in plan.legs], digest)
    verdict = step("report", "--plan", folder.plan, "--results", folder.results, "--out", folder.report)
    if chosen is Scenario.CRASH and unjudged is None:
        return _tell_crash(console, started, crash.survived(folder.results))
    if verdict != 0:
        _tell_end(console, started, f"the gate says no; the report is {folder.report / 'summary.md'}")
        if unjudged is not None:
            raise unjudged
        return verdict
    _release(step, folder)
    _tell_end(console, started, f"the report is {folder.report / 'summary.md'}")
    verify = shlex.join(("lisa-ci", "verify", str(folder.release), "--key", str(folder.public_key)))
    console.say(f"verify it yourself: {verify}")
    return 0


def _steps(ctx: click.Context, console: Console) -> Step:
    """A function that runs one of the program's commands here, and shows it as it would be typed."""
    root = ctx.find_root().command

    def step(verb: str, *arguments: str | Path) -> int:
        found = root.get_command(ctx, verb) if isinstance(root, click.Group) else None
        if found is None:
            raise LisaCiError(f"there is no command '{verb}'")
        words = [str(argument) for argument in arguments]
        console.say(f"$ {shlex.join(['lisa-ci', verb, *words])}")
        result = found.main(words, prog_name=f"lisa-ci {verb}", standalone_mode=False, obj=console)
        return result if isinstance(result, int) else 0

    return step


def _run_legs(
    step: Step, console: Console, folder: DemoFolder, legs: Iterable[str], digest: str
) -> ProvisioningError | None:
    """Every leg, one after the other: they share the processors. Why a leg was not judged; the report tells it too."""
    unjudged = None
    for leg in legs:
        try:
            step("run", leg, "--plan", folder.plan, "--expect-digest", digest, "--out", folder.results)
        except ProvisioningError as error:
            unjudged = error
            console.emit(Message(text=str(error), level=Level.WARNING, place=leg))
    return unjudged


def _release(step: Step, folder: DemoFolder) -> None:
    evidence = ("--plan", folder.plan, "--results", folder.results)
    step("pack", folder.image, "--out", folder.release, *evidence)
    step("sign", "--new-key", folder.key)
    try:
        step("sign", folder.release, "--key", folder.key)
    finally:
        folder.forget_key()
    step("verify", folder.release, "--key", folder.public_key)
    step("publish", "apply", folder.release, "--to", folder.published, "--key", folder.public_key)


def _tell_crash(console: Console, started: float, survived: crash.Survived) -> int:
    """What was lost, and what came of it. 0 where all of it ended as it should."""
    for line in survived.lines:
        console.say(line)
    for problem in survived.problems:
        console.emit(Message(text=problem, level=Level.WARNING))
    said = "ended as it should not" if survived.problems else "nothing was lost"
    _tell_end(console, started, f"{said}: {survived.summary}")
    return 1 if survived.problems else 0


def _tell_end(console: Console, started: float, text: str) -> None:
    console.say(f"demo: {time.monotonic() - started:.0f} s; {text}")
