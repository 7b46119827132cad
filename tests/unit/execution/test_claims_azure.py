"""Claims of a cloud's machines: serial numbers and addresses are not ours, so that counts and buses are held."""

from __future__ import annotations

import dataclasses

import pytest

from lisa_ci.execution.claims import verify
from lisa_ci.model import Bus, Disk
from lisa_ci.pipeline import azure_catalogue

VMBUS = "/sys/devices/LNXSYSTM:00/LNXSYBUS:00/ACPI0004:00/VMBUS:00/f8b3781a-1e82-4818-a1c3-63d806ec15bb"
NVME = "/sys/devices/LNXSYSTM:00/VMBUS:00/5a95e4a8/pcie:00/5a95:00/5a95:00:00.0/nvme/nvme0/nvme0n1"


def scsi(lun: int, gib: int) -> str:
    return f"disk={VMBUS}/host0/target0:0:{lun}/0:0:0:{lun}/block/sd{chr(97 + lun)}|{gib << 21}|2|"


def machine(*disks: str, cores: int = 8, gib: int = 64, rx: int = 2) -> str:
    """What the script prints on a machine of Azure: the synthetic card and its VF have the same address."""
    facts = [
        "arch=x86_64",
        "firmware=uefi",
        f"cpus=0-{cores - 1}",
        "nodes=0",
        "efi_variables=30",
        "secure_boot= 6 0 0 0 0",
        f"memory_kib={(gib << 20) - (600 << 10)}",
        *disks,
        f"nic=00:0d:3a:12:34:56|hv_netvsc|{rx}",
        f"nic=00:0d:3a:12:34:56|mlx5_core|{rx}",
        "end=",
    ]
    return "\n".join(facts) + "\n"


def test_data_disks_on_the_virtual_bus_are_scsi_disks_by_count_and_size() -> None:
    profile = dataclasses.replace(azure_catalogue()["azure-disks"], cores=8, memory_mib=65536)
    assert verify(profile, machine(scsi(0, 30), scsi(1, 4), scsi(2, 4), scsi(3, 8))) == {}
    false = verify(profile, machine(scsi(0, 30), scsi(1, 4), scsi(2, 4)))
    assert set(false) == {"disks", "disk_scsi"}


@pytest.mark.parametrize(("disk", "is_there"), [(f"disk={NVME}|3750000000|8|", True), (scsi(1, 1024), False)])
def test_a_local_nvme_disk_that_the_size_brings_is_looked_for(disk: str, is_there: bool) -> None:
    false = verify(azure_catalogue()["azure-local-nvme"], machine(scsi(0, 30), disk))
    assert ("disk_nvme" in false) == (not is_there)
    assert set(false) <= {"disks", "disk_nvme", "nvme_namespaces"}


def test_queues_are_those_of_any_card() -> None:
    profile = azure_catalogue()["azure-queues"]
    text = machine(scsi(0, 30), cores=16, rx=8)
    assert "nic_queues" not in verify(profile, text)
    assert "nic_queues" in verify(profile, machine(scsi(0, 30), cores=16, rx=4))


def test_a_machine_of_azure_that_is_smaller_than_its_profile_is_found_out() -> None:
    profile = dataclasses.replace(azure_catalogue()["azure-intel"], disks=(Disk(size_mib=4096, bus=Bus.SCSI),))
    false = verify(profile, machine(scsi(0, 30), cores=1, gib=4))
    assert set(false) == {"cores", "memory_mib", "disks", "disk_scsi"}
