"""The rules of the house, held by tests: layers, one door to each outside, names that resolve, docs that are true."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import click
import pytest
import yaml

from lisa_ci import cli, errors, registry
from tests import generate

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "lisa_ci"
ONE_DOOR = {
    "subprocess": {"process.py"},
    "paramiko": {"ssh/"},
    "rich": {"console.py"},
    "urllib": {"download.py"},
}


def modules() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        yield path.relative_to(PACKAGE).as_posix(), ast.parse(path.read_text())


def imported(tree: ast.Module) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Import():
                names.update(alias.name.partition(".")[0] for alias in node.names)
            case ast.ImportFrom(module=str(module)):
                names.add(module.partition(".")[0])
    return names


@pytest.mark.parametrize("library", sorted(ONE_DOOR))
def test_each_outside_has_one_door(library: str) -> None:
    users = {name for name, tree in modules() if library in imported(tree)}
    assert users
    assert all(name in ONE_DOOR[library] or name.partition("/")[0] + "/" in ONE_DOOR[library] for name in users), users


def test_only_the_boundary_catches_everything() -> None:
    broad = re.compile(r"except\s*(\(?.*\b(Exception|BaseException)\b.*|\s*):")
    places = {
        f"{path.relative_to(PACKAGE)}"
        for path in PACKAGE.rglob("*.py")
        for line in path.read_text().splitlines()
        if broad.search(line.partition("#")[0])
    }
    assert places == {"cli.py"}


def test_nothing_is_left_undone() -> None:
    marks = re.compile(r"raise NotImplementedError|\bTODO\b|\bFIXME\b|\bXXX\b")
    sources = [path for path in PACKAGE.rglob("*") if path.suffix in {".py", ".sh", ".yaml"}]
    assert sources
    assert not [str(path) for path in sources if marks.search(path.read_text())]


def test_layers_hold() -> None:
    finished = subprocess.run(
        [Path(sys.executable).with_name("lint-imports")], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, finished.stdout


def test_every_module_has_a_layer() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    members = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
    missing = {name for name in members - {"__init__"} if f"lisa_ci.{name}" not in text}
    assert not missing


@pytest.mark.parametrize(
    ("make", "names"),
    [
        (registry.platform, registry.PLATFORMS),
        (registry.driver, registry.DRIVERS),
        (registry.scenario, registry.SCENARIOS),
    ],
)
def test_every_registered_name_resolves(make: object, names: dict[str, str]) -> None:
    assert callable(make)
    for name in names:
        assert make(name) is not None


@pytest.mark.parametrize("name", sorted(cli._COMMANDS))
def test_every_command_has_help_for_every_option(name: str) -> None:
    command = import_module(f"lisa_ci.commands.{name}").command
    assert isinstance(command, click.Command)
    assert command.help
    commands = command.commands.values() if isinstance(command, click.Group) else [command]
    for one in commands:
        assert one.help, one.name
        for parameter in one.params:
            if isinstance(parameter, click.Option):
                assert parameter.help, f"{name} {one.name} {parameter.name}"


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys, lisa_ci.cli\n"
        "try: lisa_ci.cli.cli(['--help'], standalone_mode=False)\n"
        "finally: print(*sorted(m for m in sys.modules if '.' not in m), file=sys.stderr)"
    )
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(finished.stderr.split())
    assert not loaded & {"pydantic", "paramiko", "rich", "yaml", "cryptography", "qemu", "asyncio", "securesystemslib"}


def flags_of(command: click.Command) -> set[str]:
    return {flag for parameter in command.params for flag in [*parameter.opts, *parameter.secondary_opts]} | {"--help"}


def calls_of_lisa_ci(script: str) -> Iterator[tuple[list[str], set[str]]]:
    """Each ``lisa-ci verb ... --flag`` in a script: its words before the first option, and its long flags."""
    for line in re.sub(r"\\\n\s*", " ", script).splitlines():
        for call in re.findall(r"(?:^|[\s/\"'(])lisa-ci\"?((?:\s+[^|;&)>#]+)?)", line):
            words = call.split()
            verbs = [word for word in words[:2] if re.fullmatch(r"[a-z]+", word)]
            if verbs and verbs[0] in cli._COMMANDS:
                yield verbs, set(re.findall(r"(?<=\s)--[a-z][a-z-]*", " " + call))


def check_calls(script: str, place: str) -> int:
    count = 0
    for verbs, flags in calls_of_lisa_ci(script):
        command = import_module(f"lisa_ci.commands.{verbs[0]}").command
        if isinstance(command, click.Group) and len(verbs) > 1:
            assert verbs[1] in command.commands, f"{place}: no command '{' '.join(verbs)}'"
            command = command.commands[verbs[1]]
        unknown = flags - flags_of(command) - flags_of(cli.cli)
        assert not unknown, f"{place}: 'lisa-ci {' '.join(verbs)}' has no {unknown}"
        count += 1
    return count


def test_every_flag_that_the_action_and_the_workflows_pass_exists() -> None:
    files = [ROOT / "action.yml", *(ROOT / ".github/workflows").glob("*.yml"), *(ROOT / "templates").rglob("*.yml")]
    count = 0
    for path in files:
        for node in walk(yaml.safe_load(path.read_text())):
            if isinstance(node, dict) and isinstance(node.get("run"), str):
                count += check_calls(node["run"], path.name)
    assert count >= 5


def walk(value: object) -> Iterator[object]:
    yield value
    if isinstance(value, dict):
        for child in value.values():
            yield from walk(child)
    elif isinstance(value, list):
        for child in value:
            yield from walk(child)


@pytest.mark.parametrize("page", ["README.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md")))])
def test_every_command_in_the_docs_exists(page: str) -> None:
    for block in re.findall(r"```(?:console|sh|bash)?\n(.*?)```", (ROOT / page).read_text(), re.DOTALL):
        check_calls(block, page)


def test_every_exit_code_is_documented_and_has_one_meaning() -> None:
    values = [value for value in vars(errors).values() if isinstance(value, type)]
    classes = [value for value in values if issubclass(value, errors.LisaCiError)]
    codes: dict[int, set[str]] = {}
    for one in classes:
        root = next(base for base in one.__mro__ if "exit_code" in vars(base))
        codes.setdefault(one.exit_code, set()).add(root.__name__)
    assert all(len(names) == 1 for names in codes.values()), codes
    page = (ROOT / "docs/exit-codes.md").read_text()
    assert all(f"| {code} |" in page for code in codes)


def test_generated_files_are_fresh() -> None:
    assert generate.stale() == []
