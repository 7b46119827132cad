"""Azure Resource Manager, as far as a leg and a sweep meet it: stateful, with operations that take their time.

Statuses, headers and the order of states are those of recorded sessions (tests/integration/test_azure_double.py
compares them). Deployments take literal templates only, and go on when nobody looks, as the real ones do.
"""

from __future__ import annotations

import heapq
import itertools
import json
import re
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from tests.doubles.azure.entra import SUBSCRIPTION, Entra
from tests.doubles.azure.faults import Fault, Plan, error_body
from tests.doubles.azure.wire import Answer, CutError, Request

Validate = Callable[[str, str, Mapping[str, Any]], list[str]]
VM: Final = "Microsoft.Compute/virtualMachines"
DISK: Final = "Microsoft.Compute/disks"
NIC: Final = "Microsoft.Network/networkInterfaces"
ADDRESS: Final = "Microsoft.Network/publicIPAddresses"
# Seconds that the real thing takes, by a clock that a test may run faster.
TAKES: Final = {VM: 40.0, DISK: 3.0, NIC: 2.0, ADDRESS: 4.0}
_GROUP: Final = r"/subscriptions/[^/]+/resourcegroups/(?P<group>[^/]+)"


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


class Arm:
    """``now``: seconds; ``pace``: how many of them a second of Azure takes. ``quota`` is of cores in a region.

    ``validate``: problems of a resource's body, from its type and API version. ``writes`` counts requests that change
    something.
    """

    def __init__(
        self,
        *,
        now: Callable[[], float],
        entra: Entra | None = None,
        hosts: Hosts | None = None,
        validate: Validate | None = None,
        pace: float = 1.0,
        plan: Plan | None = None,
    ) -> None:
        self.now = now
        self.entra = entra
        self.hosts: Hosts = hosts or NoHosts()
        self.validate = validate
        self.pace = pace
        self.plan = plan or Plan()
        self.groups: dict[str, dict[str, Any]] = {}
        self.resources: dict[str, Stored] = {}
        self.operations: dict[str, Operation] = {}
        self.deployments: dict[str, Deployment] = {}
        self.locks: list[dict[str, Any]] = []
        self.skus: list[dict[str, Any]] = []
        self.sold_out: set[tuple[str, str]] = set()
        self.quota: dict[str, int] = {}
        self.actions: list[str] = ["*"]
        self.lingering: set[str] = set()
        self.uploads: Callable[[Stored], str] = lambda disk: f"https://blobs.invalid/{disk.name}?sig=secret"
        self.screenshots = b"\x89PNG\r\n\x1a\n"
        self.writes: list[str] = []
        self.requests: list[str] = []
        self.ever: list[Mapping[str, Any]] = []
        self.retry_after = "10" if pace >= 1 else "0"
        self._lock = threading.RLock()
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._addresses = itertools.count()

    # ---- requests --------------------------------------------------------------------------------------------------

    def serve(self, request: Request) -> Answer:
        if self.entra is not None:
            answer = self.entra.serve(request)
            if answer is not None:
                return answer
        if request.path.startswith("/diagnostics/"):
            with self._lock:
                return self._blob(request)
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
        yield top, self._subscription
        yield rf"{top}/operationresults/(?P<operation>[^/]+)", self._operation_result
        yield rf"{top}/providers/[^/]+/locations/[^/]+/(?:disk)?operations/(?P<operation>[^/]+)", self._operation
        yield rf"{top}/providers/Microsoft.Authorization/locks", self._list_locks
        yield rf"{top}/providers/Microsoft.Authorization/permissions", self._permissions
        yield rf"{top}/providers/Microsoft.Compute/skus", self._list_skus
        yield rf"{top}/providers/Microsoft.Compute/locations/(?P<region>[^/]+)/usages", self._usages
        yield rf"{top}/resourcegroups", self._list_groups
        yield group, self._one_group
        yield rf"{group}/resources", self._list_resources
        named = rf"{group}/providers/Microsoft.Resources/deployments/(?P<name>[^/]+)"
        yield named, self._deployment
        yield rf"{named}/operationStatuses/(?P<operation>[^/]+)", self._operation
        yield rf"{group}/(?:providers/Microsoft.Resources/)?deployments/(?P<name>[^/]+)/operations", self._steps
        typed = rf"{group}/providers/(?P<provider>[^/]+)/(?P<kind>[^/]+)/(?P<name>[^/]+)"
        yield typed, self._resource
        yield rf"{typed}/(?P<action>[^/]+)", self._action

    # ---- time ------------------------------------------------------------------------------------------------------

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

    def _begun(self, request: Request, kind: str, region: str, fault: Fault | None) -> tuple[Operation, dict[str, str]]:
        operation = Operation(id=str(uuid.uuid4()), started=self._stamp())
        self.operations[operation.id] = operation
        version = request.query.get("api-version", "")
        provider, plural = kind.split("/", maxsplit=1)[0], "DiskOperations" if kind == DISK else "operations"
        url = f"{request.base}/subscriptions/{SUBSCRIPTION}/providers/{provider}/locations/{region}/{plural}"
        headers = {"Azure-AsyncOperation": f"{url}/{operation.id}?api-version={version}", "Retry-After": self._pause()}
        if fault is not None and fault.hangs:
            operation.status = "Hanging"
        return operation, headers

    def _pause(self) -> str:
        return self.retry_after

    def _stamp(self) -> str:
        return datetime.fromtimestamp(self.now(), UTC).isoformat()

    def _end(self, operation: Operation, error: Any = None, output: Any = None) -> None:
        if operation.status == "InProgress":
            operation.status = "Failed" if error else "Succeeded"
            operation.error, operation.output, operation.ended = error, output, self._stamp()

    def _operation(self, request: Request, fault: Fault | None, operation: str, **_: str) -> Answer:
        found = self.operations.get(operation)
        if found is None:
            raise ArmError(404, "NotFound", "The operation is not there.")
        status = "InProgress" if found.status == "Hanging" else found.status
        if "operationstatuses" in request.path.lower():
            body: dict[str, Any] = {"status": "Running" if status == "InProgress" else status}
        else:
            body = {"startTime": found.started, "status": status, "name": found.id}
        if found.ended and "startTime" in body:
            body["endTime"] = found.ended
        if found.error:
            body["error"] = found.error
        if found.output is not None:
            body["properties"] = {"output": found.output}
        headers = {} if found.ended else {"Retry-After": self._pause()}
        return Answer(status=200, body=body, headers=headers)

    def _operation_result(self, request: Request, fault: Fault | None, operation: str, **_: str) -> Answer:
        found = self.operations.get(operation)
        if found is None:
            raise ArmError(404, "NotFound", "The operation is not there.")
        if found.status in {"InProgress", "Hanging"}:
            where = f"{request.base}{request.path}?api-version={request.query['api-version']}"
            return Answer(status=202, headers={"Location": where, "Retry-After": self._pause()})
        if found.error:
            return Answer(status=409, body={"error": found.error})
        return Answer(status=200, body=found.output)

    # ---- the subscription ------------------------------------------------------------------------------------------

    def _subscription(self, request: Request, fault: Fault | None) -> Answer:
        told = {"id": f"/subscriptions/{SUBSCRIPTION}", "subscriptionId": SUBSCRIPTION, "displayName": "double"}
        return Answer(status=200, body={**told, "state": "Enabled"})

    def _list_locks(self, request: Request, fault: Fault | None) -> Answer:
        return Answer(status=200, body={"value": deepcopy(self.locks)})

    def _permissions(self, request: Request, fault: Fault | None) -> Answer:
        return Answer(status=200, body={"value": [{"actions": self.actions, "notActions": []}]})

    def _list_skus(self, request: Request, fault: Fault | None) -> Answer:
        wanted = re.findall(r"location eq '([^']+)'", request.query.get("$filter", ""))
        rows = [row for row in self.skus if not wanted or wanted[0].lower() in [x.lower() for x in row["locations"]]]
        return Answer(status=200, body={"value": rows})

    def _usages(self, request: Request, fault: Fault | None, region: str) -> Answer:
        names = {"cores": self.quota.get(region, 100), "lowPriorityCores": 100, "virtualMachines": 1000}
        names |= {row["family"]: self.quota.get(row["family"], 100) for row in self.skus if "family" in row}
        rows = [
            {"limit": limit, "unit": "Count", "currentValue": 0, "name": {"value": name, "localizedValue": name}}
            for name, limit in names.items()
        ]
        return Answer(status=200, body={"value": rows})

    # ---- groups ----------------------------------------------------------------------------------------------------

    def _list_groups(self, request: Request, fault: Fault | None) -> Answer:
        asked = re.match(r"tagName eq '([^']+)'", request.query.get("$filter", ""))
        found = [group for group in self.groups.values() if not asked or asked[1] in (group.get("tags") or {})]
        return Answer(status=200, body={"value": deepcopy(found)})

    def _one_group(self, request: Request, fault: Fault | None, group: str) -> Answer:
        known = self.groups.get(group.lower())
        match request.method:
            case "PUT":
                return self._put_group(request, group, known)
            case "HEAD":
                return Answer(status=204 if known else 404)
            case "DELETE":
                return self._delete_group(request, fault, self._group(group))
            case "GET":
                return Answer(status=200, body=deepcopy(self._group(group)))
        raise ArmError(405, "MethodNotAllowed", request.method)

    def _group(self, name: str) -> dict[str, Any]:
        if name.lower() not in self.groups:
            raise ArmError(404, "ResourceGroupNotFound", f"Resource group '{name}' could not be found.")
        return self.groups[name.lower()]

    def _put_group(self, request: Request, name: str, known: dict[str, Any] | None) -> Answer:
        body = request.json()
        if known is not None and known["properties"]["provisioningState"] == "Deleting":
            told = f"The resource group '{name}' is in deprovisioning state and cannot perform this operation."
            raise ArmError(409, "ResourceGroupBeingDeleted", told)
        if known is not None and known["location"] != body["location"]:
            told = f"Invalid resource group location '{body['location']}'. It exists in '{known['location']}'."
            raise ArmError(409, "InvalidResourceGroupLocation", told)
        self._check("Microsoft.Resources/resourceGroups", request.query["api-version"], body)
        made = {
            "id": f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{name}",
            "name": name,
            "type": "Microsoft.Resources/resourceGroups",
            "location": body["location"],
            "tags": body.get("tags", {}),
            "properties": {"provisioningState": "Succeeded"},
        }
        self.groups[name.lower()] = made
        self.ever.append(deepcopy(made))
        return Answer(status=200 if known else 201, body=deepcopy(made))

    def _delete_group(self, request: Request, fault: Fault | None, group: dict[str, Any]) -> Answer:
        for lock in self.locks:
            if lock["id"].lower().startswith(group["id"].lower() + "/"):
                told = f"The scope '{group['id']}' cannot perform delete operation because it is locked."
                raise ArmError(409, "ScopeLocked", told)
        operation, _ = self._begun(request, "Microsoft.Resources/resourceGroups", group["location"], fault)
        group["properties"]["provisioningState"] = "Deleting"
        error = fault.operation if fault is not None else None
        self.later(30, lambda: self._group_gone(group, operation, error))
        where = f"{request.base}/subscriptions/{SUBSCRIPTION}/operationresults/{operation.id}"
        version = request.query["api-version"]
        headers = {"Location": f"{where}?api-version={version}", "Retry-After": self._pause()}
        return Answer(status=202, headers=headers)

    def _group_gone(self, group: dict[str, Any], operation: Operation, error: Any) -> None:
        name = group["name"].lower()
        if self.groups.get(name) is not group:
            return self._end(operation)
        inside = [one for one in self.resources.values() if one.group == name]
        lingering = [one for one in inside if one.id.lower() in self.lingering]
        for one in inside:
            if one not in lingering:
                self._remove(one)
        if operation.status == "Hanging":
            return None
        if lingering or error:
            self.lingering.difference_update(one.id.lower() for one in lingering)  # detached late: gone at the next try
            group["properties"]["provisioningState"] = "Succeeded"
            held = {"code": "CannotDeleteResource", "message": "Disk is attached to a VM that is being deleted."}
            told = "Deletion of resource group failed as resources with identifiers could not be deleted."
            failed = error or {"code": "ResourceGroupDeletionBlocked", "message": told, "details": [held]}
            return self._end(operation, error=failed)
        del self.groups[name]
        return self._end(operation)

    def _remove(self, stored: Stored) -> None:
        if stored.type == VM and stored.power == "running":
            self.hosts.stop(stored)
        self.resources.pop(stored.id.lower(), None)

    def _list_resources(self, request: Request, fault: Fault | None, group: str) -> Answer:
        self._group(group)
        rows = [
            {"id": one.id, "name": one.name, "type": one.type, "location": one.body.get("location")}
            | ({"tags": one.body["tags"]} if one.body.get("tags") else {})
            for one in self.resources.values()
            if one.group == group.lower()
        ]
        return Answer(status=200, body={"value": rows})

    # ---- deployments -----------------------------------------------------------------------------------------------

    def _deployment(self, request: Request, fault: Fault | None, group: str, name: str) -> Answer:
        place = f"{self._group(group)['id']}/providers/Microsoft.Resources/deployments/{name}"
        known = self.deployments.get(place.lower())
        if request.method == "HEAD":
            return Answer(status=204 if known else 404)
        if request.method == "GET":
            if known is None:
                raise ArmError(404, "DeploymentNotFound", f"Deployment '{name}' could not be found.")
            return Answer(status=200, body=self._deployment_body(known))
        if self._group(group)["properties"]["provisioningState"] == "Deleting":
            raise ArmError(409, "ResourceGroupBeingDeleted", f"The resource group '{group}' is being deleted.")
        if known is not None and known.state in {"Accepted", "Running"}:
            raise ArmError(409, "DeploymentActive", f"Unable to edit deployment '{name}': it is still active.")
        body = request.json()
        resources = list(body["properties"]["template"]["resources"])
        for resource in resources:
            self._literal(resource)
        self._preflight(resources, self._group(group)["location"])
        made = Deployment(id=place, body=body)
        self.deployments[place.lower()] = made
        operation, _ = self._begun(request, "Microsoft.Resources/deployments", "global", fault)
        error = fault.operation if fault is not None else None
        self.later(2, lambda: self._run_deployment(made, resources, operation, error))
        where = f"{request.base}{place}/operationStatuses/{operation.id}?api-version={request.query['api-version']}"
        headers = {"Azure-AsyncOperation": where, "Retry-After": self._pause()}
        return Answer(status=201, body=self._deployment_body(made), headers=headers)

    def _literal(self, resource: Mapping[str, Any]) -> None:
        text = str(resource)
        if re.search(r"'\[(?!\[)[a-zA-Z]", text):
            raise ArmError(400, "InvalidTemplate", "the double takes literal templates only")

    def _deployment_body(self, made: Deployment) -> dict[str, Any]:
        told = made.body["properties"]
        properties = {"mode": told["mode"], "provisioningState": made.state, "correlationId": str(uuid.uuid4())}
        properties |= {"timestamp": self._stamp(), "duration": "PT1S", "templateHash": "1", "parameters": {}}
        resources = told["template"]["resources"]
        properties |= {"providers": [], "dependencies": [], "outputResources": [{"id": "-"} for _ in resources]}
        if made.error:
            properties["error"] = made.error
        kind = "Microsoft.Resources/deployments"
        name = made.id.rsplit("/", 1)[-1]
        body: dict[str, Any] = {"id": made.id, "name": name, "type": kind, "properties": properties}
        if made.body.get("tags"):
            body["tags"] = made.body["tags"]
        return body

    def _preflight(self, resources: list[dict[str, Any]], region: str) -> None:
        """Sizes and quota, before anything is made; wrapped as the real one wraps it."""
        cores: dict[str, int] = {}
        for resource in resources:
            if resource["type"] != VM:
                continue
            size = resource["properties"]["hardwareProfile"]["vmSize"]
            where = resource.get("location", region)
            row = self._sku(size, where)
            if (self.skus and row is None) or (size, where) in self.sold_out:
                told = (
                    "The requested VM size for resource 'Following SKUs have failed for Capacity Restrictions: "
                    f"{size}' is currently not available in location '{where}'. Please try another size or deploy to "
                    "a different location or different zone. See https://aka.ms/azureskunotavailable for details."
                )
                raise self._invalid_template({"code": "SkuNotAvailable", "message": told})
            count = int(next((c["value"] for c in (row or {}).get("capabilities", []) if c["name"] == "vCPUs"), "2"))
            cores[where] = cores.get(where, 0) + count
        for where, count in cores.items():
            limit = self.quota.get(where)
            if limit is not None and count > limit:
                told = (
                    "Operation could not be completed as it results in exceeding approved Total Regional Cores quota. "
                    f"Additional details - Deployment Model: Resource Manager, Location: {where}, Current Limit: "
                    f"{limit}, Current Usage: 0, Additional Required: {count}, (Minimum) New Limit Required: {count}."
                )
                raise self._invalid_template({"code": "QuotaExceeded", "message": told})

    def _invalid_template(self, detail: Mapping[str, Any]) -> ArmError:
        told = "The template deployment 'machines' is not valid according to the validation procedure."
        return ArmError(400, "InvalidTemplateDeployment", told, detail)

    def _sku(self, size: str, region: str) -> dict[str, Any] | None:
        for row in self.skus:
            if row["name"].lower() == size.lower() and region.lower() in [one.lower() for one in row["locations"]]:
                return row
        return None

    def _run_deployment(
        self, made: Deployment, resources: list[dict[str, Any]], operation: Operation, error: Any
    ) -> None:
        """One resource at a time, each after what it depends on; ``error`` hits the first virtual machine."""
        made.state = "Running"
        self._next(made, list(resources), set(), operation, error)

    def _next(
        self, made: Deployment, waiting: list[dict[str, Any]], done: set[str], operation: Operation, error: Any
    ) -> None:
        group = self.groups.get(made.id.split("/")[4].lower())
        if group is None or group["properties"]["provisioningState"] == "Deleting":
            made.state = "Canceled"
            return self._end(operation, error={"code": "Canceled", "message": "The deployment was canceled."})
        if not waiting:
            made.state = "Succeeded"
            return self._end(operation)
        ready = [one for one in waiting if {needs.lower() for needs in one.get("dependsOn", ())} <= done]
        if not ready:
            return self._deployment_failed(made, operation, {"code": "InvalidTemplate", "message": "circular"})
        resource = ready[0]
        place = self._place_of(made, resource)
        try:
            stored = self._store(place, resource["type"], resource["apiVersion"], _body_of(resource))
        except ArmError as problem:
            return self._deployment_failed(made, operation, problem.answer.body["error"], place, resource["type"])
        if error is not None and resource["type"] == VM:
            stored.properties["provisioningState"] = "Failed"
            return self._deployment_failed(made, operation, error, place, resource["type"])
        if operation.status == "Hanging" and resource["type"] == VM:
            return None

        def finish() -> None:
            if self.resources.get(place.lower()) is stored:
                self._created(stored)
            self._next(made, [one for one in waiting if one is not resource], done | {place.lower()}, operation, error)

        self.later(TAKES.get(resource["type"], 2.0), finish)
        return None

    def _place_of(self, made: Deployment, resource: Mapping[str, Any]) -> str:
        provider, *kinds = resource["type"].split("/")
        path = "/".join(f"{kind}/{name}" for kind, name in zip(kinds, resource["name"].split("/"), strict=True))
        return f"{made.id.split('/providers/')[0]}/providers/{provider}/{path}"

    def _deployment_failed(
        self, made: Deployment, operation: Operation, error: Any, place: str = "", kind: str = ""
    ) -> None:
        told = "At least one resource deployment operation failed. Please list deployment operations for details."
        inner = {"code": "Conflict", "message": json.dumps({"error": error}), "target": place}
        made.error = {"code": "DeploymentFailed", "message": told, "target": made.id, "details": [inner]}
        made.steps.append({"place": place, "kind": kind, "error": error})
        made.state = "Failed"
        self._end(operation, error=made.error)

    def _steps(self, request: Request, fault: Fault | None, group: str, name: str) -> Answer:
        place = f"{self._group(group)['id']}/providers/Microsoft.Resources/deployments/{name}"
        made = self.deployments.get(place.lower())
        rows = [
            {
                "id": f"{place}/operations/{number}",
                "operationId": str(number),
                "properties": {
                    "provisioningState": "Failed",
                    "statusMessage": {"error": step["error"]},
                    "targetResource": {"id": step["place"], "resourceType": step["kind"]},
                },
            }
            for number, step in enumerate(made.steps if made else ())
        ]
        return Answer(status=200, body={"value": rows})

    # ---- resources -------------------------------------------------------------------------------------------------

    def _check(self, kind: str, version: str, body: Mapping[str, Any]) -> None:
        problems = self.validate(kind, version, body) if self.validate else []
        if problems:
            raise ArmError(400, "InvalidRequestContent", f"The request content was invalid: {'; '.join(problems)}")

    def _store(self, place: str, kind: str, version: str, body: dict[str, Any]) -> Stored:
        """Put a resource; what it refers to has to be there."""
        self._check(kind, version, body)
        known = self.resources.get(place.lower())
        if kind == VM:
            self._check_machine(place, body)
        stored = known or Stored(id=place, type=kind, body={})
        stored.body = {**deepcopy(body), "id": place, "name": place.rsplit("/", 1)[-1], "type": kind}
        stored.properties.setdefault("provisioningState", "Creating")
        self.resources[place.lower()] = stored
        self.ever.append(deepcopy(stored.body))
        if kind == VM:
            self._with_disks(stored)
        return stored

    def _check_machine(self, place: str, body: Mapping[str, Any]) -> None:
        for nic in body["properties"].get("networkProfile", {}).get("networkInterfaces", ()):
            found = self.resources.get(nic["id"].lower())
            if found is None:
                raise ArmError(404, "ResourceNotFound", f"The Resource '{nic['id']}' was not found.")
            user = found.properties.get("virtualMachine", {}).get("id", "")
            if user and user.lower() != place.lower():
                raise ArmError(400, "NetworkInterfaceInUse", f"The NIC {nic['id']} is used by {user}.")
            found.properties["virtualMachine"] = {"id": place}

    def _with_disks(self, machine: Stored) -> None:
        """The disks that a machine brings with it bear its tags, as on Azure."""
        group = self.groups[machine.group]
        profile = machine.properties.get("storageProfile", {})
        for disk in [profile.get("osDisk", {}), *profile.get("dataDisks", ())]:
            name = disk.get("name") or f"{machine.name}_{uuid.uuid4().hex[:8]}"
            disk["name"] = name
            place = disk.get("managedDisk", {}).get("id") or f"{group['id']}/providers/{DISK}/{name}"
            disk.setdefault("managedDisk", {})["id"] = place
            if place.lower() not in self.resources:
                body = {"location": machine.body["location"], "tags": machine.body.get("tags", {})}
                body |= {"properties": {"diskSizeGB": disk.get("diskSizeGB", 30), "provisioningState": "Succeeded"}}
                made = Stored(id=place, type=DISK, body={**body, "id": place, "name": name, "type": DISK})
                self.resources[place.lower()] = made
                self.ever.append(deepcopy(made.body))
            self.resources[place.lower()].body["managedBy"] = machine.id

    def _created(self, stored: Stored) -> None:
        stored.properties["provisioningState"] = "Succeeded"
        if stored.type == ADDRESS:
            stored.properties.setdefault("ipAddress", self.hosts.address(next(self._addresses)))
        if stored.type == DISK:
            upload = stored.properties.get("creationData", {}).get("createOption") == "Upload"
            stored.properties["diskState"] = "ReadyToUpload" if upload else "Unattached"
        if stored.type == VM:
            stored.properties.setdefault("vmId", str(uuid.uuid4()))
            self._power_on(stored)

    def _power_on(self, machine: Stored) -> None:
        if machine.power != "running":
            machine.power = "running"
            machine.started.append(self._stamp())
            for number, nic in enumerate(machine.properties.get("networkProfile", {}).get("networkInterfaces", ())):
                found = self.resources[nic["id"].lower()]
                found.properties.setdefault("macAddress", f"00-0D-3A-{len(machine.started):02X}-00-{number:02X}")
            self.hosts.start(machine, self.address_of(machine))

    def _power_off(self, machine: Stored, power: str) -> None:
        if machine.power == "running":
            self.hosts.stop(machine)
        machine.power = power

    def address_of(self, machine: Stored) -> str:
        """The public address of the first NIC that has one; '' without."""
        for nic in machine.properties.get("networkProfile", {}).get("networkInterfaces", ()):
            found = self.resources.get(nic["id"].lower())
            for configuration in found.properties.get("ipConfigurations", ()) if found else ():
                place = configuration.get("properties", {}).get("publicIPAddress", {}).get("id", "")
                if place.lower() in self.resources:
                    return str(self.resources[place.lower()].properties.get("ipAddress", ""))
        return ""

    def evict(self, machine: Stored) -> None:
        """Azure takes a spot machine back."""
        if machine.properties.get("evictionPolicy") == "Delete":
            self._remove(machine)
        else:
            self._power_off(machine, "deallocated")

    def _resource(
        self, request: Request, fault: Fault | None, group: str, provider: str, kind: str, name: str
    ) -> Answer:
        known_group = self._group(group)
        kind = _canonical(f"{provider}/{kind}")
        place = f"{known_group['id']}/providers/{kind}/{name}"
        known = self.resources.get(place.lower())
        match request.method:
            case "PUT":
                return self._put(request, fault, known_group, place, kind)
            case "PATCH" if known is not None:
                return self._patch(request, fault, known)
            case "DELETE":
                return self._delete(request, fault, known, kind)
            case "GET" | "HEAD" if known is not None:
                body = deepcopy(known.body)
                if kind == VM and "instanceView" in request.query.get("$expand", ""):
                    body["properties"]["instanceView"] = self._instance_view(known)
                return Answer(status=200, body=body)
        raise ArmError(
            404,
            "ResourceNotFound",
            f"The Resource '{kind}/{name}' under resource group '{group}' was not found. For more details please go "
            "to https://aka.ms/ARMResourceNotFoundFix",
        )

    def _put(self, request: Request, fault: Fault | None, group: dict[str, Any], place: str, kind: str) -> Answer:
        if group["properties"]["provisioningState"] == "Deleting":
            raise ArmError(409, "ResourceGroupBeingDeleted", f"The resource group '{group['name']}' is being deleted.")
        body = request.json()
        if kind == VM:
            self._check_direct(body)
        is_new = place.lower() not in self.resources
        stored = self._store(place, kind, request.query["api-version"], body)
        operation, headers = self._begun(request, kind, body.get("location", ""), fault)
        error = fault.operation if fault is not None else None
        if kind == NIC:  # as recorded: it is there at once
            stored.properties["provisioningState"] = "Succeeded"

        def finish() -> None:
            if self.resources.get(place.lower()) is not stored:
                return self._end(operation, error={"code": "Canceled", "message": "it was deleted meanwhile"})
            if error:
                stored.properties["provisioningState"] = "Failed"
                return self._end(operation, error=error)
            if operation.status == "InProgress":
                self._created(stored)
            return self._end(operation, output=deepcopy(stored.body) if kind == DISK else None)

        self.later(TAKES.get(kind, 2.0), finish)
        status = 202 if kind == DISK else 201 if is_new else 200
        if kind == DISK:
            headers["Location"] = f"{headers['Azure-AsyncOperation']}&monitor=true"
        return Answer(status=status, body=deepcopy(stored.body), headers=headers)

    def _check_direct(self, body: Mapping[str, Any]) -> None:
        size, region = body["properties"]["hardwareProfile"]["vmSize"], body["location"]
        if (size, region) in self.sold_out:
            told = f"The requested VM size for resource 'Following SKUs have failed for Capacity Restrictions: {size}'"
            raise ArmError(409, "SkuNotAvailable", f"{told} is currently not available in location '{region}'.")

    def _patch(self, request: Request, fault: Fault | None, known: Stored) -> Answer:
        body = request.json()
        _merge(known.body, body)
        if known.type == VM:
            self._with_disks(known)
        operation, headers = self._begun(request, known.type, known.body["location"], fault)
        self.later(2, lambda: self._end(operation, error=fault.operation if fault else None))
        return Answer(status=200, body=deepcopy(known.body), headers=headers)

    def _delete(self, request: Request, fault: Fault | None, known: Stored | None, kind: str) -> Answer:
        if known is None:
            return Answer(status=204)
        if kind == DISK and known.body.get("managedBy", "").lower() in self.resources:
            told = f"Disk {known.name} is attached to VM {known.body['managedBy']}."
            raise ArmError(409, "OperationNotAllowed", told)
        if kind == NIC and known.properties.get("virtualMachine", {}).get("id", "").lower() in self.resources:
            raise ArmError(400, "NicInUse", f"Network Interface {known.id} is used by a virtual machine.")
        operation, headers = self._begun(request, kind, known.body["location"], fault)
        headers["Location"] = f"{headers['Azure-AsyncOperation']}&monitor=true"

        def finish() -> None:
            self._remove(known)
            self._end(operation)

        self.later(5, finish)
        return Answer(status=202, headers=headers)

    # ---- what a machine and a disk can do --------------------------------------------------------------------------

    def _action(
        self, request: Request, fault: Fault | None, group: str, provider: str, kind: str, name: str, action: str
    ) -> Answer:
        place = f"{self._group(group)['id']}/providers/{_canonical(f'{provider}/{kind}')}/{name}"
        known = self.resources.get(place.lower())
        if known is None:
            raise ArmError(404, "ResourceNotFound", f"The Resource '{place}' was not found.")
        if action == "instanceView":
            return Answer(status=200, body=self._instance_view(known))
        if action == "retrieveBootDiagnosticsData":
            uri = f"{request.base}/diagnostics{known.id}"
            uris = {"consoleScreenshotBlobUri": f"{uri}/screenshot.bmp?sig=secret"}
            return Answer(status=200, body={**uris, "serialConsoleLogBlobUri": f"{uri}/serialconsole.log?sig=secret"})
        return self._long_action(request, fault, known, action)

    def _long_action(self, request: Request, fault: Fault | None, known: Stored, action: str) -> Answer:
        error = fault.operation if fault is not None else None
        acts: dict[str, Callable[[], Any]] = {
            "start": lambda: self._power_on(known),
            "powerOff": lambda: self._power_off(known, "stopped"),
            "deallocate": lambda: self._power_off(known, "deallocated"),
            "restart": lambda: (self._power_off(known, "stopped"), self._power_on(known)),
            "redeploy": lambda: (self._power_off(known, "stopped"), self._power_on(known)),
            "simulateEviction": lambda: self.evict(known),
            "runCommand": lambda: {"value": [{"code": "ProvisioningState/succeeded", "message": "[stdout]\nran\n"}]},
            "attachDetachDataDisks": lambda: self._attach(known, request.json() or {}),
            "beginGetAccess": lambda: {"accessSAS": self.uploads(known)},
            "endGetAccess": lambda: known.properties.update(diskState="Unattached"),
        }
        if action not in acts:
            raise ArmError(404, "InvalidResourceType", f"There is no action {action}.")
        if action == "simulateEviction":
            acts[action]()
            return Answer(status=204)
        operation, headers = self._begun(request, known.type, known.body["location"], fault)
        headers["Location"] = (
            headers["Azure-AsyncOperation"]
            .replace(f"/providers/{known.type.split('/')[0]}/locations/{known.body['location']}/", "/")
            .replace("/DiskOperations/", "/operationresults/")
            .replace("/operations/", "/operationresults/")
        )

        def finish() -> None:
            output = acts[action]() if not error and operation.status == "InProgress" else None
            self._end(operation, error=error, output=output if isinstance(output, dict) else None)

        self.later(5, finish)
        return Answer(status=202, headers=headers)

    def _attach(self, machine: Stored, body: Mapping[str, Any]) -> dict[str, Any]:
        disks = machine.properties.setdefault("storageProfile", {}).setdefault("dataDisks", [])
        gone = {one["diskId"].lower() for one in body.get("dataDisksToDetach", ())}
        for one in disks:
            if one["managedDisk"]["id"].lower() in gone:
                self.resources[one["managedDisk"]["id"].lower()].body.pop("managedBy", None)
        disks[:] = [one for one in disks if one["managedDisk"]["id"].lower() not in gone]
        for one in body.get("dataDisksToAttach", ()):
            disks.append(
                {"lun": one.get("lun", len(disks)), "managedDisk": {"id": one["diskId"]}, "createOption": "Attach"}
            )
            self.resources[one["diskId"].lower()].body["managedBy"] = machine.id
        return {"dataDisks": deepcopy(disks)}

    def _instance_view(self, machine: Stored) -> dict[str, Any]:
        statuses = [{"code": f"ProvisioningState/{machine.properties['provisioningState'].lower()}", "level": "Info"}]
        if machine.power:
            statuses.append({"code": f"PowerState/{machine.power}", "level": "Info", "displayStatus": machine.power})
        return {"statuses": statuses, "vmAgent": {"vmAgentVersion": "Unknown", "statuses": []}}

    def _blob(self, request: Request) -> Answer:
        place, _, name = request.path.removeprefix("/diagnostics").rpartition("/")
        known = self.resources.get(place.lower())
        if known is None or request.query.get("sig") != "secret":
            return Answer(status=404, body=b"<Error><Code>BlobNotFound</Code></Error>")
        data = self.screenshots if name.startswith("screenshot") else self.hosts.serial(known)
        asked = re.fullmatch(r"bytes=(\d+)-", request.headers.get("range", ""))
        if asked and int(asked[1]) >= len(data):
            return Answer(status=416, headers={"Content-Range": f"bytes */{len(data)}"})
        start = int(asked[1]) if asked else 0
        headers = {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"} if asked else {}
        return Answer(status=206 if asked else 200, body=data[start:], headers=headers)


_KINDS: Final = {one.lower(): one for one in (VM, DISK, NIC, ADDRESS)}


def _canonical(kind: str) -> str:
    return _KINDS.get(kind.lower(), kind)


def _body_of(resource: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in resource.items() if key not in {"type", "apiVersion", "name", "dependsOn"}}


def _merge(target: dict[str, Any], patch: Mapping[str, Any]) -> None:
    for key, value in patch.items():
        if isinstance(value, Mapping) and isinstance(target.get(key), dict):
            _merge(target[key], value)
        else:
            target[key] = deepcopy(value)
