"""Azure asked what it offers, word for word, to be kept: reads only."""

from __future__ import annotations

from typing import Any, Final

from lisa_ci.platforms.azure.client import Subscription, refusals

_MACHINES: Final = "virtualMachines"


def sku_rows(azure: Subscription, region: str) -> list[dict[str, Any]]:
    """Rows of machines' sizes in a region, in wire form. RefusedError."""
    with refusals(f"list the sizes in {region}"):
        found = [one.as_dict() for one in azure.compute.resource_skus.list(filter=f"location eq '{region}'")]
    return [one for one in found if one.get("resourceType") == _MACHINES]


def usage_rows(azure: Subscription, region: str) -> list[dict[str, Any]]:
    """Counters of a region, in wire form. RefusedError."""
    with refusals(f"tell the quota in {region}"):
        return [one.as_dict() for one in azure.compute.usage.list(region)]
