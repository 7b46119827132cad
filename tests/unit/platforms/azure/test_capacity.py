"""The double's sizes and quotas: what a size cannot, and what a subscription may not have, is refused as Azure does."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.doubles.azure.arm import Arm
from tests.doubles.azure.entra import SUBSCRIPTION
from tests.doubles.azure.wire import Answer, request_of
from tests.doubles.azure.world import FakeClock, size_row

GROUP = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/g"
NETWORK, COMPUTE = f"{GROUP}/providers/Microsoft.Network", f"{GROUP}/providers/Microsoft.Compute"
REGION = "westeurope"


class World:
    """A group with a network of one subnet, and NICs in it."""

    def __init__(self, can: dict[str, str] | None = None) -> None:
        self.clock = FakeClock()
        self.arm = Arm(now=self.clock.now)
        row = size_row("Standard_D2s_v5")
        named = {one["name"]: one["value"] for one in row["capabilities"]} | (can or {})
        row["capabilities"] = [{"name": name, "value": value} for name, value in named.items()]
        self.arm.skus = [row]
        self.put(GROUP, {})
        subnets = [{"name": "s", "properties": {"addressPrefix": "10.77.0.0/24"}}]
        self.put(f"{NETWORK}/virtualNetworks/n", {"properties": {"subnets": subnets}})

    def put(self, place: str, body: dict[str, Any]) -> Answer:
        told = json.dumps({"location": REGION, **body}).encode()
        answer = self.arm.serve(request_of("PUT", f"https://management.azure.com{place}?api-version=1", {}, told))
        self.clock.sleep(100)
        self.arm.settle()
        return answer

    def get(self, place: str) -> Any:
        url = f"https://management.azure.com{place}?api-version=1"
        return self.arm.serve(request_of("GET", url, {}, b"")).body

    def nic(self, name: str, *, is_accelerated: bool = False) -> str:
        subnet = {"subnet": {"id": f"{NETWORK}/virtualNetworks/n/subnets/s"}}
        properties: dict[str, Any] = {"ipConfigurations": [{"name": "c", "properties": subnet}]}
        properties |= {"enableAcceleratedNetworking": is_accelerated} if is_accelerated else {}
        self.put(f"{NETWORK}/networkInterfaces/{name}", {"properties": properties})
        return f"{NETWORK}/networkInterfaces/{name}"

    def machine(self, name: str = "m", *, nics: int = 1, accelerated: bool = False, **more: Any) -> Answer:
        ids = [self.nic(f"{name}-{number}", is_accelerated=accelerated) for number in range(nics)]
        storage = {"osDisk": {"createOption": "FromImage"}, **more.pop("storage", {})}
        properties = {
            "hardwareProfile": {"vmSize": "Standard_D2s_v5"},
            "storageProfile": storage,
            "networkProfile": {"networkInterfaces": [{"id": id_} for id_ in ids]},
            **more,
        }
        return self.put(f"{COMPUTE}/virtualMachines/{name}", {"properties": properties})

    def usage(self) -> dict[str, tuple[int, int]]:
        place = f"/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Compute/locations/{REGION}/usages"
        return {one["name"]["value"]: (one["currentValue"], one["limit"]) for one in self.get(place)["value"]}


def refused(answer: Answer) -> tuple[int, str]:
    return answer.status, answer.body["error"]["code"]


def test_machines_take_of_the_counters_and_give_back_when_they_go() -> None:
    world = World()
    assert world.machine("a").status == 201
    assert world.machine("b", priority="Spot").status == 201
    found = world.usage()
    assert found["cores"][0] == 2
    assert found["standardDSv5Family"][0] == 2
    assert found["lowPriorityCores"][0] == 2
    assert found["virtualMachines"][0] == 2
    del world.arm.resources[f"{COMPUTE}/virtualMachines/a".lower()]
    assert world.usage()["cores"][0] == 0


@pytest.mark.parametrize(
    ("counter", "told", "label"),
    [
        (REGION, {}, "Total Regional Cores"),
        ("standardDSv5Family", {}, "standardDSv5Family Cores"),
        ("lowPriorityCores", {"priority": "Spot"}, "LowPriorityCores"),
    ],
)
def test_a_machine_more_than_a_counter_allows_is_refused(counter: str, told: dict[str, Any], label: str) -> None:
    world = World()
    world.arm.quota[counter] = 3
    assert world.machine("a", **told).status == 201
    answer = world.machine("b", **told)
    assert refused(answer) == (409, "OperationNotAllowed")
    assert f"approved {label} quota" in answer.body["error"]["message"]
    assert "Current Limit: 3, Current Usage: 2, Additional Required: 2" in answer.body["error"]["message"]


def test_two_machines_of_one_template_are_counted_together() -> None:
    world = World()
    world.arm.quota[REGION] = 3
    machines = [
        {
            "type": "Microsoft.Compute/virtualMachines",
            "apiVersion": "1",
            "name": name,
            "location": REGION,
            "properties": {"hardwareProfile": {"vmSize": "Standard_D2s_v5"}, "storageProfile": {"osDisk": {}}},
        }
        for name in ("a", "b")
    ]
    template = {"properties": {"mode": "Incremental", "template": {"resources": machines}}}
    answer = world.put(f"{GROUP}/providers/Microsoft.Resources/deployments/d", template)
    assert refused(answer) == (400, "InvalidTemplateDeployment")
    assert answer.body["error"]["details"][0]["code"] == "QuotaExceeded"
    assert not [one for one in world.arm.resources.values() if one.name in {"a", "b"}]


@pytest.mark.parametrize(
    ("cannot", "can", "told", "code"),
    [
        ({"MaxNetworkInterfaces": "2"}, {"MaxNetworkInterfaces": "3"}, {"nics": 3}, "NetworkInterfaceCountExceeded"),
        (
            {"AcceleratedNetworkingEnabled": "False"},
            {"AcceleratedNetworkingEnabled": "True"},
            {"accelerated": True},
            "VMSizeIsNotPermittedToEnableAcceleratedNetworking",
        ),
        (
            {"MaxDataDiskCount": "1"},
            {"MaxDataDiskCount": "2"},
            {"storage": {"dataDisks": [{"lun": 0}, {"lun": 1}]}},
            "OperationNotAllowed",
        ),
        ({}, {"DiskControllerTypes": "SCSI, NVMe"}, {"storage": {"diskControllerType": "NVMe"}}, "InvalidParameter"),
        (
            {},
            {"ConfidentialComputingType": "SNP"},
            {"securityProfile": {"securityType": "ConfidentialVM"}},
            "BadRequest",
        ),
        (
            {"TrustedLaunchDisabled": "True"},
            {"TrustedLaunchDisabled": "False"},
            {"securityProfile": {"securityType": "TrustedLaunch"}},
            "BadRequest",
        ),
        (
            {"HyperVGenerations": "V2"},
            {"HyperVGenerations": "V1,V2"},
            {"storage": {"imageReference": {"id": f"{COMPUTE}/images/i"}}},
            "BadRequest",
        ),
    ],
)
def test_a_size_is_asked_for_no_more_than_it_can(
    cannot: dict[str, str], can: dict[str, str], told: dict[str, Any], code: str
) -> None:
    for row, wanted in ((cannot, code), (can, "")):
        world = World(row)
        world.put(f"{COMPUTE}/images/i", {"properties": {"hyperVGeneration": "V1"}})
        answer = world.machine(**told)
        assert answer.body.get("error", {}).get("code", "") == wanted
        taken = [one for one in world.arm.resources.values() if "virtualMachine" in one.properties]
        assert bool(taken) is not bool(wanted), "a machine that was refused holds no NIC"


def test_nics_get_addresses_of_their_subnet_and_keep_them() -> None:
    world = World()
    for name, address in (("a", "10.77.0.4"), ("b", "10.77.0.5"), ("a", "10.77.0.4")):
        place = world.nic(name)
        told = world.get(place)["properties"]["ipConfigurations"][0]["properties"]
        assert told["privateIPAddress"] == address
