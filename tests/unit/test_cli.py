from __future__ import annotations

import errno
import signal
import sys
import tempfile
import threading
from pathlib import Path
from types import ModuleType

import click
import pytest

from lisa_ci import cli
from lisa_ci.errors import (
    LisaCiError,
    Location,
    NothingToDoError,
    PipelineError,
    Problem,
    ProvisioningError,
    PublishingError,
    SigningError,
    StorageError,
    VerificationError,
)


@pytest.fixture(autouse=True)
def _reports_of_bugs_are_ours(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def exit_of(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> int:
    def fail(**_options: object) -> None:
        raise error

    monkeypatch.setattr(cli.cli, "main", fail)
    return cli._run()


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (PipelineError("x"), 2),
        (click.UsageError("x"), 2),
        (NothingToDoError("x"), 3),
        (ProvisioningError("x"), 4),
        (VerificationError("x"), 5),
        (SigningError("x"), 6),
        (PublishingError("x"), 7),
        (LisaCiError("x"), 70),
        (KeyboardInterrupt(), 130),
        (ZeroDivisionError("x"), 70),
        (StorageError("x"), 4),
        (OSError(errno.ENOSPC, "No space left on device"), 4),
        (OSError(errno.EIO, "Input/output error"), 70),
    ],
)
def test_each_class_of_error_has_its_exit_code(
    monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_of(monkeypatch, error) == code
    assert capsys.readouterr().out == ""


def test_every_problem_is_told_with_place_and_hint(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place = Location(file="lisa-ci.yml", line=8, column=5)
    problems = (
        Problem(message="unknown key 'shard'", hint="did you mean 'shards'?", location=place),
        Problem(message="no image"),
    )
    exit_of(monkeypatch, PipelineError("two mistakes", problems=problems))
    assert capsys.readouterr().err.splitlines() == [
        "lisa-ci.yml:8:5: error: unknown key 'shard'; did you mean 'shards'?",
        "error: no image",
    ]


def test_a_full_disk_is_told_in_one_line_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    exit_of(monkeypatch, OSError(errno.ENOSPC, "No space left on device", "results/a"))
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("error: cannot write results/a: No space left on device; check its folder")


def test_a_bug_names_the_file_of_its_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    exit_of(monkeypatch, ZeroDivisionError("oh"))
    told = capsys.readouterr().err
    assert "ZeroDivisionError: oh" in told
    assert "this is a bug in lisa-ci" in told
    assert "lisa-ci-bug-" in told


def test_an_interrupt_waits_until_a_command_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    """The import system forgets a lock by a weak reference's callback, and what a callback raises is dropped."""
    whole: list[str] = []
    real = cli.importlib.import_module

    def import_module(name: str) -> ModuleType:
        signal.pthread_kill(threading.get_ident(), signal.SIGINT)
        whole.append(name)
        return real(name)

    monkeypatch.setattr(cli.importlib, "import_module", import_module)
    monkeypatch.setattr(sys, "argv", ["lisa-ci", "schema"])
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background has it ignored
    try:
        assert cli._run() == 130
    finally:
        signal.signal(signal.SIGINT, before)
    assert whole == ["lisa_ci.commands.schema"]


def test_a_mistyped_command_is_answered_with_the_nearest_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["lisa-ci", "rnu"])
    assert cli._run() == 2
    assert "did you mean 'run'?" in capsys.readouterr().err
