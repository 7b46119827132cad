"""The watch over a console: which trouble the kernel reported, and which case ran meanwhile.

Pure and incremental: bytes in, findings out, in whatever pieces the bytes come. Memory is bounded and time linear,
whatever the machine prints. What can and cannot be told from a console is written in docs/console.md.
"""

from __future__ import annotations

import dataclasses
import fnmatch
import re
from bisect import bisect_left
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

from lisa_ci.execution.console_boots import Boots, Recent
from lisa_ci.execution.console_lines import LINE_LIMIT, STAMPS, Line, parse_line
from lisa_ci.execution.console_patterns import PATTERNS, Pattern, Shape, Speaker
from lisa_ci.execution.console_reports import Report
from lisa_ci.model import ID_PATTERN, Allowance, Category, Finding

KEPT_FINDINGS: Final = 200
KEPT_MARKS: Final = 64
_OPEN_REPORTS: Final = 16
_SLICE: Final = 1 << 20
_RECENT_HEADS: Final = 4096
_ASKING: Final = frozenset({Category.RCU_STALL, Category.SOFT_LOCKUP, Category.HARD_LOCKUP})
_BEFORE: Final = 4  # lines between "cut here" and the line that names the trouble
_CUT: Final = re.compile(r"-+\[ cut here \]-+|={20,}$")
_MARK: Final = re.compile(rf"lisa-ci: (?:case (?P<case>{ID_PATTERN}#{ID_PATTERN})|(?P<end>end(?: of cases)?))$")
_PROMPT: Final = re.compile(
    rb"(?:\x1b\[[0-9;?]*[A-Za-z])*(?:\(initramfs\)|dracut:/[^\s#]{0,64}#|\[rootfs [^\s\]]{0,64}\]#)"
)
_WORDS: Final = tuple(
    sorted(
        {b"lisa-ci: ", b"Linux version ", b"[ cut here ]", b"====================", b"Kernel panic"}
        | {word for pattern in PATTERNS for word in pattern.words}
    )
)


# A word of the table -> the numbers of the rows it is in.
_ROWS: Final = tuple(
    (word.decode(), tuple(number for number, pattern in enumerate(PATTERNS) if word in pattern.words))
    for word in sorted({word for pattern in PATTERNS for word in pattern.words})
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseMark:
    """A case that began, as the console tells; ``case`` is ``suite#case``."""

    case: str
    is_ended: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Marks:
    """What the console told of cases and boots.

    ``running``: the case that runs now. ``cases``: those begun since the last boot or restore, the last 64.
    ``interrupted``: the case that ran when that took the machine away from it, until another one has ended. ``boots``:
    kernels that said who they are. ``has_panicked``, ``panic_ended``: since then a panic has begun, has said its last
    line.
    """

    running: str | None = None
    cases: tuple[CaseMark, ...] = ()
    interrupted: str | None = None
    boots: int = 0
    has_panicked: bool = False
    panic_ended: bool = False


class ConsoleWatch:
    """``feed`` it what the console prints; it gives each finding when its report is complete.

    The same finding in the same case is given once and then only counted (``counts``); after 200 findings others are
    only counted together (``dropped``). Allowances that expired before ``today`` do not count.
    """

    def __init__(self, allowances: Sequence[Allowance] = (), *, today: date) -> None:
        self._allowances = [one for one in allowances if one.expires >= today]
        self._tail = b""
        self._is_overlong = False
        self._boots = Boots()
        self._reports: dict[str, Report] = {}
        self._before: dict[str, list[str]] = {}
        self._heads = Recent(_RECENT_HEADS)
        self._found: list[Finding] = []
        self._cases: deque[CaseMark] = deque(maxlen=KEPT_MARKS)
        self._running: str | None = None
        self._interrupted: str | None = None
        self._boot_count = 0
        self._has_panicked = False
        self._panic_ended = False
        self._is_marked = False
        self._counts: dict[tuple[str | None, str], int] = {}
        self.dropped = 0

    # ---- what it knows ---------------------------------------------------------------------------------------------

    @property
    def marks(self) -> Marks:
        return Marks(
            running=self._running,
            cases=tuple(self._cases),
            interrupted=self._interrupted,
            boots=self._boot_count,
            has_panicked=self._has_panicked,
            panic_ended=self._panic_ended,
        )

    @property
    def counts(self) -> Mapping[tuple[str | None, str], int]:
        """(case, fingerprint) -> how often it came up."""
        return self._counts

    # ---- bytes -----------------------------------------------------------------------------------------------------

    def feed(self, data: bytes) -> list[Finding]:
        """The findings that are complete with these bytes."""
        for start in range(0, len(data), _SLICE):
            self._feed(data[start : start + _SLICE])
        return self._take_found()

    def settle(self) -> list[Finding]:
        """Complete the reports that are being told: nothing more is expected of them."""
        self._close_all()
        return self._take_found()

    def finish(self) -> list[Finding]:
        """The findings in what was left: the console is at its end."""
        tail, self._tail, self._is_overlong = self._tail, b"", False
        if tail:
            self._take_block(tail + b"\n")
        for line in self._boots.give_up():
            self._take(line)
        return self.settle()

    def rewind(self) -> None:
        """The machine was put back to an earlier state, or another one took its place: its clock starts anew there."""
        self._found = self.finish()
        self._boots.rewind()
        self._leave_case()

    def _take_found(self) -> list[Finding]:
        found, self._found = self._found, []
        return found

    def _feed(self, data: bytes) -> None:
        data = data.replace(b"\r", b"\n")
        if self._is_overlong:
            end = data.find(b"\n")
            if end < 0:
                return
            self._is_overlong = False
            data = data[end:]
        data = self._tail + data
        end = data.rfind(b"\n") + 1
        self._tail = data[end : end + LINE_LIMIT]
        self._is_overlong = len(data) - end > LINE_LIMIT
        if end:
            self._take_block(data[:end])
        self._tail = self._take_prompt(self._tail)

    def _take_prompt(self, data: bytes) -> bytes:
        """A prompt has no line break, and nothing may come after it: it is told at once, and blotted out."""
        prompt = _PROMPT.match(data)
        if prompt is None:
            return data
        self._take_program_line(parse_line(prompt[0]))
        return b" " * prompt.end() + data[prompt.end() :]

    def _take_block(self, block: bytes) -> None:
        """Whole lines. Those without a word that counts are skipped, unless something is being told."""
        starts = _candidates(block)
        known = frozenset(starts)
        turn = position = 0
        while position < len(block):
            if not self._is_attentive:
                turn = bisect_left(starts, position, turn)
                start = starts[turn] if turn < len(starts) else len(block)
                self._skim(block, position, start)
                position = start
            end = block.find(b"\n", position)
            if end > position:
                self._take_bytes(block[position : min(end, position + LINE_LIMIT)], is_candidate=position in known)
            position = end + 1 if end >= 0 else len(block)

    def _take_bytes(self, data: bytes, *, is_candidate: bool) -> None:
        """One line."""
        if is_candidate:
            data = self._take_prompt(data)
            is_candidate = any(word in data for word in _WORDS)
            if not is_candidate and not self._is_attentive:
                self._skim(data, 0, len(data))
                return
        for line in self._boots.sift(parse_line(data, is_candidate=is_candidate)):
            self._take(line)

    @property
    def _is_attentive(self) -> bool:
        """Every line counts now, not only those with a word of the table."""
        return bool(self._reports or self._before) or self._boots.is_attentive

    def _skim(self, block: bytes, start: int, end: int) -> None:
        stamps = STAMPS.findall(b"\n" + block[start:end]) if end > start else ()
        if stamps:
            self._boots.see(max(map(float, stamps)))

    # ---- lines -----------------------------------------------------------------------------------------------------

    def _take(self, line: Line) -> None:
        if line.stamp is None and self._boots.has_stamps:
            self._take_program_line(line)
        elif line.is_candidate and self._boots.is_start(line):
            self._start_boot(line)
        elif line.stamp is not None and self._boots.is_stampless:
            self._take_program_line(line)
        elif line.is_candidate and (mark := _MARK.match(line.text)):
            self._take_mark(line, mark)
        elif not self._boots.is_old(line.stamp):
            self._boots.learn(line)
            self._take_kernel_line(line)

    def _start_boot(self, line: Line) -> None:
        self._leave_case()
        self._boots.start(line)
        self._is_marked = False
        self._boot_count += 1

    def _leave_case(self) -> None:
        """The machine is another one now, or one of earlier: no case runs, and what was told is over."""
        self._close_all()
        self._running, self._interrupted = None, self._running
        self._cases.clear()
        self._has_panicked = self._panic_ended = False

    def _take_mark(self, line: Line, mark: re.Match[str]) -> None:
        if not self._boots.is_new_mark(line):
            return
        if self._boots.went_back:
            self._leave_case()
        self._boots.learn(line)
        self._is_marked = True
        if self._running is not None:
            self._cases[-1] = CaseMark(case=self._running, is_ended=True)
            self._interrupted = None
        self._running = mark["case"]
        if self._running is not None:
            self._cases.append(CaseMark(case=self._running, is_ended=False))

    def _take_program_line(self, line: Line) -> None:
        """A line that is not the kernel's."""
        found = self._trouble(line, is_kernel=False)
        if found:
            self._keep(Report(*found, line, [], self._running))

    def _trouble(self, line: Line, *, is_kernel: bool) -> tuple[Pattern, re.Match[str]] | None:
        if not line.is_candidate:
            return None
        return first_pattern(line.text, is_kernel=is_kernel, is_early=not self._is_marked)

    def _take_kernel_line(self, line: Line) -> None:
        if line.is_candidate:
            self._notice_panic(line.text)
        found = self._trouble(line, is_kernel=True)
        report = self._reports.get(line.caller) or self._asked_for(line)
        if report and (found is None or _is_part(found[0], report)):
            report.take(line, is_part=found is not None)
            if report.is_over:
                self._close(line.caller)
        elif found:
            self._close(line.caller)
            self._open(*found, line)
        else:
            self._remember(line)

    def _asked_for(self, line: Line) -> Report | None:
        """The report of a lockup for which another processor tells what it does; it goes on in that one's name too."""
        if not line.text.startswith("NMI backtrace for cpu"):
            return None
        for report in self._reports.values():
            if report.pattern.category in _ASKING:
                self._reports[line.caller] = report
                return report
        return None

    def _notice_panic(self, text: str) -> None:
        if text.startswith("Kernel panic - not syncing: "):
            self._has_panicked = True
        elif text.startswith("---[ end Kernel panic"):
            self._panic_ended = True

    def _remember(self, line: Line) -> None:
        """Lines between "cut here" and the trouble's name belong to the excerpt."""
        before = self._before.get(line.caller)
        if _CUT.match(line.text) and len(self._before) < _OPEN_REPORTS:
            self._before[line.caller] = [line.shown]
        elif before is not None:
            before.append(line.shown)
            if len(before) > _BEFORE:
                del self._before[line.caller]

    # ---- reports ---------------------------------------------------------------------------------------------------

    def _open(self, pattern: Pattern, head: re.Match[str], line: Line) -> None:
        before = self._before.pop(line.caller, [])
        if not self._heads.is_new(line):
            return  # somebody prints the log once more
        report = Report(pattern, head, line, before, self._running)
        if report.is_over:
            self._keep(report)
            return
        if len(self._reports) >= _OPEN_REPORTS:
            self._close(next(iter(self._reports)))
        self._reports[line.caller] = report

    def _close(self, caller: str) -> None:
        report = self._reports.get(caller)
        if report:
            # Others may speak for the same report.
            self._reports = {name: one for name, one in self._reports.items() if one is not report}
            self._keep(report)

    def _close_all(self) -> None:
        for caller in list(self._reports):
            self._close(caller)
        self._before.clear()

    def _keep(self, report: Report) -> None:
        key = (report.case, report.fingerprint())
        if key in self._counts:
            self._counts[key] += 1
        elif len(self._counts) >= KEPT_FINDINGS:
            self.dropped += 1
        else:
            self._counts[key] = 1
            finding = report.finding()
            self._found.append(dataclasses.replace(finding, allowed=allowed(finding, self._allowances)))


def _candidates(block: bytes) -> list[int]:
    """Where the lines start that hold one of the words, in order. Searching a word in a block is what ``find`` is
    fastest at: all words take less time than one expression of them.
    """
    starts = set()
    for word in _WORDS:
        position = block.find(word)
        while position >= 0:
            start = block.rfind(b"\n", 0, position) + 1
            if position + len(word) <= start + LINE_LIMIT:
                starts.add(start)
            end = block.find(b"\n", position)
            position = block.find(word, end) if end >= 0 else -1
    return sorted(starts)


def allowed(finding: Finding, allowances: Sequence[Allowance]) -> str:
    """The reason of the first allowance that is about this finding, '' where there is none."""
    return next((one.reason for one in allowances if _is_about(one, finding)), "")


def _is_about(allowance: Allowance, finding: Finding) -> bool:
    if allowance.category not in {None, finding.category}:
        return False
    if allowance.fingerprint is not None:
        return allowance.fingerprint == finding.fingerprint
    return allowance.match is not None and fnmatch.fnmatchcase(finding.title, allowance.match)


def first_pattern(text: str, *, is_kernel: bool, is_early: bool) -> tuple[Pattern, re.Match[str]] | None:
    """The first row of the table that a line (without its stamp) is about, as far as its speaker may say it."""
    for row in sorted({row for word, rows in _ROWS if word in text for row in rows}):
        pattern = PATTERNS[row]
        if pattern.speaker is Speaker.KERNEL and not is_kernel:
            continue
        if pattern.speaker is Speaker.EARLY_BOOT and not is_early:
            continue
        if head := pattern.head.match(text):
            return pattern, head
    return None


def _is_part(pattern: Pattern, report: Report) -> bool:
    is_open = report.pattern.shape is Shape.BLOCK or not report.has_trace
    return is_open and report.pattern.category in pattern.part_of
