"""What needs no answer of Azure loads nothing of its SDK: help, check, plan, sizes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SUITE = "schema: 1\nname: mine\ndriver: shell\ncases:\n  - {id: one, run: 'true'}\n"
PIPELINE = """\
name: mine
image:
  azure: debian:debian-12:12-gen2:0.20261101.1
  firmware: [uefi]
profiles: [azure-intel, azure-pair, azure-snp, {name: mine, from: azure-intel, azure: {spot: {}}}]
suites: [./suite]
"""
RUN = """\
import sys
from lisa_ci import cli
try:
    cli.cli(sys.argv[1:], standalone_mode=False)
finally:
    heavy = {"azure", "msal", "requests"}
    print(*sorted(name for name in sys.modules if name.partition(".")[0] in heavy), file=sys.stderr)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "suite").mkdir()
    (tmp_path / "suite" / "suite.yaml").write_text(SUITE)
    (tmp_path / "lisa-ci.yml").write_text(PIPELINE)
    return tmp_path


def run(folder: Path, *arguments: str) -> tuple[str, str]:
    """stdout, and the modules of the SDK that were loaded."""
    done = subprocess.run(
        [sys.executable, "-c", RUN, "--log", "plain", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return done.stdout, done.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    "arguments",
    [
        ("--help",),
        ("azure", "--help"),
        ("azure", "sizes", "--profile", "mine"),
        ("azure", "check"),
        ("check",),
        ("plan", "--matrix"),
    ],
    ids=" ".join,
)
def test_nothing_of_the_sdk_is_loaded(folder: Path, arguments: tuple[str, ...]) -> None:
    _, loaded = run(folder, *arguments)
    assert loaded == ""


def test_a_plan_of_azure_legs_names_the_exact_image_and_its_machines(folder: Path) -> None:
    told, _ = run(folder, "plan")
    plan = json.loads(told)
    assert plan["subject"]["cloud"]["name"] == "debian:debian-12:12-gen2:0.20261101.1"
    assert plan["subject"]["image"] is None
    assert [leg["id"] for leg in plan["legs"]] == ["azure-intel", "azure-pair", "azure-snp", "mine"]
    assert plan["legs"][3]["profile"]["azure"]["spot"] == {"max_price": "", "eviction": "delete"}
