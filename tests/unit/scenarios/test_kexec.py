"""A machine that starts its kernel anew in memory, and worlds in which one thing is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from lisa_ci.errors import MachineLostError, ProvisioningError
from lisa_ci.model import Case, Completed, Outcome, Result, Suite, Timeouts
from lisa_ci.scenarios import kexec
from lisa_ci.scenarios.kexec import KexecScenario

ALL = ("kernel-loaded", "comes-back", "same-kernel", "same-hardware", "units")


@dataclass
class World:
    """A group of one and its machine. ``wrong`` is what is wrong."""

    wrong: str = ""
    now: float = 0.0
    gone: bool = False
    tries: int = 0
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
        self.tries += 1
        if self.wrong == "dead":
            raise ProvisioningError("no login")

    def run(self, *command: str, timeout: timedelta, stdin: bytes = b"") -> Completed:
        self.now += 1
        match command:
            case ("sh", "-c", kexec.STATE, *_):
                is_new = self.gone and self.wrong != "same boot" and (self.wrong != "slow" or self.tries > 1)
                return Completed(exit=0, output=self._state(is_new=is_new).encode())
            case ("sh", "-c", kexec.LOAD, _, word):
                assert word == "word"
                told = {"no tool": (77, b"there is no kexec here"), "refused": (1, b"kexec_load failed: EPERM")}
                code, said = told.get(self.wrong, (0, b""))
                return Completed(exit=code, output=said)
            case ("sh", "-c", kexec.START):
                if self.wrong == "no start":
                    return Completed(exit=1, output=b"Access denied")
                self.gone = True
                if self.wrong == "slow":
                    return Completed(exit=0)
                raise MachineLostError("the connection is gone")
            case _:
                assert command == ("sleep", "1")
        return Completed(exit=0)

    def _state(self, *, is_new: bool) -> str:
        facts = {"boot": "1", "release": "6.1", "version": "#1", "cmdline": "quiet", "processors": "0-1"}
        facts |= {"memory_kib": "1000000"}
        if is_new:
            facts |= {"boot": "2", "cmdline": "quiet lisa-ci-kexec=word"}
            facts |= {
                "firmware": {"cmdline": "quiet"},
                "other kernel": {"release": "6.2"},
                "lost processor": {"processors": "0"},
                "lost memory": {"memory_kib": "900000"},
                "unit": {"failed": "new.service"},
            }.get(self.wrong, {})
        return "".join(f"{name}={value}\n" for name, value in facts.items()) + "failed=old.service\nend=yes\n"


def run(world: World, *ids: str) -> dict[str, Result]:
    suite = Suite(
        name="kexec", folder="f", digest="d", cases=tuple(Case(suite="kexec", id=name) for name in ids or ALL)
    )
    scenario = KexecScenario(stopwatch=world.clock, token=lambda: "word")
    timeouts = Timeouts(boot=timedelta(seconds=60))
    results = list(scenario.run(suite, world, timeouts=timeouts, emit=lambda _: None))  # type: ignore[arg-type]
    assert sorted(result.case for result in results) == sorted(ids or ALL), "one result for each case"
    return {result.case: result for result in results}


@pytest.mark.parametrize("wrong", ["", "slow"])
def test_in_a_right_world_all_cases_pass(wrong: str) -> None:
    assert {(result.outcome, result.message) for result in run(World(wrong=wrong)).values()} == {(Outcome.PASSED, "")}


@pytest.mark.parametrize(
    ("wrong", "failed", "message"),
    [
        ("refused", "kernel-loaded", "the kernel takes no other one: kexec_load failed: EPERM"),
        ("no start", "comes-back", "the loaded kernel is not started: Access denied"),
        ("dead", "comes-back", "did not come back within 60 s: no login"),
        ("same boot", "comes-back", "it is in the same boot"),
        ("firmware", "comes-back", "came back by its firmware and boot loader"),
        ("other kernel", "same-kernel", "release: 6.1 before, 6.2 now"),
        ("lost processor", "same-hardware", "processors: 0-1 before, 0 now"),
        ("lost memory", "same-hardware", "878 MiB of memory, 976 MiB before"),
        ("unit", "units", "failed since: new.service"),
    ],
)
def test_each_wrong_world_fails_its_case_and_no_other(wrong: str, failed: str, message: str) -> None:
    results = run(World(wrong=wrong))
    assert message in results[failed].message
    assert {case for case, result in results.items() if result.outcome is Outcome.FAILED} == {failed}
    for result in results.values():
        assert result.outcome is not Outcome.ERRORED or result.message.startswith("not judged, ")


def test_without_the_tool_all_is_skipped_with_the_reason() -> None:
    results = run(World(wrong="no tool"))
    assert {result.outcome for result in results.values()} == {Outcome.SKIPPED}
    assert results["units"].message.endswith("there is no kexec here")


def test_a_machine_that_does_not_tell_its_state_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(World, "_state", lambda *_, **__: "boot=1\n")
    with pytest.raises(MachineLostError, match="did not tell its state: boot=1"):
        run(World())
