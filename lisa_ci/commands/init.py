"""``lisa-ci init``: a pipeline file and a workflow for a repository that has none."""

from __future__ import annotations

import json
import re
from importlib import metadata
from pathlib import Path
from typing import Final

import click

from lisa_ci import __version__, files
from lisa_ci.console import Console
from lisa_ci.errors import PipelineError, Problem
from lisa_ci.model import is_id

_HOME: Final = "lisa-ci/lisa-ci"
_UNPINNED: Final = "0" * 40
_BUILD: Final = "./build-image.sh image.qcow2"
_SLUG: Final = re.compile(r"[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+")
_REF: Final = re.compile(r"[A-Za-z0-9_./-]+")
_COMMIT: Final = re.compile(r"[0-9a-f]{40}")


@click.command
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False, exists=True), default=Path())
@click.option("--image", default="image.qcow2", show_default=True, help="Where the build leaves the disk image.")
@click.option("--build", default="", help="The command that builds it.  [default: ./build-image.sh IMAGE]")
@click.option("--name", default="", help="The pipeline's name.  [default: the folder's]")
@click.option("--lisa-ci", "source", default="", help="OWNER/NAME@REF of lisa-ci.  [default: what is installed]")
@click.option("--force", is_flag=True, help="Write over files that are there.")
@click.pass_obj
def command(console: Console, directory: Path, image: str, build: str, name: str, source: str, force: bool) -> None:
    """Write lisa-ci.yml and .github/workflows/lisa-ci.yml into DIRECTORY.

    The workflow builds the image, tests it on every profile, and on a tag signs and publishes what was tested.
    """
    repository, ref = _source(source)
    written = {
        directory / "lisa-ci.yml": _pipeline(_name(name, directory), image),
        directory / ".github/workflows/lisa-ci.yml": _workflow(
            image, build or f"./build-image.sh {image}", repository, ref
        ),
    }
    taken = [path for path in written if path.exists()]
    if taken and not force:
        problems = tuple(Problem(message=f"{path} is there already", hint="--force writes over it") for path in taken)
        raise PipelineError("nothing was written", problems=problems)
    for path, text in written.items():
        files.write_atomically(path, text.encode())
        console.say(f"wrote {path}")
    if not _COMMIT.fullmatch(ref):
        console.say(
            f"the workflow uses {repository}@{ref}; pin it to a commit with --lisa-ci {repository}@COMMIT --force"
        )
    console.say("next: lisa-ci check, then put the public key of `lisa-ci sign --new-key` into lisa-ci.pub")


def _name(name: str, directory: Path) -> str:
    if name and not is_id(name):
        raise PipelineError(f"'{name}' is no legal name", hint="small letters, digits, '.', '_' and '-'")
    return name or re.sub(r"[^a-z0-9]+", "-", directory.resolve().name.lower()).strip("-") or "my-distro"


def _source(source: str) -> tuple[str, str]:
    """Repository and ref of lisa-ci: as asked, else those this program was installed from, else its release tag."""
    if not source:
        return _installed_from()
    repository, _, ref = source.partition("@")
    if not _SLUG.fullmatch(repository) or not _REF.fullmatch(ref):
        raise PipelineError(f"--lisa-ci '{source}' is not OWNER/NAME@REF")
    return repository, ref


def _installed_from() -> tuple[str, str]:
    """What pip wrote down (PEP 610) where it installed from a repository."""
    text = metadata.distribution("lisa-ci").read_text("direct_url.json")
    origin = json.loads(text) if text else {}
    commit = str(origin.get("vcs_info", {}).get("commit_id", ""))
    slug = str(origin.get("url", "")).removesuffix(".git").rpartition("github.com/")[2]
    if _COMMIT.fullmatch(commit) and _SLUG.fullmatch(slug):
        return slug, commit
    return _HOME, f"v{__version__}"


def _pipeline(name: str, image: str) -> str:
    text = (files.shipped("templates") / "pipeline/lisa-ci.yml").read_text(encoding="utf-8")
    return text.replace("my-distro", name).replace("path: image.qcow2", f"path: {json.dumps(image)}")


def _workflow(image: str, build: str, repository: str, ref: str) -> str:
    text = (files.shipped("templates") / "workflows/lisa-ci.yml").read_text(encoding="utf-8")
    text = text.replace(f"run: {_BUILD}", f"run: {json.dumps(build)}")
    text = text.replace(f"@{_UNPINNED} # the commit of lisa-ci", f"@{ref} # the commit of lisa-ci")
    file_name = Path(image).name
    text = text.replace("path: image.qcow2", f"path: {json.dumps(image)}")
    return text.replace("image: image.qcow2", f"image: {json.dumps(file_name)}").replace(
        f"{_HOME}/.github", f"{repository}/.github"
    )
