"""``lisa-ci run`` as people call it, over a real sshd on loopback."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lisa_ci import files
from lisa_ci.model import Outcome, Result
from tests.doubles.openssh import sshd

PROGRAM = Path(sys.executable).with_name("lisa-ci")
SUITE = """\
schema: 1
name: small
description: A suite for tests.
driver: shell
environment: {GREETING: hello}
cases:
  - id: passes
    run: 'test "$GREETING $LISA_CI_CORES" = "hello 3"'
  - id: fails
    run: [./check.sh, "3"]
  - id: skips
    run: 'echo "no such device"; exit 77'
  - id: floods
    run: 'head -c 1000000000 /dev/zero; exit 1'
"""
LISTED = """\
schema: 1
name: listed
description: Its cases are known in the machine only.
driver: shell
listing: [sh, -c, 'printf "one\\ttrue\\ntwo\\tfalse\\nthree\\ttrue\\n"']
"""
PIPELINE = """\
name: loopback
access: {{user: {user}, way_in: key, key: {key}}}
profiles:
  - name: desk
    platform: ssh
    cores: 3
    endpoint: {{host: 127.0.0.1, port: {port}, host_key: "{host_key}"}}
suites:
  - suite: ./small
    skip: {{skips: not today}}
  - suite: ./listed
timeouts: {{boot: 60s, case: 120s, leg: 10m}}
"""


class Workshop:
    """A folder with a pipeline whose one leg is this host."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.results = folder / "results" / "desk"

    def lisa_ci(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [PROGRAM, *arguments], cwd=self.folder, capture_output=True, text=True, timeout=300, check=False
        )

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [PROGRAM, *arguments], cwd=self.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def outcomes(self) -> dict[str, Outcome]:
        return {result.key: result.outcome for result in self.journal()}

    def journal(self) -> list[Result]:
        return list(files.read_journal(self.results / "journal.ndjson"))

    def run(self) -> dict[str, object]:
        return dict(json.loads((self.results / "run.json").read_text()))

    def write_suite(self, name: str, text: str) -> None:
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        (folder / "suite.yaml").write_text(text)
        told = f"pwd >>'{self.folder}/where'"
        (folder / "check.sh").write_text(f'#!/bin/sh\necho "the answer is $1"\n{told}\nexit "$1"\n')
        (folder / "check.sh").chmod(0o755)

    def runner(self) -> str:
        """The name of the last installation, by which its runner is known among others on this host."""
        return re.findall(r"lisa-ci-[0-9a-f]{12}", (self.folder / "where").read_text())[-1]

    def plan(self) -> None:
        finished = self.lisa_ci("plan", "--out", "plan.json")
        assert finished.returncode == 0, finished.stderr


@pytest.fixture
def workshop(tmp_path: Path) -> Iterator[Workshop]:
    with sshd(tmp_path) as login:
        workshop = Workshop(tmp_path)
        workshop.write_suite("small", SUITE)
        workshop.write_suite("listed", LISTED)
        (tmp_path / "lisa-ci.yml").write_text(
            PIPELINE.format(user=login.user, key=login.key, port=login.port, host_key=login.host_key)
        )
        workshop.plan()
        yield workshop


ALL = {
    "small#passes": Outcome.PASSED,
    "small#fails": Outcome.FAILED,
    "small#skips": Outcome.SKIPPED,
    "small#floods": Outcome.FAILED,
    "listed#one": Outcome.PASSED,
    "listed#two": Outcome.FAILED,
    "listed#three": Outcome.PASSED,
}


def runners() -> set[str]:
    """The names of those that run on this host, or have a folder."""
    lines = [read_quietly(path) for path in Path("/proc").glob("[0-9]*/cmdline")]
    running = [name.decode() for line in lines for name in re.findall(rb"(lisa-ci-[0-9a-f]{12})/runner\.sh", line)]
    folders = [*Path("/run").glob("lisa-ci-run.*"), *Path("/dev/shm").glob("lisa-ci-run.*")]
    return {*running, *(folder.name.removeprefix("lisa-ci-run.") for folder in folders)}


def assert_gone(runner: str) -> None:
    """The runner sees within a second or two that its host has gone, and leaves nothing."""
    for _ in range(100):
        if runner not in runners():
            return
        time.sleep(0.1)
    raise AssertionError(f"{runner} is still there")


def read_quietly(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def peak_memory_mib(workshop: Workshop, *arguments: str) -> tuple[int, float]:
    """Exit code and the highest resident size of the program itself.

    The kernel's own mark (VmHWM) is read while it runs: ``ru_maxrss`` begins with the size of the process that started
    it, which is that of all the tests before this one.
    """
    process = workshop.start(*arguments)
    highest = 0
    while process.poll() is None:
        found = re.search(rb"VmHWM:\s+(\d+) kB", read_quietly(Path(f"/proc/{process.pid}/status")))
        highest = max(highest, int(found[1]) if found else 0)
        time.sleep(0.02)
    assert highest > 0
    return process.returncode, highest / 1024


def test_a_leg_leaves_everything_a_report_needs_in_bounded_memory(workshop: Workshop) -> None:
    code, memory = peak_memory_mib(workshop, "run", "desk", "--plan", "plan.json", "--out", "results")
    assert code == 0
    assert workshop.outcomes() == ALL
    assert len(workshop.journal()) == len(ALL)
    assert memory < 150
    run = workshop.run()
    assert run["is_complete"] is True
    assert run["error"] == ""
    stages = [stage["name"] for stage in run["stages"]]  # type: ignore[attr-defined]
    assert stages == ["provision", "prepare", "inventory", "cases", "collect", "destroy"]
    assert run["facts"]["kernel"] == os.uname().release  # type: ignore[index]
    inventory = json.loads((workshop.results / "inventory.json").read_text())["suites"]
    assert inventory == {"small": ["passes", "fails", "skips", "floods"], "listed": ["one", "two", "three"]}
    assert (workshop.results / "cases/small/fails.log").read_text() == "the answer is 3\n"
    assert (workshop.results / "cases/small/floods.log").stat().st_size < 140_000
    assert b"<testcase" in (workshop.results / "junit.xml").read_bytes()
    assert (workshop.results / "telemetry" / "os-release.txt").stat().st_size > 0
    assert "case small#fails failed" in (workshop.results / "lisa-ci.log").read_text()
    assert workshop.runner() not in runners()
    assert not Path("/var/tmp", workshop.runner()).exists()

    report = workshop.lisa_ci("report", "--plan", "plan.json", "--results", "results", "--out", "report")
    assert report.returncode == 1, report.stderr


def test_on_a_desk_a_failed_case_is_an_exit_code_and_a_line_to_repeat_it(workshop: Workshop) -> None:
    arguments = ("--plan", "plan.json", "--out", "results", "--fail-on", "failed")
    finished = workshop.lisa_ci("run", "desk", *arguments, "--case", "small#fails")
    assert finished.returncode == 1, finished.stderr
    assert "lisa-ci run desk --plan plan.json --out reproduce --case 'small#fails' --keep" in finished.stderr
    assert workshop.outcomes() == {"small#fails": Outcome.FAILED}
    assert workshop.run()["only"] == ["small#fails"]

    finished = workshop.lisa_ci("run", "desk", *arguments, "--case", "small#p*")
    assert finished.returncode == 0, finished.stderr


def test_an_interrupted_run_has_one_result_per_case_and_can_be_resumed(workshop: Workshop) -> None:
    slow = SUITE.replace("head -c 1000000000 /dev/zero; exit 1", "test -e go && exit 1; touch waiting; sleep 600")
    workshop.write_suite(
        "small",
        slow.replace("test -e go", f"test -e {workshop.folder}/go").replace(
            "touch waiting", f"touch {workshop.folder}/waiting"
        ),
    )
    workshop.plan()
    process = workshop.start("run", "desk", "--plan", "plan.json", "--out", "results")
    for _ in range(600):
        if (workshop.folder / "waiting").exists():
            break
        time.sleep(0.1)
    other = workshop.lisa_ci("run", "desk", "--plan", "plan.json", "--out", "results")
    assert other.returncode == 2
    assert "another run writes leg desk" in other.stderr

    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 143
    assert_gone(workshop.runner())
    interrupted = workshop.outcomes()
    assert interrupted["small#floods"] is Outcome.ERRORED
    assert interrupted["listed#one"] is Outcome.ERRORED or "listed#one" not in interrupted
    assert workshop.run()["is_complete"] is False

    (workshop.folder / "go").touch()
    finished = workshop.lisa_ci("run", "desk", "--plan", "plan.json", "--out", "results", "--resume")
    assert finished.returncode == 0, finished.stderr
    assert workshop.outcomes() == ALL
    assert len(workshop.journal()) == len(ALL)
    assert workshop.run()["is_complete"] is True


def test_what_is_not_as_planned_is_refused_before_anything_runs(workshop: Workshop) -> None:
    run = ("run", "desk", "--plan", "plan.json", "--out", "results")
    wrong_digest = workshop.lisa_ci(*run, "--expect-digest", "0" * 64)
    assert wrong_digest.returncode == 5
    assert "the plan has digest" in wrong_digest.stderr
    unknown = workshop.lisa_ci("run", "dask", *run[2:])
    assert unknown.returncode == 2
    assert "did you mean 'desk'?" in unknown.stderr
    no_case = workshop.lisa_ci(*run, "--case", "fails")
    assert no_case.returncode == 2
    assert "has no '#'" in no_case.stderr
    workshop.write_suite("small", SUITE.replace("hello 3", "hello 4"))
    changed = workshop.lisa_ci(*run)
    assert changed.returncode == 5
    assert "suite small is not the one that was planned" in changed.stderr
    assert not workshop.results.exists()


def test_a_machine_that_is_not_there_gives_errored_results_and_exit_4(workshop: Workshop) -> None:
    pipeline = workshop.folder / "lisa-ci.yml"
    text = pipeline.read_text()
    port = text.split("port: ")[1].split(",")[0]
    pipeline.write_text(text.replace(f"port: {port}", "port: 1").replace("boot: 60s", "boot: 2s"))
    workshop.plan()
    finished = workshop.lisa_ci("run", "desk", "--plan", "plan.json", "--out", "results")
    assert finished.returncode == 4, finished.stderr
    assert workshop.outcomes() == {
        "small#passes": Outcome.ERRORED,
        "small#fails": Outcome.ERRORED,
        "small#skips": Outcome.SKIPPED,
        "small#floods": Outcome.ERRORED,
    }
    assert workshop.run()["is_complete"] is True
    assert workshop.run()["error"]
    assert (workshop.results / "junit.xml").exists()
