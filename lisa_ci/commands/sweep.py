"""``lisa-ci sweep``: remove what dead runs left on this host or in a cloud, and end machines that were kept."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import PurePath

import click

from lisa_ci import registry
from lisa_ci.console import Console
from lisa_ci.errors import PipelineError, ProvisioningError
from lisa_ci.events import Message
from lisa_ci.github import runs
from lisa_ci.model import Leftover
from lisa_ci.platforms.azure import containers, record
from lisa_ci.platforms.qemu import scratch


@click.command
@click.argument("machines", metavar="[MACHINE]...", nargs=-1)
@click.option("--platform", type=click.Choice(["azure"]), help="Search a whole subscription instead of this host.")
@click.option(
    "--dry-run/--delete",
    default=None,
    help="With --platform: only say what would go, or delete it.  [default: only say]",
)
@click.pass_obj
def command(console: Console, machines: tuple[str, ...], platform: str | None, dry_run: bool | None) -> None:
    """Remove what runs that died left on this host: processes, scratch files and cloud machines whose lease has ended.

    A machine kept by `run --keep` is left alone until its time is over; naming it here ends it now. Machines in use
    are never touched. With --platform azure, everything in the subscription that bears the tags of lisa-ci is told,
    and the images in the containers of AZURE_IMAGE_CONTAINERS that bear its lease; what goes is what outlived its lease
    and whose run on GitHub is over (GITHUB_TOKEN lets that be asked).
    Exit 4: something could not be removed.
    """
    if platform is None and dry_run is not None:
        raise PipelineError("--dry-run and --delete go with --platform", hint="this host's leftovers are its own runs'")
    if platform is not None:
        if machines:
            raise PipelineError("--platform searches everything: name no machine with it")
        found = _subscription(console, is_deleting=dry_run is False)
        failed = [leftover for leftover in found if not leftover.is_removed]
    elif machines:
        found = [leftover for machine in machines for leftover in _ended(machine)]
        failed = [leftover for leftover in found if not leftover.is_removed]
    else:
        now = datetime.now(UTC)
        found = [leftover for name in registry.PLATFORMS for leftover in registry.platform(name).sweep(now=now)]
        failed = []
    for leftover in found:
        owner = f" of {leftover.owner}" if leftover.owner else ""
        click.echo(f"{'removed' if leftover.is_removed else 'left'}: {leftover.what}{owner}")
    if not found:
        console.say("nothing to remove")
    if failed:
        raise ProvisioningError(f"{len(failed)} of {len(found)} could not be removed", hint="each line above says why")


def _ended(machine: str) -> Sequence[Leftover]:
    leftover = scratch.end(machine)
    if leftover is not None:
        return [leftover]
    kept = record.read(machine) if machine == PurePath(machine).name else None
    if kept is None:
        raise PipelineError(f"there is no machine '{machine}' here", hint="'lisa-ci sweep' lists what is kept")
    from lisa_ci.platforms.azure import client, sweep  # noqa: PLC0415 - they load Azure's SDK

    return sweep.end_recorded(client.connect(), [kept])


# ---- a subscription ------------------------------------------------------------------------------------------------


def _subscription(console: Console, *, is_deleting: bool) -> Sequence[Leftover]:
    """Groups, and images in the containers that the environment names. PipelineError, ProvisioningError."""
    places = containers.named()
    try:
        from lisa_ci.platforms.azure import blob_sweep, client, sweep  # noqa: PLC0415 - they load Azure's SDK
    except ImportError as error:
        raise PipelineError("the Azure SDK is not installed", hint="pip install 'lisa-ci[azure]'") from error
    azure, now = client.connect(), datetime.now(UTC)
    found = sweep.search(azure, now=now, is_alive=runs.is_alive)
    for one in found:
        click.echo(f"{'delete' if one.is_due else 'keep'}: {one}")
        for what in one.contents:
            click.echo(f"    {what}")
    for text in sweep.soft_deleted(found):
        click.echo(f"note: Azure keeps {text} for some time after its deletion")
    due = sum(one.is_due for one in found)
    console.say(f"{len(found)} groups of lisa-ci in the subscription, {due} to delete")
    images, unread = blob_sweep.search(azure, places, now=now, is_alive=runs.is_alive)
    for image in images:
        click.echo(f"{'delete' if image.is_due else 'keep'}: {image}")
    if places:
        console.say(f"{len(images)} images of lisa-ci in {len(places)} containers")
    due += sum(image.is_due for image in images)
    if not is_deleting:
        if due:
            console.say("nothing was deleted: --delete does it")
        return unread
    deleted = sweep.delete(azure, found, say=lambda text, level: console.emit(Message(text=text, level=level)))
    return [*unread, *deleted, *blob_sweep.delete(azure, images)]
