"""When a machine is dead, and when it only seems so."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from lisa_ci.errors import Loss
from lisa_ci.model import Death
from lisa_ci.platforms.qemu import life as module
from lisa_ci.platforms.qemu.life import Life, off_by
from lisa_ci.platforms.qemu.signs import Event

PANIC_TEXT = b"Kernel panic - not syncing: x\n---[ end Kernel panic - not syncing: x ]---\n"
NO_CRASH_KERNEL = b"crash-kernel 0\nclock 1700000000\n"


class Qmp:
    """QEMU's side: tells events, remembers what it was sent."""

    def __init__(self) -> None:
        self.is_connected = True
        self.posted: list[str] = []
        self.settled = 0
        self.tell: Callable[[Event], None] = lambda _: None

    def on_event(self, take: Callable[[Event], None]) -> None:
        self.tell = take

    def post(self, command: str) -> None:
        self.posted.append(command)

    def settle(self) -> None:
        self.settled += 1


class Guard:
    def last_error(self) -> str:
        return "qemu: its last words"


class Given:
    def __init__(self, console: Path) -> None:
        self.qmp: Any = Qmp()
        guard: Any = Guard()
        self.console = console
        self.warned: list[str] = []
        self.life = Life(self.qmp, guard, console, boot=timedelta(seconds=100), warn=self.warned.append)

    def up(self, said: bytes = NO_CRASH_KERNEL) -> Given:
        self.life.comes_up()
        self.life.logged_in(said)
        return self

    def tell(self, *names: str) -> None:
        for name in names:
            self.qmp.tell(Event(name=name))

    def prints(self, text: bytes) -> None:
        with self.console.open("ab") as file:
            file.write(text)


@pytest.fixture
def given(tmp_path: Path) -> Given:
    return Given(tmp_path / "console")


def test_a_machine_lives_while_nobody_says_otherwise(given: Given) -> None:
    assert given.life.death() is None
    assert given.up().life.death() is None


def test_firmware_without_a_disk_is_told_while_it_boots_only(given: Given) -> None:
    given.prints(b"No bootable device\n")
    assert given.life.death() == Death(loss=Loss.DESTROYED, why="its firmware says 'No bootable device'")
    assert given.up().life.death() is None


def test_a_kernel_that_panics_while_it_boots_and_stays_there_is_not_waited_for(given: Given) -> None:
    given.prints(b"Kernel panic - not syncing: x\nRebooting in 5 seconds..\n")
    assert given.life.death() is None
    given.prints(PANIC_TEXT)
    assert given.life.death() == Death(loss=Loss.PANIC, why="its kernel panicked: x")
    assert given.up().life.death() is None


def test_nor_one_that_panics_when_it_boots_again(given: Given) -> None:
    """What it said while it was up, and while it went down, is not this boot's."""
    given.up().prints(PANIC_TEXT)
    assert given.life.death() is None, "a test printed that"
    given.tell("RESET")
    given.life.comes_up()
    assert given.life.death() is None
    given.prints(PANIC_TEXT)
    assert given.life.death() == Death(loss=Loss.PANIC, why="its kernel panicked: x")
    given.life.comes_up()
    assert given.life.death() == Death(loss=Loss.PANIC, why="its kernel panicked: x"), "it was not up since"


def test_what_an_earlier_machine_left_on_the_console_is_not_this_ones(given: Given) -> None:
    given.prints(PANIC_TEXT + b"No bootable device\n")
    later = Given(given.console)
    assert later.life.death() is None
    later.prints(PANIC_TEXT)
    assert later.life.death() is not None


def test_a_boot_without_a_timer_has_a_second_one(given: Given) -> None:
    """For the host was too busy to emulate it. Not a third one; a reboot has its own."""
    message = b"IO-APIC + timer doesn't work! Boot with apic=debug and send a report."
    text = b"[    0.048000] ---[ end Kernel panic - not syncing: " + message + b" ]---\r\n"
    death = Death(loss=Loss.PANIC, why=f"its kernel panicked: {message.decode()}")
    given.prints(text)
    assert [given.life.death(), given.life.death()] == [None, None]
    given.tell("RESET")
    assert given.life.death() is None
    given.prints(text)
    assert given.life.death() == death
    assert given.qmp.posted == ["system_reset"]
    given.up().prints(text)
    assert given.life.death() is None, "a test printed that"
    given.tell("RESET")
    given.life.comes_up()
    given.prints(text)
    assert given.life.death() is None
    given.prints(text)
    assert given.life.death() == death
    assert given.qmp.posted == ["system_reset"] * 2
    assert ["started again" in one for one in given.warned] == [True, True]


def test_a_panic_is_told_when_its_text_is_whole(given: Given) -> None:
    given.up().tell("GUEST_PANICKED")
    given.prints(PANIC_TEXT)
    assert given.life.death() == Death(loss=Loss.PANIC, why="its kernel panicked")
    assert given.life.has_panicked


def test_a_panic_that_reboots_before_its_text_ends_is_told_so(given: Given, monkeypatch: pytest.MonkeyPatch) -> None:
    """kernel.panic=-1 resets instead of printing the end; an earlier kernel's end is not this one's."""
    given.prints(PANIC_TEXT)
    given.up().tell("GUEST_PANICKED")
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        given.tell("RESET")

    monkeypatch.setattr(module.time, "sleep", sleep)
    assert given.life.death() == Death(loss=Loss.PANIC, why="its kernel panicked, and it rebooted")
    assert len(slept) == 1


def test_a_reset_whose_panic_only_the_console_told_is_a_panic(given: Given) -> None:
    given.prints(PANIC_TEXT)
    given.up().tell("RESET")
    assert given.life.death() == Death(loss=Loss.REBOOT, why="it rebooted by itself"), "that panic was long before"
    given.prints(PANIC_TEXT)
    assert given.life.death() == Death(loss=Loss.PANIC, why="its kernel panicked, and it rebooted")


def test_a_crash_kernel_has_the_time_of_a_boot(given: Given, monkeypatch: pytest.MonkeyPatch) -> None:
    given.up(b"crash-kernel 1\nclock 1\n")
    given.prints(PANIC_TEXT)
    assert given.life.grace() == timedelta(seconds=100)
    given.tell("GUEST_CRASHLOADED")
    assert given.life.death() is None
    now = time.monotonic()
    monkeypatch.setattr(module.time, "monotonic", lambda: now + 101)
    assert given.life.death() == Death(loss=Loss.PANIC, why="its kernel panicked")
    monkeypatch.setattr(module.time, "monotonic", lambda: now)
    given.tell("RESET")
    assert given.life.death() == Death(loss=Loss.PANIC, why="its kernel panicked, and it rebooted")


def test_a_qemu_that_ends_ends_a_crash_kernel_too(given: Given) -> None:
    given.up(b"crash-kernel 1\n").tell("GUEST_CRASHLOADED")
    given.prints(PANIC_TEXT)
    given.qmp.is_connected = False
    assert given.life.death() is not None


def test_without_a_crash_kernel_silence_is_the_end(given: Given) -> None:
    assert given.up().life.grace() == timedelta()


@pytest.mark.parametrize("said", [b"", b"\xff\n", b"clock soon\ncrash-kernel yes\n", b"crash-kernel 1crash-kernel"])
def test_a_machine_that_answers_nonsense_has_neither_clock_nor_crash_kernel(given: Given, said: bytes) -> None:
    life = given.up(said).life
    assert life.clock_off is None
    assert life.grace() == timedelta()


def test_a_qemu_that_is_gone_is_quoted(given: Given) -> None:
    given.up()
    given.qmp.is_connected = False
    assert given.life.death() == Death(loss=Loss.DESTROYED, why="QEMU ended: qemu: its last words")


def test_a_console_without_end_is_stopped_and_has_less_room_after_a_restore(
    given: Given, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_CONSOLE_BYTES", 1 << 20)
    given.up().prints(bytes(1 << 20))
    assert given.life.death() is None
    given.prints(b"x")
    assert given.life.death() == Death(loss=Loss.CONSOLE_FLOOD, why="its console printed more than 1 MiB")
    assert given.qmp.posted == ["stop"]
    given.life.restored()
    assert given.up().life.death() is None
    given.prints(bytes(1 << 16))
    assert given.life.death() is None
    given.prints(b"x")
    assert given.life.death() is not None
    assert Given(given.console).up().life.death() is None, "the next machine goes on in the same file"


def test_after_a_restore_nothing_of_before_counts_and_the_first_command_mends(given: Given) -> None:
    plain, nothing = given.life.opening()
    assert (plain[-1], nothing) == ("", b"")
    given.up().tell("GUEST_PANICKED", "WATCHDOG", "BLOCK_IO_ERROR", "RESET")
    given.prints(PANIC_TEXT)
    given.life.restored()
    assert given.qmp.settled == 1, "what QEMU said before has become events before they are forgotten"
    assert given.life.death() is None
    first, second = given.life.opening(), given.life.opening()
    assert abs(float(first[0][-1]) - time.time()) < 5
    assert len(first[1]) == 64
    assert first[1] != second[1]
    given.up(f"clock {int(time.time()) - 3}\n".encode())
    assert given.life.clock_off is not None
    assert -5 < given.life.clock_off < -2
    given.life.restored()
    given.life.opening()
    given.up(f"clock {int(time.time()) + 9}\n".encode())
    assert 7 < given.life.clock_off < 10
    assert given.life.opening()[1] == b"", "once for each restore"


@pytest.mark.parametrize(("told", "off"), [(100.0, 0.0), (105.0, 0.0), (110.0, 0.0), (97.0, -3.0), (114.0, 4.0)])
def test_a_clock_that_was_read_while_we_waited_is_not_off_by_the_waiting(told: float, off: float) -> None:
    assert off_by(told, asked=100.0, heard=110.0) == off
