"""The double of Azure, held against what the real one was recorded to answer, and against the API's own types.

tests/fixtures/azure/recordings.json has requests and answers of recorded sessions, cut down to what is compared.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from lisa_ci.platforms.azure import typed
from tests.doubles.azure.arm import Arm
from tests.doubles.azure.entra import SUBSCRIPTION
from tests.doubles.azure.wire import request_of
from tests.doubles.azure.world import FakeClock, size_row

RECORDED = json.loads((Path(__file__).parents[3] / "fixtures/azure/recordings.json").read_text())
APIS = {"Microsoft.Network": "2025-09-01", "Microsoft.Compute": "2026-04-01", "disks": "2026-03-02"}


class World:
    """The double, asked as a recorded session asked."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.arm = Arm(now=self.clock.now, pace=1)
        self.arm.skus = [size_row("Standard_D2a_v4", ("eastus", "westcentralus", "southcentralus"))]

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Mapping[str, str], Any]:
        url = f"https://management.azure.com{path.replace('SUBSCRIPTION', SUBSCRIPTION)}"
        told = json.dumps(body).replace("SUBSCRIPTION", SUBSCRIPTION).encode() if body is not None else b""
        answer = self.arm.serve(request_of(method, url, {}, told))
        headers = {key.lower(): value for key, value in answer.headers.items()}
        return answer.status, headers, json.loads(answer.content()) if answer.content() else None


@pytest.mark.parametrize("session", RECORDED["sessions"], ids=lambda session: str(session["name"]))
def test_it_answers_as_the_recorded_service_did(session: Mapping[str, Any]) -> None:
    world, followed = World(), ""
    for step in session["steps"]:
        world.clock.sleep(step.get("after", 0))
        path = step["path"]
        if path == "FOLLOW":  # the address that the last answer named
            path = followed
        status, headers, body = world.ask(step["method"], path, step.get("body"))
        assert status == step["status"], (step, body)
        followed_by = {"azure-asyncoperation", "location"} & set(headers)
        assert followed_by == set(step["headers"]), f"{step['method']} {step['path']}"
        missing = set(step["keys"]) - set(body or {})
        assert not missing, f"{step['method']} {step['path']}: no {missing} in {sorted(body or {})}"
        if "says" in step:
            assert body["status"] == step["says"]
        link = headers.get("azure-asyncoperation") or headers.get("location") or ""
        if link:
            followed = link.removeprefix("https://management.azure.com")


def test_what_it_tells_of_a_machine_are_types_of_the_api() -> None:
    """Response bodies, without what only a response may hold, are bodies that the API would take."""
    world = World()
    body = {"location": "eastus", "tags": {}}
    world.ask("PUT", "/subscriptions/SUBSCRIPTION/resourcegroups/g?api-version=2025-04-01", body)
    disk = {"location": "eastus", "properties": {"creationData": {"createOption": "Empty"}, "diskSizeGB": 4}}
    place = "/subscriptions/SUBSCRIPTION/resourceGroups/g/providers/Microsoft.Compute/disks/d?api-version=2026-03-02"
    world.ask("PUT", place, disk)
    world.clock.sleep(60)
    status, _, told = world.ask("GET", place)
    assert status == 200
    wrong = [
        one for one in typed.mistakes("Microsoft.Compute/disks", "2026-03-02", told) if "Azure's to say" not in one
    ]
    assert wrong == []


def test_a_deployment_goes_on_when_nobody_looks_and_stops_when_its_group_goes() -> None:
    world = World()
    world.ask("PUT", "/subscriptions/SUBSCRIPTION/resourcegroups/g?api-version=2025-04-01", {"location": "eastus"})
    resources = [
        {
            "type": "Microsoft.Network/publicIPAddresses",
            "apiVersion": "2025-09-01",
            "name": f"a{number}",
            "location": "eastus",
            "properties": {},
        }
        for number in range(10)
    ]
    template = {"properties": {"mode": "Incremental", "template": {"resources": resources}}}
    place = "/subscriptions/SUBSCRIPTION/resourcegroups/g/providers/Microsoft.Resources/deployments/d"
    world.ask("PUT", f"{place}?api-version=2025-04-01", template)
    world.clock.sleep(15)
    world.arm.settle()
    some = len(world.arm.resources)
    assert 0 < some < 10
    world.ask("DELETE", "/subscriptions/SUBSCRIPTION/resourcegroups/g?api-version=2025-04-01")
    world.clock.sleep(600)
    world.arm.settle()
    assert not world.arm.resources
    assert not world.arm.groups


def test_a_template_with_an_expression_is_no_literal_one() -> None:
    world = World()
    world.ask("PUT", "/subscriptions/SUBSCRIPTION/resourcegroups/g?api-version=2025-04-01", {"location": "eastus"})
    resource = {"type": "a/b", "apiVersion": "1", "name": "[resourceGroup().name]", "location": "eastus"}
    template = {"properties": {"mode": "Incremental", "template": {"resources": [resource]}}}
    place = "/subscriptions/SUBSCRIPTION/resourcegroups/g/providers/Microsoft.Resources/deployments/d"
    assert world.ask("PUT", f"{place}?api-version=2025-04-01", template)[0] == 400
