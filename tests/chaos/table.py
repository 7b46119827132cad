"""What many runs came to, as the table of docs/reliability.md."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from tests.chaos.trial import Findings

HEAD = ("Fault", "Runs", "Struck", "Cases errored", "Gave up", "Lost", "Without a result", "Twice", "Wrong", "Left")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One run."""

    seed: int
    kind: str
    findings: Findings
    has_struck: bool
    errored: int = 0
    gave_up: bool = False
    wall: float


def table(rows: Sequence[Row]) -> str:
    """Markdown: one line for each kind of fault, and the sum."""
    kinds = list(dict.fromkeys(row.kind for row in rows))
    lines = [_line(HEAD), _line("---" if name == "Fault" else "---:" for name in HEAD)]
    lines += [_line(_sums(kind, [row for row in rows if row.kind == kind])) for kind in sorted(kinds)]
    lines.append(_line(_sums("**all**", rows)))
    slowest = max(rows, key=lambda row: row.wall)
    middle = median(row.wall for row in rows)
    lines.append(f"\nSeconds a run: median {middle:.1f}, longest {slowest.wall:.1f} (seed {slowest.seed}).")
    return "\n".join(lines)


def _sums(kind: str, rows: Sequence[Row]) -> tuple[object, ...]:
    columns = zip(*(row.findings.lists() for row in rows), strict=True)
    broken = [sum(len(found) for found in column) for column in columns]
    struck = sum(row.has_struck for row in rows)
    return (kind, len(rows), struck, sum(row.errored for row in rows), sum(row.gave_up for row in rows), *broken)


def _line(cells: Iterable[object]) -> str:
    return f"| {' | '.join(map(str, cells))} |"
