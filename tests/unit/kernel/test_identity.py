from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lisa_ci.errors import PipelineError
from lisa_ci.kernel.identity import Identity, build_id, read_build_id, read_image
from tests.unit.kernel.kernels import RELEASE, bzimage, elf, note

ID = bytes(range(20))
NOTES = note(0x100, b"Linux", b"LINUX_ELFNOTE_BUILD_SALT") + note(3, b"GNU", ID) + note(6, b"Xen", b"linux")


def test_an_image_says_what_uname_will_print(tmp_path: Path) -> None:
    (tmp_path / "bzImage").write_bytes(bzimage())
    assert read_image(tmp_path / "bzImage") == Identity(
        release=RELEASE, version="#7 SMP PREEMPT_DYNAMIC Fri Jan  2 03:04:05 UTC 2026"
    )


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "no x86 kernel that can be booted"),
        (b"\x7fELF" + bytes(5000), "no x86 kernel that can be booted"),
        (bzimage("../../x"), "says no release"),
        (bzimage(""), "says no release"),
    ],
)
def test_what_cannot_be_booted_is_told(data: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "image").write_bytes(data)
    with pytest.raises(PipelineError, match=message):
        read_image(tmp_path / "image")


def test_the_build_id_is_found_among_other_notes(tmp_path: Path) -> None:
    assert build_id(NOTES) == ID.hex()
    (tmp_path / "vmlinux").write_bytes(elf(NOTES))
    assert read_build_id(tmp_path / "vmlinux") == ID.hex()
    (tmp_path / "vmlinux").write_bytes(elf(NOTES, kind=1))
    assert read_build_id(tmp_path / "vmlinux") == ""


def test_a_file_that_is_no_elf_is_told(tmp_path: Path) -> None:
    (tmp_path / "vmlinux").write_bytes(bzimage())
    with pytest.raises(PipelineError, match="no 64-bit ELF file"):
        read_build_id(tmp_path / "vmlinux")


@given(st.binary(max_size=200))
def test_any_notes_have_a_build_id_or_none(data: bytes) -> None:
    assert set(build_id(data)) <= set("0123456789abcdef")
