"""The names of backends that a file may use, told from above: this layer knows no backend."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """Names of the platforms, drivers and scenarios that exist."""

    platforms: frozenset[str]
    drivers: frozenset[str]
    scenarios: frozenset[str]
