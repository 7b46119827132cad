"""What only a folder can meet: files in the way, killed writers, a prune beside a put."""

from __future__ import annotations

import io
import os
import threading
from pathlib import Path

import pytest

from lisa_ci.archive.folder_store import FolderStore
from lisa_ci.errors import DataError, PublishingError


def put(store: FolderStore, name: str) -> bool:
    return store.put_new(name, io.BytesIO(b"x"), 1)


@pytest.mark.parametrize("in_the_way", ["blobs", "blobs/ab"])
def test_a_file_in_the_way_is_an_error_and_not_a_blob_that_is_there(tmp_path: Path, in_the_way: str) -> None:
    (tmp_path / in_the_way).parent.mkdir(exist_ok=True)
    (tmp_path / in_the_way).write_text("mine")
    with pytest.raises(PublishingError, match="cannot write"):
        put(FolderStore(tmp_path), "blobs/ab/cd.gz")
    assert (tmp_path / in_the_way).read_text() == "mine"


def test_what_a_killed_writer_left_is_no_blob_and_goes_after_a_day(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    put(store, "blobs/ab/cd.gz")
    young, old = tmp_path / "blobs/ab/.part-young", tmp_path / "blobs/ab/.part-old"
    for part in (young, old):
        part.write_bytes(b"half")
    os.utime(old, (0, 0))
    assert list(store.names("blobs/")) == ["blobs/ab/cd.gz"]
    assert (young.exists(), old.exists()) == (True, False)


def test_links_and_foreign_names_are_not_listed(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "archive")
    (tmp_path / "archive").mkdir()
    put(store, "blobs/ab/cd.gz")
    (tmp_path / "archive/blobs/link").symlink_to("/etc")
    (tmp_path / "archive/blobs/README.TXT").write_text("x")
    (tmp_path / "archive/blobs/ab/ef.gz").symlink_to("/etc/passwd")
    assert [entry.name for entry in store.entries("blobs/")] == ["blobs/ab/cd.gz"]
    with pytest.raises(DataError, match="not a regular file"):
        list(store.read("blobs/ab") or ())


def test_puts_and_removals_of_neighbours_do_not_meet(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    failed: list[Exception] = []

    def work(number: int) -> None:
        try:
            for _ in range(60):
                name = f"blobs/ab/{number}.gz"
                assert put(store, name)
                entry = store.find(name)
                assert entry is not None
                assert store.remove(entry)
        except (AssertionError, PublishingError) as error:
            failed.append(error)

    workers = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert failed == []
