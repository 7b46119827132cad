"""A machine whose clocks are told by arithmetic, and worlds in which one of them is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from lisa_ci.errors import MachineLostError, ProvisioningError
from lisa_ci.model import Case, Completed, Outcome, Result, Suite, Timeouts
from lisa_ci.scenarios import clock
from lisa_ci.scenarios.clock import ClockScenario

ALL = ("right", "day-keeps-pace", "uptime-keeps-pace", "right-after-restore")
BEGAN = 1_795_876_800.0


@dataclass
class World:
    """A group of one and its machine. ``wrong`` is what is wrong; a question takes ``slow`` seconds."""

    wrong: str = ""
    slow: float = 0.1
    now: float = 0.0
    up_from: float = 0.0
    name: str = "machine"
    role: str = "main"

    @property
    def members(self) -> Sequence[Any]:
        return (self,)

    def end_command(self) -> str:
        return ""

    def snapshot_problem(self) -> str:
        return ""

    def snapshot(self) -> None:
        raise AssertionError("the leg's own snapshot would be lost")

    def restore(self, *, timeout: timedelta) -> None:
        if self.wrong == "no snapshot":
            raise ProvisioningError("there is no snapshot to go back to")
        self.now += 5
        if self.wrong != "no restore":
            self.up_from = self.now
        if self.wrong == "old time":
            self.wrong = "an hour off"

    def stopwatch(self) -> float:
        return self.now

    def clock(self) -> float:
        return BEGAN + self.now

    def run(self, *command: str, timeout: timedelta, stdin: bytes = b"") -> Completed:
        if command[0] == "sleep":
            self.now += float(command[1])
            return Completed(exit=0)
        assert command == ("sh", "-c", clock.TELL)
        self.now += self.slow / 2
        day, up = BEGAN + self.now, 100 + self.now - self.up_from
        match self.wrong:
            case "mute":
                return Completed(exit=0, output=b"Mon Nov 30")
            case "an hour off":
                day -= 3600
            case "fast day":
                day += self.now * 0.03
            case "back":
                day -= self.now * 1.1
            case "slow up":
                up -= self.now * 0.03
        self.now += self.slow / 2
        return Completed(exit=0, output=f"{day:.9f} {max(0, up):.2f}\n".encode())


def run(world: Any, *ids: str) -> dict[str, Result]:
    suite = Suite(
        name="clock", folder="f", digest="d", cases=tuple(Case(suite="clock", id=name) for name in ids or ALL)
    )
    scenario = ClockScenario(clock=world.clock, stopwatch=world.stopwatch)
    results = list(scenario.run(suite, world, timeouts=Timeouts(), emit=lambda _: None))
    assert sorted(result.case for result in results) == sorted(ids or ALL), "one result for each case"
    return {result.case: result for result in results}


@pytest.mark.parametrize("slow", [0.001, 0.1, 3.0])
def test_in_a_right_world_all_cases_pass_however_slow_its_answers_are(slow: float) -> None:
    results = run(World(slow=slow))
    assert {(result.outcome, result.message) for result in results.values()} == {(Outcome.PASSED, "")}


@pytest.mark.parametrize(
    ("wrong", "failed", "message"),
    [
        ("an hour off", {"right", "right-after-restore"}, "the clock is -3600.0 s off against the host's"),
        ("old time", {"right-after-restore"}, "the clock is -3600.0 s off"),
        ("fast day", {"day-keeps-pace"}, "s while 30."),
        ("back", {"right", "day-keeps-pace", "right-after-restore"}, ""),
        ("slow up", {"uptime-keeps-pace"}, "s while 30."),
        ("no restore", {"right-after-restore"}, "that was no restore"),
    ],
)
def test_each_wrong_world_fails_its_cases_and_no_others(wrong: str, failed: set[str], message: str) -> None:
    results = run(World(wrong=wrong))
    bad = {case: result for case, result in results.items() if result.outcome is not Outcome.PASSED}
    assert set(bad) - {"right"} == failed - {"right"}
    assert {result.outcome for result in bad.values()} == {Outcome.FAILED}
    assert all(message in result.message for result in bad.values())


def test_both_clocks_are_judged_by_the_same_half_minute_and_either_of_them_alone() -> None:
    both = World(slow=0)
    run(both, "day-keeps-pace", "uptime-keeps-pace")
    assert both.now == clock.WINDOW.seconds
    assert run(World(wrong="slow up"), "uptime-keeps-pace")["uptime-keeps-pace"].outcome is Outcome.FAILED


def test_a_clock_that_goes_back_is_told_so() -> None:
    assert "the clock went back by" in run(World(wrong="back"))["day-keeps-pace"].message


def test_without_a_snapshot_the_restore_is_skipped_with_its_reason() -> None:
    result = run(World(wrong="no snapshot"), "right-after-restore")["right-after-restore"]
    assert (result.outcome, "no snapshot to go back to" in result.message) == (Outcome.SKIPPED, True)


def test_a_machine_that_does_not_tell_is_lost() -> None:
    with pytest.raises(MachineLostError, match="does not tell its time: Mon Nov 30"):
        run(World(wrong="mute"))
