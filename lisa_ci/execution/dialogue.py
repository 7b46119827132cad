"""The host's half of the talk with the in-machine runner: results go to disk, then the runner may go on."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Protocol

from lisa_ci.errors import Loss, MachineLostError, ProvisioningError
from lisa_ci.events import Emit, Level, Message
from lisa_ci.execution import losses
from lisa_ci.execution.caselist import Planned, case_list
from lisa_ci.execution.clock import Deadline
from lisa_ci.execution.frames import Beat, Done, Ended, Hello, Parser, Said, Started, Transcript
from lisa_ci.execution.install import Installed
from lisa_ci.execution.record import Record
from lisa_ci.model import Case, Finding, Result, Risk
from lisa_ci.protocols import Channel, Driver, Machine

_BLOCK: Final = 64 * 1024
_WRITE_LIST: Final = 'umask 077; cat >"$1"'
_PRINTED_WITHIN: Final = 0.25  # seconds; the kernel prints a case's last lines before the case counts as ended
_LOOK_AGAIN: Final = 0.01  # seconds
_REPLAY: Final = timedelta(seconds=20)


class Console(Protocol):
    """What the kernel says meanwhile."""

    def poll(self) -> None:
        """Read what is new."""

    def findings(self, key: str) -> Sequence[Finding]:
        """Those that came up while case ``key`` ran, as far as the console has them."""

    def has_end_of(self, key: str) -> bool:
        """Whether everything that the kernel said during the case is there; True where nobody can tell."""

    def running(self) -> str | None:
        """The case that runs, as the marks on the console say; None where they say nothing."""

    def tail(self) -> str:
        """The last lines."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What all dialogues of a leg share. ``drivers`` tells the driver of each suite."""

    environment: Mapping[str, str]
    driver: Callable[[str], Driver]
    drivers: Mapping[str, str]
    record: Record
    console: Console
    deadline: Deadline
    silence: timedelta
    emit: Emit


class Dialogue:
    """Some cases on one machine, in order.

    ``run`` ends when all have their results, or when one that is watched left the machine dirty (``dirt`` says how),
    or with MachineLostError or OutOfTimeError; ``running`` is the case that ran then. ``is_in_trouble``: what was left
    is more than a thing forgotten. ``wall`` is how long that case has run.
    """

    def __init__(
        self,
        machine: Machine,
        installed: Installed,
        cases: Sequence[Planned],
        around: Surroundings,
    ) -> None:
        self._machine = machine
        self._installed = installed
        self._cases = cases
        self._around = around
        self._ended = 0
        self._running: int | None = None
        self.wall = timedelta()
        self.dirt = ""
        self.is_in_trouble = False

    @property
    def last(self) -> Case:
        """The case that ended last, or the first."""
        return self._cases[max(0, self._ended - 1)].case

    @property
    def running(self) -> Case | None:
        return None if self._running is None else self._cases[self._running].case

    @property
    def cases(self) -> list[Case]:
        return [planned.case for planned in self._cases]

    @property
    def keys(self) -> list[str]:
        return [case.key for case in self.cases]

    def run(self) -> None:
        around = self._around
        wanted = case_list(self._cases, around.environment)
        limit = around.deadline.at_most(around.silence)
        place = f"{self._installed.folder}/cases"
        completed = self._machine.run("sh", "-c", _WRITE_LIST, "list", place, timeout=limit, stdin=wanted)
        if completed.is_timed_out:
            raise MachineLostError("the list of cases could not be written into the machine", loss=Loss.SILENCE)
        if completed.exit != 0:
            why = completed.output.decode("utf-8", "replace").strip()[-200:]
            raise ProvisioningError(f"the list of cases could not be written into the machine: {why}")
        self._follow((), around.deadline, around.silence)

    def replay(self) -> None:
        """Ask the runner's journal how the cases ended that the connection has not told of. MachineLostError always."""
        self._follow(("replay", str(self._ended)), Deadline(_REPLAY), _REPLAY)

    def _follow(self, words: tuple[str, ...], deadline: Deadline, silence: timedelta) -> None:
        token = secrets.token_hex(8)
        begun = self._ended
        talk: _Talk | None = None
        transcript = Transcript(self.keys[begun:], token)
        command = ("sh", self._installed.runner, self._installed.folder, token, *words)
        try:
            with self._machine.channel(*command) as channel:
                talk = _Talk(channel, self._cases[begun:], transcript, self._around)
                greeting = Deadline(silence)
                while not (transcript.is_done or talk.dirt):
                    talk.take(_received(channel, deadline, silence))
                    if not transcript.has_begun and greeting.is_over:  # what a login prints is no sign of life
                        raise MachineLostError("the runner in the machine does not begin", loss=Loss.SILENCE)
                self.dirt, self.is_in_trouble = talk.dirt, talk.is_in_trouble
        finally:
            if talk is not None and not words:
                self.wall = timedelta(seconds=time.monotonic() - talk.began)
            self._around.record.sync()
            if transcript.ended or transcript.running:
                self._ended = begun + transcript.ended
                self._running = None if transcript.running is None else begun + transcript.running - 1


def _received(channel: Channel, deadline: Deadline, silence: timedelta) -> bytes:
    try:
        data = channel.receive(_BLOCK, deadline.at_most(silence))
    except TimeoutError:
        deadline.check()
        raise MachineLostError(
            f"no sign of life from the machine for {silence.total_seconds():g} s", loss=Loss.SILENCE
        ) from None
    if not data:
        said = " ".join(channel.errors().decode("utf-8", "replace").split())[-200:]
        raise MachineLostError(f"the runner ended before its last case{f': {said}' if said else ''}", loss=Loss.RUNNER)
    deadline.check()
    return data


_WORDS: Final = {"taint": "a tainted kernel", "full": "a full disk"}


def _left(dirt: frozenset[str]) -> str:
    return ", ".join(_WORDS.get(word, word) for word in sorted(dirt))


class _Talk:
    def __init__(
        self,
        channel: Channel,
        cases: Sequence[Planned],
        transcript: Transcript,
        around: Surroundings,
    ) -> None:
        self._channel = channel
        self._cases = cases
        self._transcript = transcript
        self._around = around
        self._parser = Parser()
        self.began = time.monotonic()
        self.dirt = ""
        self.is_in_trouble = False

    def take(self, data: bytes) -> None:
        """Everything that ended in ``data`` is on disk before one acknowledgement goes out for all of it."""
        before = self._transcript.ended
        try:
            for frame in self._parser.feed(data):
                said = self._transcript.take(frame)
                if said is not None:
                    self._act(said)
        finally:
            if self._transcript.ended > before:
                self._around.record.sync()
                self._send(f"ACK {self._transcript.ended}\n")

    def _act(self, said: Said) -> None:
        match said:
            case Hello(facts=facts):
                told = ", ".join(f"{name}: {'yes' if value else 'no'}" for name, value in facts.items())
                self._around.emit(Message(text=f"the runner works ({told})", level=Level.DEBUG))
            case Started(number=number):
                case = self._cases[number - 1].case
                self.began = time.monotonic()
                self._around.record.started(case)
                if case.risk is Risk.CRASH:
                    self._send(f"GO {number}\n")
            case Ended():
                self._around.record.add(self._judged(said), said.completed)
                self._weigh(said)
            case Beat() | Done():
                self._around.console.poll()

    def _judged(self, ended: Ended) -> Result:
        case = self._cases[ended.number - 1].case
        around = self._around
        deadline = time.monotonic() + _PRINTED_WITHIN
        while not around.console.has_end_of(case.key) and time.monotonic() < deadline:
            time.sleep(_LOOK_AGAIN)
        result = around.driver(around.drivers[case.suite]).interpret(case, ended.completed)
        return losses.judged(case, ended, result, around.console.findings(case.key))

    def _weigh(self, ended: Ended) -> None:
        planned = self._cases[ended.number - 1]
        if ended.dirt and planned.watch:  # the runner waits; nothing that it would do next is wanted
            self.dirt = f"{planned.case.key} left {_left(ended.dirt)}"
            self.is_in_trouble = not ended.dirt.isdisjoint(_WORDS)

    def _send(self, line: str) -> None:
        # A runner that is done reads no more; one that is lost shows on the receiving side, with the reason.
        with suppress(MachineLostError):
            self._channel.send(line.encode())
