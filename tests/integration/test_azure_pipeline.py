"""One pipeline with two Azure legs and another one, from the plan to the archive, against all doubles at once.

GitHub's OIDC, Entra and ARM are the doubles over TLS; storage is Azurite; the machines of all legs are sshds.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from lisa_ci import files
from lisa_ci.model import Outcome
from lisa_ci.platforms.azure import names
from tests.doubles import openssh
from tests.doubles.azure.accounts import account
from tests.doubles.azure.arm import Arm
from tests.doubles.azure.disks import CONTAINER, UploadedDisks, why_no_disk
from tests.doubles.azure.hosts import SshdHosts
from tests.doubles.azure.server import Served
from tests.doubles.azure.world import azure_on_loopback
from tests.doubles.azurite import Azurite, azurite

PROGRAM = Path(sys.executable).with_name("lisa-ci")
SUITE = """\
schema: 1
name: small
description: Three cases that need no machine of a certain kind.
driver: shell
cases:
  - id: kernel
    run: 'test -r /proc/version'
  - id: root
    run: 'test "$(id -u)" = 0'
  - id: marks-the-console
    run: 'echo "lisa-ci was here: $(id -un)" > /dev/kmsg || true'
"""
PIPELINE = """\
name: distro
{access}
image: {{path: {image}}}
profiles:
  - name: azure-west
    platform: azure
    memory_mib: 512
    azure: {{sizes: [Standard_D2s_v5], regions: [westeurope]}}
  - name: azure-north
    platform: azure
    memory_mib: 512
    azure: {{sizes: [Standard_D4s_v5], regions: [northeurope]}}
{third}
suites:
  - suite: ./small
timeouts: {{boot: 8m, case: 120s, leg: 20m}}
"""


SSH = '  - {{name: here, platform: ssh, endpoint: {{host: 127.0.0.1, port: {port}, host_key: "{key}"}}}}'


@dataclass
class Lab:
    folder: Path
    arm: Arm
    served: Served
    storage: Azurite
    port: int
    more: dict[str, str] = field(default_factory=dict)

    def lisa_ci(self, *words: str | Path, expect: int = 0) -> subprocess.CompletedProcess[str]:
        plain = {key: value for key, value in os.environ.items() if not key.startswith(("GITHUB_", "AZURE_"))}
        said = {
            **plain,
            **self.served.environment,
            "AZURE_RUNNER_ADDRESSES": "203.0.113.9",
            "AZURE_SSH_PORT": str(self.port),
            "AZURE_STORAGE_CONNECTION_STRING": self.storage.connection_string,
            "XDG_STATE_HOME": str(self.folder / "state"),
            **self.more,
        }
        ended = subprocess.run(
            [PROGRAM, *words], cwd=self.folder, env=said, capture_output=True, text=True, timeout=900, check=False
        )
        assert ended.returncode == expect, ended.stdout + ended.stderr
        return ended


@pytest.fixture
def lab(tmp_path: Path, demo_image: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    with socket.create_server(("127.0.7.2", 0)) as reserved:
        port = reserved.getsockname()[1]
    hosts = SshdHosts(tmp_path / "hosts", is_apart=True, port=port)
    hosts.address = lambda number: f"127.0.7.{number % 250 + 2}"  # type: ignore[method-assign]
    (tmp_path / "small").mkdir()
    (tmp_path / "small/suite.yaml").write_text(SUITE)
    try:
        with (
            openssh.sshd(tmp_path) as login,
            azure_on_loopback(tmp_path, hosts=hosts, pace=0.02) as (arm, served),
            azurite(served.certificate, tmp_path / "key.pem") as storage,
        ):
            monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(served.certificate))
            third = SSH.format(port=login.port, key=login.host_key)
            access = f"access: {{user: {login.user}, way_in: key, key: {login.key}}}"
            (tmp_path / "lisa-ci.yml").write_text(PIPELINE.format(image=demo_image, third=third, access=access))
            arm.uploads = UploadedDisks(storage).link
            yield Lab(tmp_path, arm, served, storage, port)
    finally:
        hosts.close()


def test_two_azure_legs_and_a_third_are_planned_run_reported_and_archived(lab: Lab) -> None:
    lab.lisa_ci("plan", "--out", "plan.json")
    for leg in ("azure-west", "azure-north", "here"):
        lab.lisa_ci("run", leg, "--plan", "plan.json", "--out", "results")
    lab.lisa_ci("report", "--plan", "plan.json", "--results", "results", "--out", "report")
    place = f"{lab.storage.url}/{lab.storage.container()}"
    lab.lisa_ci("archive", "put", "results", "--plan", "plan.json", "--to", place)

    verdict = json.loads((lab.folder / "report/verdict.json").read_text())
    assert verdict["passed"], verdict["reasons"]
    assert {leg: counts["passed"] for leg, counts in verdict["legs"].items()} == dict.fromkeys(verdict["legs"], 3)
    assert set(verdict["legs"]) == {"azure-west", "azure-north", "here"}

    serial = (lab.folder / "results/azure-west/console.log").read_text(errors="replace")
    assert "Linux version" in serial, "the serial log of the machine is the leg's console"

    for leg in ("azure-west", "azure-north"):
        evidence = files.read_leg(lab.folder / "results" / leg)
        assert evidence is not None
        [receipt] = evidence.run.receipts
        assert any(one.endswith("virtualMachines/m0") for one in receipt.created)
        assert receipt.left == ()
        assert set(receipt.created) == set(receipt.deleted)
    with lab.storage.service() as service:
        disks = list(service.get_container_client(CONTAINER).list_blobs())
        assert len(disks) == 2
        for disk in disks:
            blob = service.get_blob_client(CONTAINER, disk.name)
            footer = blob.download_blob(offset=disk.size - 512, length=512).readall()
            assert footer.startswith(b"conectix"), "what Azure got is a fixed VHD"
    assert not lab.arm.groups
    assert not lab.arm.resources
    summary = (lab.folder / "report/summary.md").read_text()
    assert "left 0" in summary

    listed = lab.lisa_ci("archive", "ls", "--from", place).stdout
    assert all(leg in listed for leg in ("azure-west", "azure-north", "here"))

    assert lab.arm.entra is not None
    assert len(set(lab.arm.entra.used)) == len(lab.arm.entra.used) >= 2, "each process proved itself anew"
    said = " ".join(path.read_text(errors="replace") for path in (lab.folder / "results").rglob("lisa-ci.log"))
    assert not any(token in said for token in lab.arm.entra.assertions)
    assert "sig=" not in said


def test_a_leg_whose_image_goes_to_a_container_takes_two_writes_and_tells_what_it_leaves(lab: Lab) -> None:
    """And the leg in another region has it in its own group, as without a container."""
    container = lab.storage.container()
    lab.more["AZURE_IMAGE_CONTAINERS"] = f"{lab.storage.url}/{container}"
    lab.arm.accounts = [account("devstoreaccount1", lab.storage.url)]
    lab.arm.imports = lambda url: why_no_disk(lab.storage, url)
    lab.lisa_ci("plan", "--out", "plan.json")
    lab.lisa_ci("run", "azure-west", "--plan", "plan.json", "--out", "results")
    writes = [one for one in lab.arm.writes if not one.startswith("DELETE") and "BootDiagnostics" not in one]
    assert [one.split(" ")[0] for one in writes] == ["PUT", "PUT"], writes
    ended = lab.lisa_ci("run", "azure-north", "--plan", "plan.json", "--out", "results")
    assert "no container for images is in northeurope" in ended.stderr
    lab.lisa_ci("report", "--plan", "plan.json", "--results", "results", "--out", "report", expect=1)

    evidence = files.read_leg(lab.folder / "results/azure-west")
    assert evidence is not None
    assert {result.outcome for result in evidence.results()} == {Outcome.PASSED}
    group, image = evidence.run.receipts
    assert (group.left, image.place) == ((), f"azure westeurope devstoreaccount1/{container}")
    assert image.created == image.left
    summary = (lab.folder / "report/summary.md").read_text()
    assert "left 1" in summary
    assert image.left[0].partition("/")[2] in summary

    with lab.storage.service() as service:
        [blob] = service.get_container_client(container).list_blobs(include=["metadata"])
        assert names.from_metadata(blob.metadata)[names.LEG] == "azure-west"
    said = lab.lisa_ci("sweep", "--platform", "azure", "--delete").stdout
    assert f"keep: image {blob.name}" in said
    assert "its lease goes on until" in said
