"""A leg whose machine is lost or left dirty: what it costs, how it goes on, and what the run says of it."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lisa_ci.errors import Loss, MachineLostError, ProvisioningError
from lisa_ci.events import Message
from lisa_ci.model import Case, Completed, Endpoint, Expectation, Isolation, Method, Outcome, Profile
from tests.doubles.local_machine import SnapshotMachines
from tests.unit.execution.test_leg import END, OK, Desk, suite

DIRTY = END.replace("dropped", "taint=0:512 dirt={dirt} dropped")


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """A leg of three cases on machines that can be snapshot."""
    desk = Desk(tmp_path)
    desk.group = SnapshotMachines(members=(desk.machine,))
    return desk


def loses(loss: Loss, message: str = "gone") -> Callable[[], bytes]:
    def lose() -> bytes:
        raise MachineLostError(message, loss=loss)

    return lose


def ends_dirty(number: int, dirt: str) -> Callable[[], bytes]:
    end = DIRTY.format(exit=0, dirt=dirt).replace("taint=0:512", "taint=0:0")
    frame = f"END {number} {len(end)}\n{end}".encode()
    return lambda: frame


def calls(desk: Desk) -> list[str]:
    assert desk.group
    return desk.group.calls


def said(desk: Desk) -> str:
    return "\n".join(event.text for event in desk.events if isinstance(event, Message))


def with_cases(desk: Desk, *cases: Case, **fields: Any) -> None:
    desk.suites["boot"] = suite("boot", "", cases=cases, **fields)


# ---- lost ----------------------------------------------------------------------------------------------------------


def test_a_panic_costs_its_case_and_a_restore(desk: Desk) -> None:
    desk.machine.at["boot#b"] = loses(Loss.PANIC, "its kernel panicked")
    run = desk.run()
    assert desk.outcomes == {**OK, "boot#b": Outcome.ERRORED}
    assert desk.result("boot#b").loss is Loss.PANIC
    assert calls(desk) == ["snapshot", "restore"]
    (recovery,) = run.recoveries
    assert (recovery.reason, recovery.case, recovery.method) == ("its kernel panicked", "boot#b", Method.SNAPSHOT)
    assert "restored from its snapshot" in said(desk)
    assert (run.error, run.is_complete) == ("", True)


def test_the_last_case_needs_no_machine_behind_it(desk: Desk) -> None:
    desk.machine.at["boot#c"] = loses(Loss.PANIC)
    run = desk.run()
    assert desk.outcomes == {**OK, "boot#c": Outcome.ERRORED}
    assert run.recoveries == ()


def test_a_snapshot_that_cannot_be_restored_is_replaced_by_a_boot(desk: Desk) -> None:
    assert desk.group
    desk.group.problems["restore"] = [ProvisioningError("QEMU is gone")]
    desk.machine.at["boot#a"] = loses(Loss.DESTROYED)
    run = desk.run()
    assert desk.outcomes == {**OK, "boot#a": Outcome.ERRORED}
    assert [recovery.method for recovery in run.recoveries] == [Method.REBOOT]
    assert calls(desk) == ["snapshot", "restore", "snapshot"]
    assert "the snapshot cannot be restored: QEMU is gone" in said(desk)


@pytest.mark.parametrize("way", ["known", "tried"])
def test_machines_without_the_ability_are_booted_afresh_and_the_run_says_so(desk: Desk, way: str) -> None:
    assert desk.group
    if way == "known":
        desk.group.problem = "an NVMe disk"
    else:
        desk.group.problems["snapshot"] = [ProvisioningError("an NVMe disk"), ProvisioningError("an NVMe disk")]
    desk.machine.at["boot#b"] = loses(Loss.PANIC)
    run = desk.run()
    assert desk.outcomes == {**OK, "boot#b": Outcome.ERRORED}
    assert [recovery.method for recovery in run.recoveries] == [Method.REBOOT]
    assert "no snapshot (an NVMe disk): after a crash a fresh overlay is booted" in said(desk)
    assert "restore" not in calls(desk)
    assert desk.platform
    assert desk.platform.destroyed == 2


def test_a_leg_whose_machine_never_bears_the_runner_ends(desk: Desk) -> None:
    desk.machine.fails["umask 077; cat"] = MachineLostError("gone", loss=Loss.PANIC)
    run = desk.run()
    assert set(desk.outcomes.values()) == {Outcome.ERRORED}
    assert run.error == "gone"
    assert len(run.recoveries) == 2


def test_a_machine_that_cannot_be_had_again_leaves_the_rest_not_run(desk: Desk) -> None:
    assert desk.group
    desk.group.problems["restore"] = [ProvisioningError("broken")]

    def lose() -> bytes:
        assert desk.platform
        desk.platform.failure = ProvisioningError("no memory left")
        raise MachineLostError("gone", loss=Loss.DESTROYED)

    desk.machine.at["boot#b"] = lose
    run = desk.run()
    assert desk.outcomes == {"boot#a": Outcome.PASSED, "boot#b": Outcome.ERRORED, "boot#c": Outcome.ERRORED}
    assert desk.result("boot#c").message == "not run: no memory left"
    assert run.error == "no memory left"


def test_a_silent_machine_is_asked_why(desk: Desk) -> None:
    desk.machine.at["boot#b"] = loses(Loss.SILENCE, "no sign of life")
    desk.run()
    assert desk.result("boot#b").message == "while the case ran: no sign of life; it was asked why"
    assert calls(desk) == ["snapshot", "diagnose", "restore"]


def test_a_panic_that_was_expected_is_a_success_and_the_next_case_runs(desk: Desk) -> None:
    expecting = Case(suite="boot", id="b", expects=(Expectation.PANIC,))
    with_cases(desk, Case(suite="boot", id="a"), expecting, Case(suite="boot", id="c"))
    desk.machine.at["boot#b"] = loses(Loss.PANIC)
    desk.run()
    assert desk.outcomes == OK
    assert desk.result("boot#b").message == "as expected: gone"


# ---- a connection that was cut -------------------------------------------------------------------------------------


def test_what_ended_before_the_connection_was_cut_is_asked_for_again(desk: Desk) -> None:
    end = END.format(exit=3)
    desk.machine.at["boot#a"] = loses(Loss.CONNECTION, "reset by peer")
    ended = f"START 1 6\nboot#aDATA 1 5\nhelloEND 1 {len(end)}\n{end}".encode()
    desk.machine.replay = ended + b"START 2 6\nboot#b"
    run = desk.run()
    assert desk.outcomes == {"boot#a": Outcome.FAILED, "boot#b": Outcome.ERRORED, "boot#c": Outcome.PASSED}
    assert (desk.folder / "out/leg/cases/boot/a.log").read_bytes() == b"hello"
    assert desk.result("boot#b").loss is Loss.CONNECTION
    assert [recovery.case for recovery in run.recoveries] == ["boot#b"]


def test_a_replay_that_lies_is_not_believed(desk: Desk) -> None:
    desk.machine.at["boot#a"] = loses(Loss.CONNECTION)
    desk.machine.replay = b"END 7 0\n"
    desk.run()
    assert desk.outcomes == {**OK, "boot#a": Outcome.ERRORED}


def test_a_machine_that_has_another_boot_id_rebooted_by_itself(desk: Desk) -> None:
    desk.group = None
    desk.profile = Profile(name="desk", platform="ssh", endpoint=Endpoint(host="h"))
    ids = iter([b"one\n", b"two\n", b"two\n", b"two\n"])
    journal = b"S 1 boot#a 5\nE 1 0 10 - - 0:0 -\nS 2 boot#b 9\nE 2 0\nE 99 0 0\nE x 0 0\nS 3 boot#c 9"
    run = desk.machine.run

    def answer(*command: str, **more: Any) -> Completed:
        if command[-1].endswith("boot_id"):
            return Completed(exit=0, output=next(ids))
        if command[-1].endswith("/journal"):
            return Completed(exit=0, output=journal)
        return run(*command, **more)

    desk.machine.run = answer  # type: ignore[method-assign]
    desk.machine.at["boot#a"] = loses(Loss.CONNECTION)
    result = desk.run()
    assert desk.result("boot#a").loss is Loss.REBOOT
    assert desk.result("boot#a").message == "while the case ran: it rebooted by itself (gone)"
    assert [recovery.method for recovery in result.recoveries] == [Method.RECONNECT]
    notes = {one.case: one.note for one in desk.results}
    assert notes["c"] == ""
    assert notes["b"] == "ran twice: its first result was lost with the machine"


def test_a_machine_of_others_that_stays_away_ends_the_leg(desk: Desk) -> None:
    desk.group = None
    desk.profile = Profile(name="desk", platform="ssh", endpoint=Endpoint(host="h"))
    desk.machine.at["boot#b"] = loses(Loss.CONNECTION)

    def away(**_: object) -> None:
        raise ProvisioningError("no login")

    desk.machine.reconnect = away  # type: ignore[method-assign]
    run = desk.run()
    assert desk.outcomes == {"boot#a": Outcome.PASSED, "boot#b": Outcome.ERRORED, "boot#c": Outcome.ERRORED}
    assert run.error == "gone"


# ---- the console's marks -------------------------------------------------------------------------------------------


def test_the_console_names_the_case_that_really_ran(desk: Desk) -> None:
    """Frames that were under way when the kernel panicked are lost; the kernel's own log is not."""

    def lose() -> bytes:
        lines = (
            "lisa-ci: case boot#a",
            "lisa-ci: end",
            "lisa-ci: case boot#b",
            "Kernel panic - not syncing: Fatal exception",
            "---[ end Kernel panic - not syncing: Fatal exception ]---",
        )
        text = "".join(f"[   1{number}.000000] {line}\n" for number, line in enumerate(lines)).encode()
        desk.machine.console_text = b"[    0.000000] Linux version 6.1.0\n" + text
        raise MachineLostError("its kernel panicked", loss=Loss.PANIC)

    desk.machine.console_text = b""
    desk.machine.at["boot#a"] = lose

    desk.run()
    assert desk.outcomes["boot#b"] is Outcome.ERRORED
    assert desk.result("boot#b").findings[0].title.startswith("Kernel panic")
    assert desk.result("boot#b").findings[0].case == "boot#b"


# ---- dirty ---------------------------------------------------------------------------------------------------------


def test_a_case_that_left_something_behind_costs_a_restore(desk: Desk) -> None:
    desk.machine.at["boot#b"] = ends_dirty(2, "mounts,processes")
    run = desk.run()
    assert desk.outcomes == OK
    (recovery,) = run.recoveries
    assert (recovery.reason, recovery.case) == ("boot#b left mounts, processes", "boot#b")
    assert calls(desk) == ["snapshot", "restore"]


def test_a_suite_that_wants_a_fresh_machine_only_after_a_crash_gets_that(desk: Desk) -> None:
    desk.suites["boot"] = suite("boot", "abc", isolation=Isolation.CRASH)
    desk.machine.at["boot#b"] = ends_dirty(2, "taint")
    assert desk.run().recoveries == ()
    assert calls(desk) == ["snapshot"]


def test_a_suite_may_have_a_fresh_machine_for_every_case(desk: Desk) -> None:
    desk.suites["boot"] = suite("boot", "abc", isolation=Isolation.CASE)
    run = desk.run()
    assert desk.outcomes == OK
    assert calls(desk) == ["snapshot", "restore", "restore"]
    assert [recovery.case for recovery in run.recoveries] == ["boot#a", "boot#b"]


def test_a_case_that_is_known_to_be_dirty_is_followed_by_a_fresh_machine(desk: Desk) -> None:
    cases = (Case(suite="boot", id="a", dirty=True), Case(suite="boot", id="b"), Case(suite="boot", id="c"))
    with_cases(desk, *cases)
    desk.run()
    assert desk.outcomes == OK
    assert calls(desk) == ["snapshot", "restore"]


def test_a_machine_of_others_is_shared_and_the_run_says_so(desk: Desk) -> None:
    desk.group = None
    desk.profile = Profile(name="desk", platform="ssh", endpoint=Endpoint(host="h"))
    desk.suites["boot"] = suite("boot", "abc", isolation=Isolation.CASE)
    desk.machine.at["boot#b"] = ends_dirty(2, "taint")
    run = desk.run()
    assert desk.outcomes == OK
    assert run.recoveries == ()
    assert "this machine cannot be had afresh" in said(desk)


def test_a_full_disk_is_looked_into_before_it_is_taken_back(desk: Desk) -> None:
    desk.machine.at["boot#b"] = ends_dirty(2, "full")
    desk.run()
    assert desk.outcomes == {**OK, "boot#b": Outcome.ERRORED}
    assert desk.result("boot#b").message == "it left the machine's disk full"
    assert (desk.folder / "out/leg/telemetry/failure-1/collected.json").exists()


def test_a_leg_of_one_case_takes_no_snapshot(desk: Desk) -> None:
    desk.suites["boot"] = suite("boot", "a")
    desk.run()
    assert calls(desk) == []


def test_a_kept_machine_is_not_snapshot(desk: Desk) -> None:
    desk.run(keep=True)
    assert calls(desk) == []


def test_a_lost_machine_in_a_scenario_costs_its_cases_and_the_next_scenario_has_a_machine(desk: Desk) -> None:
    from tests.unit.execution.test_leg import passed, with_scenario

    with_scenario(desk, passed("w"), MachineLostError("did not come back", loss=Loss.SILENCE))
    desk.tasks = (*desk.tasks, dataclasses.replace(desk.tasks[0], suite="again"))
    desk.suites["again"] = suite("again", "x", driver=None, scenario="reboot")
    run = desk.run()
    assert desk.result("reboot#x").loss is Loss.SILENCE
    assert [recovery.reason for recovery in run.recoveries] == ["did not come back"]


# ---- before, between and behind the cases --------------------------------------------------------------------------


def once(desk: Desk, part: str, error: MachineLostError) -> None:
    """The next command with ``part`` in it loses the machine."""
    run = desk.machine.run

    def answer(*command: str, **more: Any) -> Completed:
        if any(part in word for word in command):
            desk.machine.run = run  # type: ignore[method-assign]
            raise error
        return run(*command, **more)

    desk.machine.run = answer  # type: ignore[method-assign]


@pytest.mark.parametrize("part", ["tar -x", "uname", "umask 077; cat"])
def test_a_machine_that_is_lost_before_its_first_case_is_tried_with_another(desk: Desk, part: str) -> None:
    once(desk, part, MachineLostError("gone", loss=Loss.PANIC))
    run = desk.run()
    assert desk.outcomes == OK
    assert [(one.reason, one.case) for one in run.recoveries] == [("gone", None)]


def test_a_boot_that_fails_in_the_middle_of_a_leg_is_tried_once_more(desk: Desk) -> None:
    desk.group = None

    def lose() -> bytes:
        once(desk, "tar -x", MachineLostError("lost again"))
        raise MachineLostError("gone", loss=Loss.DESTROYED)

    desk.machine.at["boot#a"] = lose
    assert desk.run().error == ""
    assert desk.outcomes == {**OK, "boot#a": Outcome.ERRORED}
    assert "no machine (lost again); trying once more" in said(desk)


def test_a_machine_of_others_that_is_lost_behind_its_last_case_was_judged_and_is_cleaned(desk: Desk) -> None:
    desk.group = None
    desk.profile = Profile(name="desk", platform="ssh", endpoint=Endpoint(host="h"))
    desk.machine.console_text = b""
    once(desk, "command -v dmesg", MachineLostError("gone"))
    run = desk.run()
    assert desk.outcomes == OK
    assert run.error == ""


@pytest.mark.parametrize("part", ["tar -x", "uname"])
def test_a_connection_that_is_lost_while_a_machine_of_others_is_prepared_is_made_again(desk: Desk, part: str) -> None:
    desk.group = None
    desk.profile = Profile(name="desk", platform="ssh", endpoint=Endpoint(host="h"))
    once(desk, part, MachineLostError("reset"))
    run = desk.run()
    assert desk.outcomes == OK
    assert [one.method for one in run.recoveries] == [Method.RECONNECT]


def test_a_machine_of_others_that_answers_and_is_lost_again_is_reached_once_more(desk: Desk) -> None:
    desk.group = None
    desk.profile = Profile(name="desk", platform="ssh", endpoint=Endpoint(host="h"))
    desk.machine.at["boot#b"] = loses(Loss.CONNECTION)
    once(desk, "/runner.sh", MachineLostError("a command was killed (exit 137)"))
    run = desk.run()
    assert desk.outcomes == {**OK, "boot#b": Outcome.ERRORED}
    assert run.error == ""
    assert "a command was killed (exit 137); trying once more" in said(desk)


def test_a_machine_that_prints_but_whose_runner_never_begins_is_lost(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A login that prints for ever is no runner; the leg's time is not spent on it."""
    from lisa_ci.execution import dialogue

    class Over(dialogue.Deadline):
        is_over = True

    monkeypatch.setattr(dialogue, "Deadline", Over)

    class Chatter:
        def send(self, data: bytes) -> None: ...
        def receive(self, limit: int, timeout: Any) -> bytes:
            return b"Welcome!\n"

        def errors(self) -> bytes:
            return b""

    channel, first = desk.machine.channel, [True]

    def open_channel(*command: str) -> Any:
        if command[1] != "-c" and first and first.pop():
            return contextlib.nullcontext(Chatter())
        return channel(*command)

    desk.machine.channel = open_channel  # type: ignore[method-assign]
    run = desk.run()
    assert desk.outcomes == OK
    assert [one.reason for one in run.recoveries] == ["the runner in the machine does not begin; it was asked why"]
