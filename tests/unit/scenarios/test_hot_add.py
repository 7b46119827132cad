"""A machine whose processors and memory come and go in memory, and worlds in which one thing is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lisa_ci.errors import MachineLostError, ProvisioningError
from lisa_ci.model import Case, Completed, Outcome, Result, Suite, Timeouts
from lisa_ci.scenarios import hot_add
from lisa_ci.scenarios.hot_add import HotAddScenario, Shape, read_shape

ALL = (
    *("processor-appears", "processor-online", "processor-works"),
    *("memory-appears", "memory-online", "memory-used", "memory-leaves", "processor-leaves", "load-goes-on"),
)


@dataclass
class World:
    """A group of one and its machine: two processors and eight blocks of 128 MiB. ``wrong`` is what is wrong."""

    wrong: str = ""
    now: float = 0.0
    processors: set[int] = field(default_factory=lambda: {0, 1})
    online: set[int] = field(default_factory=lambda: {0, 1})
    blocks: set[int] = field(default_factory=lambda: set(range(8)))
    used: set[int] = field(default_factory=lambda: set(range(8)))
    compared: int = 0
    is_loaded: bool = False
    name: str = "machine"
    role: str = "main"

    @property
    def members(self) -> Sequence[Any]:
        return (self,)

    def end_command(self) -> str:
        return ""

    def clock(self) -> float:
        return self.now

    def add_processor(self, machine: object) -> str:
        if self.wrong == "full":
            raise ProvisioningError("no room for a processor")
        self.processors |= {"no processor": set(), "two": {2, 3}}.get(self.wrong, {2})
        return "processor"

    def add_memory(self, machine: object, *, size_mib: int) -> str:
        self.blocks |= set() if self.wrong == "no memory" else {8, 9}
        return "memory"

    def removal_problem(self, machine: object, name: str) -> str:
        return "QEMU aborts" if self.wrong == "emulated" and name == "processor" else ""

    def remove_added(self, machine: object, name: str, *, timeout: timedelta) -> bool:
        if self.wrong == f"holds {name}":
            return False
        if self.wrong != f"keeps {name}":
            self.processors -= {2} if name == "processor" else set()
            self.blocks -= {8, 9} if name == "memory" else set()
        return True

    def run(self, *command: str, timeout: timedelta, stdin: bytes = b"") -> Completed:
        self.now += 1
        if self.wrong == "lost" and self.is_loaded:
            raise MachineLostError("its kernel panicked")
        match command:
            case ("sh", "-c", hot_add.STATE):
                return Completed(exit=0, output=self._state().encode())
            case ("sh", "-c", script, _, *words):
                return self._script(script, words)
            case _:
                assert command == ("sleep", "1")
        return Completed(exit=0)

    def _script(self, script: str, words: list[str]) -> Completed:
        """What the world's wrong says of it, and what it does."""
        told: dict[tuple[str, str], tuple[int, bytes]] = {
            (hot_add.CPU_ONLINE, "stays off"): (1, b"write error: Input/output error"),
            (hot_add.CPU_WORKS, "idle"): (1, b"ran on cpu0"),
            (hot_add.CPU_WORKS, "no taskset"): (77, b"there is no taskset here"),
            (hot_add.MEMORY_ONLINE, "dark"): (1, b"memory8 is offline"),
            (hot_add.MEMORY_USED, "bad"): (1, b"not what is read"),
            (hot_add.MEMORY_OFFLINE, "pinned"): (1, b"memory8 cannot be taken offline"),
        }
        code, said = told.get((script, self.wrong), (0, b""))
        match (script, *words):
            case (hot_add.CPU_ONLINE, "2"):
                self.online |= set() if code else {2}
            case (hot_add.MEMORY_ONLINE, "8", "9"):
                self.used |= {8, 9}
            case (hot_add.MEMORY_OFFLINE, _, "8", "9") if not code:
                self.used -= {8} if self.wrong == "half" else {8, 9}
            case (hot_add.LOAD | hot_add.STOP, _):
                self.is_loaded = script == hot_add.LOAD
            case (hot_add.PROGRESS, _):
                self.compared += self.wrong != "still"
                said = f"{self.compared}\n{'wanted found differ' if self.wrong == 'load' else ''}".encode()
            case _:
                assert words[0] in {"2", "900", "60"}
        return Completed(exit=code, output=said)

    def _state(self) -> str:
        listed = len(self.online) - (self.wrong == "unlisted" and 2 in self.online)
        kib = (len(self.used) - (self.wrong == "short" and 8 in self.used)) * (128 << 10)
        size = "40000000" if self.wrong == "large blocks" else "8000000"
        return (
            f"cpus={' '.join(map(str, sorted(self.processors)))}\nonline=0-{len(self.online) - 1}\nlisted={listed}\n"
            f"blocks={' '.join(map(str, sorted(self.blocks)))}\nblock_hex={size}\nmemory_kib={kib}\n"
            f"available_kib={900 << 10}\n"
        )


def run(world: Any, *ids: str) -> dict[str, Result]:
    suite = Suite(
        name="hot-add", folder="f", digest="d", cases=tuple(Case(suite="hot-add", id=name) for name in ids or ALL)
    )
    scenario = HotAddScenario(stopwatch=world.clock if isinstance(world, World) else lambda: 0.0)
    results = list(scenario.run(suite, world, timeouts=Timeouts(), emit=lambda _: None))
    assert sorted(result.case for result in results) == sorted(ids or ALL), "one result for each case"
    return {result.case: result for result in results}


def test_in_a_right_world_all_cases_pass_and_nothing_is_left() -> None:
    world = World()
    assert {(result.outcome, result.message) for result in run(world).values()} == {(Outcome.PASSED, "")}
    assert (world.processors, len(world.blocks), world.is_loaded) == ({0, 1}, 8, False)


@pytest.mark.parametrize(
    ("wrong", "failed", "message"),
    [
        ("no processor", "processor-appears", "0 processors appeared within 30 s"),
        ("two", "processor-appears", "2 processors appeared"),
        ("stays off", "processor-online", "cpu2 cannot be brought online: write error"),
        ("unlisted", "processor-online", "2 processors were online, now 3; /proc/cpuinfo lists 2"),
        ("idle", "processor-works", "ran on cpu0"),
        ("no memory", "memory-appears", "0 MiB of memory appeared within 30 s of 256 MiB"),
        ("dark", "memory-online", "memory8 is offline"),
        ("short", "memory-online", "MemTotal grew by 128 MiB, 256 MiB came online"),
        ("bad", "memory-used", "not what is read"),
        ("pinned", "memory-leaves", "memory8 cannot be taken offline"),
        ("holds memory", "memory-leaves", "does not let go of its new memory within 60 s"),
        ("keeps memory", "memory-leaves", "its blocks are still there"),
        ("half", "memory-leaves", "MemTotal has -128 MiB less than before"),
        ("holds processor", "processor-leaves", "does not let go of cpu2 within 60 s"),
        ("keeps processor", "processor-leaves", "cpu2 was taken away, and is still there"),
        ("load", "load-goes-on", "came back wrong: wanted found differ"),
        ("still", "load-goes-on", "writing stood still after 0"),
    ],
)
def test_each_wrong_world_fails_its_case_and_no_other(wrong: str, failed: str, message: str) -> None:
    results = run(World(wrong=wrong))
    assert message in results[failed].message
    assert {case for case, result in results.items() if result.outcome is Outcome.FAILED} == {failed}
    for result in results.values():
        assert result.outcome is not Outcome.ERRORED or result.message.startswith("not judged, ")


@pytest.mark.parametrize(
    ("wrong", "skipped", "message"),
    [
        ("emulated", "processor-leaves", "QEMU aborts"),
        ("no taskset", "processor-works", "there is no taskset here"),
        ("large blocks", "memory-appears", "takes memory in blocks of 1024 MiB"),
    ],
)
def test_what_cannot_be_asked_is_skipped_with_its_reason(wrong: str, skipped: str, message: str) -> None:
    result = run(World(wrong=wrong))[skipped]
    assert (result.outcome, message in result.message) == (Outcome.SKIPPED, True)


def test_a_platform_that_has_no_room_is_an_error_of_the_world() -> None:
    results = run(World(wrong="full"))
    assert results["processor-appears"].outcome is Outcome.ERRORED
    assert results["memory-used"].outcome is Outcome.PASSED


def test_machines_without_the_ability_are_an_error_of_the_world() -> None:
    class Plain:
        members = (object(),)

        def end_command(self) -> str:
            return ""

    assert {result.outcome for result in run(Plain()).values()} == {Outcome.ERRORED}


def test_a_machine_that_goes_away_is_lost() -> None:
    with pytest.raises(MachineLostError):
        run(World(wrong="lost"))


@given(st.text(max_size=200))
def test_any_text_is_a_shape(text: str) -> None:
    assert read_shape(text).memory_mib >= 0
    assert read_shape(f"online={text}\nblock_hex={text}").online >= 0


def test_what_is_no_number_counts_as_nothing() -> None:
    assert read_shape("cpus=0 x 1\nonline=0,3-4,-\nblock_hex=zz\nmemory_kib=-5") == Shape(processors=(0, 1), online=3)
