"""Virtual machines and disks of the double: what they bring with them, their power, and what can be done to them."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any, Final

from tests.doubles.azure.capacity import check_size, over_quota
from tests.doubles.azure.faults import Fault
from tests.doubles.azure.state import DISK, VM, ArmError, State, Stored, canonical
from tests.doubles.azure.told import told
from tests.doubles.azure.wire import Answer, Request

_DISK_IN: Final = "diskId lun caching deleteOption diskEncryptionSet writeAcceleratorEnabled"
_TAKES: Final = {  # an action's body: all keys, and those that have to be there
    "beginGetAccess": ("access durationInSeconds fileFormat getSecureVMGuestStateSAS", "access durationInSeconds"),
    "runCommand": ("commandId script parameters", "commandId"),
    "attachDetachDataDisks": ("dataDisksToAttach dataDisksToDetach", ""),
    "dataDisksToAttach": (_DISK_IN, "diskId"),
    "dataDisksToDetach": ("diskId detachOption", "diskId"),
}


class Compute:
    """``action`` serves POST requests; the others are what the rest of the double needs of machines."""

    def __init__(self, state: State) -> None:
        self._state = state

    def check_references(self, place: str, body: Mapping[str, Any]) -> None:
        for nic in body["properties"].get("networkProfile", {}).get("networkInterfaces", ()):
            found = self._state.resources.get(nic["id"].lower())
            if found is None:
                raise ArmError(404, "ResourceNotFound", f"The Resource '{nic['id']}' was not found.")
            user = found.properties.get("virtualMachine", {}).get("id", "")
            if user and user.lower() != place.lower():
                raise ArmError(400, "NetworkInterfaceInUse", f"The NIC {nic['id']} is used by {user}.")
        check_size(self._state, body)
        for nic in body["properties"].get("networkProfile", {}).get("networkInterfaces", ()):
            self._state.resources[nic["id"].lower()].properties["virtualMachine"] = {"id": place}

    def with_disks(self, machine: Stored) -> None:
        """The disks that a machine brings with it bear its tags, as on Azure."""
        group = self._state.groups[machine.group]
        profile = machine.properties.get("storageProfile", {})
        for disk in [profile.get("osDisk", {}), *profile.get("dataDisks", ())]:
            name = disk.get("name") or f"{machine.name}_{uuid.uuid4().hex[:8]}"
            disk["name"] = name
            place = disk.get("managedDisk", {}).get("id") or f"{group['id']}/providers/{DISK}/{name}"
            disk.setdefault("managedDisk", {})["id"] = place
            if place.lower() not in self._state.resources:
                body = {"location": machine.body["location"], "tags": machine.body.get("tags", {})}
                body |= {"properties": {"diskSizeGB": disk.get("diskSizeGB", 30), "provisioningState": "Succeeded"}}
                made = Stored(id=place, type=DISK, body={**body, "id": place, "name": name, "type": DISK})
                self._state.resources[place.lower()] = made
                self._state.ever.append(deepcopy(made.body))
            self._state.resources[place.lower()].body["managedBy"] = machine.id

    def power_on(self, machine: Stored) -> None:
        if machine.power != "running":
            machine.power = "running"
            machine.started.append(self._state.stamp())
            for number, nic in enumerate(machine.properties.get("networkProfile", {}).get("networkInterfaces", ())):
                found = self._state.resources[nic["id"].lower()]
                found.properties.setdefault("macAddress", f"00-0D-3A-{len(machine.started):02X}-00-{number:02X}")
            self._state.hosts.start(machine, self.address_of(machine))

    def power_off(self, machine: Stored, power: str) -> None:
        if machine.power == "running":
            self._state.hosts.stop(machine)
        machine.power = power

    def _again(self, machine: Stored) -> None:
        self.power_off(machine, "stopped")
        self.power_on(machine)

    def address_of(self, machine: Stored) -> str:
        """The public address of the first NIC that has one; '' without."""
        for nic in machine.properties.get("networkProfile", {}).get("networkInterfaces", ()):
            found = self._state.resources.get(nic["id"].lower())
            for configuration in found.properties.get("ipConfigurations", ()) if found else ():
                place = configuration.get("properties", {}).get("publicIPAddress", {}).get("id", "")
                if place.lower() in self._state.resources:
                    return str(self._state.resources[place.lower()].properties.get("ipAddress", ""))
        return ""

    def evict(self, machine: Stored) -> None:
        """Azure takes a spot machine back."""
        if machine.properties.get("evictionPolicy") == "Delete":
            self.remove(machine)
        else:
            self.power_off(machine, "deallocated")

    def remove(self, stored: Stored) -> None:
        if stored.type == VM and stored.power == "running":
            self._state.hosts.stop(stored)
        self._state.resources.pop(stored.id.lower(), None)

    def check_room(self, body: Mapping[str, Any]) -> None:
        """Of a machine that is put by itself: sold out, or over a quota."""
        size, region = body["properties"]["hardwareProfile"]["vmSize"], body["location"]
        if (size, region) in self._state.sold_out:
            told = f"The requested VM size for resource 'Following SKUs have failed for Capacity Restrictions: {size}'"
            raise ArmError(409, "SkuNotAvailable", f"{told} is currently not available in location '{region}'.")
        if why := over_quota(self._state, [(body, region)]):
            raise ArmError(409, "OperationNotAllowed", why)

    def action(
        self, request: Request, fault: Fault | None, group: str, provider: str, kind: str, name: str, action: str
    ) -> Answer:
        place = f"{self._state.group(group)['id']}/providers/{canonical(f'{provider}/{kind}')}/{name}"
        known = self._state.resources.get(place.lower())
        if known is None:
            raise ArmError(404, "ResourceNotFound", f"The Resource '{place}' was not found.")
        _check_input(action, request.json() or {})
        if action == "instanceView":
            return Answer(status=200, body=self.instance_view(known))
        if action == "retrieveBootDiagnosticsData":
            uri = f"{request.base}/diagnostics{known.id}"
            uris = {"consoleScreenshotBlobUri": f"{uri}/screenshot.bmp?sig=secret"}
            return Answer(status=200, body={**uris, "serialConsoleLogBlobUri": f"{uri}/serialconsole.log?sig=secret"})
        return self._long_action(request, fault, known, action)

    def _long_action(self, request: Request, fault: Fault | None, known: Stored, action: str) -> Answer:
        error = fault.operation if fault is not None else None
        acts: dict[str, Callable[[], Any]] = {
            "start": lambda: self.power_on(known),
            "powerOff": lambda: self.power_off(known, "stopped"),
            "deallocate": lambda: self.power_off(known, "deallocated"),
            "restart": lambda: self._again(known),
            "redeploy": lambda: self._again(known),
            "simulateEviction": lambda: self.evict(known),
            "runCommand": _ran,
            "attachDetachDataDisks": lambda: self._attach(known, request.json() or {}),
            "beginGetAccess": lambda: {"accessSAS": self._state.uploads(known)},
            "endGetAccess": lambda: known.properties.update(diskState="Unattached"),
        }
        if action not in acts:
            raise ArmError(404, "InvalidResourceType", f"There is no action {action}.")
        if action == "simulateEviction":
            acts[action]()
            return Answer(status=204)
        operation, headers = self._state.begun(request, known.type, known.body["location"], fault)
        headers["Location"] = (
            headers["Azure-AsyncOperation"]
            .replace(f"/providers/{known.type.split('/')[0]}/locations/{known.body['location']}/", "/")
            .replace("/DiskOperations/", "/operationresults/")
            .replace("/operations/", "/operationresults/")
        )

        def finish() -> None:
            output = acts[action]() if not error and operation.status == "InProgress" else None
            self._state.end(operation, error=error, output=output if isinstance(output, dict) else None)

        self._state.later(5, finish)
        return Answer(status=202, headers=headers)

    def _attach(self, machine: Stored, body: Mapping[str, Any]) -> dict[str, Any]:
        disks = machine.properties.setdefault("storageProfile", {}).setdefault("dataDisks", [])
        gone = {one["diskId"].lower() for one in body.get("dataDisksToDetach", ())}
        for one in disks:
            if one["managedDisk"]["id"].lower() in gone:
                self._state.resources[one["managedDisk"]["id"].lower()].body.pop("managedBy", None)
        disks[:] = [one for one in disks if one["managedDisk"]["id"].lower() not in gone]
        for one in body.get("dataDisksToAttach", ()):
            disks.append(
                {"lun": one.get("lun", len(disks)), "managedDisk": {"id": one["diskId"]}, "createOption": "Attach"}
            )
            self._state.resources[one["diskId"].lower()].body["managedBy"] = machine.id
        return self._storage(machine)

    def _storage(self, machine: Stored) -> dict[str, Any]:
        """What an attachment answers: all that the machine has, as a read of it tells."""
        storage: dict[str, Any] = told(self._state, machine)["properties"]["storageProfile"]
        return storage

    def instance_view(self, machine: Stored) -> dict[str, Any]:
        state = machine.properties["provisioningState"].lower()
        shown = {"level": "Info", "displayStatus": f"Provisioning {state}", "time": self._state.stamp()}
        statuses = [{"code": f"ProvisioningState/{state}", **shown}]
        if machine.power:
            statuses.append(
                {"code": f"PowerState/{machine.power}", "level": "Info", "displayStatus": f"VM {machine.power}"}
            )
        storage = machine.properties.get("storageProfile", {})
        names = [disk["name"] for disk in (storage.get("osDisk", {}), *storage.get("dataDisks", ())) if "name" in disk]
        view = {"statuses": statuses, "vmAgent": {"vmAgentVersion": "Unknown", "statuses": []}}
        view |= {"hyperVGeneration": "V2", "bootDiagnostics": {}, "computerName": machine.name}
        return {**view, "disks": [{"name": name, "statuses": statuses[:1]} for name in names]}

    def blob(self, request: Request) -> Answer:
        place, _, name = request.path.removeprefix("/diagnostics").rpartition("/")
        known = self._state.resources.get(place.lower())
        if known is None or request.query.get("sig") != "secret":
            return Answer(status=404, body=b"<Error><Code>BlobNotFound</Code></Error>")
        data = self._state.screenshots if name.startswith("screenshot") else self._state.hosts.serial(known)
        asked = re.fullmatch(r"bytes=(\d+)-", request.headers.get("range", ""))
        if asked and int(asked[1]) >= len(data):
            return Answer(status=416, headers={"Content-Range": f"bytes */{len(data)}"})
        start = int(asked[1]) if asked else 0
        headers = {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"} if asked else {}
        return Answer(status=206 if asked else 200, body=data[start:], headers=headers)


def _ran() -> dict[str, Any]:
    """The answer of the agent in a machine that was told a command."""
    code = {"code": "ProvisioningState/succeeded", "level": "Info", "displayStatus": "Provisioning succeeded"}
    return {"value": [{**code, "message": "[stdout]\nran\n"}]}


def _check_input(action: str, body: Mapping[str, Any]) -> None:
    """ArmError for a key that the API's description of the action does not have, or one that it wants."""
    if action not in _TAKES:
        return
    known, needed = (set(words.split()) for words in _TAKES[action])
    wrong = [f"no such property {key}" for key in body.keys() - known]
    wrong += [f"{key} is missing" for key in needed - body.keys()]
    if wrong:
        raise ArmError(400, "InvalidRequestContent", f"The request content was invalid: {', '.join(sorted(wrong))}")
    for key, value in body.items():
        for one in value if isinstance(value, list) else ():
            if isinstance(one, Mapping):
                _check_input(key, one)
