"""A machine that crashes in memory, and worlds in which one thing is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from lisa_ci.errors import Loss, MachineLostError, ProvisioningError
from lisa_ci.execution import losses
from lisa_ci.files import shipped
from lisa_ci.model import Case, Category, Completed, Finding, Outcome, Result, Suite, Timeouts
from lisa_ci.pipeline.known import Known
from lisa_ci.pipeline.suites import load_suite
from lisa_ci.scenarios import kdump
from lisa_ci.scenarios.kdump import KdumpScenario
from tests.unit.scenarios.test_vmcore import flattened, note
from tests.unit.scenarios.test_vmcore import kdump as vmcore

RELEASE = "6.1.0-56-cloud-amd64"
WORDS = "lisa-ci-kdump word"
DUMP = "/var/crash/1/dump.1"


@dataclass
class World:
    """A group of one and its machine. ``wrong`` is what is wrong."""

    wrong: str = ""
    now: float = 0.0
    crashed: bool = False
    boots: int = 1
    tries: int = 0
    logins: int = 0
    removed: list[str] = field(default_factory=list)
    name: str = "machine"
    role: str = "main"

    @property
    def members(self) -> Sequence[Any]:
        return (self,)

    def end_command(self) -> str:
        return ""

    def clock(self) -> float:
        return self.now

    def reconnect(self, *, timeout: timedelta) -> None:
        self.now += 20
        self.logins += 1
        if not self.crashed:
            return
        self.tries += 1
        if self.wrong == "dead" or (self.wrong == "late" and self.tries < 3):
            raise ProvisioningError("no login within 300 s")
        self.boots = 1 if self.wrong == "same boot" else 2

    def run(self, *command: str, timeout: timedelta, stdin: bytes = b"") -> Completed:
        self.now += 1
        match command:
            case ("sh", "-c", kdump.STATE):
                return self._state()
            case ("sh", "-c", kdump.WAIT, *_):
                late = self.wrong == "unloaded again" and self.crashed
                return Completed(exit=1 if self.wrong == "unloaded" or late else 0)
            case ("cat", "/sys/kernel/notes"):
                return Completed(exit=0, output=note(b"GNU", 3, b"\x00\xff"))
            case ("sh", "-c", kdump.CRASH, _, words):
                assert words == WORDS
                assert self.logins == 1, "the platform has to know of the crash kernel"
                if self.wrong == "immortal":
                    return Completed(exit=1, output=b"sh: write error")
                self.crashed = True
                raise MachineLostError("its kernel panicked", loss=Loss.PANIC)
            case ("sh", "-c", kdump.FIND):
                return Completed(exit=0, output=self._found().encode())
            case ("head", "-c", _, path):
                assert path == DUMP
                return Completed(exit=0, output=self._vmcore())
            case ("sh", "-c", kdump.LAST_WORDS, _, path, words):
                assert (path, words) == (DUMP, WORDS)
                return self._last_words()
            case ("sh", "-c", kdump.CLEAN, _, *files):
                self.removed += files
            case _:
                assert command == ("sleep", "1")
        return Completed(exit=0)

    def _state(self) -> Completed:
        reserved = {"no kexec": "", "unreserved": "0"}.get(self.wrong, "167772160")
        in_crash_kernel = self.crashed and self.wrong == "stays"
        told = f"boot={self.boots}\nreserved={reserved}\nloaded=1\nrelease={RELEASE}\n"
        told += f"crashed={'yes' if in_crash_kernel else 'no'}\nnow=1795876700\n"
        return Completed(exit=0, output=told.encode())

    def _found(self) -> str:
        match self.wrong:
            case "nothing":
                return ""
            case "only a log":
                return "90000 /var/crash/1/dmesg.1\n"
            case "incomplete":
                return "9000000 /var/crash/1/dump-incomplete\n"
            case "small":
                return f"4096 {DUMP}\n"
        return f"40000000 {DUMP}\n90000 /var/crash/1/dmesg.1\n"

    def _vmcore(self) -> bytes:
        told = f"OSRELEASE={RELEASE}\nBUILD-ID=00ff\nCRASHTIME=1795876800\n"
        changed = {"other release": ("6.1", "5.10"), "other build": ("00ff", "ffff"), "old": ("=17", "=16")}
        told = told.replace(*changed.get(self.wrong, ("", "")))
        return b"\x1f\x8b\x08" if self.wrong == "packed" else flattened(vmcore(told.encode()))

    def _last_words(self) -> Completed:
        if self.wrong == "no tool":
            return Completed(exit=3, output=b"no log is beside it")
        if self.wrong == "unreadable":
            return Completed(exit=4, output=b"makedumpfile cannot take the log out")
        words = "" if self.wrong == "mute" else f"[1.0] {WORDS}\n"
        return Completed(
            exit=0, output=f"{words}{'' if self.wrong == 'cut' else '[1.1] sysrq: Trigger a crash'}".encode()
        )


KNOWN = Known(platforms=frozenset(), drivers=frozenset(), scenarios=frozenset({"kdump"}))
CASES = load_suite(shipped("suites") / "kdump", KNOWN).cases or ()
ALL = tuple(case.id for case in CASES)


def run(world: World, *ids: str) -> dict[str, Result]:
    cases = tuple(Case(suite="kdump", id=name) for name in ids or ALL)
    suite = Suite(name="kdump", folder=str(Path("f")), digest="d", cases=cases)
    scenario = KdumpScenario(stopwatch=world.clock, token=lambda: "word")
    timeouts = Timeouts(boot=timedelta(seconds=60))
    results = list(scenario.run(suite, world, timeouts=timeouts, emit=lambda _: None))  # type: ignore[arg-type]
    assert sorted(result.case for result in results) == sorted(ids or ALL), "one result for each case"
    return {result.case: result for result in results}


@pytest.mark.parametrize("wrong", ["", "late"])
def test_in_a_right_world_all_cases_pass_and_the_files_are_taken_away(wrong: str) -> None:
    world = World(wrong=wrong)
    results = run(world)
    assert {(result.outcome, result.message) for result in results.values()} == {(Outcome.PASSED, "")}
    assert "form='flattened kdump'" in results["right-kernel"].detail
    assert "sysrq: Trigger a crash" in results["last-words"].detail
    assert world.removed == [DUMP, "/var/crash/1/dmesg.1"]


@pytest.mark.parametrize(
    ("wrong", "failed", "message"),
    [
        ("no kexec", "memory-reserved", "knows no crash kernel"),
        ("unreserved", "memory-reserved", "no memory is set aside"),
        ("unloaded", "kernel-loaded", "no crash kernel is loaded within 180 s"),
        ("immortal", "comes-back", "was told to crash and goes on: sh: write error"),
        ("dead", "comes-back", "did not come back within 120 s of the crash: no login"),
        ("stays", "comes-back", "it stays in its crash kernel"),
        ("same boot", "comes-back", "it is in the same boot"),
        ("nothing", "memory-saved", "saved no vmcore; in /var/crash is nothing new"),
        ("only a log", "memory-saved", "in /var/crash is /var/crash/1/dmesg.1"),
        ("incomplete", "memory-saved", "dump-incomplete was not finished"),
        ("small", "memory-saved", "has only 4096 bytes"),
        ("packed", "right-kernel", "is no vmcore: it begins with"),
        ("other release", "right-kernel", f"is of the kernel '5.10.0-56-cloud-amd64', {RELEASE} crashed"),
        ("other build", "right-kernel", "has the build id ffff, the kernel that crashed has 00ff"),
        ("old", "right-kernel", "is of an earlier crash"),
        ("unreadable", "last-words", "makedumpfile cannot take the log out"),
        ("mute", "last-words", "a moment before the crash is not in the saved log"),
        ("cut", "last-words", "the saved log ends before the crash"),
        ("unloaded again", "ready-again", "within 180 s after the crash"),
    ],
)
def test_each_wrong_world_fails_its_case_and_no_other(wrong: str, failed: str, message: str) -> None:
    world = World(wrong=wrong)
    results = run(world)
    assert message in results[failed].message
    assert {case for case, result in results.items() if result.outcome is Outcome.FAILED} == {failed}
    for result in results.values():
        assert result.outcome is not Outcome.ERRORED or result.message.startswith("not judged, ")
    assert not world.removed, "what a failed case is about stays as evidence"


def test_a_log_that_nothing_here_can_read_is_an_error_of_the_world() -> None:
    result = run(World(wrong="no tool"))["last-words"]
    assert (result.outcome, result.message) == (Outcome.ERRORED, "no log is beside it")


def test_a_part_of_the_cases_goes_the_same_way() -> None:
    assert run(World(), "last-words")["last-words"].outcome is Outcome.PASSED
    assert run(World(wrong="unloaded"), "last-words")["last-words"].message.startswith("not judged, memory-saved")
    world = World()
    assert run(world, "memory-reserved")["memory-reserved"].outcome is Outcome.PASSED
    assert not world.crashed, "nothing crashes that no case asks for"


def test_the_panic_that_the_scenario_makes_is_no_fault_of_the_case_that_comes_back_from_it() -> None:
    panic = Finding(category=Category.PANIC, title="Kernel panic: sysrq triggered crash", fingerprint="0" * 16)
    results = run(World())
    judged = {case.id: losses.observed(case, results[case.id], [panic]).outcome for case in CASES}
    assert {case for case, outcome in judged.items() if outcome is Outcome.PASSED} == {"comes-back"}


def test_an_unknown_case_is_an_error_that_names_the_known_ones() -> None:
    result = run(World(), "more")["more"]
    assert result.outcome is Outcome.ERRORED
    assert "no case 'more', only memory-reserved, kernel-loaded" in result.message
