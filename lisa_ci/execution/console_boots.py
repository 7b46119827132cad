"""Time on a console: where a boot begins, and what is only the log of this boot printed once more.

A line of the kernel's log may come by a second time: somebody copies the log to the console. Such a line has a stamp
far behind the newest. The first line of a kernel that comes by again is either a new boot or the beginning of such a
copy; the lines after it tell, for a copy repeats their stamps to the microsecond.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from lisa_ci.execution.console_lines import Line

SLACK: Final = 1.0  # seconds; CPUs do not stamp in perfect order
_FIRST_LINES: Final = 64  # of a boot, kept to know them again
_ATTENTION: Final = 400  # lines after the start of a boot that are read for them
_DOUBT: Final = 512  # lines; those before the kernel's clock runs are often 200
_REPEATED: Final = 3  # lines that prove a copy
_DIFFERENT: Final = 6  # lines that prove a boot; a copy has some that the console's log level left out
_MARKS: Final = 16384
_NOT_YET: Final = 0.0001  # seconds; before its clock runs, stamps of all boots are the same


class Recent:
    """The last lines of some kind, to know them again: the same text with the same stamp is the same line."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: set[tuple[float, str]] = set()
        self._order: deque[tuple[float, str]] = deque()

    def is_new(self, line: Line) -> bool:
        """Whether a line comes by for the first time; it is known from now on. One without a stamp is always new."""
        if line.stamp is None:
            return True
        key = (line.stamp, line.text)
        if key in self._known:
            return False
        self._known.add(key)
        self._order.append(key)
        if len(self._order) > self._most:
            self._known.discard(self._order.popleft())
        return True


class Boots:
    """Decides line by line; holds back at most 512 lines while in doubt."""

    def __init__(self) -> None:
        self.has_stamps = False
        self.is_stampless = False
        self._newest: float | None = None
        self._first: set[tuple[float, str]] = set()
        self._attention = 0
        self._held: list[Line] | None = None
        self._agreed = 0
        self._differed = 0
        self._is_copy = False
        self._marks = Recent(_MARKS)
        self._last_mark: float | None = None
        self.went_back = False

    @property
    def is_attentive(self) -> bool:
        return self._attention > 0 or self._held is not None

    def see(self, stamp: float | None) -> None:
        """A stamp came by."""
        if stamp is not None:
            self.has_stamps = not self.is_stampless
            if self._newest is None or stamp > self._newest:
                self._newest = stamp

    def is_old(self, stamp: float | None) -> bool:
        """A line that this console has shown before, by its stamp."""
        return stamp is not None and self._newest is not None and stamp < self._newest - SLACK

    # ---- boots -----------------------------------------------------------------------------------------------------

    def is_start(self, line: Line) -> bool:
        """The first line of a kernel, of which ``sift`` has found that it is no copy."""
        if not _says_version(line):
            return False
        if self._is_copy:
            self._is_copy = False
            return False
        return True

    def start(self, line: Line) -> None:
        """A boot begins."""
        self._first.clear()
        self._attention = _ATTENTION
        self._newest = self._last_mark = None
        self.is_stampless = line.stamp is None
        self.see(line.stamp)

    def rewind(self) -> None:
        """Time went back without a boot."""
        self._newest = self._last_mark = None
        self._held = None

    def sift(self, line: Line) -> list[Line]:
        """The lines that can be judged now: this one, or none while in doubt, or those that were held back."""
        if self._held is None:
            if _says_version(line) and self._first and self.is_old(line.stamp):
                self._held, self._agreed, self._differed = [line], 0, 0
                return []
            self._attention = max(0, self._attention - 1)
            return [line]
        self._held.append(line)
        self._weigh(line)
        if self._agreed >= _REPEATED:
            self._is_copy = True
        elif self._differed < _DIFFERENT and len(self._held) < _DOUBT:
            return []
        return self.give_up()

    def _weigh(self, line: Line) -> None:
        if line.stamp is None or not _is_telling(line.stamp):
            return
        if (line.stamp, line.text) in self._first:
            self._agreed += 1
        elif self._newest is not None and line.stamp >= self._newest:
            self._agreed = _REPEATED  # the copy is over, and the kernel goes on
        else:
            self._differed += 1

    def give_up(self) -> list[Line]:
        """The lines that are held back: without proof of a copy they begin a boot."""
        held, self._held = self._held or [], None
        return held

    def learn(self, line: Line) -> None:
        """A line of the kernel that is no copy."""
        self.see(line.stamp)
        if self._attention and line.stamp is not None and _is_telling(line.stamp):
            self._first.add((line.stamp, line.text))
            if len(self._first) >= _FIRST_LINES:
                self._attention = 0

    # ---- markers ---------------------------------------------------------------------------------------------------

    def is_new_mark(self, line: Line) -> bool:
        """A marker that did not come by before."""
        if not self._marks.is_new(line):
            return False
        # One process writes them, so their stamps are in order, unless the machine was put back to an earlier state.
        last, self._last_mark = self._last_mark, line.stamp
        self.went_back = line.stamp is not None and (
            (last is not None and line.stamp < last) or self.is_old(line.stamp)
        )
        if self.went_back:
            self._newest = None
        return True


def _is_telling(stamp: float) -> bool:
    """A stamp that another boot would hardly have: the clock runs, and in microseconds, not in ticks of 1 or 4 ms."""
    return stamp > _NOT_YET and round(stamp * 1_000_000) % 1000 != 0


def _says_version(line: Line) -> bool:
    return line.text.startswith("Linux version ") and (line.stamp is None or line.stamp < 1.0)
