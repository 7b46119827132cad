"""Reads TAP 12, 13, 14 and KTAP, line by line, in linear time and bounded memory; judges nothing (``tap`` does).

A ``Level`` is one TAP document at one depth. A deeper document is recognised in three forms: indented (TAP 14 by 4,
KTAP by 2), announced by ``# Subtest: name``, or prefixed by ``# `` as kselftest's runner does with the output of its
programs. It belongs to the test line that follows it. Whatever is no TAP is noise: kernel lines are counted, the rest
ignored, as the specifications say.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from lisa_ci.drivers.result import NAME_LIMIT, Place, Room
from lisa_ci.drivers.tap_lines import (
    BAIL,
    CLAIM,
    EXPECTED,
    KERNEL,
    PLAN,
    POINT,
    PRAGMA,
    SELFTESTS,
    SUBTEST,
    TOTALS,
    VERSION,
    Directive,
    Totals,
    described,
    first_place,
    is_tap,
    read_totals,
)
from lisa_ci.drivers.wording import one_line
from lisa_ci.model import Outcome, SubResult

_DEPTH_LIMIT: Final = 16
_PROBLEM_LIMIT: Final = 5
_DIAGNOSTIC_LINES: Final = 3
_YAML_LINES: Final = 50
_COMMENT: Final = "#"  # the prefix of kselftest's nesting; the other prefixes are white space

_YAML_OPEN: Final = re.compile(r"[ \t]+---[ \t]*$")
_YAML_CLOSE: Final = re.compile(r"[ \t]*\.\.\.[ \t]*$")
_YAML_ENTRY: Final = re.compile(r"[ \t]*(message|file|line)[ \t]*:[ \t]*(.*)$")


@dataclass(slots=True)
class Shared:
    """What all depths of one stream count together."""

    is_kernel: bool = False  # KUnit's own documents: the outermost may lack a plan, a suite's may not
    room: Room = field(default_factory=Room)
    kernel_lines: int = 0
    unexpected: list[str] = field(default_factory=list)
    unexpected_count: int = 0
    first_failure: str = ""
    place: Place | None = None
    bail: str | None = None


@dataclass(slots=True)
class _Point:
    """A test line that may still get diagnostics."""

    is_ok: bool
    name: str
    directive: Directive | None
    reason: str
    nested: Level | None
    before: list[str]
    diagnostics: list[str] = field(default_factory=list)
    message: str = ""
    file: str = ""
    line: int | None = None


class Level:
    """One TAP document, and those that follow it at the same depth after a new version line."""

    def __init__(self, shared: Shared, *, name: str = "", prefix: str | None = "", depth: int = 0) -> None:
        self.shared = shared
        self.name = name
        self.prefix = prefix  # None: announced, its indentation is not known yet
        self.depth = depth
        self.children: list[SubResult] = []
        self.counts: dict[Outcome, int] = dict.fromkeys(Outcome, 0)
        self.problems: list[str] = []
        self.has_tap = False
        self.skip_all: str | None = None
        self.bail: str | None = None
        self.first_plan: int | None = None
        self.totals: Totals | None = None
        self.is_proven_by_totals = False
        self.is_short = False  # a plan was not met, and no totals account for the rest
        self._nested: Level | None = None
        self._pending: _Point | None = None
        self._before: list[str] = []  # diagnostics since the last test line
        self._claim: list[str] = []  # the first of them that says where and why the next test fails
        self._yaml: int | None = None  # lines of the open YAML block
        self._start_section()

    @property
    def points(self) -> int:
        return sum(self.counts.values())

    # ---- lines -----------------------------------------------------------------------------------------------------

    def feed(self, line: str) -> None:
        """Take one line, without its end and without the prefix of this depth."""
        if self._yaml is not None and self._in_yaml(line):
            return
        match line[:1]:
            case " " | "\t":
                self._indented(line)
            case "#":
                self._comment(line)
            case _:
                self._plain(line)

    def _plain(self, line: str) -> None:
        if found := POINT.match(line):
            self._point(is_ok=not found[1], number=found[2], text=found[3])
        elif found := PLAN.match(line):
            self._set_plan(int(found[1]), found[2] or "")
        elif VERSION.match(line):
            if self.has_tap and (self._ran or self._plan is not None):
                self._end_section()
            self.has_tap = True
        elif found := BAIL.match(line):
            self.has_tap = True
            self.bail = one_line(found[1])
            if self.prefix != _COMMENT and self.shared.bail is None:  # under kselftest's runner it ends one program
                self.shared.bail = self.bail
        elif EXPECTED.match(line) and 0 < len(self._claim) < _DIAGNOSTIC_LINES:
            self._claim.append(line.strip()[:500])  # what KUnit expected stands below the place, without a '#'
        elif not PRAGMA.match(line) and KERNEL.match(line):
            self.shared.kernel_lines += 1

    def _indented(self, line: str) -> None:
        text = line.lstrip(" \t")
        indent = line[: len(line) - len(text)]
        width = len(indent.expandtabs(4))  # KUnit indented by tabs until Linux 5.7
        nested = self._nested
        if nested is not None:
            if nested.prefix is None and width >= 2:
                nested.prefix = indent
            if nested.prefix and nested.prefix != _COMMENT and line.startswith(nested.prefix):
                nested.feed(line[len(nested.prefix) :])
        elif self._pending is not None and _YAML_OPEN.match(line):
            self._yaml = 0
        elif (2 <= width <= 8 and (VERSION.match(text) or SUBTEST.match(text))) or (
            width in {2, 4} and (POINT.match(text) or PLAN.match(text))
        ):
            self._open(prefix=indent, first=text)

    def _comment(self, line: str) -> None:
        text = line[2:] if line.startswith("# ") else line[1:]
        if self._nested is not None and self._nested.prefix == _COMMENT:
            self._nested.feed(text)
        elif found := SUBTEST.match(line):
            if self.prefix and not self.name and self._plan is None and not self._ran:  # KTAP announces inside
                self.name = one_line(found[1], NAME_LIMIT)
            else:
                self._abandon_nested()
                self._open(prefix=None, name=found[1])
        elif found := SELFTESTS.match(text):
            self._open(prefix=_COMMENT, name=found[1])
        elif VERSION.match(text):
            self._open(prefix=_COMMENT, first=text)
        elif TOTALS.match(text):
            self.totals = read_totals(text)
        elif text.strip():
            self._diagnostic(text.strip()[:500])

    def _diagnostic(self, text: str) -> None:
        """Most tools explain a failed test below its line, KUnit above it."""
        if self._pending is not None and not self._pending.is_ok:
            if len(self._pending.diagnostics) < _DIAGNOSTIC_LINES:
                self._pending.diagnostics.append(text)
            return
        self._before = [*self._before[1 - _DIAGNOSTIC_LINES :], text]
        if not self._claim and CLAIM.search(text):
            self._claim = [text]

    def _in_yaml(self, line: str) -> bool:
        """True when the line belongs to the open YAML block (or ends it); a block that never ends gives way to TAP."""
        if _YAML_CLOSE.match(line):
            self._yaml = None
            return True
        if line[:1] not in {" ", "\t"} and is_tap(line):
            self._yaml = None
            return False
        self._yaml = (self._yaml or 0) + 1
        found = _YAML_ENTRY.match(line) if self._yaml <= _YAML_LINES else None
        if found and self._pending is not None and not self._pending.is_ok:
            value = found[2].strip().strip("'\"")
            if found[1] == "message" and not self._pending.message:
                self._pending.message = value[:500]
            elif found[1] == "file" and re.fullmatch(r"[\w./+-]{1,200}", value, re.ASCII):
                self._pending.file = value
            elif found[1] == "line" and re.fullmatch(r"\d{1,7}", value, re.ASCII):
                self._pending.line = int(value)
        return True

    # ---- the plan --------------------------------------------------------------------------------------------------

    def _start_section(self) -> None:
        self._plan: int | None = None
        self._ran = 0
        self._last = 0
        self._bare = 0  # test lines without a document of their own
        self._numbers: set[int] = set()
        self._has_gap = False

    def _set_plan(self, count: int, said: str) -> None:
        self.has_tap = True
        if self._plan is not None:
            self._problem(f"two plans, 1..{self._plan} and 1..{count}")
            return
        self._plan = count
        self.first_plan = count if self.first_plan is None else self.first_plan
        if count == 0:
            directive, reason, _ = described(f"# {said}", is_ok=True)
            self.skip_all = reason if directive is Directive.SKIP else one_line(said)

    def _end_section(self) -> None:
        """Hold what ran against the plan."""
        self._settle()
        self._abandon_nested()
        proven = self.totals is not None and self._plan is not None and self.totals.proves(self._plan)
        if self.totals is not None and self.totals.failed and not self.counts[Outcome.FAILED]:
            self.counts[Outcome.FAILED] += 1
            self._remember_failure(f"{self.totals.failed} by its own totals")
        if self._has_gap or (self._plan is not None and self._ran < self._plan):
            self.is_proven_by_totals = proven
        self._hold_totals()
        if self._plan is None:
            if self._needs_plan():
                self._problem(f"no plan, so nobody knows whether {self._ran} tests are all")
        elif self._ran != self._plan and not (proven and self._ran < self._plan) and not self._has_gap:
            self._problem(f"planned {self._plan}, ran {self._ran}")
            self.is_short |= self._ran < self._plan
        if self._plan is not None and self._last_outside():
            self._problem(f"test {max(self._numbers)} is outside the plan 1..{self._plan}")
        gap = self._has_gap
        self._start_section()
        self._has_gap = gap

    def _hold_totals(self) -> None:
        """Totals of more tests than were seen or planned: a line is lost. Of fewer, a forked child printed some.

        KUnit's count the parameters of a test, each of which is below its line.
        """
        if self.totals is None or self._plan is None or self.shared.is_kernel:
            return
        if self.totals.run > max(self._ran, self._plan):
            self._problem(f"its totals count {self.totals.run} tests, {self._ran} were seen")
            self.is_short = True

    def _needs_plan(self) -> bool:
        """Below, the parent's line is the end, and KUnit's parameters have no plan; KUnit's suites always have one."""
        if self.shared.is_kernel:
            return self.depth == 1 or (self.depth == 0 and self._bare > 0)
        return self.depth == 0

    def _last_outside(self) -> bool:
        return self._plan is not None and bool(self._numbers) and max(self._numbers) > self._plan >= self._ran

    def _problem(self, text: str) -> None:
        if len(self.problems) < _PROBLEM_LIMIT:
            self.problems.append(text)

    # ---- test lines ------------------------------------------------------------------------------------------------

    def _point(self, *, is_ok: bool, number: str | None, text: str) -> None:
        self._settle()
        self.has_tap = True
        self.totals = None  # totals count only as a document's last word
        nested, self._nested = self._nested, None
        if nested is not None:
            nested.finish()
        place = int(number) if number else self._last + 1
        if place in self._numbers:
            self._problem(f"test {place} reported twice")
        self._numbers.add(place)
        self._last = place
        self._ran += 1
        self._bare += nested is None
        if len(cut := KERNEL.split(text, maxsplit=1)) > 1:  # a kernel line ran into this one
            text = cut[0]
            self.shared.kernel_lines += 1
        directive, reason, name = described(text, is_ok=is_ok)
        if not name:
            name = (nested.name if nested is not None else "") or f"test {place}"
        before, claim = self._before, self._claim
        self._before, self._claim = [], []
        self._pending = _Point(
            is_ok=is_ok,
            name=one_line(name, NAME_LIMIT),
            directive=directive,
            reason=one_line(reason),
            nested=nested,
            before=claim or before,
            message=" ".join(claim),
        )

    def _settle(self) -> None:
        """Turn the last test line, whose diagnostics are complete now, into a sub-test."""
        point, self._pending, self._yaml = self._pending, None, None
        if point is None:
            return
        outcome, message = _settled(point)
        self.counts[outcome] += 1
        if outcome is Outcome.PASSED and point.directive is not None:
            self.shared.unexpected_count += 1
            if len(self.shared.unexpected) < _PROBLEM_LIMIT:
                self.shared.unexpected.append(point.name)
        if outcome is Outcome.FAILED:
            self._remember_failure(f"{point.name} ({message})" if message else point.name)
            if self.shared.place is None:
                own = Place(file=point.file, line=point.line) if point.file else None
                self.shared.place = own or first_place((*point.diagnostics, *point.before))
        self._keep(point.name, outcome, message, point.nested)

    def _remember_failure(self, text: str) -> None:
        if self.depth == 0 and not self.shared.first_failure:
            self.shared.first_failure = text

    def _keep(self, name: str, outcome: Outcome, message: str, nested: Level | None) -> None:
        room = self.shared.room
        if room.keep(outcome):
            children = tuple(nested.children) if nested is not None else ()
            self.children.append(SubResult(name=name, outcome=outcome, message=message, children=children))
        elif nested is not None:
            lost = _size(nested.children)
            room.dropped += lost
            room.kept -= lost

    # ---- deeper documents ------------------------------------------------------------------------------------------

    def _open(self, *, prefix: str | None, name: str = "", first: str = "") -> None:
        if self.depth >= _DEPTH_LIMIT:
            return
        self._settle()
        self.has_tap = True
        self._nested = Level(self.shared, name=one_line(name, NAME_LIMIT), prefix=prefix, depth=self.depth + 1)
        if first:
            self._nested.feed(first)

    def _abandon_nested(self, *, is_gap: bool = False) -> None:
        """A deeper document ended without the test line that should follow it."""
        nested, self._nested = self._nested, None
        if nested is None:
            return
        nested.finish()
        if not nested.points or (is_gap and not nested.counts[Outcome.FAILED]):
            return
        outcome = Outcome.FAILED if nested.counts[Outcome.FAILED] else Outcome.ERRORED
        self.counts[outcome] += 1
        name = nested.name or "nested tests"
        if outcome is Outcome.FAILED:
            self._remember_failure(name)
        else:
            self._problem(f"{name} ended without a result line")
        self._keep(name, outcome, "ended without a result line", nested)

    def gap(self) -> None:
        """Output was cut out here: lines before and after it do not belong together."""
        self._settle()
        self._abandon_nested(is_gap=True)
        self._has_gap = True

    def finish(self) -> None:
        """The stream has ended."""
        self._end_section()


def _size(children: Iterable[SubResult]) -> int:
    return sum(1 + _size(child.children) for child in children)


def _settled(point: _Point) -> tuple[Outcome, str]:
    """What a test line says, and what the document below it says about that."""
    outcome, message = _by_line(point)
    nested = point.nested
    if nested is None or point.directive in {Directive.TO_DO, Directive.XFAIL}:
        return outcome, message
    bad = nested.counts[Outcome.FAILED]
    if bad and outcome in {Outcome.PASSED, Outcome.SKIPPED}:
        return Outcome.FAILED, f"reported ok, but {bad} of {nested.points} tests below it failed"
    if bad and not message:
        return outcome, f"{bad} of {nested.points} tests below it failed"
    if outcome is not Outcome.PASSED:
        return outcome, message or (f"Bail out! {nested.bail}".strip() if nested.bail is not None else "")
    if nested.prefix == _COMMENT:
        # kselftest's runner judged the program by its exit status; a sloppy plan in it changes nothing, but is told.
        return outcome, message or one_line("; ".join(nested.problems))
    if nested.bail is not None:
        return Outcome.ERRORED, one_line(f"reported ok, but bailed out: {nested.bail}")
    if nested.problems or nested.counts[Outcome.ERRORED]:
        return Outcome.ERRORED, one_line("; ".join(nested.problems) or "a test below it was not judged")
    return outcome, message


def _by_line(point: _Point) -> tuple[Outcome, str]:
    match point.is_ok, point.directive:
        case _, Directive.SKIP:
            return Outcome.SKIPPED, point.reason
        case False, Directive.TO_DO | Directive.XFAIL:
            return Outcome.SKIPPED, one_line(f"expected failure: {point.reason}".rstrip(": "))
        case True, Directive.XFAIL:
            # kselftest writes this for a failure that was expected, TAP's words mean a pass that was not.
            return Outcome.PASSED, one_line(f"ok though marked XFAIL: {point.reason}".rstrip(": "))
        case True, Directive.TO_DO | Directive.XPASS:
            return Outcome.PASSED, one_line(f"unexpected pass: {point.reason}".rstrip(": "))
        case True, _:
            return Outcome.PASSED, ""
    before = () if point.nested is not None and point.nested.counts[Outcome.FAILED] else point.before
    said = (point.reason, point.message, " ".join(point.diagnostics), " ".join(before))
    return Outcome.FAILED, one_line(next((text for text in said if text), ""))
