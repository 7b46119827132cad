"""The index lists every file of a leg, follows nothing out of it, and finds what changed."""

from __future__ import annotations

import hashlib
import os
import socket
from pathlib import Path

import pytest

from lisa_ci import files
from lisa_ci.errors import DataError, LisaCiError
from lisa_ci.execution import index as indexing
from lisa_ci.execution.index import Index, IndexedFile, differences, read, write
from lisa_ci.files import LegFolder

FILES = {
    "run.json": ("run", "application/json"),
    "inventory.json": ("inventory", "application/json"),
    "journal.ndjson": ("results", "application/x-ndjson"),
    "junit.xml": ("junit", "application/xml"),
    "console.log": ("console", "text/plain; charset=utf-8"),
    "lisa-ci.log": ("log", "text/plain; charset=utf-8"),
    "cases/boot/systemd.log": ("case-log", "text/plain; charset=utf-8"),
    "telemetry/samples.ndjson": ("samples", "application/x-ndjson"),
    "telemetry/summary.json": ("samples-summary", "application/json"),
    "telemetry/dmesg.txt": ("telemetry", "text/plain; charset=utf-8"),
    "telemetry/failure-1/core": ("telemetry", "application/octet-stream"),
    "qemu.args": ("other", "application/octet-stream"),
}


@pytest.fixture
def leg(tmp_path: Path) -> LegFolder:
    folder = LegFolder(tmp_path / "leg")
    for name in FILES:
        path = folder.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return folder


def test_every_file_is_listed_with_what_it_is(leg: LegFolder) -> None:
    index = write(leg)
    assert {entry.path: (entry.kind, entry.media_type) for entry in index.files} == FILES
    entry = next(entry for entry in index.files if entry.path == "console.log")
    assert (entry.size_bytes, entry.sha256) == (11, hashlib.sha256(b"console.log").hexdigest())
    assert [entry.path for entry in index.files] == sorted(FILES)
    assert index.left_out == ()
    assert read(leg) == index
    assert differences(leg) == []


def test_writing_it_again_gives_the_same_bytes(leg: LegFolder) -> None:
    write(leg)
    before = (leg.root / "index.json").read_bytes()
    write(leg)
    assert (leg.root / "index.json").read_bytes() == before


def test_nothing_that_leads_out_of_the_folder_is_listed(leg: LegFolder, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret")
    (leg.root / "file-link").symlink_to(outside / "secret")
    (leg.root / "folder-link").symlink_to(outside)
    (leg.root / "dangling").symlink_to("nowhere")
    (leg.root / "loop").symlink_to(".")
    os.mkfifo(leg.root / "pipe")
    index = write(leg)
    assert {entry.path for entry in index.files} == set(FILES)
    assert {(one.path, one.reason) for one in index.left_out} == {
        ("file-link", "a symbolic link"),
        ("folder-link", "a symbolic link"),
        ("dangling", "a symbolic link"),
        ("loop", "a symbolic link"),
        ("pipe", "no regular file"),
    }


def test_names_that_are_no_plain_text_are_left_out_and_shown_safely(leg: LegFolder) -> None:
    for name in (b"a\nb", b"\x1b[2J", b"\xff\xfe", "\u202eevil".encode()):
        (Path(os.fsdecode(os.fsencode(leg.root) + b"/" + name))).write_bytes(b"x")
    index = write(leg)
    assert {entry.path for entry in index.files} == set(FILES)
    assert sorted(one.path for one in index.left_out) == ["??", "?[2J", "?evil", "a?b"]
    assert all(one.path.isprintable() for one in index.left_out)
    assert read(leg) == index


def test_a_folder_without_bottom_and_files_without_number_are_bounded(
    leg: LegFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = leg.root / "/".join("d" * 20)
    deep.mkdir(parents=True)
    (deep / "file").write_bytes(b"x")
    monkeypatch.setattr(indexing, "_MOST", 3)
    index = write(leg)
    assert len(index.files) == 3
    assert {one.reason for one in index.left_out} == {"too many files", "a folder too deep"}


def test_what_changed_since_is_found(leg: LegFolder) -> None:
    write(leg)
    (leg.root / "console.log").write_bytes(b"other")
    (leg.root / "junit.xml").unlink()
    (leg.root / "run.json").unlink()
    (leg.root / "run.json").symlink_to("inventory.json")
    (leg.root / "new").write_bytes(b"")
    assert sorted(differences(leg)) == [
        "'console.log' has changed",
        "'junit.xml' is missing",
        "'new' is not in the index",
        "'run.json' is missing",
    ]


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a/../../x", "", "a//b", "./a", "a\nb"])
def test_an_index_that_leads_out_of_the_folder_is_refused(leg: LegFolder, path: str) -> None:
    entry = IndexedFile(path=path, kind="other", media_type="x", size_bytes=0, sha256="")
    (leg.root / "index.json").write_bytes(files.encode(Index(files=(entry,))))
    with pytest.raises(DataError, match="lists"):
        read(leg)


def test_an_index_that_lists_a_file_twice_is_refused(leg: LegFolder) -> None:
    entry = IndexedFile(path="a", kind="other", media_type="x", size_bytes=0, sha256="")
    (leg.root / "index.json").write_bytes(files.encode(Index(files=(entry, entry))))
    with pytest.raises(DataError, match="lists a file twice"):
        read(leg)


def test_a_missing_folder_is_our_error(tmp_path: Path) -> None:
    with pytest.raises(LisaCiError, match="cannot read"):
        write(LegFolder(tmp_path / "none"))


def test_a_socket_is_left_out(leg: LegFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(leg.root)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket")
        assert [one.path for one in write(leg).left_out] == ["socket"]
