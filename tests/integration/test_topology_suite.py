"""Processors and memory that come while one real machine works, its clocks against ours, and checks that live on it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath

import pytest

from lisa_ci import files, image, process
from lisa_ci.drivers.shell import ShellDriver
from lisa_ci.model import (
    Access,
    Case,
    Completed,
    ImageSource,
    Lease,
    Outcome,
    Profile,
    Result,
    Subject,
    Suite,
    Timeouts,
)
from lisa_ci.pipeline.known import Known
from lisa_ci.pipeline.suites import load_suite
from lisa_ci.platforms.qemu import QemuPlatform
from lisa_ci.platforms.qemu.platform import QemuMachines
from lisa_ci.protocols import SupportsHotAdd
from lisa_ci.scenarios.clock import ClockScenario
from lisa_ci.scenarios.hot_add import HotAddScenario

LIMIT = timedelta(minutes=3)
BOOT = Timeouts(boot=timedelta(minutes=6))
ROOM = Profile(name="room", hotplug=True, cores=2, memory_mib=768)
FOLDER = PurePosixPath("/var/tmp/suites")

# What only a living machine can show; each in seconds. What is there in every kernel has to pass.
CHECKS = {
    "topology": (
        *("processors-up", "processors-work", "sockets-and-cores", "caches", "offline-and-online", "interrupts-move"),
        *("affinity-broken-kindly", "huge-pages", "same-page-merging", "cpu-limit"),
    ),
    "time": ("clock-source-fits", "clocks-keep-pace", "timers-expire", "high-resolution", "hardware-clock-alarm"),
    "hpc": ("pinning-inherited", "huge-page-mapping", "locked-memory", "locked-memory-limit", "shared-memory"),
}


COME = (
    *("processor-appears", "processor-online", "processor-works", "memory-appears", "memory-online"),
    "load-goes-on",
)
SUITES = ("topology", "time", "hpc", "gpu")
SCRIPTS = sorted(
    path for name in SUITES for path in (files.shipped("suites") / name).iterdir() if path.suffix != ".yaml"
)
# What is about a folder of the machine: words.sh is sourced, names of a list are split on purpose.
SHELLCHECK = ["shellcheck", "-s", "sh", "-S", "warning", "-e", "SC1090,SC1091,SC2034,SC2046,SC2086,SC2154"]


def test_shellcheck_and_every_shell_read_the_checks() -> None:
    process.check([*SHELLCHECK, *SCRIPTS], timeout=LIMIT)
    for path in SCRIPTS:
        for shell in (["dash", "-n"], ["bash", "--posix", "-n"], ["busybox", "ash", "-n"]):
            process.check([*shell, path], timeout=LIMIT)


def test_the_suites_share_their_words() -> None:
    folder = files.shipped("suites")
    assert len({(folder / name / "words.sh").read_bytes() for name in ("boot", *SUITES)}) == 1
    assert len({(folder / name / "cpus.sh").read_bytes() for name in ("topology", "hpc")}) == 1


def test_every_check_is_a_case_that_says_what_it_proves() -> None:
    for name in SUITES:
        cases = suite_of(name).cases or ()
        checks = {path.name for path in SCRIPTS if path.parent.name == name and path.stat().st_mode & 0o100}
        assert {case.id for case in cases} == checks
        assert all(len(case.description) >= 30 for case in cases)


def suite_of(name: str) -> Suite:
    known = Known(platforms=frozenset(), drivers=frozenset({"shell"}), scenarios=frozenset({name}))
    return load_suite(files.shipped("suites") / name, known)


@pytest.fixture(scope="module")
def machines(demo_image: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[QemuMachines]:
    folder = tmp_path_factory.mktemp("room")
    subject = Subject(image=image.resolve(ImageSource(path=str(demo_image)), Path("/")))
    later = datetime.now(UTC) + timedelta(minutes=30)
    lease = Lease(
        owner="test", leg="leg", attempt=1, delete_after=later, evidence=folder / "evidence", scratch=folder / "scratch"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        with QemuPlatform().provision(ROOM, subject, Access(), lease, timeouts=BOOT, emit=lambda _: None) as machines:
            for name in CHECKS:
                machines.members[0].put_tree(files.shipped("suites") / name, FOLDER / name)
            yield machines


def check(machines: QemuMachines, suite: str, case: str, *facts: str) -> Result:
    line = f"cd {FOLDER / suite} && exec env {' '.join(facts)} ./{case}"
    done = machines.members[0].run("sh", "-c", line, timeout=LIMIT)
    return ShellDriver().interpret(Case(suite=suite, id=case), Completed(exit=done.exit, output=done.output))


@pytest.mark.parametrize(("suite", "case"), [(suite, case) for suite, cases in CHECKS.items() for case in cases])
def test_a_good_machine_passes(machines: QemuMachines, suite: str, case: str) -> None:
    result = check(machines, suite, case, "LISA_CI_CORES=2", "LISA_CI_NUMA_NODES=1")
    assert result.outcome is Outcome.PASSED, result.message


def test_a_processor_that_is_offline_fails_the_check_of_those_that_are_up(machines: QemuMachines) -> None:
    machine = machines.members[0]
    machine.run("sh", "-c", "echo 0 >/sys/devices/system/cpu/cpu1/online", timeout=LIMIT)
    result = check(machines, "topology", "processors-up")
    machine.run("sh", "-c", "echo 1 >/sys/devices/system/cpu/cpu1/online", timeout=LIMIT)
    assert (result.outcome, "present: 0 1 , online: 0" in result.message) == (Outcome.FAILED, True)


def test_the_clocks_are_the_hosts_also_after_a_restore(machines: QemuMachines) -> None:
    machines.snapshot()
    suite = suite_of("clock")
    results = list(ClockScenario().run(suite, machines, timeouts=BOOT, emit=lambda _: None))
    assert {result.case: (result.outcome, result.message) for result in results} == {
        case.id: (Outcome.PASSED, "") for case in suite.cases or ()
    }


def test_a_clock_that_somebody_set_is_found_out(machines: QemuMachines) -> None:
    machine = machines.members[0]
    machine.run("sh", "-c", "date -s '+1 hour'", timeout=LIMIT)
    suite = suite_of("clock")
    results = ClockScenario().run(suite, machines, timeouts=BOOT, emit=lambda _: None)
    first = next(iter(results))
    machine.run("sh", "-c", "date -s '-1 hour'", timeout=LIMIT)
    assert (first.case, first.outcome) == ("right", Outcome.FAILED)
    assert "the clock is +3" in first.message


def test_a_processor_and_memory_come_and_are_brought_online(machines: QemuMachines) -> None:
    """The last one: nothing leaves an emulated machine, and so it cannot go back to its snapshot."""
    assert isinstance(machines, SupportsHotAdd)
    suite = suite_of("hot-add")
    come = tuple(case for case in suite.cases or () if case.id in COME)
    results = HotAddScenario().run(replace(suite, cases=come), machines, timeouts=BOOT, emit=lambda _: None)
    assert {result.case: (result.outcome, result.message) for result in results} == dict.fromkeys(
        COME, (Outcome.PASSED, "")
    )
    assert "was plugged in" in machines.snapshot_problem()


@pytest.mark.field
def test_memory_that_came_is_used_while_work_goes_on_and_what_cannot_leave_is_not_asked_to(
    machines: QemuMachines,
) -> None:
    """More than was available before is written and read; an emulated machine keeps what it was given."""
    suite = suite_of("hot-add")
    results = HotAddScenario().run(suite, machines, timeouts=BOOT, emit=lambda _: None)
    found = {result.case: (result.outcome, result.message) for result in results}
    leaves = {case: found.pop(case) for case in ("memory-leaves", "processor-leaves")}
    assert found == dict.fromkeys((*COME, "memory-used"), (Outcome.PASSED, ""))
    assert all(outcome in {Outcome.PASSED, Outcome.SKIPPED} for outcome, _ in leaves.values()), leaves
    assert all(message for outcome, message in leaves.values() if outcome is Outcome.SKIPPED), leaves
