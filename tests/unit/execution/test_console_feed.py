from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import Any, cast

import pytest

from lisa_ci.execution.console_feed import MOST, ConsoleFeed
from lisa_ci.execution.console_watch import ConsoleWatch
from lisa_ci.protocols import Machine

TODAY = date(2026, 11, 28)


def warning(at: int, function: str = "mine_put") -> bytes:
    return (
        f"[{at:5}.000001] WARNING: CPU: 0 PID: 1 at drivers/mine.c:1 {function}+0x1/0x2\n"
        f"[{at:5}.000002] ---[ end trace 0000000000000000 ]---\n"
    ).encode()


class Printing:
    """A machine of which there is only the console, in blocks of 64 KiB."""

    def __init__(self, text: bytes = b"") -> None:
        self.text = text
        self.reads = 0

    def console(self, since: int = 0) -> Iterator[bytes]:
        for start in range(since, len(self.text), 65536):
            block = self.text[start : start + 65536]
            self.reads += len(block)
            yield block


def feed_of(machine: Any, **options: int) -> ConsoleFeed:
    return ConsoleFeed(cast("Machine", machine), ConsoleWatch(today=TODAY), **options)


def test_each_poll_gives_what_is_new() -> None:
    machine = Printing(b"[    1.000000] hello\n")
    feed = feed_of(machine)
    assert feed.poll() == []
    machine.text += warning(5)[:-10]
    assert feed.poll() == []
    machine.text += warning(5)[-10:] + warning(6, "other")
    assert [finding.title for finding in feed.poll()] == ["WARNING in mine_put", "WARNING in other"]
    assert feed.poll() == []
    assert feed.position == len(machine.text)


def test_a_machine_without_a_console_is_quiet() -> None:
    feed = feed_of(Printing())
    assert (feed.poll(), feed.poll(drain=True), feed.position) == ([], [], 0)


def test_what_came_before_the_start_is_not_looked_at() -> None:
    machine = Printing(warning(5))
    feed = feed_of(machine, started_at=len(machine.text))
    machine.text += warning(6, "other")
    assert [finding.title for finding in feed.poll()] == ["WARNING in other"]


def test_a_poll_reads_8_mib_at_most_unless_it_drains() -> None:
    machine = Printing(b"x" * (3 * MOST) + b"\n" + warning(5))
    feed = feed_of(machine)
    assert (feed.poll(), feed.position) == ([], MOST)
    assert machine.reads == MOST
    assert (feed.poll(), feed.position) == ([], 2 * MOST)
    assert len(feed.poll(drain=True)) == 1
    assert feed.position == len(machine.text)


@pytest.mark.parametrize("length", [10, 500, 5000])
def test_a_console_that_is_a_new_one_is_read_from_its_start(length: int) -> None:
    machine = Printing(b"[    1.000000] first\n" * 20 + b"[    9.000000] cut of")
    feed = feed_of(machine)
    feed.poll()
    machine.text = b"#" * length + b"\n" + warning(50)
    assert [finding.title for finding in feed.poll()] == ["WARNING in mine_put"]
    assert feed.position == len(machine.text)


def test_polls_with_nothing_new_read_64_bytes() -> None:
    machine = Printing(b"[    1.000000] hello\n" * 1000)
    feed = feed_of(machine)
    feed.poll()
    machine.reads = 0
    feed.poll()
    assert machine.reads == 64


def test_the_log_of_a_machine_without_a_console_can_be_watched_instead() -> None:
    log = b"[    0.000000] Linux version 6.1.0\n[    3.000217] lisa-ci: case a#b\n" + warning(5)
    watch = ConsoleWatch(today=TODAY)
    assert [finding.case for finding in watch.feed(log)] == ["a#b"]
    assert watch.feed(log + b"[    6.000911] more\n") == []
    assert watch.finish() == []
    assert (watch.marks.running, watch.marks.boots) == ("a#b", 1)
