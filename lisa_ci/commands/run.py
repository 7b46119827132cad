"""``lisa-ci run LEG``: one leg of a plan on its machine."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final

import click

from lisa_ci import download, faults, files, image, registry
from lisa_ci.commands._evidence import PREVIOUS, readable
from lisa_ci.console import Console
from lisa_ci.errors import DataError, PipelineError, ProvisioningError, VerificationError
from lisa_ci.events import Level, Message
from lisa_ci.execution import run_leg
from lisa_ci.execution.earlier import take_over
from lisa_ci.execution.install import SIZE_LIMIT
from lisa_ci.execution.proof import check_plan_digest, check_subject
from lisa_ci.faults import Fault
from lisa_ci.github.event import attempt
from lisa_ci.github.outputs import is_github
from lisa_ci.model import Leg, Outcome, Plan, Result, Run, Suite
from lisa_ci.pipeline.close import did_you_mean
from lisa_ci.pipeline.suites import find_suite, load_suite
from lisa_ci.planning import counted
from lisa_ci.reporting.judging import dead
from lisa_ci.reporting.junit import write_leg_junit
from lisa_ci.reporting.proven import Earlier, earlier_attempts, is_proven, proofs_of

_AGAIN: Final = "run the leg again with --previous and these results; on GitHub, 're-run failed jobs' does that"


@click.command
@click.argument("leg_id", metavar="LEG")
@click.option(
    "--plan", "plan_file", type=click.Path(path_type=Path), required=True, help="The plan that 'lisa-ci plan' wrote."
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="The results folder; the leg writes into its own folder there.",
)
@click.option("--resume", is_flag=True, help="Keep the results of an earlier run of this plan, run what is missing.")
@PREVIOUS
@click.option("--keep", is_flag=True, help="Leave the machine up, and say how to enter and end it.")
@click.option(
    "--fail-on",
    type=click.Choice(["never", "failed"]),
    default="never",
    show_default=True,
    help="failed: exit 1 where a case failed or errored; for a desk, in CI the gate decides.",
)
@click.option("--expect-digest", metavar="SHA256", help="Refuse a plan whose file has another digest.")
@click.option(
    "--case",
    "only",
    metavar="GLOB",
    multiple=True,
    help="Only cases whose SUITE#CASE matches (may be repeated); the gate does not take such a run.",
)
@click.pass_obj
def command(
    console: Console,
    leg_id: str,
    plan_file: Path,
    out: Path,
    resume: bool,
    previous: Path | None,
    keep: bool,
    fail_on: str,
    expect_digest: str | None,
    only: tuple[str, ...],
) -> int:
    """Run LEG: make its machine, run its cases, destroy the machine.

    Exit 0: the image was judged, whatever the results. Exit 4: infrastructure left something open, and another attempt
    may help. Exit 5: the image, a suite or the plan is not what was planned.
    """
    if previous is not None and (resume or only):
        raise PipelineError("--previous goes with neither --resume nor --case", hint="leave one of them out")
    plan, digest = files.read_plan(plan_file)
    check_plan_digest(digest, expect_digest or None)
    leg = _leg(plan, leg_id)
    suites = _suites(plan, leg)
    _check_globs(leg, suites, only)
    earlier = None if previous is None else _earlier(console, plan, digest, leg, previous)
    number = attempt() if is_github() or earlier is None else earlier.latest + 1
    if earlier is not None and _keep_proofs(console, plan, earlier, out, number):
        run, left = earlier.run.run, _write_junit(plan, out / leg.id)
        return _tell(console, run, left, out / leg.id, fail_on)
    platform = registry.platform(leg.profile.platform)
    problems = platform.problems(leg.profile)
    if problems:
        for problem in problems[:-1]:
            console.say(problem)
        raise ProvisioningError(problems[-1], hint="lisa-ci doctor tells what this host lacks")
    check_subject(plan.subject, console.emit)
    suites = _with_downloads(console, leg, suites)
    try:
        run = run_leg(
            plan,
            digest,
            leg,
            platform=platform,
            driver=registry.driver,
            scenario=registry.scenario,
            suites=suites,
            out=out,
            attempt=number,
            resume=resume or earlier is not None,
            keep=keep,
            only=only,
            plan_file=plan_file,
            emit=console.emit,
        )
    finally:
        left = _write_junit(plan, out / leg.id)
    if only and not left.outcomes and not run.error:
        raise PipelineError(
            f"leg {leg.id} has no case that matches '{' '.join(only)}'", hint=f"see {out / leg.id}/inventory.json"
        )
    return _tell(console, run, left, out / leg.id, fail_on)


@dataclass(slots=True)
class _Left:
    """What a leg left: the outcomes that there are, and the cases that infrastructure took, counted."""

    outcomes: set[Outcome] = field(default_factory=set)
    lost: int = 0
    first_lost: str = ""

    def take(self, run: Run, result: Result) -> None:
        self.outcomes.add(result.outcome)
        if not faults.is_proof(run, result):
            self.lost += 1
            self.first_lost = self.first_lost or f"{result.key}: {result.message}"


def _tell(console: Console, run: Run, left: _Left, folder: Path, fail_on: str) -> int:
    """Where the results are, and the exit code; ProvisioningError where infrastructure left something open."""
    console.say(f"{run.leg}: the results are in {folder}")
    fault = faults.of_run(run)
    if fault is Fault.WORLD:
        raise ProvisioningError(f"infrastructure: leg {run.leg} was not judged: {run.error}", hint=_AGAIN)
    if left.lost:
        cases = f"{left.lost} case{'' if left.lost == 1 else 's'} of leg {run.leg}"
        raise ProvisioningError(f"infrastructure: {cases} not judged; {left.first_lost}", hint=_AGAIN)
    if fault is Fault.IMAGE:
        console.emit(Message(text=f"leg {run.leg}: {dead(run)}", level=Level.WARNING, place=run.leg))
    return 1 if fail_on == "failed" and left.outcomes & {Outcome.FAILED, Outcome.ERRORED} else 0


def _earlier(console: Console, plan: Plan, digest: str, leg: Leg, previous: Path) -> Earlier | None:
    """What earlier attempts of this leg left for this plan; None where there is nothing to go by."""

    def damaged(error: DataError) -> None:
        console.emit(Message(text=f"not used: {error.message}", level=Level.WARNING, place=leg.id))

    evidence = (one for one in readable(previous, damaged) if one.run.leg == leg.id)
    before = attempt() if is_github() else None
    return earlier_attempts(plan, digest, evidence, before=before).get(leg.id)


def _keep_proofs(console: Console, plan: Plan, earlier: Earlier, out: Path, number: int) -> bool:
    """The leg's folder with what is proven; True where nothing is left to run."""
    is_whole = is_proven(plan, earlier.run)
    proofs = proofs_of(earlier)
    head = replace(earlier.run.run, attempt=number)
    if is_whole:
        head = replace(head, findings=earlier.run.findings, recoveries=earlier.run.recoveries)
    else:  # a state that the gate refuses, until the leg has begun and written its own head
        head = replace(head, is_complete=True, error="", findings=(), recoveries=())
    sources = [one.folder for one in earlier.evidence]
    take_over(out, head, proofs, inventory=earlier.inventory, sources=sources)
    rest = "nothing is left to run" if is_whole else "the rest runs"
    console.say(f"{head.leg}: {counted(len(proofs), 'result')} kept of earlier attempts; {rest}")
    return is_whole


def _leg(plan: Plan, leg_id: str) -> Leg:
    leg = plan.leg(leg_id)
    if leg is None:
        names = [leg.id for leg in plan.legs]
        hint = did_you_mean(leg_id, names) or f"the plan has: {', '.join(names[:10]) or 'none'}"
        raise PipelineError(f"the plan has no leg '{leg_id}'", hint=hint)
    return leg


def _suites(plan: Plan, leg: Leg) -> dict[str, Suite]:
    """The leg's suites from the folders that were planned; VerificationError where one has changed since."""
    planned = {suite.name: suite for suite in plan.suites}
    suites = {}
    for task in leg.tasks:
        if task.suite not in planned:
            raise VerificationError(f"leg {leg.id} has a suite {task.suite} that the plan does not describe")
        folder = planned[task.suite].folder
        suite = load_suite(find_suite(folder, Path()), registry.known(), folder)
        if suite.digest != planned[task.suite].digest:
            raise VerificationError(f"suite {task.suite} is not the one that was planned", hint="make the plan again")
        suites[task.suite] = suite
    return suites


def _with_downloads(console: Console, leg: Leg, suites: Mapping[str, Suite]) -> dict[str, Suite]:
    """The suites with the files that they or the pipeline fetch, each from the cache or from the network."""
    found = dict(suites)
    folder = image.cache_folder() / "files"
    for task in leg.tasks:
        suite = found[task.suite]
        wanted = {one.name: one for one in (*suite.fetch, *task.fetch)}  # the pipeline's own takes the suite's place
        fetched = {
            name: str(download.fetch(one.url, one.sha256, folder, console.emit, what=name, limit=SIZE_LIMIT))
            for name, one in wanted.items()
        }
        found[task.suite] = replace(suite, files=fetched)
    return found


def _check_globs(leg: Leg, suites: dict[str, Suite], only: tuple[str, ...]) -> None:
    """A glob that matches nothing is a typing mistake, where all cases are known."""
    keys = [case.key for suite in suites.values() for case in suite.cases or ()]
    for glob in only:
        if "#" not in glob:
            raise PipelineError(f"--case '{glob}' has no '#'", hint="write SUITE#CASE, for example 'boot#*'")
        is_known = all(suite.cases is not None for suite in suites.values())
        if is_known and not any(fnmatchcase(key, glob) for key in keys):
            hint = did_you_mean(glob, keys) or "lisa-ci suite show tells the cases of a suite"
            raise PipelineError(f"leg {leg.id} has no case that matches '{glob}'", hint=hint)


def _write_junit(plan: Plan, folder: Path) -> _Left:
    """``junit.xml`` beside the results; what there is of them."""
    left = _Left()
    evidence = files.read_leg(folder)
    if evidence is None:
        return left
    stream = io.BytesIO()
    write_leg_junit(stream, plan, evidence)
    files.write_atomically(files.LegFolder(folder).junit, stream.getvalue())
    for result in evidence.results():
        left.take(evidence.run, result)
    return left
