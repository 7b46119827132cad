"""The journal of a leg: one line for each case that has ended, on disk before anybody is told of it."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from lisa_ci import files
from lisa_ci.errors import PipelineError, StorageError
from lisa_ci.model import Result

_DISK: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO})


class Journal:
    """Appends results. ``sync`` makes all of them durable at once; only then may they be acknowledged."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._is_dirty = False
        try:
            self._descriptor = os.open(
                path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644
            )
            files.sync_folder(path.parent)
        except OSError as error:
            raise self._cannot(error) from error

    def append(self, result: Result) -> None:
        """One line; StorageError where the disk does not take it."""
        line = memoryview(files.encode_line(files.JournalLine(result=result)))
        try:
            while line:
                line = line[os.write(self._descriptor, line) :]
        except OSError as error:
            raise self._cannot(error) from error
        self._is_dirty = True

    def sync(self) -> None:
        if self._is_dirty:
            try:
                os.fdatasync(self._descriptor)
            except OSError as error:
                raise self._cannot(error) from error
        self._is_dirty = False

    def _cannot(self, error: OSError) -> StorageError:
        return StorageError.of(self._path, error)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self.sync()
        finally:
            os.close(self._descriptor)


def rewrite(path: Path, results: Sequence[Result]) -> None:
    """Replace a journal by one with exactly these results."""
    files.write_atomically(path, b"".join(files.encode_line(files.JournalLine(result=result)) for result in results))


@contextmanager
def locked(folder: Path, name: str) -> Iterator[None]:
    """Nobody else runs leg ``name`` into the same folder meanwhile; PipelineError where somebody does.

    StorageError where the disk is at fault, and not the folder that was named.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / f".{name}.lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno in _DISK:
            raise StorageError.of(folder, error) from error
        raise PipelineError(f"cannot write into {folder}: {error.strerror}", hint="give another --out") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise PipelineError(
                f"another run writes leg {name} into {folder} at this moment", hint="wait for it, or give another --out"
            ) from error
        yield
    finally:
        os.close(descriptor)
