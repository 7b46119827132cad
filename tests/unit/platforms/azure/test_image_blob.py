"""A local disk in a container, on a clock that only waiting moves; with real storage: tests/integration."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from azure.core.credentials import AccessToken

from lisa_ci import image
from lisa_ci.errors import ProvisioningError
from lisa_ci.events import Level
from lisa_ci.model import Image, ImageSource
from lisa_ci.platforms.azure import client, containers, names
from lisa_ci.platforms.azure.client import Subscription
from lisa_ci.platforms.azure.image_blob import ImageBlob, ImageContainer
from tests.doubles.azure.blobs import Blobs
from tests.doubles.azure.wire import Answer, CutError, InProcessTransport, Request
from tests.doubles.azure.world import FakeClock
from tests.unit.platforms.azure.orders import lease

[PLACE] = containers.named({containers.VARIABLE: "https://images.blob.core.windows.net/vhds"})
UNTIL = datetime(2030, 1, 1, 10, 20, tzinfo=UTC)


class Token:
    def get_token(self, *_: str, **__: Any) -> AccessToken:
        return AccessToken("double", int(time.time()) + 86400)


@dataclass
class World:
    """``spoil`` gives another answer to a request than storage would."""

    disk: Image
    clock: FakeClock = field(default_factory=FakeClock)
    spoil: Callable[[Request], Answer | None] = lambda _request: None
    said: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.blobs = Blobs(now=self.clock.now, containers={"vhds"})

    def serve(self, request: Request) -> Answer:
        self.requests.append(f"{request.method} {request.query.get('comp', '')}".strip())
        return self.spoil(request) or self.blobs.serve(request)

    @property
    def azure(self) -> Subscription:
        storage = {"transport": InProcessTransport(self.serve, self.clock.sleep)}
        return client.made("0", Token(), clock=self.clock.as_clock(), storage=storage)

    def blob(self, **told: Any) -> ImageBlob:
        return ImageBlob(
            azure=self.azure,
            where=ImageContainer(place=PLACE, account_id="/account", region="westeurope"),
            image=self.disk,
            lease=lease(**{"delete_after": UNTIL, **told}),
            say=lambda text, _level=Level.INFO: self.said.append(text),
        )

    def put(self, **told: Any) -> ImageBlob:
        made = self.blob(**told)
        made.put(lambda _event: None, patience=timedelta(minutes=10))
        return made


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Image:
    folder = tmp_path_factory.mktemp("disk")
    with (folder / "disk.raw").open("wb") as file:
        file.truncate(20 << 20)
    return image.resolve(ImageSource(path=str(folder / "disk.raw")), folder)


@pytest.fixture
def world(disk: Image) -> World:
    return World(disk=disk)


def answer(status: int, code: str) -> Answer:
    return Answer(status=status, body=b"", headers={"x-ms-error-code": code})


def test_the_lease_is_there_from_the_first_request_on_and_the_mark_of_a_whole_blob_comes_last(world: World) -> None:
    world.put()
    assert all(names.OWNER in names.from_metadata(metadata) for _, metadata in world.blobs.ever)
    assert ["lisa_ci_whole" in metadata for _, metadata in world.blobs.ever] == [False, False, True]
    assert world.requests == [
        *("HEAD", "PUT", "PUT lease", "HEAD"),  # it is missing; made, and held
        *("PUT", "PUT page", "PUT metadata", "PUT lease"),  # emptied, filled, said to be whole, given back
        "HEAD",
    ]


def test_it_stays_until_the_full_hour_after_the_leg_s_lease_so_that_legs_beside_it_need_not_prolong_it(
    world: World,
) -> None:
    first = world.put()
    del world.requests[:]
    second = world.put(leg="other", delete_after=UNTIL + timedelta(minutes=30))
    assert first.lease.delete_after == second.lease.delete_after == datetime(2030, 1, 1, 11, tzinfo=UTC)
    assert (world.requests, second.receipt()) == (["HEAD"], None)


def test_a_leg_that_is_being_uploaded_by_another_waits_and_takes_over_when_that_one_has_died(world: World) -> None:
    ours = world.blob()
    metadata = names.metadata(names.tags(ours.lease))
    world.blobs.put(f"vhds/{ours.name}", 20 << 20, metadata, lease_seconds=60)
    before = world.clock.now()
    world.put()
    assert 60 <= world.clock.now() - before < 70
    assert any("another leg uploads the image" in text for text in world.said)


@pytest.mark.parametrize("status", [409, 412])
def test_a_refusal_that_is_not_because_of_another_leg_is_told_at_once(world: World, status: int) -> None:
    """As of an account that takes no page blobs."""
    world.spoil = lambda request: answer(status, "BlobTypeNotSupported") if request.method == "PUT" else None
    before = world.clock.now()
    with pytest.raises(ProvisioningError, match=r"cannot put the image .* in images/vhds: BlobTypeNotSupported"):
        world.put()
    assert world.clock.now() - before < 1


def test_a_container_that_is_not_there_is_told_with_the_variable(world: World) -> None:
    world.blobs.containers.clear()
    made = world.blob()
    with pytest.raises(ProvisioningError, match="ContainerNotFound") as caught:
        made.put(lambda _event: None, patience=timedelta(minutes=10))
    assert "AZURE_IMAGE_CONTAINERS" in caught.value.hint
    assert made.receipt() is None


def test_a_blob_of_which_no_answer_came_is_told_of(world: World) -> None:
    def cut(request: Request) -> Answer | None:
        if "if-none-match" not in request.headers:
            return answer(503, "ServerBusy") if request.method == "PUT" else None
        world.blobs.serve(request)
        raise CutError("reset after the request was done")

    world.spoil = cut
    made = world.blob()
    with pytest.raises(ProvisioningError):
        made.put(lambda _event: None, patience=timedelta(minutes=10))
    told = made.receipt()
    assert told is not None
    assert told.left == (f"blob/{made.name}",)
    assert len(world.blobs.blobs) == 1


def test_a_blob_that_is_taken_away_again_and_again_ends_the_leg(world: World) -> None:
    def taken(request: Request) -> Answer | None:
        return answer(412, "LeaseLost") if request.query.get("comp") == "page" else None

    world.spoil = taken
    with pytest.raises(ProvisioningError, match="was taken away 3 times"):
        world.put()


def test_an_upload_that_fails_for_good_leaves_no_blob_and_its_receipt_says_so(world: World) -> None:
    world.spoil = lambda request: answer(500, "InternalError") if request.query.get("comp") == "page" else None
    made = world.blob()
    with pytest.raises(ProvisioningError, match="InternalError"):
        made.put(lambda _event: None, patience=timedelta(minutes=10))
    assert world.blobs.blobs == {}
    told = made.receipt()
    assert told is not None
    assert (told.created, told.left) == (told.deleted, ())


def test_a_prolongation_whose_answer_was_lost_is_told_of(world: World) -> None:
    """It is sent again, and then the version is no longer the one that was seen."""
    world.put(owner="acme/distro/1")
    lost: list[Request] = []

    def cut(request: Request) -> Answer | None:
        if request.query.get("comp") == "metadata" and not lost:
            lost.append(request)
            world.blobs.serve(request)
            raise CutError("reset after the request was done")
        return None

    world.spoil = cut
    later = world.put(owner="acme/distro/2", delete_after=UNTIL + timedelta(hours=5))
    told = later.receipt()
    assert told is not None
    assert (told.created, told.left) == ((), (f"blob/{later.name}",))


def test_the_owner_run_that_a_leg_of_another_run_prolongs_for_is_that_one(world: World) -> None:
    world.put(owner="acme/distro/1")
    later = world.put(owner="acme/distro/2", delete_after=UNTIL + timedelta(hours=5))
    [blob] = world.blobs.blobs.values()
    assert names.from_metadata(blob.metadata)[names.OWNER] == "acme/distro/2"
    assert "lisa_ci_whole" in blob.metadata
    told = later.receipt()
    assert told is not None
    assert (told.created, told.left) == ((), (f"blob/{later.name}",))
