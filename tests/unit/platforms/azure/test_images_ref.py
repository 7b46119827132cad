from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lisa_ci.errors import PipelineError, ProvisioningError
from lisa_ci.model import Arch, Controller, Firmware, SecurityType
from lisa_ci.platforms.azure.images_ref import (
    Blob,
    CommunityGallery,
    ImageFacts,
    ManagedDisk,
    ManagedImage,
    Marketplace,
    OwnGallery,
    Purchase,
    SharedGallery,
    candidates,
    facts,
    is_exact,
    parse,
    purchase,
    resolved,
)

SUB = "/subscriptions/11111111-2222-3333-4444-555555555555/resourceGroups/images/providers/Microsoft.Compute"
FORMS = {
    "Canonical:ubuntu-24_04-lts:server:latest": Marketplace,
    "Debian:debian-12:12-gen2:0.20261101.1": Marketplace,
    f"{SUB}/galleries/builds/images/distro/versions/1.2.3": OwnGallery,
    "/SharedGalleries/1111-builds/images/distro/versions/latest": SharedGallery,
    "/CommunityGalleries/builds-0a1b/images/distro/versions/1.2.3": CommunityGallery,
    f"{SUB}/images/distro": ManagedImage,
    f"{SUB}/disks/distro": ManagedDisk,
    "https://builds.blob.core.windows.net/images/sub/distro.vhd": Blob,
}


@pytest.mark.parametrize("text", FORMS)
def test_every_form_of_a_name_is_read_and_written_the_same(text: str) -> None:
    image = parse(text)
    assert type(image) is FORMS[text]
    assert str(image) == text


def test_a_gallery_image_without_a_version_is_its_latest() -> None:
    image = parse(f"{SUB}/galleries/builds/images/distro")
    assert isinstance(image, OwnGallery)
    assert image.version == "latest"
    assert not is_exact(image)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ubuntu",
        "a:b:c",
        "a:b:c:d:e",
        "Canonical:offer:sku:Latest version",
        "Canonical::server:latest",
        "/subscriptions/x/resourceGroups/g/providers/Microsoft.Compute/images/i",
        f"{SUB}/galleries/builds/images/distro/versions/newest",
        f"{SUB}/virtualMachines/vm",
        "http://builds.blob.core.windows.net/images/distro.vhd",
        "https://example.org/images/distro.vhd",
        "Canonical:offer:sku:latest\n",
    ],
)
def test_what_is_no_name_is_refused_with_the_forms_there_are(text: str) -> None:
    with pytest.raises(PipelineError, match="names no image of Azure") as caught:
        parse(text)
    assert "PUBLISHER:OFFER:SKU:VERSION" in caught.value.hint


def test_a_signed_address_is_refused_because_it_is_a_secret() -> None:
    with pytest.raises(PipelineError) as caught:
        parse("https://builds.blob.core.windows.net/images/distro.vhd?sv=2024&sig=abc")
    assert "secret" in caught.value.hint


@given(st.text(max_size=300))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        image = parse(text)
    except PipelineError:
        return
    assert parse(str(image)) == image


def test_latest_becomes_the_highest_number_and_not_the_last_text() -> None:
    image = parse("Canonical:offer:sku:latest")
    found = resolved(image, ["24.4.9", "24.4.202611050", "24.4.202610010", "24.10.1", "preview"])
    assert str(found) == "Canonical:offer:sku:24.10.1"
    assert is_exact(found)


def test_a_version_that_is_not_there_is_told_with_the_newest_there_are() -> None:
    with pytest.raises(ProvisioningError, match=r"1\.0\.0 is not there") as caught:
        resolved(parse("/CommunityGalleries/g-1/images/d/versions/1.0.0"), ["1.0.1", "1.0.10", "1.0.9"])
    assert caught.value.hint == "its newest versions are 1.0.10, 1.0.9, 1.0.1"


def test_an_image_without_any_version_is_no_image() -> None:
    with pytest.raises(ProvisioningError, match="has no version"):
        resolved(parse("a:b:c:latest"), ["next"])


def test_an_exact_version_keeps_the_spelling_of_the_listing() -> None:
    assert str(resolved(parse("a:b:c:1.2.03"), ["1.2.3"])) == "a:b:c:1.2.3"


@pytest.mark.parametrize("text", [f"{SUB}/images/distro", f"{SUB}/disks/distro"])
def test_what_has_no_versions_is_exact_as_it_is(text: str) -> None:
    assert is_exact(parse(text))
    assert resolved(parse(text), []) == parse(text)


# ---- what an image can ---------------------------------------------------------------------------------------------


def test_an_answer_that_says_nothing_is_an_image_of_before_there_were_words() -> None:
    found = facts({})
    assert (found.arch, found.firmware) == (Arch.X86_64, Firmware.BIOS)
    assert found.security == {SecurityType.STANDARD}
    assert found.controllers == {Controller.SCSI}
    assert found.is_generalized


def test_a_definition_tells_what_the_image_can() -> None:
    features = [
        {"name": "SecurityType", "value": "TrustedLaunchSupported"},
        {"name": "DiskControllerTypes", "value": "SCSI, NVMe"},
        {"name": "IsAcceleratedNetworkSupported", "value": "False"},
    ]
    told = {"architecture": "Arm64", "hyperVGeneration": "V2", "osState": "Specialized", "features": features}
    found = facts(told)
    assert (found.arch, found.firmware) == (Arch.AARCH64, Firmware.UEFI)
    assert found.security == {SecurityType.STANDARD, SecurityType.TRUSTED_LAUNCH}
    assert found.controllers == {Controller.SCSI, Controller.NVME}
    assert not found.accelerated_networking
    assert not found.is_generalized


@pytest.mark.parametrize(
    ("value", "security"),
    [
        ("TrustedLaunch", {SecurityType.TRUSTED_LAUNCH}),
        ("ConfidentialVM", {SecurityType.CONFIDENTIAL}),
        ("ConfidentialVmSupported", {SecurityType.STANDARD, SecurityType.CONFIDENTIAL}),
        ("TrustedLaunchAndConfidentialVmSupported", {*SecurityType} - {SecurityType.AUTO}),
        ("None", {SecurityType.STANDARD}),
    ],
)
def test_every_word_for_security_is_known(value: str, security: set[SecurityType]) -> None:
    assert facts({"features": [{"name": "SecurityType", "value": value}]}).security == security


def test_a_disk_and_a_managed_image_tell_it_in_other_places() -> None:
    able = {"architecture": "Arm64", "diskControllerTypes": "NVMe", "supportedSecurityOption": "TrustedLaunchSupported"}
    disk = facts({"hyperVGeneration": "V2", "diskSizeGB": 30, "supportedCapabilities": able})
    assert (disk.arch, disk.size_gib, disk.controllers) == (Arch.AARCH64, 30, {Controller.NVME})
    assert SecurityType.TRUSTED_LAUNCH in disk.security
    image = facts({"hyperVGeneration": "V2", "storageProfile": {"osDisk": {"osState": "Specialized"}}})
    assert image.firmware is Firmware.UEFI
    assert not image.is_generalized


@given(st.dictionaries(st.sampled_from(["features", "osState", "supportedCapabilities", "storageProfile"]), st.none()))
def test_nothing_in_place_of_a_value_is_taken_for_left_out(told: dict[str, None]) -> None:
    assert facts(told) == facts({})


def test_only_an_image_that_is_sold_has_a_plan() -> None:
    plan = {"publisher": "alma", "product": "almalinux", "name": "9-gen2"}
    assert purchase({"plan": plan}) == Purchase(publisher="alma", product="almalinux", name="9-gen2")
    assert purchase({}) is None
    assert purchase({"plan": {"name": "9"}}) is None


def test_latest_is_no_version_that_was_left_out_of_it_or_is_not_whole() -> None:
    versions = [
        {"name": "1.0.0", "properties": {"provisioningState": "Succeeded"}},
        {"name": "1.0.1", "properties": {"publishingProfile": {"excludeFromLatest": True}}},
        {"name": "1.0.2", "properties": {"excludeFromLatest": True}},
        {"name": "1.0.3", "properties": {"provisioningState": "Creating"}},
        {"name": "0.9.0"},
    ]
    assert candidates(versions) == ("1.0.0", "0.9.0")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
KEYS = ["features", "osState", "supportedCapabilities", "storageProfile", "hyperVGeneration", "diskSizeGB", "plan"]


@given(st.dictionaries(st.sampled_from(KEYS), JSON))
def test_any_answer_about_an_image_is_read(told: dict[str, Any]) -> None:
    assert isinstance(facts(told), ImageFacts)
    purchase(told)
    candidates([{"name": "1.0.0", "properties": told}])
