"""A target in memory, for tests of what publishes; held to the same contract as the real ones."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from lisa_ci import files
from lisa_ci.errors import PublishingError
from lisa_ci.events import Emit
from lisa_ci.protocols import Published, Release, Staged
from lisa_ci.release.folder_target import is_older


class MemoryTarget:
    def __init__(self, pinned: bytes | None = None) -> None:
        self.pinned = pinned
        self.staged: dict[str, Release] = {}
        self.public: dict[str, Release] = {}
        self.latest: list[str] = []

    @contextmanager
    def locked(self) -> Iterator[None]:
        yield

    def trusted_key(self) -> bytes | None:
        return self.pinned

    def pin(self, pem: bytes) -> None:
        self.pinned = pem

    def stage(self, release: Release, *, emit: Emit) -> Staged:
        if self.latest and self.latest[-1] in self.public:
            other = self.public[self.latest[-1]]
            if (other.name, other.arch) != (release.name, release.arch):
                told = f"it holds {other.name} for {other.arch}, this is {release.name} for {release.arch}"
                raise PublishingError(told)
        if release.version in self.public:
            if self.public[release.version].digest != release.digest:
                raise PublishingError(f"version {release.version} is published already, with other content")
            return Staged(release=release, place=release.version, is_new=False)
        for name, file in release.files.items():
            if files.sha256_file(release.folder / name) != file.sha256:
                raise PublishingError(f"{name} changed after it was verified; nothing is published")
        self.staged[release.version] = release
        return Staged(release=release, place=release.version)

    def promote(self, staged: Staged, *, emit: Emit) -> Published:
        version = staged.release.version
        if staged.is_new:
            self.public[version] = self.staged.pop(version)
            if not self.latest or not is_older(version, self.latest[-1]):
                self.latest.append(version)
        is_latest = self.latest[-1] == version
        return Published(release=staged.release, place=version, is_latest=is_latest, is_changed=staged.is_new)

    def undo(self, done: Staged | Published, *, emit: Emit) -> None:
        version = done.release.version
        self.staged.pop(version, None)
        if isinstance(done, Published) and self.public.pop(version, None):
            self.latest = [other for other in self.latest if other != version]
