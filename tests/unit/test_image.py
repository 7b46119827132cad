from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lisa_ci import image
from lisa_ci.errors import PipelineError
from lisa_ci.events import Event, StageAdvanced, StageEnded, StageStarted
from lisa_ci.model import Image, ImageFormat, ImageSource

MIB = 1 << 20


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LISA_CI_CACHE", str(tmp_path / "cache"))


def qcow2(*, backing: int = 0, incompatible: int = 0, version: int = 3) -> bytes:
    head = struct.pack(">4sIQ", b"QFI\xfb", version, backing).ljust(72, b"\0") + struct.pack(">Q", incompatible)
    return head.ljust(4096, b"\0")


# ---- find it ----


def test_a_path_is_found_relative_to_the_pipeline_and_shown_relative_to_us(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "repo"
    folder.mkdir()
    (folder / "disk.img").write_bytes(b"x" * MIB)
    monkeypatch.chdir(tmp_path)
    found = image.resolve(ImageSource(path="disk.img"), folder)
    assert found.path == "repo/disk.img"
    assert found.format is ImageFormat.RAW
    assert (found.disk_digest, found.size_bytes) == (hashlib.sha256(b"x" * MIB).hexdigest(), MIB)
    assert image.local_path(found) == folder / "disk.img"
    monkeypatch.chdir(folder)
    assert image.resolve(ImageSource(path="disk.img"), folder).path == "disk.img"
    monkeypatch.chdir("/")
    (tmp_path / "else").mkdir()
    monkeypatch.chdir(tmp_path / "else")
    assert image.resolve(ImageSource(path="disk.img"), folder).path == str(folder / "disk.img")


@pytest.mark.parametrize("pattern", ["*.img", "out/**/*.img", "out/disk-[0-9].img"])
def test_a_pattern_that_matches_one_file_names_it(tmp_path: Path, pattern: str) -> None:
    (tmp_path / "out").mkdir()
    place = tmp_path / ("disk.img" if pattern == "*.img" else "out/disk-1.img")
    place.write_bytes(b"x")
    assert image.one_file(pattern, tmp_path) == place
    assert image.one_file(str(tmp_path / pattern), Path("/")) == place


def test_a_pattern_that_matches_none_or_many_is_told_with_the_names(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match="matches 0"):
        image.one_file("*.img", tmp_path)
    for number in range(12):
        (tmp_path / f"{number:02}.img").write_bytes(b"x")
    with pytest.raises(PipelineError, match=r"matches 12: .*00\.img.*09\.img and 2 more"):
        image.one_file("*.img", tmp_path)


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(tmp_path: Path) -> None:
    (tmp_path / "disk[1].img").write_bytes(b"x")
    assert image.one_file("disk[1].img", tmp_path) == tmp_path / "disk[1].img"


def test_what_is_not_a_regular_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    (tmp_path / "folder").mkdir()
    for name in ("pipe", "zero", "folder"):
        with pytest.raises(PipelineError, match="is not a regular file"):
            image.one_file(name, tmp_path)


@pytest.mark.parametrize("path", [None, "", "none.img", "a\0b", "**/" * 40 + "[", "x" * 300, "~nobody/x"])
def test_no_path_gives_a_traceback(tmp_path: Path, path: str | None) -> None:
    with pytest.raises(PipelineError):
        image.resolve(ImageSource(path=path), tmp_path)


@given(st.text(max_size=30))
def test_no_pattern_gives_a_traceback(text: str) -> None:
    try:
        found = image.one_file(f"no-such-folder/{text}*", Path("/nonexistent"))
    except PipelineError:
        return
    assert found.is_file()


def test_a_file_must_have_the_sha256_that_the_pipeline_names(tmp_path: Path) -> None:
    (tmp_path / "disk.img").write_bytes(b"x")
    right = hashlib.sha256(b"x").hexdigest()
    assert image.resolve(ImageSource(path="disk.img", sha256=right.upper()), tmp_path).format is ImageFormat.RAW
    with pytest.raises(PipelineError, match="does not have the sha256"):
        image.resolve(ImageSource(path="disk.img", sha256="0" * 64), tmp_path)


def test_a_url_without_a_sha256_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match="has no sha256"):
        image.resolve(ImageSource(url="https://example.org/disk.img"), tmp_path)


def test_a_format_that_the_file_does_not_have_is_refused(tmp_path: Path) -> None:
    (tmp_path / "disk.img").write_bytes(b"x" * 512)
    with pytest.raises(PipelineError, match="is raw, but the pipeline says qcow2") as caught:
        image.resolve(ImageSource(path="disk.img", format=ImageFormat.QCOW2), tmp_path)
    assert "format: raw" in caught.value.hint


def test_a_leg_refuses_an_image_that_is_gone_or_of_another_kind(tmp_path: Path) -> None:
    planned = Image(path=str(tmp_path / "disk"), format=ImageFormat.RAW, disk_digest="0" * 64, size_bytes=MIB)
    with pytest.raises(PipelineError, match="is not a file here"):
        image.local_path(planned)
    (tmp_path / "disk").write_bytes(qcow2())
    with pytest.raises(PipelineError, match="is no longer raw"):
        image.local_path(planned)


# ---- its container ----


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"x", ImageFormat.RAW),
        (bytes(510) + b"\x55\xaa" + bytes(4096), ImageFormat.RAW),
        (qcow2(), ImageFormat.QCOW2),
        (qcow2(version=2), ImageFormat.QCOW2),
        (b"vhdxfile".ljust(4096, b"\0"), ImageFormat.VHDX),
        (b"conectix".ljust(4096, b"\0"), ImageFormat.VHD),
        (bytes(4096) + b"conectix".ljust(512, b"\0"), ImageFormat.VHD),
        (struct.pack("<4sIIQ", b"KDMV", 3, 3, 2048).ljust(4096, b"\0"), ImageFormat.VMDK),
    ],
)
def test_the_container_is_told_by_its_magic_bytes(tmp_path: Path, content: bytes, expected: ImageFormat) -> None:
    (tmp_path / "image").write_bytes(content)
    assert image.detect_format(tmp_path / "image") is expected


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "is empty"),
        (b"\xfd7zXZ\x00rest", "is a xz file"),
        (b"\x1f\x8brest", "is a gzip file"),
        (b"\x28\xb5\x2f\xfdrest", "is a zstd file"),
        (qcow2(backing=1024), "has a backing file"),
        (qcow2(version=2, backing=1024), "has a backing file"),
        (qcow2(incompatible=4), "keeps its data in another file"),
        (b"QFI\xfb", "ends within its own header"),
        (b'# Disk DescriptorFile\nversion=1\nRW 8 FLAT "/etc/shadow" 0\n', "names other files"),
        (b'\n\n# Disk DescriptorFile\nRW 8 FLAT "/etc/shadow" 0\n', "names other files"),
        (struct.pack("<4sIIQ", b"KDMV", 3, 3, 0).ljust(4096, b"\0"), "is a VMDK descriptor"),
        (b"KDMV", "is a VMDK descriptor"),
        (b"COWD".ljust(512, b"\0"), "names other files"),
    ],
)
def test_what_is_no_disk_of_its_own_is_refused(tmp_path: Path, content: bytes, told: str) -> None:
    (tmp_path / "image").write_bytes(content)
    with pytest.raises(PipelineError, match=told):
        image.detect_format(tmp_path / "image")


@given(content=st.binary(max_size=2000))
def test_any_file_has_a_format_or_an_error(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any-file"
    path.write_bytes(content)
    with suppress(PipelineError):
        assert image.detect_format(path) in ImageFormat


# ---- its name ----


def digest_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@given(
    pieces=st.lists(st.tuples(st.integers(0, 40), st.binary(min_size=1, max_size=40)), max_size=4),
    size=st.integers(1, 3 * MIB),
)
def test_holes_are_hashed_as_the_zeros_the_machine_sees(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[tuple[int, bytes]], size: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "sparse"
    with path.open("wb") as file:
        for place, data in pieces:
            file.seek(place * 65_536)
            file.write(data)
        file.truncate(size)
    padded = -(-size // MIB) * MIB
    assert image.disk_digest(path, ImageFormat.RAW) == (digest_of(path.read_bytes().ljust(padded, b"\0")), padded)


def test_progress_is_told_and_the_stage_ends_on_every_way_out(tmp_path: Path) -> None:
    told: list[Event] = []
    (tmp_path / "disk").write_bytes(b"x")
    os.truncate(tmp_path / "disk", 200 * MIB)
    image.disk_digest(tmp_path / "disk", ImageFormat.RAW, told.append)
    assert isinstance(told[0], StageStarted)
    assert told[0].expected == 200 * MIB
    assert [event.done // (64 * MIB) for event in told if isinstance(event, StageAdvanced)] == [1, 2, 3]
    assert isinstance(told[-1], StageEnded)
    told.clear()
    with pytest.raises(PipelineError, match="gave 1 bytes of its 2"):
        image.digest_of_blocks([b"x"], 2, "disk", told.append)
    assert isinstance(told[-1], StageEnded)
    assert "it is damaged" in told[-1].error


def test_a_disk_beyond_all_measure_is_refused_at_once(tmp_path: Path) -> None:
    with (tmp_path / "disk").open("wb") as file:
        file.truncate(image.MAX_DISK_BYTES + 1)
    with pytest.raises(PipelineError, match="is a disk of"):
        image.disk_digest(tmp_path / "disk", ImageFormat.RAW)


def counting(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    calls = []
    real = image.disk_digest

    def count(*arguments: object, **options: object) -> tuple[str, int]:
        calls.append(1)
        return real(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(image, "disk_digest", count)
    return lambda: len(calls)


def test_a_file_that_did_not_change_is_read_once_and_a_changed_one_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = counting(monkeypatch)
    (tmp_path / "disk").write_bytes(b"x")
    first = image.resolve(ImageSource(path="disk"), tmp_path)
    assert image.resolve(ImageSource(path="disk"), tmp_path) == first
    assert read() == 1
    status = (tmp_path / "disk").stat()
    (tmp_path / "disk").write_bytes(b"y")
    os.utime(tmp_path / "disk", ns=(status.st_atime_ns, status.st_mtime_ns))
    assert image.resolve(ImageSource(path="disk"), tmp_path).disk_digest != first.disk_digest
    assert read() == 2


@pytest.mark.parametrize("content", [b"", b"null", b"{}", b'{"disk_digest": 5, "size_bytes": 1}', b"[" * 5000])
def test_a_spoilt_memory_of_digests_only_costs_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    read = counting(monkeypatch)
    (tmp_path / "disk").write_bytes(b"x")
    first = image.resolve(ImageSource(path="disk"), tmp_path)
    (memory,) = (tmp_path / "cache" / "digests").iterdir()
    memory.write_bytes(content)
    assert image.resolve(ImageSource(path="disk"), tmp_path) == first
    assert read() == 2


def test_a_cache_that_cannot_be_written_only_costs_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LISA_CI_CACHE", str(tmp_path / "file" / "cache"))
    (tmp_path / "disk").write_bytes(b"x")
    assert image.resolve(ImageSource(path="disk"), tmp_path).size_bytes == MIB


def test_the_cache_lies_where_the_user_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert image.cache_folder() == tmp_path / "cache"
    monkeypatch.delenv("LISA_CI_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert image.cache_folder() == Path("/x/lisa-ci")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/me")
    assert image.cache_folder() == Path("/home/me/.cache/lisa-ci")
