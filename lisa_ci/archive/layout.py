"""What lies in an archive, and where: values, their bytes, their names.

    blobs/SHA/SHA.gz                      content, named by the SHA-256 of what is inside
    runs/YYYY/MM/DD/NAME/LEG/ATTEMPT-ID   one run: its summary and its files; written last
    packs/YYYY/MM/COUNT-SHA               summaries of many runs of a month; a cache, never the truth

Everything read back may be hostile: sizes are bounded before bytes are unpacked, and names cannot leave the folder.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Final

from lisa_ci import files
from lisa_ci.errors import DataError
from lisa_ci.model import SCHEMA, Outcome, is_id

INDEX_LIMIT: Final = 64 << 20  # bytes of JSON, unpacked
PACK_LIMIT: Final = 256 << 20
CASES_MOST: Final = 200_000
_GZIP: Final = 31  # zlib's word for a gzip header, which then holds no name and no time
_STEP: Final = 1 << 20

OUTCOMES: Final = {"p": Outcome.PASSED, "f": Outcome.FAILED, "e": Outcome.ERRORED, "s": Outcome.SKIPPED}
LETTERS: Final = {outcome: letter for letter, outcome in OUTCOMES.items()}

_RUN_NAME: Final = re.compile(
    r"runs/(?P<day>\d{4}/\d\d/\d\d)/(?P<name>[^/]+)/(?P<leg>[^/]+)/(?P<attempt>\d{1,9})-(?P<id>[0-9a-f]{16})\.json\.gz"
)
_PACK_NAME: Final = re.compile(r"packs/(?P<month>\d{4}/\d\d)/(?P<count>\d{1,7})-(?P<sha256>[0-9a-f]{64})\.json\.gz")
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")


# ---- a run ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A finding of the console, without its text. ``case`` None: it belongs to no case."""

    fingerprint: str
    category: str
    title: str
    case: str | None = None
    allowed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What queries know of a run.

    ``cases`` (``suite#case``), ``outcomes`` (a letter each, see OUTCOMES) and ``wall_ms`` belong together by position.
    ``wall_seconds`` is the whole leg's. ``problem`` is why the results could not be read to their end, else ''.
    ``delete_after`` is the last day on which it is kept for certain.
    """

    schema: int = SCHEMA
    id: str
    name: str
    leg: str
    profile: str
    attempt: int
    started: datetime
    wall_seconds: float = 0
    is_complete: bool = False
    error: str = ""
    problem: str = ""
    subject: str = ""
    plan: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    cases: tuple[str, ...] = ()
    outcomes: str = ""
    wall_ms: tuple[int, ...] = ()
    findings: tuple[Mark, ...] = ()
    files: int = 0
    size_bytes: int = 0
    delete_after: date | None = None

    @property
    def counts(self) -> dict[Outcome, int]:
        return {outcome: self.outcomes.count(letter) for letter, outcome in OUTCOMES.items()}

    @property
    def day(self) -> date:
        return self.started.date()


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchivedFile:
    """A file of the leg's folder: ``size_bytes`` from ``offset`` on in the content of ``blob``.

    ``scrubbed`` secrets were taken out of it on the way.
    """

    path: str
    sha256: str
    size_bytes: int
    blob: str
    offset: int = 0
    scrubbed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class NotArchived:
    """Something in the folder that is no plain file; ``path`` is readable, not exact."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunIndex:
    """One run: ``blobs`` maps a blob's digest to the size of its content in bytes."""

    schema: int = SCHEMA
    summary: Summary
    files: tuple[ArchivedFile, ...] = ()
    blobs: Mapping[str, int] = field(default_factory=dict)
    not_archived: tuple[NotArchived, ...] = ()


# ---- names ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class RunName:
    """What the name of a run's blob tells."""

    day: date
    name: str
    leg: str
    attempt: int
    id: str

    def __str__(self) -> str:
        return f"runs/{self.day:%Y/%m/%d}/{self.name}/{self.leg}/{self.attempt}-{self.id}.json.gz"

    @property
    def month(self) -> str:
        return f"{self.day:%Y/%m}"


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class PackName:
    """``count`` runs of ``month`` (YYYY/MM); ``sha256`` is that of the pack's content."""

    month: str
    count: int
    sha256: str

    def __str__(self) -> str:
        return f"packs/{self.month}/{self.count}-{self.sha256}.json.gz"


def blob_name(sha256: str) -> str:
    return f"blobs/{sha256[:2]}/{sha256[2:]}.gz"


def name_of(summary: Summary) -> RunName:
    return RunName(day=summary.day, name=summary.name, leg=summary.leg, attempt=summary.attempt, id=summary.id)


def parse_run_name(text: str) -> RunName | None:
    """None for a name that we would not give."""
    found = _RUN_NAME.fullmatch(text)
    if found is None or not is_id(found["name"]) or not is_id(found["leg"]):
        return None
    try:
        day = date.fromisoformat(found["day"].replace("/", "-"))
    except ValueError:
        return None
    name = RunName(day=day, name=found["name"], leg=found["leg"], attempt=int(found["attempt"]), id=found["id"])
    return name if str(name) == text else None


def parse_pack_name(text: str) -> PackName | None:
    found = _PACK_NAME.fullmatch(text)
    return PackName(month=found["month"], count=int(found["count"]), sha256=found["sha256"]) if found else None


def months(since: date, until: date) -> Iterator[str]:
    """Every month from one day to another, as names have it."""
    year, month = since.year, since.month
    while (year, month) <= (until.year, until.month):
        yield f"{year:04}/{month:02}"
        year, month = (year, month + 1) if month < 12 else (year + 1, 1)


def month_before(month: str) -> str:
    """``2026/01`` gives ``2025/12``."""
    first = date(int(month[:4]), int(month[5:]), 1)
    return f"{first - timedelta(days=1):%Y/%m}"


# ---- bytes ---------------------------------------------------------------------------------------------------------


def compressor() -> zlib._Compress:
    """gzip without name and time: the same content gives the same bytes from one zlib."""
    return zlib.compressobj(6, zlib.DEFLATED, _GZIP)


def compressed(data: bytes) -> io.BytesIO:
    """``data`` as a gzip file, at its begin."""
    packer = compressor()
    return io.BytesIO(packer.compress(data) + packer.flush())


def unpacked(blocks: Iterable[bytes], limit: int, *, place: str) -> Iterator[bytes]:
    """The content of a gzip file in blocks of at most 1 MiB; DataError where it is none, cut short, or too large."""
    unpacker = zlib.decompressobj(_GZIP)
    total = 0
    try:
        for block in blocks:
            data = block
            while data:
                if unpacker.eof:
                    raise DataError(f"{place} has bytes behind its end")
                content = unpacker.decompress(data, _STEP)
                data = unpacker.unconsumed_tail or unpacker.unused_data
                total += len(content)
                if total > limit:
                    raise DataError(f"{place} is larger than it may be ({limit:,} bytes)")
                if content:
                    yield content
        rest = unpacker.flush()
    except zlib.error as error:
        raise DataError(f"{place} is not a gzip file") from error
    if not unpacker.eof:
        raise DataError(f"{place} is cut short")
    if total + len(rest) > limit:
        raise DataError(f"{place} is larger than it may be ({limit:,} bytes)")
    if rest:
        yield rest


def encode_index(index: RunIndex) -> bytes:
    return files.encode_line(index)


def decode_index(data: bytes, name: RunName) -> RunIndex:
    """The run's index, if it is whole, sound, and that of this name; DataError."""
    place = str(name)
    index = files.decode(RunIndex, data, place=place)
    if name_of(index.summary) != name:
        raise DataError(f"{place} is the index of another run")
    if why := summary_flaw(index.summary) or _files_flaw(index):
        raise DataError(f"{place} is not sound: {why}")
    return index


def summary_flaw(summary: Summary) -> str:
    """What a summary cannot be; '' for a sound one."""
    count = len(summary.cases)
    if summary.schema != SCHEMA:
        return f"it has schema {summary.schema}, not {SCHEMA}"
    if count > CASES_MOST or len(summary.outcomes) != count or len(summary.wall_ms) != count:
        return "its lists of cases do not fit together"
    if summary.outcomes.strip("".join(OUTCOMES)):
        return "it has an outcome that is none"
    if summary.started.utcoffset() != timedelta():
        return "its time is not in UTC"
    return ""


def _files_flaw(index: RunIndex) -> str:
    paths = {file.path for file in index.files}
    if len(paths) != len(index.files):
        return "it lists a file twice"
    if any(not _DIGEST.fullmatch(digest) or size < 0 for digest, size in index.blobs.items()):
        return "it names a blob that cannot be"
    for file in index.files:
        if why := path_flaw(file.path):
            return f"{file.path!r:.200}: {why}"
        parents = file.path.split("/")[:-1]
        if any("/".join(parents[: n + 1]) in paths for n in range(len(parents))):
            return f"{file.path!r:.200}: it lies below a file"
        end = file.offset + file.size_bytes
        if not _DIGEST.fullmatch(file.sha256) or min(file.offset, file.size_bytes) < 0:
            return f"{file.path!r:.200}: its digest, place or size cannot be"
        if end > index.blobs.get(file.blob, -1):
            return f"{file.path!r:.200}: it is not inside its blob"
    return ""


def path_flaw(path: str) -> str:
    """Why a path is not archived, and not written on the way back; '' where it is."""
    parts = path.split("/")
    if any(part in {"", ".", ".."} for part in parts):
        return "no path below the folder"
    if not path.isprintable() or "\\" in path:
        return "a name that is not plain, printable text"
    if len(path.encode()) > 1024 or any(len(part.encode()) > 255 for part in parts):
        return "a name that is too long"
    return ""


# ---- packs ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """A summary whose cases are the pack's list of this number: most runs of a month share theirs."""

    summary: Summary
    case_list: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Pack:
    schema: int = SCHEMA
    case_lists: tuple[tuple[str, ...], ...]
    runs: tuple[Packed, ...]


def encode_pack(summaries: Iterable[Summary]) -> tuple[PackName, bytes]:
    """A pack of runs of one month, the same for the same runs, and its name."""
    ordered = sorted(summaries, key=name_of)
    lists: dict[tuple[str, ...], int] = {}
    runs = []
    for one in ordered:
        number = lists.setdefault(one.cases, len(lists))
        runs.append(Packed(summary=dataclasses.replace(one, cases=()), case_list=number))
    data = files.encode_line(Pack(case_lists=tuple(lists), runs=tuple(runs)))
    name = PackName(month=name_of(ordered[0]).month, count=len(runs), sha256=hashlib.sha256(data).hexdigest())
    return name, data


def decode_pack(data: bytes, name: PackName) -> list[Summary]:
    """The summaries in a pack; DataError where it is damaged or not sound."""
    place = str(name)
    if hashlib.sha256(data).hexdigest() != name.sha256:
        raise DataError(f"{place} is damaged: its content has another digest")
    pack = files.decode(Pack, data, place=place)
    found = []
    for one in pack.runs:
        if not 0 <= one.case_list < len(pack.case_lists):
            raise DataError(f"{place} is not sound: it has no case list {one.case_list}")
        summary = dataclasses.replace(one.summary, cases=pack.case_lists[one.case_list])
        if why := summary_flaw(summary):
            raise DataError(f"{place} is not sound: {why}")
        found.append(summary)
    return found
