"""``lisa-ci run LEG``: one leg of a plan on its machine."""

from __future__ import annotations

import io
from fnmatch import fnmatchcase
from pathlib import Path

import click

from lisa_ci import files, registry
from lisa_ci.console import Console
from lisa_ci.errors import PipelineError, ProvisioningError, VerificationError
from lisa_ci.execution import run_leg
from lisa_ci.execution.proof import check_plan_digest, check_subject
from lisa_ci.github.event import attempt
from lisa_ci.model import Leg, Outcome, Plan, Suite
from lisa_ci.pipeline.close import did_you_mean
from lisa_ci.pipeline.suites import find_suite, load_suite
from lisa_ci.reporting.junit import write_leg_junit


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
    keep: bool,
    fail_on: str,
    expect_digest: str | None,
    only: tuple[str, ...],
) -> int:
    """Run LEG: make its machine, run its cases, destroy the machine.

    Exit 0: every case has its result, whatever it is. Exit 4: the image could not be judged. Exit 5: the image, a
    suite or the plan is not what was planned.
    """
    plan, digest = files.read_plan(plan_file)
    check_plan_digest(digest, expect_digest or None)
    leg = _leg(plan, leg_id)
    suites = _suites(plan, leg)
    _check_globs(leg, suites, only)
    platform = registry.platform(leg.profile.platform)
    problems = platform.problems(leg.profile)
    if problems:
        for problem in problems[:-1]:
            console.say(problem)
        raise ProvisioningError(problems[-1], hint="lisa-ci doctor tells what this host lacks")
    check_subject(plan.subject, console.emit)
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
            attempt=attempt(),
            resume=resume,
            keep=keep,
            only=only,
            plan_file=plan_file,
            emit=console.emit,
        )
    finally:
        outcomes = _write_junit(plan, out / leg.id)
    console.say(f"{leg.id}: the results are in {out / leg.id}")
    if run.error:
        raise ProvisioningError(f"leg {leg.id} was not judged: {run.error}", hint=f"see {out / leg.id}")
    if only and not outcomes:
        raise PipelineError(
            f"leg {leg.id} has no case that matches '{' '.join(only)}'", hint=f"see {out / leg.id}/inventory.json"
        )
    return 1 if fail_on == "failed" and outcomes & {Outcome.FAILED, Outcome.ERRORED} else 0


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


def _write_junit(plan: Plan, folder: Path) -> set[Outcome]:
    """``junit.xml`` beside the results; the outcomes that there are."""
    evidence = files.read_leg(folder)
    if evidence is None:
        return set()
    stream = io.BytesIO()
    write_leg_junit(stream, plan, evidence)
    files.write_atomically(files.LegFolder(folder).junit, stream.getvalue())
    return {result.outcome for result in evidence.results()}
