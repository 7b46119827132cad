from __future__ import annotations

import io
import json
from datetime import timedelta

import pytest

from lisa_ci import events
from lisa_ci.console import Console, _steps
from lisa_ci.model import Outcome, Result

HOSTILE = "\x1b[2J::error::owned\n##[error]owned\x07 \ud800"
FAILED = events.CaseEnded(
    place="bios",
    result=Result(suite="boot", case="units", outcome=Outcome.FAILED, message=HOSTILE, wall=timedelta(seconds=2)),
    reproduce="lisa-ci run bios",
)
PASSED = events.CaseEnded(place="bios", result=Result(suite="boot", case="clock", outcome=Outcome.PASSED))
STORY: list[events.Event] = [
    events.Message(text="hello", place="bios"),
    events.Message(text="detail", level=events.Level.DEBUG),
    events.Message(text=HOSTILE, level=events.Level.WARNING),
    events.StageStarted(place="bios", stage="cases", expected=2),
    events.CaseStarted(place="bios", case="boot#units"),
    FAILED,
    PASSED,
    events.StageAdvanced(place="bios", stage="cases", done=2),
    events.MachineOutput(place="bios", data=HOSTILE.encode(errors="replace")),
    events.StageEnded(place="bios", stage="cases", wall=timedelta(seconds=61)),
]


def told(mode: str, *, verbose: bool = False) -> str:
    stream = io.StringIO()
    with Console.open(mode, verbose=verbose, stream=stream) as console:
        for event in STORY:
            console.emit(event)
    return stream.getvalue()


@pytest.mark.parametrize("mode", ["plain", "live", "github", "json"])
def test_every_event_is_drawn_and_nothing_can_move_the_cursor(mode: str) -> None:
    text = told(mode)
    text.encode()
    assert "boot#units" in text or mode == "json"
    assert "\x07" not in text
    if mode != "live":
        assert "\x1b" not in text


def test_calm_lines_tell_failures_and_counts() -> None:
    text = told("plain")
    assert "cases 1 min 1 s: 1 passed, 1 failed" in text
    assert "reproduce: lisa-ci run bios" in text
    assert "boot#clock" not in text
    assert "boot#clock" in told("plain", verbose=True)
    assert "detail" not in text


def test_on_github_nothing_foreign_becomes_a_command() -> None:
    lines = told("github").splitlines()
    fenced: str | None = None
    commands: list[str] = []
    for line in lines:
        if fenced:
            fenced = None if line == fenced else fenced
            continue
        if line.lstrip().startswith("::stop-commands::"):
            fenced = f"::{line.strip().removeprefix('::stop-commands::')}::"
            continue
        assert "##[" not in line or line.startswith("::warning")
        if line.lstrip().startswith("::"):
            commands.append(line.split("::")[1].split()[0])
    assert fenced is None
    assert commands == ["warning", "group", "endgroup"]


def test_json_lines_are_one_object_each() -> None:
    objects = [json.loads(line) for line in told("json").splitlines()]
    assert [each["event"] for each in objects][:3] == ["Message", "Message", "StageStarted"]
    assert objects[4]["result"]["outcome"] == "failed"


def test_a_warning_is_told_once() -> None:
    stream = io.StringIO()
    with Console.open("plain", stream=stream) as console:
        for place in ("one", "one", "two"):
            console.emit(events.Message(text="no KVM", level=events.Level.WARNING, place=place))
            console.emit(events.Message(text="again", place=place))
    assert stream.getvalue().count("no KVM") == 2
    assert stream.getvalue().count("again") == 3


@pytest.mark.parametrize(
    ("done", "expected", "shown"),
    [
        (0, None, ""),
        (7, None, "7"),
        (0, 40, "0/40"),
        (41, 40, "41/40"),
        (0, 1 << 30, "0/1024 MiB"),
        (300 << 20, 1 << 30, "300/1024 MiB"),
        (5 << 20, None, "5 MiB"),
    ],
)
def test_steps_are_counted_in_words_that_fit(done: int, expected: int | None, shown: str) -> None:
    assert _steps(done, expected) == shown


def test_on_a_terminal_words_are_not_cut_and_commands_are_left_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    stream = io.StringIO()
    command = f"lisa-ci run bios --plan {'deep/' * 8}plan.json"
    with Console.open("live", stream=stream) as console:
        console.say(f"$ {command}")
        console.say(f"words {'unbroken ' * 8}end")
    lines = stream.getvalue().splitlines()
    assert any(command in line for line in lines)
    assert sum(line.count("unbroken") for line in lines) == 8
    assert all(len(line) <= 40 for line in lines if "unbroken" in line)


def test_on_github_a_failure_is_told_again_behind_the_fold() -> None:
    _, _, behind = told("github").partition("::endgroup::")
    assert "boot#units" in behind
    assert "reproduce: lisa-ci run bios" in behind
    assert "boot#clock" not in behind


@pytest.mark.parametrize("mode", ["plain", "live", "github"])
def test_cases_that_are_skipped_before_the_machine_is_there_are_counted_with_the_others(mode: str) -> None:
    stream = io.StringIO()
    with Console.open(mode, stream=stream) as console:
        skipped = Result(suite="boot", case="dns", outcome=Outcome.SKIPPED)
        console.emit(events.CaseEnded(place="bios", result=skipped))
        for stage in ("provision", "cases"):
            console.emit(events.StageStarted(place="bios", stage=stage))
            console.emit(events.StageEnded(place="bios", stage=stage, wall=timedelta(seconds=1)))
    assert "provision 1.0 s: " not in stream.getvalue()
    assert "cases 1.0 s: 1 skipped" in stream.getvalue()
