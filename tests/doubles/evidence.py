"""Builders for a plan and for what its legs leave behind, as the real files, for tests of everything after `run`."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from lisa_ci import files
from lisa_ci.errors import Loss
from lisa_ci.model import (
    Access,
    Image,
    ImageFormat,
    Inventory,
    Kernel,
    LeftOut,
    Leg,
    Outcome,
    Plan,
    PlannedSuite,
    Profile,
    ReleaseSettings,
    Result,
    Run,
    Shard,
    Stage,
    Subject,
    Task,
    Timeouts,
)

DISK_DIGEST = hashlib.sha256(b"the disk under test").hexdigest()
STARTED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def make_plan(
    *,
    suites: Mapping[str, Iterable[str] | None] | None = None,
    profiles: Iterable[str] = ("small",),
    shards: Mapping[str, int] | None = None,
    optional: Iterable[str] = (),
    left_out: Mapping[str, str] | None = None,
    only: Iterable[str] = (),
    kernel: Kernel | None = None,
    has_image: bool = True,
    disk_digest: str = DISK_DIGEST,
    allow_empty: bool = False,
    notes: Iterable[str] = (),
) -> Plan:
    """A plan with one leg for each profile, or one for each shard where ``shards`` has a number above 1.

    ``suites``: name -> case ids, None for a suite whose machine tells them. ``left_out``: case id -> reason.
    """
    given = {"boot": ("a", "b", "c")} if suites is None else suites
    chosen = {name: None if cases is None else tuple(cases) for name, cases in given.items()}
    known = {name: None if cases is None else frozenset(cases) for name, cases in chosen.items()}
    counts = {name: (shards or {}).get(name, 1) for name in chosen}
    left = dict(left_out or {})
    legs = []
    for profile in profiles if chosen else ():
        most = max(counts.values())
        for index in range(1, most + 1):
            tasks = tuple(
                Task(suite=name, shard=Shard(index=index, count=count), only=tuple(only), left_out=left)
                for name, count in counts.items()
                if index <= count
            )
            leg_id = profile if most == 1 else f"{profile}.{index}of{most}"
            legs.append(Leg(id=leg_id, profile=Profile(name=profile), tasks=tasks))
    image = Image(path="disk.qcow2", format=ImageFormat.QCOW2, disk_digest=disk_digest, size_bytes=64 << 20)
    return Plan(
        name="example",
        subject=Subject(image=image if has_image else None, kernel=kernel),
        access=Access(),
        timeouts=Timeouts(),
        release=ReleaseSettings(name="example", version="1.0"),
        suites=tuple(
            PlannedSuite(
                name=name,
                folder=f"bundled:{name}",
                digest=hashlib.sha256(name.encode()).hexdigest(),
                cases=cases,
                required=name not in set(optional),
            )
            for name, cases in chosen.items()
        ),
        legs=tuple(legs),
        left_out=tuple(
            LeftOut(profile=profile, suite=name, case=case, reason=why)
            for profile in profiles
            for name, cases in known.items()
            for case, why in left.items()
            if cases is None or case in cases
        ),
        notes=tuple(notes),
        allow_empty=allow_empty,
    )


def make_plan_file(path: Path, plan: Plan | None = None) -> tuple[Plan, str]:
    """Write the plan (``make_plan()`` by default) to ``path``; the plan and its digest."""
    chosen = plan or make_plan()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(files.encode(chosen))
    return chosen, files.sha256_file(path)


def plan_digest(plan: Plan) -> str:
    """The digest that ``make_plan_file`` would give."""
    return hashlib.sha256(files.encode(plan)).hexdigest()


def results_of(plan: Plan, leg_id: str, outcomes: Mapping[str, Outcome] | None = None) -> list[Result]:
    """One result for every case the leg has to run: PASSED, or what ``outcomes`` says for ``suite#case``."""
    leg = plan.leg(leg_id)
    assert leg is not None
    given = outcomes or {}
    by_name = {suite.name: suite for suite in plan.suites}
    return [
        make_result(task.suite, case, given.get(f"{task.suite}#{case}", Outcome.PASSED))
        for task in leg.tasks
        for case in by_name[task.suite].cases or ()
        if task.shard.contains(case) and case not in task.left_out
    ]


def make_result(suite: str, case: str, outcome: Outcome = Outcome.PASSED, **fields: object) -> Result:
    """A result with a message that fits its outcome; ``fields`` replace those of the Result.

    ERRORED is a case under which the connection was lost: infrastructure.
    """
    message = {
        Outcome.PASSED: "",
        Outcome.FAILED: "exit 1",
        Outcome.ERRORED: "the machine was lost",
        Outcome.SKIPPED: "there is no such device",
    }[outcome]
    loss = Loss.CONNECTION if outcome is Outcome.ERRORED else None
    plain = Result(suite=suite, case=case, outcome=outcome, message=message, wall=timedelta(seconds=0.25), loss=loss)
    return replace(plain, **fields)  # type: ignore[arg-type]


def write_leg(
    root: Path,
    plan: Plan,
    leg_id: str,
    results: Iterable[Result] | None = None,
    *,
    digest: str | None = None,
    subject: str | None = None,
    attempt: int = 1,
    inventory: Mapping[str, Iterable[str]] | None = None,
    has_inventory: bool = True,
    is_complete: bool = True,
    error: str = "",
    only: Iterable[str] = (),
    folder: str | None = None,
    **fields: object,
) -> Path:
    """Write ``root/<leg>/`` as `run` does: everything passed unless ``results`` says otherwise. The leg's folder.

    ``inventory`` is the planned cases unless given; ``digest`` and ``subject`` are those of ``plan`` unless given.
    ``fields`` replace those of the Run.
    """
    leg = files.LegFolder(root / (folder or leg_id))
    leg.root.mkdir(parents=True, exist_ok=True)
    run = Run(
        leg=leg_id,
        plan_digest=plan_digest(plan) if digest is None else digest,
        subject_digest=plan.subject.digest if subject is None else subject,
        attempt=attempt,
        started=STARTED,
        ended=STARTED + timedelta(minutes=2) if is_complete else None,
        is_complete=is_complete,
        error=error,
        stages=(Stage(name="provision", started=STARTED, wall=timedelta(seconds=20)),),
        facts={"kernel": "6.1.0"},
        only=tuple(only),
    )
    leg.run.write_bytes(files.encode(replace(run, **fields)))  # type: ignore[arg-type]
    if has_inventory:
        planned = plan.leg(leg_id)
        suites = {task.suite for task in planned.tasks} if planned else set()
        told = inventory or {suite.name: suite.cases or () for suite in plan.suites if suite.name in suites}
        content = Inventory(leg=leg_id, suites={name: tuple(cases) for name, cases in told.items()})
        leg.inventory.write_bytes(files.encode(content))
    with leg.journal.open("wb") as journal:
        for result in results_of(plan, leg_id) if results is None else results:
            journal.write(files.encode_line(files.JournalLine(result=result)))
    return leg.root
