"""Disks that wait for an upload are page blobs of Azurite, opened by a signed link as Azure opens its own."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from azure.storage.blob import BlobClient, BlobSasPermissions, BlobServiceClient, BlobType, generate_blob_sas

from lisa_ci import vhd
from tests.doubles.azure.arm import Stored
from tests.doubles.azurite import KEY, Azurite

CONTAINER: Final = "disks"
_ACCOUNT: Final = "devstoreaccount1"
_AT_ONCE: Final = 4 << 20


@dataclass(frozen=True, slots=True)
class UploadedDisks:
    """``link`` is for ``Arm.uploads``; ``fetch`` for what boots the disk."""

    storage: Azurite

    def __post_init__(self) -> None:
        with self.storage.service() as service:
            service.create_container(CONTAINER)

    def link(self, disk: Stored) -> str:
        with self.storage.service() as service:
            self._blob(service, disk).create_page_blob(size=disk.properties["creationData"]["uploadSizeBytes"])
        later = datetime.now(UTC) + timedelta(hours=1)
        may = BlobSasPermissions(read=True, write=True)
        sas = generate_blob_sas(_ACCOUNT, CONTAINER, _name(disk), account_key=KEY, permission=may, expiry=later)
        return f"{self.storage.url}/{CONTAINER}/{_name(disk)}?{sas}"

    def fetch(self, disk: Stored, target: Path) -> None:
        """The blob as a sparse file."""
        with self.storage.service() as service, target.open("wb") as file:
            blob = self._blob(service, disk)
            for pages in blob.list_page_ranges():
                for start in range(pages.start, pages.end + 1, _AT_ONCE):
                    file.seek(start)
                    length = min(_AT_ONCE, pages.end + 1 - start)
                    file.write(blob.download_blob(offset=start, length=length).readall())
            file.truncate(disk.properties["creationData"]["uploadSizeBytes"])

    def _blob(self, service: BlobServiceClient, disk: Stored) -> BlobClient:
        return service.get_blob_client(CONTAINER, _name(disk))


def why_no_disk(storage: Azurite, url: str) -> str:
    """Why the blob at ``url`` is no fixed VHD, as ``Arm.imports`` asks; '' where it is one."""
    container, _, name = url.removeprefix(f"{storage.url}/").partition("/")
    with storage.service() as service:
        blob = service.get_blob_client(container, name)
        if not blob.exists():
            return "it is not there"
        found = blob.get_blob_properties()
        if found.blob_type != BlobType.PAGEBLOB:
            return "it is no page blob"
        footer = blob.download_blob(offset=found.size - vhd.FOOTER_BYTES, length=vhd.FOOTER_BYTES).readall()
    return "" if footer.startswith(b"conectix") else "it has no footer"


def _name(disk: Stored) -> str:
    return f"{disk.group}.vhd"
