"""The leak receipt of the summary: what the legs made where it costs money, and what of it is left."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from lisa_ci.model import Receipt
from lisa_ci.reporting.markdown import cell, table

_ROWS: Final = 100
_NAMES: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class LegReceipt:
    """A receipt, and the leg and attempt that it is of."""

    leg: str
    attempt: int
    receipt: Receipt


def section(found: Sequence[LegReceipt]) -> Iterator[str]:
    """Markdown: open where something is left, folded where nothing is; nothing where no leg costs anything."""
    if not found:
        return
    created, deleted, left = (
        sum(len(part) for part in parts)
        for parts in zip(*((one.receipt.created, one.receipt.deleted, one.receipt.left) for one in found), strict=True)
    )
    sign = "⚠️" if left else "✅"
    told = f"{sign} Created {created}, deleted {deleted}, left {left}"
    yield f"<details{' open' if left else ''}><summary>{told}</summary>\n"
    rows = (
        (
            cell(one.leg),
            str(one.attempt),
            cell(one.receipt.place),
            str(len(one.receipt.created)),
            str(len(one.receipt.deleted)),
            _left(one.receipt),
            f"{one.receipt.delete_after:%Y-%m-%d %H:%M %Z}" if one.receipt.left else "",
        )
        for one in found[:_ROWS]
    )
    yield from table(("leg", "attempt:", "where", "created:", "deleted:", "left", "swept after"), rows)
    if len(found) > _ROWS:
        yield f"\n*{len(found) - _ROWS} more are in the legs' `run.json`.*"
    yield "\n</details>"


def _left(receipt: Receipt) -> str:
    if not receipt.left:
        return "0"
    shown = ", ".join(receipt.left[:_NAMES])
    more = len(receipt.left) - _NAMES
    return f"{len(receipt.left)}: {cell(shown + (f' and {more} more' if more > 0 else ''))}"
