"""How an image is named that Azure has, or is to get; and names resolved to exact versions, given what there is.

No I/O: whoever asks Azure gives its answers in.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from lisa_ci.errors import PipelineError, ProvisioningError
from lisa_ci.model import Arch, Controller, Firmware, SecurityType

LATEST: Final = "latest"

_WORD: Final = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,126}"
_VERSION: Final = r"latest|[0-9]{1,10}(?:\.[0-9]{1,10}){2,3}"
_URN: Final = re.compile(rf"(?P<publisher>{_WORD}):(?P<offer>{_WORD}):(?P<sku>{_WORD}):(?P<version>{_VERSION})")
_ID: Final = r"/subscriptions/(?P<subscription>[0-9a-f-]{36})/resourceGroups/(?P<group>[^/]{1,90})"
_GALLERY: Final = rf"/images/(?P<definition>{_WORD})(?:/versions/(?P<version>{_VERSION}))?"
_COMPUTE: Final = "/providers/Microsoft.Compute"
_OWN: Final = re.compile(rf"{_ID}{_COMPUTE}/galleries/(?P<gallery>{_WORD}){_GALLERY}", re.IGNORECASE)
_SHARED: Final = re.compile(rf"/SharedGalleries/(?P<gallery>{_WORD}){_GALLERY}", re.IGNORECASE)
_COMMUNITY: Final = re.compile(rf"/CommunityGalleries/(?P<gallery>{_WORD}){_GALLERY}", re.IGNORECASE)
_MANAGED: Final = re.compile(rf"{_ID}{_COMPUTE}/images/(?P<name>{_WORD})", re.IGNORECASE)
_DISK: Final = re.compile(rf"{_ID}{_COMPUTE}/disks/(?P<name>{_WORD})", re.IGNORECASE)
_BLOB: Final = re.compile(r"https://[a-z0-9]{3,24}\.blob\.[a-z0-9.-]{3,60}/[a-z0-9$-]{1,63}/[^?#\s]{1,1024}")
_FORMS: Final = (
    "PUBLISHER:OFFER:SKU:VERSION; /CommunityGalleries/NAME/images/DEFINITION/versions/VERSION; /SharedGalleries/...; "
    "the resource id of a gallery image, an image or a disk; https://ACCOUNT.blob.core.windows.net/CONTAINER/FILE.vhd"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Purchase:
    """The plan of a Marketplace image that asks for one: its terms have to be accepted once per subscription."""

    publisher: str
    product: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Marketplace:
    """``PUBLISHER:OFFER:SKU:VERSION``. ``purchase`` is known when the version is (images.get in Azure's API)."""

    publisher: str
    offer: str
    sku: str
    version: str = LATEST
    purchase: Purchase | None = None

    def __str__(self) -> str:
        return f"{self.publisher}:{self.offer}:{self.sku}:{self.version}"


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnGallery:
    """An image of a Compute Gallery that is read as a resource."""

    subscription: str
    group: str
    gallery: str
    definition: str
    version: str = LATEST

    def __str__(self) -> str:
        place = f"/subscriptions/{self.subscription}/resourceGroups/{self.group}{_COMPUTE}"
        return f"{place}/galleries/{self.gallery}/images/{self.definition}/versions/{self.version}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedGallery:
    """An image of a gallery that was shared with our subscription or tenant; ``gallery`` is its unique name."""

    gallery: str
    definition: str
    version: str = LATEST

    def __str__(self) -> str:
        return f"/SharedGalleries/{self.gallery}/images/{self.definition}/versions/{self.version}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CommunityGallery:
    """An image of a gallery that is public; ``gallery`` is its public name."""

    gallery: str
    definition: str
    version: str = LATEST

    def __str__(self) -> str:
        return f"/CommunityGalleries/{self.gallery}/images/{self.definition}/versions/{self.version}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ManagedImage:
    """A resource of type Microsoft.Compute/images."""

    subscription: str
    group: str
    name: str

    def __str__(self) -> str:
        return f"/subscriptions/{self.subscription}/resourceGroups/{self.group}{_COMPUTE}/images/{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ManagedDisk:
    """A managed disk that holds the image: the local disk where we uploaded it. Each machine gets a copy."""

    subscription: str
    group: str
    name: str

    def __str__(self) -> str:
        return f"/subscriptions/{self.subscription}/resourceGroups/{self.group}{_COMPUTE}/disks/{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Blob:
    """A fixed VHD in a page blob. ``account_id``: resource id of its storage account, where that is known."""

    url: str
    account_id: str = ""

    def __str__(self) -> str:
        return self.url


NamedImage = Marketplace | OwnGallery | SharedGallery | CommunityGallery | ManagedImage | ManagedDisk | Blob
Versioned = Marketplace | OwnGallery | SharedGallery | CommunityGallery


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFacts:
    """What an image can, from its definition. Empty ``security`` and ``controllers``: it does not say, so the plain.

    ``is_generalized`` False: it keeps its users and keys, and Azure provisions nothing in it.
    """

    arch: Arch = Arch.X86_64
    firmware: Firmware = Firmware.UEFI
    security: frozenset[SecurityType] = field(default=frozenset({SecurityType.STANDARD}))
    controllers: frozenset[Controller] = field(default=frozenset({Controller.SCSI}))
    accelerated_networking: bool = True
    size_gib: int = 0
    is_generalized: bool = True


def parse(text: str) -> NamedImage:
    """The image that ``text`` names; PipelineError that shows the forms there are."""
    if found := _URN.fullmatch(text):
        publisher, offer, sku, version = found.groups()
        return Marketplace(publisher=publisher, offer=offer, sku=sku, version=version)
    for pattern, kind in (
        (_OWN, OwnGallery),
        (_SHARED, SharedGallery),
        (_COMMUNITY, CommunityGallery),
        (_MANAGED, ManagedImage),
        (_DISK, ManagedDisk),
    ):
        if found := pattern.fullmatch(text):
            made: NamedImage = kind(**{name: value for name, value in found.groupdict().items() if value})
            return made
    if _BLOB.fullmatch(text):
        return Blob(url=text)
    hint = f"name it as one of: {_FORMS}"
    if "?" in text and text.startswith("https://"):
        hint = "name the blob without its query: a signature in a file is a secret that everybody reads"
    raise PipelineError(f"{text[:200]!r} names no image of Azure", hint=hint)


def is_exact(image: NamedImage) -> bool:
    """True where the name always gives the same bytes, as far as Azure promises it."""
    return not isinstance(image, Versioned) or image.version != LATEST


def resolved(image: NamedImage, versions: Sequence[str]) -> NamedImage:
    """The image with an exact version, out of those that Azure lists: the newest for ``latest``.

    Versions that are not numbers are no candidates. ProvisioningError where there is none, or not the one asked for.
    """
    if not isinstance(image, Versioned):
        return image
    numbers = {_numbers(version): version for version in versions if _numbers(version)}
    if not numbers:
        raise ProvisioningError(f"{image} has no version", hint="check the names, and the region that was asked")
    if image.version == LATEST:
        return replace(image, version=numbers[max(numbers)])
    if _numbers(image.version) not in numbers:
        newest = ", ".join(numbers[key] for key in sorted(numbers, reverse=True)[:3])
        raise ProvisioningError(f"{image} is not there", hint=f"its newest versions are {newest}")
    return replace(image, version=numbers[_numbers(image.version)])


def _numbers(version: str) -> tuple[int, ...]:
    parts = version.split(".")
    is_numeric = all(part.isascii() and part.isdecimal() and len(part) <= 10 for part in parts)
    return tuple(int(part) for part in parts) if is_numeric else ()


# ---- what an image can, from Azure's answers -----------------------------------------------------------------------

_ARCHES: Final = {"Arm64": Arch.AARCH64}
_GENERATIONS: Final = {"V1": Firmware.BIOS, "V2": Firmware.UEFI}
_SECURITY: Final = {
    "trustedlaunch": {SecurityType.TRUSTED_LAUNCH},
    "trustedlaunchsupported": {SecurityType.STANDARD, SecurityType.TRUSTED_LAUNCH},
    "confidentialvm": {SecurityType.CONFIDENTIAL},
    "confidentialvmsupported": {SecurityType.STANDARD, SecurityType.CONFIDENTIAL},
    "trustedlaunchandconfidentialvmsupported": {
        SecurityType.STANDARD,
        SecurityType.TRUSTED_LAUNCH,
        SecurityType.CONFIDENTIAL,
    },
}


def facts(properties: Mapping[str, Any]) -> ImageFacts:
    """What an image can: ``properties`` of a Marketplace image, a gallery's definition, an image or a disk.

    What they leave out is what it was before there was a word for it: x64, the first generation, SCSI, standard.
    """
    os_disk = _mapping(_mapping(properties.get("storageProfile")).get("osDisk"))
    able = _mapping(properties.get("supportedCapabilities"))
    told = {
        str(one.get("name")): str(one.get("value"))
        for one in _list(properties.get("features"))
        if isinstance(one, Mapping)
    }
    security = told.get("SecurityType") or able.get("supportedSecurityOption") or ""
    controllers = told.get("DiskControllerTypes") or able.get("diskControllerTypes") or "SCSI"
    generation = str(properties.get("hyperVGeneration") or "V1").upper()
    size = properties.get("diskSizeGB") or _mapping(properties.get("osDiskImage")).get("sizeInGb") or 0
    state = str(properties.get("osState") or os_disk.get("osState") or "Generalized")
    return ImageFacts(
        arch=_ARCHES.get(str(properties.get("architecture") or able.get("architecture")), Arch.X86_64),
        firmware=_GENERATIONS.get(generation, Firmware.BIOS),
        security=frozenset(_SECURITY.get(str(security).lower(), {SecurityType.STANDARD})),
        controllers=frozenset(
            Controller.NVME if one.strip().upper() == "NVME" else Controller.SCSI for one in str(controllers).split(",")
        ),
        accelerated_networking=told.get("IsAcceleratedNetworkSupported", "True").lower() == "true",
        size_gib=size if isinstance(size, int) else 0,
        is_generalized=state != "Specialized",
    )


def purchase(properties: Mapping[str, Any]) -> Purchase | None:
    """The plan that a Marketplace image asks for; None where it asks for none."""
    plan = _mapping(properties.get("plan"))
    if not {"publisher", "name", "product"} <= plan.keys():
        return None
    return Purchase(publisher=str(plan["publisher"]), product=str(plan["product"]), name=str(plan["name"]))


def candidates(versions: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Names of a gallery's versions that ``latest`` may mean: made whole, and not left out of it."""
    return tuple(str(one["name"]) for one in versions if "name" in one and not _is_left_out(one))


def _is_left_out(version: Mapping[str, Any]) -> bool:
    properties = _mapping(version.get("properties"))
    publishing = _mapping(properties.get("publishingProfile"))
    is_excluded = publishing.get("excludeFromLatest") is True or properties.get("excludeFromLatest") is True
    return is_excluded or properties.get("provisioningState", "Succeeded") != "Succeeded"


def _list(value: object) -> Sequence[Any]:
    return value if isinstance(value, list) else ()


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
