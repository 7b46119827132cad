"""Annotations on a pull request: the worst first, within what GitHub shows, the rest counted in one notice.

What the image did is an error. What the world did to us (no machine, a leg without results) is a warning with a title
of its own, so that nobody looks for the fault in the change. The first error always is the verdict.
"""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath
from typing import Final

from lisa_ci.github.commands import command
from lisa_ci.github.limits import ANNOTATIONS_PER_LEVEL
from lisa_ci.model import Outcome, Reason, Verdict
from lisa_ci.reporting.findings import Finding, Findings
from lisa_ci.reporting.reasons import Kind
from lisa_ci.reporting.words import headline

_EXCERPT_LINES: Final = 20
_TOLD_BY_FINDINGS: Final = frozenset({Kind.FAILED, Kind.ERRORED})


def annotate(verdict: Verdict, findings: Findings, *, workspace: Path) -> list[str]:
    """The workflow commands, one a line: at most 10 errors, 10 warnings and a notice; none for a green verdict.

    ``workspace`` is the checkout: a file is named only where it lies inside.
    """
    if verdict.passed:
        return []
    told = [reason for reason in verdict.reasons if reason.kind not in _TOLD_BY_FINDINGS]
    errors = [
        command("error", _whole(verdict), title=f"Not green: {verdict.name}"),
        *(_of_reason("error", reason) for reason in told if not reason.is_infrastructure),
        *(_of_finding("error", one, workspace) for one in findings.of(Outcome.FAILED)),
    ]
    warnings = [
        *(_of_reason("warning", reason) for reason in told if reason.is_infrastructure),
        *(_of_finding("warning", one, workspace) for one in findings.of(Outcome.ERRORED)),
    ]
    shown = [*errors[:ANNOTATIONS_PER_LEVEL], *warnings[:ANNOTATIONS_PER_LEVEL]]
    # Findings are kept up to a number, so the rest is counted from the counts.
    dropped = sum(findings.count(outcome) - len(findings.of(outcome)) for outcome in (Outcome.FAILED, Outcome.ERRORED))
    rest = len(errors) + len(warnings) + dropped - len(shown)
    if rest:
        text = f"{rest} more findings do not fit; the job's summary and the report's files have them"
        shown.append(command("notice", text, title="More findings"))
    return shown


def _whole(verdict: Verdict) -> str:
    retry = "\nThe image was not judged in full; a retry may help."
    return headline(verdict) + (retry if all(reason.is_infrastructure for reason in verdict.reasons) else "")


def _of_reason(level: str, reason: Reason) -> str:
    where = " on ".join(part for part in (reason.case, reason.leg) if part)
    kind = reason.kind.replace("-", " ")
    title = f"Infrastructure: {kind}" if reason.is_infrastructure else f"Not proven: {kind}"
    return command(level, reason.message, title=f"{title}, {where}" if where else title)


def _of_finding(level: str, finding: Finding, workspace: Path) -> str:
    name = f"{finding.key} on {finding.leg}"
    title = name if finding.outcome is Outcome.FAILED else f"Infrastructure: not judged, {name}"
    excerpt = finding.excerpt.splitlines()[-_EXCERPT_LINES:]
    data = "\n".join(line for line in (finding.message, *excerpt, f"reproduce: {finding.reproduce}") if line)
    place = _inside(finding.file, workspace)
    line = finding.line if place and finding.line and finding.line > 0 else None
    return command(level, data, title=title, file=place, line=line)


def _inside(file: str | None, workspace: Path) -> str | None:
    """The file's path from the workspace; None where it does not lie inside. Looks at the text only, never at disks."""
    if not file or "\\" in file:
        return None
    joined = PurePosixPath(os.path.normpath(workspace / file))
    root = PurePosixPath(os.path.normpath(workspace))
    return joined.relative_to(root).as_posix() if root in joined.parents else None
