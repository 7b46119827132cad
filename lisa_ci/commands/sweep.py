"""``lisa-ci sweep``: remove what dead runs left on this host, and end machines that were kept."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from lisa_ci import registry
from lisa_ci.console import Console
from lisa_ci.errors import PipelineError, ProvisioningError
from lisa_ci.model import Leftover
from lisa_ci.platforms.qemu import scratch


@click.command
@click.argument("machines", metavar="[MACHINE]...", nargs=-1)
@click.pass_obj
def command(console: Console, machines: tuple[str, ...]) -> None:
    """Remove what runs that died left on this host: processes and scratch files whose lease has ended.

    A machine kept by `run --keep` is left alone until its time is over; naming it here ends it now. Machines in use
    are never touched. Exit 4: something could not be removed.
    """
    if machines:
        found = [_ended(machine) for machine in machines]
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
        raise ProvisioningError(f"{len(failed)} of {len(found)} machines could not be ended", hint="look at its folder")


def _ended(machine: str) -> Leftover:
    leftover = scratch.end(machine)
    if leftover is None:
        raise PipelineError(f"there is no machine '{machine}' here", hint="'lisa-ci sweep' lists what is kept")
    return leftover
