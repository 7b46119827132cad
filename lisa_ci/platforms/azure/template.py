"""One order -> everything that is written for it: the group, which bears the lease, and one deployment of a template.

The template is literal: no expressions, no parameters; ids are computed here, so that what is in it is exactly what a
PUT of the resource would send.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from lisa_ci.errors import ProvisioningError
from lisa_ci.model import Azure, Controller, Nic, Outbound, Placement, SecurityType, Storage, security_type
from lisa_ci.platforms.azure import bodies, names, way_in
from lisa_ci.platforms.azure.images_ref import Blob, ManagedDisk, ManagedImage, Marketplace, Versioned, is_exact
from lisa_ci.platforms.azure.shape import Entry, GroupPlan, Order, PlannedMachine, Resource

SCHEMA: Final = "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#"
_SPACE: Final = "10.77.0.0/16"
_CONTROL: Final = "10.77.0.0/24"
_OUTBOUND: Final = "10.77.1.0/24"
_CLOSED: Final = "10.77.2.0/24"
_OUTSIDE: Final = "outbound"
_GATEWAY_ADDRESS: Final = f"{names.GATEWAY}-address"


def plan_group(order: Order, *, group: str = "") -> GroupPlan:
    """All writes for the order, to the byte the same for the same order. ``group``: another name for the group.

    ProvisioningError where the image cannot become what the profile asks for.
    """
    _check(order)
    maker = _Maker(order, group or names.group(order.lease))
    maker.make()
    resources = tuple(maker.made.values())
    tags = names.tags(order.lease)
    return GroupPlan(
        group=Resource(
            id=maker.group,
            type=bodies.GROUP,
            api_version=bodies.API[bodies.GROUP],
            name=group or names.group(order.lease),
            body={"location": order.place.region, "tags": tags},
        ),
        deployment=Resource(
            id=names.resource_id(maker.group, bodies.DEPLOYMENT, names.DEPLOYMENT),
            type=bodies.DEPLOYMENT,
            api_version=bodies.API[bodies.DEPLOYMENT],
            name=names.DEPLOYMENT,
            body={"tags": tags, "properties": {"mode": "Incremental", "template": template(resources)}},
            depends_on=(maker.group,),
        ),
        resources=resources,
        machines=tuple(maker.machines),
    )


def template(resources: tuple[Resource, ...]) -> dict[str, Any]:
    """The template that makes these resources. A text that would be read as an expression is escaped."""
    return {
        "$schema": SCHEMA,
        "contentVersion": "1.0.0.0",
        "resources": [
            {
                "type": one.type,
                "apiVersion": one.api_version,
                "name": one.name,
                **literal(one.body),
                **({"dependsOn": list(one.depends_on)} if one.depends_on else {}),
            }
            for one in resources
        ],
    }


def literal(value: Any) -> Any:
    """The value as a template says it: ``[`` begins an expression, ``[[`` the text ``[``."""
    match value:
        case str():
            return f"[{value}" if value.startswith("[") else value
        case Mapping():
            return {key: literal(item) for key, item in value.items()}
        case list() | tuple():
            return [literal(item) for item in value]
        case _:
            return value


def roles(machines: int) -> tuple[str, ...]:
    """``main`` for a machine of its own; else ``client``, where cases run, ``server``, ``server2`` and so on."""
    if machines == 1:
        return ("main",)
    return ("client", "server", *(f"server{number}" for number in range(2, machines)))


# ---- checks --------------------------------------------------------------------------------------------------------


def _check(order: Order) -> None:
    profile, image, kind = order.profile, order.image, security_type(order.profile)
    problems = []
    if len(order.entries) != profile.machines:
        raise ValueError(f"{len(order.entries)} entries for {profile.machines} machines")
    if not order.runner:
        problems.append("the runner's address is not known, and no port is opened to everybody")
    if not is_exact(image):
        problems.append(f"{image} is no exact version")
    if kind is SecurityType.CONFIDENTIAL and not isinstance(image, Versioned):
        problems.append("a confidential machine needs an image of a gallery or of the Marketplace")
    is_special = kind is SecurityType.TRUSTED_LAUNCH or order.place.controller is Controller.NVME
    if is_special and isinstance(image, ManagedImage):
        problems.append(f"a managed image gives no Trusted Launch and no NVMe controller: {image}")
    azure = profile.azure or Azure()
    if _is_attached(order) and azure.os_placement is not Placement.MANAGED:
        problems.append("a disk that is attached lies in storage: 'os_placement: managed'")
    if _is_attached(order) and azure.user_data:
        problems.append("a disk that is attached takes our own user data, which lets us in; 'user_data' has no room")
    if problems:
        hint = "put the image into a Compute Gallery, or use another profile" if is_special else ""
        raise ProvisioningError(f"profile {profile.name}: {'; '.join(problems)}", hint=hint)


def _is_attached(order: Order) -> bool:
    """The image's disk is copied and attached as it is, where an image resource cannot say what is needed."""
    if not isinstance(order.image, ManagedDisk | Blob):
        return False
    is_special = security_type(order.profile) is not SecurityType.STANDARD or order.place.controller is Controller.NVME
    return is_special or not order.facts.is_generalized


# ---- making --------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Maker:
    """Resources in the order in which they can be made."""

    order: Order
    group_name: str
    made: dict[str, Resource] = field(default_factory=dict)
    machines: list[PlannedMachine] = field(default_factory=list)

    @property
    def group(self) -> str:
        return names.group_id(self.order.place.subscription, self.group_name)

    @property
    def azure(self) -> Azure:
        return self.order.profile.azure or Azure()

    def make(self) -> None:
        subnets = self._network()
        proximity = self._add(bodies.PROXIMITY_GROUP, names.PROXIMITY, bodies.proximity_group(), is_wanted="proximity")
        availability = self._add(
            bodies.AVAILABILITY_SET,
            names.AVAILABILITY,
            bodies.availability_set(proximity),
            proximity,
            is_wanted="availability_set",
        )
        image = self._image()
        roles_ = roles(self.order.profile.machines)
        for number, (role, entry) in enumerate(zip(roles_, self.order.entries, strict=True)):
            self._machine(number, role, entry, subnets, image, (proximity, availability))

    def _add(self, kind: str, name: str, body: Mapping[str, Any], *needs: str, is_wanted: str = "") -> str:
        """The id of a resource that is made; '' where the profile's flag ``is_wanted`` says no."""
        if is_wanted and not getattr(self.azure, is_wanted):
            return ""
        whole = {"location": self.order.place.region, "tags": names.tags(self.order.lease), **body}
        id_ = names.resource_id(self.group, kind, name)
        self.made[id_] = Resource(
            id=id_,
            type=kind,
            api_version=bodies.API[kind],
            name=name,
            body=whole,
            depends_on=tuple(dict.fromkeys(need for need in needs if need)),
        )
        return id_

    @property
    def _zones(self) -> dict[str, Any]:
        return {"zones": [self.order.place.zone]} if self.order.place.zone else {}

    # ---- network ---------------------------------------------------------------------------------------------------

    def _network(self) -> dict[str, str]:
        """Subnets by name -> id."""
        gateway = ""
        if self.azure.outbound is Outbound.NAT:
            address = self._add(bodies.ADDRESS, _GATEWAY_ADDRESS, bodies.address())
            gateway = self._add(bodies.GATEWAY, names.GATEWAY, bodies.gateway(address), address)
        subnets, needs = [], [gateway]
        for name, prefix, rules in self._nets():
            group = self._add(bodies.SECURITY_GROUP, name, bodies.security_group(rules))
            way_out = gateway if name in {names.CONTROL, _OUTSIDE} else ""
            subnets.append(bodies.subnet(name, prefix, security_group_id=group, gateway_id=way_out))
            needs.append(group)
        network = self._add(bodies.NETWORK, names.NETWORK, bodies.network(_SPACE, subnets), *needs)
        return {one["name"]: f"{network}/subnets/{one['name']}" for one in subnets}

    def _nets(self) -> Iterator[tuple[str, str, list[dict[str, Any]]]]:
        """Name, addresses and rules of each subnet that the profile's NICs need."""
        has_outbound = self.azure.outbound is not Outbound.NONE
        yield names.CONTROL, _CONTROL, bodies.control_rules(self.order.runner, has_outbound=has_outbound)
        nics = self.order.profile.nics
        if any(nic.outbound for nic in nics):
            yield _OUTSIDE, _OUTBOUND, bodies.closed_rules("Inbound")
        if any(not nic.outbound and not nic.link for nic in nics):
            yield names.CLOSED, _CLOSED, bodies.closed_rules("Inbound", "Outbound")
        for number, nic in enumerate(nics, start=1):
            if nic.link:
                prefix = f"10.77.{100 + number}.0/24"
                yield names.link(number), prefix, bodies.link_rules(prefix)

    def _nics(self, number: int, subnets: Mapping[str, str]) -> tuple[tuple[str, ...], str]:
        """Ids of the machine's NICs, the control NIC first, and of its public address."""
        can = self.order.place.accelerated_networking
        flags = self.azure.accelerated_networking
        network = names.resource_id(self.group, bodies.NETWORK, names.NETWORK)
        address = self._add(bodies.ADDRESS, names.address(number), bodies.address())
        made = []
        for nic_number, nic in enumerate((None, *self.order.profile.nics)):
            public = address if nic is None else ""
            body = bodies.nic(
                subnets[_subnet_of(nic, nic_number)],
                address_id=public,
                is_accelerated=can and (flags[nic_number] if flags else True),
            )
            made.append(self._add(bodies.NIC, names.nic(number, nic_number), body, network, public))
        return tuple(made), address

    # ---- disks -----------------------------------------------------------------------------------------------------

    def _image(self) -> str:
        """The id of an image made of a disk or a blob, once for all machines; '' where none is needed."""
        match self.order.image:
            case ManagedDisk() as disk if not _is_attached(self.order):
                source: dict[str, Any] = {"managedDisk": {"id": str(disk)}}
            case Blob() as blob if not _is_attached(self.order):
                source = {"blobUri": blob.url, "storageAccountType": bodies.STORAGE[self.azure.os_storage]}
            case _:
                return ""
        return self._add(bodies.IMAGE, names.IMAGE, bodies.image(source, self.order.profile.firmware))

    def _attached(self, number: int) -> str:
        """The id of the disk that is attached to the machine; '' where Azure makes it of an image."""
        if not _is_attached(self.order):
            return ""
        match self.order.image:
            case Blob() as blob:
                account = {"storageAccountId": blob.account_id} if blob.account_id else {}
                source: dict[str, Any] = {"createOption": "Import", "sourceUri": blob.url, **account}
            case other:
                source = {"createOption": "Copy", "sourceResourceId": str(other)}
        body = bodies.os_disk(source, self.order.profile, self.azure, self.order.place.controller)
        return self._add(bodies.DISK, names.os_disk(number), {**body, **self._zones})

    def _storage(self, disk_number: int) -> Storage:
        return self.azure.data_storage[disk_number] if self.azure.data_storage else self.azure.os_storage

    def _data_disks(self, number: int) -> tuple[str, ...]:
        return tuple(
            self._add(
                bodies.DISK,
                names.data_disk(number, disk_number),
                {**bodies.data_disk(disk.size_mib, self._storage(disk_number)), **self._zones},
            )
            for disk_number, disk in enumerate(self.order.profile.disks)
        )

    # ---- the machine -----------------------------------------------------------------------------------------------

    def _machine(
        self, number: int, role: str, entry: Entry, subnets: Mapping[str, str], image: str, near: tuple[str, str]
    ) -> None:
        nics, address = self._nics(number, subnets)
        disks, attached = self._data_disks(number), self._attached(number)
        body = {**self._zones, **self._purchase(), "properties": self._properties(number, nics, disks, attached, image)}
        properties = body["properties"]
        for key, id_ in zip(("proximityPlacementGroup", "availabilitySet"), near, strict=True):
            properties |= {key: {"id": id_}} if id_ else {}
        properties |= self._way_in(names.machine(number), entry, is_attached=bool(attached))
        id_ = self._add(bodies.MACHINE, names.machine(number), body, *nics, *disks, attached, image, *near)
        self.machines.append(
            PlannedMachine(
                role=role,
                name=names.machine(number),
                id=id_,
                nic_ids=nics,
                address_id=address,
                os_disk_id=attached or names.resource_id(self.group, bodies.DISK, names.os_disk(number)),
                disk_ids=disks,
                user=self.order.access.user,
                host_public=entry.host_public,
            )
        )

    def _properties(
        self, number: int, nics: tuple[str, ...], disks: tuple[str, ...], attached: str, image: str
    ) -> dict[str, Any]:
        profile, controller = self.order.profile, self.order.place.controller
        reference = {"id": image} if image else {} if attached else bodies.image_reference(self.order.image)
        os_disk = (
            bodies.attached_os_disk(attached)
            if attached
            else bodies.os_disk_from_image(names.os_disk(number), profile, self.azure)
        )
        storage = {
            **({"imageReference": reference} if reference else {}),
            "osDisk": os_disk,
            "dataDisks": [bodies.attached_data_disk(lun, id_) for lun, id_ in enumerate(disks)],
            **({"diskControllerType": "NVMe"} if controller is Controller.NVME else {}),
        }
        has_ultra = any(self._storage(lun) is Storage.ULTRA for lun in range(len(disks)))
        return {
            "hardwareProfile": {"vmSize": self.order.place.size},
            "storageProfile": storage,
            "networkProfile": {
                "networkInterfaces": [
                    {"id": id_, "properties": {"primary": lun == 0, "deleteOption": "Delete"}}
                    for lun, id_ in enumerate(nics)
                ]
            },
            "diagnosticsProfile": {"bootDiagnostics": {"enabled": self.azure.boot_diagnostics}},
            **({"additionalCapabilities": {"ultraSSDEnabled": True}} if has_ultra else {}),
            **bodies.security_profile(profile, self.azure),
            **bodies.spot(self.azure.spot),
        }

    def _purchase(self) -> dict[str, Any]:
        match self.order.image:
            case Marketplace(purchase=purchase) if purchase:
                return {
                    "plan": {"name": purchase.name, "publisher": purchase.publisher, "product": purchase.product},
                }
            case _:
                return {}

    def _way_in(self, name: str, entry: Entry, *, is_attached: bool) -> dict[str, Any]:
        """A disk that is attached is not provisioned; its cloud-init reads user data all the same."""
        user, become = self.order.access.user, self.order.access.become
        if is_attached or not self.order.facts.is_generalized:
            return {"userData": way_in.encoded(way_in.cloud_config(user, become, entry))}
        own = {"userData": way_in.encoded(self.azure.user_data)} if self.azure.user_data else {}
        return {"osProfile": way_in.os_profile(name, user, become, entry), **own}


def _subnet_of(nic: Nic | None, number: int) -> str:
    if nic is None:
        return names.CONTROL
    if nic.link:
        return names.link(number)
    return _OUTSIDE if nic.outbound else names.CLOSED
