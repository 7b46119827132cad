"""``lisa-ci pack IMAGE --out DIR``: an image becomes a release folder."""

from __future__ import annotations

from pathlib import Path

import click

from lisa_ci import files, image
from lisa_ci.commands._proof import FILE, FOLDER
from lisa_ci.console import Console
from lisa_ci.errors import PipelineError
from lisa_ci.model import Arch, Firmware, ImageFormat, ReleaseSettings
from lisa_ci.release import manifest
from lisa_ci.release.pack import MAKES, Order, pack


@click.command()
@click.argument("image_path", metavar="IMAGE")
@click.option("--out", required=True, type=FOLDER, help="The release folder to make; it must not exist yet.")
@click.option("--plan", "plan_path", type=FILE, help="The plan the image was tested by; names the release, too.")
@click.option("--results", type=FOLDER, help="The legs' results; plan and results become the release's evidence.")
@click.option("--name", help="Name of the release (default: from the plan, else from the image's file name).")
@click.option("--version", help="Version of the release (default: from the plan, else 0).")
@click.option("--arch", type=click.Choice([arch.value for arch in Arch]), help="Default: from the plan, else x86_64.")
@click.option(
    "--format",
    "formats",
    multiple=True,
    type=click.Choice([kind.value for kind in MAKES]),
    help="A container to make; may be repeated (default: from the plan, else vhd and qcow2).",
)
@click.pass_obj
def command(
    console: Console,
    image_path: str,
    out: Path,
    plan_path: Path | None,
    results: Path | None,
    name: str | None,
    version: str | None,
    arch: str | None,
    formats: tuple[str, ...],
) -> None:
    """Put IMAGE (a file, or a pattern that matches one) into the containers of a release, and prove each of them.

    A fixed VHD and a qcow2 of the same disk, manifest.json, SHA256SUMS, and with --plan and --results the evidence
    that `lisa-ci sign` asks for. The same image and evidence give the same bytes.
    """
    if (plan_path is None) != (results is None):
        raise PipelineError("evidence is the plan and the results", hint="give both --plan and --results, or none")
    plan = files.read_plan(plan_path)[0] if plan_path else None
    path = image.one_file(image_path, Path.cwd())
    settings = plan.release if plan else ReleaseSettings()
    wanted = tuple(ImageFormat(kind) for kind in formats) or settings.formats
    chosen_name = name or settings.name or (plan.name if plan else path.name.partition(".")[0])
    chosen_version = version or settings.version or "0"
    tested = plan.subject.image if plan else None
    order = Order(
        image=path,
        name=_word(chosen_name, "--name", is_given=bool(name)),
        version=_word(chosen_version, "--version", is_given=bool(version)),
        arch=Arch(arch) if arch else tested.arch if tested else Arch.X86_64,
        firmware=tested.firmware if tested else (Firmware.BIOS, Firmware.UEFI),
        formats=wanted,
        plan=plan_path,
        results=results,
        expected_digest=tested.disk_digest if tested else None,
    )
    made = pack(order, out, emit=console.emit)
    for container in made.containers:
        click.echo(out / container.file)
    console.say(f"packed {made.title}: disk {made.disk_digest}")


def _word(text: str, option: str, *, is_given: bool) -> str:
    """A name or version for file names. What the user typed is never changed in silence; a derived one is cleaned."""
    if manifest.is_word(text):
        return text
    cleaned = manifest.word(text)
    if is_given or not cleaned:
        raise PipelineError(
            f"{option} {text[:80]!r} cannot be part of a file name",
            hint="letters, digits and . _ + - inside, at most 80" + (f"; for example '{cleaned}'" if cleaned else ""),
        )
    return cleaned
