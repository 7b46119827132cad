"""Azure Resource Manager, as far as a leg and a sweep meet it: stateful, with operations that take their time.

Statuses, headers and the order of states are those of recorded sessions (tests/unit/platforms/azure/test_double.py
compares them). Here requests come in and find their part; the parts are modules of their own beside this one.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator
from typing import Final

from tests.doubles.azure.accounts import Accounts
from tests.doubles.azure.compute import Compute
from tests.doubles.azure.deployments import Deployments
from tests.doubles.azure.entra import SUBSCRIPTION
from tests.doubles.azure.faults import Fault, error_body
from tests.doubles.azure.groups import Groups
from tests.doubles.azure.resources import Resources
from tests.doubles.azure.state import ADDRESS, DISK, NIC, VM, ArmError, Hosts, NoHosts, State, Stored
from tests.doubles.azure.subscription import Told
from tests.doubles.azure.wire import Answer, CutError, Request

__all__ = ["ADDRESS", "DISK", "NIC", "VM", "Arm", "ArmError", "Hosts", "NoHosts", "Stored"]
_GROUP: Final = r"/subscriptions/[^/]+/resourcegroups/(?P<group>[^/]+)"


class Arm(State):
    """The state, and the way in."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.compute = Compute(self)
        self._told = Told(self)
        self._groups = Groups(self, self.compute)
        self._accounts = Accounts(self)
        self._resources = Resources(self, self.compute, self._accounts)
        self._deployments = Deployments(self, self._resources)

    def serve(self, request: Request) -> Answer:
        if self.entra is not None:
            answer = self.entra.serve(request)
            if answer is not None:
                return answer
        if request.path.startswith("/diagnostics/"):
            with self._lock:
                return self.compute.blob(request)
        with self._lock:
            return self._serve(request)

    def _serve(self, request: Request) -> Answer:
        self.requests.append(f"{request.method} {request.path}")
        self.settle()
        fault = self.plan.of(request)
        spoiled = self.plan.before(fault)
        if spoiled is not None:
            return self._stamped(spoiled)
        refused = self.entra.refusal(request) if self.entra else None
        if refused is not None:
            return self._stamped(refused)
        if "api-version" not in request.query:
            return self._stamped(
                Answer(status=400, body=error_body("MissingApiVersionParameter", "The api-version is missing."))
            )
        if request.method in {"PUT", "PATCH", "POST", "DELETE"}:
            self.writes.append(f"{request.method} {request.path}")
        try:
            answer = self._routed(request, fault)
        except ArmError as error:
            answer = error.answer
        if fault is not None and fault.cuts == "after":
            raise CutError("reset after the request was done")
        return self._stamped(answer)

    def _stamped(self, answer: Answer) -> Answer:
        stamp = {"x-ms-request-id": str(uuid.uuid4()), "x-ms-correlation-request-id": str(uuid.uuid4())}
        stamp |= {"Cache-Control": "no-cache", "Strict-Transport-Security": "max-age=31536000; includeSubDomains"}
        return Answer(status=answer.status, body=answer.body, headers={**stamp, **answer.headers})

    def _routed(self, request: Request, fault: Fault | None) -> Answer:
        subscription = re.match(r"/subscriptions/([^/]+)", request.path, re.IGNORECASE)
        if not subscription or subscription[1].lower() != SUBSCRIPTION:
            raise ArmError(404, "SubscriptionNotFound", "The subscription could not be found.")
        for pattern, serve in self._routes():
            found = re.fullmatch(pattern, request.path.rstrip("/"), re.IGNORECASE)
            if found:
                return serve(request, fault, **found.groupdict())
        raise ArmError(404, "InvalidResourceType", f"There is nothing at {request.method} {request.path}.")

    def _routes(self) -> Iterator[tuple[str, Callable[..., Answer]]]:
        top, group = r"/subscriptions/[^/]+", _GROUP
        yield top, self._told.subscription
        yield rf"{top}/operationresults/(?P<operation>[^/]+)", self._told.operation_result
        yield rf"{top}/providers/[^/]+/locations/[^/]+/(?:disk)?operations/(?P<operation>[^/]+)", self._told.operation
        yield rf"{top}/providers/Microsoft.Authorization/locks", self._told.list_locks
        yield rf"{top}/providers/Microsoft.Authorization/permissions", self._told.permissions
        blobs = r"/providers/Microsoft.Storage/storageAccounts/[^/]+/blobServices/default/containers/[^/]+"
        yield rf"{group}{blobs}/providers/Microsoft.Authorization/permissions", self._told.permissions
        yield rf"{top}/providers/Microsoft.Compute/skus", self._told.list_skus
        yield rf"{top}/providers/Microsoft.Compute/locations/(?P<region>[^/]+)/usages", self._told.usages
        yield rf"{top}/resources", self._accounts.listed
        yield rf"{top}/resourcegroups", self._groups.listed
        yield group, self._groups.one
        yield rf"{group}/resources", self._groups.inside
        named = rf"{group}/providers/Microsoft.Resources/deployments/(?P<name>[^/]+)"
        yield named, self._deployments.one
        yield rf"{named}/operationStatuses/(?P<operation>[^/]+)", self._told.operation
        steps = rf"{group}/(?:providers/Microsoft.Resources/)?deployments/(?P<name>[^/]+)/operations"
        yield steps, self._deployments.steps
        typed = rf"{group}/providers/(?P<provider>[^/]+)/(?P<kind>[^/]+)/(?P<name>[^/]+)"
        yield typed, self._resources.one
        yield rf"{typed}/(?P<action>[^/]+)", self.compute.action

    def evict(self, machine: Stored) -> None:
        """Azure takes a spot machine back."""
        self.compute.evict(machine)

    def power_off(self, machine: Stored, power: str) -> None:
        """``power``: "stopped" or "deallocated"."""
        self.compute.power_off(machine, power)

    def address_of(self, machine: Stored) -> str:
        """The public address of the first NIC that has one; '' without."""
        return self.compute.address_of(machine)
