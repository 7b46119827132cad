from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import pytest

from lisa_ci.drivers.shell import ShellDriver
from lisa_ci.errors import PipelineError, ProvisioningError
from lisa_ci.execution.inventory import all_known, discover, select
from lisa_ci.model import Case, Completed, Leg, Profile, Shard, Suite, Task

CASES = tuple(Case(suite="boot", id=name) for name in ("clock", "disks", "units", "net"))


def ids(cases: Sequence[Case]) -> list[str]:
    return [case.id for case in cases]


class Lister:
    """A machine that answers every command alike."""

    def __init__(self, completed: Completed) -> None:
        self.completed = completed
        self.commands: list[tuple[str, ...]] = []

    def run(self, *command: str, timeout: timedelta, stdin: bytes = b"") -> Completed:
        self.commands.append(command)
        return self.completed


def listed(completed: Completed, **suite: Any) -> tuple[Case, ...]:
    values: Mapping[str, Any] = {"driver": "shell", "listing": ("./list",), **suite}
    machine: Any = Lister(completed)
    asked = Suite(name="big", folder="/here", digest="0", **values)
    return discover(asked, lambda _: ShellDriver(), machine, "/there", timedelta(seconds=5))


def test_every_case_is_in_exactly_one_shard_in_the_suites_order() -> None:
    parts = [select(Task(suite="boot", shard=Shard(index=index, count=3)), CASES).run for index in (1, 2, 3)]
    assert sorted(case.id for part in parts for case in part) == sorted(ids(CASES))
    assert all(ids(part) == [case.id for case in CASES if case in part] for part in parts)


def test_only_is_a_list_of_globs() -> None:
    assert ids(select(Task(suite="boot", only=("c*", "net")), CASES).run) == ["clock", "net"]


def test_what_is_left_out_keeps_its_reason_by_id_or_by_glob() -> None:
    selection = select(Task(suite="boot", left_out={"net": "needs nics >= 2", "d*": "flaky"}), CASES)
    assert ids(selection.run) == ["clock", "units"]
    assert [(case.id, reason) for case, reason in selection.left_out] == [
        ("disks", "flaky"),
        ("net", "needs nics >= 2"),
    ]


def test_a_pattern_is_over_suite_and_case() -> None:
    assert ids(select(Task(suite="boot"), CASES, ("boot#*s",)).run) == ["disks", "units"]


def test_a_listing_in_the_machine_becomes_cases() -> None:
    assert ids(listed(Completed(exit=0, output=b"one\ntwo\n"))) == ["one", "two"]


def test_stated_cases_ask_nobody() -> None:
    assert listed(Completed(exit=9), cases=CASES) == CASES


@pytest.mark.parametrize(
    ("completed", "message"),
    [
        (Completed(exit=2, output=b"x\nno such file\n"), "ended with exit 2"),
        (Completed(exit=None, is_timed_out=True), "did not end in time"),
        (Completed(exit=0, output=b"one\n", dropped_bytes=1), "longer than"),
    ],
)
def test_a_listing_that_failed_judges_nothing(completed: Completed, message: str) -> None:
    with pytest.raises(ProvisioningError, match=message):
        listed(completed)


def test_a_suite_without_cases_and_listing_is_the_users_mistake() -> None:
    with pytest.raises(PipelineError, match="no listing"):
        listed(Completed(exit=0), listing=())


def test_known_cases_are_those_that_need_no_machine() -> None:
    suites = {
        "boot": Suite(name="boot", folder="", digest="", driver="shell", cases=CASES),
        "big": Suite(name="big", folder="", digest="", driver="shell", listing=("x",)),
    }
    leg = Leg(id="x", profile=Profile(name="x"), tasks=(Task(suite="boot"), Task(suite="big")))
    assert all_known(leg, suites) == {"boot": CASES}
