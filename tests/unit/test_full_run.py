"""The legs of a full run: a few at a time, in their order, and none outlives the command."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.hardware.run import longest_first, run_legs


@dataclass
class Child:
    """A program that ends by itself after some looks at it."""

    looks: int
    returncode: int | None = None
    was_told_to_end: bool = False

    def poll(self) -> int | None:
        self.looks -= 1
        if self.looks <= 0:
            self.returncode = 0
        return self.returncode

    def terminate(self) -> None:
        self.was_told_to_end = True

    def wait(self, timeout: float) -> int:
        assert self.was_told_to_end
        self.returncode = 143
        return 143


@dataclass
class Desk:
    """Where legs are started; ``most`` is how many ran at once."""

    started: dict[str, Child] = field(default_factory=dict)
    most: int = 0


@dataclass
class StandIn:
    """A leg that takes so many looks."""

    id: str
    desk: Desk
    looks: int

    def start(self) -> Child:
        self.desk.started[self.id] = Child(self.looks)
        running = [child for child in self.desk.started.values() if child.returncode is None]
        self.desk.most = max(self.desk.most, len(running))
        return self.desk.started[self.id]


def run(desk: Desk, looks: dict[str, int], jobs: int, pause: Callable[[float], None]) -> None:
    legs: Any = [StandIn(name, desk, count) for name, count in looks.items()]
    run_legs(legs, jobs, pause=pause)


def no_time(_: float) -> None:
    """Goes by."""


def interrupted(_: float) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("jobs", [1, 2, 3])
def test_so_many_legs_run_at_once_and_each_is_started_in_its_turn(jobs: int) -> None:
    desk = Desk()
    run(desk, {"a": 5, "b": 1, "c": 3, "d": 1}, jobs, no_time)
    assert list(desk.started) == ["a", "b", "c", "d"]
    assert desk.most == jobs
    assert {child.returncode for child in desk.started.values()} == {0}


def test_legs_start_with_the_longest_and_with_those_of_which_nobody_knows() -> None:
    legs: Any = [StandIn(name, Desk(), 1) for name in ("crash", "nodes", "pair", "new")]
    assert [leg.id for leg in longest_first(legs)] == ["new", "pair", "crash", "nodes"]


def test_who_interrupts_the_command_ends_the_legs_that_run_and_starts_no_other() -> None:
    desk = Desk()
    with pytest.raises(KeyboardInterrupt):
        run(desk, {"a": 9, "b": 9, "c": 9}, 2, interrupted)
    assert {name: child.returncode for name, child in desk.started.items()} == {"a": 143, "b": 143}
