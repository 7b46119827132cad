"""What the double tells of a subscription and of operations under way: sizes, quota, locks, permissions."""

from __future__ import annotations

import re
from copy import deepcopy
from typing import Any

from tests.doubles.azure.capacity import usages
from tests.doubles.azure.entra import SUBSCRIPTION
from tests.doubles.azure.faults import Fault
from tests.doubles.azure.state import ArmError, State
from tests.doubles.azure.wire import Answer, Request


class Told:
    """Answers that change nothing."""

    def __init__(self, state: State) -> None:
        self._state = state

    def operation(self, request: Request, fault: Fault | None, operation: str, **_: str) -> Answer:
        found = self._state.operations.get(operation)
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
        headers = {} if found.ended else {"Retry-After": self._state.retry_after}
        return Answer(status=200, body=body, headers=headers)

    def operation_result(self, request: Request, fault: Fault | None, operation: str, **_: str) -> Answer:
        found = self._state.operations.get(operation)
        if found is None:
            raise ArmError(404, "NotFound", "The operation is not there.")
        if found.status in {"InProgress", "Hanging"}:
            where = f"{request.base}{request.path}?api-version={request.query['api-version']}"
            return Answer(status=202, headers={"Location": where, "Retry-After": self._state.retry_after})
        if found.error:
            return Answer(status=409, body={"error": found.error})
        return Answer(status=200, body=found.output)

    def subscription(self, request: Request, fault: Fault | None) -> Answer:
        told = {"id": f"/subscriptions/{SUBSCRIPTION}", "subscriptionId": SUBSCRIPTION, "displayName": "double"}
        return Answer(status=200, body={**told, "state": "Enabled"})

    def list_locks(self, request: Request, fault: Fault | None) -> Answer:
        return Answer(status=200, body={"value": deepcopy(self._state.locks)})

    def permissions(self, request: Request, fault: Fault | None, **_: str) -> Answer:
        """The same at every scope; the data actions, which the assignment on a container gives, only there."""
        given: dict[str, list[str]] = {"actions": self._state.actions, "notActions": []}
        if "/containers/" in request.path:
            given |= {"dataActions": self._state.data_actions, "notDataActions": []}
        return Answer(status=200, body={"value": [given]})

    def list_skus(self, request: Request, fault: Fault | None) -> Answer:
        wanted = re.findall(r"location eq '([^']+)'", request.query.get("$filter", ""))
        rows = [
            row for row in self._state.skus if not wanted or wanted[0].lower() in [x.lower() for x in row["locations"]]
        ]
        return Answer(status=200, body={"value": rows})

    def usages(self, request: Request, fault: Fault | None, region: str) -> Answer:
        return Answer(status=200, body={"value": usages(self._state, region)})
