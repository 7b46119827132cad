"""``lisa-ci suite``: which suites there are, what is in one, and whether one is right."""

from __future__ import annotations

import os
import shlex
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click

from lisa_ci import registry
from lisa_ci.console import Console
from lisa_ci.errors import Location, PipelineError, Problem
from lisa_ci.events import Level, Message
from lisa_ci.model import Case, Requirements, Suite
from lisa_ci.pipeline.suites import bundled_suites, find_suite, load_suite

_WIDTH: Final = 100
_FIRST_BYTES: Final = 256


@click.group("suite", context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """List, show and check suites."""


@command.command("list")
def list_suites() -> None:
    """List the suites that come with lisa-ci: name, driver, number of cases, description."""
    rows = [("SUITE", "DRIVER", "CASES", "DESCRIPTION")]
    for name in bundled_suites():
        suite = _load(name)
        rows.append((name, _kind(suite), _count(suite), " ".join(suite.description.split())))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        click.echo("  ".join([*cells, row[3]]).rstrip())


@command.command("show")
@click.argument("suite", metavar="SUITE")
def show_suite(suite: str) -> None:
    """Show the cases of SUITE (a bundled one's name, or a folder) with what each proves and needs."""
    click.echo("\n".join(describe(_load(suite))))


@command.command("lint")
@click.argument("suites", metavar="SUITE...", nargs=-1, required=True)
@click.pass_obj
def lint_suites(console: Console, suites: tuple[str, ...]) -> None:
    """Check each SUITE (a name or a folder). Exit 2 with every mistake, each with file, line and column.

    Beside the file's form: programs that cases run must be in the folder and executable. Warnings do not fail.
    """
    mistakes: list[Problem] = []
    for name in suites:
        try:
            suite = _load(name)
        except PipelineError as error:
            mistakes += error.problems
            continue
        found = list(mistakes_of(suite))
        mistakes += found
        for warning in warnings_of(suite):
            console.emit(Message(text=warning, level=Level.WARNING, place=suite.name))
        if not found:
            click.echo(f"{suite.name}: {_count(suite)} cases, no mistakes")
    if mistakes:
        raise PipelineError(f"{len(mistakes)} mistakes in suites", problems=tuple(mistakes))


def _load(name_or_path: str) -> Suite:
    """A bundled suite by name, else the folder; ``.`` and ``my-suite`` mean folders as well where there is one."""
    path = Path(name_or_path)
    is_folder = (path / "suite.yaml").is_file()
    folder = path if is_folder and name_or_path not in bundled_suites() else find_suite(name_or_path, Path())
    return load_suite(folder, registry.known(), name_or_path)


# ---- what is in a suite --------------------------------------------------------------------------------------------


def describe(suite: Suite) -> list[str]:
    """The suite and its cases as lines for people."""
    lines = [f"{suite.name} ({_kind(suite)}, {_count(suite)} cases)", *_wrapped(suite.description, "  ")]
    if suite.requires:
        lines.append(f"  requires: {_requirements(suite.requires)}")
    if suite.timeout is not None:
        lines.append(f"  timeout: {suite.timeout.total_seconds():.0f} s a case")
    for name, value in suite.environment.items():
        lines.append(f"  environment: {name}={value}")
    if suite.cases is None:
        lines.append(f"  The cases are told in the machine by: {shlex.join(suite.listing)}")
    for case in suite.cases or ():
        lines += ["", *_case_lines(case)]
    return lines


def _case_lines(case: Case) -> Iterator[str]:
    yield f"{case.id}: {case.title}" if case.title else case.id
    yield from _wrapped(case.description, "  ")
    yield f"  priority: {case.priority}"
    for what, text in (("rule", case.rule), ("to mend it", case.mend)):
        if text:
            yield from _wrapped(f"{what}: {' '.join(text.split())}", "  ")
    if case.run:
        yield f"  run: {_shown_run(case)}"
    if case.requires:
        yield f"  requires: {_requirements(case.requires)}"
    if case.timeout is not None:
        yield f"  timeout: {case.timeout.total_seconds():.0f} s"
    if case.expects:
        yield f"  expects: {', '.join(case.expects)}"
    if case.risk != "none":
        yield f"  risk: {case.risk}"


def _shown_run(case: Case) -> str:
    match case.run:
        case ("sh", "-c", line):
            return " ".join(line.split())
        case _:
            return shlex.join(case.run)


def _wrapped(text: str, indent: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)


def _requirements(requirements: Requirements) -> str:
    def shown(value: object) -> str:
        return str(value).lower() if isinstance(value, bool) else str(value)

    return ", ".join(
        f"{name} {' or '.join(shown(choice) for choice in value) if isinstance(value, tuple) else shown(value)}"
        for name, value in requirements.items()
    )


def _kind(suite: Suite) -> str:
    return suite.driver or f"scenario {suite.scenario}"


def _count(suite: Suite) -> str:
    return "listed" if suite.cases is None else str(len(suite.cases))


# ---- lint ----------------------------------------------------------------------------------------------------------


def mistakes_of(suite: Suite) -> Iterator[Problem]:
    """What would keep a case from running, beyond what the loader sees."""
    for case in suite.cases or ():
        yield from _program_mistakes(suite, case.run, f"case '{case.id}'", case.source)
    yield from _program_mistakes(suite, suite.listing, "the listing", f"{suite.folder}/suite.yaml")


def _program_mistakes(suite: Suite, run: tuple[str, ...], whose: str, source: str | None) -> Iterator[Problem]:
    place = _location(source)
    for name in _own_programs(run):
        file = Path(suite.folder) / name
        if ".." in Path(name).parts:
            yield Problem(
                message=f"{whose} runs '{name}', outside of the suite", hint="a suite is copied alone", location=place
            )
        elif not file.is_file():
            yield Problem(
                message=f"{whose} runs '{name}', which is not in the suite", hint="add the file", location=place
            )
        elif not os.access(file, os.X_OK):
            hint = f"chmod +x {shlex.quote(str(file))} && git add --chmod=+x {shlex.quote(str(file))}"
            yield Problem(message=f"{whose} runs '{name}', which is not executable", hint=hint, location=place)
        elif problem := _start_problem(file):
            yield Problem(message=f"{whose} runs '{name}', which {problem[0]}", hint=problem[1], location=place)


def _own_programs(run: tuple[str, ...]) -> list[str]:
    """Files of the suite that a command starts: its first word, or that of a plain shell line."""
    match run:
        case ("sh", "-c", line):
            words = line.split()[:1]
        case ("sh" | "bash" | "python3" | "perl", script, *_) if script.startswith("./"):
            return []  # read by an interpreter: needs no executable bit, and its absence shows at once
        case _:
            words = list(run[:1])
    return [word for word in words if word.startswith("./")]


def _start_problem(file: Path) -> tuple[str, str] | None:
    """Why the kernel would not start the file."""
    with file.open("rb") as stream:
        first, newline, _ = stream.read(_FIRST_BYTES).partition(b"\n")
    if first.startswith(b"\x7fELF"):
        return None
    if not first.startswith(b"#!"):
        return "has no '#!' line", "start it with #!/bin/sh"
    if newline and first.endswith(b"\r"):
        return "has Windows line ends", "end its lines with LF only"
    return None


def warnings_of(suite: Suite) -> Iterator[str]:
    """What works and is worth a look."""
    silent = [case.id for case in suite.cases or () if not case.description]
    if silent:
        yield f"{len(silent)} cases do not say what they prove ({', '.join(silent[:5])}): give each a description"
    commands = (suite.prepare, *(case.run for case in suite.cases or ()))
    used = {name.removeprefix("./") for command in commands for word in command for name in word.split()}
    if suite.cases is not None:
        folder = Path(suite.folder)
        for file in sorted(folder.iterdir()):
            if file.is_file() and os.access(file, os.X_OK) and file.name not in used:
                yield f"{file} is executable, and no case runs it"


def _location(source: str | None) -> Location | None:
    """``file:line:column`` as the loader writes it into a case."""
    if source is None:
        return None
    file, line, column = [*source.rsplit(":", 2), "", ""][:3]
    is_whole = line.isdigit() and column.isdigit()
    return Location(file=file, line=int(line), column=int(column)) if is_whole else Location(file=source)
