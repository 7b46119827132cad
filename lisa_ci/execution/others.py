"""The consoles of the machines beside the first one of a leg: what their kernels say counts as well.

No runner marks cases there, so what comes up while a case runs belongs to that case by its time.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Sequence
from datetime import date
from typing import Final

from lisa_ci.errors import MachineLostError
from lisa_ci.execution.console_feed import ConsoleFeed
from lisa_ci.execution.console_watch import ConsoleWatch
from lisa_ci.model import Allowance, Finding
from lisa_ci.protocols import Machine

_TAIL: Final = 16 * 1024


@dataclasses.dataclass(slots=True)
class _Other:
    machine: Machine
    watch: ConsoleWatch
    feed: ConsoleFeed


class OtherConsoles:
    """By role. A finding's title begins with the role of its machine."""

    def __init__(self, allowances: Sequence[Allowance], *, today: date) -> None:
        self._allowances = allowances
        self._today = today
        self._others: dict[str, _Other] = {}

    def follow(self, machines: Sequence[Machine]) -> None:
        """These are the machines from now on; the console of a role goes on where the last one's ended."""
        for machine in machines:
            known = self._others.get(machine.role)
            watch = known.watch if known else ConsoleWatch(self._allowances, today=self._today)
            position = known.feed.position if known else 0
            feed = ConsoleFeed(machine, watch, started_at=position)
            self._others[machine.role] = _Other(machine, watch, feed)

    def restored(self) -> None:
        for other in self._others.values():
            other.watch.rewind()

    def findings(self, *, drain: bool = False) -> list[Finding]:
        """What came up since the last time."""
        found: list[Finding] = []
        for role, other in self._others.items():
            with contextlib.suppress(MachineLostError):
                new = [*other.feed.poll(drain=drain), *(other.watch.settle() if drain else ())]
                found += [dataclasses.replace(one, title=f"{role}: {one.title}", case=None) for one in new]
        return found

    def tail(self, role: str) -> str:
        """The last 16 KiB of one console; '' where there is none."""
        other, tail = self._others.get(role), b""
        if other is not None:
            with contextlib.suppress(MachineLostError):
                for block in other.machine.console(max(0, other.feed.position - _TAIL)):
                    tail = (tail + block)[-_TAIL:]
        return tail.decode("utf-8", "replace")
