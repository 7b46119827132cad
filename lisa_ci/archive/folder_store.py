"""An archive in a folder: a disk of your own, a mounted share. The layout is that of a container."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Final

from lisa_ci import files
from lisa_ci.archive.store import Entry, Tier, is_name
from lisa_ci.errors import DataError, PublishingError, StorageError

_BLOCK: Final = 1 << 20
_LOCK: Final = ".lisa-ci-archive"
_PART: Final = ".part-"
_STALE_SECONDS: Final = 24 * 3600
_BEGINS: Final = 10


class FolderStore:
    """Blobs are files that get their name, by a link, when all their bytes are on the disk."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @property
    def place(self) -> str:
        return str(self._root)

    # ---- writing ----

    def put_new(self, name: str, data: IO[bytes], size_bytes: int, *, tier: Tier = Tier.HOT) -> bool:  # noqa: ARG002
        target = self._root / name
        temporary = ""
        made = [folder for folder in target.parents if folder != self._root and not folder.is_dir()]
        try:
            descriptor, temporary = self._begin(target.parent)
            with os.fdopen(descriptor, "wb") as file:
                shutil.copyfileobj(data, file, _BLOCK)
                count = file.tell()
                file.flush()
                os.fchmod(descriptor, 0o644)
                os.fsync(descriptor)
            if count != size_bytes:
                raise PublishingError(f"{name} has {count:,} bytes, not {size_bytes:,}; nothing was written")
            is_new = _link(temporary, target)
            for folder in {target.parent, *(folder.parent for folder in made)}:
                files.sync_folder(folder)
        except OSError as error:
            full = error.errno in {errno.ENOSPC, errno.EDQUOT}
            hint = "free some space, then put again: it goes on" if full else "check the folder and your rights to it"
            raise PublishingError(f"cannot write {target}: {error.strerror or error}", hint=hint) from error
        finally:
            if temporary:
                with suppress(OSError):
                    Path(temporary).unlink()
        return is_new

    @staticmethod
    def _begin(folder: Path) -> tuple[int, str]:
        """A temporary file; a prune beside us may take the folder away while it is empty."""
        for _ in range(_BEGINS):
            with suppress(FileNotFoundError):
                folder.mkdir(parents=True, exist_ok=True)
                return tempfile.mkstemp(dir=folder, prefix=_PART)
        return tempfile.mkstemp(dir=folder, prefix=_PART)

    def refresh(self, name: str) -> bool:
        try:
            with self._locked():
                os.utime(self._root / name, follow_symlinks=False)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise PublishingError(f"cannot write {self._root / name}: {error.strerror}") from error
        return True

    def remove(self, entry: Entry) -> bool:
        path = self._root / entry.name
        try:
            with self._locked():
                if _entry(entry.name, path) != entry:
                    return False
                path.unlink()
        except OSError as error:
            raise PublishingError(f"cannot remove {path}: {error.strerror}") from error
        for folder in path.parents:
            if folder == self._root:
                break
            with suppress(OSError):  # not empty, most of the time
                folder.rmdir()
        return True

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Between looking at a blob's time and acting on it, nobody refreshes it."""
        descriptor = os.open(self._root / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    # ---- reading ----

    def find(self, name: str) -> Entry | None:
        try:
            return _entry(name, self._root / name)
        except OSError as error:
            raise StorageError(f"cannot read {self._root / name}: {error.strerror}") from error

    def read(self, name: str) -> Iterator[bytes] | None:
        path = self._root / name
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise StorageError(f"cannot read {path}: {error.strerror}") from error
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise DataError(f"{path} is not a regular file")
        return _blocks(path, os.fdopen(descriptor, "rb"))

    def names(self, prefix: str) -> Iterator[str]:
        """In a folder, ``prefix`` ends with a slash."""
        yield from self._walk(prefix.rstrip("/"))

    def entries(self, prefix: str) -> Iterator[Entry]:
        for name in self.names(prefix):
            entry = self.find(name)
            if entry is not None:
                yield entry

    def _walk(self, inside: str) -> Iterator[str]:
        try:
            with os.scandir(self._root / inside) as found:
                there = sorted((entry.name, entry.is_dir(follow_symlinks=False)) for entry in found)
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            raise StorageError(f"cannot read {self._root / inside}: {error.strerror}") from error
        for name, is_folder in there:
            path = f"{inside}/{name}"
            if is_folder and is_name(path):
                yield from self._walk(path)
            elif not is_folder and is_name(path):
                yield path
            elif name.startswith(_PART):
                self._drop_stale(self._root / path)

    def _drop_stale(self, part: Path) -> None:
        """What a writer left that was killed, a day after."""
        with suppress(OSError):
            if self.now().timestamp() - part.lstat().st_mtime > _STALE_SECONDS:
                part.unlink()

    def now(self) -> datetime:
        return datetime.now(UTC)

    def close(self) -> None:
        return


def _link(temporary: str, target: Path) -> bool:
    """Give the file its name; False where the name is taken: unlike a rename, this replaces nothing."""
    try:
        os.link(temporary, target)
    except FileExistsError:
        return False
    return True


def _entry(name: str, path: Path) -> Entry | None:
    """None where it is not a file, or not there; OSError."""
    try:
        found = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    if not stat.S_ISREG(found.st_mode):
        return None
    return Entry(
        name=name,
        size_bytes=found.st_size,
        modified=datetime.fromtimestamp(found.st_mtime, UTC),
        version=f"{found.st_ino}-{found.st_mtime_ns}",
    )


def _blocks(path: Path, file: IO[bytes]) -> Iterator[bytes]:
    with file:
        while True:
            try:
                block = file.read(_BLOCK)
            except OSError as error:
                raise StorageError(f"cannot read {path}: {error.strerror}") from error
            if not block:
                return
            yield block
