"""A whole leg on Azure whose machine is real: QEMU boots the disk that was uploaded, as the deployed bodies say.

GitHub's OIDC, Entra and ARM are the doubles over TLS; storage is Azurite.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from lisa_ci import files
from lisa_ci.model import Category, Outcome
from tests.doubles.azure.arm import Arm
from tests.doubles.azure.disks import UploadedDisks
from tests.doubles.azure.qemu_machines import QemuMachines
from tests.doubles.azure.server import Served
from tests.doubles.azure.world import azure_on_loopback
from tests.doubles.azurite import Azurite, azurite
from tests.doubles.demo_image import demo_image_path

PROGRAM = Path(sys.executable).with_name("lisa-ci")
PIPELINE = """\
name: distro
image: {{path: {image}}}
profiles:
  - name: azure
    platform: azure
    memory_mib: 512
    disks: [{{size_mib: 2048, bus: scsi}}]
    nics: [{{outbound: false}}]
    azure: {{sizes: [Standard_D2s_v5], regions: [westeurope]}}
suites:
  - suite: ./deployed
timeouts: {{boot: 8m, case: 180s, leg: 20m}}
"""
SUITE = r"""
schema: 1
name: deployed
description: The machine is what was deployed; the last case is its end.
driver: shell
cases:
  - id: name
    run: |
      is=$(hostname)
      [ "$is" = m0 ] || { echo "FAIL: it is called $is, not m0"; exit 1; }
  - id: login
    run: |
      is=$(cat /run/cloud-init/cloud-id) users=$(grep -c lisaci /etc/passwd)
      [ "$is $users" = "nocloud 0" ] || { echo "FAIL: made by $is, with $users users more"; exit 1; }
  - id: data-disk
    run: |
      is=$(lsblk -bdnro HCTL,SIZE | grep -v '^ ')
      [ "${is#*:}" = "0:0:0 2147483648" ] || { echo "FAIL: SCSI disks are '$is', not one of 2 GiB at LUN 0"; exit 1; }
  - id: nics
    run: |
      is=$(cat /sys/class/net/e*/address | cut -d : -f 1-3 | tr '\n' ' ')
      [ "$is" = "00:0d:3a 00:0d:3a " ] || { echo "FAIL: the NICs are '$is', not two of Azure's"; exit 1; }
  - id: no-way-out
    run: |
      ! ping -c 1 -W 2 192.0.2.1 || { echo "FAIL: something answered"; exit 1; }
  - id: console
    run: 'echo "told by case $(id -un)" > /dev/kmsg'
  - id: panic
    risk: crash
    expects: [panic]
    run: 'echo c > /proc/sysrq-trigger; sleep 120'
"""


@dataclass
class Lab:
    folder: Path
    arm: Arm
    served: Served
    storage: Azurite
    machines: QemuMachines

    def lisa_ci(self, *words: str | Path, expect: int = 0) -> str:
        plain = {key: value for key, value in os.environ.items() if not key.startswith(("GITHUB_", "AZURE_"))}
        said = {
            **plain,
            **self.served.environment,
            "AZURE_RUNNER_ADDRESSES": "203.0.113.9",
            "AZURE_SSH_PORT": str(self.machines.port),
            "AZURE_STORAGE_CONNECTION_STRING": self.storage.connection_string,
            "XDG_STATE_HOME": str(self.folder / "state"),
        }
        with_us = ("setpriv", "--pdeathsig", "KILL", "--")
        ended = subprocess.run(
            [*with_us, PROGRAM, *words],
            cwd=self.folder,
            env=said,
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )
        assert ended.returncode == expect, ended.stdout + ended.stderr
        return ended.stdout


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with socket.create_server(("127.0.9.2", 0)) as reserved:
        port = reserved.getsockname()[1]
    image = demo_image_path(("cloud-init",))
    (tmp_path / "lisa-ci.yml").write_text(PIPELINE.format(image=image))
    (tmp_path / "deployed").mkdir()
    (tmp_path / "deployed/suite.yaml").write_text(SUITE)
    with azurite() as storage:
        disks = UploadedDisks(storage)
        with (
            QemuMachines(port=port, fetch=disks.fetch) as machines,
            azure_on_loopback(tmp_path, hosts=machines, pace=0.02) as (arm, served),
        ):
            machines.resources, arm.uploads = arm.resources, disks.link
            yield Lab(tmp_path, arm, served, storage, machines)


def test_a_leg_boots_the_uploaded_disk_dies_as_told_and_leaves_nothing(lab: Lab) -> None:
    lab.lisa_ci("plan", "--out", "plan.json")
    lab.lisa_ci("run", "azure", "--plan", "plan.json", "--out", "results")

    folder = lab.folder / "results/azure"
    evidence = files.read_leg(folder)
    assert evidence is not None
    results = {result.case: result for result in evidence.results()}
    wrong = {case: result.message for case, result in results.items() if result.outcome is not Outcome.PASSED}
    assert (wrong, len(results)) == ({}, 7)
    panic = results["panic"]
    assert [finding.category for finding in panic.findings] == [Category.PANIC], "boot diagnostics told of it"
    console = (folder / "console.log").read_text(errors="replace")
    assert "Linux version 6.1" in console, "the kernel of the uploaded disk told of its boot"
    assert "told by case root" in console
    assert "sysrq triggered crash" in console

    [receipt] = evidence.run.receipts
    assert "Microsoft.Compute/virtualMachines/m0" in receipt.created
    assert (receipt.left, set(receipt.deleted)) == ((), set(receipt.created))
    assert (lab.arm.groups, lab.arm.resources, lab.machines.running) == ({}, {}, {})

    place = f"{lab.storage.url}/{lab.storage.container()}"
    lab.lisa_ci("archive", "put", "results", "--plan", "plan.json", "--to", place)
    found = json.loads(lab.lisa_ci("archive", "query", "--from", place, "--case", "*#panic", "--json"))
    assert (found["leg"], found["outcome"]) == ("azure", "passed")
