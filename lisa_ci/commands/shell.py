"""``lisa-ci shell PROFILE``: a machine of a profile, and a prompt in it."""

from __future__ import annotations

import difflib
import glob
import os
import shlex
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import click

from lisa_ci import image as images
from lisa_ci import process, registry
from lisa_ci.commands._cloud import find_cloud_image
from lisa_ci.console import Console
from lisa_ci.errors import PipelineError, ProvisioningError
from lisa_ci.events import StageEnded, StageStarted
from lisa_ci.model import Access, ImageSource, Lease, Pipeline, Profile, Subject, Timeouts
from lisa_ci.pipeline import all_profiles, load_pipeline
from lisa_ci.pipeline.subject import find_subject

DEFAULT_FILE: Final = Path("lisa-ci.yml")
_LONGEST: Final = timedelta(hours=24)


@click.command
@click.argument("name", metavar="PROFILE")
@click.option(
    "--file",
    "-f",
    "file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The pipeline file.  [default: lisa-ci.yml where there is one]",
)
@click.option(
    "--image", type=click.Path(path_type=Path), help="The image file, instead of the one in the pipeline file."
)
@click.pass_context
def command(ctx: click.Context, name: str, file: Path | None, image: Path | None) -> None:
    """Start a machine of PROFILE, give a prompt in it as root, destroy it when the prompt ends.

    PROFILE is one of the pipeline file or of the catalogue. The image is never changed: what you do in the machine is
    gone with it. Commands may come by a pipe as well. The exit code is that of the last command.
    """
    console: Console = ctx.obj
    if process.find("ssh") is None:
        raise ProvisioningError(
            "a prompt needs the OpenSSH client", hint="install openssh-client (Fedora: openssh-clients)"
        )
    pipeline = _pipeline(file)
    profile = _profile(name, pipeline)
    subject = _subject(pipeline, image, console, needs_image=profile.platform == "qemu")
    access = pipeline.access if pipeline else Access()
    timeouts = pipeline.timeouts if pipeline else Timeouts()
    with tempfile.TemporaryDirectory(prefix="lisa-ci-shell-") as folder:
        ctx.exit(_in_machine(console, profile, subject, access, timeouts, Path(folder)))


def _pipeline(file: Path | None) -> Pipeline | None:
    if file is None and not DEFAULT_FILE.is_file():
        return None
    return load_pipeline(file or DEFAULT_FILE, registry.known())


def _profile(name: str, pipeline: Pipeline | None) -> Profile:
    """The pipeline's profile of that name, else the catalogue's."""
    known = {**all_profiles(), **{profile.name: profile for profile in (pipeline.profiles if pipeline else ())}}
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean '{close[0]}'?" if close else f"known: {', '.join(known)}"
        raise PipelineError(f"unknown profile '{name}'", hint=hint)
    return known[name]


def _subject(pipeline: Pipeline | None, image: Path | None, console: Console, *, needs_image: bool) -> Subject:
    if pipeline is not None:
        return find_subject(pipeline, console.emit, image=image, cloud=find_cloud_image)
    if image is not None:
        return Subject(image=images.resolve(ImageSource(path=glob.escape(str(image))), Path.cwd(), console.emit))
    if needs_image:
        raise PipelineError("there is no image to boot", hint="give --image FILE, or a pipeline file with -f FILE")
    return Subject()


def _in_machine(
    console: Console,
    profile: Profile,
    subject: Subject,
    access: Access,
    timeouts: Timeouts,
    folder: Path,
) -> int:
    lease = Lease(
        owner=os.environ.get("USER") or str(os.getuid()),
        leg=profile.name,
        attempt=1,
        delete_after=datetime.now(UTC) + _LONGEST,
        evidence=folder / "evidence",
        scratch=folder / "scratch",
    )
    platform = registry.platform(profile.platform)
    started = time.monotonic()
    console.emit(StageStarted(place=profile.name, stage="provision"))
    with platform.provision(profile, subject, access, lease, timeouts=timeouts, emit=console.emit) as machines:
        console.emit(
            StageEnded(place=profile.name, stage="provision", wall=timedelta(seconds=time.monotonic() - started))
        )
        machine = machines.members[0]
        console.say("the machine and all changes to its disk are gone when you leave it")
        return process.attach(shlex.split(machine.login_command()))
