"""The action, the workflows and the shell scripts, read by the tools that their users read them with."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from lisa_ci import cli

ROOT = Path(__file__).parent.parent.parent
TOOLS = Path(sys.executable).parent
WORKFLOWS = [
    path
    for folder in (".github/workflows", "templates/workflows", "templates/azure")
    for path in sorted((ROOT / folder).glob("*.yml"))
]
SCRIPTS = [
    ROOT / ".ci/run",
    *sorted((ROOT / ".github/action").glob("*.sh")),
    *sorted((ROOT / "lisa_ci").rglob("*.sh")),
    *sorted((ROOT / "templates/kernel-gate").glob("*.sh")),
    *(ROOT / "suites/kunit" / name for name in ("list", "run")),
]


def run(*command: str | Path, directory: Path = ROOT) -> None:
    finished = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=120, check=False)
    assert finished.returncode == 0, finished.stdout + finished.stderr


@pytest.fixture(scope="module")
def initialised(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository as ``init`` leaves it."""
    folder = tmp_path_factory.mktemp("repository")
    made = CliRunner().invoke(cli.cli, ["init", str(folder), "--lisa-ci", f"lisa-ci/lisa-ci@{'a' * 40}"])
    assert made.exit_code == 0
    gate = ["init", str(folder), "--kernel-gate", "tree", "--force", "--lisa-ci", f"lisa-ci/lisa-ci@{'a' * 40}"]
    assert CliRunner().invoke(cli.cli, gate).exit_code == 0
    return folder


def test_actionlint_finds_nothing(initialised: Path) -> None:
    run(TOOLS / "actionlint", "-no-color", "-shellcheck", TOOLS / "shellcheck", *WORKFLOWS)
    run(TOOLS / "actionlint", "-no-color", *sorted((initialised / ".github/workflows").glob("*.yml")))


def test_the_schemas_hold() -> None:
    run(TOOLS / "check-jsonschema", "--builtin-schema", "vendor.github-workflows", *WORKFLOWS)
    run(TOOLS / "check-jsonschema", "--builtin-schema", "vendor.github-actions", "action.yml")


def test_zizmor_finds_nothing_but_our_own_checkout(initialised: Path) -> None:
    options = ("--pedantic", "--offline", "--no-progress", "--format", "plain")
    run(TOOLS / "zizmor", *options, "--strict-collection", ROOT / "action.yml", ROOT / ".github/workflows")
    run(TOOLS / "zizmor", *options, initialised)
    text = "".join(path.read_text() for path in [ROOT / "action.yml", *WORKFLOWS])
    assert text.count("zizmor: ignore[") == text.count("zizmor: ignore[self-repository]")


def test_shellcheck_finds_nothing() -> None:
    assert len(SCRIPTS) >= 4
    run(TOOLS / "shellcheck", *SCRIPTS)
