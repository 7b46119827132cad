"""A figure that something in a machine measured, as it is printed: ``METRIC NAME=VALUE``. NAME ends with the unit.

A machine may print anything: names and values are checked. How many are taken is the reader's to bound.
"""

from __future__ import annotations

import math
import re
from typing import Final

MARK: Final = "METRIC "
_LARGEST: Final = 1e18
_LIMIT: Final = 60  # characters of a name, and of a value
_LINE: Final = re.compile(
    r"METRIC ([a-z][a-z0-9]*(?:_[a-z0-9]+)+)=([+-]?[0-9]+(?:\.[0-9]+)?(?:e[+-]?[0-9]{1,2})?)\s*", re.ASCII
)


def figure(line: str) -> tuple[str, float] | None:
    """Name and value of the line; None where it is no such line."""
    found = _LINE.fullmatch(line)
    if found is None or len(found[1]) > _LIMIT or len(found[2]) > _LIMIT:
        return None
    value = float(found[2])
    return (found[1], value) if math.isfinite(value) and abs(value) <= _LARGEST else None
