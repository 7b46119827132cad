"""The gate of a kernel module's repository: three pull requests that must not pass, on real kernels of Debian.

Each boots an image with a kernel that comes as a package, by lisa-ci's own initramfs, and runs the repository's tests
in it. What is told on GitHub names the line of source.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from lisa_ci import files
from lisa_ci.kernel import SourceLines
from tests.doubles import debian_kernels, kernel_gate
from tests.doubles.demo_image import demo_image_path
from tests.integration import test_act

REPOSITORY = Path(__file__).parents[1] / "fixtures/kernel-module-repo"
DELIVER = """\
#!/bin/sh
# The repository is built already, for kernels that its own job would fetch.
set -eu
mkdir -p "$1"
cp -RL image.qcow2 kernel.deb build "$1"
"""


lisa_ci_repository = test_act.lisa_ci_repository
wheelhouse = test_act.wheelhouse


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A pull request of the repository that must not pass, the kernel it is for, and what is to be told of it."""

    name: str
    flavour: str
    failed: str
    file: str
    line: str
    told: str


CHANGES = (
    Change(
        name="kunit-fails",
        flavour="cloud-amd64",
        failed="kunit#widget_kunit",
        file="widget_kunit.c",
        line="KUNIT_EXPECT_EQ(test, widget_largest(&widget), 40)",
        told="widget_largest(&widget)",
    ),
    Change(
        name="selftest-fails",
        flavour="cloud-amd64",
        failed="selftest#garbage",
        file="tests/selftest/widget.c",
        line="EXPECT_EQ(EINVAL, errno)",
        told="Expected EINVAL (22) == errno (5)",
    ),
    Change(  # of the generic kernel the root file system's driver is a module
        name="oops",
        flavour="amd64",
        failed="selftest#full",
        file="widget.c",
        line="BUG_ON",
        told="kernel BUG in widget_write",
    ),
)


def repository(folder: Path, flavour: str, change: str) -> Path:
    """The repository with a pull request merged, built as its build job does, beside the kernel and the image."""
    shutil.copytree(REPOSITORY, folder)
    patch = (folder / f"pull-requests/{change}.patch").read_bytes()
    subprocess.run(["patch", "-s", "-p1"], input=patch, cwd=folder, check=True)
    core = debian_kernels.kunit(flavour)
    symbols = {**os.environ, "KUNIT_SYMBOLS": str(core / "Module.symvers")}
    subprocess.run(["./build.sh", debian_kernels.headers(flavour)], cwd=folder, env=symbols, check=True, timeout=300)
    shutil.copy(core / "kunit.ko", folder / "build")
    (folder / "kernel.deb").symlink_to(debian_kernels.package(flavour))
    (folder / "image.qcow2").symlink_to(demo_image_path())
    return folder


def line_of(file: Path, text: str) -> int:
    [number] = [number for number, line in enumerate(file.read_text().splitlines(), start=1) if text in line]
    return number


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.name)
def test_a_pull_request_that_breaks_the_module_shuts_the_gate_and_is_annotated(
    change: Change, tmp_path: Path, lisa_ci_repository: Path, wheelhouse: Path
) -> None:
    """Under act, by the workflow that ``init`` writes: the build job, the plan, the leg and the gate."""
    caller = repository(tmp_path / "module", change.flavour, change.name)
    pipeline = (caller / "lisa-ci.yml").read_text()
    kernel_gate.init(caller, "module")
    (caller / "lisa-ci.yml").write_text(pipeline)
    (caller / "build-kernel.sh").write_text(DELIVER)
    run, results = kernel_gate.run_workflow(
        caller, tmp_path / "work", lisa_ci_repository=lisa_ci_repository, wheelhouse=wheelhouse
    )
    assert run.exit != 0
    assert run.job_failed("gate"), run.text[-5000:]
    assert sorted(results.by_case) == ["kunit#widget_kunit", "selftest#add", "selftest#full", "selftest#garbage"]
    assert results.failed() == [change.failed]
    [found] = [each for each in run.annotations if each.level == "error" and "file" in each.properties]
    line = line_of(caller / change.file, change.line)
    assert (found.properties["file"], found.properties["line"]) == (change.file, str(line))
    assert change.told in found.message
    assert change.failed in found.properties["title"]
    assert "Run /init as init process" in results.console
    assert "SYSLINUX" not in results.console


def test_a_kernel_that_cannot_boot_the_machine_is_refused_before_one_is_made(tmp_path: Path) -> None:
    folder = repository(tmp_path / "module", "cloud-amd64", "oops")
    settings = (folder / "lisa-ci.yml").read_text().replace("console=ttyS0", "root=LABEL=elsewhere console=ttyS0")
    (folder / "lisa-ci.yml").write_text(settings)
    refused = kernel_gate.lisa_ci(folder, "plan", "--out", "plan.json")
    assert refused.returncode == 2
    assert "root=LABEL=elsewhere means no partition of the image; it has /dev/vda2 (ext4 lisa-ci-demo" in refused.stderr


def test_an_oops_is_told_with_the_line_that_the_module_s_debug_information_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel names a function and an offset; the module that was delivered knows the line."""
    folder = repository(tmp_path / "module", "cloud-amd64", "oops")
    planned = kernel_gate.lisa_ci(folder, "plan", "--out", "plan.json")
    assert planned.returncode == 0, planned.stderr
    kernel = files.read_plan(folder / "plan.json")[0].subject.kernel
    assert kernel is not None
    told = subprocess.run(
        ["objdump", "-d", "-l", folder / "build/widget.ko"], capture_output=True, text=True, check=True
    )
    place, offset = _an_instruction(told.stdout, "widget_sum")
    monkeypatch.chdir(folder)
    report = f"BUG: unable to handle page fault\nRIP: 0010:widget_sum+{offset:#x}/0x40 [widget]\n"
    assert SourceLines(kernel).place(report) == f"widget_sum at {place}"


def _an_instruction(listing: str, function: str) -> tuple[str, int]:
    """FILE:LINE and the offset of the last instruction of a function that has one."""
    found, place, start = ("", 0), "", None
    for line in listing.splitlines():
        if named := re.match(r"([0-9a-f]+) <(\w+)>:", line):
            start = int(named[1], 16) if named[2] == function else None
        elif start is not None and (told := re.match(r"(/\S+:\d+)(?: |$)", line)):
            place = told[1]
        elif start is not None and place and (code := re.match(r" *([0-9a-f]+):\t", line)):
            found = (place, int(code[1], 16) - start)
            place = ""
    assert found[0]
    return found
