"""What a profile's machines are on Azure, and what Azure cannot give at once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from lisa_ci.model.azure import Azure, Controller, DiskEncryption, Eviction, Outbound, Placement, SecurityType, Storage
from lisa_ci.model.hardware import Bus, Confidential, Profile
from lisa_ci.model.subject import Firmware

AZURE: Final = "azure"


def security_type(profile: Profile) -> SecurityType:
    """What the profile's machines are made as; never AUTO."""
    asked = profile.azure.security_type if profile.azure else SecurityType.AUTO
    if asked is not SecurityType.AUTO:
        return asked
    if profile.confidential is not Confidential.NONE:
        return SecurityType.CONFIDENTIAL
    return SecurityType.TRUSTED_LAUNCH if profile.tpm or profile.secure_boot else SecurityType.STANDARD


def azure_contradictions(profile: Profile) -> Iterator[str]:
    """What the profile asks for that Azure cannot give at once, or not at all; a sentence each."""
    if profile.platform != AZURE:
        if profile.azure is not None:
            yield f"'azure' needs 'platform: {AZURE}'"
        return
    azure = profile.azure or Azure()
    yield from _missing(azure)
    yield from _generic(profile)
    yield from _security(profile, azure)
    yield from _disks(profile, azure)
    yield from _network(profile, azure)
    yield from _group(profile, azure)


def _missing(azure: Azure) -> Iterator[str]:
    if not azure.sizes:
        yield "platform 'azure' needs 'azure.sizes', exact names such as Standard_D2s_v5"
    if not azure.regions:
        yield "platform 'azure' needs 'azure.regions', such as westeurope"


def _generic(profile: Profile) -> Iterator[str]:
    if profile.numa_nodes > 1:
        yield "on Azure the size decides on 'numa_nodes'; leave it out"
    if profile.hotplug:
        yield "'hotplug' promises room for processors and memory, which Azure does not plug"
    if any(disk.bus not in {Bus.SCSI, Bus.NVME} for disk in profile.disks):
        yield "Azure's disks are on 'bus: scsi' or 'bus: nvme'"
    if any(disk.namespaces > 1 or disk.queues for disk in profile.disks):
        yield "Azure's disks have no 'namespaces' and 'queues' to choose"
    if any(nic.model != "virtio" for nic in profile.nics):
        yield "Azure decides on the 'model' of a NIC; leave it out"


def _security(profile: Profile, azure: Azure) -> Iterator[str]:
    kind = security_type(profile)
    is_confidential = profile.confidential is not Confidential.NONE
    if kind is SecurityType.CONFIDENTIAL and not is_confidential:
        yield "'security_type: confidential' needs 'confidential: sev-snp' or 'tdx'"
    if is_confidential and kind is not SecurityType.CONFIDENTIAL:
        yield f"'confidential: {profile.confidential.value}' needs 'security_type: confidential'"
    if kind is SecurityType.STANDARD and (profile.tpm or profile.secure_boot):
        yield "'tpm' and 'secure_boot' need 'security_type: trusted-launch' or 'confidential'"
    if kind is not SecurityType.STANDARD and profile.firmware is not Firmware.UEFI:
        yield f"'security_type: {kind.value}' needs 'firmware: uefi'"
    if kind is SecurityType.CONFIDENTIAL:
        if not profile.tpm:
            yield "a confidential machine on Azure has a TPM: say 'tpm: true'"
        if azure.disk_encryption is DiskEncryption.DISK and not profile.secure_boot:
            yield "'disk_encryption: disk' needs 'secure_boot: true'"
        if azure.os_placement is not Placement.MANAGED and azure.disk_encryption is DiskEncryption.DISK:
            yield "'disk_encryption: disk' needs 'os_placement: managed'"
    elif azure.disk_encryption is not DiskEncryption.STATE:
        yield "'disk_encryption' is only for 'confidential' machines"


def _disks(profile: Profile, azure: Azure) -> Iterator[str]:
    buses = {disk.bus.value for disk in profile.disks}
    if len(buses) > 1:
        yield "Azure puts all data disks on one bus"
    elif buses and azure.controller is not Controller.AUTO and buses != {azure.controller.value}:
        yield f"'controller: {azure.controller.value}' does not give disks on 'bus: {buses.pop()}'"
    if "nvme" in {*buses, azure.controller.value} and profile.firmware is not Firmware.UEFI:
        yield "disks on an NVMe controller need 'firmware: uefi'"
    if azure.data_storage and len(azure.data_storage) != len(profile.disks):
        yield f"'data_storage' has {len(azure.data_storage)} entries for {len(profile.disks)} disks"
    if azure.os_storage in {Storage.PREMIUM_V2, Storage.ULTRA}:
        yield f"'os_storage: {azure.os_storage.value}' is for data disks only"
    if azure.os_placement is not Placement.MANAGED and azure.spot and azure.spot.eviction is Eviction.DEALLOCATE:
        yield "a machine with its disk on the host cannot be deallocated: 'eviction: delete'"


def _network(profile: Profile, azure: Azure) -> Iterator[str]:
    flags, nics = len(azure.accelerated_networking), 1 + len(profile.nics)
    if flags not in {0, nics}:
        yield f"'accelerated_networking' has {flags} entries for {nics} NICs (the control NIC is the first)"
    if any(nic.outbound for nic in profile.nics) and azure.outbound is not Outbound.NAT:
        yield "a NIC with 'outbound' needs 'azure.outbound: nat'"


def _group(profile: Profile, azure: Azure) -> Iterator[str]:
    if azure.availability_set and azure.zones:
        yield "a machine is in an 'availability_set' or in one of the 'zones', not both"
    newer = [kind for kind in (Storage.PREMIUM_V2, Storage.ULTRA) if kind in azure.data_storage]
    if azure.availability_set and newer:
        yield f"'data_storage: {newer[0].value}' and 'availability_set' exclude each other"
    if azure.availability_set and azure.spot:
        yield "a 'spot' machine cannot be in an 'availability_set'"
    if profile.machines == 1 and (azure.proximity or azure.availability_set):
        yield "'proximity' and 'availability_set' need 'machines: 2' or more"
