"""``lisa-ci sign DIR --key FILE``: sign a release whose evidence proves it."""

from __future__ import annotations

from pathlib import Path

import click

from lisa_ci.commands._proof import FILE, FOLDER, judge
from lisa_ci.console import Console
from lisa_ci.release import folder, keys
from lisa_ci.release.inspect import refuse_key_inside
from lisa_ci.release.sign import sign


@click.command()
@click.argument("release", metavar="DIR", required=False, type=FOLDER)
@click.option("--key", type=FILE, help="The private key: Ed25519, PEM (PKCS #8).")
@click.option("--new-key", type=FILE, help="Write a new private key here, and its public key to FILE.pub; no DIR.")
@click.pass_obj
def command(console: Console, release: Path | None, key: Path | None, new_key: Path | None) -> None:
    """Sign the release in DIR, after judging its evidence anew and reading the disk in every container.

    Refused (exit 5, every reason told) unless exactly this disk passed every planned leg. A key with a passphrase
    takes it from LISA_CI_KEY_PASSPHRASE.
    """
    if new_key is not None:
        if release is not None or key is not None:
            raise click.UsageError("--new-key makes a key and nothing else: give neither DIR nor --key")
        _make_key(console, new_key)
        return
    if release is None or key is None:
        raise click.UsageError("give DIR and --key FILE (a key can be made by --new-key FILE)")
    refuse_key_inside(release, key)
    signer = keys.load_signer(key, keys.passphrase_from_environment(), emit=console.emit)
    statement = sign(release, signer, judge, emit=console.emit)
    click.echo(release / folder.STATEMENT)
    console.say(f"signed with the key {signer.key_id}: {len(statement.passed)} tests passed")


def _make_key(console: Console, path: Path) -> None:
    signer = keys.new_key(path, keys.passphrase_from_environment())
    click.echo(path.with_name(f"{path.name}.pub"))
    console.say(f"made the key {signer.key_id}; keep {path} secret, give {path.name}.pub to those who verify")
