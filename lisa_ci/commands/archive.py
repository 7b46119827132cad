"""``lisa-ci archive``: what runs left, kept in Azure Blob Storage or a folder, found again without downloading it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import click

from lisa_ci import files
from lisa_ci.archive import catalog, get, query
from lisa_ci.archive import prune as pruning
from lisa_ci.archive.layout import Summary, name_of
from lisa_ci.archive.place import opened
from lisa_ci.archive.put import Manner, Put, put_run
from lisa_ci.archive.query import By, CaseRow, Cases, Tally, Wanted
from lisa_ci.archive.store import Store, Tier
from lisa_ci.commands._evidence import readable
from lisa_ci.console import Console
from lisa_ci.errors import DataError, LisaCiError, PipelineError, PublishingError, StorageError
from lisa_ci.events import Level, Message
from lisa_ci.files import LegEvidence
from lisa_ci.github import event
from lisa_ci.github.commands import neutral, printable
from lisa_ci.model import Outcome, Plan

_WORKERS_MOST: Final = 32
_DAY: Final = click.DateTime(["%Y-%m-%d"])
_DAYS_AGO: Final = re.compile(r"([0-9]{1,5})d")

_Decorate = Callable[[Callable[..., Any]], Callable[..., Any]]


def _day(ctx: click.Context, param: click.Parameter, value: str | None) -> date | None:
    """A day, or how many days ago: ``30d``."""
    if value is None:
        return None
    found = _DAYS_AGO.fullmatch(value)
    if found:
        return datetime.now(UTC).date() - timedelta(days=int(found[1]))
    day: datetime = _DAY.convert(value, param, ctx)
    return day.date()


def _place(flag: str, purpose: str) -> _Decorate:
    return click.option(
        flag,
        "place",
        required=True,
        envvar="LISA_CI_ARCHIVE",
        show_envvar=True,
        metavar="PLACE",
        help=f"{purpose}: a folder, or https://ACCOUNT.blob.core.windows.net/CONTAINER[/PREFIX].",
    )


_FROM: Final = _place("--from", "The archive")
_WORKERS: Final = click.option(
    "--workers",
    type=click.IntRange(1, _WORKERS_MOST),
    default=8,
    show_default=True,
    help="Requests under way at once.",
)
_TIMEOUT: Final = click.option(
    "--timeout",
    type=click.IntRange(1, 3600),
    default=60,
    show_default=True,
    help="Seconds that the service may be silent before a request is tried again.",
)
_JSON: Final = click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")


def _asking(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options that choose runs."""
    for option in reversed(
        [
            click.option(
                "--since", callback=_day, metavar="DAY", help="The first day (UTC), or how many days ago: 30d."
            ),
            click.option("--until", callback=_day, metavar="DAY", help="The last day (UTC)."),
            click.option("--name", "names", multiple=True, metavar="GLOB", help="The pipeline's name."),
            click.option("--leg", "legs", multiple=True, metavar="GLOB", help="The leg."),
            click.option("--profile", "profiles", multiple=True, metavar="GLOB", help="The hardware profile."),
            click.option("--subject", default="", help="The digest of what was tested, or its beginning."),
            click.option("--label", "labels", multiple=True, metavar="KEY=VALUE", help="A label given to put."),
            click.option("--finding", default="", help="A finding's fingerprint, or its beginning."),
        ]
    ):
        function = option(function)
    return function


@click.group("archive", context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Keep what runs left, and find it again.

    PLACE is a folder or a container of Azure Blob Storage. Who we are there: AZURE_STORAGE_CONNECTION_STRING,
    AZURE_STORAGE_SAS_TOKEN or AZURE_STORAGE_KEY where one is set, else the identity of this host or job.
    """


# ---- put -----------------------------------------------------------------------------------------------------------


@command.command("put", short_help="archive the legs in RESULTS")
@click.argument("results", type=click.Path(exists=True, file_okay=False, path_type=Path))
@_place("--to", "The archive")
@click.option(
    "--plan",
    "plan_file",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The plan that was run; it is archived with each leg.",
)
@click.option(
    "--tier",
    type=click.Choice([tier.value for tier in Tier]),
    default=Tier.HOT.value,
    show_default=True,
    help="Of the blobs with the content; the small ones that queries read are always hot.",
)
@click.option(
    "--keep-days", type=click.IntRange(1, 36500), help="Days after a run's start from which prune removes it."
)
@click.option("--label", "labels", multiple=True, metavar="KEY=VALUE", help="Something to find the runs by.")
@_WORKERS
@_TIMEOUT
@click.pass_obj
def put_command(
    console: Console,
    results: Path,
    place: str,
    plan_file: Path,
    tier: str,
    keep_days: int | None,
    labels: tuple[str, ...],
    workers: int,
    timeout: int,
) -> None:
    """Archive every leg in RESULTS: all its files and its plan, without secrets.

    A run is seen when all of it is there. Safe to repeat, from any host: what is there is not sent again, and after a
    success there is nothing to do. Legs of another plan are told and left out. Exit 5: a leg could not be read; the
    others are there. Exit 7: the archive could not be written.
    """
    plan, digest = files.read_plan(plan_file)
    said = {name: value for name, value in (("run", event.run_id()), ("sha", event.sha())) if value}
    manner = Manner(
        workers=workers,
        tier=Tier(tier),
        keep=None if keep_days is None else timedelta(days=keep_days),
        labels={**said, **_labels(labels)},
    )
    broken: list[DataError] = []
    with _writing(), opened(place, timeout=timedelta(seconds=timeout), create=True) as store:
        done = []
        for evidence in _of_plan(console, readable(results, broken.append), plan, digest):
            try:
                put = put_run(store, evidence, plan, plan_file, manner, emit=console.emit)
            except DataError as error:
                broken.append(error)
                continue
            done.append(put)
            _tell_put(console, put)
        _pack(console, store, done, workers)
    for damage in broken:
        console.emit(Message(text=f"not archived: {damage.message}", level=Level.WARNING))
    if not done and not broken:
        raise DataError(f"{results} holds no results of this plan", hint="name the folder that 'run --out' wrote")
    if broken:
        raise DataError(f"{len(broken)} of {len(broken) + len(done)} legs were not archived", hint=broken[0].hint)


@contextmanager
def _writing() -> Iterator[None]:
    """What cannot be read or packed on the way to a write keeps the archive as it was."""
    try:
        yield
    except StorageError as error:
        raise PublishingError(error.message, hint=error.hint) from error


def _of_plan(console: Console, evidence: Iterable[LegEvidence], plan: Plan, digest: str) -> Iterator[LegEvidence]:
    """GitHub's "re-run all jobs" leaves legs of an earlier plan among the results; they were put with that one."""
    for one in evidence:
        if one.run.plan_digest == digest and plan.leg(one.run.leg) is not None:
            yield one
        else:
            text = f"not archived: {one.folder} belongs to another plan; put it with its own"
            console.emit(Message(text=text, level=Level.WARNING))


def _tell_put(console: Console, put: Put) -> None:
    scrubbed = f", {put.scrubbed} secrets taken out" if put.scrubbed else ""
    what = (
        f"archived: {_mib(put.content_bytes)}, {put.sent} of {put.blobs} blobs sent ({_mib(put.sent_bytes)}){scrubbed}"
        if put.is_new
        else "is in the archive already"
    )
    console.say(f"{put.name.leg} attempt {put.name.attempt} {what}")
    click.echo(put.name.id)


def _pack(console: Console, store: Store, done: list[Put], workers: int) -> None:
    """Packs spare others the reading; a put that may not write or list them has done its work all the same."""
    try:
        catalog.pack_months(store, (put.name for put in done if put.is_new), workers=workers, emit=console.emit)
    except LisaCiError as error:
        console.emit(Message(text=f"the runs are archived; their summaries were not packed: {error.message}"))


def _labels(said: Iterable[str]) -> dict[str, str]:
    found = {}
    for one in said:
        name, separator, value = one.partition("=")
        if not separator or not name or len(one) > 300:
            raise PipelineError(f"'{one:.100}' is not a label", hint="KEY=VALUE")
        found[name] = value
    return found


# ---- ls and query --------------------------------------------------------------------------------------------------


@command.command("ls", short_help="list the archived runs")
@_FROM
@_asking
@_JSON
@_WORKERS
@_TIMEOUT
@click.pass_obj
def ls_command(console: Console, /, place: str, as_json: bool, workers: int, timeout: int, **asked: Any) -> None:
    """List the archived runs that fit, oldest first: start, id, name, leg, attempt, results, duration."""
    wanted = _wanted(**asked)
    with opened(place, timeout=timedelta(seconds=timeout)) as store:
        found = sorted(_runs(store, wanted, workers, console), key=lambda run: (run.started, name_of(run)))
    for run in found:
        click.echo(_run_json(run) if as_json else _run_line(run))
    if not found:
        console.say("no such run")


@command.command("query", short_help="ask the archived runs about their cases")
@_FROM
@_asking
@click.option("--case", "cases", multiple=True, metavar="GLOB", help="The case, as suite#case.")
@click.option(
    "--outcome", "outcomes", multiple=True, type=click.Choice([one.value for one in Outcome]), help="How it ended."
)
@click.option("--by", type=click.Choice([one.value for one in By]), help="Count them by this, the worst first.")
@_JSON
@_WORKERS
@_TIMEOUT
@click.pass_obj
def query_command(
    console: Console, /, place: str, by: str | None, as_json: bool, workers: int, timeout: int, **asked: Any
) -> None:
    """Ask thousands of runs about their cases, without downloading them.

    Without --by a line for each case of each run that fits; with it a line for each group: how many runs, how they
    ended, the share that failed of those judged, and the median time.
    """
    wanted = _wanted(**asked)
    with opened(place, timeout=timedelta(seconds=timeout)) as store:
        runs = _runs(store, wanted, workers, console)
        if by is not None:
            for key, tally in query.tallied(runs, wanted, By(by)).items():
                click.echo(_tally_json(key, tally) if as_json else _tally_line(key, tally))
            return
        found = sorted(runs, key=lambda run: (run.started, name_of(run)))
    cases = Cases(wanted)
    count = 0
    for row in (row for run in found for row in sorted(cases.of(run), key=lambda row: row.case)):
        click.echo(_row_json(row) if as_json else _row_line(row))
        count += 1
    if not count:
        console.say("no such case")


def _wanted(
    *,
    since: date | None,
    until: date | None,
    labels: tuple[str, ...],
    outcomes: tuple[str, ...] = (),
    **plain: Any,
) -> Wanted:
    return Wanted(
        since=since,
        until=until,
        labels=_labels(labels),
        outcomes=frozenset(Outcome(one) for one in outcomes),
        **plain,
    )


def _runs(store: Store, wanted: Wanted, workers: int, console: Console) -> Iterator[Summary]:
    there = [name for name in catalog.names(store, since=wanted.since, until=wanted.until) if wanted.takes_name(name)]
    for run in catalog.summaries(store, there, workers=workers, emit=console.emit):
        if wanted.takes_run(run):
            yield run


def _shown(*columns: object) -> str:
    """Columns between tabs; what came from machines is made harmless."""
    text = "\t".join(" ".join(printable(str(column)).split()) or "-" for column in columns)
    return neutral(text)


def _run_line(run: Summary) -> str:
    counts = " ".join(f"{count} {outcome.value}" for outcome, count in run.counts.items() if count)
    state = "" if run.is_complete and not run.error else f"not judged: {run.error or 'the leg died on the way'}"
    what = ", ".join(part for part in (counts, state, run.problem) if part) or "no results"
    attempt = f"attempt {run.attempt}"
    return _shown(f"{run.started:%Y-%m-%d %H:%M}", run.id, run.name, run.leg, attempt, what, _time(run.wall_seconds))


def _run_json(run: Summary) -> str:
    lists = {"cases", "outcomes", "wall_ms"}
    plain = {key: value for key, value in json.loads(files.encode_line(run)).items() if key not in lists}
    return _json({**plain, "counts": {outcome.value: count for outcome, count in run.counts.items()}})


def _row_line(row: CaseRow) -> str:
    run = row.run
    return _shown(
        f"{run.started:%Y-%m-%d %H:%M}", run.id, run.leg, row.case, row.outcome.value, _time(row.wall_ms / 1000)
    )


def _row_json(row: CaseRow) -> str:
    run = row.run
    return _json(
        {
            "run": run.id,
            "started": run.started.isoformat(),
            "name": run.name,
            "leg": run.leg,
            "profile": run.profile,
            "attempt": run.attempt,
            "subject": run.subject,
            "case": row.case,
            "outcome": row.outcome.value,
            "wall_seconds": row.wall_ms / 1000,
        }
    )


def _tally_line(key: str, tally: Tally) -> str:
    if tally.title:
        return _shown(key, f"{tally.runs} runs", f"last {tally.last_run[:10]}", tally.title)
    counts = ", ".join(f"{count} {outcome.value}" for outcome, count in tally.counts.items() if count)
    failed = f"{tally.failed_percent:.1f} % failed"
    return _shown(key, f"{tally.runs} runs", counts, failed, f"median {_time(tally.median_ms / 1000)}")


def _tally_json(key: str, tally: Tally) -> str:
    return _json(
        {
            "key": key,
            "runs": tally.runs,
            **{outcome.value: count for outcome, count in tally.counts.items()},
            "failed_percent": round(tally.failed_percent, 2),
            "median_seconds": tally.median_ms / 1000,
            "title": tally.title,
            "last_run": tally.last_run,
        }
    )


def _json(value: object) -> str:
    return json.dumps(value, sort_keys=True)


def _time(seconds: float) -> str:
    return f"{seconds / 60:.1f} min" if seconds >= 120 else f"{seconds:.1f} s"


def _mib(count: int) -> str:
    return f"{count / (1 << 20):.1f} MiB"


# ---- get and prune -------------------------------------------------------------------------------------------------


@command.command("get", short_help="download runs, proven by their digests")
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
@_FROM
@click.option(
    "--to",
    "target",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="The folder to write into: one folder for each run, as report reads them.",
)
@click.option("--only", multiple=True, metavar="GLOB", help="Only files like this, by their path in the leg's folder.")
@click.option(
    "--limit-gib", type=click.IntRange(1, 1024), default=16, show_default=True, help="The most that a run may have."
)
@_WORKERS
@_TIMEOUT
@click.pass_obj
def get_command(
    console: Console,
    ids: tuple[str, ...],
    place: str,
    target: Path,
    only: tuple[str, ...],
    limit_gib: int,
    workers: int,
    timeout: int,
) -> None:
    """Download the runs with these ids, or beginnings of ids.

    Every byte is proven by its digest before a run's folder gets its name. Exit 5: the archive is damaged, or not what
    it claims to be.
    """
    with opened(place, timeout=timedelta(seconds=timeout)) as store:
        for name in list(get.find_runs(store, ids)):
            folder = get.get_run(
                store, name, target, only=only, workers=workers, limit=limit_gib << 30, emit=console.emit
            )
            click.echo(folder)


@command.command("prune", short_help="remove runs whose time is over")
@_FROM
@click.option("--apply", "is_applied", is_flag=True, help="Remove it; without, only tell what would go.")
@_WORKERS
@_TIMEOUT
@click.pass_obj
def prune_command(console: Console, place: str, is_applied: bool, workers: int, timeout: int) -> None:
    """Tell, and with --apply remove, runs that are past their --keep-days, and blobs that no run needs.

    Runs put without --keep-days stay for ever. Safe while others put: nothing younger than a day goes.
    """
    with _writing(), opened(place, timeout=timedelta(seconds=timeout)) as store:
        planned = pruning.plan_pruning(store, workers=workers, emit=console.emit)
        for name in planned.runs:
            click.echo(_shown("run", f"{name.day}", name.id, name.name, name.leg, f"attempt {name.attempt}"))
        click.echo(
            f"{len(planned.runs)} runs and {len(planned.blobs)} blobs ({_mib(planned.size_bytes)}) to remove, "
            f"{planned.kept} runs kept"
        )
        if is_applied:
            runs, blobs = pruning.prune(store, planned, workers=workers, emit=console.emit)
            console.say(f"removed {runs} runs and {blobs} blobs")
        elif planned.runs or planned.blobs:
            console.say("nothing was removed; --apply does it")
    if planned.unread:
        raise DataError(f"{planned.unread} runs could not be read: no blob goes while it is unknown what they need")
