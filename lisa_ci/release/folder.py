"""The folder of a release as it lies on disk: what is in it, judged before any of it is believed.

A folder may have been made by anyone. Links are not followed, only regular files count, names are checked, and the
number of entries is bounded.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lisa_ci import sparse
from lisa_ci.errors import VerificationError
from lisa_ci.release import sums

MANIFEST: Final = "manifest.json"
STATEMENT: Final = "statement.dsse.json"
EVIDENCE: Final = "evidence"
PLAN: Final = f"{EVIDENCE}/plan.json"
RESULTS: Final = f"{EVIDENCE}/results"
# What SHA256SUMS cannot list: itself, and the statement that names its digest.
UNLISTED: Final = frozenset({sums.FILE_NAME, STATEMENT})
MAX_ENTRIES: Final = 20_000
MAX_FILE_BYTES: Final = 5 << 40  # a hole costs its sender nothing, but us the time to hash it


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """What lies in a folder: regular files by their relative name, and a sentence for everything that may not."""

    files: frozenset[str]
    flaws: tuple[str, ...]


def listing(root: Path) -> Listing:
    """Everything below ``root``. VerificationError where it is no folder or holds more than MAX_ENTRIES."""
    if not root.is_dir():
        raise VerificationError(f"there is no release folder {root}")
    files: list[str] = []
    flaws: list[str] = []
    for count, (name, mode) in enumerate(_entries(root, "", depth=1)):
        if count >= MAX_ENTRIES:
            raise VerificationError(f"{root} holds more than {MAX_ENTRIES} files; it is not a release")
        shown = printable(name)
        if stat.S_ISLNK(mode):
            flaws.append(f"{shown} is a link; a release has only regular files")
        elif not stat.S_ISREG(mode):
            flaws.append(f"{shown} is not a regular file")
        elif not sums.is_name(name):
            flaws.append(f"{shown} is not a name for a file of a release")
        else:
            files.append(name)
    return Listing(files=frozenset(files), flaws=(*sorted(flaws), *_twins(files)))


def _entries(folder: Path, prefix: str, *, depth: int) -> Iterator[tuple[str, int]]:
    """(relative name, mode) of everything that is not a folder; a folder that is empty or too deep counts as well."""
    with os.scandir(folder) as scan:
        for entry in scan:
            name = prefix + entry.name
            mode = entry.stat(follow_symlinks=False).st_mode
            if not stat.S_ISDIR(mode) or depth >= sums.MAX_DEPTH:
                yield name, mode
                continue
            is_empty = True
            for below in _entries(folder / entry.name, f"{name}/", depth=depth + 1):
                is_empty = False
                yield below
            if is_empty:
                yield name, mode


def _twins(files: list[str]) -> Iterator[str]:
    """Names that differ only in case are one file on some file systems."""
    seen: dict[str, str] = {}
    for name in sorted(files):
        twin = seen.setdefault(name.casefold(), name)
        if twin != name:
            yield f"{name} and {twin} differ only in case"


def printable(name: str) -> str:
    """A hostile name as one harmless, short piece of text."""
    return "".join(sign if sign.isprintable() and sign.isascii() else "?" for sign in name)[:200]


def sha256_of(root: Path, name: str) -> str:
    """SHA-256 (hex) of a file of a listing, opened without following a link at its end."""
    descriptor = os.open(root / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    digest = hashlib.sha256()
    with os.fdopen(descriptor, "rb"):
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise VerificationError(f"{name} is not a regular file")
        for block in sparse.blocks(descriptor, status.st_size):
            digest.update(block)
    return digest.hexdigest()


def compare(root: Path, found: Listing, expected: dict[str, str]) -> Iterator[str]:
    """A sentence for every changed, missing and extra file, against the digests of SHA256SUMS."""
    for name in sorted(found.files - UNLISTED - expected.keys()):
        yield f"{name} is extra: {sums.FILE_NAME} does not list it"
    for name, digest in expected.items():
        if name in UNLISTED:
            yield f"{sums.FILE_NAME} lists {name}, which it cannot"
        elif name not in found.files:
            yield f"{name} is missing"
        else:
            yield from _changed(root, name, digest)


def _changed(root: Path, name: str, digest: str) -> Iterator[str]:
    try:
        if (root / name).lstat().st_size > MAX_FILE_BYTES:
            yield f"{name} is larger than any file of a release"
        elif sha256_of(root, name) != digest:
            yield f"{name} is changed: its bytes do not have the digest that {sums.FILE_NAME} lists"
    except OSError as error:
        yield f"{name} cannot be read: {error.strerror}"
