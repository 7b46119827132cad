"""The gate of a kernel module's repository: three pull requests that must not pass, on real kernels of Debian.

Each boots an image with a kernel that comes as a package, by lisa-ci's own initramfs, and runs the repository's tests
in it. What is told on GitHub names the line of source.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

import pytest

from lisa_ci import files, image
from lisa_ci.kernel import SourceLines
from tests.doubles import debian_kernels
from tests.doubles.act import run_act
from tests.doubles.demo_image import demo_image_path
from tests.integration import test_act
from tests.integration.test_act import COMMIT

LISA_CI = Path(sys.executable).with_name("lisa-ci")
REPOSITORY = Path(__file__).parents[1] / "fixtures/kernel-module-repo"
DELIVER = """\
#!/bin/sh
# The repository is built already, for kernels that its own job would fetch.
set -eu
mkdir -p "$1"
cp -RL image.qcow2 kernel.deb build "$1"
"""
ANNOTATION = re.compile(r"::error (?P<properties>[^:]*)::(?P<text>.*)")


lisa_ci_repository = test_act.lisa_ci_repository
wheelhouse = test_act.wheelhouse


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """What a pull request's pipeline left: the repository, the results by case, and what ``report`` said."""

    folder: Path
    results: dict[str, dict[str, object]]
    exit: int
    annotations: list[tuple[str, int, str]]
    console: str

    def failed(self) -> list[str]:
        return sorted(case for case, result in self.results.items() if result["outcome"] != "passed")


def lisa_ci(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [LISA_CI, *words],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
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


def gate(folder: Path, flavour: str, change: str) -> Gate:
    repository(folder, flavour, change)
    planned = lisa_ci(folder, "plan", "--out", "plan.json")
    assert planned.returncode == 0, planned.stderr
    ran = lisa_ci(folder, "run", "bios", "--plan", "plan.json", "--out", "results")
    assert ran.returncode == 0, ran.stderr
    words = ("--plan", "plan.json", "--results", "results", "--out", "report")
    told = lisa_ci(folder, "report", *words, GITHUB_ACTIONS="true", GITHUB_WORKSPACE=str(folder))
    journal = (folder / "results/bios/journal.ndjson").read_text().splitlines()
    results = [json.loads(line)["result"] for line in journal]
    return Gate(
        folder=folder,
        results={f"{result['suite']}#{result['case']}": result for result in results},
        exit=told.returncode,
        annotations=list(_annotations(told.stdout + told.stderr)),
        console=(folder / "results/bios/console.log").read_text(errors="replace"),
    )


def _annotations(text: str) -> list[tuple[str, int, str]]:
    """(file, line, text) of the errors that name a file."""
    found = []
    for line in text.splitlines():
        if command := ANNOTATION.match(line):
            given = dict(part.split("=", 1) for part in command["properties"].split(",") if "=" in part)
            if "file" in given:
                found.append((unquote(given["file"]), int(given.get("line", 0)), unquote(command["text"])))
    return found


def line_of(file: Path, text: str) -> int:
    [number] = [number for number, line in enumerate(file.read_text().splitlines(), start=1) if text in line]
    return number


def test_a_unit_test_that_fails_shuts_the_gate_and_is_annotated(tmp_path: Path) -> None:
    found = gate(tmp_path / "module", "cloud-amd64", "kunit-fails")
    assert found.exit == 1
    assert sorted(found.results) == ["kunit#widget_kunit", "selftest#add", "selftest#full", "selftest#garbage"]
    assert found.failed() == ["kunit#widget_kunit"]
    line = line_of(found.folder / "widget_kunit.c", "KUNIT_EXPECT_EQ(test, widget_largest(&widget), 40)")
    [(file, place, text)] = found.annotations
    assert (file, place) == ("widget_kunit.c", line)
    assert "widget_largest(&widget)" in text
    assert "Run /init as init process" in found.console
    assert "SYSLINUX" not in found.console


def test_a_selftest_that_fails_shuts_the_gate_of_the_workflow_that_init_writes(
    tmp_path: Path, lisa_ci_repository: Path, wheelhouse: Path
) -> None:
    """Under act: the build job, the plan, the leg and the gate, each in a working tree of its own."""
    caller = repository(tmp_path / "module", "cloud-amd64", "selftest-fails")
    line = line_of(caller / "tests/selftest/widget.c", "EXPECT_EQ(EINVAL, errno)")
    shutil.copy(caller / "lisa-ci.yml", tmp_path / "lisa-ci.yml")
    made = lisa_ci(caller, "init", ".", "--kernel-gate", "module", "--force", "--lisa-ci", f"lisa-ci/lisa-ci@{COMMIT}")
    assert made.returncode == 0, made.stderr
    shutil.copy(tmp_path / "lisa-ci.yml", caller / "lisa-ci.yml")
    (caller / "build-kernel.sh").write_text(DELIVER)
    workflow = caller / ".github/workflows/kernel-gate.yml"
    # act does not tell a called workflow where it comes from; servers that do not either use the same inputs.
    told = f"lisa-ci-repository: lisa-ci/lisa-ci\n      lisa-ci-ref: {COMMIT}\n      image-artifact: kernel"
    workflow.write_text(workflow.read_text().replace("image-artifact: kernel", told))
    run = run_act(
        caller,
        ".github/workflows/kernel-gate.yml",
        event="pull_request",
        payload={"pull_request": {"number": 7, "head": {"ref": "topic", "sha": COMMIT}, "base": {"ref": "main"}}},
        work=tmp_path / "work",
        repositories={"lisa-ci/lisa-ci": lisa_ci_repository, "module/widget": caller},
        environment={
            "GITHUB_REPOSITORY": "module/widget",
            "GITHUB_REF": "refs/pull/7/merge",
            "SHA_REF": COMMIT,
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(wheelhouse),
            "LISA_CI_CACHE": str(image.cache_folder()),  # the kernel need not be unpacked again
        },
    )
    assert run.exit != 0
    assert run.job_failed("gate"), run.text[-5000:]
    for job in ("kernel", "plan"):
        assert not run.job_failed(job), "\n".join(run.lines.get(job, ()))[-3000:]
    [found] = [each for each in run.annotations if each.level == "error" and "file" in each.properties]
    assert (found.properties["file"], found.properties["line"]) == ("tests/selftest/widget.c", str(line))
    assert "Expected EINVAL (22) == errno (5)" in found.message
    assert "selftest#garbage" in found.properties["title"]


def test_an_oops_shuts_the_gate_and_the_line_that_it_names_is_annotated(tmp_path: Path) -> None:
    """On the generic kernel, whose root file system's driver is a module."""
    found = gate(tmp_path / "module", "amd64", "oops")
    assert found.exit == 1
    assert found.failed() == ["selftest#full"]
    [(file, place, text)] = found.annotations
    assert (file, place) == ("widget.c", line_of(found.folder / "widget.c", "BUG_ON"))
    assert "kernel BUG in widget_write" in text
    assert "kernel BUG at" in found.console


def test_a_kernel_that_cannot_boot_the_machine_is_refused_before_one_is_made(tmp_path: Path) -> None:
    folder = repository(tmp_path / "module", "cloud-amd64", "oops")
    settings = (folder / "lisa-ci.yml").read_text().replace("console=ttyS0", "root=LABEL=elsewhere console=ttyS0")
    (folder / "lisa-ci.yml").write_text(settings)
    refused = lisa_ci(folder, "plan", "--out", "plan.json")
    assert refused.returncode == 2
    assert "root=LABEL=elsewhere means no partition of the image; it has /dev/vda2 (ext4 lisa-ci-demo" in refused.stderr


def test_an_oops_is_told_with_the_line_that_the_module_s_debug_information_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel names a function and an offset; the module that was delivered knows the line."""
    folder = repository(tmp_path / "module", "cloud-amd64", "oops")
    planned = lisa_ci(folder, "plan", "--out", "plan.json")
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
