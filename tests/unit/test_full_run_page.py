"""docs/full-run.md is made from plans and results, and every suite about hardware is in a run."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from lisa_ci import files, registry
from lisa_ci.model import (
    Access,
    Category,
    Finding,
    KnownFailure,
    LeftOut,
    Leg,
    Method,
    Outcome,
    Pipeline,
    Plan,
    Profile,
    Recovery,
    ReleaseSettings,
    Result,
    Run,
    Stage,
    Subject,
    Task,
    Timeouts,
)
from lisa_ci.pipeline import bundled_suites, load_pipeline
from lisa_ci.platforms.qemu.command_line import shape_problems
from tests.hardware import page
from tests.hardware.run import HERE, IMAGES

BEGAN = datetime(2026, 11, 29, 9, 0, tzinfo=UTC)
NO_GPU = "needs gpus >= 1, the profile gives 0"
TASKS = (Task(suite="storage"), Task(suite="network"))
PLAN = Plan(
    name="hardware",
    subject=Subject(),
    access=Access(),
    timeouts=Timeouts(),
    release=ReleaseSettings(),
    suites=(),
    legs=(Leg(id="disks", profile=Profile(name="disks"), tasks=TASKS),),
    left_out=(
        LeftOut(profile="disks", suite="gpu", reason=f"no case is left: {NO_GPU} (and 11 more)"),
        LeftOut(profile="disks", suite="rdma", reason="selected for pair only"),
        LeftOut(profile="disks", suite="storage", case="luks", reason="needs disks >= 1"),
    ),
    baseline=(KnownFailure(case="network#nic-*", reason="this card is old", owner="us", expires=date(2027, 1, 1)),),
)


def result(suite: str, case: str, outcome: Outcome, message: str = "", seconds: float = 1) -> Result:
    return Result(suite=suite, case=case, outcome=outcome, message=message, wall=timedelta(seconds=seconds))


RESULTS = (
    result("storage", "luks", Outcome.SKIPPED, "no cryptsetup | here", 0.5),
    result("storage", "lvm", Outcome.PASSED, seconds=20.4),
    result("network", "nic-link", Outcome.FAILED, "no carrier"),
    result("network", "dhcp", Outcome.ERRORED, "the machine was lost"),
    result("network", "dns", Outcome.SKIPPED, "no cryptsetup | here"),
)
RUN = Run(
    leg="disks",
    plan_digest="",
    subject_digest="",
    attempt=1,
    started=BEGAN,
    ended=BEGAN + timedelta(seconds=95),
    is_complete=True,
    stages=(
        Stage(name="provision", started=BEGAN, wall=timedelta(seconds=41)),
        Stage(name="cases", started=BEGAN, wall=timedelta(seconds=50)),
    ),
    recoveries=(Recovery(reason="left processes", case=None, method=Method.SNAPSHOT, wall=timedelta(seconds=6)),),
)


def pipelines() -> list[Pipeline]:
    return [load_pipeline(HERE / f"{name}.yml", registry.known()) for name in IMAGES]


def told(results: tuple[Result, ...] = RESULTS) -> list[str]:
    return page.markdown([(PLAN, [page.Ran(run=RUN, results=results)])], head="Today.").splitlines()


def test_each_suite_is_a_row_with_its_counts_and_seconds() -> None:
    lines = told()
    assert lines[0] == "Today."
    assert "| disks | `storage` | 2 | 1 | 0 | 1 | 0 | 21 |" in lines
    assert "| disks | `network` | 3 | 0 | 1 | 1 | 1 | 3 |" in lines


def test_a_leg_says_what_its_time_went_into() -> None:
    assert "| disks | 41 | 0 | 50 | 1 | 6 | 95 |" in told()


def test_a_suite_that_no_machine_here_can_run_is_told_with_all_its_cases() -> None:
    lines = told()
    assert "| - | `gpu` | 12 | 0 | 0 | 12 | 0 | 0 |" in lines
    [line] = [line for line in lines if line.startswith(f"| {NO_GPU} |")]
    assert line.count(", `") == 11
    assert not [line for line in lines if "rdma" in line]


def test_the_last_row_is_the_sum_of_all() -> None:
    assert "| **all** |  | 17 | 1 | 1 | 14 | 1 | 24 |" in told()


def test_a_failure_is_told_with_the_reason_that_is_known() -> None:
    lines = told()
    assert "| disks | `network#nic-link` | failed | no carrier | this card is old |" in lines
    assert "| disks | `network#dhcp` | errored | the machine was lost | not known |" in lines
    assert "Nothing." in told(RESULTS[:2])


def test_a_failure_is_told_with_what_the_kernel_said_meanwhile() -> None:
    oops = Finding(category=Category.OOPS, title="Oops in fput", fingerprint="0" * 16)
    bad = replace(RESULTS[2], findings=(oops,))
    assert "| no carrier; the kernel said: Oops in fput |" in "".join(told((bad,)))
    said = replace(bad, message="it passed, but the kernel said: Oops in fput")
    assert "| it passed, but the kernel said: Oops in fput |" in "".join(told((said,)))


def test_what_a_console_said_while_no_case_ran_is_told_with_the_reason_that_allows_it() -> None:
    one = Finding(category=Category.WARNING, title="WARNING in f", fingerprint="0" * 16)
    run = replace(RUN, findings=(one, replace(one, title="WARNING in g", allowed="known")))
    lines = page.markdown([(PLAN, [page.Ran(run=run, results=RESULTS)])], head="Today.").splitlines()
    assert {"| disks | WARNING in f | not allowed |", "| disks | WARNING in g | known |"} <= set(lines)
    assert "Nothing that is looked for." in told()


def test_cases_that_were_skipped_for_one_reason_share_a_row() -> None:
    assert r"| no cryptsetup \| here | `storage`: `luks`; `network`: `dns` |" in told()


def test_only_what_is_generated_changes_in_the_page() -> None:
    text = "before\n<!-- generated by nox -s hardware -->\nold\n<!-- end -->\nafter\n"
    assert page.page_with(text, "new\n") == text.replace("old", "\nnew\n")
    with pytest.raises(AssertionError, match="lost the mark"):
        page.page_with("nothing here", "new")
    assert page.MARK.search(page.PAGE.read_text())


def test_every_machine_of_the_run_is_one_that_qemu_can_give() -> None:
    profiles = [profile for one in pipelines() for profile in one.profiles]
    assert len(profiles) > 4
    assert [problem for profile in profiles for problem in shape_problems(profile)] == []


def test_every_suite_about_hardware_is_in_a_pipeline_of_the_run() -> None:
    run = {selection.suite.name for one in pipelines() for selection in one.suites}
    assert run | set(page.NOT_HARDWARE) == set(bundled_suites())
    assert not run & set(page.NOT_HARDWARE)


def test_legs_are_read_in_the_order_of_the_plan_and_one_that_left_nothing_is_missing(tmp_path: Path) -> None:
    folder = files.LegFolder(tmp_path / "disks")
    folder.root.mkdir()
    files.write_atomically(folder.run, files.encode(RUN))
    folder.journal.write_bytes(b"".join(files.encode_line(files.JournalLine(result=one)) for one in RESULTS))
    [ran] = page.read(PLAN, tmp_path)
    assert (ran.run, ran.results) == (RUN, RESULTS)
    assert page.slowest([ran], 1) == [("disks/storage#lvm", 20)]
    assert list(page.read(PLAN, tmp_path / "nowhere")) == []
