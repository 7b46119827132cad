"""Page blobs: the double in memory answers what legs and sweeps ask as Azurite does, to the status and the code."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from azure.core import MatchConditions
from azure.core.credentials import AzureNamedKeyCredential
from azure.core.exceptions import HttpResponseError
from azure.storage.blob import BlobClient, BlobLeaseClient, ContainerClient

from tests.doubles.azure.blobs import Blobs
from tests.doubles.azure.wire import InProcessTransport
from tests.doubles.azurite import KEY, azurite

VERSION = "2025-11-05"
Opened = Callable[[str], BlobClient]


@pytest.fixture(scope="module", params=["azurite", "double"])
def opened(request: pytest.FixtureRequest) -> Iterator[Opened]:
    """A client of a blob by its name, in a container that is there."""
    if request.param == "azurite":
        with azurite() as running:
            service, container = running.service(), running.container()
            yield lambda name: service.get_blob_client(container, name)
        return
    blobs = Blobs(now=time.time, containers={"vhds"})
    options: dict[str, Any] = {
        "credential": AzureNamedKeyCredential("images", KEY),
        "api_version": VERSION,
        "transport": InProcessTransport(blobs.serve, lambda _seconds: None),
    }
    yield lambda name: BlobClient("https://images.blob.core.windows.net", "vhds", name, **options)


def said(action: Callable[[], object]) -> str:
    """How it ends: the service's word for it."""
    try:
        action()
    except HttpResponseError as error:
        code = getattr(error, "error_code", None)
        return f"{error.status_code} {getattr(code, 'value', code)}"
    return "done"


def made(opened: Opened, name: str) -> BlobClient:
    blob = opened(name)
    blob.create_page_blob(1024, metadata={"lisa_ci_owner": "acme"})
    return blob


def test_a_blob_is_made_once_where_it_has_to_be_missing(opened: Opened) -> None:
    blob = opened("once.vhd")
    missing = {"match_condition": MatchConditions.IfMissing}
    assert said(lambda: blob.create_page_blob(1024, **missing)) == "done"
    assert said(lambda: blob.create_page_blob(1024, **missing)) == "409 BlobAlreadyExists"
    assert said(lambda: blob.create_page_blob(1024)) == "done"


def test_what_is_not_there_is_said_to_be_missing(opened: Opened) -> None:
    blob = opened("none.vhd")
    answers = [
        said(blob.get_blob_properties),
        said(lambda: blob.set_blob_metadata({})),
        said(blob.delete_blob),
        said(lambda: BlobLeaseClient(blob).acquire(60)),
        said(lambda: blob.upload_page(b"\1" * 512, 0, 512)),
    ]
    assert answers == ["404 BlobNotFound"] * 5
    assert not blob.exists()


def test_it_tells_of_its_metadata_size_and_type(opened: Opened) -> None:
    found = made(opened, "told.vhd").get_blob_properties()
    assert (found.metadata, found.size, found.blob_type.value) == ({"lisa_ci_owner": "acme"}, 1024, "PageBlob")


def test_a_list_has_metadata_and_versions(opened: Opened) -> None:
    blob = made(opened, "listed/one.vhd")
    container = ContainerClient(
        blob.url.rpartition(f"/{blob.container_name}/")[0],
        blob.container_name,
        credential=blob.credential,
        api_version=VERSION,
        transport=blob._pipeline._transport,
    )
    [row] = container.list_blobs(name_starts_with="listed/", include=["metadata"])
    assert (row.name, row.metadata, row.size) == ("listed/one.vhd", {"lisa_ci_owner": "acme"}, 1024)
    assert f'"{row.etag}"' == blob.get_blob_properties().etag


def test_whoever_holds_the_lease_is_the_only_one_to_write(opened: Opened) -> None:
    blob = made(opened, "leased.vhd")
    lease = BlobLeaseClient(blob)
    lease.acquire(60)
    assert said(lambda: lease.acquire(60)) == "done", "an answer that was lost is asked for again"
    other = BlobLeaseClient(blob)
    writes: list[Callable[..., object]] = [
        lambda **told: blob.create_page_blob(1024, **told),
        lambda **told: blob.set_blob_metadata({}, **told),
        lambda **told: blob.upload_page(b"\1" * 512, 0, 512, **told),
        blob.delete_blob,
    ]
    assert said(lambda: other.acquire(60)) == "409 LeaseAlreadyPresent"
    assert said(other.renew) == "409 LeaseIdMismatchWithLeaseOperation"
    assert [said(write) for write in writes] == ["412 LeaseIdMissing"] * 4
    assert [said(lambda write=write: write(lease=other)) for write in writes] == [
        "412 LeaseIdMismatchWithBlobOperation"
    ] * 4
    assert [said(lambda write=write: write(lease=lease)) for write in writes] == ["done"] * 4


def test_a_lease_outlives_the_blob_that_is_made_anew_and_ends_when_it_is_given_back(opened: Opened) -> None:
    blob = made(opened, "again.vhd")
    lease = BlobLeaseClient(blob)
    lease.acquire(60)
    blob.upload_page(b"\1" * 512, 0, 512, lease=lease)
    blob.create_page_blob(1024, lease=lease)
    assert said(lambda: BlobLeaseClient(blob).acquire(60)) == "409 LeaseAlreadyPresent"
    assert said(lease.renew) == "done"
    known = lease.id
    lease.release()
    assert said(lambda: blob.set_blob_metadata({}, lease=known)) == "412 LeaseNotPresentWithBlobOperation"
    assert said(lambda: BlobLeaseClient(blob).acquire(60)) == "done"


def test_a_version_that_is_no_longer_there_is_not_written_to(opened: Opened) -> None:
    blob = made(opened, "version.vhd")
    old = {"etag": blob.get_blob_properties().etag, "match_condition": MatchConditions.IfNotModified}
    assert said(lambda: blob.set_blob_metadata({"lisa_ci_owner": "b"}, **old)) == "done"
    assert said(lambda: blob.set_blob_metadata({}, **old)) == "412 ConditionNotMet"
    assert said(lambda: blob.delete_blob(**old)) == "412 ConditionNotMet"
    assert blob.get_blob_properties().metadata == {"lisa_ci_owner": "b"}


def test_a_page_beyond_the_end_is_refused(opened: Opened) -> None:
    blob = made(opened, "end.vhd")
    assert said(lambda: blob.upload_page(b"\1" * 512, 1024, 512)).startswith("416 ")
