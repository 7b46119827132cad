"""Every profile of the catalogue, planned for a place that serves it and deployed through Azure's SDK to the double."""

from __future__ import annotations

import json
from datetime import date
from typing import Any

import pytest

from lisa_ci.pipeline import azure_catalogue
from lisa_ci.platforms.azure import bodies, names
from lisa_ci.platforms.azure.group import ResourceGroup
from lisa_ci.platforms.azure.sizes import Offers, compare
from lisa_ci.platforms.azure.skus import SHIPPED, parse_rows
from lisa_ci.platforms.azure.template import plan_group
from tests.doubles.azure.entra import SUBSCRIPTION, Entra
from tests.doubles.azure.wire import Answer, Request
from tests.doubles.azure.world import FakeClock, make_arm, subscription
from tests.unit.platforms.azure.orders import lease, order

REGIONS = sorted({region for of in azure_catalogue().values() if of.azure for region in of.azure.regions})
TODAY = date(2026, 11, 28)
ENTRA = Entra()  # its keys take a while to make


def rows() -> list[dict[str, Any]]:
    """The sizes that are shipped, as Azure's list has them, in every region of the catalogue."""
    return [
        {
            "resourceType": "virtualMachines",
            "name": one["name"],
            "family": one["family"],
            "locations": REGIONS,
            "locationInfo": [],
            "capabilities": [{"name": name, "value": value} for name, value in one["capabilities"].items()],
            "restrictions": [],
        }
        for one in json.loads(SHIPPED.read_text())["rows"]
    ]


@pytest.mark.parametrize("name", azure_catalogue())
def test_a_profile_is_made_by_two_write_requests_and_every_machine_of_it_runs(name: str) -> None:
    profile, writes = azure_catalogue()[name], []
    clock = FakeClock()
    arm = make_arm(now=clock.now, entra=ENTRA)
    arm.skus = rows()

    def serve(request: Request) -> Answer:
        if request.method in {"PUT", "PATCH", "POST", "DELETE"} and "/subscriptions/" in request.path:
            writes.append(f"{request.method} {request.path.rpartition('/')[2]}")
        return arm.serve(request)

    best = compare(profile, Offers(skus_=parse_rows(arm.skus)), today=TODAY)[0]
    plan = plan_group(order(profile, place=best.place(SUBSCRIPTION)))
    azure = subscription(arm, ENTRA, clock.as_clock(), serve=serve)
    tags = names.tags(lease())
    group = ResourceGroup(
        azure=azure, name=plan.group.name, region=best.region, lease=lease(), tags=tags, say=lambda *_: None
    )
    group.create()
    group.deploy(plan, until=clock.now() + 3600)
    assert writes == [f"PUT {plan.group.name}", f"PUT {plan.deployment.name}"]
    made = {one.rpartition("/")[0] + "/" + one.rpartition("/")[2] for one in group.look()}
    assert {f"{one.type}/{one.name}" for one in plan.resources} <= made
    assert sum(one.startswith(f"{bodies.MACHINE}/") for one in made) == profile.machines
