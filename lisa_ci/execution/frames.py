"""What the in-machine runner says: bytes -> frames -> what happened to which case. Pure, incremental, bounded.

The runner is in the machine, and the machine may lie: whatever comes gives frames in the one order that makes sense,
or a ProtocolError; memory stays below one frame. docs/runner.md has the format.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Final

from lisa_ci.errors import Loss, MachineLostError
from lisa_ci.model import Completed

PROTOCOL: Final = 1
DATA_LIMIT: Final = 64 * 1024  # bytes of the head, and of the tail, of a case's output
NOISE_LIMIT: Final = 64 * 1024  # bytes that a login may print before the runner speaks
_HEADER_LIMIT: Final = 32
_HEADER: Final = re.compile(rb"([A-Z]{3,5}) ([0-9]{1,7}) ([0-9]{1,6})")
_FIRST: Final = re.compile(rb"(?:^|\n)HELLO 0 [0-9]{1,6}\n")
_PAIR: Final = re.compile(r"([a-z_]{1,20})=(\S{0,100})", re.ASCII)
_DIRT: Final = frozenset({"taint", "processes", "mounts", "modules", "files", "full"})


class ProtocolError(MachineLostError):
    """The runner said something that it never says: the machine is broken, or somebody in it plays the runner."""

    def __init__(self, message: str) -> None:
        super().__init__(message, loss=Loss.RUNNER)


class Kind(StrEnum):
    HELLO = "HELLO"
    START = "START"
    DATA = "DATA"
    END = "END"
    BEAT = "BEAT"
    BYE = "BYE"
    ABORT = "ABORT"


LIMITS: Final[Mapping[Kind, int]] = {
    Kind.HELLO: 4096,
    Kind.START: 300,
    Kind.DATA: DATA_LIMIT,
    Kind.END: 512,
    Kind.BEAT: 0,
    Kind.BYE: 0,
    Kind.ABORT: 4096,
}
_KINDS: Final = {kind.value.encode(): kind for kind in Kind}


@dataclass(frozen=True, slots=True)
class Frame:
    """``number`` is that of the case in its list, from 1; 0 for frames about no case."""

    kind: Kind
    number: int
    payload: bytes = b""


class Parser:
    """Bytes in, frames out. What a login prints before the first HELLO is dropped, up to 64 KiB."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._noise = 0
        self._has_begun = False
        self._header: tuple[Kind, int, int] | None = None

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames that are complete now. ProtocolError for anything that is no frame."""
        self._buffer += data
        if not self._has_begun and not self._find_first():
            return
        while (frame := self._next()) is not None:
            yield frame

    @property
    def held(self) -> int:
        """Bytes of a frame that is not complete."""
        return len(self._buffer)

    def _find_first(self) -> bool:
        match = _FIRST.search(self._buffer)
        if match is None:
            too_many = len(self._buffer) - _HEADER_LIMIT  # the last bytes may be the beginning of a HELLO
            if too_many > 0:
                del self._buffer[:too_many]
                self._noise += too_many
            if self._noise > NOISE_LIMIT:
                raise ProtocolError("the machine prints without end where the runner should begin to speak")
            return False
        del self._buffer[: match.start() + (self._buffer[match.start() : match.start() + 1] == b"\n")]
        self._has_begun = True
        return True

    def _next(self) -> Frame | None:
        if self._header is None:
            end = self._buffer.find(b"\n", 0, _HEADER_LIMIT)
            if end < 0:
                if len(self._buffer) >= _HEADER_LIMIT:
                    raise ProtocolError(f"not a frame: {_shown(self._buffer)}")
                return None
            self._header = _parse_header(bytes(self._buffer[:end]))
            del self._buffer[: end + 1]
        kind, number, length = self._header
        if len(self._buffer) < length:
            return None
        payload = bytes(self._buffer[:length])
        del self._buffer[:length]
        self._header = None
        return Frame(kind, number, payload)


def _parse_header(line: bytes) -> tuple[Kind, int, int]:
    match = _HEADER.fullmatch(line)
    kind = _KINDS.get(match[1]) if match else None
    if match is None or kind is None:
        raise ProtocolError(f"not a frame: {_shown(line)}")
    number, length = int(match[2]), int(match[3])
    if length > LIMITS[kind]:
        raise ProtocolError(f"a frame {kind} of {length} bytes; at most {LIMITS[kind]} are allowed")
    return kind, number, length


def _shown(data: bytes | bytearray) -> str:
    return repr(bytes(data[:60]))


# ---- what happened to which case -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Hello:
    """The runner works. ``facts``: what it found in the machine (``session``, ``groups``, ``kmsg``: "1" or "")."""

    facts: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Started:
    number: int


@dataclass(frozen=True, slots=True)
class Ended:
    """``is_output_lost``: the case left a process behind that could not be ended and held the output.

    ``dirt``: what it left behind (taint, processes, mounts, modules, files; ``full``: a full disk). ``taint``: bits of
    /proc/sys/kernel/tainted that came up while it ran.
    """

    number: int
    completed: Completed
    is_output_lost: bool = False
    dirt: frozenset[str] = frozenset()
    taint: int = 0


@dataclass(frozen=True, slots=True)
class Beat:
    """A sign of life, once a second."""


@dataclass(frozen=True, slots=True)
class Done:
    """All cases have ended."""


Said = Hello | Started | Ended | Beat | Done


class Transcript:
    """Frames in, what happened out. Holds the runner to its list: every case once, in order, START before END."""

    def __init__(self, keys: Sequence[str], token: str) -> None:
        self._keys = keys
        self._token = token
        self._has_begun = False
        self._is_done = False
        self._ended = 0
        self._running: int | None = None
        self._parts: list[bytes] = []

    @property
    def has_begun(self) -> bool:
        """HELLO has come."""
        return self._has_begun

    @property
    def running(self) -> int | None:
        """The case that had its START and not its END."""
        return self._running

    @property
    def ended(self) -> int:
        """So many cases have ended: those with the numbers from 1 to this."""
        return self._ended

    @property
    def is_done(self) -> bool:
        return self._is_done

    def take(self, frame: Frame) -> Said | None:
        """None for DATA, which comes out with its END. ProtocolError; MachineLostError where the runner gave up."""
        if self._is_done:
            raise ProtocolError(f"{frame.kind} after the end")
        if frame.kind is Kind.ABORT:
            raise MachineLostError(f"the runner gave up: {_one_line(frame.payload)}", loss=Loss.RUNNER)
        if not self._has_begun or frame.kind is Kind.HELLO:
            return self._hello(frame)
        match frame.kind:
            case Kind.BEAT:
                return Beat()
            case Kind.START:
                return self._start(frame)
            case Kind.DATA:
                self._data(frame)
                return None
            case Kind.END:
                return self._end(frame)
            case _:
                return self._bye()

    def _hello(self, frame: Frame) -> Hello:
        facts = _pairs(frame.payload)
        if frame.kind is not Kind.HELLO or self._has_begun:
            raise ProtocolError(f"{frame.kind} at the wrong time")
        if facts.get("protocol") != str(PROTOCOL) or facts.get("token") != self._token:
            raise ProtocolError("the runner that answers is not the one that was sent")
        self._has_begun = True
        return Hello({name: value for name, value in facts.items() if name not in {"protocol", "token"}})

    def _start(self, frame: Frame) -> Started:
        expected = self._ended + 1
        if self._running is not None or frame.number != expected or expected > len(self._keys):
            raise ProtocolError(f"START of case {frame.number} when {self._expectation()}")
        if frame.payload != self._keys[expected - 1].encode():
            raise ProtocolError(f"START of {_shown(frame.payload)} when {self._expectation()}")
        self._running = expected
        self._parts.clear()
        return Started(expected)

    def _data(self, frame: Frame) -> None:
        if frame.number != self._running or len(self._parts) >= 2:
            raise ProtocolError(f"DATA of case {frame.number} when {self._expectation()}")
        self._parts.append(frame.payload)

    def _end(self, frame: Frame) -> Ended:
        if self._running is None or frame.number != self._running:
            raise ProtocolError(f"END of case {frame.number} when {self._expectation()}")
        facts = _pairs(frame.payload)
        if facts.get("token") != self._token:  # whatever else got into the stream cannot know it
            raise ProtocolError(f"END of case {frame.number} is not from our runner")
        is_timed_out = _number(facts, "timeout") == 1
        cpu = _number(facts, "cpu_us")
        completed = Completed(
            exit=None if is_timed_out else min(_whole("exit", facts.get("exit")), 255),
            output=b"".join(self._parts),
            head_bytes=len(self._parts[0]) if self._parts else 0,
            dropped_bytes=_number(facts, "dropped") or 0,
            is_timed_out=is_timed_out,
            wall=timedelta(milliseconds=_number(facts, "wall_ms") or 0),
            cpu=None if cpu is None else timedelta(microseconds=cpu),
            peak_memory_bytes=_number(facts, "memory"),
        )
        is_lost, dirt, taint = _number(facts, "lost") == 1, _dirt(facts), _taint(facts)
        self._ended, self._running = self._running, None
        self._parts.clear()
        return Ended(self._ended, completed, is_lost, dirt=dirt, taint=taint)

    def _bye(self) -> Done:
        if self._running is not None or self._ended != len(self._keys):
            raise ProtocolError(f"BYE when {self._expectation()}")
        self._is_done = True
        return Done()

    def _expectation(self) -> str:
        if self._running is not None:
            return f"case {self._running} ({self._keys[self._running - 1]}) runs"
        if self._ended < len(self._keys):
            return f"case {self._ended + 1} ({self._keys[self._ended]}) is next"
        return "all cases have ended"


def _pairs(payload: bytes) -> dict[str, str]:
    pairs = {}
    for word in payload.decode("ascii", "replace").split():
        match = _PAIR.fullmatch(word)
        if match is None:
            raise ProtocolError(f"not NAME=VALUE: {word[:60]!r}")
        pairs[match[1]] = match[2]
    return pairs


def _dirt(facts: Mapping[str, str]) -> frozenset[str]:
    text = facts.get("dirt", "-")
    words = frozenset() if text == "-" else frozenset(text.split(","))
    if not words <= _DIRT:
        raise ProtocolError(f"END with dirt={text!r}")
    return words


def _taint(facts: Mapping[str, str]) -> int:
    """The bits that came up; 0 where the machine cannot tell."""
    before, _, after = facts.get("taint", "-:-").partition(":")
    if before == after == "-":
        return 0
    return _whole("taint", after) & ~_whole("taint", before)


def _number(facts: Mapping[str, str], name: str) -> int | None:
    """A whole number of at most 15 digits (a ``timedelta`` holds it in any unit we use); None for "-"."""
    text = facts.get(name)
    return None if text == "-" else _whole(name, text)


def _whole(name: str, text: str | None) -> int:
    if text is None or not text.isascii() or not text.isdigit() or len(text) > 15:
        raise ProtocolError(f"END with {name}={text!r}")
    return int(text)


def _one_line(payload: bytes) -> str:
    text = payload.decode("utf-8", "replace")
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:300]
