"""From what the sampler prints to samples: typed, bounded, honest about what is not known."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lisa_ci import files
from lisa_ci.execution.samples import (
    GREETING,
    LINE_LIMIT,
    Cpu,
    Disk,
    Network,
    Parser,
    Pressure,
    Rates,
    Reading,
    Sample,
    read,
)
from lisa_ci.execution.tally import Tally

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
# From a Debian 12 guest on QEMU: kernel 6.1, one virtio disk with two partitions, one virtio network.
FIRST = """\
U 100.00
C 1000 10 500 8000 100 0 20 30
I 5000 1 2 0 0 0 0 0 0 4000 500
X 9000
F 700
R 1
B 0
M MemTotal: 489736 MemFree: 300000 MemAvailable: 380000 Buffers: 4000 Cached: 90000 Dirty: 12 Slab: 20000
D vda 2000 10 160000 900 500 20 40000 300 0 600 1200 0 0 0 0 0 0
D vda1 1900 10 150000 890 500 20 40000 300 0 590 1190 0 0 0 0 0 0
N lo:       0       0    0    0    0     0          0         0        0       0    0    0    0     0       0          0
N eth0: 1000 10 0 0 0 0 0 0 2000 20 0 0 0 0 0 0
P cpu some 1000000
P cpu full 0
P io some 500000
P io full 400000
L 0.50 0.25 0.10 1/80 1234
"""
SECOND = """\
U 102.00
C 1100 10 550 8020 120 0 25 35
I 7000 1 2 0 0 0 0 0 0 5000 1400
X 10000
F 710
R 3
B 1
M MemTotal: 489736 MemFree: 200000 MemAvailable: 280000 Buffers: 4000 Cached: 95000 Dirty: 900 Slab: 21000
D vda 2100 10 164000 900 600 20 48000 300 0 1600 1200 0 0 0 0 0 0
D vda1 1900 10 150000 890 500 20 40000 300 0 590 1190 0 0 0 0 0 0
N lo: 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0
N eth0: 3000 30 1 2 0 0 0 0 10000 60 3 4 0 0 0 0
P cpu some 2000000
P cpu full 0
P io some 700000
P io full 500000
L 1.50 0.25 0.10 3/81 1300
"""
STREAM = GREETING + b"\n" + FIRST.encode() + b".\n" + SECOND.encode() + b".\n"


def reading(text: str) -> Reading:
    found, ignored = read(text.splitlines())
    assert found is not None
    assert not ignored
    return found


def test_two_readings_give_rates_between_them() -> None:
    rates = Rates(1)
    first = rates.sample(reading(FIRST), NOW)
    assert first.cpu is None
    assert not first.disks
    assert first.interrupts_per_second is None
    assert first.memory_kib["available"] == 380000
    second = rates.sample(reading(SECOND), NOW + timedelta(seconds=2))
    assert second == Sample(
        time=NOW + timedelta(seconds=2),
        start=1,
        uptime_seconds=102.0,
        cpu=Cpu(busy_percent=80.0, user_percent=50.0, system_percent=27.5, iowait_percent=10.0, steal_percent=2.5),
        load=(1.5, 0.25, 0.1),
        tasks_running=3,
        tasks_blocked=1,
        forks_per_second=5.0,
        context_switches_per_second=500.0,
        interrupts_per_second=1000.0,
        busiest_interrupts={"8": 500.0, "9": 450.0},
        memory_kib={
            "total": 489736,
            "free": 200000,
            "available": 280000,
            "buffers": 4000,
            "cached": 95000,
            "dirty": 900,
            "slab": 21000,
        },
        disks={
            "vda": Disk(
                reads_per_second=50.0,
                read_bytes_per_second=2000 * 512.0,
                writes_per_second=50.0,
                written_bytes_per_second=4000 * 512.0,
                busy_percent=50.0,
            )
        },
        networks={
            "eth0": Network(
                received_bytes_per_second=1000.0,
                received_packets_per_second=10.0,
                sent_bytes_per_second=4000.0,
                sent_packets_per_second=20.0,
                lost_packets_per_second=5.0,
            )
        },
        pressure={
            "cpu": Pressure(some_percent=50.0, full_percent=0.0),
            "io": Pressure(some_percent=10.0, full_percent=5.0),
        },
    )


def test_a_sample_is_one_line_that_reads_back() -> None:
    rates = Rates(1)
    rates.sample(reading(FIRST), NOW)
    sample = rates.sample(reading(SECOND), NOW)
    line = files.encode_line(sample)
    assert line.count(b"\n") == 1
    assert files.decode(Sample, line, place="here") == sample


def test_a_counter_that_runs_backwards_gives_no_rate() -> None:
    rates = Rates(1)
    rates.sample(reading(SECOND), NOW)
    sample = rates.sample(reading(FIRST.replace("U 100.00", "U 103.00")), NOW)
    assert sample.context_switches_per_second is None
    assert sample.networks == {}
    assert sample.pressure == {}
    assert sample.disks == {}


def test_a_clock_that_stands_still_gives_no_rate() -> None:
    rates = Rates(1)
    rates.sample(reading(FIRST), NOW)
    sample = rates.sample(reading(SECOND.replace("U 102.00", "U 100.00")), NOW)
    assert sample.interrupts_per_second is None
    assert sample.disks == {}


def test_interrupts_that_come_at_times_only_are_spread_over_the_time_between() -> None:
    """A machine of many processors tells of them every tenth time."""
    rare = "\n".join(line for line in SECOND.splitlines() if line[0] not in "IXF").replace("U 102.00", "U 101.00")
    rates = Rates(1)
    rates.sample(reading(FIRST), NOW)
    assert rates.sample(reading(rare), NOW).interrupts_per_second is None
    assert rates.sample(reading(SECOND), NOW).interrupts_per_second == 1000.0


def test_the_stream_is_understood_in_any_pieces() -> None:
    for size in (1, 7, 100, len(STREAM)):
        parser = Parser()
        found = [one for at in range(0, len(STREAM), size) for one in parser.feed(STREAM[at : at + size])]
        assert found == [reading(FIRST), reading(SECOND)]
        assert parser.ignored == 0


def test_what_comes_before_the_greeting_is_nothing() -> None:
    parser = Parser()
    assert list(parser.feed(b"Welcome!\nU 1.0\n.\n")) == []
    assert not parser.is_greeted
    assert len(list(parser.feed(STREAM))) == 2


@pytest.mark.parametrize(
    "line",
    [
        "",
        "Z 1",
        "C 1 2 3",
        "C 1 2 3 4 5 6 7 x",
        "I -5",
        "X 1e9",
        "X ٣",
        "D ../../x 1 2 3 4 5 6 7 8 9 10 11",
        "D vda 1 2 3",
        "D vda\x1b[2J 1 2 3 4 5 6 7 8 9 10 11",
        "N eth0 1 2 3",
        "N : 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16",
        "P disk some 1",
        "P cpu some",
        "P cpu some 1 2",
        "L 1 2",
        "L nan nan nan",
        "M MemTotal: many",
        "U inf",
        "X 999999999999999999999",
    ],
)
def test_a_line_that_is_none_of_ours_is_counted_and_left_out(line: str) -> None:
    found, ignored = read([*FIRST.splitlines(), line])
    assert ignored == 1
    assert found == reading(FIRST)


def test_a_sample_without_a_time_is_none() -> None:
    assert read(FIRST.splitlines()[1:]) == (None, 0)


def test_a_sample_is_bounded_in_lines_devices_and_bytes() -> None:
    parser = Parser()
    many = "".join(f"D d{letter}{other} 1 2 3 4 5 6 7 8 9 10 11\n" for letter in "abcdefghijkl" for other in "abcdefg")
    flood = b"X 1\n" * 2000
    text = GREETING + b"\nU 1.0\n" + many.encode() + b"x" * (3 * LINE_LIMIT) + b"\n" + flood + b".\n"
    (found,) = parser.feed(text)
    assert len(found.disks) == 32
    assert parser.ignored > 1500
    assert list(parser.feed(b"y" * (10 * LINE_LIMIT))) == []
    assert len(parser._buffer) == 0
    assert list(parser.feed(b"\n" + FIRST.encode() + b".\n")) == [reading(FIRST)]


LINES = st.sampled_from([*FIRST.splitlines(), *SECOND.splitlines(), ".", "lisa-ci-sampler 1"])


@settings(deadline=None)
@given(parts=st.lists(LINES.map(str.encode) | st.binary(max_size=60), max_size=60), size=st.integers(1, 300))
def test_whatever_is_printed_becomes_samples_that_can_be_written(parts: list[bytes], size: int) -> None:
    data = GREETING + b"\n" + b"\n".join(parts) + b"\n.\n"
    parser, rates, tally = Parser(), Rates(1), Tally()
    whole = list(Parser().feed(data))
    found = [one for at in range(0, len(data), size) for one in parser.feed(data[at : at + size])]
    assert found == whole
    for one in found:
        sample = rates.sample(one, NOW)
        assert files.decode(Sample, files.encode_line(sample), place="here") == sample
        tally.take(sample)
    files.encode(tally.summary(ignored_lines=parser.ignored, is_cut=False))


def test_the_summary_has_peak_and_mean_of_each_series() -> None:
    tally, rates = Tally(), Rates(1)
    samples = [rates.sample(reading(FIRST), NOW), rates.sample(reading(SECOND), NOW + timedelta(seconds=2))]
    for sample in samples:
        tally.take(sample)
    tally.take(Rates(2).sample(reading(FIRST), NOW + timedelta(seconds=60)))
    summary = tally.summary(ignored_lines=3, is_cut=False)
    assert (summary.samples, summary.starts, summary.seconds, summary.gaps, summary.ignored_lines) == (3, 2, 2.0, 0, 3)
    busy = summary.series["cpu_busy_percent"]
    assert (busy.count, busy.mean, busy.peak, busy.peak_at) == (1, 80.0, 80.0, NOW + timedelta(seconds=2))
    available = summary.series["memory_available_kib"]
    assert (available.count, available.peak, available.mean) == (3, 280000, round(1040000 / 3, 2))
    assert summary.series["disk_vda_busy_percent"].peak == 50.0
    assert summary.series["network_eth0_sent_bytes_per_second"].peak == 4000.0
    assert summary.series["pressure_io_full_percent"].peak == 5.0
    assert "memory_total_kib" not in summary.series


def test_a_hole_in_the_samples_is_counted() -> None:
    tally, rates = Tally(), Rates(1)
    tally.take(rates.sample(reading(FIRST), NOW))
    tally.take(rates.sample(reading(SECOND.replace("U 102.00", "U 140.00")), NOW))
    assert tally.summary(ignored_lines=0, is_cut=False).gaps == 1


def test_a_machine_that_renames_its_devices_without_end_does_not_fill_the_memory() -> None:
    tally = Tally()
    for number in range(500):
        rates = Rates(1)
        for uptime in ("100.00", "101.00"):
            text = (
                FIRST.replace("U 100.00", f"U {uptime}").replace("eth0", f"eth{number}").replace("vda", f"v{number}x")
            )
            tally.take(rates.sample(reading(text), NOW))
    assert len(tally.summary(ignored_lines=0, is_cut=False).series) == 256
