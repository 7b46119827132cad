"""The summary of a run, from what its leg left."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Final

from lisa_ci.archive.layout import CASES_MOST, LETTERS, ArchivedFile, Mark, Summary
from lisa_ci.errors import DataError
from lisa_ci.files import LegEvidence
from lisa_ci.model import Finding, Plan, is_id
from lisa_ci.scrub import scrub_text

_FINDINGS_MOST: Final = 1000
_FACTS_MOST: Final = 40
_TEXT_MOST: Final = 300
_CASE_MOST: Final = 400
_DIGEST_MOST: Final = 200


def summarize(
    evidence: LegEvidence,
    plan: Plan,
    archived: Sequence[ArchivedFile],
    *,
    labels: Mapping[str, str],
    keep: timedelta | None,
) -> Summary:
    """The run's summary; its id names its content. DataError for a run that cannot be."""
    run = evidence.run
    started = run.started.astimezone(UTC) if run.started.tzinfo else run.started.replace(tzinfo=UTC)
    if not is_id(plan.name) or not is_id(run.leg):
        raise DataError(f"{evidence.folder} cannot be archived: '{plan.name}' or '{run.leg}' is not an id")
    if not 2000 <= started.year < 9000 or not 0 <= run.attempt < 10**9:
        raise DataError(f"{evidence.folder} cannot be archived: its start, {started}, or its attempt cannot be")
    cases, outcomes, wall, findings, problem = _results(evidence)
    leg = plan.leg(run.leg)
    return Summary(
        id=_id(plan.name, run.plan_digest, run.leg, run.attempt, started, archived),
        name=plan.name,
        leg=run.leg,
        profile=leg.profile.name if leg else "",
        attempt=run.attempt,
        started=started,
        wall_seconds=_seconds(started, run.ended),
        is_complete=run.is_complete,
        error=_short(run.error),
        problem=problem,
        subject=run.subject_digest[:_DIGEST_MOST],
        plan=run.plan_digest[:_DIGEST_MOST],
        facts={_short(name): _short(value) for name, value in sorted(run.facts.items())[:_FACTS_MOST]},
        labels={_short(name): _short(value) for name, value in sorted(labels.items())},
        cases=cases,
        outcomes=outcomes,
        wall_ms=wall,
        findings=tuple(_marks([*run.findings, *findings])),
        files=len(archived),
        size_bytes=sum(file.size_bytes for file in archived),
        delete_after=_delete_after(started, keep),
    )


def _results(evidence: LegEvidence) -> tuple[tuple[str, ...], str, tuple[int, ...], list[Finding], str]:
    """Columns of the results, their findings, and why they could not be read to their end."""
    cases: list[str] = []
    outcomes: list[str] = []
    wall: list[int] = []
    findings: list[Finding] = []
    problem = ""
    try:
        for result in evidence.results():
            if len(cases) >= CASES_MOST:
                problem = f"it has more than {CASES_MOST:,} results"
                break
            cases.append(result.key[:_CASE_MOST])
            outcomes.append(LETTERS[result.outcome])
            wall.append(max(0, round(result.wall / timedelta(milliseconds=1))))
            findings += result.findings if len(findings) < _FINDINGS_MOST else ()
    except DataError as error:
        problem = _short(error.message)
    return tuple(cases), "".join(outcomes), tuple(wall), findings, problem


def _marks(findings: Iterable[Finding]) -> Iterable[Mark]:
    """Each kind of trouble once for each case."""
    seen: set[tuple[str, str, str | None]] = set()
    for found in findings:
        key = (found.fingerprint, found.category, found.case)
        if key in seen or len(seen) >= _FINDINGS_MOST:
            continue
        seen.add(key)
        yield Mark(
            fingerprint=found.fingerprint[:64],
            category=found.category.value,
            title=_short(found.title),
            case=found.case and found.case[:_CASE_MOST],
            allowed=bool(found.allowed),
        )


def _id(
    name: str, plan_digest: str, leg: str, attempt: int, started: datetime, archived: Sequence[ArchivedFile]
) -> str:
    parts = [name, plan_digest, leg, attempt, started.isoformat(), *([file.path, file.sha256] for file in archived)]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def _seconds(started: datetime, ended: datetime | None) -> float:
    if ended is None:
        return 0
    there = ended if ended.tzinfo else ended.replace(tzinfo=UTC)
    return max(0.0, round((there - started).total_seconds(), 3))


def _delete_after(started: datetime, keep: timedelta | None) -> date | None:
    return None if keep is None else (started + keep).date()


def _short(text: str) -> str:
    return scrub_text(" ".join(text.split()))[:_TEXT_MOST]
