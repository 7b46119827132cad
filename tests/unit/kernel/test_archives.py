"""A delivery is read as a stream, and never writes anywhere but into its own folder."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import struct
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from lisa_ci.errors import PipelineError
from lisa_ci.kernel import archives
from lisa_ci.kernel.archives import is_archive, members, unpack

FILES = {"./boot/vmlinuz-1": b"kernel", "./lib/modules/1/kernel/a.ko": b"module" * 50_000, "./usr/share/doc/x": b"no"}
KEPT = {"boot/vmlinuz-1": b"kernel", "lib/modules/1/kernel/a.ko": b"module" * 50_000}


def tar(files: Mapping[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def ar(parts: Mapping[str, bytes]) -> bytes:
    out = b"!<arch>\n"
    for name, data in parts.items():
        out += f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(data):<10}`\n".encode() + data + b"\n" * (len(data) % 2)
    return out


def deb(files: Mapping[str, bytes], pack: Callable[[bytes], bytes] = lzma.compress, suffix: str = ".xz") -> bytes:
    control = gzip.compress(tar({"./control": b"Package: x\n"}))
    return ar({"debian-binary": b"2.0\n", "control.tar.gz": control, f"data.tar{suffix}": pack(tar(files))})


def cpio(files: Mapping[str, bytes]) -> bytes:
    out = b""
    for name, data in [*files.items(), ("TRAILER!!!", b"")]:
        fields = (1, 0o100644, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0)
        out += b"070701" + b"".join(b"%08x" % field for field in fields) + name.encode() + b"\0"
        out += bytes(-len(out) % 4) + data
        out += bytes(-len(out) % 4)
    return out


def rpm(files: Mapping[str, bytes], pack: Callable[[bytes], bytes] = lzma.compress) -> bytes:
    def header(store: bytes) -> bytes:
        return b"\x8e\xad\xe8\x01\0\0\0\0" + struct.pack(">II", 1, len(store)) + bytes(16) + store

    signature = header(b"sig")
    return (
        b"\xed\xab\xee\xdb" + bytes(92) + signature + bytes(-len(signature) % 8) + header(b"main") + pack(cpio(files))
    )


def zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(data)


def two_streams(data: bytes) -> bytes:
    return lzma.compress(data[:1000]) + lzma.compress(data[1000:])


FORMS = {
    "tar": tar(FILES),
    "tar.gz": gzip.compress(tar(FILES)),
    "tar.xz": lzma.compress(tar(FILES)),
    "tar.xz of two streams": two_streams(tar(FILES)),
    "tar.bz2": bz2.compress(tar(FILES)),
    "tar.zst": zstd(tar(FILES)),
    "deb with xz": deb(FILES),
    "deb with gzip": deb(FILES, gzip.compress, ".gz"),
    "deb with zstd": deb(FILES, zstd, ".zst"),
    "deb with nothing": deb(FILES, bytes, ""),
    "rpm with xz": rpm(FILES),
    "rpm with gzip": rpm(FILES, gzip.compress),
    "rpm with zstd": rpm(FILES, zstd),
}


def unpacked(data: bytes, folder: Path) -> dict[str, bytes]:
    (folder / "delivery").write_bytes(data)
    target = folder / "out"
    target.mkdir()
    unpack(folder / "delivery", target)
    return {path.relative_to(target).as_posix(): path.read_bytes() for path in target.rglob("*") if path.is_file()}


@pytest.mark.parametrize("form", FORMS)
def test_a_kernel_comes_out_of_every_form_and_nothing_else_does(form: str, tmp_path: Path) -> None:
    assert unpacked(FORMS[form], tmp_path) == KEPT
    assert is_archive(tmp_path / "delivery")


@pytest.mark.parametrize("make", [tar, deb, rpm])
@pytest.mark.parametrize("name", ["../vmlinuz", "boot/../../vmlinuz", "./boot/../vmlinuz"])
def test_a_name_that_leads_elsewhere_is_refused(
    make: Callable[[Mapping[str, bytes]], bytes], name: str, tmp_path: Path
) -> None:
    with pytest.raises(PipelineError, match="wants to lie elsewhere"):
        unpacked(make({name: b"x"}), tmp_path)
    assert not (tmp_path / "vmlinuz").exists()


def test_an_absolute_name_lies_below_the_folder_as_well(tmp_path: Path) -> None:
    assert unpacked(tar({"/boot/vmlinuz": b"x"}), tmp_path) == {"boot/vmlinuz": b"x"}


def test_links_and_devices_are_left_out(tmp_path: Path) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for kind, name in ((tarfile.SYMTYPE, "boot"), (tarfile.LNKTYPE, "vmlinuz-2"), (tarfile.CHRTYPE, "vmlinuz-3")):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc"
            archive.addfile(info)
        info = tarfile.TarInfo("boot/vmlinuz")
        info.size = 1
        archive.addfile(info, io.BytesIO(b"x"))
    assert unpacked(out.getvalue(), tmp_path) == {"boot/vmlinuz": b"x"}


def test_the_same_name_twice_is_refused(tmp_path: Path) -> None:
    twice = tar({"vmlinuz": b"x"})[:1024] + tar({"vmlinuz": b"y"})
    with pytest.raises(PipelineError, match="twice"):
        unpacked(twice, tmp_path)


def test_limits_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MAX_FILES", 2)
    with pytest.raises(PipelineError, match="more than 2 files"):
        unpacked(tar(FILES), tmp_path)
    monkeypatch.setattr(archives, "MAX_FILES", 100)
    monkeypatch.setattr(archives, "MAX_BYTES", 1000)
    (tmp_path / "more").mkdir()
    with pytest.raises(PipelineError, match="GiB of kernel"):
        unpacked(tar(FILES), tmp_path / "more")


def test_a_header_that_would_fill_memory_is_refused(tmp_path: Path) -> None:
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 1 << 40
    with pytest.raises(PipelineError, match=f"a header of {1 << 40} bytes"):
        unpacked(info.tobuf(tarfile.GNU_FORMAT), tmp_path)


@pytest.mark.parametrize("form", FORMS)
def test_a_delivery_that_is_cut_off_is_damaged(form: str, tmp_path: Path) -> None:
    for number, share in enumerate((0.3, 0.7)):
        (tmp_path / f"{number}").mkdir()
        whole = FORMS[form]
        with pytest.raises(PipelineError, match="cannot be unpacked"):
            unpacked(whole[: int(len(whole) * share)], tmp_path / f"{number}")


MAGICS = [b"!<arch>\n", b"\xed\xab\xee\xdb", b"\x1f\x8b", b"\xfd7zXZ\x00", b"BZh9", b"\x28\xb5\x2f\xfd", b"070701", b""]


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(MAGICS), st.binary(max_size=2000))
def test_bytes_of_any_kind_raise_only_what_is_told_as_damage(magic: bytes, rest: bytes) -> None:
    try:
        for member in members(io.BytesIO(magic + rest)):
            member.content.read(10)
    except archives._ERRORS:
        pass


@settings(max_examples=200, deadline=None)
@given(st.sampled_from([deb(FILES, bytes, ""), rpm(FILES, bytes), tar(FILES)]), st.data())
def test_a_delivery_with_bytes_changed_raises_only_what_is_told_as_damage(whole: bytes, data: st.DataObject) -> None:
    changed = bytearray(whole[:3000])
    for place in data.draw(st.lists(st.integers(0, len(changed) - 1), min_size=1, max_size=5)):
        changed[place] = data.draw(st.integers(0, 255))
    try:
        for member in members(io.BytesIO(bytes(changed))):
            member.content.read(10)
    except archives._ERRORS:
        pass
