"""Azure asked about an image that is named: which exact version it is, and what it can. Nothing is created."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from lisa_ci.errors import PipelineError
from lisa_ci.model import CloudImage, ImageSource
from lisa_ci.platforms.azure import bodies
from lisa_ci.platforms.azure.client import Subscription, refusals
from lisa_ci.platforms.azure.images_ref import (
    LATEST,
    Blob,
    CommunityGallery,
    ImageFacts,
    ManagedDisk,
    ManagedImage,
    Marketplace,
    NamedImage,
    OwnGallery,
    SharedGallery,
    candidates,
    facts,
    purchase,
    resolved,
)

_GALLERY_API: Final = "2025-12-03"


def exact(azure: Subscription, image: NamedImage, region: str) -> NamedImage:
    """The image with the version that it is now, as ``region`` has it. RefusedError, ProvisioningError."""
    with refusals(f"list the versions of {image}"):
        return resolved(image, _versions(azure, image, region))


def known(azure: Subscription, image: NamedImage, region: str) -> tuple[NamedImage, ImageFacts]:
    """The image with the plan that it is sold by, and what it can. RefusedError where it is not there."""
    with refusals(f"look at {image}"):
        told = _properties(azure, image, region)
    if isinstance(image, Marketplace):
        return replace(image, purchase=purchase(told)), facts(told)
    return image, facts(told)


def cloud_image(azure: Subscription, source: ImageSource, image: NamedImage, region: str) -> CloudImage:
    """The exact image for a plan. PipelineError where the pipeline says something else of it than Azure."""
    found, able = known(azure, exact(azure, image, region), region)
    if able.arch is not source.arch:
        raise PipelineError(f"{found} is for {able.arch.value}, not {source.arch.value}", hint="correct 'image.arch'")
    if able.firmware not in source.firmware:
        said = " or ".join(one.value for one in source.firmware)
        raise PipelineError(f"{found} boots by {able.firmware.value}, not {said}", hint="correct 'image.firmware'")
    return CloudImage(platform="azure", name=str(found), arch=able.arch, firmware=(able.firmware,))


def _versions(azure: Subscription, image: NamedImage, region: str) -> tuple[str, ...]:
    """What there is, where ``latest`` is asked for only what it may be."""
    compute = azure.compute
    match image:
        case Marketplace():
            listed = compute.virtual_machine_images.list(region, image.publisher, image.offer, image.sku)
            return tuple(str(one.name) for one in listed)
        case OwnGallery():
            if image.subscription.lower() != azure.id.lower():
                raise PipelineError(
                    f"{image} is in another subscription than {azure.id}", hint="name its exact version, not 'latest'"
                )
            found = compute.gallery_image_versions.list_by_gallery_image(image.group, image.gallery, image.definition)
            rows: list[dict[str, Any]] = [one.as_dict() for one in found]
        case SharedGallery():
            rows = [
                one.as_dict()
                for one in compute.shared_gallery_image_versions.list(region, image.gallery, image.definition)
            ]
        case CommunityGallery():
            rows = [
                one.as_dict()
                for one in compute.community_gallery_image_versions.list(region, image.gallery, image.definition)
            ]
        case _:
            return ()
    return candidates(rows) if image.version == LATEST else tuple(str(one["name"]) for one in rows)


def _properties(azure: Subscription, image: NamedImage, region: str) -> dict[str, Any]:
    compute = azure.compute
    match image:
        case Marketplace():
            told = compute.virtual_machine_images.get(
                region, image.publisher, image.offer, image.sku, image.version
            ).as_dict()
        case SharedGallery():
            told = compute.shared_gallery_images.get(region, image.gallery, image.definition).as_dict()
        case CommunityGallery():
            told = compute.community_gallery_images.get(region, image.gallery, image.definition).as_dict()
        case OwnGallery() | ManagedImage() | ManagedDisk():
            told = azure.resources.resources.get_by_id(_id(image), api_version=_api(image)).as_dict()
        case Blob():
            return {}
    properties = told.get("properties")
    return dict(properties) if isinstance(properties, dict) else {}


def _id(image: OwnGallery | ManagedImage | ManagedDisk) -> str:
    """What tells of an image, in whatever subscription it is: its definition, where it has versions."""
    return str(image).rpartition("/versions/")[0] if isinstance(image, OwnGallery) else str(image)


def _api(image: OwnGallery | ManagedImage | ManagedDisk) -> str:
    if isinstance(image, OwnGallery):
        return _GALLERY_API
    return bodies.DISK_API if isinstance(image, ManagedDisk) else bodies.COMPUTE_API
