"""A leg's folder that begins with what earlier attempts have proven, so that ``resume`` runs only the rest.

The folders of earlier attempts may have been written by anyone: only results, the inventory and the logs of cases are
taken, by names that we make, within limits, and no link is followed.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from lisa_ci import files
from lisa_ci.errors import DataError, LisaCiError, PipelineError
from lisa_ci.execution.journal import locked, rewrite
from lisa_ci.files import LegFolder
from lisa_ci.model import Inventory, Result, Run, is_id

LOG_LIMIT: Final = 64 << 20  # bytes of one case's log
LOGS_LIMIT: Final = 1 << 30  # of all


def take_over(
    out: Path, run: Run, results: Sequence[Result], *, inventory: Inventory | None, sources: Iterable[Path]
) -> None:
    """Make ``out``/LEG anew with ``run`` as its head and these results; ``sources`` are folders with their logs.

    PipelineError where the folder holds something else than a leg, or somebody writes into it.
    """
    folder = LegFolder(out / run.leg)
    with locked(out, run.leg):
        if folder.root.is_dir() and any(folder.root.iterdir()) and not folder.run.exists():
            raise PipelineError(f"{folder.root} holds something else than a leg", hint="give another --out")
        shutil.rmtree(folder.root, ignore_errors=True)
        folder.root.mkdir(parents=True)
        if inventory is not None:
            files.write_atomically(folder.inventory, files.encode(inventory))
        _copy_logs(folder, results, tuple(LegFolder(source) for source in sources))
        rewrite(folder.journal, results)
        files.write_atomically(folder.run, files.encode(run))


def _copy_logs(folder: LegFolder, results: Sequence[Result], sources: Sequence[LegFolder]) -> None:
    """The logs that the results name, from the first source that has them. A log that cannot be taken is left out."""
    left = LOGS_LIMIT
    for result in results:
        if result.log is None or not (is_id(result.suite) and is_id(result.case)):
            continue
        for source in sources:
            data = _log(source, result)
            if data is not None and len(data) <= left:
                left -= len(data)
                _write(folder.case_log(result.suite, result.case), data)
                break


def _log(source: LegFolder, result: Result) -> bytes | None:
    path = source.case_log(result.suite, result.case)
    if path.parent.is_symlink() or path.parent.parent.is_symlink():
        return None
    try:
        return files.read_bounded(path, LOG_LIMIT)
    except DataError:
        return None


def _write(path: Path, data: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    except OSError as error:
        raise LisaCiError(f"cannot write {path}: {error.strerror}", hint="check the free space") from error
