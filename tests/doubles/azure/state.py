"""What the double of Azure Resource Manager holds, and the time that passes in it: all of its parts stand on this."""

from __future__ import annotations

import heapq
import itertools
import threading
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from tests.doubles.azure.entra import SUBSCRIPTION, Entra
from tests.doubles.azure.faults import Fault, Plan, error_body
from tests.doubles.azure.wire import Answer, Request

Validate = Callable[[str, str, Mapping[str, Any]], list[str]]
VM: Final = "Microsoft.Compute/virtualMachines"
DISK: Final = "Microsoft.Compute/disks"
NIC: Final = "Microsoft.Network/networkInterfaces"
ADDRESS: Final = "Microsoft.Network/publicIPAddresses"
# Seconds that the real thing takes, by a clock that a test may run faster.
TAKES: Final = {VM: 40.0, DISK: 3.0, NIC: 2.0, ADDRESS: 4.0}


class Hosts(Protocol):
    """What is behind the virtual machines."""

    def start(self, machine: Stored, address: str) -> None: ...
    def stop(self, machine: Stored) -> None: ...
    def serial(self, machine: Stored) -> bytes: ...
    def address(self, number: int) -> str: ...


class NoHosts:
    """Machines that nobody talks to."""

    def start(self, machine: Stored, address: str) -> None:
        pass

    def stop(self, machine: Stored) -> None:
        pass

    def serial(self, machine: Stored) -> bytes:
        return b"[    0.000000] Linux version 6.1.0 (double)\r\n"

    def address(self, number: int) -> str:
        return f"203.0.113.{number % 250 + 1}"


@dataclass
class Stored:
    """A resource. ``power`` is a virtual machine's; ``on_host`` what the double knows of what is behind it."""

    id: str
    type: str
    body: dict[str, Any]
    power: str = ""
    started: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.id.rsplit("/", 1)[-1]

    @property
    def properties(self) -> dict[str, Any]:
        value: dict[str, Any] = self.body.setdefault("properties", {})
        return value

    @property
    def group(self) -> str:
        return self.id.split("/")[4].lower()


@dataclass
class Operation:
    id: str
    status: str = "InProgress"
    error: Any = None
    output: Any = None
    started: str = ""
    ended: str = ""


@dataclass
class Deployment:
    id: str
    body: dict[str, Any]
    state: str = "Accepted"
    error: Any = None
    steps: list[dict[str, Any]] = field(default_factory=list)


class ArmError(Exception):
    def __init__(self, status: int, code: str, message: str, *details: Mapping[str, Any]) -> None:
        super().__init__(message)
        self.answer = Answer(status=status, body=error_body(code, message, *details))


@dataclass(kw_only=True, eq=False)
class State:
    """``now``: seconds; ``pace``: how many of them a second of Azure takes. ``quota`` is of cores in a region.

    ``validate``: problems of a resource's body, from its type and API version. ``writes`` counts requests that change
    something; ``ever`` is every body that was put. ``lingering``: ids of what is detached late. ``uploads``: where the
    bytes of a disk are sent to; ``accounts``: rows of storage accounts; ``imports``: why a blob is no disk, '' where it
    is one; ``data_actions``: what we may do with blobs.
    """

    now: Callable[[], float]
    entra: Entra | None = None
    hosts: Hosts = field(default_factory=NoHosts)
    validate: Validate | None = None
    pace: float = 1.0
    plan: Plan = field(default_factory=Plan)
    groups: dict[str, dict[str, Any]] = field(default_factory=dict)
    resources: dict[str, Stored] = field(default_factory=dict)
    operations: dict[str, Operation] = field(default_factory=dict)
    deployments: dict[str, Deployment] = field(default_factory=dict)
    locks: list[dict[str, Any]] = field(default_factory=list)
    skus: list[dict[str, Any]] = field(default_factory=list)
    sold_out: set[tuple[str, str]] = field(default_factory=set)
    quota: dict[str, int] = field(default_factory=dict)
    actions: list[str] = field(default_factory=lambda: ["*"])
    lingering: set[str] = field(default_factory=set)
    uploads: Callable[[Stored], str] = lambda disk: f"https://blobs.invalid/{disk.name}?sig=secret"
    accounts: list[dict[str, Any]] = field(default_factory=list)
    imports: Callable[[str], str] = lambda _url: ""
    data_actions: list[str] = field(default_factory=lambda: ["*"])
    screenshots: bytes = b"\x89PNG\r\n\x1a\n"
    writes: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    ever: list[Mapping[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.retry_after = "10" if self.pace >= 1 else "0"
        self._lock = threading.RLock()
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()

    def later(self, seconds: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._due, (self.now() + seconds * self.pace, next(self._order), action))

    def settle(self) -> None:
        """Everything that has become due happens, in its order."""
        with self._lock:
            while self._due and self._due[0][0] <= self.now():
                heapq.heappop(self._due)[2]()

    def next_due(self) -> float | None:
        """When something happens next; None where nothing is under way."""
        return self._due[0][0] if self._due else None

    def begun(self, request: Request, kind: str, region: str, fault: Fault | None) -> tuple[Operation, dict[str, str]]:
        operation = Operation(id=str(uuid.uuid4()), started=self.stamp())
        self.operations[operation.id] = operation
        version = request.query.get("api-version", "")
        provider, plural = kind.split("/", maxsplit=1)[0], "DiskOperations" if kind == DISK else "operations"
        url = f"{request.base}/subscriptions/{SUBSCRIPTION}/providers/{provider}/locations/{region}/{plural}"
        headers = {
            "Azure-AsyncOperation": f"{url}/{operation.id}?api-version={version}",
            "Retry-After": self.retry_after,
        }
        if fault is not None and fault.hangs:
            operation.status = "Hanging"
        return operation, headers

    def stamp(self) -> str:
        return datetime.fromtimestamp(self.now(), UTC).isoformat()

    def end(self, operation: Operation, error: Any = None, output: Any = None) -> None:
        if operation.status == "InProgress":
            operation.status = "Failed" if error else "Succeeded"
            operation.error, operation.output, operation.ended = error, output, self.stamp()

    def group(self, name: str) -> dict[str, Any]:
        if name.lower() not in self.groups:
            raise ArmError(404, "ResourceGroupNotFound", f"Resource group '{name}' could not be found.")
        return self.groups[name.lower()]

    def check(self, kind: str, version: str, body: Mapping[str, Any]) -> None:
        problems = self.validate(kind, version, body) if self.validate else []
        if problems:
            raise ArmError(400, "InvalidRequestContent", f"The request content was invalid: {'; '.join(problems)}")


_KINDS: Final = {one.lower(): one for one in (VM, DISK, NIC, ADDRESS)}


def canonical(kind: str) -> str:
    """A type as Azure spells it, of those that the double knows apart."""
    return _KINDS.get(kind.lower(), kind)
