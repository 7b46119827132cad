"""Signals that may wait until they find everything in order."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def signals_held() -> Iterator[Callable[[], None]]:
    """SIGINT and SIGTERM come when the given function is called, or at the end of the block."""
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})

    def let_go() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    try:
        yield let_go
    finally:
        let_go()
