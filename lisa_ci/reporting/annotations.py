"""Annotations on a pull request: the worst first, within what GitHub shows, the rest counted in one notice.

What the image did, or a test could not tell, is an error. What the world did to us (no machine, a lost connection) is
a warning whose title starts with ``Infrastructure:``, so that nobody looks for the fault in the change. The first error
always is the verdict.
"""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath
from typing import Final

from lisa_ci.github.commands import command
from lisa_ci.github.limits import ANNOTATIONS_PER_LEVEL
from lisa_ci.model import Reason, Verdict
from lisa_ci.reporting.highlights import Highlight, Highlights
from lisa_ci.reporting.reasons import INFRASTRUCTURE, OF_CASES, Kind
from lisa_ci.reporting.words import headline

_EXCERPT_LINES: Final = 20
_WORDS: Final = {Kind.DEAD_IMAGE.value: "Crashed", Kind.CONSOLE.value: "Kernel"}
_ERRORS: Final = (Kind.CRASHED, Kind.FAILED, Kind.ERRORED)


def annotate(verdict: Verdict, highlights: Highlights, *, workspace: Path) -> list[str]:
    """The workflow commands, one a line: at most 10 errors, 10 warnings and a notice; none for a green verdict.

    ``workspace`` is the checkout: a file is named only where it lies inside.
    """
    if verdict.passed:
        return []
    told = [reason for reason in verdict.reasons if reason.kind not in OF_CASES]
    errors = [
        command("error", _whole(verdict), title=f"Not green: {verdict.name}"),
        *(_of_reason("error", reason) for reason in told if not reason.is_infrastructure),
        *(_of_case("error", one, workspace) for kind in _ERRORS for one in highlights.of(kind)),
    ]
    warnings = [
        *(_of_reason("warning", reason) for reason in told if reason.is_infrastructure),
        *(_of_case("warning", one, workspace) for one in highlights.of(Kind.LOST)),
    ]
    shown = [*errors[:ANNOTATIONS_PER_LEVEL], *warnings[:ANNOTATIONS_PER_LEVEL]]
    # Cases are kept up to a number, so the rest is counted from the counts.
    dropped = sum(highlights.count(kind) - len(highlights.of(kind)) for kind in OF_CASES)
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
    title = f"{_WORDS.get(reason.kind) or ('Infrastructure' if reason.is_infrastructure else 'Not proven')}: {kind}"
    return command(level, reason.message, title=f"{title}, {where}" if where else title)


def _of_case(level: str, case: Highlight, workspace: Path) -> str:
    name = f"{case.key} on {case.leg}"
    excerpt = case.excerpt.splitlines()[-_EXCERPT_LINES:]
    lines = (
        case.message,
        case.said and f"console: {case.said}",
        case.note,
        case.mend and f"to mend it: {case.mend}",
        *excerpt,
        f"reproduce: {case.reproduce}",
    )
    data = "\n".join(line for line in lines if line)
    place = _inside(case.file, workspace)
    line = case.line if place and case.line and case.line > 0 else None
    title = f"{_title(case)}, {name}" if _title(case) else name
    return command(level, data, title=title, file=place, line=line)


def _title(case: Highlight) -> str:
    """What stands before the name of a case; a failed one needs nothing."""
    if case.kind in INFRASTRUCTURE:
        return f"Infrastructure: machine lost ({case.loss})" if case.loss else "Infrastructure: not judged"
    if case.kind is Kind.CRASHED:
        return f"Crashed ({case.loss})" if case.loss else "Crashed"
    return "Not judged" if case.kind is Kind.ERRORED else ""


def _inside(file: str | None, workspace: Path) -> str | None:
    """The file's path from the workspace; None where it does not lie inside. Looks at the text only, never at disks."""
    if not file or "\\" in file:
        return None
    joined = PurePosixPath(os.path.normpath(workspace / file))
    root = PurePosixPath(os.path.normpath(workspace))
    return joined.relative_to(root).as_posix() if root in joined.parents else None
