from __future__ import annotations

import contextlib
from collections.abc import Iterable
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lisa_ci.errors import MachineLostError
from lisa_ci.execution.frames import (
    DATA_LIMIT,
    NOISE_LIMIT,
    Beat,
    Done,
    Ended,
    Frame,
    Hello,
    Kind,
    Parser,
    ProtocolError,
    Said,
    Started,
    Transcript,
)

KEYS = ["boot#a", "boot#b", "userland#c"]
HELLO = b"protocol=1 token=t session=1 groups= kmsg=1"
END = b"token=t exit=3 wall_ms=1250 cpu_us=2500 memory=4096 dropped=7 lost=0 timeout=0"


def raw(kind: str, number: int, payload: bytes = b"") -> bytes:
    return f"{kind} {number} {len(payload)}\n".encode() + payload


def parse(*pieces: bytes) -> list[Frame]:
    parser = Parser()
    return [frame for piece in pieces for frame in parser.feed(piece)]


def told(*frames: bytes, keys: Iterable[str] = KEYS) -> list[Said]:
    transcript = Transcript(list(keys), "t")
    return [said for frame in parse(*frames) if (said := transcript.take(frame)) is not None]


def whole_leg() -> bytes:
    cases = b"".join(
        raw("START", number, key.encode()) + raw("DATA", number, b"head\n") + raw("END", number, END)
        for number, key in enumerate(KEYS, 1)
    )
    return raw("HELLO", 0, HELLO) + raw("BEAT", 0) + cases + raw("BYE", 0)


def test_a_leg_from_hello_to_bye() -> None:
    said = told(whole_leg())
    assert [type(one) for one in said] == [Hello, Beat, Started, Ended, Started, Ended, Started, Ended, Done]


@given(st.lists(st.integers(1, 40)))
def test_frames_do_not_depend_on_how_their_bytes_arrive(cuts: list[int]) -> None:
    data = whole_leg()
    pieces, start = [], 0
    for cut in cuts:
        pieces.append(data[start : start + cut])
        start += cut
    assert parse(*pieces, data[start:]) == parse(data)


def test_an_end_tells_everything_about_its_case() -> None:
    start = raw("HELLO", 0, HELLO) + raw("START", 1, b"boot#a")
    ended = told(start, raw("DATA", 1, b"head"), raw("DATA", 1, b"tail"), raw("END", 1, END))[-1]
    assert isinstance(ended, Ended)
    assert not ended.is_output_lost
    completed = ended.completed
    assert (completed.output, completed.head_bytes, completed.dropped_bytes) == (b"headtail", 4, 7)
    assert (completed.exit, completed.wall, completed.cpu) == (
        3,
        timedelta(milliseconds=1250),
        timedelta(microseconds=2500),
    )
    assert completed.peak_memory_bytes == 4096


def test_what_the_machine_cannot_tell_is_absent() -> None:
    end = END.replace(b"cpu_us=2500", b"cpu_us=-").replace(b"memory=4096", b"memory=-")
    ended = told(raw("HELLO", 0, HELLO), raw("START", 1, b"boot#a"), raw("END", 1, end))[-1]
    assert isinstance(ended, Ended)
    assert ended.completed.cpu is None
    assert ended.completed.peak_memory_bytes is None


def test_a_case_that_was_ended_has_no_exit_of_its_own() -> None:
    end = END.replace(b"timeout=0", b"timeout=1")
    ended = told(raw("HELLO", 0, HELLO), raw("START", 1, b"boot#a"), raw("END", 1, end))[-1]
    assert isinstance(ended, Ended)
    assert ended.completed.exit is None
    assert ended.completed.is_timed_out


def test_what_a_login_prints_before_the_runner_speaks_is_dropped() -> None:
    assert parse(b"Welcome to HELLO 0 3\x1b[0m\nLast login: now\n" + raw("HELLO", 0, HELLO))[0].kind is Kind.HELLO


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        ([raw("START", 1, b"boot#a")], "without end|not a frame|wrong time"),
        ([raw("HELLO", 0, HELLO.replace(b"token=t", b"token=x"))], "not the one that was sent"),
        ([raw("HELLO", 0, HELLO.replace(b"protocol=1", b"protocol=2"))], "not the one that was sent"),
        ([raw("HELLO", 0, HELLO), raw("HELLO", 0, HELLO)], "wrong time"),
        ([raw("HELLO", 0, HELLO), raw("END", 1, END)], "END of case 1 when case 1 .boot#a. is next"),
        ([raw("HELLO", 0, HELLO), raw("START", 2, b"boot#b")], "START of case 2 when case 1"),
        ([raw("HELLO", 0, HELLO), raw("START", 1, b"boot#b")], "START of b'boot#b' when case 1"),
        ([raw("HELLO", 0, HELLO), raw("DATA", 1, b"x")], "DATA of case 1 when case 1 .boot#a. is next"),
        ([raw("HELLO", 0, HELLO), raw("BYE", 0)], "BYE when case 1"),
        ([raw("HELLO", 0, HELLO), raw("START", 1, b"boot#a"), raw("START", 2, b"boot#b")], "when case 1 .boot#a. runs"),
        ([raw("HELLO", 0, HELLO), raw("START", 1, b"boot#a"), raw("END", 2, END)], "END of case 2"),
        (
            [raw("HELLO", 0, HELLO), raw("START", 1, b"boot#a"), raw("END", 1, END.replace(b"token=t", b"token=x"))],
            "not from our runner",
        ),
        (
            [raw("HELLO", 0, HELLO), raw("START", 1, b"boot#a"), raw("END", 1, END.removeprefix(b"token=t "))],
            "not from our runner",
        ),
        ([raw("HELLO", 0, HELLO), raw("START", 1, b"boot#a"), raw("END", 1, b"token=t exit=1")], "END with"),
        ([raw("HELLO", 0, HELLO), raw("START", 1, b"boot#a"), raw("END", 1, END + b" \xff")], "not NAME=VALUE"),
        ([raw("HELLO", 0, HELLO), raw("START", 1, b"boot#a"), *[raw("DATA", 1, b"x")] * 3], "DATA of case 1"),
        ([whole_leg(), raw("BEAT", 0)], "after the end"),
        ([raw("HELLO", 0, HELLO), b"HELO 1 2\n"], "not a frame"),
        ([raw("HELLO", 0, HELLO), b"x" * 40], "not a frame"),
        ([raw("HELLO", 0, HELLO), f"DATA 1 {DATA_LIMIT + 1}\n".encode()], "at most 65536"),
        ([b"x" * (NOISE_LIMIT + 100)], "prints without end"),
    ],
)
def test_what_the_runner_never_says_is_a_protocol_error(frames: list[bytes], message: str) -> None:
    if frames == [raw("START", 1, b"boot#a")]:
        assert told(*frames) == []  # noise before HELLO
        return
    with pytest.raises(ProtocolError, match=message):
        told(*frames)


def test_a_runner_that_gives_up_says_why() -> None:
    with pytest.raises(MachineLostError, match=r"gave up: the machine has no /proc \?*"):
        told(raw("HELLO", 0, HELLO), raw("ABORT", 0, b"the machine has no /proc\x1b\xff"))


_frame = st.builds(
    raw,
    st.sampled_from([*[kind.value for kind in Kind], "NOISE"]),
    st.integers(0, 4),
    st.one_of(st.binary(max_size=40), st.sampled_from([END, HELLO, *[key.encode() for key in KEYS]])),
)


@given(st.lists(st.one_of(_frame, st.binary(max_size=200)), max_size=20))
def test_any_bytes_give_a_sensible_order_or_a_clear_error_in_bounded_memory(pieces: list[bytes]) -> None:
    parser, transcript = Parser(), Transcript(KEYS, "t")
    running, ended = None, 0
    with contextlib.suppress(MachineLostError):
        for piece in [raw("HELLO", 0, HELLO), *pieces]:
            for frame in parser.feed(piece):
                match transcript.take(frame):
                    case Started(number=number):
                        assert running is None
                        assert number == ended + 1
                        running = number
                    case Ended(number=number):
                        assert number == running
                        running, ended = None, number
                    case Done():
                        assert ended == len(KEYS)
            assert parser.held <= DATA_LIMIT + 300
    assert transcript.ended == ended


@given(st.binary(max_size=3000))
def test_noise_is_never_kept(noise: bytes) -> None:
    parser = Parser()
    try:
        list(parser.feed(noise))
    except ProtocolError:
        return
    assert parser.held <= max(32, len(noise) if b"HELLO 0 " in noise else 0)
