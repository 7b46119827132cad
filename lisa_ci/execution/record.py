"""What a leg leaves on disk while it runs: results, case logs, and a log of what happened."""

from __future__ import annotations

import contextlib
import dataclasses
import shlex
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from lisa_ci.errors import StorageError
from lisa_ci.events import CaseEnded, CaseStarted, Emit, Event, Message, StageAdvanced, StageEnded, StageStarted
from lisa_ci.execution.journal import Journal
from lisa_ci.files import LegFolder
from lisa_ci.model import Case, Completed, Outcome, Result
from lisa_ci.scrub import scrub, scrub_text

_LOG_LIMIT: Final = 16 << 20  # bytes of lisa-ci.log
_REPEATED: Final = "ran twice: its first result was lost with the machine"
_CONTROL: Final = dict.fromkeys((*range(32), 127), "?")


class Record:
    """One result for each case: the first that is given. Told to people only when it is on disk.

    ``reproduce`` is the command that runs the leg again; a failure is told with it and the case.
    """

    def __init__(self, folder: LegFolder, leg: str, emit: Emit, *, reproduce: str, has: Iterable[str] = ()) -> None:
        self._folder = folder
        self._leg = leg
        self._emit = emit
        self._reproduce = reproduce
        self._journal = Journal(folder.journal)
        self._has = set(has)
        self._waiting: list[Result] = []
        self._repeated: set[str] = set()
        self._mends: dict[str, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.sync()
        self._journal.__exit__(kind, value, traceback)

    def has(self, key: str) -> bool:
        """True where the case ``suite#case`` has its result."""
        return key in self._has

    @property
    def count(self) -> int:
        return len(self._has)

    def know(self, cases: Iterable[Case]) -> None:
        """These may get results; one that fails says how to mend it."""
        self._mends.update((case.key, case.mend) for case in cases if case.mend)

    def started(self, case: Case) -> None:
        self._emit(CaseStarted(place=self._leg, case=case.key))

    def add(self, result: Result, completed: Completed | None = None) -> None:
        """Durable after the next ``sync``. A second result of a case is dropped."""
        if result.key in self._has:
            return
        result = _clean(result)
        log = completed and self._write_log(result, completed)
        if log:
            result = dataclasses.replace(result, log=log)
        if result.outcome is Outcome.FAILED and result.key in self._mends:
            result = dataclasses.replace(result, mend=" ".join(self._mends[result.key].split()))
        if result.key in self._repeated:
            result = dataclasses.replace(result, note=_REPEATED)
        self._journal.append(result)
        self._has.add(result.key)
        self._waiting.append(result)

    def repeated(self, keys: Iterable[str]) -> None:
        """These had ended in the machine when it was lost, and run again: their results will say so."""
        self._repeated.update(keys)

    def sync(self) -> None:
        """Everything added is on disk now, and then told."""
        self._journal.sync()
        waiting, self._waiting = self._waiting, []
        for result in waiting:
            is_bad = result.outcome in {Outcome.FAILED, Outcome.ERRORED}
            reproduce = f"{self._reproduce} --case {shlex.quote(result.key)} --keep" if is_bad else ""
            self._emit(CaseEnded(place=self._leg, result=result, reproduce=reproduce))

    def give_up(self, cases: Iterable[Case], reason: str) -> None:
        """ERRORED for each case that has no result."""
        for case in cases:
            self.add(errored(case, f"not run: {reason}"))
        self.sync()

    def _write_log(self, result: Result, completed: Completed) -> str | None:
        if not completed.output:
            return None
        path = self._folder.case_log(result.suite, result.case)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(scrub(log_text(completed))[0])
        except OSError as error:
            raise StorageError.of(path, error) from error
        return path.relative_to(self._folder.root).as_posix()


def _clean(result: Result) -> Result:
    """Without secrets that a test printed."""
    return dataclasses.replace(
        result,
        message=scrub_text(result.message),
        detail=scrub_text(result.detail),
        findings=tuple(dataclasses.replace(found, text=scrub_text(found.text)) for found in result.findings),
        children=tuple(dataclasses.replace(child, message=scrub_text(child.message)) for child in result.children),
    )


def log_text(completed: Completed) -> bytes:
    """A case's output with a note where bytes were dropped."""
    if not completed.dropped_bytes:
        return completed.output
    head, tail = completed.output[: completed.head_bytes], completed.output[completed.head_bytes :]
    note = f"\n[lisa-ci: {completed.dropped_bytes} bytes dropped here]\n".encode()
    return head + note + tail


def errored(case: Case, message: str, *, detail: str = "") -> Result:
    """The image was not judged by this case."""
    return Result(
        suite=case.suite, case=case.id, title=case.title, outcome=Outcome.ERRORED, message=message[:500], detail=detail
    )


def skipped(case: Case, reason: str) -> Result:
    return Result(
        suite=case.suite,
        case=case.id,
        title=case.title,
        outcome=Outcome.SKIPPED,
        message=" ".join(reason.split())[:500],
    )


class Log:
    """``lisa-ci.log``: what happened, with the time, one line each; hands every event on to ``emit``."""

    def __init__(self, path: Path, emit: Emit) -> None:
        self._file = path.open("ab", buffering=0)
        self._left = _LOG_LIMIT
        self._emit = emit
        self._began = time.monotonic()
        self._write(f"---- {datetime.now(UTC).isoformat(timespec='seconds')}")

    def emit(self, event: Event) -> None:
        text = _told(event)
        if text:
            self._write(f"{time.monotonic() - self._began:9.3f} {text}")
        self._emit(event)

    def close(self) -> None:
        self._file.close()

    def _write(self, text: str) -> None:
        line = text.translate(_CONTROL).encode("utf-8", "replace")[:4096] + b"\n"
        if not self._file.closed and len(line) <= self._left:
            self._left -= len(line)
            with contextlib.suppress(OSError):  # a full disk shows where it costs something: at the journal
                self._file.write(line)


def _told(event: Event) -> str:
    match event:
        case Message():
            return f"{event.level}: {event.text}"
        case StageStarted():
            return f"stage {event.stage} starts"
        case StageEnded():
            return f"stage {event.stage} ended after {event.wall.total_seconds():.3f} s {event.error}".rstrip()
        case CaseStarted():
            return f"case {event.case} starts"
        case CaseEnded():
            result = event.result
            return f"case {result.key} {result.outcome}: {result.message}".rstrip(": ")
        case StageAdvanced():
            return ""
        case _:
            return ""
