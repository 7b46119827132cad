"""Sizes that Azure takes away, and when.

Sources: learn.microsoft.com, "Retired Azure VM size series" (2026-04) and the retirement pages of HC and HBv2 (2026-01)
and NP. A date in Azure's own answer comes before this table.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date, timedelta
from typing import Final

from lisa_ci.model import Profile

NEAR: Final = timedelta(days=365)
_DATES: Final = (
    (r"NC[0-9]+r?s_v3", date(2025, 9, 30)),
    (r"NV[0-9]+s_v3|NV[0-9]+as_v4", date(2026, 9, 30)),
    (r"M192i[dm]*s_v2", date(2027, 3, 31)),
    (r"NP[0-9]+s", date(2027, 5, 31)),
    (r"HC44(?:-[0-9]+)?rs", date(2027, 5, 31)),
    (r"HB120(?:-[0-9]+)?rs_v2", date(2027, 5, 31)),
    (r"DS?[0-9]+(?:-[0-9]+)?(?:_v2)?(?:_Promo)?|L(?:4|8|16|32)s", date(2028, 5, 1)),
    (r"A[0-9]+m?_v2|B[0-9]+[lm]*s|FX?[0-9]+s?(?:_v2)?|GS?[0-9](?:-[0-9]+)?|L[0-9]+s_v2", date(2028, 11, 15)),
)
_PATTERNS: Final = tuple((re.compile(f"Standard_(?:{pattern})"), day) for pattern, day in _DATES)


def retires(size: str) -> date | None:
    """The day after which no machine of the size runs; None where none is announced, as far as is known here."""
    return next((day for pattern, day in _PATTERNS if pattern.fullmatch(size)), None)


def warning(size: str, today: date, day: date | None = None) -> str:
    """A sentence where the size is retired, or is within a year; '' otherwise. ``day``: what Azure itself says."""
    day = day or retires(size)
    if day is None or day - today > NEAR:
        return ""
    return f"{size} has been retired since {day}" if day < today else f"{size} retires on {day}"


def warnings(profile: Profile, today: date) -> Iterator[str]:
    """A sentence for each size of the profile that is retired, or is within a year."""
    for size in profile.azure.sizes if profile.azure else ():
        if text := warning(size, today):
            yield f"profile {profile.name}: {text}"
