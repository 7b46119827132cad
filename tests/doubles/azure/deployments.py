"""Template deployments of the double: literal ones only, which go on when nobody looks."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping
from typing import Any

from tests.doubles.azure.capacity import over_quota, size_of
from tests.doubles.azure.faults import Fault
from tests.doubles.azure.resources import Resources
from tests.doubles.azure.state import TAKES, VM, ArmError, Deployment, Operation, State
from tests.doubles.azure.wire import Answer, Request


class Deployments:
    """Requests for deployments, and the deployments themselves as time passes."""

    def __init__(self, state: State, resources: Resources) -> None:
        self._state = state
        self._resources = resources

    def one(self, request: Request, fault: Fault | None, group: str, name: str) -> Answer:
        place = f"{self._state.group(group)['id']}/providers/Microsoft.Resources/deployments/{name}"
        known = self._state.deployments.get(place.lower())
        if request.method == "HEAD":
            return Answer(status=204 if known else 404)
        if request.method == "GET":
            if known is None:
                raise ArmError(404, "DeploymentNotFound", f"Deployment '{name}' could not be found.")
            return Answer(status=200, body=self._body(known))
        if self._state.group(group)["properties"]["provisioningState"] == "Deleting":
            raise ArmError(409, "ResourceGroupBeingDeleted", f"The resource group '{group}' is being deleted.")
        if known is not None and known.state in {"Accepted", "Running"}:
            raise ArmError(409, "DeploymentActive", f"Unable to edit deployment '{name}': it is still active.")
        body = request.json()
        if "template" not in body["properties"]:
            raise ArmError(400, "InvalidTemplate", "the double takes literal templates only, in the request")
        resources = list(body["properties"]["template"]["resources"])
        for resource in resources:
            self._literal(resource)
        self._preflight(resources, self._state.group(group)["location"])
        made = Deployment(id=place, body=body)
        self._state.deployments[place.lower()] = made
        operation, _ = self._state.begun(request, "Microsoft.Resources/deployments", "global", fault)
        error = fault.operation if fault is not None else None
        self._state.later(2, lambda: self._run(made, resources, operation, error))
        where = f"{request.base}{place}/operationStatuses/{operation.id}?api-version={request.query['api-version']}"
        headers = {"Azure-AsyncOperation": where, "Retry-After": self._state.retry_after}
        return Answer(status=201, body=self._body(made), headers=headers)

    def _literal(self, resource: Mapping[str, Any]) -> None:
        text = str(resource)
        if re.search(r"'\[(?!\[)[a-zA-Z]", text):
            raise ArmError(400, "InvalidTemplate", "the double takes literal templates only")

    def _body(self, made: Deployment) -> dict[str, Any]:
        told = made.body["properties"]
        properties = {"mode": told["mode"], "provisioningState": made.state, "correlationId": str(uuid.uuid4())}
        properties |= {"timestamp": self._state.stamp(), "duration": "PT1S", "templateHash": "1", "parameters": {}}
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
        machines = [(one, one.get("location", region)) for one in resources if one["type"] == VM]
        for body, where in machines:
            size = body["properties"]["hardwareProfile"]["vmSize"]
            is_offered = not self._state.skus or size_of(self._state, size, where) is not None
            if not is_offered or (size, where) in self._state.sold_out:
                told = (
                    "The requested VM size for resource 'Following SKUs have failed for Capacity Restrictions: "
                    f"{size}' is currently not available in location '{where}'. Please try another size or deploy to "
                    "a different location or different zone. See https://aka.ms/azureskunotavailable for details."
                )
                raise self._invalid_template({"code": "SkuNotAvailable", "message": told})
        if why := over_quota(self._state, machines):
            raise self._invalid_template({"code": "QuotaExceeded", "message": why})

    def _invalid_template(self, detail: Mapping[str, Any]) -> ArmError:
        told = "The template deployment 'machines' is not valid according to the validation procedure."
        return ArmError(400, "InvalidTemplateDeployment", told, detail)

    def _run(self, made: Deployment, resources: list[dict[str, Any]], operation: Operation, error: Any) -> None:
        """One resource at a time, each after what it depends on; ``error`` hits the first virtual machine."""
        made.state = "Running"
        self._next(made, list(resources), set(), operation, error)

    def _next(
        self, made: Deployment, waiting: list[dict[str, Any]], done: set[str], operation: Operation, error: Any
    ) -> None:
        group = self._state.groups.get(made.id.split("/")[4].lower())
        if group is None or group["properties"]["provisioningState"] == "Deleting":
            made.state = "Canceled"
            return self._state.end(operation, error={"code": "Canceled", "message": "The deployment was canceled."})
        if not waiting:
            made.state = "Succeeded"
            return self._state.end(operation)
        ready = [one for one in waiting if {needs.lower() for needs in one.get("dependsOn", ())} <= done]
        if not ready:
            return self._failed(made, operation, {"code": "InvalidTemplate", "message": "circular"})
        resource = ready[0]
        place = self._place_of(made, resource)
        try:
            stored = self._resources.store(place, resource["type"], resource["apiVersion"], _body_of(resource))
        except ArmError as problem:
            return self._failed(made, operation, problem.answer.body["error"], place, resource["type"])
        if error is not None and resource["type"] == VM:
            stored.properties["provisioningState"] = "Failed"
            return self._failed(made, operation, error, place, resource["type"])
        if operation.status == "Hanging" and resource["type"] == VM:
            return None

        def finish() -> None:
            if self._state.resources.get(place.lower()) is stored:
                self._resources.created(stored)
            self._next(made, [one for one in waiting if one is not resource], done | {place.lower()}, operation, error)

        self._state.later(TAKES.get(resource["type"], 2.0), finish)
        return None

    def _place_of(self, made: Deployment, resource: Mapping[str, Any]) -> str:
        provider, *kinds = resource["type"].split("/")
        path = "/".join(f"{kind}/{name}" for kind, name in zip(kinds, resource["name"].split("/"), strict=True))
        return f"{made.id.split('/providers/')[0]}/providers/{provider}/{path}"

    def _failed(self, made: Deployment, operation: Operation, error: Any, place: str = "", kind: str = "") -> None:
        told = "At least one resource deployment operation failed. Please list deployment operations for details."
        inner = {"code": "Conflict", "message": json.dumps({"error": error}), "target": place}
        made.error = {"code": "DeploymentFailed", "message": told, "target": made.id, "details": [inner]}
        made.steps.append({"place": place, "kind": kind, "error": error})
        made.state = "Failed"
        self._state.end(operation, error=made.error)

    def steps(self, request: Request, fault: Fault | None, group: str, name: str) -> Answer:
        place = f"{self._state.group(group)['id']}/providers/Microsoft.Resources/deployments/{name}"
        made = self._state.deployments.get(place.lower())
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


def _body_of(resource: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in resource.items() if key not in {"type", "apiVersion", "name", "dependsOn"}}
