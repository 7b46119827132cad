from __future__ import annotations

from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from lisa_ci.commands.suite import command, describe
from lisa_ci.errors import PipelineError
from lisa_ci.events import Event
from lisa_ci.model import Case, Expectation, Risk, Suite

HEAD = "schema: 1\nname: mine\ndescription: Mine.\ndriver: shell\ncases:\n"


class Lines:
    """Takes the console's place: keeps what was emitted."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def emit(self, event: Event) -> None:
        self.events.append(event)


def invoke(*arguments: str) -> tuple[Result, Lines]:
    lines = Lines()
    return CliRunner().invoke(command, list(arguments), obj=lines), lines


def suite(folder: Path, cases: str, **programs: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "suite.yaml").write_text(HEAD + cases)
    for name, text in programs.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    return folder


def case(run: str, case_id: str = "one") -> str:
    return f"  - id: {case_id}\n    description: It is there.\n    run: {run}\n"


def test_list_names_every_bundled_suite_with_its_driver_and_cases() -> None:
    result, _ = invoke("list")
    assert result.exit_code == 0
    head, *rows = result.output.splitlines()
    assert head.split() == ["SUITE", "DRIVER", "CASES", "DESCRIPTION"]
    assert {row.split()[0] for row in rows} >= {"boot", "reboot", "userland"}
    assert any(row.startswith("reboot") and "scenario reboot" in row for row in rows)


def test_show_tells_what_a_case_proves_and_needs() -> None:
    result, _ = invoke("show", "boot")
    assert "boot (shell, " in result.output
    assert "data-disks\n  Every data disk of the profile is there" in result.output
    assert "  run: ./data-disks\n  requires: disks 1\n" in result.output
    assert "  priority: 2\n" in result.output


def test_show_leaves_out_nothing_that_a_suite_may_say() -> None:
    cases = (
        Case(
            suite="s",
            id="a",
            title="The A",
            priority=1,
            rule="The standard,\n1.2",
            mend="Turn it on.",
            run=("sh", "-c", "true;\n  false"),
            requires={"firmware": ("bios", "uefi"), "outbound": True},
            expects=(Expectation.REBOOT,),
            risk=Risk.CRASH,
        ),
    )
    text = describe(Suite(name="s", folder="f", digest="d", driver="tap", environment={"K": "v"}, cases=cases))
    assert text[:2] == ["s (tap, 1 cases)", "  environment: K=v"]
    assert text[2:] == [
        "",
        "a: The A",
        "  priority: 1",
        "  rule: The standard, 1.2",
        "  to mend it: Turn it on.",
        "  run: true; false",
        "  requires: firmware bios or uefi, outbound true",
        "  expects: reboot",
        "  risk: crash",
    ]
    listed = describe(Suite(name="s", folder="f", digest="d", driver="tap", listing=("./list", "a b")))
    assert listed[-1] == "  The cases are told in the machine by: ./list 'a b'"


def test_lint_is_content_with_a_good_suite(tmp_path: Path) -> None:
    good = suite(tmp_path / "good", case("[./check]") + case("./check --all", "two"), check="#!/bin/sh\n")
    result, lines = invoke("lint", str(good))
    assert (result.exit_code, result.output, lines.events) == (0, "mine: 2 cases, no mistakes\n", [])


def problems(*arguments: str) -> list[str]:
    result, _ = invoke("lint", *arguments)
    assert isinstance(result.exception, PipelineError)
    assert result.exception.exit_code == 2
    return [str(problem) for problem in result.exception.problems]


def test_lint_finds_every_program_that_would_not_start(tmp_path: Path) -> None:
    cases = "".join(case(f"[./{name}]", name) for name in ("gone", "plain", "bare", "dos", "good"))
    folder = suite(tmp_path / "bad", cases, plain="#!/bin/sh\n", bare="true\n", dos="#!/bin/sh\r\n", good="#!/bin/sh\n")
    (folder / "plain").chmod(0o644)
    found = problems(str(folder))
    assert [text.split("suite.yaml:")[1].split(":")[0] for text in found] == ["6", "9", "12", "15"]
    assert "runs './gone', which is not in the suite; add the file" in found[0]
    assert "runs './plain', which is not executable; chmod +x" in found[1]
    assert "runs './bare', which has no '#!' line; start it with #!/bin/sh" in found[2]
    assert "runs './dos', which has Windows line ends" in found[3]


def test_lint_refuses_a_program_outside_of_the_suite(tmp_path: Path) -> None:
    assert "outside of the suite" in problems(str(suite(tmp_path / "s", case("./../check"))))[0]


def test_lint_tells_all_mistakes_of_all_suites_at_once(tmp_path: Path) -> None:
    twice = suite(tmp_path / "twice", case("./check") + case("./check"), check="#!/bin/sh\n")
    gone = suite(tmp_path / "gone", case("./gone"))
    found = problems(str(twice), str(gone), "no-such-suite")
    assert len(found) == 3
    assert "given twice" in found[0]
    assert "'./gone'" in found[1]
    assert "unknown suite 'no-such-suite'" in found[2]


def test_lint_warns_of_silent_cases_and_of_checks_that_nobody_runs(tmp_path: Path) -> None:
    folder = suite(tmp_path / "s", "  - {id: one, run: ./check}\n", check="#!/bin/sh\n", idle="#!/bin/sh\n")
    result, lines = invoke("lint", str(folder))
    assert result.exit_code == 0
    texts = [str(event) for event in lines.events]
    assert "1 cases do not say what they prove (one)" in texts[0]
    assert "idle is executable, and no case runs it" in texts[1]


def test_a_suite_is_named_by_folder_also_from_inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = suite(tmp_path / "s", case("./check"), check="#!/bin/sh\n")
    monkeypatch.chdir(folder)
    assert invoke("lint", ".")[0].output == "mine: 1 cases, no mistakes\n"


def test_the_verbs_are_these_three() -> None:
    assert isinstance(command, click.Group)
    assert sorted(command.commands) == ["lint", "list", "show"]
