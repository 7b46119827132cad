"""Debian's two kernels with the same image, on the same profile: what ``lisa-ci compare`` says of them.

Not part of CI, because its two machines and the unpacking of both packages take about five minutes where QEMU emulates.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lisa_ci import files
from tests.doubles import debian_kernels
from tests.doubles.demo_image import demo_image_path

LISA_CI = Path(sys.executable).with_name("lisa-ci")
PIPELINE = """\
name: two-kernels
image: {path: image.qcow2}
kernel: {from: kernel.deb, command_line: "console=ttyS0,115200 cryptomgr.notests"}
profiles:
  - name: mixed
    cores: 2
    memory_mib: 1024
    disks: [{bus: virtio, size_mib: 64}, {bus: scsi, size_mib: 64}, {bus: sata, size_mib: 64}]
    nics: [{model: e1000e}, {model: vmxnet3}]
suites:
  - boot
  - ./syscalls
timeouts: {boot: 15m, case: 5m, leg: 60m}
"""


def lisa_ci(folder: Path, *words: str | Path) -> str:
    done = subprocess.run([LISA_CI, *words], cwd=folder, stdout=subprocess.PIPE, text=True, timeout=3600, check=True)
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, keep: Callable[[str, str], None]) -> Path:
    root = tmp_path_factory.mktemp("kernels")
    for flavour in ("cloud-amd64", "amd64"):
        place = root / flavour
        place.mkdir()
        (place / "lisa-ci.yml").write_text(PIPELINE)
        (place / "image.qcow2").symlink_to(demo_image_path())
        (place / "kernel.deb").symlink_to(debian_kernels.package(flavour))
        shutil.copytree(files.shipped("suites") / "syscalls", place / "syscalls")
        subprocess.run(["make", "-s", "-C", place / "syscalls"], check=True, timeout=300)
        lisa_ci(place, "plan", "--out", "plan.json")
        lisa_ci(place, "run", "mixed", "--plan", "plan.json", "--out", "results")
    told = lisa_ci(root, "compare", "cloud-amd64/results/mixed", "amd64/results/mixed", "--format", "markdown")
    keep("two-kernels.md", told)
    return root


def compared(folder: Path, before: str, after: str) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(
        lisa_ci(folder, "compare", f"{before}/results/mixed", f"{after}/results/mixed", "--format", "json")
    )
    return told


def cases(told: dict[str, Any], change: str) -> set[str]:
    return {one["case"] for one in told["differences"] if one["change"] == change}


def test_what_the_cloud_kernel_has_no_driver_for_is_mended_by_the_whole_one(folder: Path) -> None:
    told = compared(folder, "cloud-amd64", "amd64")
    assert {"boot#data-disks", "boot#disk-buses", "boot#network-cards"} <= cases(told, "fixed")
    assert told["facts"]["kernel"][0].endswith("cloud-amd64")
    assert cases(told, "skip-reason") == set()
    assert told["same"] > 100


def test_the_other_way_round_the_same_cases_are_new_failures(folder: Path) -> None:
    there, back = compared(folder, "cloud-amd64", "amd64"), compared(folder, "amd64", "cloud-amd64")
    assert cases(there, "fixed") == cases(back, "broken")
    assert cases(there, "broken") == cases(back, "fixed")
