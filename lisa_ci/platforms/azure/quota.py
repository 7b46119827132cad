"""What a subscription may still have in a region: Azure's usage counters, and what is taken of them.

A machine takes its processors of two counters: those of its family, or those for low priority where it is a spot
machine, and those of the region; and one of the machines'.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from lisa_ci.errors import PipelineError
from lisa_ci.platforms.azure.answers import read_answer
from lisa_ci.platforms.azure.skus import Sku

TOTAL: Final = "cores"
LOW_PRIORITY: Final = "lowPriorityCores"
MACHINES: Final = "virtualMachines"
_HINT: Final = "az vm list-usage --location REGION -o json > FILE writes one"
_MOST: Final = 1 << 31


@dataclass(frozen=True, slots=True, kw_only=True)
class Counter:
    """``label`` is for people."""

    used: int
    limit: int
    label: str = ""

    @property
    def left(self) -> int:
        return max(0, self.limit - self.used)


@dataclass(slots=True)
class Quota:
    """Counters of one region, by name in lower case; a counter that is not there limits nothing."""

    region: str
    counters: Mapping[str, Counter]
    _taken: dict[str, int] = field(default_factory=dict)

    def problems(self, sku: Sku, machines: int, *, is_spot: bool) -> tuple[str, ...]:
        """Why so many machines more do not fit; a sentence for each counter."""
        return tuple(
            f"quota '{self._label(name)}' has {self.left(name)} left of {self.counters[name].limit}, {need} needed"
            for name, need in _needs(sku, machines, is_spot=is_spot)
            if name in self.counters and self.left(name) < need
        )

    def left(self, name: str) -> int:
        """What is left of a counter after all that was taken; a name in lower case."""
        counter = self.counters.get(name)
        return _MOST if counter is None else max(0, counter.left - self._taken.get(name, 0))

    def take(self, sku: Sku, machines: int, *, is_spot: bool) -> None:
        """Hold these machines' share, so that the next question knows of it."""
        for name, need in _needs(sku, machines, is_spot=is_spot):
            self._taken[name] = self._taken.get(name, 0) + need

    def _label(self, name: str) -> str:
        return self.counters[name].label or name


def _needs(sku: Sku, machines: int, *, is_spot: bool) -> Iterator[tuple[str, int]]:
    cores = sku.quota_cores * machines
    if is_spot:
        yield LOW_PRIORITY.lower(), cores
    else:
        yield sku.family.lower(), cores
        yield TOTAL, cores
    yield MACHINES.lower(), machines


def read_usage(data: bytes, place: str, region: str = "") -> tuple[Quota, ...]:
    """Quotas in a file: Azure's answer for ``region``, or a mapping from regions to such answers. PipelineError."""
    read = read_answer(data, place, _HINT)
    if isinstance(read, list) or (isinstance(read, dict) and isinstance(read.get("value"), list)):
        if not region:
            hint = '{"REGION": [...], ...} names the region of each answer'
            raise PipelineError(f"{place} does not say of which region it is", hint=hint)
        return (parse_usage(region, _rows(read)),)
    if isinstance(read, dict):
        return tuple(parse_usage(str(name).lower(), _rows(rows)) for name, rows in read.items())
    raise PipelineError(f"{place} holds no usage", hint=_HINT)


def _rows(read: Any) -> Sequence[Any]:
    rows = read.get("value") if isinstance(read, dict) else read
    return rows if isinstance(rows, list) else []


def parse_usage(region: str, rows: Sequence[Any]) -> Quota:
    """The counters of a region; rows that cannot be read are left out. ``az`` writes numbers as text."""
    counters = {}
    for row in rows:
        if not isinstance(row, dict):
            continue
        name = row.get("name")
        word = name.get("value") if isinstance(name, dict) else name
        label = name.get("localizedValue", "") if isinstance(name, dict) else ""
        used, limit = _whole(row.get("currentValue")), _whole(row.get("limit"))
        if isinstance(word, str) and used is not None and limit is not None:
            counters[word.lower()] = Counter(used=used, limit=limit, label=str(label or word))
    return Quota(region=region, counters=counters)


def _whole(value: object) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    return int(value) if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 20 else None
