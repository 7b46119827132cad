"""Events drawn for people, on stderr: live on a terminal, calm lines in a log, folded groups on GitHub, JSON lines.

Nothing below ``commands`` prints. What comes from a machine or a pull request is never printed bare here: control
characters are taken out, and on GitHub nothing in it can act as a workflow command.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from contextlib import AbstractContextManager
from datetime import timedelta
from types import TracebackType
from typing import IO, TYPE_CHECKING, Final, Protocol, Self

from lisa_ci import events
from lisa_ci.events import Event, Level
from lisa_ci.github import commands, outputs
from lisa_ci.model import Outcome

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

_SYMBOL: Final = {Outcome.PASSED: "✓", Outcome.FAILED: "✗", Outcome.ERRORED: "!", Outcome.SKIPPED: "-"}
_COLOUR: Final = {
    Outcome.PASSED: "green",
    Outcome.FAILED: "red",
    Outcome.ERRORED: "magenta",
    Outcome.SKIPPED: "bright_black",
}
_CASES: Final = "cases"
"""The stage that has results."""
_OUTPUT_LIMIT: Final = 64 << 10
_LINE_LIMIT: Final = 400
_FAILED_LINES: Final = 40  # behind a fold; the report has them all
_REMEMBERED: Final = 256  # warnings that are not told a second time
_MIB: Final = 1 << 20


class _Drawer(Protocol):
    def draw(self, event: Event) -> None: ...
    def close(self) -> None: ...


class Console(AbstractContextManager["Console"]):
    """Takes events from any thread and draws them one at a time."""

    def __init__(self, drawer: _Drawer, *, verbose: bool = False) -> None:
        self._drawer = drawer
        self._is_verbose = verbose
        self._lock = threading.Lock()
        self._warned: set[tuple[str, str]] = set()

    @classmethod
    def open(cls, mode: str = "auto", *, verbose: bool = False, stream: IO[str] | None = None) -> Self:
        """``mode``: auto, live, plain, github or json. ``stream`` is stderr."""
        target = stream or sys.stderr
        if mode == "auto":
            mode = "github" if outputs.is_github() else "live" if target.isatty() else "plain"
        match mode:
            case "github":
                drawer: _Drawer = _GitHub(target, verbose=verbose)
            case "live":
                drawer = _Live(target, verbose=verbose)
            case "json":
                drawer = _Json(target)
            case _:
                drawer = _Plain(target, verbose=verbose)
        return cls(drawer, verbose=verbose)

    def emit(self, event: Event) -> None:
        if isinstance(event, events.Message) and event.level is Level.DEBUG and not self._is_verbose:
            return
        with self._lock:
            if not self._is_repeated(event):
                self._drawer.draw(event)

    def _is_repeated(self, event: Event) -> bool:
        """A warning that holds for each leg of a demo says nothing new the second time."""
        if not isinstance(event, events.Message) or event.level is not Level.WARNING:
            return False
        if (event.place, event.text) in self._warned:
            return True
        if len(self._warned) < _REMEMBERED:
            self._warned.add((event.place, event.text))
        return False

    def say(self, text: str) -> None:
        """A sentence for people."""
        self.emit(events.Message(text=text))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._drawer.close()


class _Tally:
    """Outcomes of a leg, for the line that closes its cases."""

    def __init__(self) -> None:
        self._counts: dict[str, Counter[Outcome]] = {}

    def count(self, event: events.CaseEnded) -> None:
        self._counts.setdefault(event.place, Counter())[event.result.outcome] += 1

    def take(self, stage: events.StageEnded) -> str:
        """Also what was decided before any case ran, such as skips, is told when the cases have ended."""
        if stage.stage != _CASES:
            return ""
        counts = self._counts.pop(stage.place, Counter())
        return ", ".join(f"{counts[outcome]} {outcome}" for outcome in Outcome if counts[outcome])


class _Plain:
    """One line for what matters; passed cases only with --verbose."""

    def __init__(self, stream: IO[str], *, verbose: bool) -> None:
        self._stream = stream
        self._is_verbose = verbose
        self._tally = _Tally()

    def draw(self, event: Event) -> None:
        match event:
            case events.Message():
                mark = "warning: " if event.level is Level.WARNING else ""
                self._line(event.place, f"{mark}{event.text}")
            case events.StageStarted():
                self._line(event.place, f"{event.stage} ...")
            case events.StageEnded():
                told = event.error or self._tally.take(event)
                self._line(event.place, f"{event.stage} {_seconds(event.wall)}{': ' + told if told else ''}")
            case events.CaseEnded():
                self._tally.count(event)
                if self._is_verbose or event.result.outcome in {Outcome.FAILED, Outcome.ERRORED}:
                    for line in _case_lines(event):
                        self._line(event.place, line)
            case events.MachineOutput():
                for line in _output_lines(event.data):
                    self._line(event.place, f"| {line}")
            case _:
                pass

    def close(self) -> None:
        self._stream.flush()

    def _line(self, place: str, text: str) -> None:
        clock = time.strftime("%H:%M:%S")
        self._stream.write(f"{clock} {place + ': ' if place else ''}{_shown(text)}\n")
        self._stream.flush()


class _GitHub:
    """A folded group for each stage; what failed in it is told again behind the fold, warnings stand outside."""

    def __init__(self, stream: IO[str], *, verbose: bool) -> None:
        self._stream = stream
        self._is_verbose = verbose
        self._tally = _Tally()
        self._is_in_group = False
        self._failed: list[str] = []

    def draw(self, event: Event) -> None:
        match event:
            case events.Message():
                if event.level is Level.WARNING:
                    self._write(commands.command("warning", event.text, title=event.place))
                else:
                    self._text(f"{event.place + ': ' if event.place else ''}{event.text}")
            case events.StageStarted():
                self._end_group()
                self._write(commands.group(f"{event.place} {event.stage}".strip()))
                self._is_in_group = True
            case events.StageEnded():
                self._end_group()
                told = event.error or self._tally.take(event)
                self._text(f"{event.place} {event.stage} {_seconds(event.wall)}{': ' + told if told else ''}")
                for line in self._failed[:_FAILED_LINES]:
                    self._text(line)
                self._failed = []
            case events.CaseEnded():
                self._tally.count(event)
                lines = _case_lines(event)
                if event.result.outcome in {Outcome.FAILED, Outcome.ERRORED}:
                    self._failed += lines
                for line in lines:
                    self._text(line)
            case events.MachineOutput():
                for line in commands.Fence().wrap(_output_lines(event.data)):
                    self._write(line)
            case _:
                pass

    def close(self) -> None:
        self._end_group()
        self._stream.flush()

    def _end_group(self) -> None:
        if self._is_in_group:
            self._write(commands.endgroup())
            self._is_in_group = False

    def _text(self, text: str) -> None:
        self._write(commands.neutral(_shown(text)))

    def _write(self, line: str) -> None:
        self._stream.write(line + "\n")
        self._stream.flush()


class _Bar:
    """A running stage on the terminal."""

    def __init__(self, task: TaskID, expected: int | None) -> None:
        self.task = task
        self.expected = expected
        self.done = 0


class _Live:
    """A bar for each running stage, failures above them."""

    def __init__(self, stream: IO[str], *, verbose: bool) -> None:
        from rich.console import Console as RichConsole  # noqa: PLC0415 - only a terminal needs it
        from rich.progress import (  # noqa: PLC0415
            BarColumn,
            Progress,
            SpinnerColumn,
            TextColumn,
            TimeElapsedColumn,
        )
        from rich.table import Column  # noqa: PLC0415

        self._is_verbose = verbose
        self._tally = _Tally()
        self._running: dict[tuple[str, str], _Bar] = {}
        self._bars: Progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True)),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[steps]}", markup=False, table_column=Column(no_wrap=True)),
            TimeElapsedColumn(),
            TextColumn(
                "{task.fields[now]}",
                style="bright_black",
                markup=False,
                table_column=Column(no_wrap=True, overflow="ellipsis"),
            ),
            console=RichConsole(file=stream, highlight=False),
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def draw(self, event: Event) -> None:
        match event:
            case events.Message():
                warning = event.level is Level.WARNING
                self._print(f"{event.place + ': ' if event.place else ''}{event.text}", "yellow" if warning else "")
            case events.StageStarted():
                # No display while nothing runs: what commands print on stdout then would be drawn over.
                if not self._running:
                    self._bars.start()
                title, steps = f"{event.place} {event.stage}".strip(), _steps(0, event.expected)
                task = self._bars.add_task(title, total=event.expected, steps=steps, now="")
                self._running[event.place, event.stage] = _Bar(task, event.expected)
            case events.StageAdvanced():
                self._advance(event.place, event.stage, event.done)
            case events.StageEnded():
                self._end(event)
            case events.CaseStarted():
                if bar := self._running.get((event.place, _CASES)):
                    self._bars.update(bar.task, now=_shown(event.case))
            case events.CaseEnded():
                self._end_case(event)
            case events.MachineOutput():
                for line in _output_lines(event.data):
                    self._print(f"{event.place} | {line}", "bright_black")

    def close(self) -> None:
        self._bars.stop()

    def _advance(self, place: str, stage: str, done: int) -> None:
        if bar := self._running.get((place, stage)):
            bar.done = done
            self._bars.update(bar.task, completed=done, steps=_steps(done, bar.expected))

    def _end(self, event: events.StageEnded) -> None:
        if bar := self._running.pop((event.place, event.stage), None):
            self._bars.remove_task(bar.task)
            if not self._running:
                self._bars.stop()
        told = event.error or self._tally.take(event)
        text = f"{event.place} {event.stage} {_seconds(event.wall)}{': ' + told if told else ''}".strip()
        self._print(text, "red" if event.error else "")

    def _end_case(self, event: events.CaseEnded) -> None:
        self._tally.count(event)
        if bar := self._running.get((event.place, _CASES)):
            self._advance(event.place, _CASES, bar.done + 1)
        if self._is_verbose or event.result.outcome in {Outcome.FAILED, Outcome.ERRORED}:
            for line in _case_lines(event):
                self._print(f"{event.place} {line}", _COLOUR[event.result.outcome])

    def _print(self, text: str, style: str) -> None:
        # A command is broken by the terminal alone, which gives it back whole to whoever copies it; words are not cut.
        is_command = text.startswith("$ ") or "  reproduce: " in text or ": lisa-ci " in text
        self._bars.console.print(_shown(text), style=style or None, markup=False, soft_wrap=is_command)


class _Json:
    """One JSON object a line, for programs: the event's name and its fields."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def draw(self, event: Event) -> None:
        import json  # noqa: PLC0415
        from dataclasses import asdict  # noqa: PLC0415

        fields = {"event": type(event).__name__, "time": time.time(), **asdict(event)}
        self._stream.write(json.dumps(fields, default=_plain, sort_keys=True) + "\n")
        self._stream.flush()

    def close(self) -> None:
        self._stream.flush()


def _steps(done: int, expected: int | None) -> str:
    """How far a stage is; '' where there is nothing to count. Millions of steps are bytes."""
    if max(done, expected or 0) >= _MIB:
        return f"{done // _MIB}/{expected // _MIB} MiB" if expected else f"{done // _MIB} MiB"
    if expected is not None:
        return f"{done}/{expected}"
    return str(done) if done else ""


def _plain(value: object) -> object:
    match value:
        case timedelta():
            return value.total_seconds()
        case bytes():
            return value[:_OUTPUT_LIMIT].decode(errors="replace")
        case _:
            return str(value)


def _case_lines(event: events.CaseEnded) -> list[str]:
    result = event.result
    lines = [f"{_SYMBOL[result.outcome]} {result.key} {result.outcome} {_seconds(result.wall)}"]
    if result.message:
        lines[0] += f": {result.message}"
    if result.mend:
        lines.append(f"  to mend it: {result.mend}")
    if event.reproduce and result.outcome in {Outcome.FAILED, Outcome.ERRORED}:
        lines.append(f"  reproduce: {event.reproduce}")
    return lines


def _output_lines(data: bytes) -> list[str]:
    text = data[-_OUTPUT_LIMIT:].decode(errors="replace")
    return [_shown(line) for line in text.splitlines()]


def _shown(text: str) -> str:
    """One line that cannot move the cursor, ring a bell or fill a screen."""
    line = " ".join(commands.printable(text).splitlines())
    return line if len(line) <= _LINE_LIMIT else line[:_LINE_LIMIT] + " …"


def _seconds(wall: timedelta) -> str:
    seconds = wall.total_seconds()
    return f"{seconds:.1f} s" if seconds < 60 else f"{int(seconds // 60)} min {int(seconds % 60)} s"
