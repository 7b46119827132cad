"""``lisa-ci publish``: bring a release that verifies to where consumers get it."""

from __future__ import annotations

import os
from pathlib import Path

import click

from lisa_ci.commands._proof import FILE, FOLDER, judge
from lisa_ci.console import Console
from lisa_ci.release.folder_target import FolderTarget
from lisa_ci.release.inspect import refuse_key_inside
from lisa_ci.release.keys import load_public
from lisa_ci.release.publish import KEY_VARIABLE, apply


@click.group()
def command() -> None:
    """Publish releases. A published version never changes, and stays."""


@command.command(name="apply")
@click.argument("release", metavar="DIR", type=FOLDER)
@click.option("--to", "target", required=True, type=FOLDER, help="The folder to publish to: one product each.")
@click.option("--key", type=FILE, help=f"The signer's public key (default: {KEY_VARIABLE}, else the target's own).")
@click.pass_obj
def apply_command(console: Console, release: Path, target: Path, key: Path | None) -> None:
    """Verify the release in DIR, copy it to TARGET/VERSION, and move TARGET/latest to it.

    Nothing is seen before it is complete. The first release pins its key as TARGET/trusted-key.pub. Safe to repeat:
    after a crash it goes on, after success it changes nothing.
    """
    named = key or (Path(value) if (value := os.environ.get(KEY_VARIABLE)) else None)
    if named is not None:
        refuse_key_inside(release, named)
    published = apply(release, FolderTarget(target), load_public(named) if named else None, judge, emit=console.emit)
    click.echo(published.place)
    done = "published" if published.is_changed else "published already, nothing changed:"
    latest = "; it is 'latest'" if published.is_latest else ""
    console.say(f"{done} {published.release.name} {published.release.version}{latest}")
