"""What a machine does while its cases run, once a second, in ``telemetry/samples.ndjson``.

The host asks for each sample over a channel of its own, so that samples are on the host when the machine dies, and a
machine whose host is gone is left in peace. Nothing that happens here can fail a leg.
"""

from __future__ import annotations

import io
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.resources import files as resources
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from lisa_ci import files
from lisa_ci.errors import LisaCiError, MachineLostError
from lisa_ci.events import Emit, Level, Message
from lisa_ci.execution.samples import Parser, Rates, Reading, Sample
from lisa_ci.execution.tally import Tally
from lisa_ci.protocols import Channel, Machine

FILE: Final = "samples.ndjson"
SAMPLER: Final = "lisa-ci-sampler"  # stands in the command line, before the name of the installation
SUMMARY: Final = "summary.json"
FILE_LIMIT: Final = 32 << 20  # bytes; about seven hours of a machine with two disks and networks
_SAMPLE_LIMIT: Final = 64 * 1024
_FLOOD: Final = 256 * 1024  # bytes that hold no sample
_BLOCK: Final = 64 * 1024
_PERIOD: Final = timedelta(seconds=1)
_SLICE: Final = timedelta(milliseconds=100)  # between two looks at whether to stop, while an answer is awaited
_JOIN: Final = 3.0  # seconds
_DETAILED: Final = 10  # every so many samples name the interrupts one by one


def script(owner: str) -> str:
    """The sampler without its comments: an argument of ``sh -c``, which a list of processes in the machine shows.

    ``owner`` is the name of the installation (``install.new_name``), with which the sampler is removed.
    """
    text = (resources("lisa_ci.execution") / "sampler.sh").read_text(encoding="utf-8")
    lines = (line.strip() for line in text.splitlines())
    kept = (line for line in lines if line and not line.startswith("#"))
    return "\n".join((f"mark='{SAMPLER} {owner} '", *kept))


@dataclass(slots=True)
class _Known:
    """What the samplers of a leg know together. ``tally`` is None until somebody read what an earlier run left."""

    tally: Tally | None = None
    ignored: int = 0
    is_cut: bool = False


class Sampling:
    """The samples of a leg, whose machines follow one another: one file, read once, and one summary."""

    def __init__(self, folder: Path, *, emit: Emit, period: timedelta = _PERIOD) -> None:
        self._folder = folder
        self._emit = emit
        self._period = period
        self._known = _Known()

    def of(self, machine: Machine, owner: str) -> Sampler:
        """A sampler for ``machine``; one at a time is entered."""
        return Sampler(machine, self._folder, owner, emit=self._emit, period=self._period, known=self._known)


class Sampler:
    """``with sampler:`` samples ``machine`` into ``folder``, which is made; may be entered again after a restore.

    Entering starts a thread and waits for nothing; leaving ends it, within three seconds, and writes the summary of all
    samples so far. A machine that dies ends the sampling, silently. Neither raises but for a bug.
    """

    def __init__(
        self,
        machine: Machine,
        folder: Path,
        owner: str,
        *,
        emit: Emit,
        period: timedelta = _PERIOD,
        known: _Known | None = None,
    ) -> None:
        self._machine = machine
        self._owner = owner
        self._folder = folder
        self._emit = emit
        self._period = period.total_seconds()
        self._known = known or _Known()
        self._watch: _Watch | None = None

    def __enter__(self) -> Self:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            path = self._folder / FILE
            tally = self._known.tally = self._known.tally or _tally(path)
            tally.starts += 1
            file = _appending(path)
        except OSError as error:
            self._say(f"no samples: cannot write into {self._folder}: {error.strerror}", Level.WARNING)
            return self
        self._watch = _Watch(self._machine, self._owner, file, tally, self._period)
        self._watch.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        known, watch, self._watch = self._known, self._watch, None
        if watch is None or known.tally is None:
            return
        watch.stop()
        known.ignored += watch.ignored
        known.is_cut |= watch.is_cut
        if watch.trouble:
            self._say(f"sampling ended early: {watch.trouble}", watch.level)
        try:
            summary = known.tally.summary(ignored_lines=known.ignored, is_cut=known.is_cut)
            files.write_atomically(self._folder / SUMMARY, files.encode(summary))
        except LisaCiError as error:
            self._say(f"no summary of the samples: {error.message}", Level.WARNING)

    def _say(self, text: str, level: Level) -> None:
        self._emit(Message(text=f"telemetry: {text}", level=level, place=self._machine.name))


class _Watch:
    """One start of the sampler, in a thread of its own; ``trouble`` says what ended it before it was asked to."""

    def __init__(self, machine: Machine, owner: str, file: io.FileIO, tally: Tally, period: float) -> None:
        self._machine = machine
        self._owner = owner
        self._file = file
        self._room = FILE_LIMIT - file.seek(0, os.SEEK_END)
        self._tally = tally
        self._period = period
        self._parser = Parser()
        self._rates = Rates(tally.starts)
        self._silent = 0  # bytes since the last sample
        self._stopping = threading.Event()
        self._writing = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="lisa-ci-sampler", daemon=True)
        self.trouble = ""
        self.level = Level.DEBUG
        self.is_cut = False
        self.ignored = 0

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """A thread that does not come back in time is left to the end of its connection; it writes nothing more."""
        self._stopping.set()
        self._thread.join(_JOIN)
        with self._writing:
            self._file.close()

    def _run(self) -> None:
        try:
            with self._machine.channel("sh", "-c", script(self._owner), SAMPLER) as channel:
                self._sample(channel)
        except MachineLostError as error:
            self._end(error.message, Level.DEBUG)
        except LisaCiError as error:
            self._end(error.message, Level.WARNING)
        except OSError as error:
            self._end(error.strerror or str(error), Level.WARNING)

    def _end(self, trouble: str, level: Level) -> None:
        if not self._stopping.is_set():
            self.trouble, self.level = trouble, level

    def _sample(self, channel: Channel) -> None:
        due = time.monotonic()
        number = 0
        while not self._stopping.wait(max(0.0, due - time.monotonic())):
            if self._parser.is_greeted:
                channel.send(b"one\n" if number % _DETAILED else b"all\n")
                number += 1
            answer = self._answer(channel)
            if answer is not None:
                self._keep(self._rates.sample(answer, datetime.now(UTC)))
                # After a late answer the next one is not due at once: a machine short of time is not pressed.
                due = max(due + self._period, time.monotonic())

    def _answer(self, channel: Channel) -> Reading | None:
        """The next sample; None when the greeting came, or when we shall stop."""
        was_greeted = self._parser.is_greeted
        while not self._stopping.is_set():
            try:
                data = channel.receive(_BLOCK, _SLICE)
            except TimeoutError:
                continue
            if not data:
                said = channel.errors().decode("utf-8", "replace").strip()[-200:]
                raise MachineLostError(f"the sampler in the machine ended{f': {said!a}' if said else ''}")
            self._silent += len(data)
            readings = list(self._parser.feed(data))
            self.ignored = self._parser.ignored
            if readings and was_greeted:
                self._silent = 0
                return readings[0]
            if self._silent > _FLOOD:
                raise LisaCiError(f"{self._silent} bytes without a sample: this is not our sampler")
            if self._parser.is_greeted and not was_greeted:
                return None
        return None

    def _keep(self, sample: Sample) -> None:
        line = files.encode_line(sample)
        with self._writing:
            if self._stopping.is_set():
                return
            self._tally.take(sample)
            if self.is_cut or len(line) > min(self._room, _SAMPLE_LIMIT):
                self.is_cut = True
                return
            self._room -= len(line)
            # One write: a reader sees whole lines, and a crash tears one at most.
            self._file.write(line)


def _appending(path: Path) -> io.FileIO:
    """``path``, open at its end, which is the begin of a line."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    file = io.FileIO(descriptor, "r+")
    if file.seek(0, os.SEEK_END):
        file.seek(-1, os.SEEK_END)
        if file.read(1) != b"\n":
            file.write(b"\n")
    return file


def _tally(path: Path) -> Tally:
    tally = Tally()
    for sample in read_samples(path):
        tally.take(sample)
    return tally


def read_samples(path: Path) -> Iterator[Sample]:
    """The samples in a file; lines that hold none, as one torn by a crash, are left out."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return
    with os.fdopen(descriptor, "rb") as file:
        left = FILE_LIMIT
        while left > 0 and (line := file.readline(_SAMPLE_LIMIT)):
            left -= len(line)
            try:
                sample = files.decode(Sample, line, place=str(path))
            except LisaCiError:
                continue
            yield sample
