"""Orders and answers as tests of the planner need them."""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lisa_ci.model import Access, Azure, Firmware, Lease, Profile
from lisa_ci.platforms.azure import bodies
from lisa_ci.platforms.azure.images_ref import ImageFacts, Marketplace, NamedImage
from lisa_ci.platforms.azure.shape import Entry, GroupPlan, Order, Place, Resource
from lisa_ci.platforms.azure.skus import Sku, parse_rows

FIXTURES = Path(__file__).parents[3] / "fixtures" / "azure"
SUBSCRIPTION = "11111111-2222-3333-4444-555555555555"
IMAGE = Marketplace(publisher="debian", offer="debian-12", sku="12-gen2", version="0.20261101.1")
SIZES = Azure(sizes=("Standard_D2s_v5",), regions=("westeurope",))
PROFILE = Profile(name="az", platform="azure", firmware=Firmware.UEFI, memory_mib=8192, azure=SIZES)


def fixture(name: str) -> Any:
    return json.loads((FIXTURES / name).read_text())


def profile(azure: dict[str, Any] | None = None, **changes: Any) -> Profile:
    """The plain profile with changes; ``azure``: to its Azure part."""
    return dataclasses.replace(PROFILE, azure=dataclasses.replace(SIZES, **(azure or {})), **changes)


def lease(**changes: Any) -> Lease:
    plain = Lease(
        owner="octo/distro-42",
        leg="az.1of2",
        attempt=3,
        delete_after=datetime(2026, 12, 1, 10, 30, tzinfo=UTC),
        evidence=Path("evidence"),
        scratch=Path("scratch"),
    )
    return dataclasses.replace(plain, **changes)


def order(of: Profile = PROFILE, image: NamedImage = IMAGE, **changes: Any) -> Order:
    entry = Entry(public_key="ssh-ed25519 LOGIN", host_private="PRIVATE\n", host_public="ssh-ed25519 HOST")
    plain = Order(
        profile=of,
        image=image,
        facts=ImageFacts(),
        access=Access(),
        lease=lease(),
        place=Place(subscription=SUBSCRIPTION, region="westeurope", size="Standard_D2s_v5"),
        runner=("192.0.2.7",),
        entries=(entry,) * of.machines,
    )
    return dataclasses.replace(plain, **changes)


def placed(plain: Order, **changes: Any) -> Order:
    return dataclasses.replace(plain, place=dataclasses.replace(plain.place, **changes))


def of_type(plan: GroupPlan, kind: str) -> list[Resource]:
    return [one for one in plan.resources if one.type == kind]


def machine_body(plan: GroupPlan, number: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = of_type(plan, bodies.MACHINE)[number].body["properties"]
    return found


def row(name: str = "Standard_D2s_v5", *, region: str = "westeurope", **capabilities: str) -> dict[str, Any]:
    """A row in the wire form: capabilities are text."""
    told = {
        "vCPUs": "2",
        "MemoryGB": "8",
        "HyperVGenerations": "V1,V2",
        "AcceleratedNetworkingEnabled": "True",
        "MaxNetworkInterfaces": "2",
        "MaxDataDiskCount": "4",
        "PremiumIO": "True",
        "LowPriorityCapable": "True",
        **capabilities,
    }
    return {
        "resourceType": "virtualMachines",
        "name": name,
        "family": "standardDSv5Family",
        "locations": [region],
        "locationInfo": [{"location": region, "zones": ["1", "2"]}],
        "capabilities": [{"name": key, "value": value} for key, value in told.items()],
        "restrictions": [],
    }


def sku(name: str = "Standard_D2s_v5", *, region: str = "westeurope", **changes: Any) -> Sku:
    return dataclasses.replace(parse_rows([row(name, region=region)])[0], **changes)
