"""What a profile says of its machines on Azure, beyond what every platform has."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class SecurityType(StrEnum):
    """How a machine boots. AUTO is what ``tpm``, ``secure_boot`` and ``confidential`` of the profile ask for."""

    AUTO = "auto"
    STANDARD = "standard"
    TRUSTED_LAUNCH = "trusted-launch"
    CONFIDENTIAL = "confidential"


class DiskEncryption(StrEnum):
    """What of a confidential machine's disk is bound to it: its firmware's state, the whole disk as well, or nothing.

    ``none`` keeps no state of the firmware at all: its TPM is new at each start.
    """

    NONE = "none"
    STATE = "state"
    DISK = "disk"


class Controller(StrEnum):
    """Bus of the image's own disk and of the data disks. AUTO is that of the data disks, else what the size has."""

    AUTO = "auto"
    SCSI = "scsi"
    NVME = "nvme"


class Storage(StrEnum):
    """Kind of a managed disk."""

    STANDARD_HDD = "standard-hdd"
    STANDARD_SSD = "standard-ssd"
    PREMIUM_SSD = "premium-ssd"
    PREMIUM_V2 = "premium-v2"
    ULTRA = "ultra"


class Placement(StrEnum):
    """Where the image's own disk lies: in storage (``managed``), or on the host, gone when the machine is."""

    MANAGED = "managed"
    CACHE = "cache"
    TEMPORARY = "temporary"
    NVME = "nvme"


class Eviction(StrEnum):
    """What becomes of a spot machine that Azure takes back."""

    DELETE = "delete"
    DEALLOCATE = "deallocate"


class Outbound(StrEnum):
    """Explicit way out of the control NIC: a network has none of its own."""

    NONE = "none"
    PUBLIC_IP = "public-ip"
    NAT = "nat"


@dataclass(frozen=True, slots=True, kw_only=True)
class Spot:
    """A machine that Azure may take back. ``max_price``: US dollars an hour, decimal; '' is the price of a kept one."""

    max_price: str = ""
    eviction: Eviction = Eviction.DELETE


@dataclass(frozen=True, slots=True, kw_only=True)
class Azure:
    """``sizes`` are exact names, ``regions`` names of Azure, both in the order in which they are tried.

    ``zones`` empty: none is asked for. ``accelerated_networking`` empty: wherever the size can; else one for the
    control NIC and one for each NIC of the profile. ``data_storage`` empty: the kind of the image's own disk; else one
    for each data disk. ``local_nvme``: NVMe disks that the size itself brings. ``fpga``: see ``Profile.fpgas``.
    """

    sizes: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()
    zones: tuple[str, ...] = ()
    spot: Spot | None = None
    security_type: SecurityType = SecurityType.AUTO
    disk_encryption: DiskEncryption = DiskEncryption.STATE
    accelerated_networking: tuple[bool, ...] = ()
    controller: Controller = Controller.AUTO
    os_storage: Storage = Storage.PREMIUM_SSD
    os_placement: Placement = Placement.MANAGED
    data_storage: tuple[Storage, ...] = ()
    local_nvme: int = 0
    proximity: bool = False
    availability_set: bool = False
    outbound: Outbound = Outbound.PUBLIC_IP
    boot_diagnostics: bool = True
    user_data: str = ""
