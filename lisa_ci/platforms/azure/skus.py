"""Rows of Azure's list of sizes (``resource_skus``) -> what a machine of the size is, in our words.

The list's values are all text, and a row leaves out what it has nothing to say of, older ones more than newer ones:
what a missing name means is decided here, for each.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, Final

from lisa_ci.errors import PipelineError
from lisa_ci.model import Arch, Confidential, Controller, Firmware, Placement
from lisa_ci.platforms.azure.answers import read_answer
from lisa_ci.platforms.azure.retirement import retires

SHIPPED: Final = Path(__file__).parent / "data" / "skus.json"
ANYWHERE: Final = "*"
"""Region of a shipped row: it tells what a size is, and not where there is one."""

_HINT: Final = "az vm list-skus -o json > FILE writes one"
_TYPE: Final = "virtualMachines"
_PLACEMENTS: Final = {
    "CacheDisk": Placement.CACHE,
    "ResourceDisk": Placement.TEMPORARY,
    "NvmeDisk": Placement.NVME,
}
_GENERATIONS: Final = {"V1": Firmware.BIOS, "V2": Firmware.UEFI}
_CONTROLLERS: Final = {"SCSI": Controller.SCSI, "NVMe": Controller.NVME}
_CONFIDENTIAL: Final = {"SNP": Confidential.SEV_SNP, "TDX": Confidential.TDX}
_FPGAS: Final = {"Standard_NP10s": 1, "Standard_NP20s": 2, "Standard_NP40s": 4}
"""The list has no name for FPGAs (learn.microsoft.com, "NP size series")."""
_REASONS: Final = {
    "NotAvailableForSubscription": "not offered to this subscription",
    "QuotaId": "not offered to subscriptions of this kind",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sku:
    """A size in a region. ``cores`` are those of the machine, ``quota_cores`` those that it takes of a quota.

    ``refused``: why it cannot be had in the whole region, '' where it can; ``refused_zones``: by zone. ``os_room_gib``:
    by placement on the host, how large an image may be there; 0 is not known. ``local_nvme``: number of disks.
    """

    name: str
    family: str
    region: str
    cores: int
    quota_cores: int
    memory_mib: int
    arch: Arch = Arch.X86_64
    firmware: frozenset[Firmware] = frozenset({Firmware.BIOS})
    accelerated_networking: bool = False
    nics: int = 1
    data_disks: int = 0
    gpus: int = 0
    fpgas: int = 0
    rdma: bool = False
    local_nvme: int = 0
    controllers: frozenset[Controller] = frozenset({Controller.SCSI})
    premium: bool = False
    ultra_zones: frozenset[str] = frozenset()
    os_room_gib: Mapping[Placement, int] = field(default_factory=dict)
    trusted_launch: bool = False
    confidential: Confidential = Confidential.NONE
    spot: bool = False
    zones: frozenset[str] = frozenset()
    refused: str = ""
    refused_zones: Mapping[str, str] = field(default_factory=dict)
    retires: date | None = None

    def controller(self, wanted: Controller) -> Controller:
        """The controller that a machine gets which asks for ``wanted``; AUTO where the size has not got it."""
        if wanted is Controller.AUTO:
            return Controller.SCSI if Controller.SCSI in self.controllers else Controller.NVME
        return wanted if wanted in self.controllers else Controller.AUTO


def read_skus(data: bytes, place: str) -> tuple[Sku, ...]:
    """Sizes in a file: Azure's answer (``az vm list-skus``, or the API's ``value``). PipelineError names ``place``."""
    read = read_answer(data, place, _HINT)
    rows = read.get("value", read.get("rows")) if isinstance(read, dict) else read
    if not isinstance(rows, list):
        raise PipelineError(f"{place} holds no list of sizes", hint=_HINT)
    return parse_rows([row for row in rows if isinstance(row, dict)])


def shipped_skus() -> tuple[Sku, ...]:
    """What the sizes of the catalogue are, for where nobody can be asked."""
    return read_skus(SHIPPED.read_bytes(), SHIPPED.name)


def parse_rows(rows: Sequence[Mapping[str, Any]]) -> tuple[Sku, ...]:
    """A size for each region of each row; rows that are not of machines, or not readable as one, are left out."""
    return tuple(sku for row in rows for sku in _skus(row))


def _skus(row: Mapping[str, Any]) -> Iterator[Sku]:
    name, family = row.get("name"), row.get("family")
    if row.get("resourceType", _TYPE) != _TYPE or not isinstance(name, str) or not isinstance(family, str):
        return
    told = _capabilities(row.get("capabilities"))
    cores, memory = _number(told, "vCPUs"), _number(told, "MemoryGB")
    if not cores or not memory:
        return
    available = int(_number(told, "vCPUsAvailable") or cores)
    firmware = frozenset(_GENERATIONS[one] for one in _words(told, "HyperVGenerations", "V1") if one in _GENERATIONS)
    confidential = _CONFIDENTIAL.get(told.get("ConfidentialComputingType", ""), Confidential.NONE)
    for region in _list(row.get("locations")):
        here = next((one for one in _dicts(row, "locationInfo") if _same(one.get("location"), region)), {})
        refused, refused_zones = _restrictions(row, str(region).lower())
        zones = frozenset(map(str, _list(here.get("zones"))))
        yield Sku(
            name=name,
            family=family,
            region=str(region).lower(),
            cores=available,
            quota_cores=max(int(cores), available),
            memory_mib=round(memory * 1024),
            arch=Arch.AARCH64 if told.get("CpuArchitectureType") == "Arm64" else Arch.X86_64,
            firmware=firmware,
            accelerated_networking=_flag(told, "AcceleratedNetworkingEnabled"),
            nics=int(_number(told, "MaxNetworkInterfaces") or 1),
            data_disks=int(_number(told, "MaxDataDiskCount")),
            gpus=math.ceil(_number(told, "GPUs")),
            fpgas=_FPGAS.get(name, 0),
            rdma=_flag(told, "RdmaEnabled"),
            local_nvme=_local_nvme(told),
            controllers=frozenset(
                _CONTROLLERS[one] for one in _words(told, "DiskControllerTypes", "SCSI") if one in _CONTROLLERS
            ),
            premium=_flag(told, "PremiumIO"),
            ultra_zones=_ultra_zones(told, here, zones),
            os_room_gib=_os_room(told),
            trusted_launch=Firmware.UEFI in firmware
            and not _flag(told, "TrustedLaunchDisabled")
            and confidential is Confidential.NONE,
            confidential=confidential,
            spot=_flag(told, "LowPriorityCapable"),
            zones=zones,
            refused=refused,
            refused_zones=refused_zones,
            retires=_date(told.get("RetirementDateUtc", "")) or retires(name),
        )


# ---- one value after the other -------------------------------------------------------------------------------------


def _capabilities(told: object) -> dict[str, str]:
    """Azure gives a list of names and values; the shipped file a mapping."""
    if isinstance(told, Mapping):
        return {str(name): str(value) for name, value in told.items()}
    entries = told if isinstance(told, list) else []
    return {
        str(one["name"]): str(one["value"])
        for one in entries
        if isinstance(one, dict) and {"name", "value"} <= one.keys()
    }


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _dicts(row: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    return [one for one in _list(row.get(key)) if isinstance(one, dict)]


def _same(one: object, other: object) -> bool:
    return str(one).lower() == str(other).lower()


def _number(told: Mapping[str, str], name: str) -> float:
    try:
        value = float(told.get(name, "0"))
    except ValueError:
        return 0
    return value if math.isfinite(value) and value >= 0 else 0


def _flag(told: Mapping[str, str], name: str) -> bool:
    return told.get(name, "").lower() == "true"


def _words(told: Mapping[str, str], name: str, missing: str) -> list[str]:
    return [word.strip() for word in told.get(name, missing).split(",")]


def _date(text: str) -> date | None:
    try:
        return date.fromisoformat(text[:10])
    except ValueError:
        return None


def _local_nvme(told: Mapping[str, str]) -> int:
    total, each = _number(told, "NvmeDiskSizeInMiB"), _number(told, "NvmeSizePerDiskInMiB")
    return round(total / each) if total and each else int(total > 0)


def _ultra_zones(told: Mapping[str, str], here: Mapping[str, Any], zones: frozenset[str]) -> frozenset[str]:
    """Ultra disks come with some zones only; a region without zones has them or not."""
    found = set(zones) if _flag(told, "UltraSSDAvailable") else set()
    for detail in _dicts(here, "zoneDetails"):
        if _flag(_capabilities(detail.get("capabilities")), "UltraSSDAvailable"):
            found |= set(map(str, _list(detail.get("name") or detail.get("Name"))))
    return frozenset(found)


def _os_room(told: Mapping[str, str]) -> dict[Placement, int]:
    """Rows that say that there is room, and not where, are older than the choice: then the cache is it."""
    if not _flag(told, "EphemeralOSDiskSupported"):
        return {}
    room = {
        Placement.CACHE: int(_number(told, "CachedDiskBytes")) >> 30,
        Placement.TEMPORARY: int(_number(told, "MaxResourceVolumeMB")) >> 10,
        Placement.NVME: int(_number(told, "NvmeSizePerDiskInMiB") or _number(told, "NvmeDiskSizeInMiB")) >> 10,
    }
    places = _words(told, "SupportedEphemeralOSDiskPlacements", "CacheDisk")
    return {_PLACEMENTS[one]: room[_PLACEMENTS[one]] for one in places if one in _PLACEMENTS}


def _restrictions(row: Mapping[str, Any], region: str) -> tuple[str, dict[str, str]]:
    """Why the size cannot be had in the region, and in single zones of it."""
    refused = ""
    zones: dict[str, str] = {}
    for one in _dicts(row, "restrictions"):
        details = one.get("restrictionInfo")
        info = details if isinstance(details, dict) else {}
        where = [str(name).lower() for name in (_list(info.get("locations")) or _list(one.get("values")))]
        why = _REASONS.get(str(one.get("reasonCode")), str(one.get("reasonCode") or "restricted"))
        if region not in where:
            continue
        if one.get("type") == "Zone":
            zones |= {str(zone): why for zone in _list(info.get("zones"))}
        else:
            refused = refused or why
    return refused, zones
