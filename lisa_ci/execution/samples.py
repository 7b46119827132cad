"""What the sampler in the machine prints, as values: parsed, bounded, turned into rates. Pure.

The machine may print anything. What does not fit is left out and counted; a counter that runs backwards (a restore, a
lie) gives no rate.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from lisa_ci.model import SCHEMA

GREETING: Final = b"lisa-ci-sampler 1"
LINE_LIMIT: Final = 32 * 1024  # bytes; the interrupts of a machine with many devices
_LINES: Final = 512  # of one sample
_DEVICES: Final = 32  # disks, and networks, of one sample
_BUSIEST: Final = 8  # interrupts that a sample names
_SECTOR: Final = 512  # bytes; the unit of /proc/diskstats whatever the disk has
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@!-]{0,31}", re.ASCII)
_NUMBER: Final = re.compile(r"[0-9]{1,20}", re.ASCII)
_DECIMAL: Final = re.compile(r"[0-9]{1,12}(?:\.[0-9]{1,6})?", re.ASCII)
_PARTITION: Final = re.compile(r"p?[0-9]{1,3}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """The kernel's counters at one moment, as they came; what the machine did not tell is None or empty."""

    uptime: float
    cpu: tuple[int, ...] = ()  # user nice system idle iowait irq softirq steal, in ticks of any length
    interrupts: int | None = None
    irqs: Mapping[int, int] = field(default_factory=dict)
    context_switches: int | None = None
    forks: int | None = None
    running: int | None = None
    blocked: int | None = None
    memory: Mapping[str, int] = field(default_factory=dict)
    disks: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    networks: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    pressure: Mapping[str, Mapping[str, int]] = field(default_factory=dict)  # microseconds
    load: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Cpu:
    """Percent of all processors together since the sample before."""

    busy_percent: float
    user_percent: float
    system_percent: float
    iowait_percent: float
    steal_percent: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    read_bytes_per_second: float
    written_bytes_per_second: float
    reads_per_second: float
    writes_per_second: float
    busy_percent: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    received_bytes_per_second: float
    sent_bytes_per_second: float
    received_packets_per_second: float
    sent_packets_per_second: float
    lost_packets_per_second: float  # errors and drops, both ways


@dataclass(frozen=True, slots=True, kw_only=True)
class Pressure:
    """Percent of the time in which some task, or all of them, waited for the resource."""

    some_percent: float
    full_percent: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One line of ``samples.ndjson``. Rates are since the sample before; the first of a ``start`` has none."""

    schema: int = SCHEMA
    time: datetime  # the host's
    start: int  # counts from 1; another one after a restore, a reboot, a lost connection
    uptime_seconds: float  # the machine's
    cpu: Cpu | None = None
    load: tuple[float, ...] = ()  # over 1, 5 and 15 minutes
    tasks_running: int | None = None
    tasks_blocked: int | None = None
    forks_per_second: float | None = None
    context_switches_per_second: float | None = None
    interrupts_per_second: float | None = None
    busiest_interrupts: Mapping[str, float] = field(default_factory=dict)  # number -> per second, every tenth sample
    memory_kib: Mapping[str, int] = field(default_factory=dict)
    disks: Mapping[str, Disk] = field(default_factory=dict)
    networks: Mapping[str, Network] = field(default_factory=dict)
    pressure: Mapping[str, Pressure] = field(default_factory=dict)


_MEMORY: Final = {
    "MemTotal": "total",
    "MemFree": "free",
    "MemAvailable": "available",
    "Buffers": "buffers",
    "Cached": "cached",
    "SwapTotal": "swap_total",
    "SwapFree": "swap_free",
    "Dirty": "dirty",
    "Writeback": "writeback",
    "AnonPages": "anonymous",
    "Shmem": "shared",
    "Slab": "slab",
    "SUnreclaim": "slab_unreclaimable",
    "Committed_AS": "committed",
}


# ---- reading -------------------------------------------------------------------------------------------------------


class Parser:
    """Bytes in any pieces -> readings. ``ignored`` counts lines that are none of ours, or too long, or too many."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._is_skipping = False
        self._lines: list[str] = []
        self.is_greeted = False
        self.ignored = 0

    def feed(self, data: bytes) -> Iterator[Reading]:
        """The readings that end in ``data``."""
        self._buffer += data
        while (end := self._buffer.find(b"\n")) >= 0:
            line = bytes(self._buffer[:end])
            del self._buffer[: end + 1]
            if self._is_skipping or len(line) > LINE_LIMIT:
                self._is_skipping = False
                self.ignored += 1
                continue
            yield from self._line(line)
        if len(self._buffer) > LINE_LIMIT:
            self._buffer.clear()
            self._is_skipping = True

    def _line(self, line: bytes) -> Iterator[Reading]:
        if not self.is_greeted:  # a login shell's start files may print before
            self.is_greeted = line == GREETING
        elif line == b".":
            lines, self._lines = self._lines, []
            reading, ignored = read(lines)
            self.ignored += ignored
            if reading is not None:
                yield reading
        elif len(self._lines) < _LINES:
            self._lines.append(line.decode("ascii", "replace"))
        else:
            self.ignored += 1


def read(lines: Sequence[str]) -> tuple[Reading | None, int]:
    """The lines of one sample, and how many of them say nothing; None without a time."""
    draft = _Draft()
    ignored = sum(not draft.take(line) for line in lines)
    return draft.reading(), ignored


class _Draft:
    def __init__(self) -> None:
        self.uptime: float | None = None
        self.numbers: dict[str, tuple[int, ...]] = {}
        self.memory: dict[str, int] = {}
        self.disks: dict[str, tuple[int, ...]] = {}
        self.networks: dict[str, tuple[int, ...]] = {}
        self.pressure: dict[str, dict[str, int]] = {}
        self.load: tuple[float, ...] = ()

    def take(self, line: str) -> bool:
        kind, _, rest = line.partition(" ")
        words = rest.split(" ")
        match kind:
            case "U":
                decimals = _decimals(words)
                self.uptime = decimals[0] if decimals else self.uptime
                return bool(decimals)
            case "C" | "I" | "X" | "F" | "R" | "B":
                return self._numbers(kind, words)
            case "M":
                return self._memory(words)
            case "D":
                return _device(self.disks, words[0], words[1:], least=10)
            case "N":
                name, _, counters = rest.partition(":")
                return _device(self.networks, name, counters.split(), least=16)
            case "P":
                return self._pressure(words)
            case "L":
                decimals = _decimals(words[:3])
                self.load = decimals if len(decimals) == 3 else self.load
                return len(decimals) == 3
            case _:
                return False

    def _numbers(self, kind: str, words: list[str]) -> bool:
        numbers = _numbers([word for word in words if word])
        if numbers and (kind != "C" or len(numbers) >= 8):
            self.numbers[kind] = numbers
            return True
        return False

    def _memory(self, words: list[str]) -> bool:
        found = {
            _MEMORY[name]: number[0]
            for word, value in zip(words[::2], words[1::2], strict=False)
            if (name := word.removesuffix(":")) in _MEMORY and (number := _numbers([value]))
        }
        self.memory.update(found)
        return bool(found)

    def _pressure(self, words: list[str]) -> bool:
        match words:
            case [("cpu" | "io" | "memory") as resource, ("some" | "full") as share, value]:
                number = _numbers([value])
                if number:
                    self.pressure.setdefault(resource, {})[share] = number[0]
                return bool(number)
            case _:
                return False

    def _one(self, kind: str) -> int | None:
        return self.numbers[kind][0] if kind in self.numbers else None

    def reading(self) -> Reading | None:
        if self.uptime is None:
            return None
        return Reading(
            uptime=self.uptime,
            cpu=self.numbers.get("C", ())[:8],
            interrupts=self._one("I"),
            irqs=dict(enumerate(self.numbers.get("I", ())[1:])),
            context_switches=self._one("X"),
            forks=self._one("F"),
            running=self._one("R"),
            blocked=self._one("B"),
            memory=self.memory,
            disks={name: disk for name, disk in self.disks.items() if not _is_partition(name, self.disks)},
            networks={name: counters for name, counters in self.networks.items() if any(counters)},
            pressure=self.pressure,
            load=self.load,
        )


def _device(devices: dict[str, tuple[int, ...]], name: str, words: list[str], *, least: int) -> bool:
    numbers = _numbers(words)
    is_known = len(numbers) >= least and len(devices) < _DEVICES and bool(_NAME.fullmatch(name))
    if is_known:
        devices[name] = numbers
    return is_known


def _is_partition(name: str, disks: Mapping[str, object]) -> bool:
    return any(
        name != disk and name.startswith(disk) and bool(_PARTITION.fullmatch(name.removeprefix(disk))) for disk in disks
    )


def _numbers(words: list[str]) -> tuple[int, ...]:
    return tuple(int(word) for word in words) if all(map(_NUMBER.fullmatch, words)) else ()


def _decimals(words: list[str]) -> tuple[float, ...]:
    return tuple(float(word) for word in words) if all(map(_DECIMAL.fullmatch, words)) else ()


# ---- rates ---------------------------------------------------------------------------------------------------------


class Rates:
    """Readings of one start, in order -> samples."""

    def __init__(self, start: int) -> None:
        self._start = start
        self._before: Reading | None = None
        self._counted: Reading | None = None  # the last that told of interrupts
        self._named: Reading | None = None  # the last that told of each interrupt

    def sample(self, reading: Reading, time: datetime) -> Sample:
        before = self._before or reading
        counted = self._counted or reading
        sample = Sample(
            time=time,
            start=self._start,
            uptime_seconds=reading.uptime,
            cpu=_cpu(before.cpu, reading.cpu),
            load=reading.load,
            tasks_running=reading.running,
            tasks_blocked=reading.blocked,
            forks_per_second=_rate(counted, reading, counted.forks, reading.forks),
            context_switches_per_second=_rate(counted, reading, counted.context_switches, reading.context_switches),
            interrupts_per_second=_rate(counted, reading, counted.interrupts, reading.interrupts),
            busiest_interrupts=_busiest(self._named or reading, reading),
            memory_kib=dict(reading.memory),
            disks={name: disk for name in reading.disks if (disk := _disk(before, reading, name))},
            networks={name: network for name in reading.networks if (network := _network(before, reading, name))},
            pressure={name: waits for name in reading.pressure if (waits := _pressure(before, reading, name))},
        )
        self._before = reading
        if reading.interrupts is not None:
            self._counted = reading
        if reading.irqs:
            self._named = reading
        return sample


def _rate(before: Reading, after: Reading, first: int | None, last: int | None) -> float | None:
    seconds = after.uptime - before.uptime
    if first is None or last is None or last < first or seconds <= 0:
        return None
    return round((last - first) / seconds, 2)


def _percent(part: float, whole: float) -> float:
    return round(min(100.0, 100.0 * part / whole), 2) if whole > 0 else 0.0


def _cpu(before: tuple[int, ...], after: tuple[int, ...]) -> Cpu | None:
    if len(before) != 8 or len(after) != 8:
        return None
    # The kernel's idle and iowait may go back by a tick.
    spent = [max(0, last - first) for first, last in zip(before, after, strict=True)]
    user, nice, system, idle, iowait, irq, softirq, steal = spent
    whole = sum(spent)
    if not whole:
        return None
    return Cpu(
        busy_percent=_percent(whole - idle - iowait, whole),
        user_percent=_percent(user + nice, whole),
        system_percent=_percent(system + irq + softirq, whole),
        iowait_percent=_percent(iowait, whole),
        steal_percent=_percent(steal, whole),
    )


def _rates(
    before: Reading, after: Reading, first: tuple[int, ...], last: tuple[int, ...], *places: int
) -> list[float] | None:
    rates = [_rate(before, after, first[place], last[place]) for place in places]
    return [rate for rate in rates if rate is not None] if None not in rates else None


def _disk(before: Reading, after: Reading, name: str) -> Disk | None:
    if name not in before.disks:
        return None
    rates = _rates(before, after, before.disks[name], after.disks[name], 0, 2, 4, 6, 9)
    if rates is None:
        return None
    return Disk(
        reads_per_second=rates[0],
        read_bytes_per_second=rates[1] * _SECTOR,
        writes_per_second=rates[2],
        written_bytes_per_second=rates[3] * _SECTOR,
        busy_percent=_percent(rates[4], 1000),
    )


def _network(before: Reading, after: Reading, name: str) -> Network | None:
    if name not in before.networks:
        return None
    rates = _rates(before, after, before.networks[name], after.networks[name], 0, 1, 2, 3, 8, 9, 10, 11)
    if rates is None:
        return None
    received, received_packets, errors_in, drops_in, sent, sent_packets, errors_out, drops_out = rates
    return Network(
        received_bytes_per_second=received,
        sent_bytes_per_second=sent,
        received_packets_per_second=received_packets,
        sent_packets_per_second=sent_packets,
        lost_packets_per_second=round(errors_in + drops_in + errors_out + drops_out, 2),
    )


def _pressure(before: Reading, after: Reading, name: str) -> Pressure | None:
    if name not in before.pressure:
        return None
    first, last = before.pressure[name], after.pressure[name]
    some, full = (_rate(before, after, first.get(share), last.get(share)) for share in ("some", "full"))
    if some is None:
        return None
    return Pressure(
        some_percent=_percent(some, 1_000_000), full_percent=None if full is None else _percent(full, 1_000_000)
    )


def _busiest(before: Reading, after: Reading) -> Mapping[str, float]:
    rates = {
        str(number): rate
        for number, count in after.irqs.items()
        if (rate := _rate(before, after, before.irqs.get(number), count))
    }
    return dict(sorted(rates.items(), key=lambda item: -item[1])[:_BUSIEST])
