"""Pipeline and subject -> Plan. Pure: the same values give the same plan, to the byte."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import PurePath

from lisa_ci.errors import NothingToDoError
from lisa_ci.github.limits import MATRIX_LEGS
from lisa_ci.model import Access, LeftOut, Leg, Pipeline, Plan, PlannedSuite, Profile, Shard, Subject, Task
from lisa_ci.pipeline.suites import folder_in_plan
from lisa_ci.planning.advice import advice
from lisa_ci.planning.budget import fit_parts
from lisa_ci.planning.selection import Pair, pairs_of


def make_plan(pipeline: Pipeline, subject: Subject) -> Plan:
    """Every leg of one workflow run; an empty plan is a plan (see ``refuse_empty``).

    PipelineError where the profiles alone are more than a matrix can run.
    """
    rows = [(profile, pairs_of(profile, pipeline, subject)) for profile in pipeline.profiles]
    running = [(profile, fitting) for profile, pairs in rows if (fitting := _fitting(pairs))]
    wanted = [_parts(fitting, MATRIX_LEGS) for _, fitting in running]
    parts = fit_parts(wanted)
    legs = [leg for row, count in zip(running, parts, strict=True) for leg in _legs(*row, count)]
    left_out = tuple(entry for _, pairs in rows for pair in pairs for entry in _left_out(pair))
    return Plan(
        name=pipeline.name,
        subject=subject,
        access=_access(pipeline),
        timeouts=pipeline.timeouts,
        release=pipeline.release,
        suites=_suites(pipeline),
        legs=tuple(legs),
        left_out=left_out,
        notes=(
            *advice(pipeline),
            *_shard_notes(running),
            *_packing_notes(running, wanted, parts),
            *_gaps(pipeline, legs, left_out),
        ),
        allow_empty=pipeline.allow_empty,
        install_packages=pipeline.install_packages,
        console=pipeline.console,
        baseline=pipeline.baseline,
    )


def refuse_empty(plan: Plan) -> None:
    """NothingToDoError for a plan without a leg, unless its pipeline allows that."""
    if plan.legs or plan.allow_empty:
        return
    why = plan.left_out[0] if plan.left_out else None
    first = f"; {why.profile}/{why.suite}: {why.reason}" if why else ""
    raise NothingToDoError(
        f"the plan has no leg{first}",
        hint="'lisa-ci plan --explain' tells the reason for each pair; 'allow_empty: true' makes an empty plan green",
    )


def _fitting(pairs: Sequence[Pair]) -> tuple[Pair, ...]:
    return tuple(pair for pair in pairs if not pair.reason)


def _parts(pairs: Sequence[Pair], most: int) -> int:
    """Legs of a profile: as many as its suite with the most parts needs."""
    return max(pair.parts(most) for pair in pairs)


def _legs(profile: Profile, pairs: Sequence[Pair], most: int) -> Iterator[Leg]:
    """The legs of a profile, ``most`` at most. A suite of fewer parts than legs sits on the first of them."""
    count = _parts(pairs, most)
    for index in range(1, count + 1):
        tasks = tuple(_task(pair, index, shards) for pair in pairs if index <= (shards := pair.parts(most)))
        yield Leg(id=profile.name if count == 1 else f"{profile.name}.{index}of{count}", profile=profile, tasks=tasks)


def _task(pair: Pair, index: int, shards: int) -> Task:
    suite = pair.selection.suite.name
    return Task(
        suite=suite,
        shard=Shard(index=index, count=shards),
        only=pair.selection.only,
        left_out=pair.left_out,
        environment=pair.selection.environment,
        fetch=pair.selection.fetch,
    )


def _left_out(pair: Pair) -> Iterator[LeftOut]:
    profile, suite = pair.profile.name, pair.selection.suite.name
    if pair.reason:
        yield LeftOut(profile=profile, suite=suite, reason=pair.reason)
        return
    for case, reason in pair.left_out.items():
        yield LeftOut(profile=profile, suite=suite, case=case, reason=reason)


def _suites(pipeline: Pipeline) -> tuple[PlannedSuite, ...]:
    return tuple(
        PlannedSuite(
            name=selection.suite.name,
            folder=folder_in_plan(selection.suite.folder),
            digest=selection.suite.digest,
            cases=None if selection.suite.cases is None else tuple(case.id for case in selection.suite.cases),
            required=selection.required,
        )
        for selection in pipeline.suites
    )


def _access(pipeline: Pipeline) -> Access:
    """The way in, with the key's path as seen from the working directory."""
    key = pipeline.access.key
    return (
        pipeline.access
        if key is None
        else dataclasses.replace(pipeline.access, key=str(PurePath(pipeline.folder, key)))
    )


def _shard_notes(running: Sequence[tuple[Profile, Sequence[Pair]]]) -> Iterator[str]:
    """Where fewer shards are used than the pipeline asks for, because a part would have no case; once for a suite."""
    told = set()
    for profile, pairs in running:
        for pair in pairs:
            name, wanted = pair.selection.suite.name, pair.selection.shards
            used = pair.parts(wanted)
            if used < wanted and name not in told:
                told.add(name)
                why = f"{wanted} shards leave parts without a case on {profile.name}"
                yield f"suite {name}: {why}, so it has {used} there"


def _packing_notes(
    running: Sequence[tuple[Profile, Sequence[Pair]]], wanted: Sequence[int], parts: Sequence[int]
) -> Iterator[str]:
    packed = [
        f"{profile.name} from {before} to {after}"
        for (profile, _), before, after in zip(running, wanted, parts, strict=True)
        if before != after
    ]
    if packed:
        names = ", ".join(packed[:5]) + (f" and {len(packed) - 5} more" if len(packed) > 5 else "")
        yield f"{sum(wanted)} legs do not fit into one matrix, so shards are packed together: {names}"


def _gaps(pipeline: Pipeline, legs: Sequence[Leg], left_out: Sequence[LeftOut]) -> Iterator[str]:
    """What a reader would miss: suites that run nowhere, and why an allowed empty plan is empty."""
    present = {task.suite for leg in legs for task in leg.tasks}
    if not legs:
        reasons = list(dict.fromkeys(entry.reason for entry in left_out))
        yield f"the plan is empty: {reasons[0]}" + (
            f" (and {len(reasons) - 1} other reasons)" if len(reasons) > 1 else ""
        )
        return
    for selection in pipeline.suites:
        name = selection.suite.name
        if name not in present:
            reason = next((entry.reason for entry in left_out if entry.suite == name), "no profile is left")
            yield f"suite {name} runs on no profile: {reason}"
