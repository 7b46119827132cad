"""The crash demo, as a user types it: a suite panics, hangs and fills a real machine, and nothing is lost."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from lisa_ci.platforms.qemu import scratch

pytestmark = pytest.mark.alone

LISA_CI = Path(sys.executable).with_name("lisa-ci")
LIMIT_SECONDS = 1200  # on emulation, beside other tests; it takes two minutes alone


@dataclass(frozen=True, slots=True, kw_only=True)
class Demo:
    folder: Path
    code: int
    said: str

    def results(self) -> dict[str, dict[str, str]]:
        lines = (self.folder / "results/bios/journal.ndjson").read_text().splitlines()
        return {result["case"]: result for line in lines if (result := json.loads(line).get("result"))}


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    folder = tmp_path_factory.mktemp("crash")
    finished = subprocess.run(
        [LISA_CI, "demo", "--scenario", "crash"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
        check=False,
    )
    return Demo(folder=folder / "lisa-ci-demo", code=finished.returncode, said=finished.stderr)


def test_every_case_has_the_result_it_should_have(demo: Demo) -> None:
    assert demo.code == 0, demo.said[-4000:]
    assert {case: result["outcome"] for case, result in demo.results().items()} == {
        "before": "passed",
        "writes": "passed",
        "panics": "errored",
        "hangs": "errored",
        "fills-the-disk": "errored",
    }


def test_each_error_tells_its_cause(demo: Demo) -> None:
    results = demo.results()
    assert results["panics"]["loss"] == "panic"
    assert "panic" in results["panics"]["message"]
    assert results["hangs"]["loss"] == "silence"
    assert "disk full" in results["fills-the-disk"]["message"]


def test_one_machine_was_brought_back_twice(
    demo: Demo, record_testsuite_property: Callable[[str, object], None]
) -> None:
    run = json.loads((demo.folder / "results/bios/run.json").read_text())
    assert [recovery["case"].rpartition("#")[2] for recovery in run["recoveries"]] == ["panics", "hangs"]
    assert [stage["name"] for stage in run["stages"]].count("destroy") == 1
    record_testsuite_property("crash_demo_summary", demo.said.strip().splitlines()[-1])


def test_the_gate_says_no_and_the_last_words_tell_what_was_survived_and_how_long_it_took(demo: Demo) -> None:
    verdict = json.loads((demo.folder / "report/verdict.json").read_text())
    assert not verdict["passed"]
    assert not (demo.folder / "release").exists()
    last = demo.said.strip().splitlines()[-1]
    assert "nothing was lost: 2 passed, 3 errored; one machine, brought back" in last
    assert " s; " in last


def test_nothing_of_it_is_left_on_this_host(demo: Demo) -> None:
    links = [link for link in scratch.index_folder().glob("*") if link.is_symlink()]
    assert [link for link in links if demo.folder in link.readlink().parents] == []
    assert not list((demo.folder / "results").glob(".*.scratch"))
