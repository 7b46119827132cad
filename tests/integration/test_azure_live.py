"""What only a subscription can show, in the one that the environment names: see docs/azure-live.md. Never run in CI."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(sys.executable).with_name("lisa-ci")
SUITE = """\
schema: 1
name: small
description: One case.
driver: shell
cases:
  - {id: root, run: 'test "$(id -u)" = 0'}
"""
PIPELINE = """\
name: live
image: {image}
access: {{user: lisa, become: sudo}}
profiles: [azure-intel]
suites: [{{suite: ./small}}]
"""

pytestmark = pytest.mark.live


@pytest.fixture(autouse=True)
def _subscription() -> None:
    assert os.environ.get("AZURE_SUBSCRIPTION_ID"), "AZURE_SUBSCRIPTION_ID names the subscription"


def lisa_ci(folder: Path, *words: str) -> str:
    ended = subprocess.run([PROGRAM, *words], cwd=folder, capture_output=True, text=True, timeout=3600, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def test_the_doctor_finds_every_right(tmp_path: Path) -> None:
    assert "MISSING" not in lisa_ci(tmp_path, "doctor", "azure")


@pytest.mark.parametrize("kind", ["marketplace", "local"])
def test_a_leg_runs_and_leaves_nothing(tmp_path: Path, kind: str, demo_image: Path) -> None:
    image = f"{{path: {demo_image}}}" if kind == "local" else "{azure: 'Debian:debian-12:12-gen2:latest'}"
    (tmp_path / "small").mkdir()
    (tmp_path / "small/suite.yaml").write_text(SUITE)
    (tmp_path / "lisa-ci.yml").write_text(PIPELINE.format(image=image))
    lisa_ci(tmp_path, "plan", "--out", "plan.json")
    lisa_ci(tmp_path, "run", "azure-intel", "--plan", "plan.json", "--out", "results", "--fail-on", "failed")
    run = json.loads((tmp_path / "results/azure-intel/run.json").read_text())
    assert [receipt["left"] for receipt in run["receipts"]] == [[]]


def test_a_sweep_finds_nothing_of_ours(tmp_path: Path) -> None:
    assert lisa_ci(tmp_path, "sweep", "--platform", "azure", "--dry-run") == ""
