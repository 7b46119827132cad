"""Whether a machine lives, as far as the host can see, and why it does not.

A crash kernel is never cut short: where the machine has one loaded, a panic or a silence is not the end of it before
the machine has been reset, or before it had the time of a whole boot for saving its memory.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Final

from lisa_ci.errors import Loss
from lisa_ci.faults import NO_TIMER
from lisa_ci.model import Death
from lisa_ci.platforms.qemu import console_text
from lisa_ci.platforms.qemu.guard import Guard
from lisa_ci.platforms.qemu.qmp import Qmp
from lisa_ci.platforms.qemu.signs import Event, Signs, death_of

MOST_CONSOLE_BYTES: Final = 256 << 20
_POLL_SECONDS: Final = 0.1
_PANIC_TEXT_SECONDS: Final = 3.0
_LOOKED_THROUGH_BYTES: Final = 1 << 20
_PANIC_END: Final = b"end Kernel panic"
_PANIC_BEGIN: Final = b"Kernel panic - not syncing"
_NO_TIMER: Final = (
    "this host was too busy to emulate a timer, and the kernel gave up for lack of one; the machine is started again"
)
_CRASH_KERNEL: Final = re.compile(rb"^crash-kernel 1$", re.MULTILINE)
_CLOCK: Final = re.compile(rb"^clock (\d{1,12})$", re.MULTILINE)

# The first command of every login. What it sets is gone with the kernel that runs: an NMI that QEMU sends then makes a
# kernel that hangs tell where (see diagnosis.py). $1, after a restore: the time in seconds; stdin is entropy then.
# The clock is set by the machine's RTC, which follows ours, because this command may be late on a busy host; what a
# test did to the RTC does not count. RNDRESEEDCRNG (0x5207) makes the kernel use it at once instead of within a minute.
_OPENING: Final = r"""exec 3>&1 >/dev/null 2>&1
for name in unknown_nmi_panic panic_on_unrecovered_nmi panic_on_io_nmi; do echo 1 >/proc/sys/kernel/$name; done
if [ "$1" ]; then
    read -r rtc </sys/class/rtc/rtc0/since_epoch
    [ "${rtc:-0}" -ge "$1" ] && [ "$rtc" -le $(($1 + 60)) ] && now=$rtc.5 || now=$1
    date -u -s "@$now" || date -u -s "@${now%.*}"
    head -c 64 >/dev/urandom
    perl -e 'open F, ">/dev/urandom"; ioctl F, 0x5207, 0' ||
        python3 -c 'import fcntl; fcntl.ioctl(open("/dev/urandom", "wb"), 0x5207)'
fi
read -r loaded </sys/kernel/kexec_crash_loaded
{ echo "crash-kernel ${loaded:-0}"; date -u "+clock %s"; } >&3
exit 0"""
_ENTROPY_BYTES: Final = 64


class Life:
    """Whether a machine lives, as far as the host can see. Usable from any thread.

    ``boot`` is the longest that a boot may take; ``warn`` hears of a machine that had to be started again.
    """

    def __init__(self, qmp: Qmp, guard: Guard, console: Path, *, boot: timedelta, warn: Callable[[str], None]) -> None:
        self._qmp = qmp
        self._guard = guard
        self.console = console
        self._boot = boot
        self._warn = warn
        self._lock = threading.Lock()
        self._signs = Signs()
        self._console_began = self._console_bytes()
        self._console_at_begin = self._console_began
        self._boot_began = self._console_began
        self._had_second_start = False
        self._is_restored = False
        self._asked_at = 0.0
        self.clock_off: float | None = None
        qmp.on_event(self._take)

    def _take(self, event: Event) -> None:
        with self._lock:
            self._signs.take(event, time.monotonic())

    # ---- for the connection: see ssh.Vitals ------------------------------------------------------------------------

    def death(self) -> Death | None:
        """Why it is dead, or None. Costs no word with QEMU; after a panic it waits for the end of its text."""
        now = time.monotonic()
        with self._lock:
            signs, saving = self._signs, self._signs.is_saving_memory(now, self._boot.total_seconds())
            if saving and self._qmp.is_connected and signs.ended is None:
                return None
            found = death_of(signs, "", is_connected=self._qmp.is_connected)
            panicked_at = signs.panicked_at
        if found is None:
            return self._flood() or self._no_boot()
        if panicked_at is not None:
            self._await_end_of_panic(panicked_at + _PANIC_TEXT_SECONDS)
            # Meanwhile it may have rebooted, as kernel.panic=-1 asks: that is part of the story.
            return death_of(self._signs, "", is_connected=True) or found
        if found.loss is Loss.DESTROYED and not self._qmp.is_connected:
            return death_of(self._signs, self._guard.last_error(), is_connected=False)
        if found.loss is Loss.REBOOT and self._has_told_of_panic():
            return Death(loss=Loss.PANIC, why="its kernel panicked, and it rebooted")
        return found

    def comes_up(self) -> None:
        with self._lock:
            if self._signs.is_up:
                self._boot_began = self._console_bytes()
                self._had_second_start = False
            self._signs.comes_up()

    def opening(self) -> tuple[tuple[str, ...], bytes]:
        """The first command of a login, and its stdin: after a restore it also sets the clock and mixes entropy in."""
        self._asked_at = time.time()
        if not self._is_restored:
            return ("sh", "-c", _OPENING, "sh", ""), b""
        return ("sh", "-c", _OPENING, "sh", f"{self._asked_at:.0f}"), os.urandom(_ENTROPY_BYTES)

    def logged_in(self, said: bytes) -> None:
        told = _CLOCK.search(said)
        self.clock_off = off_by(float(told[1]), self._asked_at, time.time()) if told else None
        self._is_restored = False
        self._console_began = self._console_bytes()
        with self._lock:
            self._signs.logged_in(has_crash_kernel=_CRASH_KERNEL.search(said) is not None)

    def grace(self) -> timedelta:
        """A machine with a crash kernel that fell silent without a word may be saving its memory."""
        return self._boot if self._signs.has_crash_kernel else timedelta()

    # ---- for snapshots and diagnosis -------------------------------------------------------------------------------

    def restored(self) -> None:
        """It is another machine now: nothing that happened before counts."""
        self._qmp.settle()
        with self._lock:
            self._signs = Signs(has_crash_kernel=self._signs.has_crash_kernel)
        self._is_restored = True
        self._console_began = self._console_bytes()
        self._console_at_begin = self._console_began

    @property
    def has_panicked(self) -> bool:
        """QEMU or the console told of a panic since the last login."""
        return self._signs.panicked_at is not None or self._has_told_of_panic()

    # ---- the console -----------------------------------------------------------------------------------------------

    def _console_bytes(self) -> int:
        try:
            return self.console.stat().st_size
        except OSError:
            return 0

    def _flood(self) -> Death | None:
        """The console's file is on the host's disk: what writes it without end is stopped.

        A machine that begins with a console of before, or is restored, has room for a sixteenth more: one that floods
        again must not fill the disk either.
        """
        if self._console_bytes() <= max(MOST_CONSOLE_BYTES, self._console_at_begin + MOST_CONSOLE_BYTES // 16):
            return None
        self._qmp.post("stop")
        return Death(
            loss=Loss.CONSOLE_FLOOD, why=f"its console printed more than {MOST_CONSOLE_BYTES / (1 << 20):g} MiB"
        )

    def _no_boot(self) -> Death | None:
        """Why the boot that is waited for has ended before its time. Without a timer it has a second one."""
        with self._lock:
            if self._signs.is_up or self._is_restored:
                return None
            console = self._said(self._boot_began)
            if found := console_text.why_no_boot(console):
                return Death(loss=Loss.DESTROYED, why=f"its firmware says '{found}'")
            found = console_text.end_of_boot(console)
            if found is None:
                return None
            if self._had_second_start or not found.startswith(NO_TIMER):
                return Death(loss=Loss.PANIC, why=f"its kernel panicked: {found}")
            self._had_second_start = True
            self._boot_began = self._console_bytes()
        self._qmp.post("system_reset")
        self._warn(_NO_TIMER)
        return None

    def _has_told_of_panic(self) -> bool:
        return self._has_told(_PANIC_BEGIN)

    def _has_told(self, text: bytes) -> bool:
        return text in self._said(self._console_began)

    def _said(self, began: int) -> bytes:
        """The console's text since it had ``began`` bytes."""
        size = min(self._console_bytes() - began, _LOOKED_THROUGH_BYTES)
        return console_text.read_tail(self.console, size) if size > 0 else b""

    def _await_end_of_panic(self, deadline: float) -> None:
        """The panic device speaks first, the console has the reason a moment later; a reset ends the text early."""
        while not (self._signs.has_reset or self._has_told(_PANIC_END)) and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)


def off_by(told: float, asked: float, heard: float) -> float:
    """How far a clock is off, at least, that was read at some time between asking and hearing."""
    return min(told - asked, 0.0) or max(told - heard, 0.0)
