"""Whether a machine lives, as far as the host can see, and why it does not."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

from lisa_ci.platforms.qemu import console_text
from lisa_ci.platforms.qemu.guard import Guard
from lisa_ci.platforms.qemu.qmp import Qmp

_POLL_SECONDS: Final = 0.1
_PANIC_TEXT_SECONDS: Final = 3.0
_PANIC_END: Final = b"end Kernel panic"


class Life:
    """Whether a machine lives, as far as the host can see."""

    def __init__(self, qmp: Qmp, guard: Guard, console: Path) -> None:
        self._qmp = qmp
        self._guard = guard
        self.console = console
        self.is_booting = True

    def why_dead(self) -> str | None:
        self._qmp.settle()
        events = self._qmp.events
        if not self._qmp.is_connected or any(event.startswith("SHUTDOWN") for event in events):
            return why_ended(events, self._guard.last_error())
        if has_panicked(events):
            self._await_end_of_panic()
            return "its kernel panicked"
        if self.is_booting:
            found = console_text.why_no_boot(console_text.read_tail(self.console))
            return f"its firmware says '{found}'" if found else None
        return None

    def _await_end_of_panic(self) -> None:
        """The panic device speaks first, the console has the reason a moment later."""
        deadline = time.monotonic() + _PANIC_TEXT_SECONDS
        while _PANIC_END not in console_text.read_tail(self.console) and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)


def has_panicked(events: tuple[str, ...]) -> bool:
    """A panic that no reset has followed: many systems reboot by themselves some seconds later."""
    told = [event.partition(" ")[0] for event in events]
    last = next((name for name in reversed(told) if name in {"GUEST_PANICKED", "RESET"}), "")
    return last == "GUEST_PANICKED"


def why_ended(events: tuple[str, ...], stderr: str) -> str:
    """Why QEMU is gone: the guest's own doing, as its last events tell, or what QEMU said."""
    shutdown = next((event for event in reversed(events) if event.startswith("SHUTDOWN")), "")
    match shutdown.removeprefix("SHUTDOWN").strip():
        case "guest-shutdown":
            return "it powered itself off"
        case "guest-panic":
            return "its kernel panicked"
        case "host-signal" | "host-qmp-quit":
            return "somebody on this host ended QEMU"
    return f"QEMU ended: {stderr}" if stderr else "QEMU ended without a word"
