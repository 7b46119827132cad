"""Resources of any type in the double: put, changed, read and deleted, with operations that take their time."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from tests.doubles.azure.compute import Compute
from tests.doubles.azure.faults import Fault
from tests.doubles.azure.state import ADDRESS, DISK, NIC, TAKES, VM, ArmError, State, Stored, canonical
from tests.doubles.azure.wire import Answer, Request


class Resources:
    """Requests for one resource; ``store`` and ``created`` are the steps that deployments take as well."""

    def __init__(self, state: State, compute: Compute) -> None:
        self._state = state
        self._compute = compute
        self._addresses = itertools.count()

    def store(self, place: str, kind: str, version: str, body: dict[str, Any]) -> Stored:
        """Put a resource; what it refers to has to be there."""
        self._state.check(kind, version, body)
        known = self._state.resources.get(place.lower())
        if kind == VM:
            self._compute.check_references(place, body)
        stored = known or Stored(id=place, type=kind, body={})
        stored.body = {**deepcopy(body), "id": place, "name": place.rsplit("/", 1)[-1], "type": kind}
        stored.properties.setdefault("provisioningState", "Creating")
        self._state.resources[place.lower()] = stored
        self._state.ever.append(deepcopy(stored.body))
        if kind == VM:
            self._compute.with_disks(stored)
        return stored

    def created(self, stored: Stored) -> None:
        stored.properties["provisioningState"] = "Succeeded"
        if stored.type == ADDRESS:
            stored.properties.setdefault("ipAddress", self._state.hosts.address(next(self._addresses)))
        if stored.type == DISK:
            upload = stored.properties.get("creationData", {}).get("createOption") == "Upload"
            stored.properties["diskState"] = "ReadyToUpload" if upload else "Unattached"
        if stored.type == VM:
            stored.properties.setdefault("vmId", str(uuid.uuid4()))
            self._compute.power_on(stored)

    def one(self, request: Request, fault: Fault | None, group: str, provider: str, kind: str, name: str) -> Answer:
        known_group = self._state.group(group)
        kind = canonical(f"{provider}/{kind}")
        place = f"{known_group['id']}/providers/{kind}/{name}"
        known = self._state.resources.get(place.lower())
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
                    body["properties"]["instanceView"] = self._compute.instance_view(known)
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
            self._compute.check_sold_out(body)
        is_new = place.lower() not in self._state.resources
        stored = self.store(place, kind, request.query["api-version"], body)
        operation, headers = self._state.begun(request, kind, body.get("location", ""), fault)
        error = fault.operation if fault is not None else None
        if kind == NIC:  # as recorded: it is there at once
            stored.properties["provisioningState"] = "Succeeded"

        def finish() -> None:
            if self._state.resources.get(place.lower()) is not stored:
                return self._state.end(operation, error={"code": "Canceled", "message": "it was deleted meanwhile"})
            if error:
                stored.properties["provisioningState"] = "Failed"
                return self._state.end(operation, error=error)
            if operation.status == "InProgress":
                self.created(stored)
            return self._state.end(operation, output=deepcopy(stored.body) if kind == DISK else None)

        self._state.later(TAKES.get(kind, 2.0), finish)
        status = 202 if kind == DISK else 201 if is_new else 200
        if kind == DISK:
            headers["Location"] = f"{headers['Azure-AsyncOperation']}&monitor=true"
        return Answer(status=status, body=deepcopy(stored.body), headers=headers)

    def _patch(self, request: Request, fault: Fault | None, known: Stored) -> Answer:
        body = request.json()
        _merge(known.body, body)
        if known.type == VM:
            self._compute.with_disks(known)
        operation, headers = self._state.begun(request, known.type, known.body["location"], fault)
        self._state.later(2, lambda: self._state.end(operation, error=fault.operation if fault else None))
        return Answer(status=200, body=deepcopy(known.body), headers=headers)

    def _delete(self, request: Request, fault: Fault | None, known: Stored | None, kind: str) -> Answer:
        if known is None:
            return Answer(status=204)
        if kind == DISK and known.body.get("managedBy", "").lower() in self._state.resources:
            told = f"Disk {known.name} is attached to VM {known.body['managedBy']}."
            raise ArmError(409, "OperationNotAllowed", told)
        if kind == NIC and known.properties.get("virtualMachine", {}).get("id", "").lower() in self._state.resources:
            raise ArmError(400, "NicInUse", f"Network Interface {known.id} is used by a virtual machine.")
        operation, headers = self._state.begun(request, kind, known.body["location"], fault)
        headers["Location"] = f"{headers['Azure-AsyncOperation']}&monitor=true"

        def finish() -> None:
            self._compute.remove(known)
            self._state.end(operation)

        self._state.later(5, finish)
        return Answer(status=202, headers=headers)


def _merge(target: dict[str, Any], patch: Mapping[str, Any]) -> None:
    for key, value in patch.items():
        if isinstance(value, Mapping) and isinstance(target.get(key), dict):
            _merge(target[key], value)
        else:
            target[key] = deepcopy(value)
