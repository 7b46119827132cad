"""The disk under test, brought into a leg's resource group: made for an upload, filled by a signed link, closed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from lisa_ci import image as images
from lisa_ci.errors import ProvisioningError
from lisa_ci.events import Emit
from lisa_ci.model import Image, Profile, Secret, Storage, Subject
from lisa_ci.platforms.azure import bodies
from lisa_ci.platforms.azure.group import ResourceGroup
from lisa_ci.platforms.azure.images_ref import ManagedDisk
from lisa_ci.platforms.azure.upload import blob_size, upload_vhd

NAME: Final = "source"
_SECONDS: Final = 6 * 3600  # how long the signed link works
_OPERATION: Final = timedelta(minutes=10)


def image_disk(group: ResourceGroup) -> ManagedDisk:
    """The managed disk in the group that holds, or is to hold, the image."""
    return ManagedDisk(subscription=group.azure.id, group=group.name, name=NAME)


def upload_image(
    group: ResourceGroup,
    subject: Subject,
    profile: Profile,
    upload: Callable[[Image, Path, Secret, Emit], object] | None,
    *,
    emit: Emit,
) -> None:
    """Make ``image_disk`` and fill it; it bears the lease. Three write requests. ProvisioningError."""
    image = subject.image
    if image is None:
        raise ProvisioningError("the azure platform boots an image, and the pipeline has none", hint="write 'image:'")
    path = images.local_path(image, emit)
    azure, disks = group.azure, group.azure.compute.disks
    until = azure.clock.now() + _OPERATION.total_seconds()

    def done(begin: Callable[[], Any], doing: str) -> Any:
        return azure.followed(azure.patiently(begin, doing, until=until, say=group.say), doing, until=until)

    body: Any = _body(group, image, profile)
    grant: Any = {"access": "Write", "durationInSeconds": _SECONDS}
    at_end = azure.steps(final_state_via="location")
    done(
        lambda: disks.begin_create_or_update(group.name, NAME, body, polling=azure.steps()), "make a disk for the image"
    )
    access = done(
        lambda: disks.begin_grant_access(group.name, NAME, grant, polling=at_end), "open the disk for the image"
    )
    link = str(getattr(access, "access_sas", "") or "")
    if not link:
        raise ProvisioningError("Azure gives no link to write the disk by")
    try:
        (upload or upload_vhd)(image, path, Secret(link), emit)
    finally:
        until = azure.clock.now() + _OPERATION.total_seconds()
        end = azure.steps(final_state_via="location")
        done(lambda: disks.begin_revoke_access(group.name, NAME, polling=end), "close the image's disk")


def _body(group: ResourceGroup, image: Image, profile: Profile) -> dict[str, Any]:
    size = blob_size(image)
    azure = profile.azure
    storage = bodies.STORAGE[azure.os_storage if azure else Storage.PREMIUM_SSD]
    return {
        "location": group.region,
        "tags": group.tags,
        "sku": {"name": storage},
        "properties": {
            "osType": "Linux",
            "hyperVGeneration": bodies.GENERATION[profile.firmware],
            "creationData": {"createOption": "Upload", "uploadSizeBytes": size},
            **bodies.disk_security(profile),
        },
    }
