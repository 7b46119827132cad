"""Where a leg's machines may be made: what the profile asks for, held against what Azure offers this subscription now.

Everything here is read; nothing is created, and nothing costs.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from lisa_ci.errors import ProvisioningError
from lisa_ci.events import Level
from lisa_ci.model import Arch, Controller, Firmware, Image, Profile, SecurityType, Subject
from lisa_ci.platforms.azure import bodies, images, images_ref, legs, sizes
from lisa_ci.platforms.azure.client import Subscription
from lisa_ci.platforms.azure.images_ref import ImageFacts, NamedImage
from lisa_ci.platforms.azure.prices import Prices
from lisa_ci.platforms.azure.quota import Quota, parse_usage
from lisa_ci.platforms.azure.shape import Place
from lisa_ci.platforms.azure.skus import Sku, parse_rows

ADDRESS_API: Final = bodies.API[bodies.ADDRESS]


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """``places`` in the order to try them. ``image`` None: a local disk that is brought there."""

    places: tuple[Place, ...]
    image: NamedImage | None
    facts: ImageFacts


@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """What Azure answers; implements ``sizes.Source``. RefusedError."""

    azure: Subscription

    def skus(self, region: str) -> Sequence[Sku]:
        """One request; its answer has some thousand rows."""
        skus = self.azure.compute.resource_skus
        doing = f"list the sizes in {region}"
        return parse_rows(self.azure.asked(lambda: [one.as_dict() for one in skus.list(filter=_in(region))], doing))

    def quota(self, region: str) -> Quota | None:
        usage, doing = self.azure.compute.usage, f"tell the quota in {region}"
        return parse_usage(region, self.azure.asked(lambda: [one.as_dict() for one in usage.list(region)], doing))


def _in(region: str) -> str:
    return f"location eq '{region}'"


def choose(azure: Subscription, profile: Profile, subject: Subject, *, say: Callable[[str, Level], None]) -> Chosen:
    """ProvisioningError where no place fits, with each reason. RefusedError."""
    if subject.kernel is not None:
        raise ProvisioningError("the azure platform boots the image's own kernel", hint="leave 'kernel:' to qemu legs")
    image, facts = _image(azure, profile, subject)
    today = datetime.now(UTC).date()
    known = prices()
    if known.kept or known.spot:
        say(f"sizes are in the order of {known.told(today)}", Level.INFO)
    found = sizes.compare(profile, Live(azure=azure), facts=facts, prices=known, today=today)
    places = tuple(one.place(azure.id) for one in found if one.serves)
    reasons = [f"{one.size} in {one.region}: {'; '.join(one.reasons)}" for one in found if not one.serves]
    for text in [*reasons, *(one.warning for one in found if one.serves and one.warning)]:
        say(text, Level.INFO if places else Level.WARNING)
    if not places:
        raise ProvisioningError(
            f"no place serves profile {profile.name}: {' | '.join(reasons)}",
            hint="give the profile other sizes or regions; lisa-ci azure sizes shows all of them",
        )
    return Chosen(places=places, image=image, facts=facts)


def prices(environment: Mapping[str, str] | None = None) -> Prices:
    """Those in the file that ``AZURE_PRICES`` names, as ``lisa-ci azure ask`` writes it; none where it names none.

    Without, the profile's own order stands, which is the plan's where that was made with Azure's answers.
    PipelineError.
    """
    named = (os.environ if environment is None else environment).get("AZURE_PRICES", "")
    return legs.read_price_file(Path(named)) if named else Prices()


def _image(azure: Subscription, profile: Profile, subject: Subject) -> tuple[NamedImage | None, ImageFacts]:
    """The image that Azure has by name, or None for a disk that is brought there; and what it can."""
    if subject.image is not None:
        return None, local_facts(subject.image, profile)
    if subject.cloud is None:
        raise ProvisioningError("the azure platform boots an image, and the pipeline has none", hint="write 'image:'")
    named = images_ref.parse(subject.cloud.name)
    if isinstance(named, images_ref.Blob):
        return named, disk_facts(subject.cloud.arch, subject.cloud.firmware, profile)
    regions = profile.azure.regions if profile.azure else ()
    return images.known(azure, named, regions[0] if regions else "")


def local_facts(image: Image, profile: Profile) -> ImageFacts:
    """Those of a disk that we bring ourselves."""
    return disk_facts(image.arch, image.firmware, profile, size_gib=-(-image.size_bytes // (1 << 30)))


def disk_facts(arch: Arch, boots: Sequence[Firmware], profile: Profile, *, size_gib: int = 0) -> ImageFacts:
    """What a bare disk is marked for: whatever the profile asks of it, as far as it boots so."""
    firmware = profile.firmware if profile.firmware in boots else boots[0]
    trusted = {SecurityType.TRUSTED_LAUNCH} if firmware is Firmware.UEFI else set()
    return ImageFacts(
        arch=arch,
        firmware=firmware,
        security=frozenset({SecurityType.STANDARD} | trusted),
        controllers=frozenset({Controller.SCSI, Controller.NVME}),
        size_gib=size_gib,
    )
