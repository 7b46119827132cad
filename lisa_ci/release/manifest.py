"""``manifest.json``: what a release contains, for people and programs. Canonical JSON, no time, no host name."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from lisa_ci import files
from lisa_ci.errors import DataError
from lisa_ci.model import SCHEMA, Arch, Firmware, ImageFormat
from lisa_ci.release import folder, sums

LIMIT_BYTES: Final = 1 << 20
MAX_WORD: Final = 80
_WORD: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._+-]*[A-Za-z0-9])?")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_MIB: Final = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """One file that holds the disk. ``size_bytes`` and ``sha256`` (hex) are of the file, not of the disk."""

    file: str
    format: ImageFormat
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """``disk_digest`` (SHA-256 hex) and ``disk_bytes`` (a whole number of MiB) are of the raw disk in every container.

    ``plan_digest`` names the plan in ``evidence``; None for a release without evidence, which nobody can sign.
    ``tools`` are the versions that made the containers.
    """

    schema: int = SCHEMA
    name: str
    version: str
    arch: Arch
    firmware: tuple[Firmware, ...]
    disk_digest: str
    disk_bytes: int
    containers: tuple[Container, ...]
    plan_digest: str | None = None
    tools: Mapping[str, str] = field(default_factory=dict)

    @property
    def title(self) -> str:
        return f"{self.name}-{self.version}-{self.arch.value}"


def is_word(text: str) -> bool:
    """True for a name or version that is safe in a file name: letters, digits and ``._+-`` inside."""
    return len(text) <= MAX_WORD and _WORD.fullmatch(text) is not None and ".." not in text


def word(text: str) -> str:
    """The nearest legal name or version; '' where nothing legal is left."""
    cleaned = re.sub(r"\.{2,}", ".", re.sub(r"[^A-Za-z0-9._+-]+", "-", text))
    return cleaned[:MAX_WORD].strip("._+-")


def read(root: Path) -> Manifest:
    """The manifest of a release folder; DataError for anything that ``pack`` would not have written."""
    data = files.read_bounded(root / folder.MANIFEST, LIMIT_BYTES)
    manifest = files.decode(Manifest, data, place=folder.MANIFEST)
    if flaw := next(_flaws(manifest), ""):
        raise DataError(f"{folder.MANIFEST}: {flaw}")
    return manifest


def _flaws(manifest: Manifest) -> Iterator[str]:
    if not is_word(manifest.name) or not is_word(manifest.version):
        yield f"name {manifest.name[:80]!r} or version {manifest.version[:80]!r} has characters that no release has"
    if not _SHA256.fullmatch(manifest.disk_digest):
        yield "disk_digest is not a SHA-256"
    if manifest.disk_bytes <= 0 or manifest.disk_bytes % _MIB:
        yield f"a disk of {manifest.disk_bytes} bytes is not a whole number of MiB"
    names = [container.file for container in manifest.containers]
    if not names or len(set(names)) != len(names):
        yield "it must name at least one container, and each once"
    for container in manifest.containers:
        if not sums.is_name(container.file) or "/" in container.file:
            yield f"{container.file[:80]!r} is not a name for a container"
        if not _SHA256.fullmatch(container.sha256) or container.size_bytes <= 0:
            yield f"{container.file}: wrong digest or size"
