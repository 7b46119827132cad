"""Hardware profiles: what a machine is made of, and what a suite may ask of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from lisa_ci.model.azure import Azure
from lisa_ci.model.subject import Arch, Capability, Firmware

# ---- hardware ------------------------------------------------------------------------------------------------------

DISK_SERIAL: Final = "lisa-ci-{}"


def nic_address(number: int, machine: int = 0) -> str:
    """Of a machine that is made: 0 is the control NIC, the profile's follow. Locally administered, in QEMU's range.

    ``machine`` is its place among the machines of the leg.
    """
    return f"52:54:00:6c:{0x63 + machine:02x}:{number:02x}"


class Bus(StrEnum):
    VIRTIO = "virtio"
    SCSI = "scsi"
    NVME = "nvme"
    SATA = "sata"


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """A data disk beside the image's own; empty, thrown away with the machine.

    ``namespaces`` (NVMe only) are as many block devices of ``size_mib`` each behind one controller. ``queues`` 0 leaves
    their number to the platform. ``vfs`` (NVMe only) are the virtual functions that the controller can be asked for.
    """

    size_mib: int = 1024
    bus: Bus = Bus.VIRTIO
    namespaces: int = 1
    queues: int = 0
    vfs: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Nic:
    """A network card beside the control NIC. ``outbound`` gives it a way out, ``link`` a private link to the other
    machines of the leg, on which nobody else is; without, it has no network at all.

    ``queues`` are pairs, one for receiving and one for sending. ``vfs`` are virtual functions (SR-IOV) of a card that
    serve it, or that it can be asked for.
    """

    model: str = "virtio"
    outbound: bool = False
    link: bool = False
    queues: int = 1
    vfs: int = 0


class Confidential(StrEnum):
    """What keeps a machine's memory from its host; ``none`` where the host is trusted."""

    NONE = "none"
    SEV_SNP = "sev-snp"
    TDX = "tdx"


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where a machine that already runs listens; ``host_key`` is its pinned public key, ``TYPE BASE64``."""

    host: str
    port: int = 22
    host_key: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """A hardware profile: the shape a leg is provisioned with, and the platform that makes it.

    ``numa_nodes`` share processors and memory evenly. ``hotplug``: room for disks, NICs, processors and memory that
    come while it runs. ``machines`` are alike; the first is the one that cases run in. ``gpus``, ``fpgas``, ``rdma``
    (a device of InfiniBand's verbs) and ``confidential`` are what no emulation gives.
    """

    name: str
    platform: str = "qemu"
    description: str = ""
    arch: Arch = Arch.X86_64
    firmware: Firmware = Firmware.BIOS
    cores: int = 2
    memory_mib: int = 1024
    disks: tuple[Disk, ...] = ()
    nics: tuple[Nic, ...] = ()
    numa_nodes: int = 1
    tpm: bool = False
    secure_boot: bool = False
    hotplug: bool = False
    machines: int = 1
    gpus: int = 0
    fpgas: int = 0
    rdma: bool = False
    confidential: Confidential = Confidential.NONE
    endpoint: Endpoint | None = None
    azure: Azure | None = None
    runs_on: str = "ubuntu-24.04"

    @property
    def names_devices(self) -> bool:
        """Its disks have the serial numbers, its NICs the addresses that are ours: it is made, not found."""
        return self.endpoint is None and self.azure is None

    @property
    def data_disks(self) -> tuple[Disk, ...]:
        """The disks that are asked for, and those that a cloud's size brings itself, of which no size is known."""
        return (*self.disks, *[Disk(size_mib=1, bus=Bus.NVME)] * (self.azure.local_nvme if self.azure else 0))

    @property
    def capabilities(self) -> Mapping[str, Capability]:
        """What a suite may ask for. Counts are 'at least', everything else is 'equal'."""
        disks = self.data_disks
        return {
            "platform": self.platform,
            "arch": self.arch.value,
            "firmware": self.firmware.value,
            "cores": self.cores,
            "memory_mib": self.memory_mib,
            "disks": len(disks),
            "nics": 1 + len(self.nics),
            "machines": self.machines,
            "outbound": any(nic.outbound for nic in self.nics),
            **{f"disk_{bus.value}": sum(disk.bus is bus for disk in disks) for bus in Bus},
            "nvme_namespaces": max((disk.namespaces for disk in disks if disk.bus is Bus.NVME), default=0),
            "nvme_vfs": max((disk.vfs for disk in disks), default=0),
            "disk_queues": max((max(1, disk.queues) for disk in disks), default=0),
            "nic_queues": max((1, *(nic.queues for nic in self.nics))),
            "nic_vfs": sum(nic.vfs for nic in self.nics),
            "numa_nodes": self.numa_nodes,
            "tpm": self.tpm,
            "secure_boot": self.secure_boot,
            "hotplug": self.hotplug,
            "links": sum(nic.link for nic in self.nics),
            "gpus": self.gpus,
            "fpgas": self.fpgas,
            "rdma": self.rdma,
            "confidential": self.confidential.value,
        }


def contradictions(profile: Profile) -> tuple[str, ...]:
    """What a profile asks for that no machine can give at once; one sentence each."""
    found = []
    if profile.secure_boot and profile.firmware is not Firmware.UEFI:
        found.append("'secure_boot' needs 'firmware: uefi'")
    if any(disk.namespaces > 1 and disk.bus is not Bus.NVME for disk in profile.disks):
        found.append("only a disk with 'bus: nvme' has several 'namespaces'")
    if any(disk.vfs and disk.bus is not Bus.NVME for disk in profile.disks):
        found.append("only a disk with 'bus: nvme' has 'vfs'")
    if any(disk.queues > 1 and disk.bus is Bus.SATA for disk in profile.disks):
        found.append("a disk with 'bus: sata' has one queue")
    if any(disk.queues > profile.cores for disk in profile.disks):
        found.append("a disk has at most one of 'queues' for each of the 'cores'")
    several = [nic for nic in profile.nics if nic.queues > 1]
    if any(nic.model != "virtio" or nic.outbound for nic in several):
        found.append("only a NIC with 'model: virtio' and no 'outbound' has several 'queues'")
    if any(nic.queues > profile.cores for nic in several):
        found.append("a NIC has at most one of 'queues' for each of the 'cores'")
    if any(nic.link and nic.outbound for nic in profile.nics):
        found.append("a NIC has 'link' or 'outbound', not both")
    if any(nic.link and nic.queues > 1 for nic in profile.nics):
        found.append("a NIC with 'link' has one queue")
    if profile.machines == 1 and any(nic.link for nic in profile.nics):
        found.append("a NIC with 'link' needs 'machines: 2' or more")
    if profile.numa_nodes > profile.cores:
        found.append("'numa_nodes' needs at least one of the 'cores' for each")
    return tuple(found)


Requirements = Mapping[str, Capability | tuple[Capability, ...]]


def unmet(requirements: Requirements, capabilities: Mapping[str, Capability]) -> tuple[str, ...]:
    """One sentence for each requirement that the capabilities do not meet; empty when all are met.

    A number asks for at least that many, anything else for an equal value; a tuple asks for one of its members.
    """
    reasons = []
    for name, wanted in requirements.items():
        given = capabilities.get(name)
        choices = wanted if isinstance(wanted, tuple) else (wanted,)
        if not any(_meets(given, choice) for choice in choices):
            said = " or ".join(_shown(choice) for choice in choices)
            has = "says nothing of it" if given is None else f"gives {_shown(given).removeprefix('>= ')}"
            reasons.append(f"needs {name} {said}, the profile {has}")
    return tuple(reasons)


def _meets(given: Capability | None, wanted: Capability) -> bool:
    if isinstance(wanted, bool) or isinstance(given, bool):
        return type(given) is type(wanted) and given == wanted
    if isinstance(wanted, str) or isinstance(given, str):
        return given == wanted  # also where one is a StrEnum's member, as a suite file gives it
    return given is not None and given >= wanted


def _shown(value: Capability) -> str:
    return f"{value}".lower() if isinstance(value, bool) else f"{value}" if isinstance(value, str) else f">= {value}"
