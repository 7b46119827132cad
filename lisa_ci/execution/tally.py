"""The samples of a leg summed up: mean and peak of each series, in constant memory. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from lisa_ci.execution.samples import Sample
from lisa_ci.model import SCHEMA

_SERIES: Final = 256
_GAP: Final = 3.0  # seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """``peak`` is the largest value, of free and available memory the smallest; ``peak_at`` when it was first seen."""

    count: int
    mean: float
    peak: float
    peak_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """``summary.json``. ``seconds`` is the machine's time that the samples cover; ``gaps`` counts holes of over 3 s."""

    schema: int = SCHEMA
    samples: int
    starts: int
    seconds: float
    gaps: int
    ignored_lines: int
    is_cut: bool  # the file of samples reached its limit; the series here go on
    series: Mapping[str, Series]


class Tally:
    """Samples, one after the other -> a summary, in constant memory."""

    def __init__(self) -> None:
        self._sums: dict[str, float] = {}
        self._counts: dict[str, int] = {}
        self._peaks: dict[str, tuple[float, datetime]] = {}
        self._last: Sample | None = None
        self._samples = self._gaps = 0
        self._seconds = 0.0
        self.starts = 0

    def take(self, sample: Sample) -> None:
        last, self._last = self._last, sample
        self._samples += 1
        self.starts = max(self.starts, sample.start)
        if last is not None and last.start == sample.start:
            passed = max(0.0, sample.uptime_seconds - last.uptime_seconds)
            self._seconds += passed
            self._gaps += passed > _GAP
        for name, value in _values(sample):
            self._add(name, value, sample.time)

    def _add(self, name: str, value: float, time: datetime) -> None:
        if name not in self._counts and len(self._counts) >= _SERIES:
            return
        self._counts[name] = self._counts.get(name, 0) + 1
        self._sums[name] = self._sums.get(name, 0.0) + value
        is_less_worse = name in {"memory_available_kib", "memory_free_kib"}
        peak = self._peaks.get(name)
        if peak is None or (value < peak[0] if is_less_worse else value > peak[0]):
            self._peaks[name] = (value, time)

    def summary(self, *, ignored_lines: int, is_cut: bool) -> Summary:
        return Summary(
            samples=self._samples,
            starts=self.starts,
            seconds=round(self._seconds, 2),
            gaps=self._gaps,
            ignored_lines=ignored_lines,
            is_cut=is_cut,
            series={
                name: Series(
                    count=count,
                    mean=round(self._sums[name] / count, 2),
                    peak=self._peaks[name][0],
                    peak_at=self._peaks[name][1],
                )
                for name, count in self._counts.items()
            },
        )


def _values(sample: Sample) -> Iterator[tuple[str, float]]:
    """Every number of a sample that can be summed up, with the name of its series."""
    plain = {
        "tasks_running": sample.tasks_running,
        "tasks_blocked": sample.tasks_blocked,
        "load_1_minute": sample.load[0] if sample.load else None,
        "forks_per_second": sample.forks_per_second,
        "context_switches_per_second": sample.context_switches_per_second,
        "interrupts_per_second": sample.interrupts_per_second,
        **{f"memory_{name}_kib": value for name, value in sample.memory_kib.items() if not name.endswith("total")},
    }
    parts: dict[str, object] = {"cpu": sample.cpu}
    for kind, group in (("disk", sample.disks), ("network", sample.networks), ("pressure", sample.pressure)):
        parts.update({f"{kind}_{name}": part for name, part in group.items()})
    for prefix, part in parts.items():
        for name in getattr(part, "__slots__", ()):
            plain[f"{prefix}_{name}"] = getattr(part, name)
    for name, value in plain.items():
        if value is not None and math.isfinite(value):
            yield name, float(value)
