"""The workflow for Azure under act with real machines: two Azure legs whose machines boot the disk that was uploaded,
one leg of QEMU's own, and the archive in a container of Azurite.

Three emulated machines side by side take minutes: ``nox -s field``.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from lisa_ci import files
from lisa_ci.model import Outcome
from tests.doubles.act import COMMIT, ActRun
from tests.doubles.azure.disks import UploadedDisks
from tests.doubles.azure.qemu_machines import QemuMachines
from tests.doubles.azure.world import azure_on_loopback
from tests.doubles.azurite import Azurite, azurite
from tests.doubles.demo_image import demo_image_path
from tests.integration.test_act import lisa_ci_repository, wheelhouse
from tests.integration.test_azure_act import make_caller, run_caller
from tests.integration.test_azure_pipeline import PIPELINE

__all__ = ["lisa_ci_repository", "wheelhouse"]

pytestmark = pytest.mark.field
PROGRAM = Path(sys.executable).with_name("lisa-ci")
LEGS = {"azure-west", "azure-north", "here"}
HERE = "  - {name: here, memory_mib: 512}"
ARCHIVE = """
  archive:
    name: archive
    needs: [plan, leg]
    if: always()
    runs-on: ubuntu-24.04
    permissions:
      contents: read
    steps:
      - uses: actions/download-artifact@3e5f45b2cfb9172054b4087a40e8e0b5a5461e7c # v8.0.1
        with:
          name: ${{ needs.plan.outputs.artifact }}
          path: lisa-ci
      - uses: actions/download-artifact@3e5f45b2cfb9172054b4087a40e8e0b5a5461e7c # v8.0.1
        with:
          pattern: lisa-ci-leg-*
          path: lisa-ci/results
      - uses: lisa-ci/lisa-ci@COMMIT
        with:
          command: archive
          archive-to: PLACE
          keep-days: 400
"""


def test_two_legs_on_azure_and_one_of_qemu_are_green_archived_and_gone(
    tmp_path: Path, lisa_ci_repository: Path, wheelhouse: Path
) -> None:
    with socket.create_server(("127.0.9.2", 0)) as reserved:
        port = reserved.getsockname()[1]
    caller = tmp_path / "caller"
    with azurite() as storage:
        disks, place = UploadedDisks(storage), f"{storage.url}/{storage.container()}"
        with (
            QemuMachines(port=port, fetch=disks.fetch) as machines,
            azure_on_loopback(tmp_path, hosts=machines, pace=0.02) as (arm, served),
        ):
            machines.resources, arm.uploads = arm.resources, disks.link
            image = demo_image_path(("cloud-init",))
            make_caller(caller, served.environment, PIPELINE.format(image=image, third=HERE, access=""))
            workflow = caller / ".github/workflows/lisa-ci.yml"
            workflow.write_text(workflow.read_text() + ARCHIVE.replace("COMMIT", COMMIT).replace("PLACE", place))
            environment = {**served.environment, "AZURE_STORAGE_CONNECTION_STRING": storage.connection_string}
            run = run_caller(caller, tmp_path, environment, port=port, lisa_ci=lisa_ci_repository, wheels=wheelhouse)
            left = [*arm.groups, *arm.resources, *machines.running]
            used = list(arm.entra.used if arm.entra else ())
        assert run.exit == 0, run.text[-6000:]
        assert left == []
        assert len(set(used)) == len(used) >= 2, "each job proved itself anew"
        _check_results(run, tmp_path / "work/artifacts")
        _check_archive(storage, place, tmp_path)


def _check_results(run: ActRun, artifacts: Path) -> None:
    for leg in LEGS:
        [folder] = artifacts.glob(f"**/lisa-ci-leg-{leg}-1")
        evidence = files.read_leg(folder)
        assert evidence is not None
        assert [result.outcome for result in evidence.results()] == [Outcome.PASSED] * 3, leg
        console = (folder / "console.log").read_text(errors="replace")
        assert "Linux version 6.1" in console, f"{leg}: the kernel of the disk told of its boot"
        assert "lisa-ci was here: root" in console, f"{leg}: the console has what a case wrote"
        receipts = evidence.run.receipts
        assert len(receipts) == (leg != "here")
        assert all(receipt.left == () and set(receipt.created) == set(receipt.deleted) for receipt in receipts)
    assert any("left 0" in text for text in run.summaries), run.summaries


def _check_archive(storage: Azurite, place: str, folder: Path) -> None:
    environment = {**os.environ, "AZURE_STORAGE_CONNECTION_STRING": storage.connection_string}

    def archive(*words: str) -> str:
        command = [PROGRAM, "archive", *words, "--from", place]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=True).stdout

    cases = [json.loads(line) for line in archive("query", "--json").splitlines()]
    assert {(one["leg"], one["outcome"]) for one in cases} == {(leg, "passed") for leg in LEGS}
    assert len(cases) == 9
    told = [json.loads(line) for line in archive("ls", "--json").splitlines()]
    assert {one["leg"] for one in told} == LEGS
    for one in told:
        archive("get", one["id"], "--to", str(folder / "back" / one["leg"]))
        [console] = (folder / "back" / one["leg"]).rglob("console.log")
        assert "lisa-ci was here: root" in console.read_text(errors="replace")
