"""The journal of a target: one line for every step, on disk before the next step begins.

It tells people what happened, and a repeated ``apply`` which steps are behind it. A line torn by a crash is cut off,
for its step did not end.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from lisa_ci import files
from lisa_ci.errors import PublishingError
from lisa_ci.model import SCHEMA

LIMIT_BYTES: Final = 64 << 20
LINE_LIMIT: Final = 4096


class Step(StrEnum):
    """In this order, each once for a release; UNDONE takes back all of them."""

    STAGING = "staging"
    STAGED = "staged"
    PUBLISHING = "publishing"
    PUBLISHED = "published"
    LATEST = "latest"
    DONE = "done"
    UNDONE = "undone"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """``digest`` names the release (SHA-256 hex over its SHA256SUMS); ``previous`` is what `latest` was before."""

    schema: int = SCHEMA
    step: Step
    version: str
    digest: str
    previous: str = ""


class Journal:
    """Append-only. The caller holds the target's lock."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def entries(self) -> Iterator[Entry]:
        """All whole lines. DataError for a line that is not ours."""
        if not os.path.lexists(self._path):
            return
        data = files.read_bounded(self._path, LIMIT_BYTES)
        for number, line in enumerate(data.split(b"\n")[:-1], start=1):
            yield files.decode(Entry, line, place=f"{self._path}:{number}")

    def steps(self, digest: str) -> tuple[Entry, ...]:
        """What was done for this release since it was last undone."""
        done: list[Entry] = []
        for entry in self.entries():
            if entry.digest == digest:
                done = [] if entry.step is Step.UNDONE else [*done, entry]
        return tuple(done)

    def write(self, entry: Entry) -> None:
        """On disk when this returns. PublishingError where it cannot be written."""
        line = files.encode_line(entry)
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            descriptor = os.open(self._path, flags, 0o644)
            with os.fdopen(descriptor, "r+b", buffering=0):
                _append(descriptor, line)
            files.sync_folder(self._path.parent)
        except OSError as error:
            raise PublishingError(f"cannot write the journal {self._path}: {error.strerror}") from error


def _append(descriptor: int, line: bytes) -> None:
    """The whole line, or none of it."""
    size = _whole_lines(descriptor)
    os.ftruncate(descriptor, size)
    try:
        left = memoryview(line)
        while left:
            left = left[os.write(descriptor, left) :]
        os.fsync(descriptor)
    except OSError:
        with suppress(OSError):
            os.ftruncate(descriptor, size)
        raise


def _whole_lines(descriptor: int) -> int:
    """Bytes up to the end of the last whole line."""
    size = os.fstat(descriptor).st_size
    start = max(0, size - LINE_LIMIT)
    tail = os.pread(descriptor, LINE_LIMIT, start)
    return start + tail.rfind(b"\n") + 1 if b"\n" in tail else 0 if start == 0 else size
