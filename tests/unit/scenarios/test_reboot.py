from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lisa_ci.errors import MachineLostError
from lisa_ci.events import Event
from lisa_ci.model import Case, Completed, Outcome, Result, Suite, Timeouts
from lisa_ci.protocols import Channel, Machine
from lisa_ci.scenarios.reboot import RebootScenario, read_facts

ALL = ("warm", "state", "disks", "clock", "repeat")


@dataclass
class Boots:
    """A machine that tells, boot by boot, what a test wants; time passes only when it is asked for."""

    facts: Sequence[str]
    away: float = 20.0
    never_back_from: int = 99
    boot: int = 0
    now: float = 1000.0
    name: str = "machine"
    role: str = "machine"
    asked: list[timedelta] = field(default_factory=list)

    def run(self, *command: str, timeout: timedelta, stdin: bytes = b"") -> Completed:
        self.now += 1
        return Completed(exit=0, output=self.facts[self.boot].encode())

    def reboot(self, *, timeout: timedelta) -> None:
        self.asked.append(timeout)
        self.boot += 1
        if self.boot >= self.never_back_from:
            raise MachineLostError("no banner from port 22")
        self.now += self.away

    def channel(self, *command: str) -> AbstractContextManager[Channel]:
        raise AssertionError("the scenario opens no channel")

    def put(self, source: Path, target: PurePosixPath) -> None:
        raise AssertionError("the scenario copies nothing")

    def get(self, source: PurePosixPath, target: Path) -> None:
        raise AssertionError("the scenario copies nothing")

    def console(self, since: int = 0) -> Iterator[bytes]:
        return iter(())

    def login_command(self) -> str:
        return "true"

    @property
    def members(self) -> Sequence[Machine]:
        return (self,)

    def end_command(self) -> str:
        return ""


def facts(
    boot: str, *, uptime: int = 5, now: int = 0, state: str = "running", failed: str = "", disk: str = "s0, 9"
) -> str:
    lines = [f"now={now}", f"uptime={uptime}", f"boot={boot}", f"state={state}"]
    return "\n".join([*lines, *(f"failed={unit}" for unit in failed.split()), f"disk={disk}", "end=", ""])


def good() -> list[str]:
    """Three boots of a machine whose clock is 7000 s ahead of the host's, and keeps being that."""
    return [facts("one", uptime=500, now=8000), facts("two", now=8021), facts("three", now=8042)]


def outcomes(machine: Boots, cases: tuple[str, ...] = ALL) -> dict[str, Result]:
    suite = Suite(
        name="reboot",
        folder="f",
        digest="d",
        scenario="reboot",
        cases=tuple(Case(suite="reboot", id=case) for case in cases),
    )
    events: list[Event] = []
    clock: Callable[[], float] = lambda: machine.now  # noqa: E731
    scenario = RebootScenario(clock=clock, stopwatch=clock)
    timeouts = Timeouts(boot=timedelta(seconds=90))
    results = list(scenario.run(suite, machine, timeouts=timeouts, emit=events.append))
    assert sorted(result.case for result in results) == sorted(cases), "one result for each case"
    return {result.case: result for result in results}


def test_a_machine_that_comes_back_as_it_was_passes_all_its_cases() -> None:
    machine = Boots(good())
    results = outcomes(machine)
    assert {result.outcome for result in results.values()} == {Outcome.PASSED}
    assert machine.boot == 2
    assert machine.asked == [timedelta(seconds=90)] * 2
    assert results["warm"].wall == timedelta(seconds=20)


def test_a_machine_that_does_not_come_back_has_failed_and_leaves_the_rest_unjudged() -> None:
    results = outcomes(Boots(good(), never_back_from=1))
    assert results["warm"].outcome is Outcome.FAILED
    assert results["warm"].message == "did not come back within 90 s: no banner from port 22"
    assert {results[case].outcome for case in ALL[1:]} == {Outcome.ERRORED}


def test_a_second_reboot_that_ends_it_is_the_failure_of_repeat_alone() -> None:
    results = outcomes(Boots(good(), never_back_from=2))
    assert [results[case].outcome for case in ALL] == [*[Outcome.PASSED] * 4, Outcome.FAILED]


def test_a_machine_that_is_gone_before_the_first_reboot_judges_nothing() -> None:
    class Gone(Boots):
        def run(self, *command: str, timeout: timedelta, stdin: bytes = b"") -> Completed:
            raise MachineLostError("connection reset")

    results = outcomes(Gone(good()))
    assert {result.outcome for result in results.values()} == {Outcome.ERRORED}
    assert "before the first reboot" in results["warm"].message


def test_a_machine_that_answers_without_its_state_counts_as_lost() -> None:
    results = outcomes(Boots([good()[0], "now=1\nupt", ""]))
    assert results["warm"].outcome is Outcome.FAILED
    assert "came back after 20 s and was lost again" in results["warm"].message


@pytest.mark.parametrize(
    ("after", "case", "message"),
    [
        (facts("one", now=8021), "warm", "the machine answers and is still in the same boot"),
        (facts("", now=8021), "warm", "the machine answers and is still in the same boot"),
        (facts("two", now=8021, uptime=600), "warm", "up for 600 s, although the reboot was only 20 s ago"),
        (facts("two", now=8021, failed="a.service b.mount"), "state", "failed since the reboot: a.service, b.mount"),
        (facts("two", now=8021, state="maintenance"), "state", "the system was running, now it is maintenance"),
        (facts("two", now=8021, disk="s1, 9"), "disks", "gone: s0, 9; new: s1, 9"),
        (facts("two", now=8021 + 3600), "clock", "the clock jumped by +3600 s against the host's"),
        (facts("two", now=8021 - 6), "clock", "the clock jumped by -6 s against the host's"),
    ],
)
def test_each_case_fails_by_what_it_is_about_and_by_nothing_else(after: str, case: str, message: str) -> None:
    results = outcomes(Boots([good()[0], after, good()[2]]), ALL[:4])
    assert {name for name, result in results.items() if result.outcome is Outcome.FAILED} == {case}
    assert results[case].message == message
    assert "before:" in results[case].detail


def test_repeat_fails_by_anything_that_only_the_second_reboot_brings() -> None:
    results = outcomes(Boots([*good()[:2], facts("three", now=8042, failed="late.service")]))
    assert {name for name, result in results.items() if result.outcome is Outcome.FAILED} == {"repeat"}


def test_units_that_had_failed_before_are_not_held_against_the_reboot() -> None:
    boots = [facts(boot, now=now, failed="old.service", state="degraded") for boot, now in (("a", 8000), ("b", 8021))]
    assert outcomes(Boots(boots), ("state",))["state"].outcome is Outcome.PASSED


def test_only_repeat_still_reboots_twice_and_only_warm_once() -> None:
    twice, once = Boots(good()), Boots(good())
    assert outcomes(twice, ("repeat",))["repeat"].outcome is Outcome.PASSED
    assert outcomes(once, ("warm",))["warm"].outcome is Outcome.PASSED
    assert (twice.boot, once.boot) == (2, 1)


def test_a_case_that_the_scenario_does_not_know_is_errored_by_name_and_reboots_nothing() -> None:
    machine = Boots(good())
    result = outcomes(machine, ("cold",))["cold"]
    assert result.outcome is Outcome.ERRORED
    assert "'cold'" in result.message
    assert machine.boot == 0


@given(st.text(max_size=400), st.floats(0, 1e10))
def test_whatever_a_machine_prints_gives_facts(text: str, host: float) -> None:
    assert read_facts(text, host).uptime_s >= 0
