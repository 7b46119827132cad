"""The host's half of the talk with the in-machine runner: results go to disk, then the runner may go on."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Final

from lisa_ci.errors import MachineLostError, ProvisioningError
from lisa_ci.events import Emit, Level, Message
from lisa_ci.execution.caselist import Planned, case_list
from lisa_ci.execution.clock import Deadline
from lisa_ci.execution.frames import Beat, Done, Ended, Hello, Parser, Said, Started, Transcript
from lisa_ci.execution.install import Installed
from lisa_ci.execution.record import Record, errored
from lisa_ci.model import Result, Risk
from lisa_ci.protocols import Channel, Driver, Machine

SILENCE: Final = timedelta(seconds=60)
_BLOCK: Final = 64 * 1024
_WRITE_LIST: Final = 'umask 077; cat >"$1"'
_LOST_OUTPUT: Final = "a process that the case left behind held its output, which is lost"


def run_cases(
    machine: Machine,
    installed: Installed,
    cases: Sequence[Planned],
    environment: Mapping[str, str],
    *,
    driver: Callable[[str], Driver],
    drivers: Mapping[str, str],
    record: Record,
    deadline: Deadline,
    silence: timedelta,
    last_words: Callable[[], str],
    emit: Emit,
) -> None:
    """Run the cases, in order. ``drivers`` tells the driver of each suite; ``silence`` is the longest without a sign
    of life; ``last_words`` reads the end of the console.

    MachineLostError or OutOfTimeError: the case that ran is recorded as ERRORED, those behind it have no result.
    """
    if not cases:
        return
    wanted = case_list(cases, environment)
    listed = f"{installed.folder}/cases"
    completed = machine.run("sh", "-c", _WRITE_LIST, "list", listed, timeout=deadline.at_most(silence), stdin=wanted)
    if completed.exit != 0:
        why = completed.output.decode("utf-8", "replace").strip()[-200:]
        raise ProvisioningError(f"the list of cases could not be written into the machine: {why}")
    token = secrets.token_hex(8)
    transcript = Transcript([planned.case.key for planned in cases], token)
    with machine.channel("sh", installed.runner, installed.folder, token) as channel:
        talk = _Talk(channel, cases, transcript, driver, drivers, record, emit)
        try:
            while not transcript.is_done:
                talk.take(_received(channel, deadline, silence))
        except ProvisioningError as error:
            talk.lost(error, last_words())
            raise


def _received(channel: Channel, deadline: Deadline, silence: timedelta) -> bytes:
    try:
        data = channel.receive(_BLOCK, deadline.at_most(silence))
    except TimeoutError:
        deadline.check()
        raise MachineLostError(f"no sign of life from the machine for {silence.total_seconds():g} s") from None
    if not data:
        said = " ".join(channel.errors().decode("utf-8", "replace").split())[-200:]
        raise MachineLostError(f"the runner ended before its last case{f': {said}' if said else ''}")
    deadline.check()
    return data


class _Talk:
    def __init__(
        self,
        channel: Channel,
        cases: Sequence[Planned],
        transcript: Transcript,
        driver: Callable[[str], Driver],
        drivers: Mapping[str, str],
        record: Record,
        emit: Emit,
    ) -> None:
        self._channel = channel
        self._cases = cases
        self._transcript = transcript
        self._driver = driver
        self._drivers = drivers
        self._record = record
        self._emit = emit
        self._parser = Parser()

    def take(self, data: bytes) -> None:
        """Everything that ended in ``data`` is on disk before one acknowledgement goes out for all of it."""
        before = self._transcript.ended
        for frame in self._parser.feed(data):
            said = self._transcript.take(frame)
            if said is not None:
                self._act(said)
        if self._transcript.ended > before:
            self._record.sync()
            self._send(f"ACK {self._transcript.ended}\n")

    def lost(self, error: ProvisioningError, last_words: str) -> None:
        """The machine, or the leg's time, went away under the case that ran."""
        self._record.sync()
        if self._transcript.running is not None:
            case = self._cases[self._transcript.running - 1].case
            self._record.add(errored(case, f"while the case ran: {error.message}", detail=last_words))

    def _act(self, said: Said) -> None:
        match said:
            case Hello(facts=facts):
                told = ", ".join(f"{name}: {'yes' if value else 'no'}" for name, value in facts.items())
                self._emit(Message(text=f"the runner works ({told})", level=Level.DEBUG))
            case Started(number=number):
                case = self._cases[number - 1].case
                self._record.started(case)
                if case.risk is Risk.CRASH:
                    self._send(f"GO {number}\n")
            case Ended():
                self._record.add(self._judged(said), said.completed)
            case Beat() | Done():
                pass

    def _judged(self, ended: Ended) -> Result:
        case = self._cases[ended.number - 1].case
        if ended.is_output_lost:
            return errored(case, _LOST_OUTPUT)
        return self._driver(self._drivers[case.suite]).interpret(case, ended.completed)

    def _send(self, line: str) -> None:
        # A runner that is done reads no more; one that is lost shows on the receiving side, with the reason.
        with suppress(MachineLostError):
            self._channel.send(line.encode())
