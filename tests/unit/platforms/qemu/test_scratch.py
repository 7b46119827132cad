from __future__ import annotations

import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from lisa_ci import files
from lisa_ci.errors import ProvisioningError
from lisa_ci.model import Lease
from lisa_ci.platforms.qemu import scratch
from lisa_ci.platforms.qemu.scratch import LEASE_FILE, ProcessName, Scratch, index_folder, is_alive, process_name

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
DEAD = ProcessName(pid=2**22 + 1, started=1, boot="")


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def make(folder: Path, *, keep: bool = False, until: timedelta = timedelta(hours=1)) -> Scratch:
    lease = Lease(
        owner="me", leg="small", attempt=1, delete_after=NOW + until, evidence=folder, scratch=folder / "s", keep=keep
    )
    return scratch.create(lease)


def rewrite(place: Scratch, **changes: object) -> None:
    lease = replace(place.lease, **changes)  # type: ignore[arg-type]
    (place.folder / LEASE_FILE).write_bytes(files.encode(lease))


def test_we_are_alive_and_a_reused_process_id_is_not_us() -> None:
    us = process_name(os.getpid())
    assert is_alive(us)
    assert not is_alive(replace(us, started=us.started + 1))
    assert not is_alive(replace(us, boot="another boot of the host"))
    assert not is_alive(DEAD)


def test_a_scratch_folder_is_private_and_can_be_found(tmp_path: Path) -> None:
    place = make(tmp_path)
    assert place.folder.stat().st_mode & 0o777 == 0o700
    assert place.link.readlink() == place.folder
    assert place.link.parent == index_folder()
    assert (place.folder / LEASE_FILE).is_file()


def test_what_is_in_use_is_left_alone_and_not_told(tmp_path: Path) -> None:
    place = make(tmp_path)
    assert scratch.sweep(NOW) == []
    assert place.folder.is_dir()


def test_what_a_dead_run_left_is_removed(tmp_path: Path) -> None:
    place = make(tmp_path)
    (place.folder / "root.qcow2").write_bytes(b"x")
    rewrite(place, owner_process=DEAD)
    [leftover] = scratch.sweep(NOW)
    assert leftover.is_removed
    assert leftover.owner == "me"
    assert not place.folder.exists()
    assert not place.link.is_symlink()
    assert scratch.sweep(NOW) == []


def test_what_outlived_its_lease_is_removed_whoever_lives(tmp_path: Path) -> None:
    place = make(tmp_path)
    assert [leftover.is_removed for leftover in scratch.sweep(NOW + timedelta(hours=2))] == [True]
    assert not place.folder.exists()


def test_a_kept_machine_is_told_and_left_until_its_time_is_over(tmp_path: Path) -> None:
    place = make(tmp_path, keep=True)
    rewrite(place, owner_process=DEAD, guard=process_name(os.getpid()))
    [leftover] = scratch.sweep(NOW)
    assert not leftover.is_removed
    assert "kept until 2026-11-24 13:00 UTC" in leftover.what
    assert place.folder.is_dir()


def test_a_kept_machine_whose_guard_died_is_removed(tmp_path: Path) -> None:
    place = make(tmp_path, keep=True)
    rewrite(place, owner_process=DEAD, guard=DEAD)
    assert [leftover.is_removed for leftover in scratch.sweep(NOW)] == [True]


def test_a_link_whose_folder_is_gone_goes_after_a_while(tmp_path: Path) -> None:
    place = make(tmp_path)
    (place.folder / LEASE_FILE).unlink()
    place.folder.rmdir()
    assert scratch.sweep(NOW) == []
    os.utime(place.link, (0, 0), follow_symlinks=False)
    assert [leftover.is_removed for leftover in scratch.sweep(NOW)] == [True]
    assert not place.link.is_symlink()


def test_half_a_lease_goes_with_its_folder(tmp_path: Path) -> None:
    """Of a run that was killed while it wrote the lease."""
    place = make(tmp_path)
    (place.folder / LEASE_FILE).rename(place.folder / f".{LEASE_FILE}.x1y2z3")
    os.utime(place.link, (0, 0), follow_symlinks=False)
    [leftover] = scratch.sweep(NOW)
    assert leftover.is_removed
    assert not place.folder.exists()
    assert not place.link.is_symlink()


def test_who_is_killed_while_it_removes_leaves_what_a_sweep_removes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = make(tmp_path)
    rewrite(place, owner_process=DEAD)
    for name in ("a", "b", "nvram"):
        (place.folder / name).mkdir()
        (place.folder / name / "file").touch()

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(scratch.shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            scratch.remove(place.folder, place.link)
    assert [leftover.is_removed for leftover in scratch.sweep(NOW)] == [True]
    assert not place.folder.exists()


def test_a_folder_that_cannot_be_removed_is_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = make(tmp_path)
    rewrite(place, owner_process=DEAD)
    with monkeypatch.context() as patch:
        patch.setattr(scratch.shutil, "rmtree", lambda *_, **__: None)
        assert [leftover.is_removed for leftover in scratch.sweep(NOW)] == [False]
    assert [leftover.is_removed for leftover in scratch.sweep(NOW)] == [True]


def test_a_folder_without_a_lease_of_ours_keeps_its_files(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "data").write_bytes(b"x")
    index_folder().mkdir(parents=True)
    link = index_folder() / "small-1"
    link.symlink_to(tmp_path / "theirs")
    os.utime(link, (0, 0), follow_symlinks=False)
    [leftover] = scratch.sweep(NOW)
    assert not leftover.is_removed
    assert (tmp_path / "theirs" / "data").is_file()


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", b"[1]", b'{"schema": 1, "owner": 3}'])
def test_a_damaged_lease_removes_nothing(tmp_path: Path, content: bytes) -> None:
    place = make(tmp_path)
    (place.folder / LEASE_FILE).write_bytes(content)
    os.utime(place.link, (0, 0), follow_symlinks=False)
    scratch.sweep(NOW)
    assert (place.folder / LEASE_FILE).is_file()


def test_one_machine_is_ended_by_its_name(tmp_path: Path) -> None:
    place, other = make(tmp_path, keep=True), make(tmp_path, keep=True)
    ended = scratch.end(place.id)
    assert ended
    assert ended.is_removed
    assert not place.folder.exists()
    assert other.folder.is_dir()


@pytest.mark.parametrize("name", ["", ".", "..", "../machines", "/etc", "unknown"])
def test_only_a_machines_name_is_a_name(tmp_path: Path, name: str) -> None:
    place = make(tmp_path)
    assert scratch.end(name) is None
    assert place.folder.is_dir()


def test_a_place_that_cannot_be_written_is_an_error_of_the_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    with pytest.raises(ProvisioningError, match="scratch folder"):
        make(tmp_path)
