"""``lisa-ci init``: a pipeline file and a workflow for a repository that has none."""

from __future__ import annotations

import json
import re
from enum import StrEnum
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
_BUILD_KERNEL: Final = "build-kernel.sh"
_SLUG: Final = re.compile(r"[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+")
_REF: Final = re.compile(r"[A-Za-z0-9_./-]+")
_COMMIT: Final = re.compile(r"[0-9a-f]{40}")


class Gate(StrEnum):
    """What a repository holds that is gated by its kernel."""

    TREE = "tree"
    CONFIG = "config"
    MODULE = "module"


_SUITES: Final = "kernel-tests"
_BUILT: Final = {
    Gate.TREE: ("kselftest", "kunit", "syscalls"),
    Gate.CONFIG: ("kselftest", "syscalls"),
    Gate.MODULE: ("syscalls",),
}


@click.command
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False, exists=True), default=Path())
@click.option("--image", default="image.qcow2", show_default=True, help="Where the build leaves the disk image.")
@click.option("--build", default="", help="The command that builds it.  [default: ./build-image.sh IMAGE]")
@click.option(
    "--kernel-gate",
    "gate",
    type=click.Choice([kind.value for kind in Gate]),
    help="Gate a kernel instead: a whole tree, fragments of a config, or a module built outside of the tree. "
    "IMAGE is what it is booted in then, a path or an address.",
)
@click.option("--sha256", default="", help="SHA-256 of the image, where IMAGE is an address.")
@click.option("--name", default="", help="The pipeline's name.  [default: the folder's]")
@click.option("--lisa-ci", "source", default="", help="OWNER/NAME@REF of lisa-ci.  [default: what is installed]")
@click.option("--force", is_flag=True, help="Write over files that are there.")
@click.pass_obj
def command(
    console: Console,
    directory: Path,
    image: str,
    build: str,
    gate: str | None,
    sha256: str,
    name: str,
    source: str,
    force: bool,
) -> None:
    """Write lisa-ci.yml and a workflow into DIRECTORY.

    The workflow builds the image, tests it on every profile, and on a tag signs and publishes what was tested. With
    --kernel-gate it builds the kernel by build-kernel.sh, which is written as well, and tests the image with it.
    """
    repository, ref = _source(source)
    pipeline, workflow = directory / "lisa-ci.yml", directory / ".github/workflows"
    name = _name(name, directory)
    if gate is None:
        if sha256:
            raise PipelineError("--sha256 goes with --kernel-gate only", hint="leave it out: the image is built")
        command_line = build or f"./build-image.sh {image}"
        written: dict[Path, bytes] = {
            pipeline: _pipeline(name, image).encode(),
            workflow / "lisa-ci.yml": _workflow(image, command_line, repository, ref).encode(),
        }
        last = "lisa-ci check, then put the public key of `lisa-ci sign --new-key` into lisa-ci.pub"
    else:
        if build:
            raise PipelineError("--build does not go with --kernel-gate", hint="change build-kernel.sh instead")
        written = {
            pipeline: _gate_pipeline(Gate(gate), name, image, sha256).encode(),
            workflow / "kernel-gate.yml": _template("workflows/kernel-gate.yml", repository, ref).encode(),
            directory / _BUILD_KERNEL: _text(f"kernel-gate/{gate}.sh").encode(),
            **_suites(Gate(gate), directory),
        }
        last = f"lisa-ci check, then ./{_BUILD_KERNEL} . and lisa-ci plan: it tells what the kernel lacks to boot"
    taken = [path for path in written if path.exists()]
    if taken and not force:
        problems = tuple(Problem(message=f"{path} is there already", hint="--force writes over it") for path in taken)
        raise PipelineError("nothing was written", problems=problems)
    for path, data in written.items():
        files.write_atomically(path, data)
        if data.startswith(b"#!"):
            path.chmod(0o755)
        if _SUITES not in path.parts:
            console.say(f"wrote {path}")
    if gate is not None:
        console.say(f"wrote {directory / _SUITES}: the suites {', '.join(_BUILT[Gate(gate)])}")
    if gate == Gate.TREE:
        console.say(
            "a kernel's .gitignore leaves out .github and .config: git add -f .github, and .config if it is yours"
        )
    if not _COMMIT.fullmatch(ref):
        console.say(
            f"the workflow uses {repository}@{ref}; pin it to a commit with --lisa-ci {repository}@COMMIT --force"
        )
    console.say(f"next: {last}")


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


def _text(template: str) -> str:
    return (files.shipped("templates") / template).read_text(encoding="utf-8")


def _template(template: str, repository: str, ref: str) -> str:
    """A workflow that calls lisa-ci where it really is."""
    text = _text(template).replace(f"@{_UNPINNED} # the commit of lisa-ci", f"@{ref} # the commit of lisa-ci")
    return text.replace(f"{_HOME}/.github", f"{repository}/.github")


def _pipeline(name: str, image: str) -> str:
    text = _text("pipeline/lisa-ci.yml")
    return text.replace("my-distro", name).replace("path: image.qcow2", f"path: {json.dumps(image)}")


def _gate_pipeline(gate: Gate, name: str, image: str, sha256: str) -> str:
    if image.startswith("https://") != bool(sha256):
        raise PipelineError(
            "an image with an address needs --sha256, and one with a path has none",
            hint="--image https://HOST/IMAGE --sha256 HEX, or --image PATH",
        )
    found = f"url: {json.dumps(image)}\n  sha256: {json.dumps(sha256)}" if sha256 else f"path: {json.dumps(image)}"
    text = _text("pipeline/kernel-gate.yml").replace("my-kernel", name).replace("path: image.qcow2", found)
    named = [*(f"./{_SUITES}/{suite}" for suite in _BUILT[gate]), *(["kunit"] if "kunit" not in _BUILT[gate] else [])]
    text = text.replace("  - syscalls\n  - kunit\n", "".join(f"  - {suite}\n" for suite in named))
    return text.replace("from: kernel.tar.zst", "from: kernel.tar\n  extra: modules") if gate is Gate.MODULE else text


def _suites(gate: Gate, directory: Path) -> dict[Path, bytes]:
    """The suites of which build-kernel.sh builds something, each in a folder of the repository."""
    found = {}
    for name in _BUILT[gate]:
        source = files.shipped("suites") / name
        for path, why in files.walk(source):
            if not why and not path.startswith("build/"):
                found[directory / _SUITES / name / path] = (source / path).read_bytes()
    return found


def _workflow(image: str, build: str, repository: str, ref: str) -> str:
    text = _template("workflows/lisa-ci.yml", repository, ref).replace(f"run: {_BUILD}", f"run: {json.dumps(build)}")
    text = text.replace("path: image.qcow2", f"path: {json.dumps(image)}")
    return text.replace("image: image.qcow2", f"image: {json.dumps(Path(image).name)}")
