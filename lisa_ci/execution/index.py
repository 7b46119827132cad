"""``index.json``: what lies in a leg's folder, written last.

Everything else is named with the reason why it is not listed: links (never followed), devices, sockets, names that are
no text. So a reader who takes only what is listed stays inside the folder.
"""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from lisa_ci import files
from lisa_ci.errors import DataError, LisaCiError
from lisa_ci.files import LegFolder
from lisa_ci.model import SCHEMA

NAME: Final = "index.json"
INDEX_LIMIT: Final = 64 << 20
_MOST: Final = 200_000  # files
_LEFT_OUT: Final = 1000
_BLOCK: Final = 1 << 20

_TEXT: Final = "text/plain; charset=utf-8"
_JSON: Final = "application/json"
_LINES: Final = "application/x-ndjson"
_BYTES: Final = "application/octet-stream"
_MEDIA_TYPES: Final = {
    ".json": _JSON,
    ".ndjson": _LINES,
    ".xml": "application/xml",
    ".txt": _TEXT,
    ".log": _TEXT,
    ".md": "text/markdown; charset=utf-8",
}
# Path in the folder -> what it is; where a folder is named, everything below it.
_KINDS: Final = {
    "run.json": "run",
    "inventory.json": "inventory",
    "journal.ndjson": "results",
    "junit.xml": "junit",
    "console.log": "console",
    "lisa-ci.log": "log",
    "cases": "case-log",
    "telemetry/samples.ndjson": "samples",
    "telemetry/summary.json": "samples-summary",
    "telemetry": "telemetry",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexedFile:
    """``path`` is relative to the leg's folder, with slashes; ``sha256`` is hex."""

    path: str
    kind: str
    media_type: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """Something in the folder that is no file of ours; ``path`` is readable, not exact."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """``index.json``; in the order of paths. The index itself is not in it."""

    schema: int = SCHEMA
    files: tuple[IndexedFile, ...] = ()
    left_out: tuple[LeftOut, ...] = ()


def write(folder: LegFolder) -> Index:
    """Read every file of the folder once and write the index. LisaCiError where something cannot be read or written."""
    listed: list[IndexedFile] = []
    left_out: list[LeftOut] = []
    for path, problem in sorted(files.walk(folder.root)):
        if path == NAME:
            continue
        reason = problem or _unsafe(path) or ("too many files" if len(listed) >= _MOST else "")
        entry = None if reason else _indexed(folder.root, path)
        if entry is not None:
            listed.append(entry)
        elif len(left_out) < _LEFT_OUT:
            shown = "".join(c if c.isprintable() else "?" for c in path)[:300]
            left_out.append(LeftOut(path=shown, reason=reason or "it is no longer a file"))
    index = Index(files=tuple(listed), left_out=tuple(left_out))
    files.write_atomically(folder.root / NAME, files.encode(index))
    return index


def read(folder: LegFolder) -> Index:
    """The index of a folder; DataError where it is none, or names what is not below the folder."""
    path = folder.root / NAME
    index = files.decode(Index, files.read_bounded(path, INDEX_LIMIT), place=str(path))
    names = [entry.path for entry in index.files]
    bad = next((name for name in names if _unsafe(name)), None)
    if bad is not None or len(set(names)) != len(names):
        raise DataError(f"{path} lists {bad!r:.200}" if bad is not None else f"{path} lists a file twice")
    return index


def differences(folder: LegFolder) -> list[str]:
    """What is not as the index says: a sentence for each file that is missing, changed, or not listed."""
    listed = {entry.path: entry for entry in read(folder).files}
    there = {path for path, reason in files.walk(folder.root) if not reason and path != NAME}
    found = [f"{path!r:.300} is not in the index" for path in sorted(there - set(listed)) if not _unsafe(path)]
    for path, entry in listed.items():
        now = _indexed(folder.root, path) if path in there else None
        if now is None:
            found.append(f"{path!r:.300} is missing")
        elif now.sha256 != entry.sha256:
            found.append(f"{path!r:.300} has changed")
    return found


def _unsafe(path: str) -> str:
    """Why a path cannot be listed; '' where it can."""
    if not path or path.startswith("/") or any(part in {"", ".", ".."} for part in path.split("/")):
        return "no path below the folder"
    if not path.isprintable():
        return "a name that is not printable text"
    return ""


def _indexed(root: Path, path: str) -> IndexedFile | None:
    """None where it is no regular file any more: a link in its place is not followed."""
    try:
        descriptor = os.open(root / path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return None
            digest, size = hashlib.sha256(), 0
            while block := file.read(_BLOCK):
                digest.update(block)
                size += len(block)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise LisaCiError(f"cannot read {root / path}: {error.strerror}") from error
    return IndexedFile(
        path=path, kind=_kind(path), media_type=_media_type(path), size_bytes=size, sha256=digest.hexdigest()
    )


def _kind(path: str) -> str:
    place = PurePosixPath(path)
    if len(place.parts) == 1 and place.match("console-*.log"):
        return "console"  # of a machine beside the first
    return next((_KINDS[str(part)] for part in (place, *place.parents) if str(part) in _KINDS), "other")


def _media_type(path: str) -> str:
    return _MEDIA_TYPES.get(PurePosixPath(path).suffix, _BYTES)
