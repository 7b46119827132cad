"""Files and frames changed by anyone: a value of ours or a clear error, no pass out of nothing, linear time."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lisa_ci import files
from lisa_ci.errors import DataError
from lisa_ci.execution.cases import ended_keys
from lisa_ci.execution.frames import Ended, Parser, ProtocolError, Transcript
from lisa_ci.files import JournalLine, LegFolder
from lisa_ci.model import (
    Access,
    Inventory,
    Leg,
    Outcome,
    Plan,
    PlannedSuite,
    Profile,
    ReleaseSettings,
    Result,
    Run,
    Subject,
    SubResult,
    Task,
    Timeouts,
)

RESULTS = [
    Result(suite="boot", case="a", outcome=Outcome.FAILED, message="exit 1", wall=timedelta(seconds=1), log="x.log"),
    Result(suite="boot", case="b", outcome=Outcome.ERRORED, detail="a\nb"),
    Result(
        suite="boot", case="c", outcome=Outcome.SKIPPED, children=(SubResult(name="1", outcome=Outcome.FAILED),), exit=4
    ),
]
LINES = [files.encode_line(JournalLine(result=result)) for result in RESULTS]
VALUES = {
    Run: Run(
        leg="desk",
        plan_digest="d",
        subject_digest="s",
        attempt=1,
        started=datetime(2026, 1, 2, tzinfo=UTC),
        error="gone",
        facts={"kernel": "6.1"},
    ),
    Inventory: Inventory(leg="desk", suites={"boot": ("a", "b")}),
    Plan: Plan(
        name="p",
        subject=Subject(),
        access=Access(),
        timeouts=Timeouts(),
        release=ReleaseSettings(),
        suites=(PlannedSuite(name="boot", folder="boot", digest="0", cases=("a", "b")),),
        legs=(Leg(id="desk", profile=Profile(name="desk"), tasks=(Task(suite="boot", left_out={"b": "no"}),)),),
    ),
}
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)


@st.composite
def spoilt(draw: Callable[..., Any], data: bytes) -> bytes:
    """``data`` with a few places overwritten, cut out, doubled or filled."""
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(data)))
        end = draw(st.integers(start, min(len(data), start + 40)))
        data = data[:start] + draw(st.sampled_from([b"", data[start:end] * 2]) | st.binary(max_size=30)) + data[end:]
    return data


@st.composite
def replaced(draw: Callable[..., Any], kind: type) -> bytes:
    """The JSON of a value of ``kind`` with one of its parts replaced by something else."""
    tree = json.loads(files.encode(VALUES[kind]))
    node = tree
    while True:
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        if not keys:
            break
        key = draw(st.sampled_from(keys))
        if not isinstance(node[key], dict | list) or draw(st.booleans()):
            node[key] = draw(ANY_JSON)
            break
        node = node[key]
    return json.dumps(tree).encode()


@pytest.mark.parametrize("kind", VALUES, ids=lambda kind: kind.__name__)
@settings(max_examples=150)
@given(data=st.data())
def test_a_part_that_was_replaced_gives_a_value_or_a_clear_error(kind: type, data: st.DataObject) -> None:
    changed = data.draw(replaced(kind))
    try:
        value = files.decode(kind, changed, place="here")
    except DataError as error:
        message = error.message
        assert message.startswith("here ") and len(message) < 1000  # noqa: PT018 - it may as well be right
        return
    assert files.decode(kind, files.encode(value), place="again") == value


@pytest.mark.parametrize("kind", [*VALUES, JournalLine], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"result":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b"1" * 100_000,
        b"NaN",
        b'"\\ud800"',
        b"\xef\xbb\xbf{}",
        b'{"schema":1,"schema":2}',
        b"null",
        b"{}\0",
        b'{"schema":1e400}',
    ],
    ids=["empty", "lists", "objects", "nested", "digits", "nan", "surrogate", "bom", "doubled", "null", "nul", "huge"],
)
def test_odd_json_is_a_clear_error(kind: type, data: bytes) -> None:
    with pytest.raises(DataError, match=r"^here is not a valid"):
        files.decode(kind, data, place="here")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(data=spoilt(b"".join(LINES)))
def test_a_spoilt_journal_never_gives_a_pass(tmp_path: Path, data: bytes) -> None:
    journal = LegFolder(tmp_path).journal
    journal.write_bytes(data)
    found = []
    try:
        for result in files.read_journal(journal):
            found.append(result)  # noqa: PERF402 - those before the error count
    except DataError as error:
        assert str(journal) in error.message  # noqa: PT017 - it may as well be right
    if b"passed" not in data:
        assert all(result.outcome is not Outcome.PASSED for result in found)
    assert len(found) <= data.count(b"\n")


def test_a_journal_that_is_cut_off_anywhere_keeps_every_whole_line(tmp_path: Path) -> None:
    journal = LegFolder(tmp_path).journal
    whole = b"".join(LINES)
    for end in range(len(whole) + 1):
        journal.write_bytes(whole[:end])
        assert list(files.read_journal(journal)) == RESULTS[: whole[:end].count(b"\n")]


HELLO = b"protocol=1 token=t session=1"
END = b"token=t exit=1 wall_ms=1 cpu_us=- memory=- taint=0:0 dirt=- dropped=0 lost=0 timeout=0"
KEYS = ["boot#a", "boot#b", "boot#c"]


def raw(kind: str, number: int, payload: bytes = b"") -> bytes:
    return f"{kind} {number} {len(payload)}\n".encode() + payload


def talk() -> bytes:
    """Three cases that fail."""
    cases = [
        raw("START", number, key.encode()) + raw("DATA", number, b"x\n") + raw("BEAT", 0) + raw("END", number, END)
        for number, key in enumerate(KEYS, 1)
    ]
    return raw("HELLO", 0, HELLO) + b"".join(cases) + raw("BYE", 0)


def heard(data: bytes, size: int) -> list[Ended]:
    """What a host hears of it, in blocks of ``size`` bytes, up to the first thing that is no frame."""
    parser, transcript, ended = Parser(), Transcript(KEYS, "t"), []
    try:
        for start in range(0, len(data), size):
            for frame in parser.feed(data[start : start + size]):
                said = transcript.take(frame)
                if isinstance(said, Ended):
                    ended.append(said)
    except ProtocolError as error:
        assert len(error.message) < 1000  # noqa: PT017 - it may as well be right
    return ended


def test_what_nobody_touched_is_heard_whole() -> None:
    assert [said.completed.exit for said in heard(talk(), 7)] == [1, 1, 1]


@pytest.mark.parametrize("spoilt_end", [END.replace(b"exit=1", b"exit=-"), END.replace(b"dirt=-", b"dirt=?")])
def test_an_end_that_tells_no_exit_or_what_nobody_knows_ends_no_case(spoilt_end: bytes) -> None:
    parser, transcript = Parser(), Transcript(KEYS, "t")
    *before, end = parser.feed(raw("HELLO", 0, HELLO) + raw("START", 1, b"boot#a") + raw("END", 1, spoilt_end))
    for frame in before:
        transcript.take(frame)
    with pytest.raises(ProtocolError, match="END with"):
        transcript.take(end)
    assert (transcript.ended, transcript.running) == (0, 1)


@settings(max_examples=300)
@given(data=spoilt(talk()), size=st.integers(1, 200))
def test_spoilt_frames_never_give_a_pass(data: bytes, size: int) -> None:
    ended = heard(data, size)
    assert [said.number for said in ended] == list(range(1, len(ended) + 1))
    if b"exit=0" not in data:
        assert all(said.completed.exit != 0 for said in ended)


@given(st.binary(max_size=400) | spoilt(b"S 1 boot#a 100\nE 1 0 10 - - - -\nS 2 boot#b 120\n"))
def test_any_journal_of_a_machine_names_cases_of_ours_only(journal: bytes) -> None:
    assert set(ended_keys(journal, KEYS)) <= set(KEYS)


@pytest.mark.parametrize(
    ("read", "unit"),
    [
        (lambda data: heard(raw("HELLO", 0, HELLO) + data, 4096), raw("BEAT", 0)),
        (lambda data: heard(data, 4096), b"HELLO 0 "),
        (lambda data: ended_keys(data, KEYS), b"E 1 0 10 - -\n"),
        (lambda data: ended_keys(data, KEYS), b"E "),
    ],
    ids=["beats", "noise", "journal", "one-line"],
)
def test_time_grows_with_the_size_and_no_faster(read: Callable[[bytes], object], unit: bytes) -> None:
    def seconds(count: int) -> float:
        data = unit * count
        best = 1e9
        for _ in range(3):
            began = time.perf_counter()
            read(data)
            best = min(best, time.perf_counter() - began)
        return best

    small, large = seconds(2_000), seconds(32_000)
    assert large < 16 * 4 * max(small, 0.0005)
