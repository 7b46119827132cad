"""A machine whose disks leave and return in memory, and worlds in which one thing is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import PurePosixPath
from typing import Any

import pytest

from lisa_ci.errors import MachineLostError, ProvisioningError
from lisa_ci.events import Event, Message
from lisa_ci.files import shipped
from lisa_ci.model import Bus, Case, Completed, Outcome, Result, Suite, Timeouts
from lisa_ci.pipeline.known import Known
from lisa_ci.pipeline.suites import load_suite
from lisa_ci.scenarios import storage_hotplug
from lisa_ci.scenarios.storage_hotplug import DISK_MIB, StorageHotplugScenario

STEPS = ("comes", "leaves", "returns", "works")
ALL = tuple(f"{bus}-{step}" for bus in ("virtio", "nvme", "scsi") for step in STEPS)


@dataclass
class World:
    """A group of one and its machine. ``wrong`` is what is wrong with disks on the bus ``on``."""

    wrong: str = ""
    on: Bus = Bus.NVME
    bus: Bus = Bus.VIRTIO
    now: float = 0.0
    name: str = "machine"
    role: str = "main"
    inside: dict[str, bool] = field(default_factory=dict)
    returned: bool = False
    is_clean: bool = True

    @property
    def members(self) -> Sequence[Any]:
        return (self,)

    def end_command(self) -> str:
        return ""

    def clock(self) -> float:
        return self.now

    def _is(self, wrong: str) -> bool:
        return self.wrong == wrong and self.bus is self.on

    def plug_disk(self, machine: object, *, size_mib: int, bus: Bus) -> str:
        self.bus, self.returned = bus, False
        if self._is("no bus"):
            raise ProvisioningError("QEMU refuses device_add")
        self.inside[f"serial-{bus.value}"] = not self._is("never comes")
        return f"serial-{bus.value}"

    def pull_disk(self, machine: object, name: str, *, timeout: timedelta) -> bool:
        if self._is("holds on"):
            return False
        self.inside[name] = self._is("stays")
        return True

    def return_disk(self, machine: object, name: str) -> None:
        if self._is("refused back"):
            raise ProvisioningError("QEMU refuses it")
        self.returned, self.inside[name] = True, not self._is("stays away")

    def add_disk(self, machine: object, *, size_mib: int) -> str:
        raise AssertionError("not asked for")

    def add_nic(self, machine: object) -> str:
        raise AssertionError("not asked for")

    def remove_device(self, machine: object, name: str, *, timeout: timedelta) -> bool:
        if self._is("cannot be removed"):
            raise ProvisioningError("QEMU refuses device_del")
        del self.inside[name]
        return True

    def _watch(self, state: str, serial: str) -> Completed:
        is_there = self.inside.get(serial, False)
        if (state == "there") is not is_there:
            return Completed(exit=1)
        size = 1 if self._is("size") or (self.returned and self._is("size after")) else DISK_MIB * 2048
        bus = "sata" if self._is("bus") else self.bus.value
        return Completed(exit=0, output=f"disk {size} {bus}\n".encode() if is_there else b"")

    def run(self, *command: str, timeout: timedelta, stdin: bytes = b"") -> Completed:
        self.now += 1
        if self._is("lost"):
            raise MachineLostError("its kernel panicked")
        match command:
            case ("sh", "-c", storage_hotplug.WATCH, _, state, _, serial):
                return self._watch(state, serial)
            case ("sh", "-c", storage_hotplug.KEEP, _, _, "disk"):
                self.is_clean = False
                bad = self._is("takes nothing") or (self.returned and self._is("takes nothing after"))
                return Completed(exit=1, output=b"dd: Input/output error") if bad else Completed(exit=0)
            case ("sh", "-c", storage_hotplug.COMPARE, _, _, "disk"):
                return Completed(exit=1, output=b"kept found differ") if self._is("data") else Completed(exit=0)
            case ("sh", "-c", storage_hotplug.AWAIT, _, _, "count", _):
                return Completed(exit=1) if self._is("no writes") else Completed(exit=0, output=b"3\n")
            case ("sh", "-c", storage_hotplug.AWAIT, _, _, "ended", _):
                said = b"" if self._is("no error") else b"dd: error writing: Input/output error\n"
                return Completed(exit=1) if self._is("hangs") else Completed(exit=0, output=said)
            case ("sh", "-c", storage_hotplug.REMOVE, *_):
                self.is_clean = True
            case _:
                assert command[:3] == ("sh", "-c", storage_hotplug.WRITE)
        return Completed(exit=0)

    def put(self, source: object, target: PurePosixPath) -> None:
        raise AssertionError("the scenario copies nothing")


def run(world: Any, *ids: str, events: list[Event] | None = None) -> dict[str, Result]:
    told = [] if events is None else events
    stopwatch = world.clock if isinstance(world, World) else lambda: 0.0
    suite = Suite(name="s", folder="f", digest="d", cases=tuple(Case(suite="s", id=name) for name in ids or ALL))
    scenario = StorageHotplugScenario(stopwatch=stopwatch)
    results = list(scenario.run(suite, world, timeouts=Timeouts(), emit=told.append))
    assert sorted(result.case for result in results) == sorted(ids or ALL), "one result for each case"
    return {result.case: result for result in results}


def test_in_a_right_world_all_cases_pass_and_nothing_is_left() -> None:
    world = World()
    results = run(world)
    assert {result.outcome for result in results.values()} == {Outcome.PASSED}
    assert all(result.wall > timedelta() for result in results.values())
    assert not world.inside
    assert world.is_clean


@pytest.mark.parametrize(
    ("wrong", "step", "message"),
    [
        ("never comes", "comes", "is not there within 40 s"),
        ("size", "comes", "disk has 1 sectors, not 131072"),
        ("bus", "comes", "is on bus sata, not nvme"),
        ("takes nothing", "comes", "Input/output error"),
        ("no writes", "leaves", "was not written to within"),
        ("holds on", "leaves", "does not let go of serial-nvme"),
        ("stays", "leaves", "is still there for the machine"),
        ("hangs", "leaves", "still hangs after 60 s"),
        ("no error", "leaves", "ended without an error"),
        ("stays away", "returns", "is not there within 40 s"),
        ("size after", "returns", "disk has 1 sectors"),
        ("data", "returns", "kept found differ"),
        ("takes nothing after", "works", "Input/output error"),
    ],
)
def test_each_wrong_world_fails_its_step_and_leaves_other_buses_alone(wrong: str, step: str, message: str) -> None:
    world = World(wrong=wrong)
    results = run(world)
    assert results[f"nvme-{step}"].outcome is Outcome.FAILED
    assert message in results[f"nvme-{step}"].message
    behind = STEPS[STEPS.index(step) + 1 :]
    for other in behind:
        assert results[f"nvme-{other}"].outcome is Outcome.ERRORED
        assert f"'{step}' failed" in results[f"nvme-{other}"].message
    judged = {f"nvme-{other}" for other in (step, *behind)}
    assert {results[case].outcome for case in ALL if case not in judged} == {Outcome.PASSED}
    assert not world.inside, "a disk is taken back whatever happened"
    assert world.is_clean


@pytest.mark.parametrize(("wrong", "step"), [("no bus", "comes"), ("refused back", "returns")])
def test_what_the_platform_cannot_do_is_no_failure_of_the_image(wrong: str, step: str) -> None:
    results = run(World(wrong=wrong))
    assert results[f"nvme-{step}"].outcome is Outcome.ERRORED
    assert results["nvme-works"].outcome is Outcome.ERRORED
    assert results["scsi-works"].outcome is Outcome.PASSED


def test_a_disk_that_stays_plugged_in_is_told_of_and_costs_no_result() -> None:
    events: list[Event] = []
    results = run(World(wrong="cannot be removed"), events=events)
    assert {result.outcome for result in results.values()} == {Outcome.PASSED}
    assert [event.text for event in events if isinstance(event, Message) and "left plugged in" in event.text]


def test_a_machine_that_is_lost_ends_the_scenario() -> None:
    with pytest.raises(MachineLostError):
        run(World(wrong="lost"))


def test_a_part_of_the_cases_runs_the_steps_they_stand_on() -> None:
    assert run(World(wrong="holds on"), "nvme-works")["nvme-works"].outcome is Outcome.ERRORED
    assert run(World(), "scsi-returns")["scsi-returns"].outcome is Outcome.PASSED


def test_an_unknown_case_and_machines_without_the_ability_are_errors_not_passes() -> None:
    results = run(World(), "nvme-comes", "tape-comes")
    assert results["tape-comes"].outcome is Outcome.ERRORED
    assert results["nvme-comes"].outcome is Outcome.PASSED

    class Plain:
        members = ()

        def end_command(self) -> str:
            return ""

    assert {result.outcome for result in run(Plain()).values()} == {Outcome.ERRORED}


def test_the_bundled_suite_has_every_step_of_every_bus() -> None:
    known = Known(platforms=frozenset(), drivers=frozenset(), scenarios=frozenset({"storage-hotplug"}))
    suite = load_suite(shipped("suites") / "storage-hotplug", known)
    assert tuple(case.id for case in suite.cases or ()) == ALL
