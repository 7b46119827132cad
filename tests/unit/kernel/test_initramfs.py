from __future__ import annotations

import gzip
import io
import lzma
from pathlib import Path

import pytest
import zstandard

from lisa_ci.errors import PipelineError, ProvisioningError
from lisa_ci.kernel import initramfs
from lisa_ci.kernel.archives import _cpio
from lisa_ci.kernel.initramfs import Entry, Root, read_busybox, read_module, write_cpio, write_initramfs
from tests.unit.kernel.kernels import program


def files_of(archive: bytes) -> dict[str, bytes]:
    return {member.name: member.content.read(1 << 20) for member in _cpio(io.BytesIO(archive))}


def test_the_archive_is_read_back_and_the_same_each_time() -> None:
    entries = [
        Entry(name="a/b/c", data=b"12345"),
        Entry(name="a/d", data=b""),
        Entry(name="l", data=b"x", mode=0o120777),
    ]
    first, second = io.BytesIO(), io.BytesIO()
    write_cpio(first, entries)
    write_cpio(second, entries)
    assert first.getvalue() == second.getvalue()
    assert files_of(first.getvalue()) == {"a/b/c": b"12345", "a/d": b""}
    assert first.getvalue().count(b"a/b\0") == 1


def test_it_holds_what_finds_the_root_and_the_modules_in_their_order(tmp_path: Path) -> None:
    (tmp_path / "busybox").write_bytes(program())
    modules = []
    for name, data in (("virtio.ko", b"one"), ("ext4.ko.xz", lzma.compress(b"two"))):
        (tmp_path / name).write_bytes(data)
        modules.append(tmp_path / name)
    root = Root(slot=2, partition=3, kind="ext4", options="data=ordered", is_writable=False)
    write_initramfs(tmp_path / "out", tmp_path / "busybox", root, modules, modules_slot=30)
    found = files_of((tmp_path / "out").read_bytes())
    assert found["root"] == b"02\n3\next4\nro,data=ordered\n/sbin/init\n1e\n"
    assert found["load"] == b"000-virtio.ko\n001-ext4.ko\n"
    assert (found["modules/000-virtio.ko"], found["modules/001-ext4.ko"]) == (b"one", b"two")
    assert found["init"].startswith(b"#!/bin/sh\n")


@pytest.mark.parametrize(
    ("suffix", "pack"),
    [("", bytes), (".gz", gzip.compress), (".xz", lzma.compress), (".zst", zstandard.ZstdCompressor().compress)],
)
def test_a_module_is_unpacked(suffix: str, pack: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert callable(pack)
    path = tmp_path / f"a.ko{suffix}"
    path.write_bytes(pack(b"module" * 1000))
    assert read_module(path) == b"module" * 1000
    monkeypatch.setattr(initramfs, "MODULE_LIMIT", 5999)
    with pytest.raises(PipelineError, match="larger than"):
        read_module(path)


@pytest.mark.parametrize("suffix", [".gz", ".xz", ".zst"])
def test_a_module_that_is_damaged_is_told(suffix: str, tmp_path: Path) -> None:
    (tmp_path / f"a.ko{suffix}").write_bytes(b"no such thing")
    with pytest.raises(PipelineError, match="cannot be read"):
        read_module(tmp_path / f"a.ko{suffix}")


def test_a_busybox_that_needs_libraries_is_no_help(tmp_path: Path) -> None:
    path = tmp_path / "busybox"
    path.write_bytes(program(is_static=False))
    with pytest.raises(ProvisioningError, match="needs libraries") as raised:
        read_busybox(path)
    assert "busybox-static" in raised.value.hint
    path.write_bytes(b"#!/bin/sh\n")
    with pytest.raises(ProvisioningError, match="no 64-bit program"):
        read_busybox(path)
