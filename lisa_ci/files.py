"""The layout on disk: where each file of a plan and a leg lies, how values become bytes, and how they are read back.

Files that come back to us (an artifact, a leg's folder) may have been written by anyone: every read is bounded, links
are not followed, and whatever does not fit the type is a DataError that names the file.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import TypeAdapter, ValidationError

from lisa_ci.errors import DataError, StorageError
from lisa_ci.model import SCHEMA, Inventory, Plan, Result, Run, is_id

PLAN_LIMIT: Final = 64 << 20
RUN_LIMIT: Final = 4 << 20
INVENTORY_LIMIT: Final = 64 << 20
LINE_LIMIT: Final = 8 << 20
_BLOCK: Final = 1 << 20

T = TypeVar("T")


def shipped(name: str) -> Path:
    """The folder ``suites`` or ``templates``: at the top of a checkout, inside the package of an installation."""
    package = Path(__file__).parent
    inside = package / "shipped" / name
    return inside if inside.is_dir() else package.parent / name


# ---- values and bytes ----------------------------------------------------------------------------------------------


_ADAPTERS: Final[dict[type, TypeAdapter[Any]]] = {}


def _adapter(kind: type) -> TypeAdapter[Any]:
    """Building one takes milliseconds, using it microseconds."""
    if kind not in _ADAPTERS:
        _ADAPTERS[kind] = TypeAdapter(kind)
    return _ADAPTERS[kind]


def encode(value: object) -> bytes:
    """Canonical JSON: sorted keys, one space of indent, a newline at the end. The same value gives the same bytes."""
    return _json(value, indent=1)


def encode_line(value: object) -> bytes:
    """The same on one line."""
    return _json(value, indent=None)


def _json(value: object, *, indent: int | None) -> bytes:
    plain = _adapter(type(value)).dump_python(value, mode="json")
    separators = (",", ":") if indent is None else (",", ": ")
    text = json.dumps(plain, sort_keys=True, indent=indent, separators=separators, ensure_ascii=False)
    return text.encode(errors="replace") + b"\n"  # a lone surrogate is no Unicode: it becomes a question mark


def decode(kind: type[T], data: bytes, *, place: str) -> T:
    """The value that ``data`` holds; DataError, naming ``place``, where it does not hold one."""
    try:
        value: T = _adapter(kind).validate_json(data)
    except ValidationError as error:
        raise DataError(f"{place} is not a valid {kind.__name__.lower()} file: {_first_error(error)}") from error
    schema = getattr(value, "schema", SCHEMA)
    if schema != SCHEMA:
        hint = "it was written by another version of lisa-ci; use the same version in every job"
        raise DataError(f"{place} has schema {schema!r}, not {SCHEMA}", hint=hint)
    return value


def _first_error(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"{where}: {first['msg']}" if where else first["msg"]


# ---- reading and writing -------------------------------------------------------------------------------------------


def write_atomically(path: Path, data: bytes) -> None:
    """The file is the old one or the new one, on disk, whatever happens. StorageError where it cannot be written."""
    temporary = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(file.fileno(), 0o644)
            os.fsync(file.fileno())
        Path(temporary).replace(path)
        sync_folder(path.parent)
    except OSError as error:
        if temporary:
            with suppress(OSError):
                Path(temporary).unlink()
        raise StorageError.of(path, error) from error


def sync_folder(folder: Path) -> None:
    """Make the names in ``folder`` durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def walk(root: Path, inside: str = "", *, depth: int = 16) -> Iterator[tuple[str, str]]:
    """Relative path of everything below ``root`` that is no folder, and why it is no file to read ('' for one).

    Links are not followed, folders are entered ``depth`` deep. StorageError.
    """
    try:
        with os.scandir(root / inside) as entries:
            found = list(entries)
    except OSError as error:
        raise StorageError(f"cannot read {root / inside}: {error.strerror}") from error
    for entry in found:
        path = f"{inside}/{entry.name}" if inside else entry.name
        if entry.is_symlink():
            yield path, "a symbolic link"
        elif entry.is_dir(follow_symlinks=False):
            if depth:
                yield from walk(root, path, depth=depth - 1)
            else:
                yield path, "a folder too deep"
        elif entry.is_file(follow_symlinks=False):
            yield path, ""
        else:
            yield path, "no regular file"


def read_bounded(path: Path, limit: int) -> bytes:
    """The bytes of a regular file of at most ``limit`` bytes; a link, a device or a larger file is a DataError."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise DataError(f"{path} is not a regular file")
        data = file.read(limit + 1)
    if len(data) > limit:
        raise DataError(f"{path} is larger than {limit >> 20} MiB")
    return data


def sha256_file(path: Path) -> str:
    """SHA-256 (hex) of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def tree_digest(folder: Path) -> str:
    """SHA-256 (hex) over a folder: relative names, executable bits and bytes of its files, in the order of names.

    Links count by their target's text. ``__pycache__`` does not count.
    """
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*"), key=lambda path: path.relative_to(folder).as_posix()):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            entry = f"link {name}\0{path.readlink()}\0"
        elif path.is_file() and "__pycache__" not in path.parts:
            executable = "x" if path.stat().st_mode & stat.S_IXUSR else "-"
            entry = f"file {executable} {name}\0{sha256_file(path)}\0"
        else:
            continue
        digest.update(entry.encode(errors="surrogateescape"))
    return digest.hexdigest()


# ---- the folder of a leg -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LegFolder:
    """``results/<leg>/``: everything one leg leaves behind."""

    root: Path

    @property
    def run(self) -> Path:
        return self.root / "run.json"

    @property
    def inventory(self) -> Path:
        return self.root / "inventory.json"

    @property
    def journal(self) -> Path:
        return self.root / "journal.ndjson"

    @property
    def junit(self) -> Path:
        return self.root / "junit.xml"

    @property
    def console(self) -> Path:
        return self.root / "console.log"

    @property
    def log(self) -> Path:
        return self.root / "lisa-ci.log"

    @property
    def telemetry(self) -> Path:
        return self.root / "telemetry"

    def case_log(self, suite: str, case: str) -> Path:
        return self.root / "cases" / suite / f"{case}.log"


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalLine:
    """One line of ``journal.ndjson``: a case that has ended."""

    schema: int = SCHEMA
    result: Result


@dataclass(frozen=True, slots=True, kw_only=True)
class LegEvidence:
    """What one leg left, as found on disk. ``results`` reads the journal anew at each call, line by line."""

    run: Run
    inventory: Inventory | None
    results: Callable[[], Iterator[Result]]
    folder: Path


def read_plan(path: Path) -> tuple[Plan, str]:
    """The plan and its digest (SHA-256 hex over the file's bytes)."""
    data = read_bounded(path, PLAN_LIMIT)
    return decode(Plan, data, place=str(path)), hashlib.sha256(data).hexdigest()


def read_journal(path: Path) -> Iterator[Result]:
    """The results in a journal. A last line torn by a crash is left out; anything else odd is a DataError."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise DataError(f"{path} is not a regular file")
        number = 0
        while line := file.readline(LINE_LIMIT + 1):
            number += 1
            if len(line) > LINE_LIMIT:
                raise DataError(f"{path}:{number}: a line is longer than {LINE_LIMIT >> 20} MiB")
            if not line.endswith(b"\n"):
                return
            yield decode(JournalLine, line, place=f"{path}:{number}").result


def read_leg(folder: Path) -> LegEvidence | None:
    """What one leg left in ``folder``; None where there is no ``run.json`` at all."""
    leg = LegFolder(folder)
    if not os.path.lexists(leg.run):
        return None
    inventory = None
    if os.path.lexists(leg.inventory):
        inventory = decode(Inventory, read_bounded(leg.inventory, INVENTORY_LIMIT), place=str(leg.inventory))
    return LegEvidence(
        run=decode(Run, read_bounded(leg.run, RUN_LIMIT), place=str(leg.run)),
        inventory=inventory,
        results=lambda: read_journal(leg.journal),
        folder=folder,
    )


def leg_folders(root: Path) -> Iterator[Path]:
    """Folders in ``root`` that may be a leg's: named by its id, or ``lisa-ci-leg-ID-ATTEMPT`` as an artifact.

    ``root`` itself is one where it holds a ``run.json``: a tool that fetches artifacts may put a single one there.
    """
    if root.is_dir() and os.path.lexists(LegFolder(root).run):
        yield root
    for folder in sorted(root.iterdir()) if root.is_dir() else ():
        if not folder.is_symlink() and folder.is_dir() and is_id(folder.name):
            yield folder


def read_results(root: Path) -> Iterator[LegEvidence]:
    """The legs found in ``root``; DataError at the first that cannot be read."""
    for folder in leg_folders(root):
        evidence = read_leg(folder)
        if evidence is not None:
            yield evidence
