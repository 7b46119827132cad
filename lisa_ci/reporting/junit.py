"""JUnit XML, written as a stream, valid against Jenkins' junit-10.xsd whatever a test printed.

One testsuite for each suite of a leg, one testcase for each case. ``classname`` is ``profile.suite``, so that the name
of a case stays when a suite is sharded anew. Sub-tests are lines of ``system-out``: as testcases they would blur what
ran and what was planned. What keeps the gate shut beside failed cases is a testsuite of its own, ``verdict``: every
reader of JUnit then says the same as the gate. Why there is no library for this: docs/decisions/junit.md.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import IO, Final
from xml.sax.saxutils import escape, quoteattr

from lisa_ci import files
from lisa_ci.files import LegEvidence
from lisa_ci.github.commands import printable
from lisa_ci.model import Outcome, Plan, Reason, Result, SubResult
from lisa_ci.reporting.chosen import LegRun
from lisa_ci.reporting.judging import UNPLANNED
from lisa_ci.reporting.reasons import Kind
from lisa_ci.reporting.verdict import decide

_NOT_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_MESSAGE_CHARACTERS: Final = 2_000
_TEXT_CHARACTERS: Final = 64 << 10
_SUB_RESULTS: Final = 1_000
_FACTS: Final = 50
_SPOOL_BYTES: Final = 1 << 20
_TAGS: Final = {Outcome.FAILED: "failure", Outcome.ERRORED: "error", Outcome.SKIPPED: "skipped"}
_TOLD_BY_CASES: Final = frozenset({Kind.FAILED, Kind.ERRORED})


def write_junit(
    stream: IO[bytes], plan: Plan, evidence: Iterable[LegEvidence], *, plan_digest: str | None = None
) -> None:
    """The whole of a plan. ``plan_digest`` is that of the plan's file; by default, of its canonical bytes."""
    digest = plan_digest or hashlib.sha256(files.encode(plan)).hexdigest()
    writer = JUnitWriter(stream, plan)
    writer.close(decide(plan, digest, evidence, watch=writer.take).reasons)


def write_leg_junit(stream: IO[bytes], plan: Plan, evidence: LegEvidence) -> None:
    """One leg alone, for its own folder; what the gate thinks of it is not asked."""
    leg = plan.leg(evidence.run.leg)
    if leg is None:
        raise ValueError(f"the leg is not in the plan: {evidence.run.leg!r}")
    run = LegRun(leg=leg, run=evidence.run, inventory=None, results=evidence.results)
    writer = JUnitWriter(stream, plan)
    for result in run.results():
        writer.take(run, result)
    error = evidence.run.error or ("" if evidence.run.is_complete else "the leg died on its way")
    failed = Reason(kind=Kind.NOT_JUDGED, message=error, leg=leg.id, is_infrastructure=True)
    writer.close([failed] if error else [])


class JUnitWriter:
    """Takes results leg by leg, as ``decide`` shows them. Memory does not grow with their number.

    A testsuite's counts stand before its testcases, so the testcases of the running leg wait in temporary files.
    """

    def __init__(self, stream: IO[bytes], plan: Plan) -> None:
        self._stream = stream
        self._run: LegRun | None = None
        self._planned: frozenset[str] = frozenset()
        self._suites: dict[str, _Suite] = {}
        self._write(f'<?xml version="1.0" encoding="UTF-8"?>\n<testsuites name={_attribute(plan.name)}>\n')

    def take(self, run: LegRun, result: Result) -> None:
        """One result; all results of a leg come one after the other."""
        if run is not self._run:
            self._flush()
            self._run = run
            self._planned = frozenset(task.suite for task in run.leg.tasks)
        name = result.suite if result.suite in self._planned else UNPLANNED
        if name not in self._suites:
            self._suites[name] = _Suite()
        self._suites[name].take(run, result)

    def close(self, reasons: Iterable[Reason]) -> None:
        """Write what is left, and the reasons that no testcase tells."""
        self._flush()
        told = [reason for reason in reasons if reason.kind not in _TOLD_BY_CASES]
        if told:
            errors = sum(reason.is_infrastructure for reason in told)
            counts = f'tests="{len(told)}" failures="{len(told) - errors}" errors="{errors}" skipped="0"'
            self._write(f'<testsuite name="verdict" {counts}>\n')
            for reason in told:
                self._write("".join(_reason(reason)))
            self._write("</testsuite>\n")
        self._write("</testsuites>\n")

    def _flush(self) -> None:
        if self._run is None:
            return
        for name, suite in self._suites.items():
            self._write(suite.head(self._run, name))
            suite.body.seek(0)
            shutil.copyfileobj(suite.body, self._stream)
            suite.body.close()
            self._write("</testsuite>\n")
        self._suites.clear()

    def _write(self, text: str) -> None:
        self._stream.write(text.encode())


@dataclass(slots=True)
class _Suite:
    counts: Counter[Outcome] = field(default_factory=Counter)
    seconds: float = 0.0
    # Closed by _flush, which is always called: a leg's suites end together.
    body: IO[bytes] = field(default_factory=lambda: tempfile.SpooledTemporaryFile(_SPOOL_BYTES))  # noqa: SIM115

    def take(self, run: LegRun, result: Result) -> None:
        self.counts[result.outcome] += 1
        self.seconds += _seconds(result)
        self.body.write("".join(_testcase(run, result)).encode())

    def head(self, run: LegRun, name: str) -> str:
        counts = {
            "tests": self.counts.total(),
            "failures": self.counts[Outcome.FAILED],
            "errors": self.counts[Outcome.ERRORED],
            "skipped": self.counts[Outcome.SKIPPED],
        }
        shown = " ".join(f'{key}="{count}"' for key, count in counts.items())
        started = run.run.started.isoformat(timespec="seconds")
        return (
            f"<testsuite name={_attribute(f'{run.leg.id}/{name}')} {shown} "
            f'time="{self.seconds:.3f}" timestamp="{started}">\n{"".join(_properties(run))}'
        )


def _properties(run: LegRun) -> Iterator[str]:
    facts = {
        "leg": run.leg.id,
        "profile": run.leg.profile.name,
        "attempt": str(run.run.attempt),
        "subject_digest": run.run.subject_digest,
        "plan_digest": run.run.plan_digest,
        **dict(sorted(run.run.facts.items())[:_FACTS]),
    }
    yield "<properties>\n"
    yield from (f"<property name={_attribute(name)} value={_attribute(value)}/>\n" for name, value in facts.items())
    yield "</properties>\n"


def _testcase(run: LegRun, result: Result) -> Iterator[str]:
    classname = _attribute(f"{run.leg.profile.name}.{result.suite}")
    yield f'<testcase name={_attribute(result.case)} classname={classname} time="{_seconds(result):.3f}"'
    tag = _TAGS.get(result.outcome)
    told = _attached(result)
    if tag is None and not told:
        yield "/>\n"
        return
    yield ">\n"
    if tag is not None:
        text = "" if result.outcome is Outcome.SKIPPED else _text(_story(run, result))
        yield f"<{tag} type={_attribute(result.outcome)} message={_attribute(result.message)}>{text}</{tag}>\n"
    if told:
        yield f"<system-out>{_text(told)}</system-out>\n"
    yield "</testcase>\n"


def _story(run: LegRun, result: Result) -> str:
    """What a person needs to see of a case that did not pass: the place, the end, the excerpt, the whole log."""
    place = f"{result.file}:{result.line}" if result.line is not None else result.file
    lines = [
        result.title,
        place and f"at {place}",
        result.exit is not None and f"exit {result.exit}",
        result.log and f"log: {run.leg.id}/{result.log}",
        result.detail,
    ]
    return "\n".join(line for line in lines if line)


def _attached(result: Result) -> str:
    """The sub-tests, one a line, after their counts; '' where there are none."""
    if not result.children:
        return ""
    counts = Counter(child.outcome for child in _all_children(result.children))
    head = ", ".join(f"{counts[outcome]} {outcome}" for outcome in Outcome if counts[outcome])
    lines = [f"sub-tests: {head}"]
    for number, line in enumerate(_child_lines(result.children)):
        if number == _SUB_RESULTS:
            break
        lines.append(line)
    more = counts.total() - (len(lines) - 1) + max(result.dropped_children, 0)
    return "\n".join([*lines, f"and {more} more"] if more else lines)


def _all_children(children: Iterable[SubResult]) -> Iterator[SubResult]:
    waiting = list(children)
    while waiting:
        child = waiting.pop()
        yield child
        waiting.extend(child.children)


def _child_lines(children: Iterable[SubResult]) -> Iterator[str]:
    waiting = [(child, 0) for child in children][::-1]
    while waiting:
        child, depth = waiting.pop()
        message = f": {child.message}" if child.message else ""
        yield f"{'  ' * min(depth, 20)}{child.outcome:7} {child.name}{message}"[:_MESSAGE_CHARACTERS]
        waiting.extend((grandchild, depth + 1) for grandchild in child.children[::-1])


def _reason(reason: Reason) -> Iterator[str]:
    tag = "error" if reason.is_infrastructure else "failure"
    where = " ".join(part for part in (reason.leg, reason.case) if part)
    yield f"<testcase name={_attribute(f'{reason.kind} {where}'.strip())} classname={_attribute('lisa-ci.verdict')}>\n"
    yield f"<{tag} type={_attribute(reason.kind)} message={_attribute(reason.message)}/>\n</testcase>\n"


def _seconds(result: Result) -> float:
    return max(result.wall.total_seconds(), 0.0)


def _clean(text: str) -> str:
    return _NOT_XML.sub("\ufffd", printable(text))


def _attribute(text: str) -> str:
    return quoteattr(_clean(text[:_MESSAGE_CHARACTERS]))


def _text(text: str) -> str:
    """Escaped, and cut in the middle: what matters stands at the beginning or at the end."""
    if len(text) > _TEXT_CHARACTERS:
        half = _TEXT_CHARACTERS // 2
        text = f"{text[:half]}\n[{len(text) - 2 * half} characters left out; the log has all]\n{text[-half:]}"
    return escape(_clean(text), {"\r": "&#13;"})
