"""What QEMU's events say of a machine, the first cause first."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lisa_ci.errors import Loss
from lisa_ci.model import Death
from lisa_ci.platforms.qemu.signs import Event, Signs, death_of

PANIC, CRASH, RESET = Event(name="GUEST_PANICKED"), Event(name="GUEST_CRASHLOADED"), Event(name="RESET")
OFF = Event(name="SHUTDOWN", reason="guest-shutdown")
KILLED = Event(name="SHUTDOWN", reason="host-signal")
FULL = Event(name="BLOCK_IO_ERROR", reason="No space left on device", is_out_of_space=True)
BROKEN = Event(name="BLOCK_IO_ERROR", reason="Input/output error")
BARK = Event(name="WATCHDOG")
GAVE_UP = Event(name="STOP", reason="internal-error")
NO_PROCESSOR = "its processor gave up: an internal error of KVM, as where nested virtualisation is incomplete"


def signs(*events: Event, is_up: bool = True) -> Signs:
    found = Signs(is_up=is_up)
    for event in events:
        found.take(event, 1.0)
    return found


def told(*events: Event, is_up: bool = True, stderr: str = "", is_connected: bool = True) -> Death | None:
    return death_of(signs(*events, is_up=is_up), stderr, is_connected=is_connected)


@pytest.mark.parametrize(
    ("events", "loss", "why"),
    [
        ((PANIC,), Loss.PANIC, "its kernel panicked"),
        ((PANIC, RESET), Loss.PANIC, "its kernel panicked, and it rebooted"),
        ((CRASH, RESET), Loss.PANIC, "its kernel panicked, and it rebooted"),
        ((PANIC, OFF), Loss.PANIC, "its kernel panicked"),
        ((RESET,), Loss.REBOOT, "it rebooted by itself"),
        ((RESET, OFF), Loss.POWER_OFF, "it powered itself off"),
        ((OFF,), Loss.POWER_OFF, "it powered itself off"),
        ((Event(name="SHUTDOWN", reason="guest-panic"),), Loss.PANIC, "its kernel panicked"),
        ((KILLED,), Loss.DESTROYED, "somebody on this host ended QEMU"),
        ((Event(name="SHUTDOWN", reason="new-in-qemu-99"),), Loss.DESTROYED, "QEMU ended without a word"),
        ((FULL,), Loss.DESTROYED, "the host's disk is full"),
        ((BROKEN, FULL), Loss.DESTROYED, "the host's disk failed: Input/output error"),
        ((GAVE_UP,), Loss.DESTROYED, NO_PROCESSOR),
        ((GAVE_UP, BARK), Loss.DESTROYED, NO_PROCESSOR),
        ((BARK,), Loss.SILENCE, "it hung: nothing fed its watchdog"),
        ((BARK, RESET), Loss.SILENCE, "it hung: nothing fed its watchdog"),
    ],
)
def test_events_tell_how_a_machine_died(events: tuple[Event, ...], loss: Loss, why: str) -> None:
    assert told(*events) == Death(loss=loss, why=why)


def test_nothing_said_is_no_death() -> None:
    assert told() is None
    assert told(Event(name="NIC_RX_FILTER_CHANGED"), Event(name="STOP", reason="paused"), Event(name="RESUME")) is None


def test_a_qemu_that_is_gone_is_quoted() -> None:
    assert told(is_connected=False) == Death(loss=Loss.DESTROYED, why="QEMU ended without a word")
    gone = told(is_connected=False, stderr="qemu: cannot allocate")
    assert gone == Death(loss=Loss.DESTROYED, why="QEMU ended: qemu: cannot allocate")


def test_while_it_boots_a_reset_is_no_death_and_ends_a_panic() -> None:
    assert told(RESET, is_up=False) is None
    assert told(PANIC, RESET, is_up=False) is None
    assert told(RESET, PANIC, is_up=False) == Death(loss=Loss.PANIC, why="its kernel panicked")


def test_a_new_login_makes_what_was_before_history() -> None:
    found = signs(PANIC, RESET, BARK)
    found.comes_up()
    assert death_of(found, "", is_connected=True) == Death(loss=Loss.SILENCE, why="it hung: nothing fed its watchdog")
    found.logged_in(has_crash_kernel=False)
    assert death_of(found, "", is_connected=True) is None
    found.take(RESET, 2.0)
    assert death_of(found, "", is_connected=True) == Death(loss=Loss.REBOOT, why="it rebooted by itself")


def test_a_panic_that_no_reset_has_followed_counts_for_whoever_waits_for_a_login() -> None:
    found = signs(PANIC)
    found.comes_up()
    assert death_of(found, "", is_connected=True) == Death(loss=Loss.PANIC, why="its kernel panicked")


def test_a_crash_kernel_is_at_work_until_it_has_reset_the_machine_or_its_time_is_over() -> None:
    found = signs(CRASH)
    assert found.is_saving_memory(2.0, limit=10)
    assert not found.is_saving_memory(12.0, limit=10)
    found.take(RESET, 3.0)
    assert not found.is_saving_memory(4.0, limit=10)
    assert not signs(PANIC).is_saving_memory(2.0, limit=10)
    found = signs()
    found.logged_in(has_crash_kernel=True)
    assert not found.is_saving_memory(2.0, limit=10)
    found.take(PANIC, 2.0)
    assert found.is_saving_memory(3.0, limit=10)


@given(st.lists(st.builds(Event, name=st.text(max_size=20), reason=st.text(max_size=5)) | st.sampled_from([RESET])))
def test_unknown_events_never_kill_a_booting_machine(events: list[Event]) -> None:
    known = {"SHUTDOWN", "GUEST_PANICKED", "GUEST_CRASHLOADED", "WATCHDOG", "BLOCK_IO_ERROR"}
    assert told(*(event for event in events if event.name not in known), is_up=False) is None
