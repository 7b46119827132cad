"""The time a leg has."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Final

from lisa_ci.errors import ProvisioningError

_LEAST: Final = timedelta(seconds=1)


class OutOfTimeError(ProvisioningError):
    """The leg's time is over; the machine may be well."""


class Deadline:
    """``limit`` from now on. ``clock`` gives seconds, monotonic."""

    def __init__(self, limit: timedelta, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._limit = limit
        self._end = clock() + limit.total_seconds()

    def at_most(self, wanted: timedelta) -> timedelta:
        """``wanted``, or what is left where that is less; never less than a second."""
        return max(_LEAST, min(wanted, timedelta(seconds=self._end - self._clock())))

    @property
    def is_over(self) -> bool:
        return self._clock() >= self._end

    def check(self) -> None:
        """OutOfTimeError where nothing is left."""
        if self.is_over:
            raise OutOfTimeError(
                f"the leg ran out of its {self._limit.total_seconds():g} s",
                hint="raise timeouts.leg, or split its suites into shards",
            )
