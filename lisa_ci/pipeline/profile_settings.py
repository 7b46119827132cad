"""What a pipeline file may say of a hardware profile."""

from __future__ import annotations

from typing import Final

from lisa_ci.model import Arch, Bus, Confidential, Disk, Endpoint, Firmware, Nic, Profile
from lisa_ci.pipeline.azure_settings import AZURE
from lisa_ci.pipeline.kinds import Choice, Flag, Text, Whole
from lisa_ci.pipeline.setting import PROFILE_NAME, setting
from lisa_ci.pipeline.tables import ListOf, Setting, Table

NIC_MODELS: Final = ("virtio", "e1000", "e1000e", "igb", "rtl8139", "vmxnet3")

DISK: Final = Table(
    title="disk",
    description="A data disk beside the image's own: empty, thrown away with the machine.",
    settings=(
        setting(Disk, "size_mib", Whole(least=1, most=16 << 20), "Size in MiB. It takes no space until written to."),
        setting(Disk, "bus", Choice(of=Bus), "Bus that the disk sits on."),
        setting(
            Disk,
            "namespaces",
            Whole(least=1, most=32),
            "Block devices of this size behind one NVMe controller. Only with `bus: nvme`.",
        ),
        setting(
            Disk,
            "queues",
            Whole(least=0, most=64),
            "Queues that the machine's kernel finds, at most one for each core; 0 leaves that to the platform. Not "
            "with `bus: sata`; disks on the `scsi` bus share the most that one of them asks for.",
        ),
        setting(
            Disk,
            "vfs",
            Whole(least=0, most=16),
            "Virtual functions (SR-IOV) that the controller can be asked for. Only with `bus: nvme`.",
        ),
    ),
)

NIC: Final = Table(
    title="nic",
    description="A network card beside the one that tests are driven over.",
    settings=(
        setting(Nic, "model", Choice(choices=NIC_MODELS), "Card that the machine sees."),
        setting(Nic, "outbound", Flag(), "Gives the card a way to the outside; without, it reaches nothing."),
        setting(Nic, "link", Flag(), "Joins the card to a private link between the machines of the leg."),
        setting(
            Nic,
            "queues",
            Whole(least=1, most=64),
            "Pairs of queues, at most one for each core. Several only with `model: virtio` and without `outbound`.",
        ),
        setting(
            Nic,
            "vfs",
            Whole(least=0, most=64),
            "Virtual functions (SR-IOV) that serve the card, or that it can be asked for. Not on `qemu`.",
        ),
    ),
)

ENDPOINT: Final = Table(
    title="endpoint",
    description="A machine that already runs (platform `ssh`).",
    settings=(
        Setting(
            name="host",
            kind=Text(
                words="a host name or address",
                pattern=r"[A-Za-z0-9:](?:[A-Za-z0-9.:-]*[A-Za-z0-9:])?",
                most=253,
                hint="without user and port: they have keys of their own",
            ),
            description="Name or address where it listens.",
            is_required=True,
            example="192.0.2.10",
        ),
        setting(Endpoint, "port", Whole(least=1, most=65535), "Port of its SSH server."),
        Setting(
            name="host_key",
            kind=Text(
                words="a public key 'TYPE BASE64'",
                pattern=r"(?:ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(?:256|384|521)) [A-Za-z0-9+/]{40,2000}={0,2}",
                most=2100,
                hint="ssh-keyscan HOST prints it; compare it with the machine's own before you trust it",
            ),
            description="The machine's public host key, `TYPE BASE64`. No other key is accepted.",
            is_required=True,
            example="ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ5rLkxKVPKmkYJ0jMGJvmDvXyyhiFSz6YvcYFOWDhVu",
        ),
    ),
)

PROFILE: Final = Table(
    title="profile",
    description="A hardware profile: the shape a machine is made with. Keys that are given replace those of `from`.",
    settings=(
        Setting(
            name="name",
            kind=PROFILE_NAME,
            description="Names the profile, its leg, folder, artifact and check.",
            is_required=True,
            example="uefi-nvme",
        ),
        Setting(
            name="from",
            kind=PROFILE_NAME,
            description="Profile to start from: of the catalogue (docs/profiles.md), or an earlier one of this file.",
            example="uefi",
        ),
        setting(
            Profile,
            "description",
            Text(words="a sentence", most=300),
            "What the profile is for.",
            example="UEFI with NVMe",
        ),
        setting(
            Profile, "platform", Text(words="a platform", pattern="[a-z0-9_-]+", most=50), "What makes the machine."
        ),
        setting(Profile, "arch", Choice(of=Arch), "Processor architecture of the machine."),
        setting(Profile, "firmware", Choice(of=Firmware), "Firmware that the machine boots with."),
        setting(Profile, "cores", Whole(least=1, most=1024), "Number of processors."),
        setting(Profile, "memory_mib", Whole(least=64, most=16 << 20), "Memory in MiB."),
        setting(
            Profile,
            "disks",
            ListOf(kind=DISK, most=64),
            "Data disks beside the image's own.",
            example=[{"bus": "nvme"}],
        ),
        setting(
            Profile,
            "nics",
            ListOf(kind=NIC, most=16),
            "Network cards beside the control NIC.",
            example=[{"model": "e1000e"}],
        ),
        setting(
            Profile,
            "numa_nodes",
            Whole(least=1, most=64),
            "NUMA nodes that processors and memory are spread over, evenly.",
        ),
        setting(Profile, "tpm", Flag(), "A TPM 2.0 of its own, empty at the start (by swtpm)."),
        setting(
            Profile,
            "secure_boot",
            Flag(),
            "UEFI with Secure Boot enforced and Microsoft's keys enrolled. The image needs a signed boot loader.",
        ),
        setting(
            Profile,
            "hotplug",
            Flag(),
            "Four free PCIe ports for disks and NICs, as many processors and as much memory again, and slots for them.",
        ),
        setting(
            Profile,
            "machines",
            Whole(least=1, most=8),
            "Machines of this shape that a leg has, started together. Cases run in the first one.",
        ),
        setting(Profile, "gpus", Whole(least=0, most=64), "GPUs. Not on `qemu`."),
        setting(Profile, "fpgas", Whole(least=0, most=64), "FPGAs. Not on `qemu`."),
        setting(Profile, "rdma", Flag(), "A device of InfiniBand's verbs. Not on `qemu`."),
        setting(
            Profile,
            "confidential",
            Choice(of=Confidential),
            "What keeps the machine's memory from its host. Not on `qemu`.",
        ),
        setting(Profile, "azure", AZURE, AZURE.description),
        setting(Profile, "endpoint", ENDPOINT, "The running machine that is this profile (platform `ssh`)."),
        setting(
            Profile,
            "runs_on",
            Text(words="a runner label", pattern=r"[A-Za-z0-9](?:[A-Za-z0-9._ -]*[A-Za-z0-9])?", most=100),
            "Label of the GitHub runner that the leg runs on.",
        ),
    ),
)
