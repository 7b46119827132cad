"""What the kernel of a leg's machine says while cases run: findings, by case, and the last lines."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Sequence
from datetime import date
from typing import Final

from lisa_ci.errors import MachineLostError
from lisa_ci.execution.console_feed import ConsoleFeed
from lisa_ci.execution.console_watch import ConsoleWatch
from lisa_ci.execution.others import OtherConsoles
from lisa_ci.model import Allowance, Category, Finding
from lisa_ci.protocols import Machine

_TAIL: Final = 16 * 1024  # bytes that go into the result of the case that lost the machine
_LIMIT: Final = 200  # findings of a leg
_PLACED: Final = frozenset({Category.OOPS, Category.PANIC, Category.KASAN, Category.UBSAN})
_TEXT_LIMIT: Final = 2048  # characters of a finding that goes into the head of the run


class KernelLog:
    """Implements ``dialogue.Console`` for whatever machine the leg has at the moment."""

    def __init__(
        self, allowances: Sequence[Allowance], *, today: date, source: Callable[[str], str] = lambda _: ""
    ) -> None:
        """``source`` tells where in the sources a report of the kernel happened, '' where nobody knows."""
        self._source = source
        self._watch = ConsoleWatch(allowances, today=today)
        self._others = OtherConsoles(allowances, today=today)
        self._claimed = 0
        self._beside: list[int] = []  # places of findings of the others that no case has yet
        self._feed: ConsoleFeed | None = None
        self._machine: Machine | None = None
        self._findings: list[Finding] = []
        self._told: set[Finding] = set()

    # ---- which machine ---------------------------------------------------------------------------------------------

    def follow(self, machine: Machine, *others: Machine) -> None:
        """``machine`` is the one from now on; its console goes on where the last one's ended.

        ``others`` are those beside it, in which no case runs.
        """
        self.poll()
        position = self._feed.position if self._feed is not None else 0
        if self._machine is not None:
            self.restored()
        self._machine = machine
        self._feed = ConsoleFeed(machine, self._watch, started_at=position)
        self._others.follow(others)

    def restored(self) -> None:
        """The machine is what it was at its snapshot: its clock went back, and no case runs."""
        self.poll()
        self._watch.rewind()
        self._others.restored()

    @property
    def has_console(self) -> bool:
        self.poll()
        return self._feed is not None and self._feed.position > 0

    def read_dmesg(self, text: bytes) -> None:
        """What the kernel kept in memory, for a machine without a console. What no case of ours did is not ours."""
        found = [*self._watch.feed(text), *self._watch.finish()]
        self._keep([finding for finding in found if finding.case is not None])

    # ---- what it says ----------------------------------------------------------------------------------------------

    def poll(self, *, drain: bool = False) -> None:
        """Read what is new, at most 8 MiB of it; all of it with ``drain``."""
        if self._feed is not None:
            with contextlib.suppress(MachineLostError):
                self._keep(self._feed.poll(drain=drain))
        before = len(self._findings)
        self._keep(self._others.findings(drain=drain))
        self._beside += range(before, len(self._findings))

    def findings(self, key: str) -> Sequence[Finding]:
        """Those that came up while case ``key`` ran, as far as the console has them."""
        self.poll(drain=True)
        self._keep(self._watch.settle())
        for number in self._beside:
            self._findings[number] = dataclasses.replace(self._findings[number], case=key)
        self._beside.clear()
        found = tuple(finding for finding in self._findings if finding.case == key)
        self._told.update(found)
        return found

    def begin(self) -> None:
        """From here on, what comes up belongs to the case that ``claim`` names next."""
        self.poll(drain=True)
        self._keep(self._watch.settle())
        self._claimed = len(self._findings)
        self._beside.clear()

    def claim(self, key: str) -> Sequence[Finding]:
        """What came up on any console since ``begin`` or the last claim: of case ``key``, which is driven from here."""
        self.poll(drain=True)
        self._keep(self._watch.settle())
        for number, finding in enumerate(self._findings[self._claimed :], self._claimed):
            if finding.case is None:
                self._findings[number] = dataclasses.replace(finding, case=key)
        found = tuple(finding for finding in self._findings[self._claimed :] if finding.case == key)
        self._claimed = len(self._findings)
        self._beside.clear()
        self._told.update(found)
        return found

    def has_end_of(self, key: str) -> bool:
        """Whether everything that the kernel said during the case is there; True where no marks come."""
        self.poll()
        cases = self._watch.marks.cases
        return not cases or any(mark.case == key and mark.is_ended for mark in cases)

    def running(self) -> str | None:
        """The case that runs, or ran when the machine went away, as the marks say; None where they say nothing."""
        self.poll()
        return self._watch.marks.running or self._watch.marks.interrupted

    def tail(self, role: str = "") -> str:
        """The last 16 KiB that the machine's console printed, or that of another ``role``; '' where there is none."""
        if role:
            return self._others.tail(role)
        self.poll(drain=True)
        tail = b""
        if self._machine is not None and self._feed is not None:
            with contextlib.suppress(MachineLostError):
                for block in self._machine.console(max(0, self._feed.position - _TAIL)):
                    tail = (tail + block)[-_TAIL:]
        return tail.decode("utf-8", "replace")

    def of_no_case(self) -> tuple[Finding, ...]:
        """The findings that no result has: those of the boot, between cases, or too late."""
        self.poll(drain=True)
        self._keep(self._watch.finish())
        return tuple(
            dataclasses.replace(finding, text=finding.text[:_TEXT_LIMIT])
            for finding in self._findings
            if finding not in self._told
        )

    def _keep(self, found: Sequence[Finding]) -> None:
        self._findings += [self._placed(one) for one in found[: max(0, _LIMIT - len(self._findings))]]

    def _placed(self, finding: Finding) -> Finding:
        """With the line of source below the text, where the kernel named none itself."""
        if finding.category not in _PLACED:
            return finding
        place = self._source(finding.text)
        return dataclasses.replace(finding, text=f"{finding.text}\n[source: {place}]") if place else finding
