from __future__ import annotations

import copy
from typing import Any

import pytest

from lisa_ci.platforms.azure import bodies, typed
from lisa_ci.platforms.azure.template import plan_group
from tests.unit.platforms.azure.orders import fixture, of_type, order

EXAMPLES = {one["file"]: one for one in fixture("api-examples.json")["examples"] if one["method"] == "PUT"}


@pytest.mark.parametrize("name", EXAMPLES)
def test_azures_own_examples_pass(name: str) -> None:
    parts = EXAMPLES[name]["path"].split("/")
    kind = f"{parts[6]}/{parts[7]}" if len(parts) > 6 else bodies.GROUP
    assert typed.mistakes(kind, bodies.API[kind], EXAMPLES[name]["body"]) == ()


def test_what_was_read_is_put_again_without_what_is_azures_to_say() -> None:
    configuration = {"name": "control", "id": "x", "properties": {"primary": True, "provisioningState": "Succeeded"}}
    read = {
        "id": "x",
        "name": "nic",
        "etag": "1",
        "location": "westeurope",
        "tags": {"anything": "at all"},
        "properties": {
            "macAddress": "00-0D-3A-00-00-01",
            "dnsSettings": {"dnsServers": [], "appliedDnsServers": []},
            "ipConfigurations": [configuration],
            "enableAcceleratedNetworking": True,
            "networkSecurityGroup": {"id": "y"},
        },
    }
    written = typed.writable(bodies.NIC, bodies.NETWORK_API, read)
    assert typed.mistakes(bodies.NIC, bodies.NETWORK_API, written) == ()
    assert written["tags"] == read["tags"]
    assert "macAddress" not in written["properties"]
    assert written["properties"]["dnsSettings"] == {"dnsServers": []}
    assert written["properties"]["networkSecurityGroup"] == {"id": "y"}
    assert written["properties"]["ipConfigurations"][0]["properties"] == {"primary": True}


def machine() -> dict[str, Any]:
    return copy.deepcopy(dict(of_type(plan_group(order()), bodies.MACHINE)[0].body))


@pytest.mark.parametrize(
    ("path", "value", "mistake"),
    [
        (("properties", "securityTypo"), {}, "/properties/securityTypo: no such property"),
        (("properties", "hardwareProfile"), {"vmsize": "x"}, "/properties/hardwareProfile/vmsize: no such property"),
        (("properties", "hardwareProfile"), {"vmSize": 7}, "/properties/hardwareProfile/vmSize: 7 fits none"),
        (("properties", "priority"), "spot", "/properties/priority: 'spot' is none of Regular"),
        (("properties", "evictionPolicy"), "Stop", "/properties/evictionPolicy: 'Stop' is none of"),
        (("properties", "provisioningState"), "Succeeded", "/properties/provisioningState: is Azure's to say"),
        (("properties", "userData"), 1, "/properties/userData: 1 is no text"),
        (("properties", "diagnosticsProfile"), {"bootDiagnostics": {"enabled": "true"}}, "'true' is not true or false"),
        (("properties", "storageProfile", "osDisk"), {}, "/properties/storageProfile/osDisk/createOption: is missing"),
        (("properties", "storageProfile", "dataDisks"), {}, "/properties/storageProfile/dataDisks: {} is no list"),
        (("properties", "storageProfile", "diskControllerType"), "NVME", "'NVME' is none of SCSI, NVMe"),
        (("properties", "billingProfile"), {"maxPrice": "0.1"}, "/properties/billingProfile/maxPrice: '0.1' is no num"),
        (("zones",), "1", "/zones: '1' is no list"),
        (("tags",), {"a": 1}, "/tags/a: 1 is no text"),
        (("location",), None, "/location: None is no text"),
    ],
)
def test_a_typing_mistake_is_told_with_its_place(path: tuple[str, ...], value: object, mistake: str) -> None:
    body = machine()
    *parents, last = path
    at = body
    for key in parents:
        at = at[key]
    at[last] = value
    assert any(mistake in one for one in typed.mistakes(bodies.MACHINE, bodies.COMPUTE_API, body))


def test_a_body_without_its_location_lacks_it() -> None:
    body = machine()
    del body["location"]
    assert typed.mistakes(bodies.MACHINE, bodies.COMPUTE_API, body) == ("/location: is missing",)


def test_a_size_of_any_name_is_for_the_list_of_sizes_to_know() -> None:
    body = machine()
    body["properties"]["hardwareProfile"]["vmSize"] = "Standard_ND96isr_H200_v5"
    assert typed.mistakes(bodies.MACHINE, bodies.COMPUTE_API, body) == ()


def test_a_version_of_the_api_that_is_not_known_is_a_mistake() -> None:
    assert typed.mistakes(bodies.MACHINE, "2020-01-01", {}) == (
        "Microsoft.Compute/virtualMachines@2020-01-01: no such type is known",
    )


def test_every_type_that_is_made_can_be_checked() -> None:
    assert typed.known_types() == {f"{kind}@{version}" for kind, version in bodies.API.items()}
