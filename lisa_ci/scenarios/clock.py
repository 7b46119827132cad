"""Scenario ``clock``: a machine's clocks against the host's.

Its cases: ``right`` (the clock of the day is the host's), ``day-keeps-pace`` and ``uptime-keeps-pace`` (over half a
minute), ``right-after-restore`` (a machine that went back to its snapshot has the host's time, and its uptime goes on
from where it was). A suite may have any.
"""

from __future__ import annotations

import functools
import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from lisa_ci.errors import MachineLostError, ProvisioningError
from lisa_ci.events import Emit
from lisa_ci.model import Result, Suite, Timeouts
from lisa_ci.protocols import Machine, Machines, SupportsSnapshot
from lisa_ci.scenarios.steps import Judged, Step, failed, passed_unless, results_of, said, skipped

RIGHT: Final = timedelta(seconds=5)
WINDOW: Final = timedelta(seconds=30)
DRIFT: Final = timedelta(seconds=0.5)
"""How far a clock may drift in the window. That is coarse: an emulated machine on a busy host is no good timekeeper."""

_SHORT: Final = timedelta(seconds=60)
_RESTORE: Final = timedelta(seconds=120)
_ASKED: Final = 5
_TOLD: Final = re.compile(rb"^(\d{1,12}(?:\.\d{1,9})?) (\d{1,12}(?:\.\d{1,2})?)$", re.MULTILINE)

TELL: Final = r"""
day=$(date +%s.%N)
case $day in *[!0-9.]*) day=$(date +%s) ;; esac
read -r up rest </proc/uptime
echo "$day $up"
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One look at a machine's clocks, in seconds. ``host`` and ``day`` count from 1970, ``stopwatch`` and ``up`` from
    some time each. ``error`` is how far the machine's two may be off against the host's: half of the question's time.
    """

    host: float
    stopwatch: float
    day: float
    up: float
    error: float


class ClockScenario:
    """``clock`` (seconds since 1970) and ``stopwatch`` (seconds, monotonic) are the host's."""

    def __init__(
        self, *, clock: Callable[[], float] = time.time, stopwatch: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._stopwatch = stopwatch

    def run(self, suite: Suite, machines: Machines, *, timeouts: Timeouts, emit: Emit) -> Iterable[Result]:
        """One result for each case. MachineLostError where the machine goes away or does not tell."""
        del timeouts, emit
        machine = machines.members[0]
        window = functools.cache(lambda: self._window(machine))  # both clocks are judged by the same half minute
        steps = (
            Step(id="right", take=lambda: self._right(machine)),
            Step(id="day-keeps-pace", take=lambda: _pace(window(), "day")),
            Step(id="uptime-keeps-pace", take=lambda: _pace(window(), "up")),
            Step(id="right-after-restore", take=lambda: self._restored(machines, machine)),
        )
        yield from results_of(suite.cases or (), steps, name="clock", stopwatch=self._stopwatch)

    def _right(self, machine: Machine) -> Judged:
        reading = self._look(machine)
        return passed_unless(_wrong_day(reading), detail=f"{reading}\n")

    def _window(self, machine: Machine) -> tuple[Reading, Reading]:
        """The clocks before and after WINDOW."""
        first = self._look(machine)
        machine.run("sleep", str(WINDOW.seconds), timeout=WINDOW + _SHORT)
        return first, self._look(machine)

    def _restored(self, machines: Machines, machine: Machine) -> Judged:
        if not isinstance(machines, SupportsSnapshot):
            return skipped("these machines have no snapshots")
        before = self._look(machine)
        try:
            machines.restore(timeout=_RESTORE)
        except ProvisioningError as error:
            return skipped(f"these machines cannot go back: {error.message}")
        after = self._look(machine)
        if after.up > before.up:
            return failed(f"up for {before.up:.0f} s before and {after.up:.0f} s after: that was no restore")
        return passed_unless(_wrong_day(after), detail=f"{before}\n{after}\n")

    def _look(self, machine: Machine) -> Reading:
        """The best of several: the one whose question took the least time."""
        readings = [self._ask(machine) for _ in range(_ASKED)]
        return min(readings, key=lambda reading: reading.error)

    def _ask(self, machine: Machine) -> Reading:
        host, stopwatch = self._clock(), self._stopwatch()
        done = machine.run("sh", "-c", TELL, timeout=_SHORT)
        took = self._stopwatch() - stopwatch
        told = _TOLD.search(done.output)
        if done.exit != 0 or told is None:
            raise MachineLostError(f"{machine.name} does not tell its time: {said(done.output)}")
        return Reading(
            host=host + took / 2,
            stopwatch=stopwatch + took / 2,
            day=float(told[1]),
            up=float(told[2]),
            error=took / 2,
        )


def _pace(window: tuple[Reading, Reading], which: str) -> Judged:
    """Whether the clock ``which`` (``day`` or ``up``) went as far as the host's in the window."""
    first, last = window
    went = getattr(last, which) - getattr(first, which)
    host = last.host - first.host if which == "day" else last.stopwatch - first.stopwatch
    drift, error = went - host, first.error + last.error
    detail = f"{went:.3f} s in {host:.3f} s of the host, known to {error:.3f} s\n"
    if went < 0:
        return failed(f"the clock went back by {-went:.3f} s", detail=detail)
    if abs(drift) - error <= DRIFT.total_seconds():
        return passed_unless("", detail=detail)
    return failed(f"the clock went {went:.2f} s while {host:.2f} s went by on the host", detail=detail)


def _wrong_day(reading: Reading) -> str:
    off = reading.day - reading.host
    if abs(off) - reading.error <= RIGHT.total_seconds():
        return ""
    return f"the clock is {off:+.1f} s off against the host's, at most {RIGHT.total_seconds():.0f} s are right"
