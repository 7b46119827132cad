"""Figures that a case measured: lines ``METRIC NAME=VALUE`` of its output. NAME ends with the unit.

A machine may print anything: names and values are checked, and their number is bounded.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Final

from lisa_ci.drivers import wording
from lisa_ci.model import Completed

LIMIT: Final = 100  # figures of one case
_LARGEST: Final = 1e18
_MARK: Final = b"METRIC "
_LINE: Final = re.compile(
    r"METRIC ([a-z][a-z0-9]*(?:_[a-z0-9]+)+)=([+-]?[0-9]+(?:\.[0-9]+)?(?:e[+-]?[0-9]{1,2})?)\s*", re.ASCII
)
_NAME_LIMIT: Final = 60


def metrics(completed: Completed) -> tuple[Mapping[str, float], str]:
    """What was measured, and a note on lines that are no figures; '' where all were. The last of one name counts."""
    if _MARK not in completed.output:
        return {}, ""
    found: dict[str, float] = {}
    wrong: list[str] = []
    dropped = 0
    for line in _told(completed):
        figure = _figure(line)
        if figure is None:
            wrong.append(line)
        elif figure[0] in found or len(found) < LIMIT:
            found[figure[0]] = figure[1]
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
    return (line for line in chain(wording.lines(head), wording.lines(rest)) if line.startswith(_MARK.decode()))


def _figure(line: str) -> tuple[str, float] | None:
    found = _LINE.fullmatch(line)
    if found is None or len(found[1]) > _NAME_LIMIT or len(found[2]) > _NAME_LIMIT:
        return None
    value = float(found[2])
    return (found[1], value) if math.isfinite(value) and abs(value) <= _LARGEST else None
