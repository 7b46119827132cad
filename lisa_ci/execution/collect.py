"""What a machine says about itself: facts for the head of the run, and files for whoever looks for a cause.

One script runs in the machine and prints one file after the other, each behind a line with a secret token, so that no
archive has to be trusted: names are ours, bytes are bounded here and scrubbed on their way to the disk. What hangs is
left behind after ten seconds, and the script is started anew behind it.
"""

from __future__ import annotations

import io
import os
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Final

from lisa_ci import files
from lisa_ci.errors import LisaCiError, ProvisioningError, StorageError
from lisa_ci.execution.questions import AT_THE_END, COLLECT, CORE, FACTS, ON_FAILURE, Question
from lisa_ci.model import SCHEMA
from lisa_ci.protocols import Channel, Machine
from lisa_ci.scrub import Scrubber, scrub_text

LEG_LIMIT: Final = 20 << 20  # bytes of all failures of a leg
FAILURES: Final = 8  # of a leg that are looked into
REPORT: Final = "collected.json"
_FOLDER: Final = "failure-"
_BUDGET: Final = timedelta(seconds=30)
_PATIENCE: Final = 10.0  # seconds for one file
_NOISE: Final = 64 * 1024  # bytes that a login shell may print before the first file
_BLOCK: Final = 64 * 1024
_FACT_LIMIT: Final = 200
_LINE_LIMIT: Final = 64


class State(StrEnum):
    """How much of a file came. CUT: only its end; of a core, nothing."""

    WHOLE = "whole"
    CUT = "cut"
    EMPTY = "empty"
    LATE = "late"  # its time was over; what came until then is there
    MISSING = "missing"  # the time, the size or the machine ended before


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectedFile:
    name: str
    state: State
    size_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """``collected.json``. ``folder`` is relative to the telemetry; '' where nothing was collected (``error``)."""

    schema: int = SCHEMA
    folder: str
    reason: str
    time: datetime
    seconds: float = 0.0
    files: tuple[CollectedFile, ...] = ()
    secrets_removed: int = 0
    error: str = ""


def facts(machine: Machine, *, timeout: timedelta) -> Mapping[str, str]:
    """Name -> value, each one short line without secrets; what the machine cannot tell is absent."""
    completed = machine.run("sh", "-c", FACTS, timeout=timeout)
    found = {}
    for line in completed.output.decode("utf-8", "replace").splitlines()[:_LINE_LIMIT]:
        name, equals, value = line.partition("=")
        if equals and name.isidentifier() and len(name) <= 30:
            found[name] = "".join(c if c.isprintable() else "?" for c in scrub_text(value.strip()))[:_FACT_LIMIT]
    return found


def telemetry(machine: Machine, folder: Path, *, timeout: timedelta) -> Sequence[CollectedFile]:
    """The machine's logs and lists at the end of a leg, one file each in ``folder``, within ``timeout`` altogether.

    MachineLostError where the machine went away, StorageError where ``folder`` cannot be written.
    """
    gathering = _Gathering(machine, folder, timeout=timeout, room=LEG_LIMIT)
    gathering.run(AT_THE_END)
    if gathering.lost is not None:
        raise gathering.lost
    return gathering.files


def on_failure(machine: Machine, folder: Path, *, reason: str, timeout: timedelta = _BUDGET) -> Collected:
    """All that may tell why, into ``folder``/failure-N: while the machine still answers. Never raises.

    A leg gets eight such folders and 20 MiB at most, counted on disk, so that a resumed run goes on counting.
    ``timeout`` is for everything together; a machine that hangs is noticed by its own limit in addition.
    """
    now = datetime.now(UTC)
    reason = scrub_text(" ".join(reason.split()))[:500]
    earlier = _earlier(folder)
    room = LEG_LIMIT - sum(size for _, size in earlier)
    if len(earlier) >= FAILURES or room <= 0:
        why = f"this leg has {len(earlier)} failures looked into, with {(LEG_LIMIT - room) >> 10} KiB"
        return Collected(folder="", reason=reason, time=now, error=why)
    name = f"{_FOLDER}{max((number for number, _ in earlier), default=0) + 1}"
    gathering = _Gathering(machine, folder / name, timeout=timeout, room=room)
    error = ""
    try:
        gathering.run((*ON_FAILURE, CORE))
        error = gathering.lost.message if gathering.lost else ""
    except LisaCiError as failure:
        error = failure.message
    collected = Collected(
        folder=name,
        reason=reason,
        time=now,
        seconds=gathering.seconds,
        files=tuple(gathering.files),
        secrets_removed=gathering.removed,
        error=error,
    )
    with suppress(LisaCiError):  # the disk is full: the leg will find out by itself
        files.write_atomically(folder / name / REPORT, files.encode(collected))
    return collected


def _earlier(folder: Path) -> list[tuple[int, int]]:
    """Number and bytes of each failure that was looked into."""
    found = []
    with suppress(OSError):
        for path in folder.iterdir():
            number = path.name.removeprefix(_FOLDER)
            if path.name != number and number.isascii() and number.isdigit() and path.is_dir():
                found.append((int(number), sum(file.lstat().st_size for file in path.iterdir())))
    return found


# ---- many files through one channel --------------------------------------------------------------------------------


class _Gathering:
    """Answers to questions, one file each in ``folder``; no more than ``room`` bytes."""

    def __init__(self, machine: Machine, folder: Path, *, timeout: timedelta, room: int) -> None:
        self._machine = machine
        self._folder = folder
        self._began = time.monotonic()
        self._deadline = self._began + timeout.total_seconds()
        self._room = room
        self.files: list[CollectedFile] = []
        self.lost: ProvisioningError | None = None
        self.removed = 0

    @property
    def seconds(self) -> float:
        return round(time.monotonic() - self._began, 3)

    def run(self, questions: Sequence[Question]) -> None:
        """StorageError where the folder cannot be written; a lost machine is in ``lost``."""
        left = list(questions)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            while left and self._has_time() and self._room > 0:
                count = len(left)
                self._ask(left)
                if len(left) == count:
                    self.lost = ProvisioningError("the machine answers no question")
                    break
        except ProvisioningError as error:
            self.lost = error
        except OSError as error:
            raise StorageError.of(self._folder, error) from error
        finally:
            self.files += (CollectedFile(name=question.name, state=State.MISSING) for question in left)

    def _has_time(self) -> bool:
        return time.monotonic() < self._deadline

    def _ask(self, left: list[Question]) -> None:
        """Until the last answer, or the first that hangs; what was answered is taken out of ``left``."""
        token = secrets.token_hex(16)
        words = [word for question in left for word in (question.name, str(question.limit + 1), question.line)]
        with self._machine.channel("sh", "-c", COLLECT, "lisa-ci-collect", token, *words) as channel:
            answers = _Answers(token, [question.name for question in left])
            answer: _Answer | None = None
            try:
                for piece in self._pieces(channel, answers):
                    if isinstance(piece, bytes):
                        if answer is not None:
                            answer.write(piece)
                        continue
                    if answer is not None:
                        self._close(answer, is_late=False)
                        answer = None
                    if piece is None or self._room <= 0:
                        return
                    # Whatever was skipped before this one is not asked again.
                    while left[0].name != piece:
                        self.files.append(CollectedFile(name=left.pop(0).name, state=State.MISSING))
                    answer = _Answer(self._folder, left.pop(0), self._room)
            finally:
                if answer is not None:
                    answer.write(answers.rest())
                    self._close(answer, is_late=True)

    def _close(self, answer: _Answer, *, is_late: bool) -> None:
        collected = answer.close(is_late=is_late)
        self.files.append(collected)
        self._room -= collected.size_bytes
        self.removed += answer.removed

    def _pieces(self, channel: Channel, answers: _Answers) -> Iterator[bytes | str | None]:
        """Pieces of files, names of the files that begin, None at the end. Ends as well when the time is over."""
        limit = time.monotonic() + _PATIENCE
        received = 0
        while (now := time.monotonic()) < min(limit, self._deadline):
            wait = min(limit, self._deadline) - now
            try:
                data = channel.receive(_BLOCK, timedelta(seconds=wait))
            except TimeoutError:
                return
            if not data:
                return
            received += len(data)
            for piece in answers.feed(data):
                if isinstance(piece, str):
                    limit, received = time.monotonic() + _PATIENCE, 0
                yield piece
            # The script in the machine cuts every answer; whoever sends more does not run it.
            if received > answers.limit:
                return


class _Answers:
    """Splits what the script prints. Only names that were asked for, in their order, begin a file."""

    def __init__(self, token: str, names: Sequence[str]) -> None:
        self._mark = f"\n{token} ".encode()
        self._names = list(names)
        self._buffer = bytearray()
        self.limit = _NOISE + max(question.limit for question in (*ON_FAILURE, *AT_THE_END, CORE))

    def feed(self, data: bytes) -> Iterator[bytes | str | None]:
        """Bytes of the file that is on, the name of one that begins, None behind the last."""
        self._buffer += data
        at = 0
        while (found := self._buffer.find(self._mark, at)) >= 0:
            begin = found + len(self._mark)
            end = self._buffer.find(b"\n", begin, begin + 80)
            if end < 0 and len(self._buffer) < begin + 80:
                break
            name = bytes(self._buffer[begin:end]).decode("ascii", "replace") if end >= 0 else ""
            if found > at:
                yield bytes(self._buffer[at:found])
            at = end + 1 if end >= 0 else begin
            if not name:
                yield None
            elif name in self._names:
                del self._names[: self._names.index(name) + 1]
                yield name
        else:
            # The begin of a mark may be the end of what came.
            found = max(at, len(self._buffer) - len(self._mark) + 1)
        if found > at:
            yield bytes(self._buffer[at:found])
        del self._buffer[:found]

    def rest(self) -> bytes:
        """What no mark followed."""
        return bytes(self._buffer)


class _Answer:
    """One file on its way to the disk: bounded and scrubbed."""

    def __init__(self, folder: Path, question: Question, room: int) -> None:
        self._question = question
        self._path = folder / question.name
        self._left = min(question.limit, room)
        self._size = 0
        self._is_cut = False
        self._file: io.FileIO | None = None
        self._scrubber = Scrubber(keeps_size=question.is_core)

    @property
    def removed(self) -> int:
        return self._scrubber.removed

    def write(self, data: bytes) -> None:
        if len(data) > self._left:
            self._is_cut = True
            data = data[: self._left]
        self._left -= len(data)
        self._put(self._scrubber.feed(data))

    def _put(self, data: bytes) -> None:
        if not data:
            return
        if self._file is None:
            with suppress(FileNotFoundError):
                self._path.unlink()  # of an earlier attempt
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            self._file = io.FileIO(os.open(self._path, flags, 0o644), "w")
        view = memoryview(data)
        while view:
            view = view[self._file.write(view) or 0 :]
        self._size += len(data)

    def close(self, *, is_late: bool) -> CollectedFile:
        self._put(self._scrubber.finish())
        if self._file is not None:
            self._file.close()
        state = State.EMPTY
        if is_late:
            state = State.LATE
        elif self._is_cut:
            state = State.CUT
        elif self._size:
            state = State.WHOLE
        if self._question.is_core and state is not State.WHOLE:
            # A part of a core tells nothing.
            with suppress(FileNotFoundError):
                self._path.unlink()
            self._size = 0
        return CollectedFile(name=self._question.name, state=state, size_bytes=self._size)
