"""``lisa-ci verify DIR --key PUBLICKEY``: is this release what it claims to be?"""

from __future__ import annotations

from pathlib import Path

import click

from lisa_ci.commands._proof import FILE, FOLDER, judge
from lisa_ci.console import Console
from lisa_ci.release.inspect import refuse_key_inside
from lisa_ci.release.keys import load_public
from lisa_ci.release.verify import verify


@click.command()
@click.argument("release", metavar="DIR", type=FOLDER)
@click.option("--key", required=True, type=FILE, help="The signer's public key (PEM), from outside of DIR.")
@click.option("--quick", is_flag=True, help="Do not recompute the disk inside of every container.")
@click.pass_obj
def command(console: Console, release: Path, key: Path, quick: bool) -> None:
    """Verify the release in DIR, offline: files, signature, disks, and the verdict from its evidence.

    Prints what is proven (exit 0), or names everything that is not (exit 5).
    """
    refuse_key_inside(release, key)
    verification = verify(release, load_public(key), judge, quick=quick, emit=console.emit)
    for fact in verification.facts:
        click.echo(f"ok: {fact}")
