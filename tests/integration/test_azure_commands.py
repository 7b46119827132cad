"""The commands against the doubles over TLS: GitHub's OIDC, Entra's tokens, ARM; as an own process where it counts."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from azure.storage.blob import ContainerClient

from lisa_ci.github.runs import understood
from lisa_ci.platforms.azure import names
from lisa_ci.platforms.azure.rights import role
from tests.doubles.azure.accounts import account
from tests.doubles.azure.arm import DISK, Arm, Stored
from tests.doubles.azure.entra import SUBSCRIPTION
from tests.doubles.azure.server import Served
from tests.doubles.azure.world import azure_on_loopback
from tests.doubles.azurite import Azurite, azurite

PROGRAM = Path(sys.executable).with_name("lisa-ci")
NOW = datetime.now(UTC)


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[tuple[Arm, Served]]:
    with azure_on_loopback(tmp_path, pace=0.001) as found:
        yield found


def call(served: Served, folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """As a job of GitHub would; the token and its masks go to stderr."""
    plain = {key: value for key, value in os.environ.items() if not key.startswith(("GITHUB_", "AZURE_", "ACTIONS_"))}
    said = {
        **plain,
        **served.environment,
        "GITHUB_ACTIONS": "true",
        "GITHUB_REPOSITORY": "acme/distro",
        "GITHUB_REPOSITORY_ID": "42",
        "GITHUB_REPOSITORY_OWNER_ID": "7",
        "GITHUB_REF": "refs/heads/main",
        "XDG_STATE_HOME": str(folder / "state"),
        **environment,
    }
    return subprocess.run(
        [PROGRAM, *words], env=said, cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )


def group(
    arm: Arm, name: str, *, ended_hours_ago: float | None, owner: str = "acme/distro/77", **tags: str
) -> dict[str, Any]:
    """A group as a run of ours would have left it, or with ``ended_hours_ago`` None one of somebody else."""
    given = dict(tags)
    if ended_hours_ago is not None:
        until = NOW - timedelta(hours=ended_hours_ago)
        given = {names.OWNER: owner, names.LEG: "azure-intel", names.ATTEMPT: "1", **given}
        given[names.DELETE_AFTER] = given.get(names.DELETE_AFTER, until.strftime("%Y-%m-%dT%H:%M:%SZ"))
    made = {
        "id": f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{name}",
        "name": name,
        "type": "Microsoft.Resources/resourceGroups",
        "location": "westeurope",
        "tags": given,
        "properties": {"provisioningState": "Succeeded"},
    }
    arm.groups[name] = made
    return made


def disk(arm: Arm, inside: dict[str, Any], name: str) -> Stored:
    place = f"{inside['id']}/providers/{DISK}/{name}"
    made = Stored(id=place, type=DISK, body={"id": place, "location": "westeurope", "tags": inside["tags"]})
    arm.resources[place.lower()] = made
    return made


@dataclass(frozen=True, kw_only=True)
class Images:
    """A container in Azurite, filled as legs would have left it."""

    storage: Azurite
    container: str

    @property
    def url(self) -> str:
        return f"{self.storage.url}/{self.container}"

    def put(self, name: str, *, ended_hours_ago: float | None) -> None:
        """With ``ended_hours_ago`` None one of somebody else."""
        tags = {}
        if ended_hours_ago is not None:
            until = NOW - timedelta(hours=ended_hours_ago)
            tags = {names.OWNER: "acme/distro/77", names.LEG: "azure-intel", names.ATTEMPT: "1"}
            tags[names.DELETE_AFTER] = until.strftime("%Y-%m-%dT%H:%M:%SZ")
        with self._client() as client:
            client.get_blob_client(name).create_page_blob(1 << 20, metadata=names.metadata(tags))

    def names(self) -> list[str]:
        with self._client() as client:
            return sorted(client.list_blob_names())

    def _client(self) -> ContainerClient:
        return self.storage.service().get_container_client(self.container)


def pollute(arm: Arm) -> None:
    """A subscription as it looks after bad weeks."""
    dead = group(arm, "lisa-ci-dead", ended_hours_ago=30)
    disk(arm, dead, "m0-os")
    group(arm, "lisa-ci-young", ended_hours_ago=-2)
    group(arm, "lisa-ci-locked", ended_hours_ago=5)
    group(arm, "lisa-ci-odd", ended_hours_ago=5, **{names.DELETE_AFTER: "soon"})
    late = group(arm, "lisa-ci-late", ended_hours_ago=5)
    arm.lingering.add(disk(arm, late, "m1-os").id.lower())
    disk(arm, group(arm, "production", ended_hours_ago=None, team="web"), "database")
    group(arm, "half-tagged", ended_hours_ago=None, **{names.OWNER: "acme/distro/1"})
    arm.locks = [{"id": f"{arm.groups['lisa-ci-locked']['id']}/providers/Microsoft.Authorization/locks/audit"}]


class TestSweep:
    def test_a_dry_run_is_the_default_and_tells_all_of_a_polluted_subscription(
        self, cloud: tuple[Arm, Served], tmp_path: Path
    ) -> None:
        arm, served = cloud
        pollute(arm)
        ended = call(served, tmp_path, "sweep", "--platform", "azure")
        assert ended.returncode == 0, ended.stderr
        said = ended.stdout
        assert "delete: lisa-ci-dead in westeurope (1 resources), leg azure-intel: its lease ended" in said
        assert f"    {DISK}/m0-os" in said
        assert "keep: lisa-ci-young" in said
        assert "the lock audit forbids it" in said
        assert "keep: lisa-ci-odd" in said
        assert "not a time" in said
        assert "production" not in said
        assert "half-tagged" not in said
        assert "nothing was deleted" in ended.stderr
        assert not [one for one in arm.writes if one.startswith("DELETE")]

    def test_it_deletes_what_is_due_and_tells_what_it_cannot(self, cloud: tuple[Arm, Served], tmp_path: Path) -> None:
        arm, served = cloud
        pollute(arm)
        ended = call(served, tmp_path, "sweep", "--platform", "azure", "--delete")
        assert ended.returncode == 4, ended.stderr
        assert "left: lisa-ci-locked: ScopeLocked" in ended.stdout
        assert "removed: lisa-ci-dead (1 resources) of acme/distro/77" in ended.stdout
        assert "removed: lisa-ci-late" in ended.stdout, "a disk that was let go of late goes at the second try"
        assert set(arm.groups) == {"lisa-ci-young", "lisa-ci-locked", "lisa-ci-odd", "production", "half-tagged"}

    def test_delete_without_a_platform_is_refused(self, cloud: tuple[Arm, Served], tmp_path: Path) -> None:
        ended = call(cloud[1], tmp_path, "sweep", "--delete")
        assert ended.returncode == 2
        assert "--platform" in ended.stderr


@pytest.mark.parametrize(
    ("status", "body", "lives"),
    [
        (200, b'{"status": "in_progress"}', True),
        (200, b'{"status": "queued"}', True),
        (200, b'{"status": "completed", "conclusion": "cancelled"}', False),
        (404, b'{"message": "Not Found"}', None),
        (200, b"<html>", None),
        (500, b"", None),
    ],
)
def test_what_github_says_of_a_run_is_understood(status: int, body: bytes, lives: bool | None) -> None:
    assert understood(status, body) is lives


@pytest.fixture
def images(cloud: tuple[Arm, Served], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Images]:
    """A container with an image whose lease ended, one in use, and a blob of somebody else."""
    arm, served = cloud
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(served.certificate))
    with azurite(tmp_path / "cert.pem", tmp_path / "key.pem") as storage:
        found = Images(storage=storage, container=storage.container())
        arm.accounts = [account("devstoreaccount1", storage.url)]
        found.put("lisa-ci-dead.vhd", ended_hours_ago=5)
        found.put("lisa-ci-young.vhd", ended_hours_ago=-2)
        found.put("lisa-ci-theirs.vhd", ended_hours_ago=None)
        yield found


class TestImages:
    """The same commands where ``AZURE_IMAGE_CONTAINERS`` names a container."""

    def test_a_sweep_tells_of_images_and_deletes_nothing_by_default(
        self, cloud: tuple[Arm, Served], images: Images, tmp_path: Path
    ) -> None:
        ended = call(cloud[1], tmp_path, "sweep", "--platform", "azure", AZURE_IMAGE_CONTAINERS=images.url)
        assert ended.returncode == 0, ended.stderr
        assert f"delete: image lisa-ci-dead.vhd in devstoreaccount1/{images.container} (not whole)" in ended.stdout
        assert "keep: image lisa-ci-young.vhd" in ended.stdout
        assert "theirs" not in ended.stdout
        assert "nothing was deleted" in ended.stderr
        assert len(images.names()) == 3

    def test_it_deletes_the_image_that_is_due(self, cloud: tuple[Arm, Served], images: Images, tmp_path: Path) -> None:
        place = images.url
        ended = call(cloud[1], tmp_path, "sweep", "--platform", "azure", "--delete", AZURE_IMAGE_CONTAINERS=place)
        assert ended.returncode == 0, ended.stderr
        assert f"removed: image lisa-ci-dead.vhd in devstoreaccount1/{images.container}" in ended.stdout
        assert images.names() == ["lisa-ci-theirs.vhd", "lisa-ci-young.vhd"]

    def test_a_container_that_cannot_be_read_is_told_and_the_rest_is_swept(
        self, cloud: tuple[Arm, Served], images: Images, tmp_path: Path
    ) -> None:
        arm, served = cloud
        group(arm, "lisa-ci-dead", ended_hours_ago=30)
        places = f"{images.storage.url}/nowhere, {images.url}"
        ended = call(served, tmp_path, "sweep", "--platform", "azure", "--delete", AZURE_IMAGE_CONTAINERS=places)
        assert ended.returncode == 4
        assert "left: cannot list images in devstoreaccount1/nowhere: ContainerNotFound" in ended.stdout
        assert not arm.groups
        assert "lisa-ci-dead.vhd" not in images.names()

    def test_doctor_asks_for_the_rights_on_the_container(
        self, cloud: tuple[Arm, Served], images: Images, tmp_path: Path
    ) -> None:
        arm, served = cloud
        ended = call(served, tmp_path, "doctor", "azure", AZURE_IMAGE_CONTAINERS=images.url)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        place = f"devstoreaccount1/{images.container}"
        assert f"role for images in {place}: templates/azure/images-role.json" in ended.stdout
        assert f"ok      images        in {place} (westeurope) are listed" in ended.stdout
        assert f"ok      images        3 of 3 rights on blobs of {place}" in ended.stdout

        arm.data_actions = ["Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read"]
        arm.actions = role()["Actions"]
        ended = call(served, tmp_path, "doctor", "azure", AZURE_IMAGE_CONTAINERS=images.url)
        assert ended.returncode == 4
        assert "containers/blobs/write is missing: give the role 'Storage Blob Data Contributor'" in ended.stdout
        assert "note    right         Microsoft.Storage/storageAccounts/listKeys/action is missing" in ended.stdout
        assert not arm.writes
        assert len(images.names()) == 3

    def test_doctor_says_that_the_account_is_not_there(
        self, cloud: tuple[Arm, Served], images: Images, tmp_path: Path
    ) -> None:
        cloud[0].accounts = []
        ended = call(cloud[1], tmp_path, "doctor", "azure", AZURE_IMAGE_CONTAINERS=images.url)
        assert ended.returncode == 4
        assert "the storage account devstoreaccount1 is not in the subscription" in ended.stdout


class TestDoctor:
    def test_it_prints_the_subject_in_both_forms_and_tries_each_right(
        self, cloud: tuple[Arm, Served], tmp_path: Path
    ) -> None:
        arm, served = cloud
        ended = call(served, tmp_path, "doctor", "azure", "--environment", "azure")
        assert ended.returncode == 0, ended.stdout + ended.stderr
        for subject in (
            "repo:acme/distro:ref:refs/heads/main",
            "repo:acme/distro:environment:azure",
            "repo:acme@7/distro@42:environment:azure",
        ):
            assert subject in ended.stdout
        assert "this job's subject: repo:acme@7/distro@42:ref:refs/heads/main" in ended.stdout
        assert "more than needed" in ended.stdout, "the double's identity may do everything at first"
        assert "not tried" in ended.stdout
        assert not arm.writes

    def test_a_right_that_is_missing_is_named(self, cloud: tuple[Arm, Served], tmp_path: Path) -> None:
        arm, served = cloud
        arm.actions = ["Microsoft.Compute/*", "Microsoft.Resources/*", "*/read"]
        ended = call(served, tmp_path, "doctor", "azure")
        assert ended.returncode == 4
        assert "MISSING right         Microsoft.Network/networkInterfaces/* is missing" in ended.stdout
        assert "Microsoft.Compute/disks/* is missing" not in ended.stdout

    def test_a_subject_that_nobody_entered_is_told_with_what_to_do(
        self, cloud: tuple[Arm, Served], tmp_path: Path
    ) -> None:
        arm, served = cloud
        assert arm.entra is not None
        arm.entra.job_subject = "repo:acme@7/distro@42:pull_request"
        ended = call(served, tmp_path, "doctor", "azure")
        assert ended.returncode == 4
        assert "AADSTS700213" in ended.stdout
        assert "this job's subject: repo:acme@7/distro@42:pull_request" in ended.stdout

    def test_tokens_are_masked_before_anything_else_and_shown_nowhere(
        self, cloud: tuple[Arm, Served], tmp_path: Path
    ) -> None:
        arm, served = cloud
        ended = call(served, tmp_path, "doctor", "azure")
        assert arm.entra is not None
        for token in arm.entra.assertions:
            assert f"::add-mask::{token}" in ended.stderr
            rest = (ended.stdout + ended.stderr).replace(f"::add-mask::{token}", "")
            assert token not in rest
