"""What cases measured, as a table of the summary: a figure a line, with its spread beside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from lisa_ci.github.commands import cut, printable
from lisa_ci.model import Result
from lisa_ci.reporting.markdown import cell, table

LIMIT: Final = 200
SPREAD: Final = "_spread_percent"
_NAME: Final = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """``spread`` is the distance of the fastest and the slowest run from each other in percent, None where not told."""

    leg: str
    case: str
    name: str
    value: float
    spread: float | None = None


@dataclass(slots=True)
class Figures:
    """Takes every result; holds the first figures, and counts the rest."""

    kept: list[Figure] = field(default_factory=list)
    dropped: int = 0

    def take(self, leg: str, result: Result) -> None:
        spreads = {name.removesuffix(SPREAD): value for name, value in result.metrics.items() if name.endswith(SPREAD)}
        for name, value in result.metrics.items():
            if name.endswith(SPREAD):
                continue
            if len(self.kept) >= LIMIT:
                self.dropped += 1
                continue
            self.kept.append(
                Figure(leg=leg, case=_short(result.key), name=_short(name), value=value, spread=_spread(name, spreads))
            )


def _spread(name: str, spreads: Mapping[str, float]) -> float | None:
    """A spread is named as its figure without the unit."""
    parts = name.split("_")[:32]
    stems = ("_".join(parts[:count]) for count in range(len(parts), 0, -1))
    return next((spreads[stem] for stem in stems if stem in spreads), None)


def _short(text: str) -> str:
    return cut(" ".join(printable(text[: 4 * _NAME]).split()), _NAME)


def section(figures: Sequence[Figure], dropped: int) -> Iterator[str]:
    if not figures:
        return
    yield f"<details><summary>Measured: {len(figures) + dropped}</summary>\n"
    rows = (
        (
            cell(one.leg),
            cell(one.case),
            cell(one.name),
            f"{one.value:.6g}",
            "" if one.spread is None else f"{one.spread:.3g}",
        )
        for one in figures
    )
    yield from table(("leg", "case", "figure", "value:", "spread %:"), rows)
    if dropped:
        yield f"\n*{dropped} more figures are in the legs' files.*"
    yield "\n</details>"
