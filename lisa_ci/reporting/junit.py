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
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import IO, Final
from xml.sax.saxutils import escape, quoteattr

from lisa_ci import faults, files
from lisa_ci.faults import Fault
from lisa_ci.files import LegEvidence
from lisa_ci.github.commands import printable
from lisa_ci.model import Finding, Outcome, Plan, Reason, Result, SubResult
from lisa_ci.reporting.chosen import LegRun
from lisa_ci.reporting.judging import UNPLANNED, dead
from lisa_ci.reporting.reasons import OF_CASES, Kind, kind_of, reason
from lisa_ci.reporting.verdict import decide

_NOT_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_MESSAGE_CHARACTERS: Final = 2_000
_TEXT_CHARACTERS: Final = 64 << 10
_SUB_RESULTS: Final = 1_000
_FACTS: Final = 50
_SPOOL_BYTES: Final = 1 << 20
_RECOVERIES: Final = 50
_FINDINGS: Final = 50
_METRICS: Final = 200  # figures of a case, and of a suite
_TAGS: Final = {
    Kind.FAILED: "failure",
    Kind.CRASHED: "failure",  # the image did it: an error is what nobody did on purpose, or infrastructure
    Kind.ERRORED: "error",
    Kind.LOST: "error",
}


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
    match faults.of_run(evidence.run):
        case None:
            writer.close([])
        case Fault.IMAGE:
            writer.close([reason(Kind.DEAD_IMAGE, dead(evidence.run), leg=leg)])
        case _:
            writer.close([reason(Kind.NOT_JUDGED, evidence.run.error or "the leg died on its way", leg=leg)])


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
        told = [one for one in reasons if one.kind not in OF_CASES]
        if told:
            errors = sum(one.is_infrastructure for one in told)
            counts = f'tests="{len(told)}" failures="{len(told) - errors}" errors="{errors}" skipped="0"'
            self._write(f'<testsuite name="verdict" {counts}>\n')
            for one in told:
                self._write("".join(_reason(one)))
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
    counts: Counter[str] = field(default_factory=Counter)
    metrics: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    # Closed by _flush, which is always called: a leg's suites end together.
    body: IO[bytes] = field(default_factory=lambda: tempfile.SpooledTemporaryFile(_SPOOL_BYTES))  # noqa: SIM115

    def take(self, run: LegRun, result: Result) -> None:
        self.counts[_tag(run, result)] += 1
        self.seconds += _seconds(result)
        for name, value in result.metrics.items():
            if len(self.metrics) < _METRICS:
                self.metrics[f"metric.{result.case}.{name}"] = value
        self.body.write("".join(_testcase(run, result)).encode())

    def head(self, run: LegRun, name: str) -> str:
        counts = {
            "tests": self.counts.total(),
            "failures": self.counts["failure"],
            "errors": self.counts["error"],
            "skipped": self.counts["skipped"],
        }
        shown = " ".join(f'{key}="{count}"' for key, count in counts.items())
        started = run.run.started.isoformat(timespec="seconds")
        return (
            f"<testsuite name={_attribute(f'{run.leg.id}/{name}')} {shown} "
            f'time="{self.seconds:.3f}" timestamp="{started}">\n{"".join(_properties(run, self.metrics))}'
        )


def _properties(run: LegRun, metrics: Mapping[str, float]) -> Iterator[str]:
    facts = {
        "leg": run.leg.id,
        "profile": run.leg.profile.name,
        "attempt": str(run.run.attempt),
        "subject_digest": run.run.subject_digest,
        "plan_digest": run.run.plan_digest,
        **_recoveries(run),
        **_findings(run),
        **dict(sorted(run.run.facts.items())[:_FACTS]),
        **{name: f"{value:.6g}" for name, value in metrics.items()},
    }
    yield "<properties>\n"
    yield from (f"<property name={_attribute(name)} value={_attribute(value)}/>\n" for name, value in facts.items())
    yield "</properties>\n"


def _recoveries(run: LegRun) -> dict[str, str]:
    """``recoveries`` and ``recovery.1`` ...; empty where no machine had to be brought back."""
    told = [
        f"{one.reason}; after {one.case or 'no case'}; {one.method}, {max(one.wall.total_seconds(), 0):.1f} s"
        for one in run.recoveries
    ]
    shown = {f"recovery.{number}": text for number, text in enumerate(told[:_RECOVERIES], start=1)}
    return {"recoveries": str(len(told)), **shown} if told else {}


def _findings(run: LegRun) -> dict[str, str]:
    """``finding.FINGERPRINT`` for each that belongs to no case."""
    return {f"finding.{one.fingerprint}": _finding(one) for one in run.findings[:_FINDINGS]}


def _finding(found: Finding) -> str:
    allowed = f"; allowed: {found.allowed}" if found.allowed else ""
    return f"{found.category}: {found.title}{allowed}"


def _tag(run: LegRun, result: Result) -> str:
    """The element that tells how the case ended; '' for one that passed."""
    if result.outcome is Outcome.SKIPPED:
        return "skipped"
    kind = kind_of(run.run, result)
    return _TAGS[kind] if kind else ""


def _type(run: LegRun, result: Result) -> str:
    """``failed``, ``crashed.panic``, ``infrastructure.connection`` ...: what a program filters by."""
    kind = kind_of(run.run, result)
    name = "infrastructure" if kind is Kind.LOST else (kind or result.outcome).value
    return f"{name}.{result.loss}" if result.loss else name


def _testcase(run: LegRun, result: Result) -> Iterator[str]:
    classname = _attribute(f"{run.leg.profile.name}.{result.suite}")
    yield f'<testcase name={_attribute(result.case)} classname={classname} time="{_seconds(result):.3f}"'
    tag = _tag(run, result)
    told = _attached(result)
    if not tag and not told:
        yield "/>\n"
        return
    yield ">\n"
    if tag:
        text = "" if result.outcome is Outcome.SKIPPED else _text(_story(run, result))
        yield f"<{tag} type={_attribute(_type(run, result))} message={_attribute(result.message)}>{text}</{tag}>\n"
    if told:
        yield f"<system-out>{_text(told)}</system-out>\n"
    yield "</testcase>\n"


def _story(run: LegRun, result: Result) -> str:
    """What a person needs to see of a case that did not pass: the place, the end, the excerpt, the whole log."""
    place = f"{result.file}:{result.line}" if result.line is not None else result.file
    lines = [
        result.title,
        place and f"at {place}",
        result.mend and f"to mend it: {result.mend}",
        result.exit is not None and f"exit {result.exit}",
        result.log and f"log: {run.leg.id}/{result.log}",
        result.detail,
    ]
    return "\n".join(line for line in lines if line)


def _attached(result: Result) -> str:
    """The note, the figures, what the console said, the sub-tests after their counts, one a line; '' for nothing."""
    figures = [f"{name}: {value:.6g}" for name, value in list(result.metrics.items())[:_METRICS]]
    said = [f"console: {_finding(found)} [{found.fingerprint}]" for found in result.findings[:_FINDINGS]]
    lines = [*([f"note: {result.note}"] if result.note else []), *figures, *said, *_sub_tests(result)]
    texts = [found.text for found in result.findings[:_FINDINGS] if found.text and found.text not in result.detail]
    return "\n".join([*lines, *texts])


def _sub_tests(result: Result) -> list[str]:
    if not result.children:
        return []
    counts = Counter(child.outcome for child in _all_children(result.children))
    head = ", ".join(f"{counts[outcome]} {outcome}" for outcome in Outcome if counts[outcome])
    lines = [f"sub-tests: {head}"]
    for number, line in enumerate(_child_lines(result.children)):
        if number == _SUB_RESULTS:
            break
        lines.append(line)
    more = counts.total() - (len(lines) - 1) + max(result.dropped_children, 0)
    return [*lines, f"and {more} more"] if more else lines


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


def _reason(one: Reason) -> Iterator[str]:
    tag = "error" if one.is_infrastructure else "failure"
    where = " ".join(part for part in (one.leg, one.case) if part)
    yield f"<testcase name={_attribute(f'{one.kind} {where}'.strip())} classname={_attribute('lisa-ci.verdict')}>\n"
    yield f"<{tag} type={_attribute(one.kind)} message={_attribute(one.message)}/>\n</testcase>\n"


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
