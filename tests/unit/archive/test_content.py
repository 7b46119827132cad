"""A leg's folder as blobs: the same on every host, nothing followed, nothing secret."""

from __future__ import annotations

import hashlib
import os
import random
from pathlib import Path

import pytest

from lisa_ci.archive import content
from lisa_ci.archive.content import BlobContent, Collected, collect, packed
from lisa_ci.archive.layout import unpacked
from lisa_ci.errors import DataError, StorageError


def stored(blob: BlobContent) -> bytes:
    with packed(blob) as (data, size):
        raw = data.read()
        assert len(raw) == size
        return b"".join(unpacked([raw], blob.size_bytes, place="x"))


def rebuilt(found: Collected) -> dict[str, bytes]:
    blobs = {sha256: stored(blob) for sha256, blob in found.blobs.items()}
    for sha256, data in blobs.items():
        assert hashlib.sha256(data).hexdigest() == sha256
    return {file.path: blobs[file.blob][file.offset : file.offset + file.size_bytes] for file in found.files}


def test_small_files_share_a_blob_and_large_ones_have_their_own(tmp_path: Path) -> None:
    noise = random.Random(1)
    written = {f"cases/{n}.log": noise.randbytes(n) for n in range(300)}
    written["big"] = noise.randbytes(content.SMALL_BYTES)
    written["empty"] = b""
    for path, data in written.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(data)
    found = collect(tmp_path, {})
    assert len(found.blobs) == 2
    assert rebuilt(found) == written
    assert all(file.sha256 == hashlib.sha256(written[file.path]).hexdigest() for file in found.files)


def test_a_bundle_ends_when_it_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content, "BUNDLE_BYTES", 1000)
    for n in range(50):
        (tmp_path / f"{n:02}").write_bytes(bytes([n]) * 99)
    found = collect(tmp_path, {})
    assert [blob.size_bytes for blob in found.blobs.values()] == [11 * 99] * 4 + [6 * 99]
    assert rebuilt(found) == {f"{n:02}": bytes([n]) * 99 for n in range(50)}


def test_the_same_folder_gives_the_same_blobs_wherever_and_in_whatever_order_it_was_written(tmp_path: Path) -> None:
    names = [f"{n}.log" for n in range(40)]
    for place, order in (("one", names), ("two", names[::-1])):
        (tmp_path / place).mkdir()
        for name in order:
            (tmp_path / place / name).write_text(name * 20)
    one, two = collect(tmp_path / "one", {}), collect(tmp_path / "two", {})
    assert one.files == two.files
    assert one.blobs.keys() == two.blobs.keys()


def test_links_devices_and_odd_names_are_told_and_left_out(tmp_path: Path) -> None:
    leg = tmp_path / "leg"
    leg.mkdir()
    (tmp_path / "secret").write_text("of the host")
    (leg / "link").symlink_to(tmp_path / "secret")
    (leg / "folder").symlink_to(tmp_path)
    os.mkfifo(leg / "pipe")
    (leg / "a\nb").write_text("x")
    (leg / os.fsdecode(b"\xff")).write_text("x")
    (leg / "good").write_text("x")
    found = collect(leg, {})
    assert [file.path for file in found.files] == ["good"]
    told = {left.path: left.reason for left in found.not_archived}
    assert told == {
        "link": "a symbolic link",
        "folder": "a symbolic link",
        "pipe": "no regular file",
        "a?b": "a name that is not plain, printable text",
        "?": "a name that is not plain, printable text",
    }


def test_secrets_are_taken_out_and_counted_and_a_core_keeps_its_size(tmp_path: Path) -> None:
    secret = b"password=correct-horse-battery\n"
    (tmp_path / "log").write_bytes(b"a\n" + secret)
    (tmp_path / "core").write_bytes(b"\0\0" + secret)
    (tmp_path / "large").write_bytes(b"x\n" * content.SMALL_BYTES + secret)
    found = collect(tmp_path, {})
    assert {file.path: file.scrubbed for file in found.files} == {"log": 1, "core": 1, "large": 1}
    data = rebuilt(found)
    assert all(b"correct-horse" not in one for one in data.values())
    assert len(data["core"]) == 2 + len(secret)


def test_a_file_that_changes_meanwhile_is_told(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("one")
    (blob,) = collect(tmp_path, {}).blobs.values()
    (tmp_path / "log").write_text("two")
    with pytest.raises(DataError, match="changed while it was archived"):
        stored(blob)


def test_a_link_that_takes_a_files_place_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "leg").mkdir()
    (tmp_path / "leg/log").write_text("one")
    (blob,) = collect(tmp_path / "leg", {}).blobs.values()
    (tmp_path / "other").write_text("one")
    (tmp_path / "leg/log").unlink()
    (tmp_path / "leg/log").symlink_to(tmp_path / "other")
    with pytest.raises(StorageError, match="cannot read"):
        stored(blob)


def test_a_file_beyond_the_limit_is_told_before_it_is_read(tmp_path: Path) -> None:
    with (tmp_path / "core").open("wb") as file:
        file.truncate(content.FILE_LIMIT + 1)  # a hole
    assert [left.reason for left in collect(tmp_path, {}).not_archived] == ["it is larger than 16 GiB"]


def test_what_is_added_stands_among_the_files(tmp_path: Path) -> None:
    (tmp_path / "leg").mkdir()
    (tmp_path / "leg/run.json").write_text("{}")
    (tmp_path / "p").write_text("plan")
    assert rebuilt(collect(tmp_path / "leg", {"plan.json": tmp_path / "p"})) == {
        "run.json": b"{}",
        "plan.json": b"plan",
    }


def test_a_file_that_is_gone_by_then_is_told(tmp_path: Path) -> None:
    found = collect(tmp_path, {"gone": tmp_path / "gone"})
    assert [left.reason for left in found.not_archived] == ["it cannot be looked at: No such file or directory"]
