"""The profile ``arm64`` on a real machine: an image for aarch64 is planned, booted and judged, from start to end.

Such a machine is emulated here and takes minutes: ``nox -s field``. The packages that are needed beside
.ci/packages.txt: qemu-system-arm, qemu-efi-aarch64.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import pytest

from lisa_ci import files
from lisa_ci.errors import NothingToDoError
from lisa_ci.model import Outcome
from tests.doubles.arm64_image import arm64_image_path
from tests.integration.test_syscalls_suite import build

pytestmark = pytest.mark.field
LISA_CI = (sys.executable, "-m", "lisa_ci.cli")
PIPELINE = """\
name: arm64
image: {{path: "{image}", arch: {arch}, firmware: [uefi]}}
profiles: [arm64]
suites: [boot, ./syscalls, topology]
timeouts: {{boot: 20m, case: 10m, leg: 2h, silence: 5m}}
"""
LIMIT = timedelta(hours=2)

# What is not passed, and why: of a kernel 6.1 with Debian's configuration, on a machine of QEMU's.
SKIPPED = {
    "syscalls#numbers-x86": "needs arch x86_64",
    "syscalls#fchmodat2": "is older than 6.6",
    "syscalls#setxattrat": "is older than 6.13",
    "syscalls#map_shadow_stack": "is older than 6.13",
    "syscalls#cachestat": "is older than 6.5",
    "syscalls#file_getattr": "is older than 6.17",
    "syscalls#mseal": "is older than 6.10",
    "syscalls#futex_wait": "is older than 6.7",
    "syscalls#statmount": "is older than 6.8",
    "syscalls#listmount": "is older than 6.8",
    "syscalls#lsm_list_modules": "is older than 6.8",
    "syscalls#lsm_get_self_attr": "is older than 6.8",
    **dict.fromkeys(("boot#data-disks", "boot#disk-buses", "boot#disk-sizes", "boot#disk-writes"), "needs disks >= 1"),
    "boot#swap": "/etc/fstab declares no swap",
    "boot#time-service": "no time service is enabled",
    "topology#caches": "the firmware tells no size of a cache",
    "topology#gigantic-pages": "less than 2.5 GiB of memory are available",
    "topology#balloon-driver": "the machine has no balloon",
}
FAILED: dict[str, str] = {}


def lisa_ci(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*LISA_CI, *words], cwd=folder, capture_output=True, text=True, timeout=LIMIT.total_seconds(), check=False
    )


def plan(folder: Path, arch: str) -> subprocess.CompletedProcess[str]:
    (folder / "lisa-ci.yml").write_text(PIPELINE.format(image=arm64_image_path(), arch=arch))
    return lisa_ci(folder, "plan", "--out", "plan.json")


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> files.LegEvidence:
    """What the leg left behind; its program for the suite ``syscalls`` is built on this host."""
    folder = tmp_path_factory.mktemp("arm64")
    shutil.copytree(files.shipped("suites") / "syscalls", folder / "syscalls")
    build(folder / "syscalls/build", "CC=aarch64-linux-gnu-gcc", suite=folder / "syscalls")
    planned = plan(folder, "aarch64")
    assert planned.returncode == 0, planned.stderr
    ran = lisa_ci(folder, "run", "arm64", "--plan", "plan.json", "--out", "results")
    assert ran.returncode == 0, ran.stderr[-6000:]
    found = files.read_leg(folder / "results/arm64")
    assert found is not None
    return found


def test_the_machine_is_of_aarch64_as_it_says_itself(evidence: files.LegEvidence) -> None:
    facts = evidence.run.facts
    assert (facts["machine"], facts["cores"]) == ("aarch64", "2")
    assert facts["kernel"].endswith("-cloud-arm64")
    assert facts["cpu"] == "Neoverse-N1", "of a processor that /proc/cpuinfo names by numbers alone"
    assert "console=" not in facts["command_line"]


def test_every_case_has_a_result_and_none_errored(evidence: files.LegEvidence) -> None:
    run = evidence.run
    assert (run.is_complete, run.error, run.recoveries, run.findings) == (True, "", (), ())
    planned = files.read_plan(evidence.folder.parents[1] / "plan.json")[0]
    cases = [f"{suite.name}#{case}" for suite in planned.suites for case in suite.cases or ()]
    assert sorted(result.key for result in evidence.results()) == sorted(cases)
    assert [result for result in evidence.results() if result.outcome is Outcome.ERRORED] == []


@pytest.mark.parametrize(("outcome", "known"), [(Outcome.FAILED, FAILED), (Outcome.SKIPPED, SKIPPED)])
def test_what_is_not_passed_is_known_by_its_reason(
    evidence: files.LegEvidence, outcome: Outcome, known: Mapping[str, str]
) -> None:
    found = {result.key: result.message for result in evidence.results() if result.outcome is outcome}
    assert found.keys() == known.keys(), found
    assert {key: message for key, message in found.items() if known[key] not in message} == {}


def test_the_console_is_the_one_that_the_firmware_names(evidence: files.LegEvidence) -> None:
    console = files.LegFolder(evidence.folder).console.read_text(errors="replace")
    assert "UEFI firmware (version" in console
    assert "Booting Linux on physical CPU" in console
    assert "ACPI: SPCR: console: pl011" in console
    assert "ttyAMA0" in console
    assert "login: " in console


def test_an_image_for_another_architecture_is_refused_by_the_plan(tmp_path: Path) -> None:
    shutil.copytree(files.shipped("suites") / "syscalls", tmp_path / "syscalls")
    refused = plan(tmp_path, "x86_64")
    assert refused.returncode == NothingToDoError.exit_code
    assert "the image is for x86_64, the profile gives aarch64" in refused.stderr
