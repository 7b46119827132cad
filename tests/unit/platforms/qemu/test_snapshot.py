"""The one snapshot of a machine, by QEMU's jobs."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from lisa_ci.errors import Loss, MachineLostError, ProvisioningError
from lisa_ci.model import Bus, Death, Disk, Firmware, Profile
from lisa_ci.platforms.qemu import storage
from lisa_ci.platforms.qemu.command_line import writable_nodes
from lisa_ci.platforms.qemu.snapshot import Snapshots, load_all, save_all

SOON = timedelta(seconds=10)
SMALL = Profile(name="small", memory_mib=64)


class Qmp:
    """A QEMU whose jobs end at once; ``errors`` are of the next ones."""

    def __init__(self) -> None:
        self.did: list[str] = []
        self.tags: set[str] = set()
        self.errors: list[str] = []
        self.blocked: list[str] = []
        self.status = "running"
        self.is_gone = False
        self._job: dict[str, Any] = {}

    def execute(self, command: str, arguments: Mapping[str, Any] | None = None) -> Any:
        if self.is_gone:
            raise MachineLostError("QEMU does not answer")
        match command:
            case "query-status":
                return {"status": self.status}
            case "query-migrate":
                return {"blocked-reasons": self.blocked} if self.blocked else {}
            case "query-jobs":
                return [self._job] if self._job else []
            case "job-dismiss":
                self._job = {}
            case "cont":
                assert self.status != "shutdown"
                self.status = "running"
            case "system_reset":
                self.status = "prelaunch"
            case _:
                self._start(command, arguments or {})
        if not command.startswith(("query", "job")):
            self.did.append(f"{command} {(arguments or {}).get('tag', '')}".strip())
        return {}

    def _start(self, command: str, arguments: Mapping[str, Any]) -> None:
        assert arguments["devices"] == ["root", "disk0"]
        self._job = {"id": arguments["job-id"], "status": "concluded"}
        if self.errors:
            self._job["error"] = self.errors.pop()
        elif command == "snapshot-save":
            assert arguments["tag"] not in self.tags, "QEMU takes no name twice"
            self.tags.add(arguments["tag"])
        elif command == "snapshot-delete":
            self.tags.remove(arguments["tag"])
        else:
            assert arguments["tag"] in self.tags


class Machine:
    name = "leg"

    def __init__(self) -> None:
        self.did: list[str] = []

    def close(self) -> None:
        self.did.append("close")

    def reconnect(self, *, timeout: timedelta) -> None:
        self.did.append("reconnect")


class Life:
    clock_off: float | None = 0.4

    def __init__(self) -> None:
        self.restores = 0

    def restored(self) -> None:
        self.restores += 1

    def death(self) -> Death:
        return Death(loss=Loss.DESTROYED, why="somebody on this host ended QEMU")


class Given:
    def __init__(self, folder: Path) -> None:
        self.qmp, self.machine, self.life = Qmp(), Machine(), Life()
        parts: Any = (self.qmp, self.life, self.machine)
        self.snapshots = Snapshots(*parts, SMALL, nodes=("root", "disk0"), folder=folder)


@pytest.fixture
def given(tmp_path: Path) -> Given:
    return Given(tmp_path)


def test_every_disk_that_is_written_is_part_of_it() -> None:
    profile = Profile(name="x", firmware=Firmware.UEFI, disks=(Disk(), Disk(bus=Bus.SCSI)))
    assert writable_nodes(profile) == ("root", "disk0", "disk1", "variables")
    assert writable_nodes(SMALL) == ("root",)


def test_a_snapshot_is_taken_without_a_connection_and_takes_the_place_of_the_earlier_one(given: Given) -> None:
    assert given.snapshots.problem() == ""
    for _ in range(3):
        given.snapshots.save()
        assert len(given.qmp.tags) == 1
    assert given.machine.did == ["close", "reconnect"] * 3


def test_what_qemu_cannot_keep_is_told_before_it_is_tried(given: Given) -> None:
    given.qmp.blocked = ["non-migratable device: 0000:00:08.0/nvme"]
    assert given.snapshots.problem() == "QEMU cannot keep the state of a non-migratable device: 0000:00:08.0/nvme"
    with pytest.raises(ProvisioningError, match="nvme"):
        given.snapshots.save()
    assert given.qmp.did == []


def test_what_the_job_answers_is_remembered_and_the_machine_goes_on(given: Given) -> None:
    given.snapshots.save()
    given.qmp.errors = ["State blocked by non-migratable device"]
    with pytest.raises(ProvisioningError, match="refuses snapshot-save: State blocked"):
        given.snapshots.save()
    assert "State blocked" in given.snapshots.problem()
    assert given.machine.did[-1] == "reconnect"
    given.snapshots.load(SOON)
    assert given.qmp.did[-1] == "snapshot-load lisa-ci-0", "the earlier one is still there"


def test_a_disk_without_room_for_the_memory_is_told_first(given: Given, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 300 << 20}))
    with pytest.raises(ProvisioningError, match="has 300 MiB left, the machine needs 320 MiB"):
        given.snapshots.save()
    assert given.machine.did == []
    assert given.snapshots.problem() == "", "another time there may be room"


def test_without_one_there_is_nothing_to_go_back_to(given: Given) -> None:
    with pytest.raises(ProvisioningError, match="no snapshot to go back to"):
        given.snapshots.load(SOON)


@pytest.mark.parametrize(
    ("status", "did"),
    [
        ("running", ["snapshot-load lisa-ci-0"]),
        ("paused", ["snapshot-load lisa-ci-0", "cont"]),
        ("io-error", ["snapshot-load lisa-ci-0", "cont"]),
        ("shutdown", ["system_reset", "snapshot-load lisa-ci-0", "cont"]),
        ("internal-error", ["system_reset", "snapshot-load lisa-ci-0", "cont"]),
    ],
)
def test_it_comes_back_from_whatever_state_it_is_in(given: Given, status: str, did: list[str]) -> None:
    given.snapshots.save()
    given.qmp.did.clear()
    given.machine.did.clear()
    given.qmp.status = status
    given.snapshots.load(SOON)
    assert given.qmp.did == did
    assert given.qmp.status == "running"
    assert (given.machine.did, given.life.restores) == (["close", "reconnect"], 1)


@pytest.mark.parametrize(("off", "said"), [(None, "does not tell its time"), (-7.0, "is 7 s off")])
def test_a_clock_that_cannot_be_set_is_an_error(given: Given, off: float | None, said: str) -> None:
    given.snapshots.save()
    given.life.clock_off = off
    with pytest.raises(ProvisioningError, match=said):
        given.snapshots.load(SOON)


def test_a_qemu_that_is_gone_took_it_along(given: Given) -> None:
    given.snapshots.save()
    given.qmp.is_gone = True
    with pytest.raises(ProvisioningError, match="went with its QEMU: somebody on this host ended QEMU") as refused:
        given.snapshots.load(SOON)
    assert refused.value.hint == "a fresh machine is needed"
    assert "QEMU does not answer" in given.snapshots.problem()


def test_machines_that_know_each_other_are_kept_as_of_one_moment(tmp_path: Path) -> None:
    one, other = Given(tmp_path), Given(tmp_path)
    parts = [one.snapshots, other.snapshots]
    history: list[str] = []
    for name, given in (("one", one), ("other", other)):
        _tell(given, name, history)
    save_all(parts)
    assert [line for line in history if "query" not in line] == [
        *("one close", "other close", "one stop", "other stop", "one snapshot-save", "other snapshot-save"),
        *("other cont", "one cont", "other reconnect", "one reconnect"),
    ], "none runs while another is kept"
    history.clear()
    load_all(parts, SOON)
    assert [line for line in history if "query" not in line] == [
        *("one close", "other close", "one stop", "other stop", "one snapshot-load", "other snapshot-load"),
        *("one cont", "other cont", "one reconnect", "other reconnect"),
    ], "none runs before the last is back"


def _tell(given: Given, name: str, history: list[str]) -> None:
    def told(command: str, arguments: Mapping[str, Any] | None = None, *, execute: Any = given.qmp.execute) -> Any:
        if command in {"stop", "cont", "snapshot-save", "snapshot-load"}:
            history.append(f"{name} {command}")
        if command == "stop":
            given.qmp.status = "paused"
            return {}
        return execute(command, arguments)

    given.qmp.execute = told  # type: ignore[method-assign]
    given.machine.close = lambda: history.append(f"{name} close")  # type: ignore[method-assign]
    given.machine.reconnect = lambda **_: history.append(f"{name} reconnect")  # type: ignore[method-assign]


def test_one_that_cannot_be_kept_leaves_all_with_their_earlier_state(tmp_path: Path) -> None:
    one, other = Given(tmp_path), Given(tmp_path)
    for given in (one, other):
        _tell(given, "machine", [])
    parts = [one.snapshots, other.snapshots]
    save_all(parts)
    other.qmp.errors = ["no space left"]
    with pytest.raises(ProvisioningError, match="no space left"):
        save_all(parts)
    assert (one.qmp.status, other.qmp.status) == ("running", "running")
    load_all(parts, SOON)
    assert one.qmp.tags == {"lisa-ci-0"}
    assert other.qmp.tags == {"lisa-ci-0"}
    save_all([one.snapshots])
    assert one.qmp.tags == {"lisa-ci-1"}, "what was kept in vain is no longer there"
