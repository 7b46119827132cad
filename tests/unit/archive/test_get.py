"""Out of an archive that may be hostile: what is written is what was promised, below the folder, or nothing is."""

from __future__ import annotations

import dataclasses
import hashlib
from datetime import UTC, datetime
from pathlib import Path

import pytest

from lisa_ci.archive import layout
from lisa_ci.archive.folder_store import FolderStore
from lisa_ci.archive.get import find_runs, get_run
from lisa_ci.archive.layout import ArchivedFile, RunIndex, RunName, Summary, blob_name, name_of
from lisa_ci.errors import DataError, PipelineError, StorageError
from tests.doubles.release import silent

CONTENT = bytes(range(256)) * 20_000
DIGEST = hashlib.sha256(CONTENT).hexdigest()
SUMMARY = Summary(
    id="0123456789abcdef",
    name="nightly",
    leg="small",
    profile="small",
    attempt=2,
    started=datetime(2026, 1, 1, tzinfo=UTC),
)


def part(path: str, offset: int, size: int, **fields: object) -> ArchivedFile:
    sha256 = hashlib.sha256(CONTENT[offset : offset + size]).hexdigest()
    plain = ArchivedFile(path=path, sha256=sha256, size_bytes=size, blob=DIGEST, offset=offset)
    return dataclasses.replace(plain, **fields)  # type: ignore[arg-type]


def archive(root: Path, *parts: ArchivedFile, size: int = len(CONTENT), content: bytes = CONTENT) -> FolderStore:
    """An archive with one run and one blob."""
    store = FolderStore(root)
    root.mkdir()
    data = layout.compressed(content)
    store.put_new(blob_name(DIGEST), data, len(data.getbuffer()))
    index = RunIndex(summary=SUMMARY, files=parts, blobs={DIGEST: size})
    data = layout.compressed(layout.encode_index(index))
    store.put_new(str(name_of(SUMMARY)), data, len(data.getbuffer()))
    return store


def get(store: FolderStore, target: Path, **options: object) -> Path:
    return get_run(store, name_of(SUMMARY), target, workers=2, emit=silent, **options)  # type: ignore[arg-type]


def test_files_are_cut_out_of_their_blob_wherever_they_lie(tmp_path: Path) -> None:
    parts = (
        part("a", 0, 10),
        part("deep/b", 10, 3_000_000),
        part("empty", 10, 0),
        part("over/c", 5, 2_000_000),
        part("end", len(CONTENT), 0),
        part("last", len(CONTENT) - 7, 7),
    )
    folder = get(archive(tmp_path / "archive", *parts), tmp_path / "back")
    assert folder.name == "lisa-ci-leg-small-2"
    for one in parts:
        assert (folder / one.path).read_bytes() == CONTENT[one.offset : one.offset + one.size_bytes]
    assert len([path for path in folder.rglob("*") if path.is_file()]) == len(parts)


def test_only_what_is_asked_for_is_written(tmp_path: Path) -> None:
    store = archive(tmp_path / "archive", part("cases/a.log", 0, 5), part("cases/b.log", 5, 5), part("run.json", 10, 5))
    folder = get(store, tmp_path / "back", only=("cases/*.log",))
    assert sorted(path.name for path in folder.rglob("*.*")) == ["a.log", "b.log"]
    with pytest.raises(PipelineError, match="no file like nothing"):
        get(store, tmp_path / "other", only=("nothing",))


@pytest.mark.parametrize(
    ("parts", "options", "why"),
    [
        ((part("a", 0, 10, sha256="0" * 64),), {}, "not what the index says"),
        ((part("a", 0, 10),), {"content": CONTENT[:-1]}, "another digest"),
        ((part("a", 0, 10),), {"content": CONTENT + b"x"}, "larger than it may be"),
        ((part("a", 0, 10),), {"content": CONTENT[:-1] + b"x"}, "another digest"),
        ((part("../a", 0, 10),), {}, "no path below the folder"),
        ((part("/tmp/a", 0, 10),), {}, "no path below the folder"),
    ],
)
def test_what_is_not_as_promised_leaves_nothing(
    parts: tuple[ArchivedFile, ...], options: dict[str, bytes], why: str, tmp_path: Path
) -> None:
    store = archive(tmp_path / "archive", *parts, **options)  # type: ignore[arg-type]
    with pytest.raises(DataError, match=why):
        get(store, tmp_path / "back")
    assert not (tmp_path / "back").exists() or list((tmp_path / "back").iterdir()) == []
    assert sorted(path.name for path in tmp_path.iterdir()) in (["archive"], ["archive", "back"])


def test_a_run_larger_than_allowed_is_refused_before_a_byte_is_read(tmp_path: Path) -> None:
    store = archive(tmp_path / "archive", part("a", 0, 4000), part("b", 0, 4000))
    with pytest.raises(DataError, match="more than the"):
        get(store, tmp_path / "back", limit=5000)


def test_a_folder_that_is_there_is_left_alone(tmp_path: Path) -> None:
    store = archive(tmp_path / "archive", part("a", 0, 10))
    folder = get(store, tmp_path / "back")
    (folder / "mine").touch()
    with pytest.raises(PipelineError, match="is there already"):
        get(store, tmp_path / "back")
    assert (folder / "mine").exists()


def test_a_link_in_a_hostile_archive_is_not_followed(tmp_path: Path) -> None:
    store = archive(tmp_path / "archive", part("a", 0, 10))
    blob = tmp_path / "archive" / blob_name(DIGEST)
    blob.rename(tmp_path / "elsewhere")
    blob.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StorageError, match="cannot read"):
        get(store, tmp_path / "back")


def test_a_run_is_found_by_the_beginning_of_its_id(tmp_path: Path) -> None:
    store = archive(tmp_path / "archive", part("a", 0, 10))
    twin = dataclasses.replace(SUMMARY, id="0123456700000000", attempt=3)
    data = layout.compressed(layout.encode_index(RunIndex(summary=twin)))
    store.put_new(str(name_of(twin)), data, len(data.getbuffer()))
    assert list(find_runs(store, ["012345678"])) == [name_of(SUMMARY)]
    with pytest.raises(PipelineError, match="begins the ids of 2 runs"):
        list(find_runs(store, ["01234567"]))
    for text in ("012", "ffff"):
        with pytest.raises(PipelineError, match="there is no run"):
            list(find_runs(store, [text]))


def test_a_run_that_is_gone_is_told(tmp_path: Path) -> None:
    store = archive(tmp_path / "archive", part("a", 0, 10))
    gone = RunName(day=SUMMARY.day, name="nightly", leg="small", attempt=9, id="f" * 16)
    with pytest.raises(DataError, match="no longer there"):
        get_run(store, gone, tmp_path / "back", emit=silent)
