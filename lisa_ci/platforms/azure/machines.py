"""The machines of a leg on Azure, and what can be done with them while they are there."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final, TypeVar

from azure.core.polling import LROPoller

from lisa_ci.errors import ProvisioningError
from lisa_ci.model import Profile, Storage
from lisa_ci.platforms.azure import bodies, names, typed
from lisa_ci.platforms.azure.client import refusals
from lisa_ci.platforms.azure.evidence import Outside
from lisa_ci.platforms.azure.group import ResourceGroup
from lisa_ci.platforms.azure.shape import PlannedMachine
from lisa_ci.protocols import Machine
from lisa_ci.ssh import SshMachine

T = TypeVar("T")

_OPERATION: Final = timedelta(minutes=15)
_BACK: Final = timedelta(minutes=10)
_FIRST_HOT_LUN: Final = 40  # behind those of the profile's disks; a size has room for 64 at most


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One machine: how it was planned, how it is reached, and how it looks from outside."""

    planned: PlannedMachine
    ssh: SshMachine
    outside: Outside


@dataclass(slots=True)
class AzureMachines:
    """Implements ``protocols.Machines``, SupportsAcceleration, SupportsDiagnosis, SupportsHotPlug and SupportsPower."""

    group: ResourceGroup
    profile: Profile
    parts: Sequence[Member]
    keep: bool = False
    _added: dict[str, str] = field(default_factory=dict)  # what the machine knows of a device -> its resource id
    _luns: dict[str, int] = field(default_factory=dict)

    @property
    def members(self) -> Sequence[Machine]:
        return tuple(part.ssh for part in self.parts)

    def end_command(self) -> str:
        return f"lisa-ci sweep {shlex.quote(self.group.name)}" if self.keep else ""

    def _part(self, machine: Machine) -> Member:
        return next(part for part in self.parts if part.ssh is machine)

    def _done(self, begin: Callable[[], LROPoller[T]], doing: str, limit: timedelta = _OPERATION) -> T:
        azure = self.group.azure
        until = azure.clock.now() + limit.total_seconds()
        poller = azure.patiently(begin, doing, until=until, say=self.group.say)
        return azure.followed(poller, doing, until=until)

    # ---- SupportsDiagnosis -----------------------------------------------------------------------------------------

    def diagnose(self) -> str:
        """What Azure sees is kept, and its agent in the machine is asked. Never raises."""
        told = []
        for part in self.parts:
            part.outside.look()
            kept = part.outside.keep_evidence()
            said = part.outside.run_command() if part.outside.death() is None else ""
            what = [*kept, *([f"azure/run-command-{part.planned.name}.txt"] if said else [])]
            if what:
                told.append(f"{part.planned.name}: kept {', '.join(what)}")
        return "; ".join(told)

    # ---- SupportsPower ---------------------------------------------------------------------------------------------

    def power_off(self, machine: Machine, *, timeout: timedelta) -> None:
        """Stopped and given back to Azure: a start may lead to another host."""
        part = self._part(machine)
        part.outside.is_expected_off = True
        part.ssh.close()
        self._act(part, "begin_deallocate", "stop", timeout)

    def power_on(self, machine: Machine, *, timeout: timedelta) -> None:
        part = self._part(machine)
        self._act(part, "begin_start", "start", timeout)
        self._back(part, timeout)

    def redeploy(self, machine: Machine, *, timeout: timedelta) -> None:
        """To another host of Azure's, as it is; what lay on the host's own disks is gone."""
        part = self._part(machine)
        part.outside.is_expected_off = True
        part.ssh.close()
        self._act(part, "begin_redeploy", "redeploy", timeout)
        self._back(part, timeout)

    def resize(self, machine: Machine, size: str, *, timeout: timedelta) -> None:
        """Another size; the machine restarts. RefusedError where this host or region has none."""
        part = self._part(machine)
        part.outside.is_expected_off = True
        part.ssh.close()
        self._update(part, {"properties": {"hardwareProfile": {"vmSize": size}}}, f"resize to {size}", timeout)
        self._back(part, timeout)

    def _act(self, part: Member, operation: str, word: str, timeout: timedelta) -> None:
        virtual_machines = self.group.azure.compute.virtual_machines
        begin = getattr(virtual_machines, operation)
        steps = self.group.azure.steps
        self._done(
            lambda: begin(self.group.name, part.planned.name, polling=steps(final_state_via="location")),
            f"{word} {part.planned.name}",
            timeout,
        )

    def _update(self, part: Member, body: Mapping[str, Any], doing: str, timeout: timedelta = _OPERATION) -> None:
        azure = self.group.azure
        told: Any = dict(body)
        self._done(
            lambda: azure.compute.virtual_machines.begin_update(
                self.group.name, part.planned.name, told, polling=azure.steps()
            ),
            f"{doing} {part.planned.name}",
            timeout,
        )

    def _back(self, part: Member, timeout: timedelta) -> None:
        part.outside.is_expected_off = False
        part.outside.look()
        part.ssh.reconnect(timeout=timeout)

    # ---- SupportsHotPlug -------------------------------------------------------------------------------------------

    def add_disk(self, machine: Machine, *, size_mib: int) -> str:
        """A new, empty disk while the machine runs. Azure's disks have no serial number of ours: its name is
        ``lun-N``, and the machine finds it by that number.
        """
        part, azure = self._part(machine), self.group.azure
        lun = _FIRST_HOT_LUN + len(self._luns)
        name, disk = f"lun-{lun}", f"{part.planned.name}-hot{lun}"
        profile = self.profile.azure
        storage = profile.os_storage if profile else Storage.PREMIUM_SSD
        body: Any = {**self._common(), **bodies.data_disk(size_mib, storage)}
        id_ = names.resource_id(names.group_id(azure.id, self.group.name), bodies.DISK, disk)
        self._done(
            lambda: azure.compute.disks.begin_create_or_update(self.group.name, disk, body, polling=azure.steps()),
            f"make the disk {disk}",
        )
        self._attach(part, {"dataDisksToAttach": [{"diskId": id_, "lun": lun}]}, f"attach {disk} to")
        self._luns[name], self._added[name] = lun, id_
        return name

    def _attach(self, part: Member, body: Mapping[str, Any], doing: str, limit: timedelta = _OPERATION) -> None:
        azure = self.group.azure
        told: Any = dict(body)
        self._done(
            lambda: azure.compute.virtual_machines.begin_attach_detach_data_disks(
                self.group.name, part.planned.name, told, polling=azure.steps(final_state_via="location")
            ),
            f"{doing} {part.planned.name}",
            limit,
        )

    def add_nic(self, machine: Machine) -> str:
        """A new NIC in the closed subnet; its MAC address. Azure plugs NICs into stopped machines only: this one is
        stopped, and started again.
        """
        part, azure = self._part(machine), self.group.azure
        name = f"{part.planned.name}-hotnic{len(self._added)}"
        id_ = names.resource_id(names.group_id(azure.id, self.group.name), bodies.NIC, name)
        body = {**bodies.nic(self._subnet(), is_accelerated=False), **self._common()}
        self._put(id_, bodies.API[bodies.NIC], body, f"make the NIC {name}")
        self.power_off(machine, timeout=_OPERATION)
        self._set_nics(part, [*self._nics(part), id_])
        self.power_on(machine, timeout=_BACK)
        address = _mac(self._get(id_, bodies.API[bodies.NIC]))
        self._added[address] = id_
        return address

    def remove_device(self, machine: Machine, name: str, *, timeout: timedelta) -> bool:
        """False where it was not taken back in time."""
        part, id_ = self._part(machine), self._added.get(name)
        if id_ is None:
            raise ProvisioningError(f"nothing called {name} was plugged in")
        started = time.monotonic()
        if name in self._luns:
            self._attach(part, {"dataDisksToDetach": [{"diskId": id_}]}, f"detach {name} from", timeout)
            api = bodies.API[bodies.DISK]
        else:
            self.power_off(machine, timeout=_OPERATION)
            self._set_nics(part, [one for one in self._nics(part) if one != id_])
            self.power_on(machine, timeout=_BACK)
            api = bodies.API[bodies.NIC]
        resources = self.group.azure.resources.resources
        steps = self.group.azure.steps
        self._done(lambda: resources.begin_delete_by_id(id_, api_version=api, polling=steps()), f"delete {name}")
        del self._added[name]
        return time.monotonic() - started <= timeout.total_seconds() or name not in self._luns

    # ---- accelerated networking ------------------------------------------------------------------------------------

    def set_accelerated_networking(self, machine: Machine, *, is_on: bool, timeout: timedelta) -> None:
        """On the control NIC. Azure changes it on stopped machines only: this one is stopped, and started again."""
        part = self._part(machine)
        id_ = part.planned.nic_ids[0]
        api = bodies.API[bodies.NIC]
        body = self._get(id_, api)
        body["properties"]["enableAcceleratedNetworking"] = is_on
        self.power_off(machine, timeout=timeout)
        body = typed.writable(bodies.NIC, api, body)
        self._put(id_, api, body, f"switch accelerated networking {'on' if is_on else 'off'}")
        self.power_on(machine, timeout=timeout)

    # ---- inside ----------------------------------------------------------------------------------------------------

    def _common(self) -> dict[str, Any]:
        return {"location": self.group.region, "tags": self.group.tags}

    def _subnet(self) -> str:
        place = names.group_id(self.group.azure.id, self.group.name)
        network = names.resource_id(place, bodies.NETWORK, names.NETWORK)
        return f"{network}/subnets/{names.CONTROL}"

    def _nics(self, part: Member) -> list[str]:
        mine = [id_ for name, id_ in self._added.items() if name not in self._luns]
        return [*part.planned.nic_ids, *(id_ for id_ in mine if f"/{part.planned.name}-" in id_)]

    def _set_nics(self, part: Member, ids: Sequence[str]) -> None:
        told = [
            {"id": id_, "properties": {"primary": number == 0, "deleteOption": "Delete"}}
            for number, id_ in enumerate(ids)
        ]
        self._update(part, {"properties": {"networkProfile": {"networkInterfaces": told}}}, "set the NICs of")

    def _get(self, id_: str, api: str) -> dict[str, Any]:
        with refusals(f"read {id_.rpartition('/')[2]}"):
            told: dict[str, Any] = self.group.azure.resources.resources.get_by_id(id_, api_version=api).as_dict()
        return told

    def _put(self, id_: str, api: str, body: Mapping[str, Any], doing: str) -> None:
        azure = self.group.azure
        told: Any = dict(body)
        self._done(
            lambda: azure.resources.resources.begin_create_or_update_by_id(
                id_, told, api_version=api, polling=azure.steps()
            ),
            doing,
        )


def _mac(nic: Mapping[str, Any]) -> str:
    """As Linux writes it."""
    return str(nic.get("properties", {}).get("macAddress", "")).replace("-", ":").lower()
