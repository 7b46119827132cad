"""Resource groups of the double: an empty one is there at once, and goes with all that is in it."""

from __future__ import annotations

import re
from copy import deepcopy
from typing import Any

from tests.doubles.azure.compute import Compute
from tests.doubles.azure.entra import SUBSCRIPTION
from tests.doubles.azure.faults import Fault
from tests.doubles.azure.state import ArmError, Operation, State
from tests.doubles.azure.wire import Answer, Request


class Groups:
    """Requests for resource groups, and for what is in one."""

    def __init__(self, state: State, compute: Compute) -> None:
        self._state = state
        self._compute = compute

    def listed(self, request: Request, fault: Fault | None) -> Answer:
        asked = re.match(r"tagName eq '([^']+)'", request.query.get("$filter", ""))
        found = [group for group in self._state.groups.values() if not asked or asked[1] in (group.get("tags") or {})]
        return Answer(status=200, body={"value": deepcopy(found)})

    def one(self, request: Request, fault: Fault | None, group: str) -> Answer:
        known = self._state.groups.get(group.lower())
        match request.method:
            case "PUT":
                return self._put(request, group, known)
            case "HEAD":
                return Answer(status=204 if known else 404)
            case "DELETE":
                return self._delete(request, fault, self._state.group(group))
            case "GET":
                return Answer(status=200, body=deepcopy(self._state.group(group)))
        raise ArmError(405, "MethodNotAllowed", request.method)

    def _put(self, request: Request, name: str, known: dict[str, Any] | None) -> Answer:
        body = request.json()
        if known is not None and known["properties"]["provisioningState"] == "Deleting":
            told = f"The resource group '{name}' is in deprovisioning state and cannot perform this operation."
            raise ArmError(409, "ResourceGroupBeingDeleted", told)
        if known is not None and known["location"] != body["location"]:
            told = f"Invalid resource group location '{body['location']}'. It exists in '{known['location']}'."
            raise ArmError(409, "InvalidResourceGroupLocation", told)
        self._state.check("Microsoft.Resources/resourceGroups", request.query["api-version"], body)
        made = {
            "id": f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{name}",
            "name": name,
            "type": "Microsoft.Resources/resourceGroups",
            "location": body["location"],
            "tags": body.get("tags", {}),
            "properties": {"provisioningState": "Succeeded"},
        }
        self._state.groups[name.lower()] = made
        self._state.ever.append(deepcopy(made))
        return Answer(status=200 if known else 201, body=deepcopy(made))

    def _delete(self, request: Request, fault: Fault | None, group: dict[str, Any]) -> Answer:
        for lock in self._state.locks:
            if lock["id"].lower().startswith(group["id"].lower() + "/"):
                told = f"The scope '{group['id']}' cannot perform delete operation because it is locked."
                raise ArmError(409, "ScopeLocked", told)
        operation, _ = self._state.begun(request, "Microsoft.Resources/resourceGroups", group["location"], fault)
        group["properties"]["provisioningState"] = "Deleting"
        error = fault.operation if fault is not None else None
        self._state.later(30, lambda: self._gone(group, operation, error))
        where = f"{request.base}/subscriptions/{SUBSCRIPTION}/operationresults/{operation.id}"
        version = request.query["api-version"]
        headers = {"Location": f"{where}?api-version={version}", "Retry-After": self._state.retry_after}
        return Answer(status=202, headers=headers)

    def _gone(self, group: dict[str, Any], operation: Operation, error: Any) -> None:
        name = group["name"].lower()
        if self._state.groups.get(name) is not group:
            return self._state.end(operation)
        inside = [one for one in self._state.resources.values() if one.group == name]
        lingering = [one for one in inside if one.id.lower() in self._state.lingering]
        for one in inside:
            if one not in lingering:
                self._compute.remove(one)
        if operation.status == "Hanging":
            return None
        if lingering or error:
            self._state.lingering.difference_update(
                one.id.lower() for one in lingering
            )  # detached late: gone at the next try
            group["properties"]["provisioningState"] = "Succeeded"
            held = {"code": "CannotDeleteResource", "message": "Disk is attached to a VM that is being deleted."}
            told = "Deletion of resource group failed as resources with identifiers could not be deleted."
            failed = error or {"code": "ResourceGroupDeletionBlocked", "message": told, "details": [held]}
            return self._state.end(operation, error=failed)
        del self._state.groups[name]
        return self._state.end(operation)

    def inside(self, request: Request, fault: Fault | None, group: str) -> Answer:
        self._state.group(group)
        rows = [
            {"id": one.id, "name": one.name, "type": one.type, "location": one.body.get("location")}
            | ({"tags": one.body["tags"]} if one.body.get("tags") else {})
            for one in self._state.resources.values()
            if one.group == group.lower()
        ]
        return Answer(status=200, body={"value": rows})
