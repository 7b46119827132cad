"""From a machine's console to the watch over it: what is new since the last time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from lisa_ci.execution.console_watch import ConsoleWatch
from lisa_ci.model import Finding
from lisa_ci.protocols import Machine

MOST: Final = 8 << 20
"""Bytes that one poll reads, unless it drains."""
_OVERLAP: Final = 64


class ConsoleFeed:
    """``poll`` reads on where the last one stopped. A machine without a console gives nothing.

    A console that shrank, or that holds something else where the last poll stopped, is a new one: it is read from its
    start. ``started_at`` is the byte to begin with; what came before is not looked at.
    """

    def __init__(self, machine: Machine, watch: ConsoleWatch, *, started_at: int = 0) -> None:
        self.watch = watch
        self._machine = machine
        self._position = started_at
        self._recent = b""

    @property
    def position(self) -> int:
        """Bytes of the console that have been read."""
        return self._position

    def poll(self, *, drain: bool = False) -> list[Finding]:
        """The findings that are complete by now; 8 MiB are read at most, with ``drain`` everything there is."""
        findings: list[Finding] = []
        if self._recent and not self._is_same():
            findings += self.watch.feed(b"\n")
            self._position, self._recent = 0, b""
        taken = 0
        for block in self._machine.console(self._position):
            piece = block if drain else block[: MOST - taken]
            findings += self.watch.feed(piece)
            taken += len(piece)
            self._position += len(piece)
            self._recent = (self._recent + piece[-_OVERLAP:])[-_OVERLAP:]
            if taken >= MOST and not drain:
                break
        return findings

    def _is_same(self) -> bool:
        """Whether the last bytes that were read are still where they were."""
        blocks: Iterator[bytes] = self._machine.console(self._position - len(self._recent))
        found = b""
        for block in blocks:
            found += block[: len(self._recent) - len(found)]
            if len(found) >= len(self._recent):
                break
        return found == self._recent
