"""What QEMU's events say of a machine. Pure: events and times in, a death or none out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from lisa_ci.errors import Loss
from lisa_ci.model import Death

_ENDED: Final[Mapping[str, Death]] = {
    "guest-shutdown": Death(loss=Loss.POWER_OFF, why="it powered itself off"),
    "guest-panic": Death(loss=Loss.PANIC, why="its kernel panicked"),
    "host-signal": Death(loss=Loss.DESTROYED, why="somebody on this host ended QEMU"),
    "host-qmp-quit": Death(loss=Loss.DESTROYED, why="somebody on this host ended QEMU"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """An event of QEMU, with the part of its data that matters here.

    ``reason`` is the shutdown's or the error's; a stop's is the state that QEMU is in after it.
    """

    name: str
    reason: str = ""
    is_out_of_space: bool = False


@dataclass(slots=True, kw_only=True)
class Signs:
    """The signs since the last login, or since a login is waited for. Times are those of a monotonic clock.

    A fixed number of fields and no list: a hostile guest can cause as many events as it likes.
    """

    is_up: bool = False
    has_reset: bool = False
    has_crash_kernel: bool = False
    panicked_at: float | None = None
    watchdog: bool = False
    ended: str | None = None
    has_given_up: bool = False
    disk_error: str = ""

    def take(self, event: Event, now: float) -> None:
        match event.name:
            case "GUEST_PANICKED" | "GUEST_CRASHLOADED":
                # The second one is a panic, too: of a kernel that hands over to a crash kernel.
                self.has_crash_kernel |= event.name == "GUEST_CRASHLOADED"
                if self.panicked_at is None:
                    self.panicked_at = now
            case "RESET" if self.is_up:
                self.has_reset = True
            case "RESET":
                self.panicked_at = None  # many systems reboot by themselves some seconds after a panic
            case "SHUTDOWN":
                self.ended = event.reason
            case "STOP" if event.reason == "internal-error":
                self.has_given_up = True
            case "WATCHDOG":
                self.watchdog = True
            case "BLOCK_IO_ERROR" if not self.disk_error:
                self.disk_error = "is full" if event.is_out_of_space else f"failed: {event.reason or 'no reason given'}"

    def comes_up(self) -> None:
        """A login is waited for. A panic that a reset has followed is over."""
        if self.has_reset:
            self.panicked_at = None
        self.is_up = self.has_reset = False

    def logged_in(self, *, has_crash_kernel: bool) -> None:
        self.is_up, self.has_reset, self.panicked_at, self.watchdog = True, False, None, False
        self.has_crash_kernel = has_crash_kernel

    def is_saving_memory(self, now: float, limit: float) -> bool:
        """A crash kernel is at work: neither a panic nor silence is the end before it has reset the machine."""
        if not self.has_crash_kernel or self.has_reset or self.panicked_at is None:
            return False
        return now - self.panicked_at < limit


def death_of(signs: Signs, stderr: str, *, is_connected: bool) -> Death | None:
    """The death that the signs tell, the first cause first. ``stderr`` is the last line that QEMU wrote there."""
    if signs.panicked_at is not None:
        rebooted = ", and it rebooted" if signs.has_reset else ""
        return Death(loss=Loss.PANIC, why=f"its kernel panicked{rebooted}")
    if signs.ended is not None or not is_connected:
        return _ENDED.get(signs.ended or "") or Death(
            loss=Loss.DESTROYED, why=f"QEMU ended: {stderr}" if stderr else "QEMU ended without a word"
        )
    if signs.has_given_up:
        return Death(
            loss=Loss.DESTROYED,
            why="its processor gave up: an internal error of KVM, as where nested virtualisation is incomplete",
        )
    if signs.disk_error:
        return Death(loss=Loss.DESTROYED, why=f"the host's disk {signs.disk_error}")
    if signs.watchdog:
        return Death(loss=Loss.SILENCE, why="it hung: nothing fed its watchdog")
    if signs.has_reset:
        return Death(loss=Loss.REBOOT, why="it rebooted by itself")
    return None
