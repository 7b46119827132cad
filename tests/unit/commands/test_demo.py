"""The demo calls the program's own commands, in order, and stops where the gate says no."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from lisa_ci import files
from lisa_ci.commands import demo
from lisa_ci.console import Console
from lisa_ci.demo.crash import Survived
from lisa_ci.errors import LisaCiError, ProvisioningError, SigningError
from lisa_ci.model import Access, Leg, Plan, Profile, ReleaseSettings, Subject, Timeouts

RELEASE = ["pack", "sign", "sign", "verify", "publish"]
PLAN = Plan(
    name="demo",
    subject=Subject(),
    access=Access(),
    timeouts=Timeouts(),
    release=ReleaseSettings(),
    suites=(),
    legs=tuple(Leg(id=name, profile=Profile(name=name), tasks=()) for name in ("one", "two")),
)


class Program:
    """The command line with stand-ins for every command but ``demo``: each writes down how it was called."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.calls: list[list[str]] = []
        self.effects: dict[str, Callable[[list[str]], int | None]] = {"plan": self._plan, "sign": self._sign}
        self.group = click.Group("lisa-ci", commands={"demo": demo.command})
        for verb in ("plan", "run", "report", "pack", "sign", "verify", "publish"):
            self.group.add_command(self._stand_in(verb))

    @property
    def verbs(self) -> list[str]:
        return [call[0] for call in self.calls]

    def _stand_in(self, verb: str) -> click.Command:
        def called(words: tuple[str, ...]) -> int | None:
            self.calls.append([verb, *words])
            return self.effects.get(verb, lambda _words: None)(list(words))

        argument = click.Argument(["words"], nargs=-1, type=click.UNPROCESSED)
        return click.Command(
            verb, params=[argument], callback=called, context_settings={"ignore_unknown_options": True}
        )

    def _plan(self, _words: list[str]) -> None:
        files.write_atomically(self.out / "plan.json", files.encode(PLAN))

    def _sign(self, words: list[str]) -> None:
        if words[0] == "--new-key":
            Path(words[1]).write_text("secret")
            Path(f"{words[1]}.pub").write_text("public")

    def run(self, *arguments: str) -> Result:
        with Console.open("plain") as console:
            return CliRunner().invoke(
                self.group, ["demo", "--out", str(self.out), *arguments], obj=console, standalone_mode=False
            )


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    image = tmp_path / "debian.qcow2"
    image.write_bytes(b"disk")
    monkeypatch.setattr(demo.doctor, "examine", lambda _purpose: [])
    monkeypatch.setattr(demo, "build_image", lambda *_arguments, **_options: image)
    return Program(tmp_path / "out")


def test_every_step_is_taken_in_order(program: Program) -> None:
    result = program.run()
    assert result.exception is None
    assert result.return_value == 0
    assert program.verbs == ["plan", "run", "run", "report", *RELEASE]
    assert [call[1] for call in program.calls if call[0] == "run"] == ["one", "two"]


def test_each_leg_is_held_to_the_plan_that_was_made(program: Program) -> None:
    program.run()
    _, digest = files.read_plan(program.out / "plan.json")
    assert all(digest in call for call in program.calls if call[0] == "run")


def test_the_private_key_does_not_outlive_the_demo(program: Program) -> None:
    program.run()
    assert not (program.out / "trusted-key").exists()
    assert (program.out / "trusted-key.pub").read_text() == "public"


def test_the_private_key_is_gone_where_signing_fails_as_well(program: Program) -> None:
    def fail(words: list[str]) -> None:
        if words[0] != "--new-key":
            raise SigningError("no")
        Path(words[1]).write_text("secret")

    program.effects["sign"] = fail
    assert isinstance(program.run().exception, SigningError)
    assert not (program.out / "trusted-key").exists()


def test_a_red_gate_releases_nothing(program: Program) -> None:
    program.effects["report"] = lambda _words: 1
    result = program.run()
    assert result.return_value == 1
    assert program.verbs[-1] == "report"


def test_a_leg_that_was_not_judged_keeps_neither_the_others_nor_the_report_away(program: Program) -> None:
    def lose_one(words: list[str]) -> None:
        if words[0] == "one":
            raise ProvisioningError("no machine")

    program.effects["run"] = lose_one
    program.effects["report"] = lambda _words: 1
    result = program.run()
    assert isinstance(result.exception, ProvisioningError)
    assert program.verbs == ["plan", "run", "run", "report"]


def test_a_host_that_is_not_ready_builds_nothing(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    bad = demo.doctor.Finding(name="sfdisk", text="partitions", is_ok=False)
    monkeypatch.setattr(demo.doctor, "examine", lambda _purpose: [bad])
    result = program.run()
    assert isinstance(result.exception, ProvisioningError)
    assert not program.out.exists()


def test_rebuild_takes_no_image_from_the_cache(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[object] = []
    image = program.out.parent / "debian.qcow2"

    def build(*_arguments: object, **options: object) -> Path:
        seen.append(options.get("max_age"))
        return image

    monkeypatch.setattr(demo, "build_image", build)
    program.run()
    program.run("--rebuild")
    assert seen == [demo.MAX_AGE, timedelta(0)]


def test_a_command_that_is_not_there_is_an_error_of_ours(program: Program) -> None:
    del program.group.commands["verify"]
    result = program.run()
    assert isinstance(result.exception, LisaCiError)
    assert "verify" in result.exception.message


@pytest.mark.parametrize(("problems", "code"), [((), 0), (("hangs has no result",), 1)])
def test_the_crash_scenario_ends_with_what_was_survived_and_releases_nothing(
    program: Program, monkeypatch: pytest.MonkeyPatch, problems: tuple[str, ...], code: int
) -> None:
    told = Survived(lines=("panics: errored",), problems=problems, summary="2 passed")
    monkeypatch.setattr(demo.crash, "survived", lambda _results: told)
    program.effects["report"] = lambda _words: 1
    result = program.run("--scenario", "crash")
    assert (result.exception, result.return_value) == (None, code)
    assert program.verbs == ["plan", "run", "run", "report"]
