"""A second attempt over a real sshd: a case that lost its connection runs again, everything else does not."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lisa_ci import files
from lisa_ci.errors import Loss
from lisa_ci.model import Outcome
from tests.doubles.openssh import sshd

PROGRAM = Path(sys.executable).with_name("lisa-ci")
# The third case kills the server's side of our connection, as a network that breaks would, unless `go` exists.
SUITE = """\
schema: 1
name: small
driver: shell
cases:
  - id: passes
    run: echo passes >> {ran}
  - id: fails
    run: echo fails >> {ran}; exit 1
  - id: lost
    run: |
      echo lost >> {ran}
      test -e {go} && exit 0
      process=$$
      until grep -q sshd /proc/$process/comm; do
        process=$(sed -n 's/^PPid:[[:space:]]*//p' /proc/$process/status)
      done
      kill -9 $process
      sleep 100
"""
PIPELINE = """\
name: loopback
access: {{user: {user}, way_in: key, key: {key}}}
profiles:
  - {{name: desk, platform: ssh, endpoint: {{host: 127.0.0.1, port: {port}, host_key: "{host_key}"}}}}
suites: [./small]
timeouts: {{boot: 30s, case: 120s, leg: 5m}}
"""


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Path]:
    """A folder with a plan whose one leg is this host."""
    (tmp_path / "small").mkdir()
    (tmp_path / "small/suite.yaml").write_text(SUITE.format(ran=tmp_path / "ran", go=tmp_path / "go"))
    with sshd(tmp_path) as login:
        text = PIPELINE.format(user=login.user, key=login.key, port=login.port, host_key=login.host_key)
        (tmp_path / "lisa-ci.yml").write_text(text)
        assert lisa_ci(tmp_path, "plan", "--out", "plan.json").returncode == 0
        yield tmp_path


def lisa_ci(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([PROGRAM, *arguments], cwd=folder, capture_output=True, text=True, timeout=300, check=False)


def test_the_second_attempt_runs_only_the_case_that_lost_its_connection(desk: Path) -> None:
    run = ("run", "desk", "--plan", "plan.json", "--out")
    first = lisa_ci(desk, *run, "1")
    assert first.returncode == 4, first.stderr
    assert "infrastructure: 1 case of leg desk not judged; small#lost" in first.stderr
    results = {result.case: result for result in files.read_journal(desk / "1/desk/journal.ndjson")}
    assert (results["lost"].outcome, results["lost"].loss) == (Outcome.ERRORED, Loss.CONNECTION)

    (desk / "go").touch()
    (desk / "ran").unlink()
    second = lisa_ci(desk, *run, "2", "--previous", "1")
    assert second.returncode == 0, second.stderr
    assert "2 results kept of earlier attempts; the rest runs" in second.stderr
    assert (desk / "ran").read_text() == "lost\n"
    leg = files.read_leg(desk / "2/desk")
    assert leg is not None
    assert (leg.run.attempt, leg.run.is_complete) == (2, True)
    assert {result.case: (result.outcome, result.note) for result in leg.results()} == {
        "passes": (Outcome.PASSED, "attempt 1"),
        "fails": (Outcome.FAILED, "attempt 1"),
        "lost": (Outcome.PASSED, ""),
    }

    third = lisa_ci(desk, *run, "3", "--previous", "2")
    assert third.returncode == 0, third.stderr
    assert "3 results kept of earlier attempts; nothing is left to run" in third.stderr
    assert (desk / "ran").read_text() == "lost\n"

    for number in (1, 2, 3):
        (desk / "all").mkdir(exist_ok=True)
        (desk / f"{number}/desk").rename(desk / f"all/lisa-ci-leg-desk-{number}")
    gate = lisa_ci(desk, "report", "--plan", "plan.json", "--results", "all", "--out", "report")
    assert gate.returncode == 1
    verdict = json.loads((desk / "report/verdict.json").read_text())
    assert [(reason["kind"], reason["case"]) for reason in verdict["reasons"]] == [("failed", "small#fails")]
    assert verdict["counts"] == {"passed": 2, "failed": 1, "errored": 0, "skipped": 0}
