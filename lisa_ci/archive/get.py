"""A run out of the archive: every byte proven by its digest before the folder gets its name.

The archive may be hostile: paths stay below the folder, sizes are those that the index promised, and no more is
written than was allowed.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import timedelta
from fnmatch import fnmatchcase
from pathlib import Path
from typing import IO, Final

from lisa_ci import files
from lisa_ci.archive import catalog
from lisa_ci.archive.layout import ArchivedFile, RunIndex, RunName, blob_name, unpacked
from lisa_ci.archive.parallel import in_parallel
from lisa_ci.archive.store import Store
from lisa_ci.errors import DataError, PipelineError, StorageError
from lisa_ci.events import Emit, StageAdvanced, StageEnded, StageStarted

SIZE_LIMIT: Final = 16 << 30
_SPARE_BYTES: Final = 64 << 20


def get_run(
    store: Store,
    name: RunName,
    target: Path,
    *,
    only: tuple[str, ...] = (),
    workers: int = 8,
    limit: int = SIZE_LIMIT,
    emit: Emit,
) -> Path:
    """Write the run's folder below ``target``, as ``report`` reads it; where it is. ``only``: globs of its paths.

    DataError where anything is not as the index says, and then there is no folder. PipelineError where there is one.
    """
    folder = target / f"lisa-ci-leg-{name.leg}-{name.attempt}"
    if os.path.lexists(folder):
        raise PipelineError(f"{folder} is there already", hint="move it away, or get into another folder")
    index = catalog.read_index(store, name)
    if index is None:
        raise DataError(f"{store.place}: the run {name.id} is no longer there")
    wanted = [file for file in index.files if not only or any(fnmatchcase(file.path, glob) for glob in only)]
    if not wanted:
        raise PipelineError(f"the run {name.id} has no file like {', '.join(only) or 'any'}")
    try:
        target.mkdir(parents=True, exist_ok=True)
        _refuse_too_large(wanted, target, limit)
        temporary = Path(tempfile.mkdtemp(dir=target, prefix=".lisa-ci-get-"))
        try:
            _fill(store, index, wanted, temporary, workers, emit)
            temporary.chmod(0o755)
            temporary.rename(folder)
            files.sync_folder(target)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        raise StorageError.of(error.filename or folder, error) from error
    return folder


def _refuse_too_large(wanted: Iterable[ArchivedFile], target: Path, limit: int) -> None:
    size = sum(file.size_bytes for file in wanted)
    if size > limit:
        raise DataError(f"the run has {size >> 20:,} MiB, more than the {limit >> 20:,} allowed", hint="--limit-gib")
    free = shutil.disk_usage(target).free
    if size + _SPARE_BYTES > free:
        raise StorageError(
            f"{target} has {free >> 20:,} MiB free, the run needs {size >> 20:,}", hint="free some space"
        )


def _fill(store: Store, index: RunIndex, wanted: Iterable[ArchivedFile], root: Path, workers: int, emit: Emit) -> None:
    by_blob: dict[str, list[ArchivedFile]] = defaultdict(list)
    for file in wanted:
        by_blob[file.blob].append(file)
        (root / file.path).parent.mkdir(parents=True, exist_ok=True)
    leg, begun, done, error = index.summary.leg, time.monotonic(), 0, "interrupted"
    emit(StageStarted(place=leg, stage="fetch", expected=len(by_blob)))
    try:
        work = ((blob, index.blobs[blob], members) for blob, members in sorted(by_blob.items()))
        for _ in in_parallel(workers, lambda one: _take_blob(store, *one, root), work):
            done += 1
            emit(StageAdvanced(place=leg, stage="fetch", done=done))
        error = ""
    finally:
        emit(StageEnded(place=leg, stage="fetch", wall=timedelta(seconds=time.monotonic() - begun), error=error))


def _take_blob(store: Store, sha256: str, size: int, members: list[ArchivedFile], root: Path) -> None:
    """Write the files that lie in one blob; DataError where it is missing or damaged."""
    name = blob_name(sha256)
    blocks = store.read(name)
    if blocks is None:
        raise DataError(f"{store.place}: {name} is missing; the archive is damaged")
    place = f"{store.place}: {name}"
    digest, cutter = hashlib.sha256(), _Cutter(members, root, place)
    total = 0
    try:
        for block in unpacked(blocks, size, place=place):
            digest.update(block)
            cutter.take(block, total)
            total += len(block)
    finally:
        cutter.close()
    if total != size or digest.hexdigest() != sha256:
        raise DataError(f"{place} is damaged: its content has another digest")
    cutter.check()


class _Cutter:
    """Cuts the stream of a blob into its files, which may overlap, in the order of their places."""

    def __init__(self, members: Iterable[ArchivedFile], root: Path, place: str) -> None:
        self._root = root
        self._place = place
        self._waiting = sorted(members, key=lambda file: file.offset, reverse=True)
        self._open: list[tuple[ArchivedFile, IO[bytes], hashlib._Hash]] = []
        self._wrong: list[str] = []
        self._begin_until(0)

    def take(self, block: bytes, at: int) -> None:
        end = at + len(block)
        self._begin_until(end)
        for entry in list(self._open):
            file, target, digest = entry
            piece = block[max(0, file.offset - at) : max(0, file.offset + file.size_bytes - at)]
            target.write(piece)
            digest.update(piece)
            if file.offset + file.size_bytes <= end:
                self._end(entry)

    def _begin_until(self, end: int) -> None:
        while self._waiting and self._waiting[-1].offset <= end:
            file = self._waiting.pop()
            entry = (file, (self._root / file.path).open("xb"), hashlib.sha256())
            self._open.append(entry)
            if not file.size_bytes:
                self._end(entry)

    def _end(self, entry: tuple[ArchivedFile, IO[bytes], hashlib._Hash]) -> None:
        file, target, digest = entry
        target.close()
        self._open.remove(entry)
        if digest.hexdigest() != file.sha256:
            self._wrong.append(file.path)

    def close(self) -> None:
        for _, target, _ in self._open:
            target.close()

    def check(self) -> None:
        if self._open or self._waiting or self._wrong:
            raise DataError(f"{self._place}: {len(self._wrong) or 'some'} files are not what the index says")


def find_runs(store: Store, ids: Iterable[str]) -> Iterator[RunName]:
    """The run of each id, or of an id's beginning (4 digits or more). PipelineError for none, or several."""
    there = catalog.names(store)
    for text in ids:
        found = [name for name in there if len(text) >= 4 and name.id.startswith(text)]
        if not found:
            raise PipelineError(f"there is no run '{text}' in {store.place}", hint="'lisa-ci archive ls' lists them")
        if len(found) > 1:
            told = ", ".join(f"{name.id} ({name.day}, {name.leg})" for name in found[:4])
            raise PipelineError(f"'{text}' begins the ids of {len(found)} runs: {told}", hint="give more digits")
        yield found[0]
