"""Which cases a machine really has, and which of them this leg runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from fnmatch import fnmatchcase

from lisa_ci.errors import PipelineError, ProvisioningError
from lisa_ci.model import Case, Command, Leg, Suite, Task
from lisa_ci.protocols import Driver, Machine


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """The cases of a task: to ``run``, and ``left_out`` with the reason each gets as its SKIPPED result."""

    run: tuple[Case, ...]
    left_out: tuple[tuple[Case, str], ...]


def select(task: Task, cases: tuple[Case, ...], keys: tuple[str, ...] = ()) -> Selection:
    """The task's part of a suite's cases, in the suite's order. ``keys`` are globs over ``suite#case``; () is all."""
    mine = [
        case
        for case in cases
        if task.shard.contains(case.id)
        and (not task.only or any(fnmatchcase(case.id, glob) for glob in task.only))
        and (not keys or any(fnmatchcase(case.key, glob) for glob in keys))
    ]
    reasons = {case.id: left_out_reason(task, case.id) for case in mine}
    return Selection(
        run=tuple(case for case in mine if reasons[case.id] is None),
        left_out=tuple((case, reason) for case in mine if (reason := reasons[case.id]) is not None),
    )


def left_out_reason(task: Task, case_id: str) -> str | None:
    """Why this task leaves a case out; None where it does not. ``left_out`` has ids and, for listed suites, globs."""
    if case_id in task.left_out:
        return task.left_out[case_id]
    return next((reason for glob, reason in task.left_out.items() if fnmatchcase(case_id, glob)), None)


def discover(
    suite: Suite, driver: Callable[[str], Driver], machine: Machine, folder: str, timeout: timedelta
) -> tuple[Case, ...]:
    """The suite's cases: those it states, or those its listing tells in the machine."""
    if suite.cases is not None or suite.driver is None:
        return suite.cases or ()
    reader = driver(suite.driver)
    listing = reader.listing(suite)
    if listing is None:
        raise PipelineError(f"suite {suite.name} states no cases and has no listing")
    completed = machine.run(*in_folder(listing, folder, suite.environment), timeout=timeout)
    if completed.exit != 0:
        how = "did not end in time" if completed.is_timed_out else f"ended with exit {completed.exit}"
        last = completed.output.decode("utf-8", "replace").strip().splitlines()[-1:]
        raise ProvisioningError(f"the listing of suite {suite.name} {how}", hint=" ".join(last)[:300])
    if completed.dropped_bytes:
        raise ProvisioningError(f"the listing of suite {suite.name} is longer than {len(completed.output) >> 10} KiB")
    return tuple(reader.discover(suite, completed.output))


def in_folder(command: Command, folder: str, environment: Mapping[str, str]) -> tuple[str, ...]:
    """The command as it is run in the folder of its suite in the machine."""
    settings = [f"{name}={value}" for name, value in {**environment, **command.environment}.items()]
    start = ("sh", "-c", 'cd "$1" && shift && exec "$@"', "sh", command.directory or folder)
    return (*start, "env", *settings, *command.arguments)


def all_known(leg: Leg, suites: Mapping[str, Suite]) -> dict[str, tuple[Case, ...]]:
    """Suite name -> its cases, for the suites of a leg whose cases are known without a machine."""
    return {
        task.suite: cases
        for task in leg.tasks
        if (suite := suites.get(task.suite)) is not None and (cases := suite.cases) is not None
    }
