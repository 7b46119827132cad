from __future__ import annotations

import re
import tracemalloc
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from lisa_ci.execution.console_lines import LINE_LIMIT, parse_line
from lisa_ci.execution.console_patterns import PATTERNS, Pattern, Shape, Speaker
from lisa_ci.execution.console_reports import TEXT_LIMIT
from lisa_ci.execution.console_watch import KEPT_FINDINGS, KEPT_MARKS, ConsoleWatch, Marks, first_pattern
from lisa_ci.model import Allowance, Category, Finding

CASES = Path(__file__).parents[2] / "cases/console"
NAMES = sorted(path.stem for path in CASES.glob("*.log"))
TODAY = date(2026, 11, 28)
SPLAT = """\
[{at:5}.000001] ------------[ cut here ]------------
[{at:5}.000002] WARNING: CPU: {cpu} PID: {pid} at drivers/mine.c:{line} {function}+0x1a/0x40 [mine]
[{at:5}.000003] CPU: {cpu} PID: {pid} Comm: {comm} Not tainted {version} #1
[{at:5}.000004] RIP: 0010:{function}+0x{offset:x}/0x40 [mine]
[{at:5}.000005] RAX: {address:016x} RBX: 0000000000000000
[{at:5}.000006] Call Trace:
[{at:5}.000007]  ? {guess}+0x1/0x2
[{at:5}.000008]  mine_ioctl+0x{offset:x}/0x80 [mine]
[{at:5}.000009]  vfs_ioctl+0x21/0x40
[{at:5}.000010] ---[ end trace {address:016x} ]---
"""


def splat(function: str = "mine_put", **facts: Any) -> bytes:
    given_facts = {"at": 50, "cpu": 0, "pid": 1, "line": 10, "comm": "x", "version": "6.1.0", "offset": 16}
    return SPLAT.format(**{**given_facts, "address": 0, "guess": "f", "function": function, **facts}).encode()


def mark(text: str, at: float) -> bytes:
    return f"[{at:12.6f}] lisa-ci: {text}\n".encode()


def log_of(name: str) -> bytes:
    return (CASES / f"{name}.log").read_bytes()


def watched(data: bytes, *sizes: int) -> tuple[list[Finding], ConsoleWatch]:
    """Everything found in ``data``, given in pieces of ``sizes`` in turn (all at once without)."""
    watch = ConsoleWatch(today=TODAY)
    found: list[Finding] = []
    position = turn = 0
    while position < len(data):
        size = sizes[turn % len(sizes)] if sizes else len(data)
        found += watch.feed(data[position : position + size])
        position, turn = position + size, turn + 1
    return found + watch.finish(), watch


def fingerprints(data: bytes) -> list[str]:
    return [finding.fingerprint for finding in watched(data)[0]]


# ---- the directory of cases ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_console_gives_exactly_these_findings(name: str) -> None:
    wanted = yaml.safe_load((CASES / f"{name}.yaml").read_text())
    assert wanted["source"]
    found, watch = watched(log_of(name))
    told = []
    for finding in found:
        lines = finding.text.split("\n")
        count = watch.counts[finding.case, finding.fingerprint]
        told.append(
            {
                "category": finding.category.value,
                "title": finding.title,
                "fingerprint": finding.fingerprint,
                **({"case": finding.case} if finding.case else {}),
                "first": lines[0],
                "last": lines[-1],
                "lines": len(lines),
                **({"count": count} if count > 1 else {}),
            }
        )
    assert told == wanted["findings"]
    marks = told_marks(watch.marks)
    assert {key: marks[key] for key in wanted.get("marks", {})} == wanted.get("marks", {})


def told_marks(marks: Marks) -> dict[str, object]:
    return {
        "running": marks.running,
        "cases": [one.case + ("" if one.is_ended else " (running)") for one in marks.cases],
        "interrupted": marks.interrupted,
        "boots": marks.boots,
        "has_panicked": marks.has_panicked,
        "panic_ended": marks.panic_ended,
    }


def test_every_category_has_a_case_and_false_alarms_have_many() -> None:
    wanted = {name: yaml.safe_load((CASES / f"{name}.yaml").read_text())["findings"] for name in NAMES}
    assert {finding["category"] for findings in wanted.values() for finding in findings} == {*map(str, Category)}
    assert len(NAMES) >= 60
    assert sum(not findings for findings in wanted.values()) >= 15


def lines_of_cases() -> Iterator[str]:
    for name in NAMES:
        for line in log_of(name).replace(b"\r", b"\n").split(b"\n"):
            yield parse_line(line).text


def test_every_pattern_is_the_first_to_match_a_line_of_some_case() -> None:
    matched = set()
    for text in lines_of_cases():
        if found := first_pattern(text, is_kernel=True, is_early=True):
            matched.add(found[0].message)
    assert matched == {pattern.message for pattern in PATTERNS}


@pytest.mark.parametrize("pattern", PATTERNS, ids=lambda pattern: pattern.message[:40])
def test_a_pattern_matches_its_own_message_and_its_words_find_it(pattern: Pattern) -> None:
    found = first_pattern(pattern.message, is_kernel=True, is_early=True)
    assert found
    assert found[0] is pattern
    assert any(word in pattern.message.encode() for word in pattern.words)
    assert (pattern.last is not None) == (pattern.shape is Shape.BLOCK)
    stamp = b"" if pattern.speaker is Speaker.USERLAND else b"[    1.000000] "
    assert [finding.category for finding in watched(stamp + pattern.message.encode() + b"\n")[0]] == [pattern.category]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("sizes", [(1,), (7, 64, 3), (4096,)])
def test_findings_do_not_depend_on_the_pieces_that_bytes_come_in(name: str, sizes: tuple[int, ...]) -> None:
    data = log_of(name)
    whole, one = watched(data)
    pieces, other = watched(data, *sizes)
    assert pieces == whole
    assert (one.marks, one.counts) == (other.marks, other.counts)


LINES = sorted({line for name in NAMES for line in log_of(name).splitlines(keepends=True)})
CHATTER = st.one_of(
    st.sampled_from(LINES),
    st.sampled_from([b"(initramfs) ", b"dracut:/#", b"\r", b"\n", b"\0", b"\xff\xfe", b"\x1b[0;31m", b"x" * 5000]),
    st.binary(max_size=40),
    st.builds(lambda at, text: f"[{at:12.6f}] {text}\n".encode(), st.floats(0, 10**7), st.text(max_size=20)),
)


@settings(deadline=None)
@given(st.lists(CHATTER, max_size=30).map(b"".join), st.lists(st.integers(1, 5000), min_size=1, max_size=4))
def test_any_bytes_in_any_pieces_give_the_same_findings(data: bytes, sizes: list[int]) -> None:
    whole, one = watched(data)
    pieces, other = watched(data, *sizes)
    assert pieces == whole
    assert (one.marks, one.counts, one.dropped) == (other.marks, other.counts, other.dropped)
    for finding in whole:
        assert len(finding.text.encode()) <= TEXT_LIMIT
        assert re.fullmatch("[0-9a-f]{16}", finding.fingerprint)
        assert finding.title
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f]", finding.title + finding.text)


def test_what_stands_behind_a_prompt_counts_the_same_in_any_pieces() -> None:
    data = b"(initramfs) <4>[  921.000013] Mem abort info:\n" + splat()
    assert watched(data)[0] == watched(data, 1)[0]


# ---- fingerprints --------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(
    at=st.integers(3, 99999),
    cpu=st.integers(0, 255),
    pid=st.integers(1, 4194304),
    line=st.integers(1, 9999),
    comm=st.sampled_from(["cat", "kworker/3:1", "x y"]),
    version=st.sampled_from(["5.10.0-33-amd64", "6.12.6"]),
    offset=st.integers(0, 0xFFFF),
    address=st.integers(0, 2**64 - 1),
    guess=st.sampled_from(["f", "g"]),
)
def test_numbers_addresses_times_and_versions_do_not_change_a_fingerprint(**facts: Any) -> None:
    assert fingerprints(splat(**facts)) == fingerprints(splat())


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("oops-null-x86", "oops-null-x86-elsewhere"),
        ("oops-null-arm64", "oops-null-arm64-6-14"),
        ("warning-x86", "warning-no-stamps"),
    ],
)
def test_the_same_trouble_has_the_same_fingerprint_elsewhere(one: str, other: str) -> None:
    assert fingerprints(log_of(one))[0] == fingerprints(log_of(other))[0]


def test_another_function_or_another_caller_is_another_finding() -> None:
    told = {*fingerprints(splat()), *fingerprints(splat("mine_get"))}
    told |= {*fingerprints(splat().replace(b"mine_ioctl", b"mine_mmap"))}
    assert len(told) == 3


def test_compilers_suffixes_do_not_change_a_fingerprint() -> None:
    assert fingerprints(splat("mine_put.constprop.0.isra.0")) == fingerprints(splat()) != []


def test_a_finding_is_named_by_its_own_lines_where_two_processors_speak_without_names() -> None:
    lines = splat().splitlines(keepends=True)
    noise = b"[   50.000003] mine: a line of another processor\n"
    assert fingerprints(b"".join(line + noise for line in lines)) == fingerprints(splat())


# ---- what is kept --------------------------------------------------------------------------------------------------


def test_the_same_finding_is_told_once_in_a_case_and_counted() -> None:
    data = mark("case a#b", 1) + b"".join(splat(at=at) for at in range(10, 60)) + mark("end", 70) + splat(at=80)
    found, watch = watched(data)
    assert [finding.case for finding in found] == ["a#b", None]
    assert dict(watch.counts) == {("a#b", found[0].fingerprint): 50, (None, found[0].fingerprint): 1}


def test_after_200_findings_others_are_only_counted() -> None:
    names = [f"f_{chr(97 + number // 26)}{chr(97 + number % 26)}" for number in range(KEPT_FINDINGS + 50)]
    found, watch = watched(b"".join(splat(name, at=10 + at) for at, name in enumerate(names)))
    assert (len(found), watch.dropped) == (KEPT_FINDINGS, 50)


def test_an_excerpt_has_at_most_8_kib_and_says_what_is_left_out() -> None:
    head = b"[    1.000000] BUG: KASAN: use-after-free in f+0x1/0x2\n"
    body = b"".join(b"[    1.%06d] %s\n" % (number, b"\xc3\xa4" * 100) for number in range(100))
    (finding,) = watched(head + body)[0]
    assert TEXT_LIMIT - 300 < len(finding.text.encode()) <= TEXT_LIMIT
    assert re.search(r"\n\[\d+ more lines\]$", finding.text)


def test_memory_does_not_grow_with_a_line_or_a_flood_of_splats() -> None:
    watch = ConsoleWatch(today=TODAY)
    block = b"[    1.000000] BUG: " + b"x" * (1 << 20)
    flood = b"".join(splat(at=at) for at in range(1000, 3000))
    quiet = b"".join(b"[%5d.000000] usb 1-1: something\n" % at for at in range(1000, 30000))
    tracemalloc.start()
    for _ in range(32):
        watch.feed(block)
    assert [finding.title[:9] for finding in watch.feed(b"\n" + splat(at=999))] == ["BUG: xxxx", "WARNING i"]
    for _ in range(10):
        watch.feed(flood)
        watch.feed(quiet)
    watch.feed(b"".join(mark(f"case a#b{at}", at) for at in range(31000, 35000)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 24 << 20
    assert len(watch.marks.cases) == KEPT_MARKS


def test_a_line_counts_by_its_first_4_kib_only() -> None:
    late = b"[    1.000000] " + b"x" * LINE_LIMIT + b" BUG: kernel NULL pointer dereference, address: 0\n"
    assert watched(late)[0] == []
    assert len(watched(late + splat())[0]) == 1


# ---- markers, boots, ends ------------------------------------------------------------------------------------------


def test_a_report_that_is_being_told_belongs_to_the_case_in_which_it_began() -> None:
    head, tail = splat().split(b"[   50.000006]", 1)
    data = mark("case a#one", 40) + head + mark("end", 50) + mark("case a#two", 50) + b"[   50.000006]" + tail
    (finding,) = watched(data)[0]
    assert finding.case == "a#one"
    assert "lisa-ci" not in finding.text
    assert "end trace" in finding.text


def test_settling_completes_what_is_being_told() -> None:
    watch = ConsoleWatch(today=TODAY)
    head, tail = splat().split(b"[   50.000010]", 1)
    assert watch.feed(head) == []
    (finding,) = watch.settle()
    assert finding.title == "WARNING in mine_put"
    assert watch.settle() == []
    assert watch.feed(b"[   50.000010]" + tail) == []


def test_a_machine_that_was_put_back_is_watched_from_there() -> None:
    watch = ConsoleWatch(today=TODAY)
    watch.feed(mark("case a#one", 500))
    watch.rewind()
    assert (watch.marks.running, watch.marks.interrupted) == (None, "a#one")
    assert len(watch.feed(splat(at=60))) == 1


def test_a_report_that_a_restore_cuts_off_is_not_lost() -> None:
    watch = ConsoleWatch(today=TODAY)
    watch.feed(mark("case a#one", 40) + splat().split(b"[   50.000010]")[0])
    watch.rewind()
    assert [finding.case for finding in watch.feed(b"\n")] == ["a#one"]


def test_a_boot_is_seen_before_its_first_lines_prove_it_when_the_console_ends_there() -> None:
    first = b"".join(b"[    0.%06d] line %d\n" % (number * 1001, number) for number in range(1, 10))
    boot = b"[    0.000000] Linux version 6.1.0\n" + first
    again = b"[    0.000000] Linux version 6.1.0\n[    0.000000] Command line: x\n"
    assert watched(boot + splat() + again)[1].marks.boots == 2
    assert watched(boot + splat() + boot)[1].marks.boots == 1
    early = b"[    0.001001] BUG: kernel NULL pointer dereference, address: 0\n[    0.001002] RIP: 0010:early+0x1/0x2\n"
    found, watch = watched(boot + splat() + again + early)
    assert [finding.title for finding in found][1:] == ["BUG: kernel NULL pointer dereference in early"]
    assert watch.marks.boots == 2


def test_a_panic_has_begun_and_ended_until_the_next_boot() -> None:
    watch = ConsoleWatch(today=TODAY)
    watch.feed(b"[    0.000000] Linux version 6.1.0\n[    3.000000] Kernel panic - not syncing: x\n")
    assert (watch.marks.has_panicked, watch.marks.panic_ended) == (True, False)
    assert len(watch.feed(b"[    3.000001] ---[ end Kernel panic - not syncing: x ]---\n")) == 1
    assert (watch.marks.has_panicked, watch.marks.panic_ended) == (True, True)
    watch.feed(b"[    0.000000] Linux version 6.1.0\n")
    watch.finish()
    assert (watch.marks.has_panicked, watch.marks.panic_ended, watch.marks.boots) == (False, False, 2)


def test_a_machine_that_is_put_back_has_no_longer_panicked() -> None:
    panic = (
        b"[   50.000000] Kernel panic - not syncing: x\n[   50.000001] ---[ end Kernel panic - not syncing: x ]---\n"
    )
    told = ConsoleWatch(today=TODAY)
    told.feed(mark("case a#one", 49) + panic)
    told.rewind()
    seen = ConsoleWatch(today=TODAY)
    seen.feed(mark("case a#one", 49) + panic + mark("case a#two", 48.9))
    for watch in (told, seen):
        assert (watch.marks.has_panicked, watch.marks.panic_ended, watch.marks.interrupted) == (False, False, "a#one")
    assert [one.case for one in seen.marks.cases] == ["a#two"]
    seen.feed(mark("end", 48.95))
    assert (seen.marks.running, seen.marks.interrupted) == (None, None)


# ---- the allow-list ------------------------------------------------------------------------------------------------

ALLOWANCE: dict[str, Any] = {"reason": "known", "owner": "kernel-team", "expires": TODAY}


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"match": "WARNING in mine_put"}, "known"),
        ({"match": "WARNING in mine_*"}, "known"),
        ({"match": "*", "category": Category.WARNING}, "known"),
        ({"match": "*", "category": Category.OOPS}, ""),
        ({"match": "warning in mine_put"}, ""),
        ({"fingerprint": "0" * 16}, ""),
        ({"match": "*", "expires": date(2026, 11, 27)}, ""),
    ],
)
def test_an_allowance_counts_for_what_it_names_until_its_last_day(given: dict[str, Any], reason: str) -> None:
    watch = ConsoleWatch([Allowance(**{**ALLOWANCE, **given})], today=TODAY)
    (finding,) = watch.feed(splat())
    assert finding.allowed == reason


def test_an_allowance_may_name_the_fingerprint() -> None:
    (fingerprint,) = fingerprints(splat())
    watch = ConsoleWatch([Allowance(fingerprint=fingerprint, **ALLOWANCE)], today=TODAY)
    assert [finding.allowed for finding in watch.feed(splat() + splat("mine_get", at=51))] == ["known", ""]
