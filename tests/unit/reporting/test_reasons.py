from __future__ import annotations

import re
from pathlib import Path

from lisa_ci.model import Reason
from lisa_ci.reporting.reasons import INFRASTRUCTURE, PER_KIND, Kind, Reasons, named, reason

DOCS = Path(__file__).parents[3] / "docs" / "report.md"


def test_every_kind_is_explained_and_no_other() -> None:
    rows = re.findall(r"^\| `([a-z-]+)` \| (yes|) ?\|", DOCS.read_text(), re.MULTILINE)
    assert rows == [(kind.value, "yes" if kind in INFRASTRUCTURE else "") for kind in Kind]


def test_the_worst_kind_comes_first_and_within_a_kind_the_first_found() -> None:
    reasons = Reasons()
    reasons.add(reason(Kind.FAILED, "one"), reason(Kind.OTHER_PLAN, "two"), reason(Kind.FAILED, "three"))
    assert [one.message for one in reasons.sorted()] == ["two", "one", "three"]


def test_a_million_reasons_are_held_as_a_few_and_a_number() -> None:
    reasons = Reasons()
    for _ in range(100_000):
        reasons.add(Reason(kind="failed", message="the same"))
    assert len(reasons) == 100_000
    kept = reasons.sorted()
    assert len(kept) == PER_KIND + 1
    assert kept[-1].message == f"and {100_000 - PER_KIND} more of this kind"


def test_no_reason_is_false_and_one_is_true() -> None:
    reasons = Reasons()
    assert not reasons
    reasons.add(reason(Kind.EMPTY_PLAN, "nothing"))
    assert reasons


def test_a_long_list_of_names_is_cut_and_counted() -> None:
    assert named(["a", "b"]) == "a, b"
    assert named([str(number) for number in range(8)]) == "0, 1, 2, 3, 4 and 3 more"
