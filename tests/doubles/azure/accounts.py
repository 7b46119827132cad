"""Storage accounts of the double's subscription, and what is checked of a blob that a disk or an image is made of.

The refusals are worded as Azure words them: the region's in microsoft/DefendTheFlag#1. That whoever makes an image of a
blob has to be allowed to list the account's keys is told in cloudfoundry/docs-bosh#885; the keys are never listed here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from lisa_ci.platforms.azure import rights
from tests.doubles.azure.entra import SUBSCRIPTION
from tests.doubles.azure.faults import Fault
from tests.doubles.azure.state import DISK, ArmError, State
from tests.doubles.azure.wire import Answer, Request

ACCOUNT: Final = "Microsoft.Storage/storageAccounts"
_IMAGE: Final = "Microsoft.Compute/images"


def account(name: str, url: str, region: str = "westeurope") -> dict[str, Any]:
    """A row of an account whose blobs are below ``url``, as a list of resources tells it."""
    place = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/storage/providers/{ACCOUNT}/{name}"
    row = {"id": place, "name": name, "type": ACCOUNT, "location": region, "kind": "StorageV2", "tags": {}}
    return {**row, "properties": {"primaryEndpoints": {"blob": url}}}


class Accounts:
    """Answers about the accounts, and checks of what is imported from one."""

    def __init__(self, state: State) -> None:
        self._state = state

    def listed(self, request: Request, fault: Fault | None) -> Answer:
        """Resources of the subscription by type; the double has only accounts outside of groups of ours."""
        wanted = re.fullmatch(r"resourceType eq '([^']+)'", request.query.get("$filter", ""))
        if wanted is None:
            raise ArmError(400, "InvalidFilterInQueryString", "The double knows the filter by resourceType only.")
        kept = ("id", "name", "type", "location", "kind", "tags")
        rows = [{key: row[key] for key in kept} for row in self._state.accounts if wanted[1] == ACCOUNT]
        return Answer(status=200, body={"value": rows})

    def check_sources(self, kind: str, body: Mapping[str, Any]) -> None:
        """A blob that something is made of: in an account of the subscription and region, whole, and ours to read."""
        for url, account_id in _sources(kind, body):
            found = next(
                (one for one in self._state.accounts if url.startswith(one["properties"]["primaryEndpoints"]["blob"])),
                None,
            )
            if found is None:
                told = f"The storage account of the source blob {url} was not found in the subscription."
                raise ArmError(400, "StorageAccountNotFound", told)
            if account_id and account_id.lower().rpartition("/")[2] != found["name"].lower():
                told = f"The source blob {url} is not in the storage account {account_id}."
                raise ArmError(400, "InvalidParameter", told)
            if found["location"].lower() != str(body["location"]).lower():
                told = f"The source blob {url} does not belong to the same region as the {kind.split('/')[1][:-1]}."
                raise ArmError(400, "BadRequest", told)
            if not rights.is_allowed(rights.LIST_KEYS, [{"actions": self._state.actions}]):
                told = f"The client does not have permission to perform action(s) '{rights.LIST_KEYS}' on the linked "
                raise ArmError(403, "LinkedAuthorizationFailed", f"{told}scope(s) '{found['id']}'.")
            if problem := self._state.imports(url):
                raise ArmError(400, "InvalidParameter", f"The source blob {url} is no disk: {problem}")


def _sources(kind: str, body: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    properties = body.get("properties", {})
    if kind == DISK and properties.get("creationData", {}).get("createOption") == "Import":
        yield properties["creationData"]["sourceUri"], properties["creationData"].get("storageAccountId", "")
    if kind == _IMAGE:
        url = properties.get("storageProfile", {}).get("osDisk", {}).get("blobUri", "")
        if url:
            yield url, ""
