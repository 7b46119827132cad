"""What a size can, and what a subscription may have: the double's sizes, quotas and refusals.

Messages and codes are those of public logs (tests/fixtures/azure/errors.json names the sources).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from tests.doubles.azure.state import NIC, VM, ArmError, State

_LIMIT: Final = 4000  # of every counter, where a test says nothing else


def size_of(state: State, size: str, region: str) -> Mapping[str, Any] | None:
    """The row of a size in a region; None where there is none."""
    for row in state.skus:
        if row["name"].lower() == size.lower() and region.lower() in [one.lower() for one in row["locations"]]:
            return row
    return None


def can(row: Mapping[str, Any], name: str) -> str:
    """A capability's value; '' where the row leaves it out, as rows do."""
    return next((str(one["value"]) for one in row["capabilities"] if one["name"] == name), "")


# ---- quota -----------------------------------------------------------------------------------------------------------


def needs(state: State, body: Mapping[str, Any], region: str) -> Iterator[tuple[str, int]]:
    """Counters and what a machine takes of them: of low priority where it is a spot machine."""
    row = size_of(state, body["properties"]["hardwareProfile"]["vmSize"], region)
    cores = int(can(row, "vCPUs") or "2") if row else 2
    if body["properties"].get("priority") == "Spot":
        yield "lowPriorityCores", cores
    else:
        yield "cores", cores
        if row and row.get("family"):
            yield row["family"], cores
    yield "virtualMachines", 1


def used(state: State, region: str) -> dict[str, int]:
    """By counter. A machine that is deallocated counts as well."""
    found: dict[str, int] = {}
    for one in state.resources.values():
        if one.type == VM and one.body["location"].lower() == region.lower():
            for name, count in needs(state, one.body, region):
                found[name] = found.get(name, 0) + count
    return found


def limit(state: State, region: str, name: str) -> int:
    """``State.quota`` names a region for its cores, or a counter in all regions."""
    return state.quota.get(region if name == "cores" else name, _LIMIT)


def usages(state: State, region: str) -> list[dict[str, Any]]:
    """The answer for a region."""
    families = sorted({row["family"] for row in state.skus if row.get("family")})
    taken = used(state, region)
    return [
        {
            "limit": limit(state, region, name),
            "unit": "Count",
            "currentValue": taken.get(name, 0),
            "name": {"value": name, "localizedValue": name},
        }
        for name in ("cores", "lowPriorityCores", "virtualMachines", *families)
    ]


def over_quota(state: State, bodies: Iterable[tuple[Mapping[str, Any], str]]) -> str:
    """Why these machines more, each with its region, are too many; '' where they are not."""
    wanted: dict[tuple[str, str], int] = {}
    for body, region in bodies:
        for name, count in needs(state, body, region):
            wanted[region, name] = wanted.get((region, name), 0) + count
    for (region, name), count in wanted.items():
        there, most = used(state, region).get(name, 0), limit(state, region, name)
        if there + count > most:
            label = {"cores": "Total Regional Cores", "lowPriorityCores": "LowPriorityCores"}.get(name, f"{name} Cores")
            return (
                f"Operation could not be completed as it results in exceeding approved {label} quota. Additional "
                f"details - Deployment Model: Resource Manager, Location: {region}, Current Limit: {most}, Current "
                f"Usage: {there}, Additional Required: {count}, (Minimum) New Limit Required: {there + count}."
            )
    return ""


# ---- sizes -----------------------------------------------------------------------------------------------------------


def check_size(state: State, body: Mapping[str, Any]) -> None:
    """ArmError where the size cannot be what the machine's body says."""
    size = body["properties"]["hardwareProfile"]["vmSize"]
    row = size_of(state, size, body["location"])
    if row is None:
        return
    properties = body["properties"]
    _check_nics(state, row, properties.get("networkProfile", {}).get("networkInterfaces", ()))
    storage = properties.get("storageProfile", {})
    most = int(can(row, "MaxDataDiskCount") or "0")
    if len(storage.get("dataDisks", ())) > most:
        told = f"The maximum number of data disks allowed to be attached to a VM of this size is {most}."
        raise ArmError(409, "OperationNotAllowed", told)
    if storage.get("diskControllerType") == "NVMe" and "NVMe" not in can(row, "DiskControllerTypes"):
        told = f"The VM size '{size}' cannot boot with OS image or disk: NVMe is none of its disk controller types."
        raise ArmError(400, "InvalidParameter", told)
    _check_security(row, size, properties.get("securityProfile", {}).get("securityType", ""))
    _check_generation(state, row, size, storage)


def _check_nics(state: State, row: Mapping[str, Any], nics: Iterable[Mapping[str, Any]]) -> None:
    found = [state.resources[one["id"].lower()] for one in nics if one["id"].lower() in state.resources]
    most = int(can(row, "MaxNetworkInterfaces") or "1")
    if len(found) > most:
        told = f"The number of network interfaces exceeds the maximum allowed for the virtual machine size: {most}."
        raise ArmError(400, "NetworkInterfaceCountExceeded", told)
    fast = [one.name for one in found if one.type == NIC and one.properties.get("enableAcceleratedNetworking")]
    if fast and can(row, "AcceleratedNetworkingEnabled") != "True":
        told = f"The VM size {row['name']} is not permitted to enable accelerated networking ({', '.join(fast)})."
        raise ArmError(400, "VMSizeIsNotPermittedToEnableAcceleratedNetworking", told)


def _check_security(row: Mapping[str, Any], size: str, wanted: str) -> None:
    is_confidential = bool(can(row, "ConfidentialComputingType"))
    cannot = {
        "TrustedLaunch": can(row, "TrustedLaunchDisabled") == "True" or is_confidential,
        "ConfidentialVM": not is_confidential,
    }
    if cannot.get(wanted):
        told = (
            f"The VM size '{size}' is not supported for creation of VMs and Virtual Machine Scale Set with '{wanted}'"
        )
        raise ArmError(400, "BadRequest", f"{told} security type.")


def _check_generation(state: State, row: Mapping[str, Any], size: str, storage: Mapping[str, Any]) -> None:
    """Of an image of the group, or of a disk that is attached."""
    places = (storage.get("imageReference", {}).get("id", ""), storage["osDisk"].get("managedDisk", {}).get("id", ""))
    for place in places:
        known = state.resources.get(place.lower())
        generation = known.properties.get("hyperVGeneration", "") if known else ""
        if generation and generation not in can(row, "HyperVGenerations").split(","):
            told = f"The selected VM size '{size}' cannot boot Hypervisor Generation '{generation[1:]}'. "
            raise ArmError(400, "BadRequest", f"{told}If this was a Create operation please check the image.")
