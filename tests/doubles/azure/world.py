"""The doubles put together: a subscription with sizes, behind the real SDK, with or without a network."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from azure.identity import ClientAssertionCredential

from lisa_ci.platforms.azure import client, typed
from lisa_ci.platforms.azure.client import Subscription
from lisa_ci.platforms.azure.lro import Clock
from tests.doubles.azure.arm import Arm, Hosts, NoHosts
from tests.doubles.azure.entra import CLIENT, SUBSCRIPTION, TENANT, Entra
from tests.doubles.azure.server import Served, served
from tests.doubles.azure.wire import InProcessTransport, Serve

REGIONS = ("westeurope", "northeurope")


def size_row(name: str, regions: tuple[str, ...] = REGIONS, *, cores: int = 2, **told: str) -> dict[str, Any]:
    """A row of resource_skus, in wire form, with the capabilities of a general size."""
    can = {
        "vCPUs": str(cores),
        "MemoryGB": str(cores * 4),
        "vCPUsAvailable": str(cores),
        "HyperVGenerations": "V1,V2",
        "CpuArchitectureType": "x64",
        "AcceleratedNetworkingEnabled": "True",
        "MaxNetworkInterfaces": "2",
        "MaxDataDiskCount": "4",
        "PremiumIO": "True",
        "LowPriorityCapable": "True",
        **told,
    }
    return {
        "resourceType": "virtualMachines",
        "name": name,
        "tier": "Standard",
        "size": name.removeprefix("Standard_"),
        "family": "standardDSv5Family",
        "locations": list(regions),
        "locationInfo": [{"location": region, "zones": ["1", "2", "3"], "zoneDetails": []} for region in regions],
        "capabilities": [{"name": key, "value": value} for key, value in can.items()],
        "restrictions": [],
    }


def checked(kind: str, version: str, body: Mapping[str, Any]) -> list[str]:
    """The API's own types: closed world."""
    return list(typed.mistakes(kind, version, body))


def make_arm(
    *,
    now: Callable[[], float] = time.time,
    hosts: Hosts | None = None,
    pace: float = 0.01,
    entra: Entra | None = None,
) -> Arm:
    arm = Arm(now=now, entra=entra, hosts=hosts or NoHosts(), validate=checked, pace=pace)
    arm.skus = [size_row("Standard_D2s_v5"), size_row("Standard_D4s_v5", cores=4)]
    return arm


@dataclass
class FakeClock:
    """A clock that only a pause moves on."""

    seconds: float = 1_790_000_000.0

    def now(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.seconds += max(seconds, 0.001)

    def as_clock(self) -> Clock:
        return Clock(now=self.now, sleep=self.sleep)


def subscription(
    arm: Arm, entra: Entra, clock: Clock, *, serve: Serve | None = None, pause: float = 5.0
) -> Subscription:
    """The real SDK over the double, without a network; the token endpoint is answered as well."""
    transport = InProcessTransport(serve or arm.serve, clock.sleep)

    def assertion() -> str:
        return str(entra._assertion(_asking(entra)).body["value"])

    credential = ClientAssertionCredential(
        TENANT,
        CLIENT,
        assertion,
        authority="https://login.microsoftonline.com",
        disable_instance_discovery=True,
        transport=transport,
    )
    return client.made(SUBSCRIPTION, credential, clock=clock, pause=pause, transport=transport)


def _asking(entra: Entra) -> Any:
    from tests.doubles.azure.wire import Request

    headers = {"authorization": f"bearer {entra.request_token}"}
    query = {"audience": "api://AzureADTokenExchange"}
    return Request(method="GET", path="/github/token", query=query, headers=headers)


@contextlib.contextmanager
def azure_on_loopback(folder: Path, *, hosts: Hosts | None = None, pace: float = 0.01) -> Iterator[tuple[Arm, Served]]:
    entra = Entra()
    arm = make_arm(hosts=hosts, pace=pace, entra=entra)
    arm.retry_after = "1"
    with served(arm.serve, folder, entra) as address:
        yield arm, address
