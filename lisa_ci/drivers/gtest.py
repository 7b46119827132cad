"""Driver ``gtest``: GoogleTest's programs by what they print (gVisor's syscall tests, among others).

A case is a whole program, with its tests as children, or one test of a program. A listing is what
``--gtest_list_tests`` prints; a line with a path alone (``/opt/tests/foo_test``) names the program of what follows it,
without one it is ``./run``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from lisa_ci.drivers import wording
from lisa_ci.drivers.listing import Listed, cases_of, listing_command, run_command
from lisa_ci.drivers.result import NAME_LIMIT, Place, Room, result_of
from lisa_ci.model import Case, Command, Completed, Outcome, Result, SubResult, Suite

_NAME: Final = r"([\w/]{1,300}\.[\w/]{1,300})"
_START: Final = re.compile(rf"\[ RUN      \] {_NAME}$", re.ASCII)
# A program may have printed something without an end of line before.
_END: Final = re.compile(
    rf"\[(       OK |  FAILED  |  SKIPPED )\] {_NAME}(?:, where .*?)?( \(\d{{1,12}} ms\))?$", re.ASCII
)
_TOTAL: Final = re.compile(r"\[==========\] (\d{1,9}) tests? from \d{1,9} test (?:suites?|cases?) ran\.", re.ASCII)
_PASSED: Final = re.compile(r"\[  PASSED  \] (\d{1,9}) tests?\.$", re.ASCII)
_FAILED: Final = re.compile(r"\[  FAILED  \] (\d{1,9}) tests?, listed below:$", re.ASCII)
_DISABLED: Final = re.compile(r"  YOU HAVE (\d{1,9}) DISABLED TESTS?$", re.ASCII)
_PLACE: Final = re.compile(r"([\w./+-]{1,300}):(\d{1,7}): (Failure|Skipped)$", re.ASCII)
_UNKNOWN_PLACE: Final = re.compile(r"unknown file: (Failure|Skipped)$", re.ASCII)
_ENVIRONMENT: Final = re.compile(r"\[  FAILED  \] (\S{1,300}): SetUpTestSuite or TearDownTestSuite$", re.ASCII)
_OUTCOMES: Final = {"       OK ": Outcome.PASSED, "  FAILED  ": Outcome.FAILED, "  SKIPPED ": Outcome.SKIPPED}
_WORDS: Final = ("       OK ]", "  FAILED  ]", "  SKIPPED ]")
_SAID_LINES: Final = 4


class GtestDriver:
    """Every test that began has an end of its own, and the program's totals agree with them: else nothing is proven."""

    def listing(self, suite: Suite) -> Command | None:
        return listing_command(suite)

    def discover(self, suite: Suite, listing: bytes) -> Sequence[Case]:
        """A case for each test of ``--gtest_list_tests``."""
        return suite.cases if suite.cases is not None else cases_of(suite, _listed(listing))

    def command(self, case: Case) -> Command:
        return run_command(case)

    def interpret(self, case: Case, completed: Completed) -> Result:
        """One result, with a child for each test that began."""
        seen = _read(completed)
        outcome, message = _judge(completed, seen)
        return result_of(
            case,
            completed,
            outcome,
            message,
            children=tuple(seen.children),
            dropped_children=seen.room.dropped,
            place=seen.place,
        )


def _listed(listing: bytes) -> Iterator[Listed]:
    program, group = "./run", ""
    for line in wording.lines(listing):
        text, _, _ = line.partition("#")  # '# TypeParam = int', '# GetParam() = 3'
        name = text.strip()
        if text.startswith("  ") and group:
            if re.fullmatch(r"[\w/]{1,300}", name, re.ASCII):
                test = f"{group}{name}"
                stem = "" if program == "./run" else f"{program.rpartition('/')[2]}."
                yield Listed(name=f"{stem}{test}", run=(program, f"--gtest_filter={test}"))
        elif re.fullmatch(r"[\w/]{1,300}\.", name, re.ASCII):
            group = name
        elif re.fullmatch(r"(?:\.{0,2}/)[\w./+-]{1,300}", name, re.ASCII):
            program, group = name, ""
        elif re.fullmatch(r"[\w.-]{1,300}", name, re.ASCII):
            yield Listed(name=name, run=(f"./{name}",))


@dataclass(slots=True)
class _Seen:
    """What the lines of one program say together."""

    counts: dict[Outcome, int] = field(default_factory=lambda: dict.fromkeys(Outcome, 0))
    children: list[SubResult] = field(default_factory=list)
    room: Room = field(default_factory=Room)
    running: str = ""
    said: list[str] = field(default_factory=list)
    said_place: Place | None = None
    first: str = ""
    first_skip: str = ""
    place: Place | None = None
    total: int | None = None
    passed: int | None = None
    failed: int = 0
    disabled: int = 0
    unfinished: str = ""

    @property
    def ended(self) -> int:
        return sum(self.counts[outcome] for outcome in (Outcome.PASSED, Outcome.FAILED, Outcome.SKIPPED))

    def end(self, name: str, outcome: Outcome, message: str) -> None:
        """One test is over, as it says itself or because nothing more came of it."""
        self.counts[outcome] += 1
        if outcome is Outcome.FAILED:
            self.first = self.first or (f"{name} ({message})" if message else name)
            self.place = self.place or self.said_place
        if outcome is Outcome.SKIPPED:
            self.first_skip = self.first_skip or message
        if self.room.keep(outcome):
            self.children.append(SubResult(name=wording.one_line(name, NAME_LIMIT), outcome=outcome, message=message))
        self.running, self.said, self.said_place = "", [], None

    def abandon(self, why: str) -> None:
        """The running test never ended."""
        if self.running:
            self.unfinished = self.unfinished or self.running
            self.place = self.place or self.said_place
            self.end(self.running, Outcome.ERRORED, why)


def _read(completed: Completed) -> _Seen:
    seen = _Seen()
    head, rest = wording.parts(completed)
    for line in wording.lines(head):
        _feed(seen, line)
    if completed.dropped_bytes:
        seen.running, seen.said, seen.said_place = "", [], None  # its end may lie in what was cut out
        for line in wording.lines(rest):
            _feed(seen, line)
    seen.abandon("began and never ended")
    return seen


def _feed(seen: _Seen, line: str) -> None:
    found = _ending(line)
    if found and (found[3] or found[2] == seen.running):  # without a time, it is else the list at the end
        name = found[2]
        if seen.running and seen.running != name:
            seen.abandon("began and never ended")
        outcome = _OUTCOMES[found[1]]
        message = wording.one_line(" ".join(seen.said)) if outcome is not Outcome.PASSED else ""
        seen.end(name, outcome, message)
    elif found := _START.match(line):
        seen.abandon("began and never ended")
        seen.running = found[1]
    elif seen.running:
        _remember(seen, line)
    elif found := _TOTAL.match(line):
        seen.total = (seen.total or 0) + int(found[1])
    elif found := _PASSED.match(line):
        seen.passed = (seen.passed or 0) + int(found[1])
    elif found := _FAILED.match(line):
        seen.failed += int(found[1])
    elif found := _DISABLED.match(line):
        seen.disabled += int(found[1])
    elif found := _ENVIRONMENT.match(line):
        seen.failed += 1
        seen.first = seen.first or f"{found[1]}: set-up or tear-down of the suite failed"
    elif _PLACE.match(line):
        _remember(seen, line)


def _ending(line: str) -> re.Match[str] | None:
    """A test's last line, also where the program printed something in front of it."""
    start = max(line.rfind(f"[{word}") for word in _WORDS)
    return _END.match(line[start:]) if start >= 0 else None


def _remember(seen: _Seen, line: str) -> None:
    """What a failed or skipped test says: the place, and the lines after it."""
    if found := _PLACE.match(line):
        if seen.said_place is None:
            seen.said_place = Place(file=found[1], line=int(found[2]))
            seen.said = [f"{found[1]}:{found[2]}:"]
    elif _UNKNOWN_PLACE.match(line):
        seen.said = seen.said or ["unknown file:"]
    elif seen.said and len(seen.said) <= _SAID_LINES and line.strip():
        seen.said.append(line.strip()[:300])


def _judge(completed: Completed, seen: _Seen) -> tuple[Outcome, str]:
    status, failed = completed.exit, max(seen.counts[Outcome.FAILED], seen.failed)
    in_test = f" in {seen.unfinished}" if seen.unfinished else ""
    if completed.is_timed_out:
        return Outcome.FAILED, f"timed out after {wording.span(completed)}{in_test}, after {seen.ended} tests"
    if failed:
        total = max(seen.total or 0, seen.ended, failed)
        said = f"{failed} of {total} failed: {seen.first}" if total > 1 else seen.first or "1 failed"
        is_plain = status in {0, 1, None}
        return Outcome.FAILED, said if is_plain else f"{said} ({wording.ending(status or 0)}{in_test})"
    if status is None:
        return Outcome.ERRORED, f"never ended by itself{in_test}, after {seen.ended} tests"
    if status:
        said = "" if in_test else wording.telling_line(completed.output)
        how = f"{wording.ending(status)}{in_test}"
        return Outcome.FAILED, f"{how}: {said}" if said else f"{how}, after {seen.ended} tests"
    doubt = _doubt(completed, seen)
    return (Outcome.ERRORED, doubt) if doubt else _judge_good(seen)


def _doubt(completed: Completed, seen: _Seen) -> str:
    """Why a program without a failure proves nothing; '' when it does."""
    if seen.unfinished:
        return f"{seen.unfinished} began and never ended, yet exit 0"
    if seen.total is None:
        said = wording.last_line(completed.output)
        return f"no total, so nobody knows whether {seen.ended} tests are all" + (f": {said}" if said else "")
    if completed.dropped_bytes:
        return "" if seen.passed == seen.total else f"{completed.dropped_bytes} bytes of output were cut out"
    if seen.total != seen.ended:
        return f"{seen.total} tests ran by the total, {seen.ended} were seen"
    if seen.passed is not None and seen.passed != seen.counts[Outcome.PASSED]:
        return f"{seen.passed} tests passed by the total, {seen.counts[Outcome.PASSED]} were seen"
    return "" if seen.total or seen.disabled else "no test ran: does the filter match one?"


def _judge_good(seen: _Seen) -> tuple[Outcome, str]:
    note = f"{seen.disabled} disabled" if seen.disabled else ""
    if seen.counts[Outcome.PASSED] or seen.passed:
        return Outcome.PASSED, note
    if not seen.total:
        return Outcome.SKIPPED, note
    why = f": {seen.first_skip}" if seen.first_skip else ""
    return Outcome.SKIPPED, f"all {seen.total} skipped{why}" if seen.total > 1 else (seen.first_skip or "skipped")
