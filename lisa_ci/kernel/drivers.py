"""What a kernel must have to boot a machine and to bring systemd and sshd up, checked against its config.

Pure, one table. A module is as good as built in only where the initramfs carries it. Sources: systemd's README
("REQUIREMENTS"), the devices that the qemu platform gives, and the kernel's Kconfig for the names.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from lisa_ci.kernel.config import Config
from lisa_ci.model import Access, Bus, Firmware, Profile, WayIn


class Weight(StrEnum):
    """BOOT: without it nobody logs in. TEST: the machine comes up, and lacks something that the profile promises."""

    BOOT = "boot"
    TEST = "test"


@dataclass(frozen=True, slots=True, kw_only=True)
class Driver:
    """Kernel options that give one thing: all of ``options``. ``modules`` are their names as modules.

    ``is_early``: it is needed before the root file system is there, so a module must be in the initramfs. An option
    without modules must be built in.
    """

    what: str
    options: tuple[str, ...]
    modules: tuple[str, ...] = ()
    weight: Weight = Weight.BOOT
    is_early: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Lack:
    """An option that is not as it has to be: ``wanted`` says what to set."""

    option: str
    what: str
    found: str
    wanted: str
    weight: Weight

    def __str__(self) -> str:
        return f"CONFIG_{self.option} is {self.found}, set it to {self.wanted}: {self.what}"


_BASE: Final = (
    Driver(what="programs of 64 bits", options=("64BIT", "BINFMT_ELF")),
    Driver(what="scripts", options=("BINFMT_SCRIPT",)),
    Driver(what="users and files", options=("MULTIUSER", "FILE_LOCKING", "FUTEX", "POSIX_TIMERS")),
    Driver(what="/dev", options=("DEVTMPFS", "TMPFS", "SHMEM")),
    Driver(what="/proc and /sys", options=("PROC_FS", "PROC_SYSCTL", "SYSFS")),
    Driver(what="systemd", options=("CGROUPS", "INOTIFY_USER", "SIGNALFD", "TIMERFD", "EPOLL", "FHANDLE")),
    Driver(what="systemd's namespaces", options=("NAMESPACES", "UTS_NS", "IPC_NS", "PID_NS", "NET_NS")),
    Driver(what="the bus of all devices", options=("PCI", "ACPI")),
    Driver(what="disks", options=("BLOCK",)),
    Driver(what="the serial console", options=("TTY", "SERIAL_8250", "SERIAL_8250_CONSOLE", "PRINTK")),
    Driver(what="the network", options=("NET", "INET")),
    Driver(what="local sockets", options=("UNIX",), modules=("unix",)),
)
_INITRAMFS: Final = Driver(what="an initramfs", options=("BLK_DEV_INITRD",))
_PARTITIONS: Final = Driver(
    what="the partition table of the root disk (or MSDOS_PARTITION)", options=("EFI_PARTITION",)
)
_VIRTIO: Final = Driver(what="virtio devices", options=("VIRTIO", "VIRTIO_PCI"), modules=("virtio", "virtio_pci"))
_DISK: Final = Driver(what="the root disk", options=("VIRTIO_BLK",), modules=("virtio_blk",))
# Debian's udev would load it as well, but only from modules that are there by then.
_CONTROL: Final = Driver(what="the control network card", options=("VIRTIO_NET",), modules=("virtio_net",))
_DHCP: Final = Driver(what="DHCP", options=("PACKET",), modules=("af_packet",))
_CREDENTIALS: Final = Driver(what="credentials (access.way_in)", options=("FW_CFG_SYSFS",), modules=("qemu_fw_cfg",))
_SEED: Final = Driver(
    what="cloud-init's disk (access.way_in)", options=("ISO9660_FS",), modules=("isofs",), is_early=False
)
_UEFI: Final = Driver(what="a start by UEFI", options=("EFI", "EFI_STUB"))
_MODULES_DISK: Final = Driver(what="the disk of the kernel's modules", options=("EXT4_FS",), modules=("ext4",))
FILE_SYSTEMS: Final = {
    "ext2": Driver(what="the root file system", options=("EXT4_FS",), modules=("ext4",)),
    "ext3": Driver(what="the root file system", options=("EXT4_FS",), modules=("ext4",)),
    "ext4": Driver(what="the root file system", options=("EXT4_FS",), modules=("ext4",)),
    "xfs": Driver(what="the root file system", options=("XFS_FS",), modules=("xfs",)),
    "btrfs": Driver(what="the root file system", options=("BTRFS_FS",), modules=("btrfs",)),
}


def _later(what: str, options: tuple[str, ...], *modules: str) -> Driver:
    return Driver(what=what, options=options, modules=modules, weight=Weight.TEST, is_early=False)


_DATA_DISKS: Final = {
    Bus.VIRTIO: _later("data disks on virtio", ("VIRTIO_BLK",), "virtio_blk"),
    Bus.NVME: _later("data disks on NVMe", ("BLK_DEV_NVME",), "nvme"),
    Bus.SCSI: _later("data disks on SCSI", ("SCSI_VIRTIO", "BLK_DEV_SD"), "virtio_scsi", "sd_mod"),
    Bus.SATA: _later("data disks on SATA", ("SATA_AHCI", "BLK_DEV_SD"), "ahci", "sd_mod"),
}
_NICS: Final = {
    "virtio": ("VIRTIO_NET",),
    "e1000": ("E1000",),
    "e1000e": ("E1000E",),
    "igb": ("IGB",),
    "rtl8139": ("8139CP",),
    "vmxnet3": ("VMXNET3",),
}
_WISHES: Final = (
    _later("memory and process limits of units", ("MEMCG", "CGROUP_PIDS")),
    _later("randomness at boot", ("HW_RANDOM_VIRTIO",), "virtio_rng"),
    _later("a panic that is told at once", ("PVPANIC", "PVPANIC_PCI"), "pvpanic_pci"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """What decides which drivers count. ``root_kind``: the root's file system, '' where nobody knows.

    ``has_initramfs``: a user's initrd or ours carries early modules. ``is_ours``: it is ours.
    """

    profile: Profile
    access: Access
    root_kind: str = ""
    has_initramfs: bool = True
    is_ours: bool = True
    has_modules: bool = True


def drivers(situation: Situation) -> Iterator[Driver]:
    """What this machine needs, in the order in which modules are loaded."""
    yield from _BASE
    yield from (_VIRTIO, _DISK, _PARTITIONS)
    if situation.root_kind in FILE_SYSTEMS:
        yield FILE_SYSTEMS[situation.root_kind]
    if situation.has_initramfs:
        yield _INITRAMFS
    if situation.is_ours and situation.has_modules:
        yield _MODULES_DISK
    yield from (_CONTROL, _DHCP)
    match situation.access.way_in:
        case WayIn.CREDENTIALS | WayIn.AUTO:
            yield _CREDENTIALS
        case WayIn.CLOUD_INIT:
            yield _SEED
    if situation.profile.firmware is Firmware.UEFI:
        yield _UEFI
    for bus in sorted({disk.bus for disk in situation.profile.disks}):
        yield _DATA_DISKS[bus]
    for model in sorted({nic.model for nic in situation.profile.nics} & set(_NICS)):
        yield _later(f"network cards {model}", _NICS[model], *(option.lower() for option in _NICS[model]))
    yield from _WISHES


def early_modules(needed: Iterable[Driver]) -> Sequence[str]:
    """Names of modules that an initramfs loads, where they are modules, in this order."""
    return list(dict.fromkeys(name for driver in needed if driver.is_early for name in driver.modules))


def lacks(config: Config, situation: Situation) -> Iterator[Lack]:
    """Every option that stands in the way, the deadly ones first."""
    found = [lack for driver in drivers(situation) for lack in _lacks(config, driver, situation)]
    yield from sorted(dict.fromkeys(found), key=lambda lack: lack.weight is not Weight.BOOT)


def _lacks(config: Config, driver: Driver, situation: Situation) -> Iterator[Lack]:
    if driver is _PARTITIONS and config.get("MSDOS_PARTITION") == "y":
        return  # a GPT behind it would be told by the machine, and hardly any kernel lacks it
    for option in driver.options:
        value = config.get(option, "n")
        is_module_good = bool(driver.modules) and (situation.has_initramfs if driver.is_early else True)
        if value == "y" or (value == "m" and is_module_good):
            continue
        if value == "m" and driver.modules:
            wanted = "y, or give an initrd that carries it"
        else:
            wanted = "y or m" if is_module_good else "y"
        said = {"n": "not set", "m": "m"}.get(value, value[:20])
        yield Lack(option=option, what=driver.what, found=said, wanted=wanted, weight=driver.weight)
