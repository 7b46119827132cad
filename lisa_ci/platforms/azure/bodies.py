"""The literal body of each resource, as its PUT takes it and as a template holds it.

Names of keys and values are those of the API versions below; ``check`` holds every body against their types.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from lisa_ci.model import (
    Arch,
    Azure,
    Controller,
    DiskEncryption,
    Eviction,
    Firmware,
    Placement,
    Profile,
    SecurityType,
    Spot,
    Storage,
    security_type,
)
from lisa_ci.platforms.azure.images_ref import (
    CommunityGallery,
    ManagedImage,
    Marketplace,
    NamedImage,
    OwnGallery,
    SharedGallery,
)

COMPUTE_API: Final = "2026-04-01"
DISK_API: Final = "2026-03-02"
NETWORK_API: Final = "2025-09-01"
RESOURCES_API: Final = "2025-04-01"

GROUP: Final = "Microsoft.Resources/resourceGroups"
DEPLOYMENT: Final = "Microsoft.Resources/deployments"
NETWORK: Final = "Microsoft.Network/virtualNetworks"
SUBNET: Final = "Microsoft.Network/virtualNetworks/subnets"
SECURITY_GROUP: Final = "Microsoft.Network/networkSecurityGroups"
ADDRESS: Final = "Microsoft.Network/publicIPAddresses"
GATEWAY: Final = "Microsoft.Network/natGateways"
NIC: Final = "Microsoft.Network/networkInterfaces"
DISK: Final = "Microsoft.Compute/disks"
IMAGE: Final = "Microsoft.Compute/images"
AVAILABILITY_SET: Final = "Microsoft.Compute/availabilitySets"
PROXIMITY_GROUP: Final = "Microsoft.Compute/proximityPlacementGroups"
MACHINE: Final = "Microsoft.Compute/virtualMachines"

API: Final[Mapping[str, str]] = {
    GROUP: RESOURCES_API,
    DEPLOYMENT: RESOURCES_API,
    **dict.fromkeys((NETWORK, SECURITY_GROUP, ADDRESS, GATEWAY, NIC), NETWORK_API),
    **dict.fromkeys((IMAGE, AVAILABILITY_SET, PROXIMITY_GROUP, MACHINE), COMPUTE_API),
    DISK: DISK_API,
}

STORAGE: Final = {
    Storage.STANDARD_HDD: "Standard_LRS",
    Storage.STANDARD_SSD: "StandardSSD_LRS",
    Storage.PREMIUM_SSD: "Premium_LRS",
    Storage.PREMIUM_V2: "PremiumV2_LRS",
    Storage.ULTRA: "UltraSSD_LRS",
}
PLACEMENT: Final = {
    Placement.CACHE: "CacheDisk",
    Placement.TEMPORARY: "ResourceDisk",
    Placement.NVME: "NvmeDisk",
}
ENCRYPTION: Final = {
    DiskEncryption.NONE: "NonPersistedTPM",
    DiskEncryption.STATE: "VMGuestStateOnly",
    DiskEncryption.DISK: "DiskWithVMGuestState",
}
GENERATION: Final = {Firmware.BIOS: "V1", Firmware.UEFI: "V2"}
_FAULT_DOMAINS: Final = 2  # what every region has

Json = dict[str, Any]


# ---- network -------------------------------------------------------------------------------------------------------

_ANY: Final = "*"
_LAST: Final = 4096  # the lowest priority of a rule; Azure's own defaults come after it


def rule(name: str, priority: int, direction: str, access: str, *, peers: Sequence[str], port: str = _ANY) -> Json:
    """A rule of a security group. ``peers``: who sends (inbound) or receives (outbound); addresses, blocks or ``*``."""
    far = "source" if direction == "Inbound" else "destination"
    near = "destination" if far == "source" else "source"
    several = {f"{far}AddressPrefixes": list(peers)} if len(peers) > 1 else {f"{far}AddressPrefix": peers[0]}
    return {
        "name": name,
        "properties": {
            "priority": priority,
            "direction": direction,
            "access": access,
            "protocol": "Tcp" if port != _ANY else _ANY,
            "sourcePortRange": _ANY,
            "destinationPortRange": port,
            f"{near}AddressPrefix": _ANY,
            **several,
        },
    }


def closed_rules(*directions: str) -> list[Json]:
    """Nothing more in these directions: Azure's defaults would let the whole network in, and everything out."""
    return [rule(f"no-{one.lower()}", _LAST, one, "Deny", peers=[_ANY]) for one in directions]


def control_rules(runner: Sequence[str], *, has_outbound: bool) -> list[Json]:
    """SSH from the runner, and nobody else. Azure's own services on the host are not subject to rules."""
    login = rule("ssh-from-runner", 100, "Inbound", "Allow", peers=list(runner), port="22")
    return [login, *closed_rules("Inbound", *([] if has_outbound else ["Outbound"]))]


def link_rules(prefix: str) -> list[Json]:
    """The machines of the leg among themselves."""
    return [
        rule("in-from-link", 100, "Inbound", "Allow", peers=[prefix]),
        rule("out-to-link", 100, "Outbound", "Allow", peers=[prefix]),
        *closed_rules("Inbound", "Outbound"),
    ]


def security_group(rules: Sequence[Json]) -> Json:
    return {"properties": {"securityRules": list(rules)}}


def subnet(name: str, prefix: str, *, security_group_id: str, gateway_id: str = "") -> Json:
    """Without outbound access of its own: what has a way out has been given it."""
    gateway = {"natGateway": {"id": gateway_id}} if gateway_id else {}
    return {
        "name": name,
        "properties": {
            "addressPrefix": prefix,
            "defaultOutboundAccess": False,
            "networkSecurityGroup": {"id": security_group_id},
            **gateway,
        },
    }


def network(space: str, subnets: Sequence[Json]) -> Json:
    return {"properties": {"addressSpace": {"addressPrefixes": [space]}, "subnets": list(subnets)}}


def address() -> Json:
    return {
        "sku": {"name": "Standard", "tier": "Regional"},
        "properties": {"publicIPAllocationMethod": "Static", "publicIPAddressVersion": "IPv4"},
    }


def gateway(address_id: str) -> Json:
    return {"sku": {"name": "Standard"}, "properties": {"publicIpAddresses": [{"id": address_id}]}}


def nic(subnet_id: str, *, address_id: str = "", is_accelerated: bool) -> Json:
    public = {"publicIPAddress": {"id": address_id}} if address_id else {}
    return {
        "properties": {
            "enableAcceleratedNetworking": is_accelerated,
            "ipConfigurations": [
                {
                    "name": "ipv4",
                    "properties": {
                        "primary": True,
                        "privateIPAllocationMethod": "Dynamic",
                        "subnet": {"id": subnet_id},
                        **public,
                    },
                }
            ],
        }
    }


# ---- disks and images ----------------------------------------------------------------------------------------------


def gib(size_mib: int) -> int:
    """Azure's disks are whole GiB."""
    return max(1, math.ceil(size_mib / 1024))


def data_disk(size_mib: int, storage: Storage) -> Json:
    return {
        "sku": {"name": STORAGE[storage]},
        "properties": {
            "creationData": {"createOption": "Empty"},
            "diskSizeGB": gib(size_mib),
            **_private(),
        },
    }


def os_disk(source: Json, profile: Profile, azure: Azure, controller: Controller) -> Json:
    """A disk with an image on it; ``source`` is its ``creationData``. A copy has the security type of its source."""
    is_copy = source.get("createOption") == "Copy"
    return {
        "sku": {"name": STORAGE[azure.os_storage]},
        "properties": {
            "osType": "Linux",
            "hyperVGeneration": GENERATION[profile.firmware],
            "creationData": source,
            "supportedCapabilities": {
                "acceleratedNetwork": True,
                "architecture": "Arm64" if profile.arch is Arch.AARCH64 else "x64",
                "diskControllerTypes": "SCSI, NVMe" if controller is Controller.NVME else "SCSI",
            },
            **({} if is_copy else disk_security(profile)),
            **_private(),
        },
    }


def disk_security(profile: Profile) -> Json:
    """What a disk has to be marked with where it is made, so that a machine with Trusted Launch starts from it."""
    is_trusted = security_type(profile) is SecurityType.TRUSTED_LAUNCH
    return {"securityProfile": {"securityType": "TrustedLaunch"}} if is_trusted else {}


def _private() -> Json:
    """Nobody downloads a machine's disk."""
    return {"networkAccessPolicy": "DenyAll", "publicNetworkAccess": "Disabled"}


def image(source: Json, firmware: Firmware) -> Json:
    """A generalized image; ``source`` is ``{"blobUri": ...}`` or ``{"managedDisk": ...}``."""
    os_part = {"osType": "Linux", "osState": "Generalized", **source}
    return {"properties": {"hyperVGeneration": GENERATION[firmware], "storageProfile": {"osDisk": os_part}}}


def image_reference(named: NamedImage) -> Json:
    match named:
        case Marketplace():
            return {
                "publisher": named.publisher,
                "offer": named.offer,
                "sku": named.sku,
                "version": named.version,
            }
        case CommunityGallery():
            return {"communityGalleryImageId": str(named)}
        case SharedGallery():
            return {"sharedGalleryImageId": str(named)}
        case OwnGallery() | ManagedImage():
            return {"id": str(named)}
        case _:
            raise TypeError(f"{named} becomes a disk or an image first")


# ---- groups of machines --------------------------------------------------------------------------------------------


def proximity_group() -> Json:
    return {"properties": {"proximityPlacementGroupType": "Standard"}}


def availability_set(proximity_id: str = "") -> Json:
    near = {"proximityPlacementGroup": {"id": proximity_id}} if proximity_id else {}
    return {
        "sku": {"name": "Aligned"},
        "properties": {"platformFaultDomainCount": _FAULT_DOMAINS, "platformUpdateDomainCount": 5, **near},
    }


# ---- a machine -----------------------------------------------------------------------------------------------------


def security_profile(profile: Profile, azure: Azure) -> Json:
    """``Standard`` is only said where the profile says it: without a feature of the subscription Azure refuses it."""
    match security_type(profile):
        case SecurityType.STANDARD:
            is_said = azure.security_type is SecurityType.STANDARD
            return {"securityProfile": {"securityType": "Standard"}} if is_said else {}
        case SecurityType.CONFIDENTIAL:
            name = "ConfidentialVM"
        case _:
            name = "TrustedLaunch"
    firmware = {"secureBootEnabled": profile.secure_boot, "vTpmEnabled": profile.tpm}
    return {"securityProfile": {"securityType": name, "uefiSettings": firmware}}


def os_disk_from_image(name: str, profile: Profile, azure: Azure) -> Json:
    """The disk that Azure makes of an image reference for one machine."""
    is_confidential = security_type(profile) is SecurityType.CONFIDENTIAL
    encryption = {"securityProfile": {"securityEncryptionType": ENCRYPTION[azure.disk_encryption]}}
    on_host = azure.os_placement is not Placement.MANAGED
    managed = {
        **({} if on_host else {"storageAccountType": STORAGE[azure.os_storage]}),
        **(encryption if is_confidential else {}),
    }
    local = {"diffDiskSettings": {"option": "Local", "placement": PLACEMENT[azure.os_placement]}} if on_host else {}
    return {
        "name": name,
        "osType": "Linux",
        "createOption": "FromImage",
        "caching": "ReadOnly" if on_host else "ReadWrite",
        "deleteOption": "Delete",
        **({"managedDisk": managed} if managed else {}),
        **local,
    }


def attached_os_disk(disk_id: str) -> Json:
    return {
        "osType": "Linux",
        "createOption": "Attach",
        "caching": "ReadWrite",
        "deleteOption": "Delete",
        "managedDisk": {"id": disk_id},
    }


def attached_data_disk(lun: int, disk_id: str) -> Json:
    """``lun`` is the disk's number. Not cached by the host, which not every size can, and which would be what is
    measured.
    """
    return {
        "lun": lun,
        "createOption": "Attach",
        "caching": "None",
        "deleteOption": "Delete",
        "managedDisk": {"id": disk_id},
    }


def spot(asked: Spot | None) -> Json:
    """Without a highest price Azure takes the machine back for capacity only."""
    if asked is None:
        return {}
    return {
        "priority": "Spot",
        "evictionPolicy": "Delete" if asked.eviction is Eviction.DELETE else "Deallocate",
        "billingProfile": {"maxPrice": float(asked.max_price) if asked.max_price else -1},
    }
