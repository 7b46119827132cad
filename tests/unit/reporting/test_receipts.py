"""The leak receipt: folded where all is gone, open where something is left."""

from __future__ import annotations

from datetime import UTC, datetime

from lisa_ci.model import Receipt
from lisa_ci.reporting.receipts import LegReceipt, section

UNTIL = datetime(2026, 11, 28, 18, 0, tzinfo=UTC)
MADE = (
    "Microsoft.Compute/virtualMachines/m0",
    "Microsoft.Compute/disks/m0-os",
    "Microsoft.Network/networkInterfaces/n",
)


def receipt(*left: str) -> LegReceipt:
    gone = tuple(one for one in MADE if one not in left)
    made = Receipt(place="azure westeurope g|roup", created=MADE, deleted=gone, left=left, delete_after=UNTIL)
    return LegReceipt(leg="azure-intel", attempt=2, receipt=made)


def test_legs_that_cost_nothing_have_no_receipt() -> None:
    assert list(section([])) == []


def test_nothing_left_is_one_folded_line() -> None:
    first, *rest = section([receipt(), receipt()])
    assert first.startswith("<details><summary>✅ Created 6, deleted 6, left 0")
    assert not any("18:00" in line for line in rest)


def test_what_is_left_is_named_with_the_time_after_which_it_is_swept() -> None:
    text = "\n".join(section([receipt(MADE[1])]))
    assert text.startswith("<details open><summary>⚠️ Created 3, deleted 2, left 1")
    assert "`Microsoft.Compute/disks/m0-os`" in text
    assert "2026-11-28 18:00 UTC" in text
    assert "g¦roup" in text, "no name breaks the table"
