"""The containers of the user's, searched for images that nobody needs any longer; and their deletion.

Only blobs that bear our lease are touched, as groups are: when it has ended and the run of whoever needed the image
longest does not live. One that is being uploaded, or was prolonged meanwhile, is left alone by Azure itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from azure.core import MatchConditions
from azure.core.exceptions import AzureError
from azure.storage.blob import BlobClient, BlobProperties

from lisa_ci.blobs import Container
from lisa_ci.errors import ProvisioningError
from lisa_ci.model import Leftover
from lisa_ci.platforms.azure import names
from lisa_ci.platforms.azure.client import Subscription
from lisa_ci.platforms.azure.image_blob import WHOLE, opened, opened_blob, told
from lisa_ci.platforms.azure.sweep import IsAlive, due, is_ours, lease_end
from lisa_ci.platforms.azure.upload import code_of, reason

_PREFIX: Final = f"{names.PREFIX}-"


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundBlob:
    """An image of ours. ``reason`` is why it goes, or stays; ``etag`` of what was judged."""

    place: Container
    name: str
    owner: str
    leg: str
    is_due: bool
    reason: str
    etag: str
    size_bytes: int
    is_whole: bool

    def __str__(self) -> str:
        state = f"{self.size_bytes >> 20} MiB" if self.is_whole else "not whole"
        return f"image {self.name} in {self.place.name} ({state}), leg {self.leg}: {self.reason}"


def search(
    azure: Subscription, places: Iterable[Container], *, now: datetime, is_alive: IsAlive
) -> tuple[Sequence[FoundBlob], Sequence[Leftover]]:
    """Every blob of the containers that bears our lease, and the containers that cannot be read. Reads only."""
    found: list[FoundBlob] = []
    unread: list[Leftover] = []
    for place in places:
        try:
            found += _listed(azure, place, now=now, is_alive=is_alive)
        except ProvisioningError as error:
            unread.append(Leftover(what=f"{error.message}; {error.hint}", owner="", is_removed=False))
    return found, unread


def _listed(azure: Subscription, place: Container, *, now: datetime, is_alive: IsAlive) -> Sequence[FoundBlob]:
    with told(place, "list images"), opened(azure, place) as container:
        rows = list(container.list_blobs(name_starts_with=f"{place.prefix}{_PREFIX}", include=["metadata"]))
    return [
        _judged(place, row, now=now, is_alive=is_alive)
        for row in rows
        if is_ours(names.from_metadata(row.metadata or {}))
    ]


def _judged(place: Container, row: BlobProperties, *, now: datetime, is_alive: IsAlive) -> FoundBlob:
    tags = names.from_metadata(row.metadata)
    owner = tags[names.OWNER]
    until, why_bad = lease_end(tags)
    is_due, reason = due(owner, until, "", now=now, is_alive=is_alive, why_bad=why_bad)
    return FoundBlob(
        place=place,
        name=str(row.name),
        owner=owner,
        leg=tags.get(names.LEG, "?"),
        is_due=is_due,
        reason=reason,
        etag=f'"{row.etag.strip(chr(34))}"',  # a header quotes it, a listing does not
        size_bytes=row.size,
        is_whole=WHOLE in row.metadata,
    )


def delete(azure: Subscription, found: Iterable[FoundBlob]) -> Sequence[Leftover]:
    """Have what is due deleted, where it is still what was judged."""
    return [_deleted(azure, one) for one in found if one.is_due]


def _deleted(azure: Subscription, one: FoundBlob) -> Leftover:
    what, why = f"image {one.name} in {one.place.name}", ""
    with opened_blob(azure, one.place, one.name) as blob:
        try:
            blob.delete_blob(etag=one.etag, match_condition=MatchConditions.IfNotModified)
        except AzureError as error:
            why = "" if _is_gone(blob, error) else _why(error)
    return Leftover(what=f"{what}: {why}" if why else what, owner=one.owner, is_removed=not why)


def _is_gone(blob: BlobClient, error: AzureError) -> bool:
    """Whether there is no such blob any more: of that, a condition says only that it does not hold."""
    if code_of(error) != "ConditionNotMet":
        return code_of(error) == "BlobNotFound"
    try:
        return not blob.exists()
    except AzureError:
        return False


def _why(error: AzureError) -> str:
    known = {"LeaseIdMissing": "a leg is uploading it", "ConditionNotMet": "a leg prolonged it meanwhile"}
    return known.get(code_of(error)) or reason(error)
