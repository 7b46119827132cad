"""A folder as a target: one product, one folder for each version, and ``latest`` that points to one of them.

    TARGET/VERSION/...      a release, complete and never changed again
    TARGET/latest           a link to one VERSION, replaced in one step
    TARGET/trusted-key.pub  whose releases this folder takes
    TARGET/.lisa-ci/        journal, lock, and what is being staged

A release is copied into ``.lisa-ci/staging``, on the same file system, each file held against its proven digest, and
becomes visible by one rename. A crash at any point leaves the old state or the new one, and a repeated apply goes on
where it stopped. Readers need no lock.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from lisa_ci import files, image, sparse
from lisa_ci.errors import DataError, LisaCiError, PublishingError, VerificationError
from lisa_ci.events import Emit, Message
from lisa_ci.protocols import Published, Release, Staged
from lisa_ci.release import folder, manifest, sums
from lisa_ci.release.journal import Entry, Journal, Step

LATEST: Final = "latest"
TRUSTED_KEY: Final = "trusted-key.pub"
OWN: Final = ".lisa-ci"
_RESERVED: Final = frozenset({LATEST, TRUSTED_KEY})
_SPARE_BYTES: Final = 16 << 20


class FolderTarget:
    """Meets protocols.Target. Use it inside ``with target.locked():`` when several may publish at once."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._own = root / OWN
        self._journal = Journal(self._own / "journal.ndjson")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One publisher at a time; the lock dies with its holder. PublishingError where another holds it."""
        try:
            self._own.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._own / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise PublishingError(f"cannot write to {self.root}: {error.strerror}") from error
        with os.fdopen(descriptor, "r+b"):
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise PublishingError(f"another publish works on {self.root}", hint="wait for it to end") from error
            yield

    # ---- the steps ----

    def stage(self, release: Release, *, emit: Emit) -> Staged:
        self._refuse_foreign(release)
        public = self.root / release.version
        if os.path.lexists(public):
            self._refuse_other_content(public, release)
            return Staged(release=release, place=str(public), is_new=False)
        stage = self._stage_of(release)
        try:
            self._remove_other_stages(stage)
            self._refuse_full(release, stage)
            if any(entry.step is Step.PUBLISHED for entry in self._journal.steps(release.digest)):
                self._write(Step.UNDONE, release)  # it was public once and is gone: an undo that did not end
            self._write(Step.STAGING, release)
            stage.mkdir(parents=True, exist_ok=True)
            with image.stage(emit, "copy"):
                _copy_all(release, stage)
            self._write(Step.STAGED, release)
        except (OSError, LisaCiError) as error:
            self._drop(stage)
            raise _as_publishing(error, self.root) from error
        return Staged(release=release, place=str(stage))

    def promote(self, staged: Staged, *, emit: Emit) -> Published:
        release = staged.release
        public = self.root / release.version
        try:
            if staged.is_new:
                self._write(Step.PUBLISHING, release, previous=self.latest() or "")
                _rename_new(Path(staged.place), public)
                files.sync_folder(self.root)
            steps = {entry.step for entry in self._journal.steps(release.digest)}
            if staged.is_new or (Step.PUBLISHED not in steps and Step.PUBLISHING in steps):
                self._write(Step.PUBLISHED, release)
            is_changed = staged.is_new or (Step.PUBLISHING in steps and Step.DONE not in steps)
            if is_changed:
                self._finish(release, emit)
        except (OSError, LisaCiError) as error:
            if staged.is_new:
                with suppress(OSError, LisaCiError):  # where even this fails, a repeated apply goes on
                    self._take_back(release, emit)
            raise _as_publishing(error, self.root) from error
        is_latest = self.latest() == release.version
        return Published(release=release, place=str(public), is_latest=is_latest, is_changed=is_changed)

    def undo(self, done: Staged | Published, *, emit: Emit) -> None:
        release = done.release
        try:
            if isinstance(done, Published):
                self._take_back(release, emit)
            self._drop(self._stage_of(release))
            if self._journal.steps(release.digest) and not os.path.lexists(self.root / release.version):
                self._write(Step.UNDONE, release)
        except OSError as error:
            raise _as_publishing(error, self.root) from error

    # ---- state ----

    def latest(self) -> str | None:
        """The version that ``latest`` points to; None where there is none. PublishingError where it is not a link."""
        link = self.root / LATEST
        if not os.path.lexists(link):
            return None
        if not link.is_symlink() or not manifest.is_word(str(link.readlink())):
            raise PublishingError(f"{link} is not a link to a version", hint="it is not ours; move it away")
        return str(link.readlink())

    def trusted_key(self) -> bytes | None:
        """The public key this target is pinned to."""
        path = self.root / TRUSTED_KEY
        return files.read_bounded(path, 64 << 10) if os.path.lexists(path) else None

    def pin(self, pem: bytes) -> None:
        """From now on only this key's releases are taken."""
        files.write_atomically(self.root / TRUSTED_KEY, pem)

    # ---- inside ----

    def _stage_of(self, release: Release) -> Path:
        return self._own / "staging" / f"{release.version}-{release.digest[:16]}"

    def _write(self, step: Step, release: Release, previous: str = "") -> None:
        steps = [entry.step for entry in self._journal.steps(release.digest)]
        if step not in steps:  # a resumed step is in the journal already
            self._journal.write(Entry(step=step, version=release.version, digest=release.digest, previous=previous))

    def _finish(self, release: Release, emit: Emit) -> None:
        current = self.latest()
        if current is None or not is_older(release.version, current) or not (self.root / current).is_dir():
            _point(self.root / LATEST, release.version)
            self._write(Step.LATEST, release, previous=current or "")
        else:
            emit(Message(text=f"'{LATEST}' stays at {current}, which is newer than {release.version}"))
        self._write(Step.DONE, release)

    def _take_back(self, release: Release, emit: Emit) -> None:
        """`latest` first, so that it never points to nothing."""
        public = self.root / release.version
        if not os.path.lexists(public):
            return
        self._refuse_other_content(public, release)
        if self.latest() == release.version:
            before = (entry.previous for entry in self._journal.steps(release.digest))
            previous = next((version for version in before if version not in {"", release.version}), "")
            if previous and (self.root / previous).is_dir():
                _point(self.root / LATEST, previous)
            else:
                (self.root / LATEST).unlink()
            emit(Message(text=f"'{LATEST}' is back at {previous or 'nothing'}"))
        hidden = self._stage_of(release)
        self._drop(hidden)  # else the rename would be refused
        hidden.parent.mkdir(parents=True, exist_ok=True)
        public.rename(hidden)
        files.sync_folder(self.root)

    def _refuse_foreign(self, release: Release) -> None:
        if not manifest.is_word(release.version) or release.version in _RESERVED:
            raise PublishingError(f"'{release.version}' cannot be published as a version")
        current = self.latest()
        if current is None or current == release.version:
            return
        try:
            other = manifest.read(self.root / current)
        except (DataError, VerificationError) as error:
            raise PublishingError(f"{self.root / current} is not a release: {error.message}") from error
        if (other.name, other.arch.value) != (release.name, release.arch):
            raise PublishingError(
                f"{self.root} holds {other.name} for {other.arch}, this is {release.name} for {release.arch}",
                hint="publish each product to a folder of its own",
            )

    def _refuse_other_content(self, public: Path, release: Release) -> None:
        """A version that is public never changes; the same version with other bytes is a mistake or an attack."""
        try:
            found = folder.listing(public)
            data = files.read_bounded(public / sums.FILE_NAME, sums.LIMIT_BYTES)
        except VerificationError as error:
            raise PublishingError(f"{public} is there and is not this release: {error.message}") from error
        if hashlib.sha256(data).hexdigest() != release.digest:
            raise PublishingError(
                f"version {release.version} is published already, with other content",
                hint="a published version never changes: release a new version",
            )
        damage = [*found.flaws, *folder.compare(public, found, sums.parse(data))]
        statement = release.files[folder.STATEMENT].sha256
        if folder.STATEMENT not in found.files or folder.sha256_of(public, folder.STATEMENT) != statement:
            damage.append(f"{folder.STATEMENT} is not the one of this release")
        if damage:
            raise PublishingError(f"{public} was changed after it was published: {'; '.join(damage[:5])}")

    def _refuse_full(self, release: Release, stage: Path) -> None:
        needed = _SPARE_BYTES
        for name, file in release.files.items():
            if not (stage / name).is_file():
                needed += min(file.size_bytes, (release.folder / name).stat().st_blocks * 512)
        free = shutil.disk_usage(self.root).free
        if needed > free:
            raise PublishingError(
                f"{self.root} has {free >> 20} MiB free, the release needs {needed >> 20} MiB", hint="free some space"
            )

    def _remove_other_stages(self, own: Path) -> None:
        """What a dead publisher left of another release; we hold the lock, so nobody works on it."""
        if own.parent.is_dir():
            for other in own.parent.iterdir():
                if other != own:
                    self._drop(other)

    def _drop(self, path: Path) -> None:
        if path.is_symlink() or path.is_file():
            path.unlink()
        elif path.is_dir():
            shutil.rmtree(path, ignore_errors=True)


def is_older(version: str, other: str) -> bool:
    """True where ``version`` sorts before ``other``: numbers by value, everything else by its characters."""
    return _order(version) < _order(other)


def _order(version: str) -> list[tuple[int, int, str]]:
    """A pre-release mark (``rc``, ``beta``, ``~``-like ``-``) ends a version earlier than its absence does."""
    parts = re.findall(r"\d+|[A-Za-z]+", version)
    return [(2, int(part), "") if part.isdigit() else (0, 0, part) for part in parts] + [(1, 0, "")]


def _as_publishing(error: OSError | LisaCiError, root: Path) -> PublishingError:
    if isinstance(error, PublishingError):
        return error
    if isinstance(error, OSError):
        full = error.errno in {errno.ENOSPC, errno.EDQUOT}
        hint = "free some space and apply again" if full else "apply again to go on"
        return PublishingError(f"cannot publish to {root}: {error.strerror or error}", hint=hint)
    return PublishingError(f"cannot publish to {root}: {error.message}", hint=error.hint)


def _copy_all(release: Release, stage: Path) -> None:
    """Bring ``stage`` to exactly the files of the release; what an earlier attempt copied right stays."""
    found = folder.listing(stage) if any(stage.iterdir()) else folder.Listing(files=frozenset(), flaws=())
    if found.flaws or found.files - release.files.keys():
        shutil.rmtree(stage)
        stage.mkdir()
        found = folder.Listing(files=frozenset(), flaws=())
    for name, file in release.files.items():
        if name in found.files and folder.sha256_of(stage, name) == file.sha256:
            continue
        target = stage / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if _copy(release.folder / name, target) != file.sha256:
            raise PublishingError(f"{name} changed after it was verified; nothing is published")
    for place in sorted({(stage / name).parent for name in release.files}, reverse=True):
        files.sync_folder(place)
    files.sync_folder(stage.parent)


def _copy(source: Path, target: Path) -> str:
    """Copy one file, holes kept, onto the disk; the SHA-256 (hex) of the bytes that were written."""
    digest, position = hashlib.sha256(), 0
    given = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with os.fdopen(given, "rb"), target.open("wb", buffering=0) as file:
        size = os.fstat(given).st_size
        for block in sparse.blocks(given, size):
            digest.update(block)
            if not sparse.is_zeros(block):
                _write_at(file.fileno(), block, position)
            position += len(block)
        file.truncate(position)
        os.fchmod(file.fileno(), 0o644)
        os.fsync(file.fileno())
    return digest.hexdigest()


def _write_at(descriptor: int, block: bytes | memoryview, position: int) -> None:
    left = memoryview(block)
    while left:
        count = os.pwrite(descriptor, left, position)
        left, position = left[count:], position + count


def _rename_new(stage: Path, public: Path) -> None:
    """A folder that is there keeps its content: rename refuses to replace one that is not empty."""
    try:
        stage.rename(public)
    except OSError as error:
        if error.errno in {errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR}:
            raise PublishingError(f"{public} appeared while we worked", hint="who else publishes here?") from error
        raise


def _point(link: Path, version: str) -> None:
    """Replace the link in one step."""
    fresh = link.with_name(f".{link.name}.new")
    with suppress(FileNotFoundError):
        fresh.unlink()
    fresh.symlink_to(version)
    fresh.replace(link)
    files.sync_folder(link.parent)
