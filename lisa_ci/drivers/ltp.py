"""Driver ``ltp``: tests of the Linux Test Project, one line of a runtest file each.

LTP gives a result twice: as bits of the exit status, and as lines ``file.c:46: TPASS: text`` (``name 1 TPASS : text``
in its old form) with a summary of their numbers. Neither alone is believed: the exit status of a pipe or of a shell
test hides failures, and a test that crashed early printed nothing. docs/drivers.md has the table.
"""

from __future__ import annotations

import itertools
import posixpath
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from lisa_ci.drivers import wording
from lisa_ci.drivers.listing import Listed, cases_of, listing_command
from lisa_ci.drivers.result import NAME_LIMIT, Place, Room, result_of
from lisa_ci.model import Case, Command, Completed, Outcome, Result, SubResult, Suite


class Tag(StrEnum):
    """What a line of LTP says. The numbers of the exit status are in ``_BITS``."""

    PASS = "TPASS"  # noqa: S105 - a word of LTP
    FAIL = "TFAIL"
    BROK = "TBROK"
    WARN = "TWARN"
    CONF = "TCONF"
    INFO = "TINFO"


_BITS: Final = {Tag.FAIL: 1, Tag.BROK: 2, Tag.WARN: 4, Tag.CONF: 32}
_INFO_BIT: Final = 16  # set by old tests, says nothing
_SUMMARY: Final = {
    "passed": Tag.PASS,
    "failed": Tag.FAIL,
    "broken": Tag.BROK,
    "skipped": Tag.CONF,
    "warnings": Tag.WARN,
}
_OUTCOMES: Final = {
    Tag.PASS: Outcome.PASSED,
    Tag.FAIL: Outcome.FAILED,
    Tag.BROK: Outcome.ERRORED,
    Tag.WARN: Outcome.ERRORED,
    Tag.CONF: Outcome.SKIPPED,
}
_COLOUR: Final = re.compile(r"\x1b\[[0-9;]{0,20}[a-zA-Z]", re.ASCII)
_NEW: Final = re.compile(r":(\d{1,7}): (T(?:PASS|FAIL|BROK|WARN|CONF|INFO)): ?", re.ASCII)
_OLD: Final = re.compile(
    r"\S{1,100}[ \t]{1,40}\d{1,9}[ \t]{1,10}(T(?:PASS|FAIL|BROK|WARN|CONF|INFO))[ \t]{0,10}:[ \t]{0,10}(.*)$",
    re.ASCII | re.DOTALL,
)
_OLD_PLACE: Final = re.compile(r"([^\s:]{1,300}\.(?:[ch]|sh)):(\d{1,7}): ?(.*)$", re.ASCII | re.DOTALL)
_COUNT: Final = re.compile(r"(passed|failed|broken|skipped|warnings) +(\d{1,9})$", re.ASCII)
_CONSTRAINT: Final = re.compile(r"Constraint '(.{1,200}?)' not satisfied!", re.DOTALL)
_OUT_OF_TIME: Final = re.compile(r"Test timeouted|Test killed! \(timeout\?\)|Test is still running|timed out, killing")
_SAID_PASSED: Final = re.compile(r"\bPASS(?:ED)?\b", re.ASCII)


class LtpDriver:
    """``./run COMMAND`` beside ``suite.yaml`` runs a command of a runtest file in LTP's own environment."""

    def listing(self, suite: Suite) -> Command | None:
        return listing_command(suite)

    def discover(self, suite: Suite, listing: bytes) -> Sequence[Case]:
        """A case for each ``tag command`` of the runtest files that the listing prints."""
        return suite.cases if suite.cases is not None else cases_of(suite, _listed(listing))

    def command(self, case: Case) -> Command:
        return Command(arguments=case.run or ("./run", case.title or case.id))

    def interpret(self, case: Case, completed: Completed) -> Result:
        """One result, with a child for each line that is one."""
        seen = _read(completed)
        outcome, message = _judge(completed, seen)
        return result_of(
            case,
            completed,
            outcome,
            message,
            children=tuple(seen.children),
            dropped_children=seen.room.dropped + seen.uncounted,
            place=seen.place,
        )


def _listed(listing: bytes) -> Iterator[Listed]:
    for line in wording.lines(listing):
        words = line.strip().split(None, 1)
        if words and not words[0].startswith("#"):
            yield Listed(name=words[0], run=("./run", words[-1].strip()))


@dataclass(slots=True)
class _Seen:
    """What the lines of one test say together."""

    lines: dict[Tag, int] = field(default_factory=lambda: dict.fromkeys(Tag, 0))
    summary: dict[Tag, int] = field(default_factory=dict)
    first: dict[Tag, str] = field(default_factory=dict)
    places: dict[Tag, Place] = field(default_factory=dict)
    constraints: list[str] = field(default_factory=list)
    is_out_of_time: bool = False
    said_passed: bool = False
    children: list[SubResult] = field(default_factory=list)
    room: Room = field(default_factory=Room)

    def count(self, tag: Tag) -> int:
        """The larger of what was printed and what the summary says."""
        return max(self.lines[tag], self.summary.get(tag, 0))

    @property
    def uncounted(self) -> int:
        """Results that only the summary knows."""
        return sum(max(0, number - self.lines[tag]) for tag, number in self.summary.items())

    @property
    def place(self) -> Place | None:
        return next((self.places[tag] for tag in (Tag.FAIL, Tag.BROK, Tag.WARN) if tag in self.places), None)

    @property
    def so_far(self) -> str:
        told = [f"{self.count(tag)} {name}" for name, tag in _SUMMARY.items() if self.count(tag)]
        return ", ".join(told) or "no result"


def _read(completed: Completed) -> _Seen:
    seen = _Seen()
    head, rest = wording.parts(completed)
    for line in itertools.chain(wording.lines(head), wording.lines(rest)):
        text = _COLOUR.sub("", line) if "\x1b" in line else line
        found = _NEW.search(text)
        before = text[: found.start()].split() if found else []  # something may have been printed without a line's end
        if found and before:
            _take(seen, Tag(found[2]), text[found.end() :], Place(file=_in_tree(before[-1][-300:]), line=int(found[1])))
        elif found := _OLD.match(text):
            place = _OLD_PLACE.match(found[2])
            where = Place(file=_in_tree(place[1]), line=int(place[2])) if place else None
            _take(seen, Tag(found[1]), place[3] if place else found[2], where)
        elif found := _COUNT.match(text):
            tag = _SUMMARY[found[1]]
            seen.summary[tag] = seen.summary.get(tag, 0) + int(found[2])
    return seen


def _take(seen: _Seen, tag: Tag, text: str, place: Place | None) -> None:
    seen.lines[tag] += 1
    said = wording.one_line(text)
    if tag in {Tag.INFO, Tag.BROK} and _OUT_OF_TIME.search(said):
        seen.is_out_of_time = True
    if tag is Tag.INFO:
        seen.said_passed |= _SAID_PASSED.search(said) is not None
        if found := _CONSTRAINT.search(said):
            seen.constraints.append(found[1])
            del seen.constraints[3:]
        return
    if tag is Tag.CONF and seen.constraints and "see above" in said:
        said = f"needs {', '.join(seen.constraints)}"
    seen.first.setdefault(tag, said)
    if place is not None and (tag not in seen.places or seen.places[tag].file.startswith("lib/")):
        seen.places[tag] = place  # the library's own line says less than the test's
    outcome = _OUTCOMES[tag]
    if seen.room.keep(outcome):
        where = f"{place.file}:{place.line}: " if place else ""
        message = "" if outcome is Outcome.PASSED else wording.one_line(f"{where}{tag.value}: {said}")
        name = wording.one_line(said, NAME_LIMIT) or tag.value
        seen.children.append(SubResult(name=name, outcome=outcome, message=message))


def _in_tree(path: str) -> str:
    """A file as LTP's repository names it, as far as the printed name tells."""
    _, within, below = path.rpartition("/testcases/")
    if within:
        return posixpath.normpath(f"testcases/{below}")
    name = posixpath.normpath(path)
    return f"lib/{name}" if re.fullmatch(r"tst_\w+\.c", name, re.ASCII) else name


def _judge(completed: Completed, seen: _Seen) -> tuple[Outcome, str]:
    status = completed.exit
    if completed.is_timed_out:
        return Outcome.FAILED, f"timed out after {wording.span(completed)}, {seen.so_far}"
    if seen.count(Tag.FAIL) or (status is not None and status < 64 and status & _BITS[Tag.FAIL]):
        return Outcome.FAILED, _failure(completed, seen)
    if status is None:
        return Outcome.ERRORED, f"never ended by itself, {seen.so_far}"
    if seen.is_out_of_time and seen.count(Tag.BROK):
        return Outcome.FAILED, f"LTP's own time limit: {seen.first.get(Tag.BROK, 'the test was killed')}"
    if status & ~(sum(_BITS.values()) | _INFO_BIT):
        said = seen.first.get(Tag.BROK) or wording.telling_line(completed.output)
        return Outcome.FAILED, f"{wording.ending(status)}: {said}" if said else wording.ending(status)
    for tag, what in ((Tag.BROK, "broken"), (Tag.WARN, "a warning")):
        if seen.count(tag) or status & _BITS[tag]:
            said = seen.first.get(tag) or wording.telling_line(completed.output) or "no reason given"
            return Outcome.ERRORED, f"{what}: {said} ({wording.ending(status)}, {seen.so_far})"
    if status & _BITS[Tag.CONF]:
        return Outcome.SKIPPED, seen.first.get(Tag.CONF) or wording.skip_reason(completed.output) or "exit 32"
    return _judge_good(completed, seen)


def _failure(completed: Completed, seen: _Seen) -> str:
    first = seen.first.get(Tag.FAIL) or wording.telling_line(completed.output)
    place = seen.places.get(Tag.FAIL)
    said = f"{place.file}:{place.line}: {first}" if place and Tag.FAIL in seen.first else first
    count, total = seen.count(Tag.FAIL), sum(seen.count(tag) for tag in _OUTCOMES)
    said = f"{count} of {total} failed: {said}" if total > 1 and count else said
    status = completed.exit
    if status in {0, 1, None} and said:
        return said
    how = wording.ending(status) if status is not None else "never ended by itself"
    return f"{said} ({how})" if said else how


def _judge_good(completed: Completed, seen: _Seen) -> tuple[Outcome, str]:
    """Exit 0 and nothing bad was seen: is there proof of something good?"""
    if not completed.output.strip():
        return Outcome.ERRORED, "exit 0 and no output at all"
    if completed.dropped_bytes and not seen.summary:
        return Outcome.ERRORED, f"{completed.dropped_bytes} bytes of output were cut out, and no summary counts them"
    if seen.count(Tag.PASS):
        skipped = seen.count(Tag.CONF)
        return (
            Outcome.PASSED,
            f"{skipped} skipped: {seen.first[Tag.CONF]}" if skipped and Tag.CONF in seen.first else "",
        )
    if seen.count(Tag.CONF):
        return Outcome.SKIPPED, seen.first.get(Tag.CONF, "skipped, by the summary")
    if seen.said_passed and not seen.summary:
        return Outcome.PASSED, "no TPASS: passed by its TINFO lines and exit 0"
    return Outcome.ERRORED, f"exit 0, but no result was reported: {wording.last_line(completed.output)}"
