"""Making a machine that gives no sign of life say where it hangs: a non-maskable interrupt reaches a kernel that has
every other one switched off. The first command of each login (life.py) told the kernel to panic on it.
"""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Final

from lisa_ci.errors import ProvisioningError
from lisa_ci.platforms.qemu.life import Life
from lisa_ci.platforms.qemu.qmp import Qmp

_PANIC_LIMIT: Final = 10.0  # seconds; an emulated kernel prints its registers of every processor meanwhile
_POLL_SECONDS: Final = 0.1


def diagnose(qmp: Qmp, life: Life, *, boot: timedelta) -> str:
    """What was done, '' where the machine is dead already. Returns when the traces are on the console. Never raises.

    A crash kernel that takes over is waited for, ``boot`` at most.
    """
    if life.death() is not None:
        return ""
    try:
        qmp.execute("inject-nmi")
    except ProvisioningError:
        return ""
    started = time.monotonic()
    while not life.has_panicked:
        if time.monotonic() - started > _PANIC_LIMIT:
            return "an NMI was sent, which its kernel did not answer"
        time.sleep(_POLL_SECONDS)
    while life.death() is None and time.monotonic() - started < boot.total_seconds():
        if not life.grace() and time.monotonic() - started > _PANIC_LIMIT:
            break  # the console told of the panic, no device did
        time.sleep(_POLL_SECONDS)
    return "an NMI made its kernel tell where it was"
