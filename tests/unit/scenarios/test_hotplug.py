"""A machine whose disks and NICs come and go in memory, and worlds in which one thing is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import PurePosixPath
from typing import Any

import pytest

from lisa_ci.errors import MachineLostError, ProvisioningError
from lisa_ci.events import Event
from lisa_ci.model import Case, Completed, Outcome, Result, Suite, Timeouts
from lisa_ci.scenarios import hotplug
from lisa_ci.scenarios.hotplug import DISK_MIB, HotplugScenario

ALL = ("disk-appears", "disk-keeps-data", "disk-leaves", "nic-appears", "nic-leaves", "load-goes-on", "repeat")


@dataclass
class World:
    """A group of one and its machine. ``wrong`` is what is wrong from ``from_round`` on."""

    wrong: str = ""
    from_round: int = 1
    round: int = 0
    now: float = 0.0
    compared: int = 0
    name: str = "machine"
    role: str = "main"
    plugged: dict[str, str] = field(default_factory=dict)
    is_loaded: bool = False

    @property
    def members(self) -> Sequence[Any]:
        return (self,)

    def end_command(self) -> str:
        return ""

    def clock(self) -> float:
        return self.now

    def _is(self, wrong: str) -> bool:
        return self.wrong == wrong and self.round >= self.from_round

    def add_disk(self, machine: object, *, size_mib: int) -> str:
        self.round += 1
        if self._is("refused"):
            raise ProvisioningError("QEMU refuses device_add")
        self.plugged["serial"] = f"vdb {(1 if self._is('size') else size_mib) * 2048}"
        return "serial"

    def add_nic(self, machine: object) -> str:
        self.plugged["address"] = "eth1 down"
        return "address"

    def remove_device(self, machine: object, name: str, *, timeout: timedelta) -> bool:
        if self._is(f"holds {name}"):
            return False
        if not self._is(f"keeps {name}"):
            del self.plugged[name]
        return True

    def run(self, *command: str, timeout: timedelta, stdin: bytes = b"") -> Completed:
        self.now += 1
        if self._is("lost"):
            raise MachineLostError("its kernel panicked")
        match command:
            case ("sh", "-c", hotplug.WATCH, _, state, _, name):
                is_there = name in self.plugged and not self._is(f"blind {name}")
                if (state == "there") is not is_there:
                    return Completed(exit=1)
                return Completed(exit=0, output=f"{self.plugged[name] if is_there else '- '}\n".encode())
            case ("sh", "-c", hotplug.VERIFY, _, "vdb"):
                return Completed(exit=1, output=b"differ: byte 513") if self._is("data") else Completed(exit=0)
            case ("sh", "-c", hotplug.LOAD, *_):
                self.is_loaded = True
            case ("sh", "-c", hotplug.STOP, *_):
                self.is_loaded = False
            case ("sh", "-c", hotplug.PROGRESS, *_):
                self.compared += not self._is("still")
                said = "wanted found differ" if self._is("load") else ""
                return Completed(exit=0, output=f"{self.compared}\n{said}\n".encode())
            case ("sh", "-c", hotplug.BRING_UP, _, "address"):
                return Completed(exit=2, output=b"no such device") if self._is("down") else Completed(exit=0)
            case _:
                assert command == ("sleep", "1")
        return Completed(exit=0)

    def put(self, source: object, target: PurePosixPath) -> None:
        raise AssertionError("the scenario copies nothing")


def suite_of(*ids: str) -> Suite:
    return Suite(name="hotplug", folder="f", digest="d", cases=tuple(Case(suite="hotplug", id=name) for name in ids))


def run(world: Any, *ids: str) -> dict[str, Result]:
    events: list[Event] = []
    stopwatch = world.clock if isinstance(world, World) else lambda: 0.0
    scenario = HotplugScenario(stopwatch=stopwatch)
    results = list(scenario.run(suite_of(*(ids or ALL)), world, timeouts=Timeouts(), emit=events.append))
    assert sorted(result.case for result in results) == sorted(ids or ALL), "one result for each case"
    return {result.case: result for result in results}


def test_in_a_right_world_all_cases_pass_and_nothing_is_left() -> None:
    world = World()
    assert {result.outcome for result in run(world).values()} == {Outcome.PASSED}
    assert world.round == 3
    assert not world.plugged
    assert not world.is_loaded


@pytest.mark.parametrize(
    ("wrong", "failed", "message", "unjudged"),
    [
        ("blind serial", "disk-appears", "serial is not there within 30 s", {"disk-keeps-data"}),
        ("size", "disk-appears", f"vdb has 2048 sectors, not {DISK_MIB * 2048}", {"disk-keeps-data"}),
        ("data", "disk-keeps-data", "vdb: differ: byte 513", set()),
        ("holds serial", "disk-leaves", "does not let go of serial within 30 s", set()),
        ("keeps serial", "disk-leaves", "serial was taken out, and is still there", set()),
        ("blind address", "nic-appears", "address is not there within 30 s", set()),
        ("down", "nic-appears", "eth1 cannot be brought up: no such device", set()),
        ("holds address", "nic-leaves", "does not let go of address", set()),
        ("keeps address", "nic-leaves", "address was taken out, and is still there", set()),
        ("load", "load-goes-on", "came back wrong: wanted found differ", set()),
        ("still", "load-goes-on", "writing stood still after 0", set()),
    ],
)
def test_each_wrong_world_fails_its_case_and_no_other(
    wrong: str, failed: str, message: str, unjudged: set[str]
) -> None:
    results = run(World(wrong=wrong), *(case for case in ALL if case != "repeat"))
    assert message in results[failed].message
    assert {case for case, result in results.items() if result.outcome is Outcome.FAILED} == {failed}
    assert {case for case, result in results.items() if result.outcome is Outcome.ERRORED} == unjudged


@pytest.mark.parametrize("wrong", ["blind serial", "data", "holds serial", "keeps address", "down"])
def test_what_fails_only_in_a_later_round_fails_repeat(wrong: str) -> None:
    results = run(World(wrong=wrong, from_round=3))
    assert [case for case, result in results.items() if result.outcome is not Outcome.PASSED] == ["repeat"]
    assert results["repeat"].outcome is Outcome.FAILED
    assert results["repeat"].message.startswith("round 3, ")


def test_a_platform_that_refuses_judges_no_image() -> None:
    results = run(World(wrong="refused"))
    for case in ("disk-appears", "disk-keeps-data", "disk-leaves", "repeat"):
        assert results[case].outcome is Outcome.ERRORED, case
    assert "QEMU refuses device_add" in results["disk-appears"].message
    assert results["nic-appears"].outcome is Outcome.PASSED


def test_a_machine_that_dies_of_it_is_lost_for_the_leg_to_judge() -> None:
    with pytest.raises(MachineLostError, match="panicked"):
        run(World(wrong="lost"))


def test_a_suite_may_have_some_of_the_cases_and_no_others() -> None:
    world = World()
    assert run(world, "load-goes-on")["load-goes-on"].outcome is Outcome.PASSED
    assert world.round == 1
    results = run(World(), "disk-appears", "made-up")
    assert results["disk-appears"].outcome is Outcome.PASSED
    assert results["made-up"].outcome is Outcome.ERRORED
    assert "no case 'made-up', only disk-appears" in results["made-up"].message


def test_machines_without_the_ability_are_told_of() -> None:
    class Plain:
        members = (World(),)

        def end_command(self) -> str:
            return ""

    results = run(Plain())
    assert {result.outcome for result in results.values()} == {Outcome.ERRORED}
    assert "take no hardware" in results["repeat"].message
