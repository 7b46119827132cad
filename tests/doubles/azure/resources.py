"""Resources of any type in the double: put, changed, read and deleted, with operations that take their time."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Mapping
from copy import deepcopy
from typing import Any, Final

from lisa_ci.platforms.azure import bodies
from tests.doubles.azure.accounts import Accounts
from tests.doubles.azure.compute import Compute
from tests.doubles.azure.faults import Fault
from tests.doubles.azure.state import ADDRESS, DISK, NIC, TAKES, VM, ArmError, State, Stored, canonical
from tests.doubles.azure.told import told, with_addresses
from tests.doubles.azure.wire import Answer, Request

_AT_ONCE: Final = {bodies.PROXIMITY_GROUP, bodies.AVAILABILITY_SET}
"""Made by the request itself, as recorded: there is nothing to follow."""


class Resources:
    """Requests for one resource; ``store`` and ``created`` are the steps that deployments take as well."""

    def __init__(self, state: State, compute: Compute, accounts: Accounts) -> None:
        self._state = state
        self._accounts = accounts
        self._compute = compute
        self._addresses = itertools.count()

    def store(self, place: str, kind: str, version: str, body: dict[str, Any]) -> Stored:
        """Put a resource; what it refers to has to be there."""
        self._state.check(kind, version, body)
        known = self._state.resources.get(place.lower())
        self._check_references(place, body)
        self._accounts.check_sources(kind, body)
        if kind == VM:
            self._compute.check_references(place, body)
        stored = known or Stored(id=place, type=kind, body={})
        stored.body = {**deepcopy(body), "id": place, "name": place.rsplit("/", 1)[-1], "type": kind}
        stored.properties.setdefault("provisioningState", "Creating")
        self._state.resources[place.lower()] = stored
        self._state.ever.append(deepcopy(stored.body))
        if kind == VM:
            self._compute.with_disks(stored)
        if kind == NIC:
            with_addresses(self._state, stored)
        return stored

    def _check_references(self, place: str, body: Mapping[str, Any]) -> None:
        """What the network provider is referred to has to be there."""
        for id_ in sorted(_ids(body)):
            whole, (_, _, part) = "/".join(id_.split("/")[:9]), id_.partition("/subnets/")
            if "/providers/microsoft.network/" not in id_.lower() or id_.lower().startswith(place.lower()):
                continue
            found = self._state.resources.get(whole.lower())
            subnets = [one["name"].lower() for one in found.properties.get("subnets", ())] if found else []
            if found is None or (part and part.lower() not in subnets):
                told_ = f"Resource {id_} referenced by resource {place} was not found. Please make sure that the "
                told_ += "referenced resource exists, and that both resources are in the same region."
                raise ArmError(400, "InvalidResourceReference", told_)

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
                expand = request.query.get("$expand", "")
                body = told(self._state, known, expand=expand)
                if kind == VM and "instanceView" in expand:
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
        is_new = place.lower() not in self._state.resources
        if kind == VM and is_new:
            self._compute.check_room(body)
        stored = self.store(place, kind, request.query["api-version"], body)
        if kind in _AT_ONCE:
            self.created(stored)
            return Answer(status=201 if is_new else 200, body=told(self._state, stored))
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
            return self._state.end(operation, output=told(self._state, stored) if kind == DISK else None)

        self._state.later(TAKES.get(kind, 2.0), finish)
        status = 202 if kind == DISK else 201 if is_new else 200
        if kind == DISK:
            headers["Location"] = f"{headers['Azure-AsyncOperation']}&monitor=true"
        return Answer(status=status, body=told(self._state, stored), headers=headers)

    def _patch(self, request: Request, fault: Fault | None, known: Stored) -> Answer:
        body = request.json()
        self._check_patch(known.type, body)
        _merge(known.body, body)
        if known.type == VM:
            self._compute.with_disks(known)
        operation, headers = self._state.begun(request, known.type, known.body["location"], fault)
        self._state.later(2, lambda: self._state.end(operation, error=fault.operation if fault else None))
        return Answer(status=200, body=told(self._state, known), headers=headers)

    def _check_patch(self, kind: str, body: Mapping[str, Any]) -> None:
        """A part of what a PUT takes, and nothing else."""
        if self._state.validate is None or kind not in bodies.API:
            return
        problems = [
            one for one in self._state.validate(kind, bodies.API[kind], body) if not one.endswith(": is missing")
        ]
        if problems:
            raise ArmError(400, "InvalidRequestContent", f"The request content was invalid: {'; '.join(problems)}")

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


def _ids(value: Any) -> set[str]:
    """Every id of a resource in a body."""
    match value:
        case Mapping():
            return {id_ for one in value.values() for id_ in _ids(one)}
        case list() | tuple():
            return {id_ for one in value for id_ in _ids(one)}
        case str() if value.startswith("/subscriptions/"):
            return {value}
    return set()


def _merge(target: dict[str, Any], patch: Mapping[str, Any]) -> None:
    for key, value in patch.items():
        if isinstance(value, Mapping) and isinstance(target.get(key), dict):
            _merge(target[key], value)
        else:
            target[key] = deepcopy(value)
