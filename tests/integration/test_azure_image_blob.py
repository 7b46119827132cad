"""A local disk in a container of the user's: Azurite over TLS that takes Entra's tokens, the real SDKs, ARM's double.

What is shown: two writes for a machine, one upload for many legs, whoever dies on the way, and nothing left at the end.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from azure.storage.blob import BlobClient, ContainerClient

from lisa_ci import image, vhd
from lisa_ci.blobs import Container
from lisa_ci.events import Event, Message
from lisa_ci.model import (
    AZURE,
    Access,
    Azure,
    Controller,
    ImageSource,
    Lease,
    Profile,
    Receipt,
    Subject,
    Timeouts,
)
from lisa_ci.platforms.azure.client import Subscription
from lisa_ci.platforms.azure.containers import named
from lisa_ci.platforms.azure.image_blob import ImageBlob, ImageContainer
from lisa_ci.platforms.azure.lro import Clock
from lisa_ci.platforms.azure.machines import AzureMachines
from lisa_ci.platforms.azure.platform import AzurePlatform
from lisa_ci.platforms.azure.provisioning import Doors
from tests.doubles.azure.accounts import account
from tests.doubles.azure.arm import Arm
from tests.doubles.azure.disks import why_no_disk
from tests.doubles.azure.entra import Entra
from tests.doubles.azure.server import certificate
from tests.doubles.azure.world import make_arm, subscription
from tests.doubles.azurite import Azurite, azurite

MIB = 1 << 20
SIZE = 64 * MIB
WEST = Azure(sizes=("Standard_D2s_v5",), regions=("westeurope",))
STORAGE = "https://storage.azure.com"


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Azurite]:
    folder = tmp_path_factory.mktemp("tls")
    with pytest.MonkeyPatch.context() as patch:
        public, private = certificate(folder)
        patch.setenv("REQUESTS_CA_BUNDLE", str(public))
        with azurite(public, private) as running:
            yield running


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """64 MiB with 12 MiB in it, so that its upload takes some requests."""
    path = tmp_path_factory.mktemp("disk") / "disk.raw"
    noise = random.Random(0)
    with path.open("wb") as file:
        file.truncate(SIZE)
        for number in range(6):
            file.seek(number * 10 * MIB)
            file.write(noise.randbytes(2 * MIB))
    return path


@pytest.fixture(scope="module")
def subject(disk: Path) -> Subject:
    return Subject(image=image.resolve(ImageSource(path=str(disk)), disk.parent))


class Machine:
    """Behind this double there is nothing to log in to."""

    def __init__(self, role: str) -> None:
        self.role = self.name = role

    def close(self) -> None:
        pass


@dataclasses.dataclass
class Lab:
    """One subscription with one container; a leg is one thread's."""

    folder: Path
    arm: Arm
    azure: Subscription
    storage: Azurite
    place: Container
    subject: Subject
    events: list[Event] = dataclasses.field(default_factory=list)
    receipts: list[Receipt] = dataclasses.field(default_factory=list)

    def lease(self, leg: str = "small", *, hours: float = 1, owner: str = "acme/distro/77") -> Lease:
        for name in ("evidence", "scratch"):
            (self.folder / leg / name).mkdir(parents=True, exist_ok=True)
        return Lease(
            owner=owner,
            leg=leg,
            attempt=1,
            delete_after=datetime.now(UTC) + timedelta(hours=hours),
            evidence=self.folder / leg / "evidence",
            scratch=self.folder / leg / "scratch",
        )

    def platform(self) -> AzurePlatform:
        doors = Doors(
            log_in=lambda _login, *, role, **_: Machine(role),
            fetch=lambda _url, _start: None,
            runner=lambda: ("203.0.113.9",),
            containers=lambda: (self.place,),
            follow_every=None,
        )
        return AzurePlatform(lambda: self.azure, doors, owner=lambda _: "acme/distro/77")

    def machines(self, profile: Profile, leg: str = "small") -> AbstractContextManager[AzureMachines]:
        self.used = self.platform()
        return self.used.provision(
            profile, self.subject, Access(), self.lease(leg), timeouts=Timeouts(), emit=self.events.append
        )

    def image_blob(self, lease: Lease, *, azure: Subscription | None = None) -> ImageBlob:
        assert self.subject.image is not None
        return ImageBlob(
            azure=azure or self.azure,
            where=ImageContainer(place=self.place, account_id="/account", region="westeurope"),
            image=self.subject.image,
            lease=lease,
            say=lambda text, level: self.events.append(Message(text=text, level=level)),
        )

    def container(self) -> ContainerClient:
        return self.storage.service().get_container_client(self.place.container)

    def blob(self) -> BlobClient:
        [found] = self.container().list_blob_names()
        return self.container().get_blob_client(found)

    def puts(self) -> int:
        """How often a digit of the disk was sent: each upload changes the blob."""
        return sum("upload" in str(getattr(event, "stage", "")) for event in self.events) // 2


PROFILE = Profile(name="small", platform=AZURE, azure=WEST)


@pytest.fixture
def lab(storage: Azurite, subject: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    entra = Entra()
    arm = make_arm(entra=entra, pace=0.002)
    azure = subscription(arm, entra, Clock(), pause=0.02)
    [place] = named({"AZURE_IMAGE_CONTAINERS": f"{storage.url}/{storage.container()}/lisa"})
    arm.accounts = [account(place.account, storage.url)]
    arm.imports = lambda url: why_no_disk(storage, url)
    return Lab(tmp_path, arm, azure, storage, place, subject)


def holds(blob: BlobClient, path: Path) -> None:
    """The blob is the disk, byte for byte, and its footer."""
    found = blob.download_blob().readall()
    assert len(found) == SIZE + vhd.FOOTER_BYTES
    assert found[:SIZE] == path.read_bytes()
    assert vhd.read_footer(found[SIZE:]).current_bytes == SIZE


class TestAMachine:
    @pytest.mark.parametrize("controller", [Controller.SCSI, Controller.NVME])
    def test_a_machine_of_a_local_disk_takes_two_write_requests(
        self, lab: Lab, disk: Path, controller: Controller
    ) -> None:
        """Also where the disk is attached as it is, which a managed image could not do."""
        lab.arm.skus[0]["capabilities"].append({"name": "DiskControllerTypes", "value": "SCSI, NVMe"})
        azure = dataclasses.replace(WEST, controller=controller)
        with lab.machines(dataclasses.replace(PROFILE, azure=azure)):
            writes = [one for one in lab.arm.writes if "retrieveBootDiagnosticsData" not in one]
            url = f"{lab.place.url}/{lab.blob().blob_name}"
            assert any(url in str(one) for one in lab.arm.ever), "the machine is made of the blob"
        assert [one.split(" ")[0] for one in writes] == ["PUT", "PUT"]
        assert writes[0].rpartition("/")[2].startswith("lisa-ci-")
        assert writes[1].endswith("/deployments/machines")
        holds(lab.blob(), disk)
        assert not lab.arm.groups
