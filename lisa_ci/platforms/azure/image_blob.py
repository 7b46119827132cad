"""The disk under test in a container of the user's: one page blob for each image, which the deployment imports.

The blob is named by the disk's digest, so that all legs of a run, and later runs, bring it once. It bears a lease in
its metadata from the request that makes it. Who uploads holds Azure's own lease of the blob, which lapses a minute
after its holder died; the others wait. Only a blob whose metadata say so, which is written last, is whole. Anything
else is begun anew.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any, Final

from azure.core import MatchConditions
from azure.core.exceptions import AzureError, HttpResponseError, ResourceNotFoundError
from azure.storage.blob import BlobClient, BlobLeaseClient, BlobProperties, BlobType, ContainerClient

from lisa_ci import image as images
from lisa_ci.blobs import Container
from lisa_ci.errors import DataError, ProvisioningError
from lisa_ci.events import Emit, Level
from lisa_ci.model import Image, Lease, Receipt
from lisa_ci.platforms.azure import names
from lisa_ci.platforms.azure.client import Say, Subscription
from lisa_ci.platforms.azure.containers import VARIABLE
from lisa_ci.platforms.azure.images_ref import Blob
from lisa_ci.platforms.azure.upload import STAGE, blob_options, blob_size, check_size, code_of, reason, send_vhd

ACCOUNT: Final = "Microsoft.Storage/storageAccounts"
DATA_ROLE: Final = "Storage Blob Data Contributor"
WHOLE: Final = "lisa_ci_whole"  # digest of the disk and bytes of the blob: all of it is there
_LEASE_SECONDS: Final = 60
_RENEW_SECONDS: Final = 15.0
_POLL_SECONDS: Final = 5.0
_MOST_TURNS: Final = 3
_AT_ONCE: Final[Mapping[str, Any]] = {"retry_total": 0, "connection_timeout": 5, "read_timeout": 5}
_OTHERS: Final = frozenset({"BlobAlreadyExists", "BlobNotFound", "ConditionNotMet"})
_NOT_LET: Final = frozenset({401, 403})


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageContainer:
    """A container, and its account as Azure Resource Manager knows it: images can be made of it in its region."""

    place: Container
    account_id: str
    region: str


class _LostError(Exception):
    """Another one has taken the blob over, or it is gone."""


def located(azure: Subscription, named: Sequence[Container]) -> tuple[ImageContainer, ...]:
    """The containers with their accounts; one question. ProvisioningError for an account that is not there."""
    if not named:
        return ()
    listing, wanted = azure.resources.resources, f"resourceType eq '{ACCOUNT}'"
    rows = azure.asked(lambda: list(listing.list(filter=wanted)), "list storage accounts")
    accounts = {str(row.name).lower(): row for row in rows}
    missing = next((one for one in named if one.account.lower() not in accounts), None)
    if missing is not None:
        raise ProvisioningError(
            f"{VARIABLE}: the storage account {missing.account} is not in the subscription, or may not be seen",
            hint="an image is made of a blob of the same subscription; the role in templates/azure/role.json sees it",
        )
    return tuple(
        ImageContainer(
            place=one,
            account_id=str(accounts[one.account.lower()].id),
            region=str(accounts[one.account.lower()].location).replace(" ", "").lower(),
        )
        for one in named
    )


def opened(azure: Subscription, place: Container) -> ContainerClient:
    """A client of the container, as whoever we are."""
    return ContainerClient(place.account_url, place.container, **_options(azure))


def opened_blob(azure: Subscription, place: Container, name: str) -> BlobClient:
    """A client of one blob in it."""
    return BlobClient(place.account_url, place.container, name, **_options(azure))


def _options(azure: Subscription) -> dict[str, Any]:
    return {"credential": azure.credential, **blob_options(), **azure.storage}


@contextmanager
def told(place: Container, doing: str) -> Iterator[None]:
    """The SDK's errors as ours: ProvisioningError with what to do."""
    try:
        yield
    except AzureError as error:
        status = error.status_code if isinstance(error, HttpResponseError) else None
        hint = "a new attempt may help"
        if status in _NOT_LET:
            hint = f"give the identity the role '{DATA_ROLE}' on the container, and let the runner through its firewall"
        elif code_of(error) == "ContainerNotFound":
            hint = f"make the container, or correct {VARIABLE}"
        raise ProvisioningError(f"cannot {doing} in {place.name}: {reason(error)}", hint=hint) from error


@dataclass(slots=True, kw_only=True)
class ImageBlob:
    """One image's blob. ``lease`` is the leg's; what the blob bears ends with the full hour after it, so that legs
    that begin together need not prolong it one after the other.
    """

    azure: Subscription
    where: ImageContainer
    image: Image
    lease: Lease
    say: Say
    _is_made: bool = field(default=False, init=False)
    _is_prolonged: bool = field(default=False, init=False)
    _is_deleted: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        hour = self.lease.delete_after.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
        self.lease = replace(self.lease, delete_after=hour + timedelta(hours=1))

    @property
    def name(self) -> str:
        return f"{self.where.place.prefix}{names.PREFIX}-{self.image.disk_digest}.vhd"

    @property
    def reference(self) -> Blob:
        """What a deployment names."""
        return Blob(url=f"{self.where.place.url}/{self.name}", account_id=self.where.account_id)

    def put(self, emit: Emit, *, patience: timedelta) -> None:
        """The whole image is there when this returns, and stays until the leg's lease ends. ProvisioningError.

        ``patience``: how long another leg may take that uploads it.
        """
        check_size(self.image)
        until = self.azure.clock.now() + patience.total_seconds()
        turns = 0
        place = self.where.place
        with told(place, f"put the image {self.name}"), opened_blob(self.azure, place, self.name) as blob:
            while True:
                found = self._look(blob)
                if found is not None and is_whole(found, self.image):
                    if self._is_ours_long_enough(blob, found):
                        return
                    self.azure.clock.sleep(1)
                elif turns == _MOST_TURNS:
                    raise ProvisioningError(f"the image {self.name} was taken away {turns} times while it was uploaded")
                elif (lease := self._held(blob, found)) is None:
                    self._wait(until)
                else:
                    turns += 1
                    with suppress(_LostError):
                        self._fill(blob, lease, emit)

    def _look(self, blob: BlobClient) -> BlobProperties | None:
        """None where there is none. ProvisioningError for one that is not ours: it is never written to."""
        try:
            found = blob.get_blob_properties()
        except ResourceNotFoundError as error:
            if code_of(error) == "ContainerNotFound":
                raise
            return None
        if names.OWNER not in names.from_metadata(found.metadata):
            raise ProvisioningError(
                f"the blob {self.name} in {self.where.place.name} is none of lisa-ci's",
                hint=f"move it away, or name another container by {VARIABLE}",
            )
        return found

    # ---- there already ---------------------------------------------------------------------------------------------

    def _is_ours_long_enough(self, blob: BlobClient, found: BlobProperties) -> bool:
        """Whether the blob's lease goes on as long as ours, prolonged where it has to be; False: look again."""
        if not self._is_made:
            self.say(f"the image is in {self.where.place.name} already: {self.name}", Level.INFO)
        ours = names.tags(self.lease)
        if (_lease_end(found) or datetime.min.replace(tzinfo=UTC)) >= self.lease.delete_after:
            self._is_prolonged = names.from_metadata(found.metadata) == ours
            return True
        longer = {**found.metadata, **names.metadata(ours)}
        self._is_prolonged = True  # until it is seen to be another's: an answer may be lost
        try:
            blob.set_blob_metadata(longer, etag=found.etag, match_condition=MatchConditions.IfNotModified)
        except HttpResponseError as error:
            if _is_of_others(error):
                return False
            raise
        return True

    # ---- to be uploaded --------------------------------------------------------------------------------------------

    def _held(self, blob: BlobClient, found: BlobProperties | None) -> BlobLeaseClient | None:
        """The blob, made where it is not there, for us alone; None where another one has it."""
        try:
            if found is None:
                self._is_made = True  # from here on it has to be told of, whatever the answer was
                self._make(blob, match_condition=MatchConditions.IfMissing)
        except HttpResponseError as error:
            if not _is_of_others(error):
                is_refused = (error.status_code or 0) < HTTPStatus.INTERNAL_SERVER_ERROR
                self._is_made = not is_refused
                raise
        lease = BlobLeaseClient(blob)
        try:
            lease.acquire(_LEASE_SECONDS)
        except HttpResponseError as error:
            if _is_of_others(error):
                self._is_made = False  # whoever has it tells of it
                return None
            raise
        return lease

    def _make(self, blob: BlobClient, **options: Any) -> None:
        """Empty, and with the lease in it: the one request makes both."""
        metadata = names.metadata(names.tags(self.lease))
        blob.create_page_blob(size=blob_size(self.image), metadata=metadata, **options)

    def _wait(self, until: float) -> None:
        if self.azure.clock.now() + _POLL_SECONDS > until:
            raise ProvisioningError(
                f"another leg has not uploaded the image {self.name} in time", hint="raise timeouts.leg"
            )
        self.say(f"another leg uploads the image to {self.where.place.name}", Level.DEBUG)
        self.azure.clock.sleep(_POLL_SECONDS)

    def _fill(self, blob: BlobClient, lease: BlobLeaseClient, emit: Emit) -> None:
        """Upload all of it, and say at last that it is whole. What fails on the way is deleted. _LostError."""
        with _renewed(lease):
            found = self._look(blob)
            if found is not None and is_whole(found, self.image):
                self._is_made = False  # whoever uploaded it tells of it
                return
            path = images.local_path(self.image, emit)
            self._is_made, is_settled = True, False
            try:
                with images.stage(emit, STAGE, self.image.size_bytes):
                    self._make(blob, lease=lease)
                    send_vhd(blob, self.image, path, emit, lease=lease)
                    metadata = {**names.metadata(names.tags(self.lease)), WHOLE: whole_mark(self.image)}
                    blob.set_blob_metadata(metadata, lease=lease)
                is_settled = True
            except HttpResponseError as error:
                if not _is_of_others(error):
                    raise
                self._is_made, is_settled = False, True  # whoever took it over tells of it
                raise _LostError from error
            finally:
                if not is_settled:
                    self._discard(blob, lease)

    def _discard(self, blob: BlobClient, lease: BlobLeaseClient) -> None:
        """One request, which nobody waits for long: what it does not reach, a sweep does."""
        with suppress(AzureError):
            blob.delete_blob(lease=lease, **_AT_ONCE)
            self._is_deleted = True

    # ---- the end ---------------------------------------------------------------------------------------------------

    def receipt(self) -> Receipt | None:
        """What this leg made or prolonged here. It stays for other legs: a sweep takes it when its lease has ended."""
        if not (self._is_made or self._is_prolonged):
            return None
        blob = (f"blob/{self.name}",)
        return Receipt(
            place=f"azure {self.where.region} {self.where.place.name}",
            created=blob if self._is_made else (),
            deleted=blob if self._is_deleted else (),
            left=() if self._is_deleted else blob,
            delete_after=self.lease.delete_after,
        )


def _is_of_others(error: HttpResponseError) -> bool:
    """Whether it is because another leg or a sweep did something meanwhile: then looking again shows what."""
    code = code_of(error)
    return code in _OTHERS or code.startswith("Lease")


def whole_mark(image: Image) -> str:
    """What a whole blob's metadata say of it."""
    return f"{image.disk_digest}/{blob_size(image)}"


def is_whole(found: BlobProperties, image: Image) -> bool:
    """Whether all of the image is there: said last, and of a page blob of that size."""
    is_sized = found.size == blob_size(image) and found.blob_type == BlobType.PAGEBLOB
    return bool(is_sized and found.metadata.get(WHOLE) == whole_mark(image))


def _lease_end(found: BlobProperties) -> datetime | None:
    """When it may be deleted; None where that cannot be read."""
    with suppress(DataError):
        return names.delete_after(names.from_metadata(found.metadata))
    return None


@contextmanager
def _renewed(lease: BlobLeaseClient) -> Iterator[None]:
    """The lease goes on as long as the block, and is given back at its end."""
    over = threading.Event()

    def renew() -> None:
        while not over.wait(_RENEW_SECONDS):
            with suppress(AzureError):
                lease.renew()

    threading.Thread(target=renew, name="lisa-ci-blob-lease", daemon=True).start()
    try:
        yield
    finally:
        over.set()
        with suppress(AzureError):
            lease.release(**_AT_ONCE)
