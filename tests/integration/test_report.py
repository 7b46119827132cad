"""The command as users and workflows call it: its files, its exit code, what it tells GitHub, and its memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from lisa_ci.github.limits import SUMMARY_BYTES
from lisa_ci.model import Outcome
from tests.doubles.evidence import make_plan, make_plan_file, make_result, results_of, write_leg
from tests.doubles.github_runner import read_log, read_outputs

# Runs the command in a process of its own and tells that process's peak memory (KiB) on its last line.
MEASURED = """
import re, sys
from pathlib import Path
from lisa_ci.cli import cli
exit = cli.main(sys.argv[1:], standalone_mode=False)
# Not ru_maxrss: that begins with the size of the process that started us.
print(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
sys.exit(exit)
"""


@dataclass(frozen=True)
class Desk:
    folder: Path

    @property
    def results(self) -> Path:
        return self.folder / "results"

    def report(self, *, code: str | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
        start = [sys.executable, "-m", "lisa_ci.cli"] if code is None else [sys.executable, "-c", code]
        plain = {key: value for key, value in os.environ.items() if not key.startswith(("GITHUB_", "RUNNER_"))}
        return subprocess.run(
            [*start, "report", "--plan", "plan.json", "--results", "results", "--out", "report"],
            cwd=self.folder,
            env={**plain, **environment},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    def written(self) -> list[str]:
        return sorted(path.name for path in (self.folder / "report").iterdir())


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_a_green_report_writes_three_files_and_exits_with_0(desk: Desk) -> None:
    plan, digest = make_plan_file(desk.folder / "plan.json")
    write_leg(desk.results, plan, "small")
    done = desk.report()
    assert (done.returncode, done.stdout) == (0, "example is green and releasable; 1 leg; 3 passed\n")
    assert desk.written() == ["junit.xml", "summary.md", "verdict.json"]
    assert json.loads((desk.folder / "report" / "verdict.json").read_text())["plan_digest"] == digest


def test_a_red_report_exits_with_1_and_tells_github_everything(desk: Desk) -> None:
    plan, _ = make_plan_file(desk.folder / "plan.json", make_plan(profiles=("small", "large")))
    hostile = "no\n::error::pwned\n##[set-output name=passed]true"
    bad = make_result("boot", "a", Outcome.FAILED, message=hostile, detail=hostile, file="a.sh", line=2)
    write_leg(desk.results, plan, "small", [bad, *results_of(plan, "small")[1:]])
    files = {name: desk.folder / name for name in ("output", "summary")}
    for file in files.values():
        file.touch()
    done = desk.report(
        GITHUB_ACTIONS="true",
        GITHUB_OUTPUT=str(files["output"]),
        GITHUB_STEP_SUMMARY=str(files["summary"]),
        GITHUB_WORKSPACE=str(desk.folder),
    )
    assert done.returncode == 1
    issued = read_log([*done.stdout.splitlines(), *done.stderr.splitlines()])
    assert [(one.name, one.properties.get("title")) for one in issued] == [
        ("error", "Not green: example"),
        ("error", "boot#a on small"),
        ("warning", "Infrastructure: missing leg, large"),
    ]
    assert issued[1].properties["file"] == "a.sh"
    assert read_outputs(files["output"].read_text()) == {
        "passed": "false",
        "releasable": "false",
        "verdict": "report/verdict.json",
    }
    assert files["summary"].read_text() == (desk.folder / "report" / "summary.md").read_text()


def test_one_leg_that_cannot_be_read_does_not_hide_the_others(desk: Desk) -> None:
    plan, _ = make_plan_file(desk.folder / "plan.json", make_plan(profiles=("broken", "small")))
    write_leg(desk.results, plan, "small", results_of(plan, "small", {"boot#a": Outcome.FAILED}))
    (write_leg(desk.results, plan, "broken") / "run.json").write_bytes(b"\xff{")
    done = desk.report()
    assert done.returncode == 1
    kinds = [reason["kind"] for reason in json.loads((desk.folder / "report" / "verdict.json").read_text())["reasons"]]
    assert kinds == ["unreadable", "missing-leg", "failed"]
    assert "Traceback" not in done.stderr


def test_links_and_pipes_in_the_results_are_neither_followed_nor_waited_for(desk: Desk) -> None:
    plan, _ = make_plan_file(desk.folder / "plan.json", make_plan(profiles=("linked", "piped", "small")))
    write_leg(desk.results, plan, "small")
    (desk.results / "linked").symlink_to("small")
    piped = write_leg(desk.results, plan, "piped") / "journal.ndjson"
    piped.unlink()
    os.mkfifo(piped)
    assert desk.report().returncode == 1
    reasons = json.loads((desk.folder / "report" / "verdict.json").read_text())["reasons"]
    assert [(reason["kind"], reason["leg"]) for reason in reasons][:2] == [
        ("unreadable", "piped"),
        ("missing-leg", "linked"),
    ]


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", b'{"schema": 2}'])
def test_a_plan_that_is_none_is_an_error_with_its_place(content: bytes, desk: Desk) -> None:
    (desk.folder / "plan.json").write_bytes(content)
    done = desk.report()
    assert done.returncode == 5
    assert "plan.json" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_folder_that_cannot_be_written_is_an_error_and_no_traceback(desk: Desk) -> None:
    plan, _ = make_plan_file(desk.folder / "plan.json")
    write_leg(desk.results, plan, "small")
    (desk.folder / "report").symlink_to("/proc/nothing")
    done = desk.report()
    assert done.returncode not in {0, 1}
    assert "cannot write the report" in done.stderr
    assert "Traceback" not in done.stderr


def test_memory_does_not_grow_with_the_results(desk: Desk) -> None:
    cases = [f"case-{number}" for number in range(2_000)]
    plan, _ = make_plan_file(desk.folder / "plan.json", make_plan(suites={"big": None}))
    detail = "x" * 100_000
    results = (make_result("big", case, Outcome.FAILED, detail=detail) for case in cases)
    write_leg(desk.results, plan, "small", results, inventory={"big": cases})
    assert (desk.results / "small" / "journal.ndjson").stat().st_size > 200_000_000
    done = desk.report(code=MEASURED)
    assert done.returncode == 1
    assert int(done.stdout.splitlines()[-1]) < 150 << 10
    assert (desk.folder / "report" / "summary.md").stat().st_size < SUMMARY_BYTES
