"""A leg's folder before its first case and after its last."""

from __future__ import annotations

import shutil
from pathlib import Path

from lisa_ci import faults, files, scrub
from lisa_ci.errors import PipelineError
from lisa_ci.execution import index
from lisa_ci.execution.journal import rewrite
from lisa_ci.files import LegFolder
from lisa_ci.model import Result


def begin(folder: LegFolder, *, plan_digest: str, resume: bool) -> list[Result]:
    """Make it: empty, or where ``resume`` asks, with the judged results of an earlier run of the same plan."""
    finished: list[Result] = []
    earlier = files.read_leg(folder.root) if resume else None
    if earlier is not None and earlier.run.plan_digest != plan_digest:
        raise PipelineError(
            f"{folder.root} holds a run of another plan", hint="leave --resume out, or give another --out"
        )
    if earlier is not None:
        finished = [result for result in earlier.results() if faults.is_proof(earlier.run, result)]
    if finished:
        rewrite(folder.journal, finished)
        for path in filter(_is_ours, folder.root.rglob(".*")):
            path.unlink()
    else:
        _empty(folder)
    folder.root.mkdir(parents=True, exist_ok=True)
    return finished


def _empty(folder: LegFolder) -> None:
    root = folder.root
    if root.is_dir() and not folder.run.exists() and any(not _is_ours(path) for path in root.iterdir()):
        raise PipelineError(f"{root} holds something else than a leg", hint="give another --out")
    shutil.rmtree(root, ignore_errors=True)


def end(folder: LegFolder, *, console_goes_on: bool) -> None:
    """No secret stays in what the machine wrote by itself; then everything is listed."""
    if not console_goes_on:
        for console in (folder.console, *sorted(folder.root.glob("console-*.log"))):
            if _is_plain(console):
                scrub.scrub_file(console)
    scrub.scrub_file(folder.log)
    index.write(folder)


def _is_plain(path: Path) -> bool:
    """A file, and no way to another place."""
    return path.is_file() and not path.is_symlink()


def _is_ours(path: Path) -> bool:
    """A file that was being written when an earlier run was killed."""
    return path.name.startswith(".") and _is_plain(path)
