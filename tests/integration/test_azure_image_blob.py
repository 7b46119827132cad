"""A local disk in a container of the user's: Azurite over TLS that takes Entra's tokens, the real SDKs, ARM's double.

What is shown: two writes for a machine, one upload for many legs, whoever dies on the way, and nothing left at the end.
"""

from __future__ import annotations

import dataclasses
import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from azure.core.credentials import AccessToken
from azure.core.exceptions import HttpResponseError
from azure.storage.blob import BlobClient, BlobLeaseClient, ContainerClient

from lisa_ci import image, vhd
from lisa_ci.blobs import Container
from lisa_ci.errors import ProvisioningError
from lisa_ci.events import Event, Message, StageStarted
from lisa_ci.model import AZURE, Access, Azure, Controller, ImageSource, Lease, Profile, Subject, Timeouts
from lisa_ci.platforms.azure import blob_sweep, image_blob, names, upload
from lisa_ci.platforms.azure.client import Subscription
from lisa_ci.platforms.azure.containers import named
from lisa_ci.platforms.azure.image_blob import ImageBlob, ImageContainer
from lisa_ci.platforms.azure.lro import Clock
from lisa_ci.platforms.azure.machines import AzureMachines
from lisa_ci.platforms.azure.platform import AzurePlatform
from lisa_ci.platforms.azure.provisioning import Doors
from lisa_ci.platforms.azure.upload import STAGE
from tests.doubles.azure.accounts import account
from tests.doubles.azure.arm import Arm
from tests.doubles.azure.disks import why_no_disk
from tests.doubles.azure.entra import Entra
from tests.doubles.azure.server import certificate
from tests.doubles.azure.world import make_arm, subscription
from tests.doubles.azurite import Azurite, azurite
from tests.doubles.cutting_proxy import CuttingProxy

MIB = 1 << 20
SIZE = 64 * MIB
WEST = Azure(sizes=("Standard_D2s_v5",), regions=("westeurope",))
SOON = timedelta(seconds=60)
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


class Bearer:
    """Entra's token for a service, from a double whose keys Azurite does not ask for."""

    def __init__(self, audience: str = STORAGE) -> None:
        self._audience = audience

    def get_token(self, *_: str, **__: Any) -> AccessToken:
        return AccessToken(Entra().access_token(self._audience), int(time.time()) + 3000)


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
    uploaded: list[str] = dataclasses.field(default_factory=list)

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
            upload=lambda _image, _path, url, _emit: self.uploaded.append(url.reveal()),
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

    def uploads(self) -> int:
        return sum(isinstance(event, StageStarted) and event.stage == STAGE for event in self.events)

    def said(self, words: str) -> bool:
        return any(words in event.text for event in self.events if isinstance(event, Message))


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

    def test_the_second_leg_takes_the_image_that_the_first_one_brought(self, lab: Lab) -> None:
        with lab.machines(PROFILE, "one"):
            pass
        [first] = [one for one in lab.used.receipts() if one.place.endswith(lab.place.name)]
        with lab.machines(PROFILE, "two"):
            pass
        assert lab.uploads() == 1
        assert lab.said("is in devstoreaccount1/")
        assert first.created == first.left == (f"blob/{lab.blob().blob_name}",)
        assert first.delete_after > datetime.now(UTC) + timedelta(hours=1)
        assert not [one for one in lab.used.receipts() if one.place.endswith(lab.place.name)], "told once"
        assert len([one for one in lab.arm.writes if one.startswith("PUT")]) == 4

    def test_a_container_of_another_region_is_no_help_and_that_is_told(self, lab: Lab) -> None:
        lab.arm.accounts = [account(lab.place.account, lab.storage.url, "northeurope")]
        with lab.machines(PROFILE):
            pass
        assert len(lab.uploaded) == 1
        assert lab.said("no container for images is in westeurope")
        assert any(one.endswith("/disks/source") for one in lab.arm.writes), "it goes into the group"
        assert list(lab.container().list_blob_names()) == []

    def test_an_account_that_is_not_in_the_subscription_is_refused_before_anything_is_made(self, lab: Lab) -> None:
        lab.arm.accounts = []
        with pytest.raises(ProvisioningError, match="devstoreaccount1 is not in the subscription"):
            lab.machines(PROFILE).__enter__()
        assert not lab.arm.writes

    def test_an_identity_that_may_not_write_there_is_told_which_role_it_needs(self, lab: Lab) -> None:
        azure = dataclasses.replace(lab.azure, credential=Bearer("https://vault.azure.net"))
        with pytest.raises(ProvisioningError, match="AuthenticationFailed") as caught:
            lab.image_blob(lab.lease(), azure=azure).put(lab.events.append, patience=SOON)
        assert "Storage Blob Data Contributor" in caught.value.hint


class TestOneBlobForMany:
    def test_legs_that_start_at_once_upload_it_once(self, lab: Lab, disk: Path) -> None:
        blobs = [lab.image_blob(lab.lease(f"leg{number}")) for number in range(4)]
        with ThreadPoolExecutor(len(blobs)) as workers:
            list(workers.map(lambda one: one.put(lab.events.append, patience=SOON), blobs))
        assert lab.uploads() == 1
        holds(lab.blob(), disk)
        assert sum(bool(one.receipt()) for one in blobs) == 1

    def test_a_leg_whose_lease_goes_on_longer_prolongs_the_blob_and_owns_it_then(self, lab: Lab) -> None:
        lab.image_blob(lab.lease("one")).put(lab.events.append, patience=SOON)
        long = lab.image_blob(lab.lease("two", hours=9, owner="acme/distro/78"))
        long.put(lab.events.append, patience=SOON)
        lab.image_blob(lab.lease("three")).put(lab.events.append, patience=SOON)
        tags = names.from_metadata(lab.blob().get_blob_properties().metadata)
        assert (tags[names.OWNER], tags[names.LEG]) == ("acme/distro/78", "two")
        assert names.delete_after(tags) == long.lease.delete_after
        told = long.receipt()
        assert told is not None
        assert (told.created, told.left) == ((), (f"blob/{lab.blob().blob_name}",))

    def test_a_blob_of_somebody_else_is_never_written_to(self, lab: Lab) -> None:
        ours = lab.image_blob(lab.lease())
        with lab.container() as container:
            container.upload_blob(ours.name, b"theirs")
        with pytest.raises(ProvisioningError, match=r"is none of lisa-ci's"):
            ours.put(lab.events.append, patience=SOON)
        assert lab.blob().download_blob().readall() == b"theirs"

    def test_a_blob_that_says_it_is_whole_and_has_another_size_is_made_anew(self, lab: Lab, disk: Path) -> None:
        ours = lab.image_blob(lab.lease())
        metadata = names.metadata(names.tags(ours.lease)) | {image_blob.WHOLE: image_blob.whole_mark(ours.image)}
        with lab.container() as container:
            container.get_blob_client(ours.name).create_page_blob(SIZE, metadata=metadata)
        ours.put(lab.events.append, patience=SOON)
        holds(lab.blob(), disk)

    def test_who_waits_for_another_leg_waits_no_longer_than_it_may(self, lab: Lab) -> None:
        ours = lab.image_blob(lab.lease())
        with lab.container() as container:
            blob = container.get_blob_client(ours.name)
            blob.create_page_blob(SIZE, metadata=names.metadata(names.tags(ours.lease)))
            BlobLeaseClient(blob).acquire(60)
            with pytest.raises(ProvisioningError, match="has not uploaded the image") as caught:
                ours.put(lab.events.append, patience=timedelta(seconds=1))
        assert "timeouts.leg" in caught.value.hint
        assert ours.receipt() is None

    def test_the_lease_of_an_uploader_that_is_slow_goes_on(self, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(image_blob, "_RENEW_SECONDS", 3.0)
        with lab.container() as container:
            blob = container.get_blob_client("slow.vhd")
            blob.create_page_blob(MIB)
            lease = BlobLeaseClient(blob)
            lease.acquire(15)
            with image_blob._renewed(lease):
                time.sleep(18)
                with pytest.raises(HttpResponseError, match="LeaseAlreadyPresent"):
                    BlobLeaseClient(blob).acquire(15)
            BlobLeaseClient(blob).acquire(15)


UPLOADER = """
import json, sys, time
from datetime import UTC, datetime
from pathlib import Path
from azure.core.credentials import AccessToken
from azure.core.exceptions import HttpResponseError
from lisa_ci import image
from lisa_ci.model import ImageSource, Lease
from lisa_ci.platforms.azure import client, image_blob
from lisa_ci.platforms.azure.containers import named
said = json.load(sys.stdin)
image_blob._LEASE_SECONDS = 15  # the least that there is
class Bearer:
    def get_token(self, *_, **__):
        return AccessToken(said["token"], int(time.time()) + 3000)
path = Path(said["disk"])
lease = Lease(owner="acme/distro/77", leg="killed", attempt=1, evidence=path, scratch=path,
              delete_after=datetime.fromisoformat(said["until"]))
[place] = named({"AZURE_IMAGE_CONTAINERS": said["place"]})
where = image_blob.ImageContainer(place=place, account_id="/account", region="westeurope")
disk = image.resolve(ImageSource(path=str(path)), path.parent)
azure = client.made("0", Bearer())
image_blob.ImageBlob(azure=azure, where=where, image=disk, lease=lease, say=print).put(
    lambda event: None, patience=lease.delete_after - datetime.now(UTC))
"""


class TestOneThatDies:
    @pytest.mark.parametrize("share", [0.02, 0.6])
    def test_what_a_killed_uploader_left_is_no_disk_and_the_next_leg_takes_over(
        self, lab: Lab, disk: Path, share: float
    ) -> None:
        proxy = CuttingProxy(target=lab.storage.port, budget=int(12 * MIB * share))
        with proxy.running():
            said = {
                "disk": str(disk),
                "place": f"{lab.storage.url_by(proxy.port)}/{lab.place.container}/lisa",
                "token": Entra().access_token(STORAGE),
                "until": lab.lease().delete_after.isoformat(),
            }
            uploader = subprocess.Popen([sys.executable, "-c", UPLOADER], stdin=subprocess.PIPE)
            proxy.on_cut = uploader.kill
            uploader.communicate(json.dumps(said).encode(), timeout=60)
        assert uploader.returncode == -signal.SIGKILL
        left = lab.blob().get_blob_properties()
        assert names.from_metadata(left.metadata)[names.LEG] == "killed", "it bears a lease from the first request on"
        assert image_blob.WHOLE not in left.metadata
        assert why_no_disk(lab.storage, lab.blob().url) == "it has no footer"

        ours = lab.image_blob(lab.lease("next"))
        ours.put(lab.events.append, patience=timedelta(minutes=2))
        holds(lab.blob(), disk)
        assert lab.said("another leg uploads the image"), "until the lease of the dead one lapsed"
        told = ours.receipt()
        assert told is not None
        assert told.left == (f"blob/{lab.blob().blob_name}",)

    @pytest.mark.parametrize("end", [KeyboardInterrupt, ProvisioningError])
    def test_an_upload_that_ends_half_way_leaves_nothing(
        self, lab: Lab, monkeypatch: pytest.MonkeyPatch, end: type[BaseException]
    ) -> None:
        known = upload.pieces

        def stopped(blocks: Iterator[tuple[int, bytes]]) -> Iterator[tuple[int, bytes]]:
            for number, piece in enumerate(known(blocks)):
                if number == 2:
                    raise end("stop")
                yield piece

        monkeypatch.setattr(upload, "pieces", stopped)
        ours = lab.image_blob(lab.lease())
        with pytest.raises(end):
            ours.put(lab.events.append, patience=SOON)
        assert list(lab.container().list_blob_names()) == []
        told = ours.receipt()
        assert told is not None
        assert (told.created, told.deleted, told.left) == (told.created, told.created, ())

    def test_an_uploader_that_lost_its_blob_uses_that_of_whoever_took_it(
        self, lab: Lab, disk: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As when its host was asleep: the lease lapsed, and another leg has all of it there."""
        first, second = lab.image_blob(lab.lease("first")), lab.image_blob(lab.lease("second"))
        known = upload.pieces

        def overtaken(blocks: Iterator[tuple[int, bytes]]) -> Iterator[tuple[int, bytes]]:
            monkeypatch.setattr(upload, "pieces", known)
            BlobLeaseClient(lab.blob()).break_lease(0)
            second.put(lab.events.append, patience=SOON)
            yield from known(blocks)

        monkeypatch.setattr(upload, "pieces", overtaken)
        first.put(lab.events.append, patience=SOON)
        holds(lab.blob(), disk)
        assert lab.said("is in devstoreaccount1/")


class TestSweep:
    def search(self, lab: Lab, *, hours: float, lives: bool | None = False) -> blob_sweep.FoundBlob:
        now = datetime.now(UTC) + timedelta(hours=hours)
        [found], unread = blob_sweep.search(lab.azure, [lab.place], now=now, is_alive=lambda _repository, _run: lives)
        assert not unread
        return found

    @pytest.fixture
    def whole(self, lab: Lab) -> Lab:
        lab.image_blob(lab.lease()).put(lab.events.append, patience=SOON)
        with lab.container() as container:
            container.upload_blob("lisa/lisa-ci-notes.vhd", b"theirs")
            container.upload_blob("lisa-ci-elsewhere.vhd", b"theirs", metadata={"lisa_ci_owner": "acme/distro/1"})
        return lab

    def test_it_deletes_an_image_whose_lease_ended_and_whose_run_is_over_and_nothing_else(self, whole: Lab) -> None:
        found = self.search(whole, hours=3)
        assert found.is_due
        assert str(found).startswith(f"image {found.name} in {whole.place.name} (64 MiB), leg small: its lease ended")
        [gone] = blob_sweep.delete(whole.azure, [found])
        assert gone.is_removed
        assert sorted(whole.container().list_blob_names()) == ["lisa-ci-elsewhere.vhd", "lisa/lisa-ci-notes.vhd"]
        [again] = blob_sweep.delete(whole.azure, [found])
        assert again.is_removed

    def test_before_the_end_of_its_lease_or_of_its_run_it_stays(self, whole: Lab) -> None:
        assert not self.search(whole, hours=0).is_due
        living = self.search(whole, hours=3, lives=True)
        assert not living.is_due
        assert "its run acme/distro/77 still goes on" in living.reason
        assert blob_sweep.delete(whole.azure, [living]) == []

    def test_one_that_a_leg_prolongs_meanwhile_is_left(self, whole: Lab) -> None:
        found = self.search(whole, hours=3)
        whole.image_blob(whole.lease("late", hours=9)).put(whole.events.append, patience=SOON)
        [left] = blob_sweep.delete(whole.azure, [found])
        assert (left.is_removed, left.what.endswith("a leg prolonged it meanwhile")) == (False, True)
        assert not self.search(whole, hours=3).is_due

    def test_one_that_a_leg_uploads_is_left(self, lab: Lab) -> None:
        ours = lab.image_blob(lab.lease())
        with lab.container() as container:
            blob = container.get_blob_client(ours.name)
            blob.create_page_blob(SIZE, metadata=names.metadata(names.tags(ours.lease)))
            BlobLeaseClient(blob).acquire(60)
        found = self.search(lab, hours=3)
        assert "(not whole)" in str(found)
        [left] = blob_sweep.delete(lab.azure, [found])
        assert (left.is_removed, left.what.endswith("a leg is uploading it")) == (False, True)

    def test_a_container_that_is_not_there_is_told_with_what_to_do(self, lab: Lab) -> None:
        missing = dataclasses.replace(lab.place, container="nowhere")
        found, [told] = blob_sweep.search(lab.azure, [missing], now=datetime.now(UTC), is_alive=lambda *_: None)
        assert not found
        assert not told.is_removed
        assert "ContainerNotFound" in told.what
        assert "AZURE_IMAGE_CONTAINERS" in told.what
