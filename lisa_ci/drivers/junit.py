"""Driver ``junit``: a case prints a JUnit file (its command may ``cat`` it), and its testcases are the children.

The XML comes from a machine. The parser is expat itself: a document type (and with it every entity of its own) is
refused at its first byte, depth and size are bounded, nothing is ever fetched.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final
from xml.parsers import expat

from lisa_ci.drivers import wording
from lisa_ci.drivers.listing import listed_cases, listing_command, run_command
from lisa_ci.drivers.result import NAME_LIMIT, Place, Room, result_of
from lisa_ci.model import Case, Command, Completed, Outcome, Result, SubResult, Suite, worst

_DEPTH_LIMIT: Final = 32
_TEXT_LIMIT: Final = 2000  # characters kept of what stands in one element
_START: Final = re.compile(rb"<\?xml\s|<!DOCTYPE|<testsuites?[\s>/]")
_ROOTS: Final = ("testsuites", "testsuite")
_BAD: Final = {"failure": Outcome.FAILED, "error": Outcome.ERRORED, "skipped": Outcome.SKIPPED}
_WORST: Final = (Outcome.FAILED, Outcome.ERRORED, Outcome.SKIPPED)


class _RefusedError(Exception):
    """The XML is not one that this driver reads; says why."""


class JunitDriver:
    """The forms of JUnit, pytest, GoogleTest, Maven and their like."""

    def listing(self, suite: Suite) -> Command | None:
        return listing_command(suite)

    def discover(self, suite: Suite, listing: bytes) -> Sequence[Case]:
        """The cases a listing names; see ``listing.listed_cases`` for its form."""
        return suite.cases if suite.cases is not None else listed_cases(suite, listing)

    def command(self, case: Case) -> Command:
        return run_command(case)

    def interpret(self, case: Case, completed: Completed) -> Result:
        """One result; several testsuites become a child each."""
        reader, problem = _read(completed)
        outcome, message = _judge(completed, reader, problem)
        return result_of(
            case,
            completed,
            outcome,
            message,
            children=reader.results,
            dropped_children=reader.room.dropped,
            place=reader.place,
        )


@dataclass(slots=True)
class _Test:
    """The testcase whose elements are being read."""

    name: str
    place: Place | None
    outcome: Outcome = Outcome.PASSED
    message: str = ""
    text: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Suite:
    name: str
    stated: Mapping[str, str]
    counts: dict[Outcome, int] = field(default_factory=lambda: dict.fromkeys(Outcome, 0))
    children: list[SubResult] = field(default_factory=list)


class _Reader:
    """Feeds on expat's events; remembers only what is asked of it."""

    def __init__(self) -> None:
        self.room = Room()
        self.counts: dict[Outcome, int] = dict.fromkeys(Outcome, 0)
        self.suites: list[SubResult] = []
        self.problems: list[str] = []
        self.first: dict[Outcome, str] = {}
        self.place: Place | None = None
        self.is_closed = False
        self._open: list[str] = []
        self._suites: list[_Suite] = []
        self._test: _Test | None = None
        self._told = ""  # the element whose text is kept
        self._length = 0

    @property
    def points(self) -> int:
        return sum(self.counts.values())

    @property
    def results(self) -> tuple[SubResult, ...]:
        """The testcases; below their testsuites where there are several."""
        only = self.suites[0] if len(self.suites) == 1 else None
        return only.children if only else tuple(self.suites)

    def start(self, name: str, attributes: Mapping[str, str]) -> None:
        if not self._open and name not in _ROOTS:
            raise _RefusedError(f"the XML is no JUnit file: its root is <{name[:50]}>")
        if len(self._open) >= _DEPTH_LIMIT:
            raise _RefusedError(f"the XML is nested deeper than {_DEPTH_LIMIT}")
        self._open.append(name)
        if name == "testsuite":
            self._suites.append(_Suite(name=attributes.get("name", ""), stated=attributes))
        elif name == "testcase" and self._test is None:
            if not self._suites:  # a testcase right below <testsuites>
                self._suites.append(_Suite(name="", stated={}))
            self._test = _begun(attributes)
        elif self._test is not None and name in _BAD:
            self._judged(_BAD[name], attributes)

    def _judged(self, outcome: Outcome, attributes: Mapping[str, str]) -> None:
        test = self._test
        if test is None:
            return
        if test.outcome is Outcome.PASSED or _WORST.index(outcome) < _WORST.index(test.outcome):
            test.outcome = outcome
            test.message = attributes.get("message", "")[:_TEXT_LIMIT] or attributes.get("type", "")[:_TEXT_LIMIT]
        self._told, self._length = ("told", 0) if not test.text else ("", 0)

    def text(self, data: str) -> None:
        if self._told and self._test is not None and self._length < _TEXT_LIMIT:
            self._test.text.append(data[: _TEXT_LIMIT - self._length])
            self._length += len(data)

    def end(self, name: str) -> None:
        self._open.pop()
        if name in _BAD:
            self._told = ""
        elif name == "testcase" and self._test is not None and "testcase" not in self._open:
            self._finish_test(self._test)
        elif name == "testsuite" and self._suites:
            self._finish_suite(self._suites.pop())
        if not self._open:
            while self._suites:
                self._finish_suite(self._suites.pop())
            self.is_closed = True

    def _finish_test(self, test: _Test) -> None:
        self._test = None
        said = " ".join(test.text)
        message = wording.one_line(test.message or said) if test.outcome is not Outcome.PASSED else ""
        suite = self._suites[-1]
        self.counts[test.outcome] += 1
        suite.counts[test.outcome] += 1
        if test.outcome is not Outcome.PASSED:
            self.first.setdefault(test.outcome, f"{test.name} ({message})" if message else test.name)
        if test.outcome in {Outcome.FAILED, Outcome.ERRORED}:
            self.place = self.place or test.place
        if self.room.keep(test.outcome):
            suite.children.append(SubResult(name=test.name, outcome=test.outcome, message=message))

    def _finish_suite(self, suite: _Suite) -> None:
        seen = sum(suite.counts.values())
        self._check(suite, seen)
        outcome = worst(child.outcome for child in suite.children) or worst(o for o, n in suite.counts.items() if n)
        if outcome is None:
            return
        name = wording.one_line(suite.name, NAME_LIMIT) or "testsuite"
        child = SubResult(name=name, outcome=outcome, children=tuple(suite.children))
        parent = self._suites[-1] if self._suites else None
        if parent is None:
            self.suites.append(child)
        else:
            parent.children.append(child)
            for each, number in suite.counts.items():
                parent.counts[each] += number

    def _check(self, suite: _Suite, seen: int) -> None:
        """What a testsuite says of itself, against what is in it."""
        stated = {key: int(value) for key, value in suite.stated.items() if re.fullmatch(r"\d{1,9}", value, re.ASCII)}
        name = wording.one_line(suite.name, 60) or "testsuite"
        if stated.get("tests", seen) > seen and len(self.problems) < 3:
            self.problems.append(f"{name} has {stated['tests']} tests by its own count, {seen} were seen")
        for key, outcome in (("failures", Outcome.FAILED), ("errors", Outcome.ERRORED)):
            if stated.get(key, 0) and not suite.counts[outcome]:
                suite.counts[outcome] += 1
                self.counts[outcome] += 1
                self.first.setdefault(outcome, f"{name}: {stated[key]} {key} by its own count")


def _begun(attributes: Mapping[str, str]) -> _Test:
    group, name = attributes.get("classname", ""), attributes.get("name", "")
    file, line = attributes.get("file", ""), attributes.get("line", "")
    is_place = re.fullmatch(r"[\w./+@-]{1,300}", file, re.ASCII) is not None
    number = int(line) if re.fullmatch(r"\d{1,7}", line, re.ASCII) else None
    test = _Test(
        name=wording.one_line(f"{group}.{name}" if group else name, NAME_LIMIT) or "testcase",
        place=Place(file=file, line=number) if is_place else None,
    )
    if attributes.get("status") == "notrun" or attributes.get("result") in {"suppressed", "skipped"}:  # GoogleTest
        test.outcome, test.message = Outcome.SKIPPED, "not run"
    return test


def _read(completed: Completed) -> tuple[_Reader, str]:
    """What was read, and why that is not all ('' when it is)."""
    reader = _Reader()
    found = _START.search(completed.output)
    if found is None:
        return reader, "no JUnit XML in the output"
    head, _ = wording.parts(completed)
    data = head if completed.dropped_bytes else completed.output
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    parser.StartDoctypeDeclHandler = _refuse_doctype
    parser.EntityDeclHandler = _refuse_doctype
    try:
        parser.Parse(data[found.start() :], not completed.dropped_bytes)
    except expat.ExpatError as error:
        is_after = error.code == expat.errors.codes[expat.errors.XML_ERROR_JUNK_AFTER_DOC_ELEMENT]
        if not (is_after and reader.is_closed):  # a program may say more after its file
            return reader, f"the XML is broken in line {error.lineno}: {expat.ErrorString(error.code)}"
    except (_RefusedError, LookupError, ValueError) as error:  # the latter two: an encoding that Python does not know
        return reader, str(error)
    if not reader.is_closed:
        return reader, f"{completed.dropped_bytes} bytes of output were cut out, so the XML is not whole"
    return reader, ""


def _refuse_doctype(*_: object) -> None:
    raise _RefusedError("the XML has a document type or entities of its own, which are not read")


def _judge(completed: Completed, reader: _Reader, problem: str) -> tuple[Outcome, str]:
    counts, status = reader.counts, completed.exit
    if completed.is_timed_out:
        return Outcome.FAILED, f"timed out after {wording.span(completed)}, after {reader.points} tests"
    if counts[Outcome.FAILED]:
        first = reader.first[Outcome.FAILED]
        said = f"{counts[Outcome.FAILED]} of {reader.points} failed: {first}" if reader.points > 1 else first
        return Outcome.FAILED, said if status in {0, 1, None} else f"{said} ({wording.ending(status)})"
    if status is None:
        return Outcome.ERRORED, f"never ended by itself, after {reader.points} tests"
    if counts[Outcome.ERRORED]:
        said = f"{counts[Outcome.ERRORED]} of {reader.points} not judged: {reader.first[Outcome.ERRORED]}"
        return Outcome.ERRORED, said if status in {0, 1} else f"{said} ({wording.ending(status)})"
    if status:
        said = wording.telling_line(completed.output) if problem else f"no test failed, after {reader.points} tests"
        return Outcome.FAILED, f"{wording.ending(status)}: {said}" if said else wording.ending(status)
    doubt = "; ".join([problem, *reader.problems]).strip("; ") or ("" if reader.points else "no test in the XML")
    if doubt:
        return Outcome.ERRORED, doubt
    if counts[Outcome.PASSED]:
        return Outcome.PASSED, ""
    first = reader.first[Outcome.SKIPPED]
    return Outcome.SKIPPED, f"all {reader.points} skipped: {first}" if reader.points > 1 else first
