"""From a leg's folder to the blobs that hold it: scrubbed, hashed, small files side by side in one blob.

A leg may have thousands of logs of a few hundred bytes; a request for each would cost more than their content. So
files below 64 KiB follow each other in blobs of about 4 MiB, in the order of their paths: the same folder gives the
same blobs on every host.
"""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from lisa_ci.archive.layout import ArchivedFile, NotArchived, compressor, path_flaw
from lisa_ci.errors import DataError, StorageError
from lisa_ci.files import walk
from lisa_ci.scrub import Scrubber

SMALL_BYTES: Final = 64 << 10
BUNDLE_BYTES: Final = 4 << 20
FILE_LIMIT: Final = 16 << 30
_FILES_MOST: Final = 200_000
_TOLD_MOST: Final = 1000
_BLOCK: Final = 256 << 10
_SNIFF: Final = 8 << 10
_IN_MEMORY: Final = 8 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobContent:
    """A blob to be: the content of ``members`` one after another, ``size_bytes`` in all."""

    sha256: str
    size_bytes: int
    members: tuple[Path, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """A folder as the archive holds it."""

    files: tuple[ArchivedFile, ...]
    blobs: Mapping[str, BlobContent]
    not_archived: tuple[NotArchived, ...]


def collect(root: Path, added: Mapping[str, Path]) -> Collected:
    """Read everything below ``root`` once, and ``added`` (path in the archive -> file). StorageError."""
    desk = _Desk()
    there = {path: (root / path, problem) for path, problem in walk(root)}
    there |= {path: (source, "") for path, source in added.items()}
    for path, (source, problem) in sorted(there.items()):
        desk.take(path, source, problem)
    return desk.collected()


class _Desk:
    def __init__(self) -> None:
        self._files: list[ArchivedFile] = []
        self._blobs: dict[str, BlobContent] = {}
        self._left: list[NotArchived] = []
        self._bundle: list[tuple[str, Path, int, int, str]] = []  # path, source, size, scrubbed, digest
        self._bundle_digest = hashlib.sha256()
        self._bundle_bytes = 0

    def take(self, path: str, source: Path, problem: str) -> None:
        reason = problem or path_flaw(path) or ("too many files" if len(self._files) >= _FILES_MOST else "")
        reason = reason or _unfit(source)
        if reason:
            if len(self._left) < _TOLD_MOST:
                shown = "".join(c if c.isprintable() else "?" for c in path)[:300]
                self._left.append(NotArchived(path=shown, reason=reason))
            return
        digest, size, kept = hashlib.sha256(), 0, bytearray()
        with cleaned(source) as clean:
            for block in clean:
                digest.update(block)
                size += len(block)
                if size < SMALL_BYTES:
                    kept += block
        if size < SMALL_BYTES:
            self._bundle.append((path, source, size, clean.removed, digest.hexdigest()))
            self._bundle_digest.update(kept)
            self._bundle_bytes += size
            if self._bundle_bytes >= BUNDLE_BYTES:
                self._close_bundle()
            return
        sha256 = digest.hexdigest()
        self._blobs.setdefault(sha256, BlobContent(sha256=sha256, size_bytes=size, members=(source,)))
        self._files.append(ArchivedFile(path=path, sha256=sha256, size_bytes=size, blob=sha256, scrubbed=clean.removed))

    def _close_bundle(self) -> None:
        if not self._bundle:
            return
        blob, offset = self._bundle_digest.hexdigest(), 0
        members = tuple(source for _, source, _, _, _ in self._bundle)
        self._blobs.setdefault(blob, BlobContent(sha256=blob, size_bytes=self._bundle_bytes, members=members))
        for path, _, size, removed, sha256 in self._bundle:
            self._files.append(
                ArchivedFile(path=path, sha256=sha256, size_bytes=size, blob=blob, offset=offset, scrubbed=removed)
            )
            offset += size
        self._bundle, self._bundle_digest, self._bundle_bytes = [], hashlib.sha256(), 0

    def collected(self) -> Collected:
        self._close_bundle()
        files = tuple(sorted(self._files, key=lambda file: file.path))
        return Collected(files=files, blobs=self._blobs, not_archived=tuple(self._left))


class Cleaned:
    """The content of a file without secrets, in blocks; ``removed`` counts them when it is read to its end.

    A file that is not text keeps its size: its offsets have a meaning.
    """

    def __init__(self, path: Path, file: IO[bytes]) -> None:
        self._path = path
        self._file = file
        self.removed = 0

    def __iter__(self) -> Iterator[bytes]:
        scrubber: Scrubber | None = None
        try:
            while block := self._file.read(_BLOCK):
                scrubber = scrubber or Scrubber(keeps_size=b"\0" in block[:_SNIFF])
                yield scrubber.feed(block)
        except OSError as error:
            raise StorageError(f"cannot read {self._path}: {error.strerror}") from error
        if scrubber is not None:
            yield scrubber.finish()
            self.removed = scrubber.removed


@contextmanager
def cleaned(path: Path) -> Iterator[Cleaned]:
    """A regular file, open; a link in its place is not followed. DataError, StorageError."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror}") from error
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise DataError(f"{path} is not a regular file any more")
        yield Cleaned(path, file)


@contextmanager
def packed(content: BlobContent) -> Iterator[tuple[IO[bytes], int]]:
    """The blob as it is stored, at its begin, and its size in bytes; a large one lies in a temporary file.

    DataError where its files are no longer what they were.
    """
    digest, packer = hashlib.sha256(), compressor()
    try:
        with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY) as spool:
            for member in content.members:
                with cleaned(member) as clean:
                    for block in clean:
                        digest.update(block)
                        spool.write(packer.compress(block))
            spool.write(packer.flush())
            if digest.hexdigest() != content.sha256:
                names = ", ".join(str(member) for member in content.members[:3])
                raise DataError(
                    f"{names} changed while it was archived", hint="put again when nothing writes there any more"
                )
            size = spool.tell()
            spool.seek(0)
            yield spool, size
    except OSError as error:
        raise StorageError.of("a temporary file", error) from error


def _unfit(path: Path) -> str:
    """Why a file is not read; '' where it is."""
    try:
        size = path.lstat().st_size
    except OSError as error:
        return f"it cannot be looked at: {error.strerror}"
    return f"it is larger than {FILE_LIMIT >> 30} GiB" if size > FILE_LIMIT else ""
