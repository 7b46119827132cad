"""Names of images, asked of Azure through its SDK, whose requests are answered here as Azure's API description says."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pytest

from lisa_ci.errors import PipelineError, ProvisioningError
from lisa_ci.model import Arch, CloudImage, Firmware, ImageSource, SecurityType, Subject
from lisa_ci.platforms.azure import images, placing
from lisa_ci.platforms.azure.client import RefusedError, Subscription
from lisa_ci.platforms.azure.images_ref import Marketplace, Purchase, parse
from tests.doubles.azure.entra import SUBSCRIPTION, Entra
from tests.doubles.azure.wire import Answer, Request
from tests.doubles.azure.world import FakeClock, make_arm, subscription
from tests.unit.platforms.azure.orders import profile

COMPUTE = f"/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Compute/locations/westeurope"
SKU = f"{COMPUTE}/publishers/alma/artifacttypes/vmimage/offers/linux/skus/9-gen2/versions"
GALLERY = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/g/providers/Microsoft.Compute/galleries/builds/images/distro"
ENTRA = Entra()  # its keys take a while to make
TRUSTED = [{"name": "SecurityType", "value": "TrustedLaunchSupported"}]
PLAN = {"publisher": "alma", "name": "9-gen2", "product": "linux"}
ANSWERS: Mapping[str, Any] = {
    SKU: [{"name": version, "location": "westeurope"} for version in ("9.4.1", "9.10.0", "9.9.9")],
    f"{SKU}/9.10.0": {
        "name": "9.10.0",
        "location": "westeurope",
        "properties": {"hyperVGeneration": "V2", "architecture": "x64", "plan": PLAN, "features": TRUSTED},
    },
    f"{GALLERY}/versions": {
        "value": [
            {"name": "1.0.0", "location": "westeurope", "properties": {"provisioningState": "Succeeded"}},
            {
                "name": "2.0.0",
                "location": "westeurope",
                "properties": {"provisioningState": "Succeeded", "publishingProfile": {"excludeFromLatest": True}},
            },
        ]
    },
    GALLERY: {
        "name": "distro",
        "location": "westeurope",
        "properties": {"hyperVGeneration": "V2", "architecture": "Arm64", "osState": "Generalized"},
    },
    f"{COMPUTE}/communityGalleries/pub-1/images/distro/versions": {"value": [{"name": "3.1.0"}, {"name": "3.0.9"}]},
    f"{COMPUTE}/sharedGalleries/shared-1/images/distro/versions": {
        "value": [{"name": "3.1.0", "properties": {"excludeFromLatest": True}}, {"name": "3.0.9", "properties": {}}]
    },
}


@pytest.fixture
def azure() -> Subscription:
    clock = FakeClock()
    arm = make_arm(now=clock.now, entra=ENTRA)
    known = {path.lower(): body for path, body in ANSWERS.items()}

    def serve(request: Request) -> Answer:
        body = known.get(request.path.lower())
        if body is not None and "api-version" in request.query:
            return Answer(status=200, body=body)
        if re.search("/publishers/|galleries/", request.path, re.IGNORECASE):
            code = {"code": "NotFound", "message": f"There is nothing at {request.path}."}
            return Answer(status=404, body={"error": code})
        return arm.serve(request)

    return subscription(arm, ENTRA, clock.as_clock(), serve=serve)


@pytest.mark.parametrize(
    ("name", "exact"),
    [
        ("alma:linux:9-gen2:latest", "alma:linux:9-gen2:9.10.0"),
        ("alma:linux:9-gen2:9.4.1", "alma:linux:9-gen2:9.4.1"),
        (f"{GALLERY}/versions/latest", f"{GALLERY}/versions/1.0.0"),
        (f"{GALLERY}/versions/2.0.0", f"{GALLERY}/versions/2.0.0"),
        (
            "/CommunityGalleries/pub-1/images/distro/versions/latest",
            "/CommunityGalleries/pub-1/images/distro/versions/3.1.0",
        ),
        (
            "/SharedGalleries/shared-1/images/distro/versions/latest",
            "/SharedGalleries/shared-1/images/distro/versions/3.0.9",
        ),
    ],
)
def test_a_name_becomes_the_version_that_azure_has_now(azure: Subscription, name: str, exact: str) -> None:
    assert str(images.exact(azure, parse(name), "westeurope")) == exact


def test_a_version_that_is_not_there_is_told(azure: Subscription) -> None:
    with pytest.raises(ProvisioningError, match=r"alma:linux:9-gen2:9\.5\.0 is not there"):
        images.exact(azure, parse("alma:linux:9-gen2:9.5.0"), "westeurope")


def test_an_image_that_azure_does_not_know_is_a_refusal_with_its_name(azure: Subscription) -> None:
    with pytest.raises(RefusedError, match="list the versions of nobody:linux:9:latest"):
        images.exact(azure, parse("nobody:linux:9:latest"), "westeurope")


def test_the_latest_of_a_gallery_elsewhere_is_not_guessed(azure: Subscription) -> None:
    elsewhere = f"{GALLERY}/versions/latest".replace(SUBSCRIPTION, "0" * 8 + SUBSCRIPTION[8:])
    with pytest.raises(PipelineError, match="is in another subscription") as caught:
        images.exact(azure, parse(elsewhere), "westeurope")
    assert caught.value.hint == "name its exact version, not 'latest'"


def test_a_marketplace_image_comes_with_its_plan_and_what_it_can(azure: Subscription) -> None:
    image, able = images.known(azure, parse("alma:linux:9-gen2:9.10.0"), "westeurope")
    assert isinstance(image, Marketplace)
    assert image.purchase == Purchase(publisher="alma", name="9-gen2", product="linux")
    assert able.firmware is Firmware.UEFI
    assert able.security == {SecurityType.STANDARD, SecurityType.TRUSTED_LAUNCH}


def test_a_gallery_tells_by_its_definition_what_its_versions_can(azure: Subscription) -> None:
    _, able = images.known(azure, parse(f"{GALLERY}/versions/1.0.0"), "westeurope")
    assert (able.arch, able.firmware) == (Arch.AARCH64, Firmware.UEFI)


def test_the_plan_gets_the_exact_image_with_what_it_boots_by(azure: Subscription) -> None:
    name = "alma:linux:9-gen2:latest"
    found = images.cloud_image(azure, ImageSource(azure=name), parse(name), "westeurope")
    assert found == CloudImage(platform="azure", name="alma:linux:9-gen2:9.10.0", firmware=(Firmware.UEFI,))


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ({"arch": Arch.AARCH64}, "is for x86_64, not aarch64"),
        ({"firmware": (Firmware.BIOS,)}, "boots by uefi, not bios"),
    ],
)
def test_what_the_pipeline_says_of_it_has_to_be_true(azure: Subscription, source: dict[str, Any], problem: str) -> None:
    name = "alma:linux:9-gen2:latest"
    with pytest.raises(PipelineError, match=problem):
        images.cloud_image(azure, ImageSource(azure=name, **source), parse(name), "westeurope")


def test_a_leg_is_placed_with_the_named_image_and_its_plan(azure: Subscription) -> None:
    subject = Subject(cloud=CloudImage(platform="azure", name="alma:linux:9-gen2:9.10.0"))
    chosen = placing.choose(azure, profile(tpm=True), subject, say=lambda *_: None)
    assert isinstance(chosen.image, Marketplace)
    assert chosen.image.purchase is not None
    assert [place.size for place in chosen.places] == ["Standard_D2s_v5"]


def test_a_leg_whose_image_cannot_boot_so_is_refused_before_any_cost(azure: Subscription) -> None:
    subject = Subject(cloud=CloudImage(platform="azure", name=f"{GALLERY}/versions/1.0.0"))
    with pytest.raises(ProvisioningError, match="the image is for aarch64"):
        placing.choose(azure, profile(), subject, say=lambda *_: None)


def test_a_page_blob_is_believed_to_be_what_the_pipeline_says(azure: Subscription) -> None:
    url = "https://builds.blob.core.windows.net/images/distro.vhd"
    subject = Subject(cloud=CloudImage(platform="azure", name=url, firmware=(Firmware.UEFI,)))
    chosen = placing.choose(azure, profile(), subject, say=lambda *_: None)
    assert str(chosen.image) == url
    assert chosen.facts.firmware is Firmware.UEFI
