"""A fresh run of the kernel's selftests in a QEMU machine, by lisa-ci and by their own ``run_kselftest.sh``.

Both run in the same machine, one after the other, and have to say the same of every program. Not part of CI: the run
takes about nine minutes where QEMU emulates. ``nox -s agreement`` runs it, and with ``-- --out FOLDER``
keeps the table of docs/kernel-gate.md.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from lisa_ci import files
from lisa_ci.drivers.kselftest import KselftestDriver
from lisa_ci.model import Outcome, Result, Suite
from tests.doubles.demo_image import field_image_path
from tests.doubles.selftests import selftests

LISA_CI = Path(sys.executable).with_name("lisa-ci")
LEAST = 90
LEFT_OUT = {
    "breakpoints.step_after_suspend_test": "it puts the machine to sleep",
    "cgroup.*": "they take minutes where QEMU emulates",
    "openat2.rename_attack_test": "it races for minutes where QEMU emulates",
    "pidfd.pidfd_test": "it starts processes until their numbers come round, which takes minutes where QEMU emulates",
    "prctl.disable-tsc-*stress-test": "it takes minutes where QEMU emulates",
    "rseq.param_test_benchmark": "it takes minutes where QEMU emulates",
    "rseq.run_param_test.sh": "it takes minutes where QEMU emulates",
    "seccomp.seccomp_benchmark": "it measures",
    "mqueue.mq_perf_tests": "it measures",
    "syscall_user_dispatch.sud_benchmark": "it measures",
    "timers.*": "they need a clock of real hardware",
}
PIPELINE = """\
name: agreement
image: {{path: image.qcow2}}
profiles:
  - {{name: small, from: bios-disk, cores: 2, memory_mib: 1536}}
suites:
  - {{suite: ./kselftest, skip: {skip}}}
  - ./upstream
timeouts: {{boot: 15m, case: 10m, leg: 60m}}
"""
UPSTREAM = """\
schema: 1
name: upstream
description: The same programs by kselftest's own runner; its lines are kept.
driver: shell
isolation: crash
cases: [{id: all, run: [./run], timeout: 60m}]
"""
# Its time limit is for hardware; the one in lisa-ci's listing is longer where the machine is slower.
RUN = r"""#!/bin/sh
read -r words <tests
cd ../kselftest/tree || exit 2
sed -i 's/^export kselftest_default_timeout=45$/export kselftest_default_timeout=450/' kselftest/runner.sh
# shellcheck disable=SC2086
./run_kselftest.sh -s $words 2>&1
"""
LINE = re.compile(r"^(not ok|ok) \d+ selftests: (\S+): (\S+)(?: # (SKIP|TIMEOUT .*|exit=\d+))?$", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """What the two said of one program."""

    case: str
    ours: Result
    theirs: Outcome
    said: str


def listed(archive: Path) -> list[str]:
    with tarfile.open(archive) as opened:
        file = opened.extractfile("kselftest/kselftest-list.txt")
        assert file is not None
        return file.read().decode().split()


def chosen(archive: Path) -> dict[str, str]:
    """Case id -> COLLECTION:TEST of what is run, as the driver names them."""
    suite = Suite(name="kselftest", folder="f", digest="d", driver="kselftest", listing=("./list",))
    cases = KselftestDriver().discover(suite, "\n".join(listed(archive)).encode())
    return {case.id: case.run[-1] for case in cases if not any(fnmatchcase(case.id, glob) for glob in LEFT_OUT)}


def pipeline(folder: Path) -> None:
    archive = selftests()
    shutil.copytree(files.shipped("suites") / "kselftest", folder / "kselftest")
    shutil.copy(archive, folder / "kselftest/kselftest.tar.gz")
    (folder / "image.qcow2").symlink_to(field_image_path())
    (folder / "upstream").mkdir()
    (folder / "upstream/suite.yaml").write_text(UPSTREAM)
    (folder / "upstream/tests").write_text(" ".join(f"-t {test}" for test in chosen(archive).values()) + "\n")
    (folder / "upstream/run").write_text(RUN)
    (folder / "upstream/run").chmod(0o755)
    skip = ", ".join(f'"{glob}": "{why}"' for glob, why in LEFT_OUT.items())
    (folder / "lisa-ci.yml").write_text(PIPELINE.format(skip=f"{{{skip}}}"))


def lisa_ci(folder: Path, *words: str) -> None:
    subprocess.run([LISA_CI, *words], cwd=folder, env=os.environ, timeout=3900, check=True)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory, keep: Callable[[str, str], None]) -> list[Pair]:
    folder = tmp_path_factory.mktemp("agreement")
    pipeline(folder)
    lisa_ci(folder, "plan", "--out", "plan.json")
    lisa_ci(folder, "run", "small", "--plan", "plan.json", "--out", "results")
    leg = files.LegFolder(folder / "results/small")
    results = {result.key: result for result in files.read_journal(leg.journal)}
    said = {}
    for ok, collection, program, why in LINE.findall(leg.case_log("upstream", "all").read_text(errors="replace")):
        outcome = Outcome.FAILED if ok != "ok" else Outcome.SKIPPED if why == "SKIP" else Outcome.PASSED
        said[f"{collection}:{program}"] = (outcome, why)
    found = []
    for case, test in chosen(selftests()).items():
        theirs, why = said[f"{test.partition(':')[0]}:{test.rpartition(':')[2].rpartition('/')[2]}"]
        found.append(Pair(case=case, ours=results[f"kselftest#{case}"], theirs=theirs, said=why))
    keep("kselftest.md", table([pair.ours for pair in found]))
    return found


def table(results: list[Result]) -> str:
    """The run in Markdown: how many, and why those that did not pass."""
    counts = Counter(result.outcome for result in results)
    lines = [f"{len(results)} programs: " + ", ".join(f"{counts[outcome]} {outcome}" for outcome in Outcome), ""]
    lines += ["| Case | Outcome | Why |", "| --- | --- | --- |"]
    for result in sorted(results, key=lambda result: (result.outcome, result.case)):
        if result.outcome is not Outcome.PASSED:
            lines.append(f"| `{result.case}` | {result.outcome} | {result.message.replace('|', '¦')} |")
    return "\n".join(lines) + "\n"


def is_meant(pair: Pair) -> bool:
    """The two differences of docs/drivers.md: a test that needs what the kernel was built without is skipped, and a
    program that prints a failure and exits 0 all the same has failed.
    """
    ours = pair.ours
    lacks = ours.outcome is Outcome.SKIPPED and "which this kernel lacks" in ours.message
    hidden = ours.outcome is Outcome.FAILED and ours.exit == 0 and "not ok" in ours.detail
    return (lacks and pair.theirs is Outcome.FAILED) or (hidden and pair.theirs is Outcome.PASSED)


def test_lisa_ci_and_run_kselftest_say_the_same_of_every_program(pairs: list[Pair]) -> None:
    assert len(pairs) >= LEAST
    differing = {}
    for pair in pairs:
        if pair.ours.outcome is not pair.theirs and not is_meant(pair):
            ours = f"{pair.ours.outcome} ({pair.ours.message})"
            differing[pair.case] = f"{ours}, run_kselftest.sh: {pair.theirs} {pair.said}"
    assert differing == {}


def test_every_program_that_failed_points_into_the_tree(pairs: list[Pair]) -> None:
    failed = [pair.ours for pair in pairs if pair.ours.outcome is Outcome.FAILED]
    assert all((result.file or "").startswith("tools/testing/selftests/") for result in failed)
