"""The demo, whole, as a user types it; and once more into the same folder."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

pytestmark = pytest.mark.alone

LISA_CI = Path(sys.executable).with_name("lisa-ci")
LIMIT_SECONDS = 1500  # on emulation, beside other tests; it takes three to five minutes alone


@dataclass(frozen=True, slots=True, kw_only=True)
class Demo:
    folder: Path
    seconds: float
    said: str


def run(folder: Path) -> Demo:
    started = time.monotonic()
    finished = subprocess.run(
        [LISA_CI, "demo"], cwd=folder, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False
    )
    assert finished.returncode == 0, finished.stderr[-4000:]
    return Demo(folder=folder / "lisa-ci-demo", seconds=time.monotonic() - started, said=finished.stderr)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    return run(tmp_path_factory.mktemp("demo"))


def test_the_layout_is_the_one_promised(demo: Demo, record_testsuite_property: Callable[[str, object], None]) -> None:
    record_testsuite_property("demo_first_seconds", demo.seconds)
    assert {path.name for path in demo.folder.iterdir()} == {
        ".lisa-ci-demo",
        "debian.qcow2",
        "lisa-ci.yml",
        "plan.json",
        "published",
        "release",
        "report",
        "results",
        "trusted-key.pub",
    }
    assert {"verdict.json", "junit.xml", "summary.md"} <= {path.name for path in (demo.folder / "report").iterdir()}
    plan = json.loads((demo.folder / "plan.json").read_text())
    assert sorted(leg["profile"]["firmware"] for leg in plan["legs"]) == ["bios", "uefi"]
    for leg in plan["legs"]:
        names = {path.name for path in (demo.folder / "results" / leg["id"]).iterdir()}
        assert {"run.json", "inventory.json", "journal.ndjson", "junit.xml", "console.log"} <= names


def test_the_verdict_is_green_and_counts_what_junit_counts(demo: Demo) -> None:
    verdict = json.loads((demo.folder / "report" / "verdict.json").read_text())
    assert verdict["passed"]
    assert verdict["releasable"]
    assert verdict["counts"]["passed"] > 100
    assert not verdict["counts"].get("failed")
    cases = list(ET.parse(demo.folder / "report" / "junit.xml").iter("testcase"))  # noqa: S314 - our own file
    other = {"failure", "error", "skipped"}
    passed = [case for case in cases if not other & {child.tag for child in case}]
    assert len(passed) == verdict["counts"]["passed"]


def test_the_last_words_are_the_report_and_a_command_that_verifies(demo: Demo) -> None:
    *_, report, verify = demo.said.strip().splitlines()
    assert "lisa-ci-demo/report/summary.md" in report
    words = shlex.split(verify.partition("verify it yourself: ")[2])
    assert words[:2] == ["lisa-ci", "verify"]
    finished = subprocess.run([LISA_CI, *words[1:]], cwd=demo.folder.parent, capture_output=True, check=False)
    assert finished.returncode == 0, finished.stderr


def test_what_was_published_verifies_and_nobody_holds_the_private_key(demo: Demo) -> None:
    latest = demo.folder / "published" / "latest"
    finished = subprocess.run(
        [LISA_CI, "verify", latest, "--key", demo.folder / "trusted-key.pub"], capture_output=True, check=False
    )
    assert finished.returncode == 0, finished.stderr
    assert b"PRIVATE KEY" not in b"".join(
        path.read_bytes() for path in demo.folder.rglob("*key*") if path.is_file() and not path.is_symlink()
    )


def test_a_release_with_one_changed_byte_does_not_verify(demo: Demo, tmp_path: Path) -> None:
    copy = tmp_path / "release"
    subprocess.run(["cp", "-a", "--sparse=always", demo.folder / "release", copy], check=True)
    (image,) = copy.glob("*.vhd")
    with image.open("r+b") as file:
        file.seek(200 << 20)
        byte = file.read(1)
        file.seek(200 << 20)
        file.write(bytes([byte[0] ^ 1]))
    finished = subprocess.run(
        [LISA_CI, "verify", copy, "--key", demo.folder / "trusted-key.pub"], capture_output=True, check=False
    )
    assert finished.returncode == 5
    assert image.name.encode() in finished.stderr


@pytest.mark.field
def test_a_second_run_replaces_the_first_and_its_time_is_recorded(
    demo: Demo, record_testsuite_property: Callable[[str, object], None]
) -> None:
    mine = demo.folder / "notes.txt"
    mine.write_text("mine")
    before = (demo.folder / "trusted-key.pub").read_text()
    second = run(demo.folder.parent)
    record_testsuite_property("demo_second_seconds", second.seconds)
    assert mine.read_text() == "mine"
    assert (demo.folder / "trusted-key.pub").read_text() != before
