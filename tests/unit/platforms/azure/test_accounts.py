"""What the double of Azure asks of a blob that a disk or an image is made of."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lisa_ci.platforms.azure import bodies, rights
from tests.doubles.azure.accounts import account
from tests.doubles.azure.arm import DISK, Arm
from tests.doubles.azure.entra import SUBSCRIPTION
from tests.doubles.azure.wire import request_of
from tests.doubles.azure.world import FakeClock, make_arm

URL = "https://images.blob.core.windows.net/vhds/distro.vhd"
GROUP = f"/subscriptions/{SUBSCRIPTION}/resourcegroups/one"
ID = account("images", "")["id"]


@pytest.fixture
def arm() -> Arm:
    made = make_arm(now=FakeClock().now)
    made.accounts = [account("images", "https://images.blob.core.windows.net")]
    assert ask(made, GROUP, bodies.RESOURCES_API, {"location": "westeurope"}) == ""
    return made


def ask(arm: Arm, path: str, version: str, body: dict[str, Any]) -> str:
    """The code of the refusal; '' where it is taken."""
    url = f"https://management.azure.com{path}?api-version={version}"
    answer = arm.serve(request_of("PUT", url, {}, json.dumps(body).encode()))
    return str(answer.body["error"]["code"]) if answer.status >= 400 else ""


def imported(arm: Arm, *, url: str = URL, account_id: str = ID, region: str = "westeurope") -> tuple[str, str]:
    """What becomes of a disk that is imported, and of an image that is made of the blob."""
    source = {"createOption": "Import", "sourceUri": url, "storageAccountId": account_id}
    disk = {"location": region, "sku": {"name": "Premium_LRS"}, "properties": {"creationData": source}}
    of_image = {"osType": "Linux", "osState": "Generalized", "blobUri": url}
    image = {"location": region, "properties": {"hyperVGeneration": "V2", "storageProfile": {"osDisk": of_image}}}
    return (
        ask(arm, f"{GROUP}/providers/{DISK}/os", bodies.DISK_API, disk),
        ask(arm, f"{GROUP}/providers/{bodies.IMAGE}/image", bodies.COMPUTE_API, image),
    )


def test_a_blob_of_an_account_in_the_region_is_taken(arm: Arm) -> None:
    assert imported(arm) == ("", "")


def test_one_of_another_region_is_refused(arm: Arm) -> None:
    assert imported(arm, region="northeurope") == ("BadRequest", "BadRequest")


def test_one_of_an_account_that_is_not_in_the_subscription_is_refused(arm: Arm) -> None:
    theirs = "https://theirs.blob.core.windows.net/vhds/distro.vhd"
    assert imported(arm, url=theirs) == ("StorageAccountNotFound", "StorageAccountNotFound")


def test_one_that_is_not_in_the_account_that_is_named_is_refused(arm: Arm) -> None:
    assert imported(arm, account_id=account("other", "")["id"]) == ("InvalidParameter", "")


def test_one_that_is_no_disk_is_refused(arm: Arm) -> None:
    arm.imports = lambda _url: "it has no footer"
    assert imported(arm) == ("InvalidParameter", "InvalidParameter")


def test_whoever_may_not_list_the_account_s_keys_is_refused(arm: Arm) -> None:
    """With the role for machines alone; the role for images has the right."""
    arm.actions = list(rights.role()["Actions"])
    assert imported(arm) == ("LinkedAuthorizationFailed", "LinkedAuthorizationFailed")
    arm.actions += rights.role(rights.IMAGES_ROLE)["Actions"]
    assert imported(arm) == ("", "")
