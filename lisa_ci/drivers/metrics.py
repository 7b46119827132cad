"""Figures that a case measured: the lines of its output that are such, so many and no more."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Final

from lisa_ci.drivers import wording
from lisa_ci.figures import MARK, figure
from lisa_ci.model import Completed

LIMIT: Final = 100  # figures of one case


def metrics(completed: Completed) -> tuple[Mapping[str, float], str]:
    """What was measured, and a note on lines that are no figures; '' where all were. The last of one name counts."""
    if MARK.encode() not in completed.output:
        return {}, ""
    found: dict[str, float] = {}
    wrong: list[str] = []
    dropped = 0
    for line in _told(completed):
        measured = figure(line)
        if measured is None:
            wrong.append(line)
        elif measured[0] in found or len(found) < LIMIT:
            found[measured[0]] = measured[1]
        else:
            dropped += 1
    notes = []
    if wrong:
        more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        notes.append(f"no figure: '{wording.one_line(wrong[0], 100)}'{more}")
    if dropped:
        notes.append(f"{dropped} figures beyond {LIMIT} were left out")
    return found, "; ".join(notes)


def _told(completed: Completed) -> Iterator[str]:
    head, rest = wording.parts(completed)
    return (line for line in chain(wording.lines(head), wording.lines(rest)) if line.startswith(MARK))
