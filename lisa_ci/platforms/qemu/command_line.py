"""A profile as QEMU's command line. Pure: the same values give the same arguments, and no file is looked at.

Block devices are described as JSON with every driver named, so that QEMU probes no format, follows no backing file
that we did not name, and needs no escaping of paths. PCI slots are given: a device's name in the guest (the root disk
is the first virtio disk, the control NIC is in slot 3) must not depend on what else a profile has.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from lisa_ci.image import QEMU_FORMAT
from lisa_ci.model import DISK_SERIAL, Arch, Bus, Firmware, ImageFormat, Kernel, Profile, nic_address
from lisa_ci.platforms.qemu.acceleration import MACHINE, Acceleration

QMP_FD: Final = 4  # a single digit: dash cannot close others
MAX_SATA_DISKS: Final = 6
MAX_DEVICES: Final = 23
NIC_DEVICES: Final = {
    "virtio": "virtio-net-pci",
    "e1000": "e1000",
    "e1000e": "e1000e",
    "igb": "igb",
    "rtl8139": "rtl8139",
    "vmxnet3": "vmxnet3",
}
ROOT_SLOT: Final = 2
MODULES_SLOT: Final = 0x1E  # the last one, so that no other device has another place with a foreign kernel
_CONTROL_SLOT, _FIRST_FREE_SLOT = 3, 4
_CACHE: Final = {"direct": False, "no-flush": True}  # a disk that is thrown away need not survive a host crash


@dataclass(frozen=True, slots=True, kw_only=True)
class FirmwareFile:
    """UEFI code or variables on the host; newer distributions ship qcow2."""

    path: Path
    format: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineFiles:
    """The files of one machine. ``base`` is the image, never written; ``root`` is the qcow2 overlay over it.

    ``disks`` are the profile's data disks in its order. ``credentials`` are systemd's, name -> file. ``code`` and
    ``variables`` are set for UEFI only. ``modules`` is a qcow2 overlay over ``modules_base``, a raw disk with the
    modules of a foreign kernel.
    """

    base: Path
    base_format: ImageFormat
    root: Path
    console: Path
    disks: tuple[Path, ...] = ()
    seed: Path | None = None
    credentials: Mapping[str, Path] = field(default_factory=dict)
    code: FirmwareFile | None = None
    variables: Path | None = None
    modules: Path | None = None
    modules_base: Path | None = None


def process_mark(name: str) -> str:
    """The argument by which the process of the machine ``name`` is found."""
    return f"guest={name},debug-threads=on"


def arguments(
    emulator: str,
    profile: Profile,
    machine: MachineFiles,
    acceleration: Acceleration,
    *,
    name: str,
    kernel: Kernel | None,
) -> tuple[str, ...]:
    """The command that runs the machine; it expects its QMP socket as file descriptor QMP_FD."""
    options = (
        *_base(profile, acceleration, name, is_uefi=machine.code is not None),
        *_firmware(machine),
        *_kernel(kernel),
        *_root(machine, is_booted=kernel is None),
        *_control_nic(),
        *_devices(profile, machine),
        *_modules(machine),
        *_console(machine.console),
        *_credentials(machine.credentials),
    )
    return (emulator, *options)


def writable_nodes(profile: Profile, *, has_modules: bool = False) -> tuple[str, ...]:
    """The block devices that the machine writes to, by the names that ``arguments`` gives them; all are qcow2."""
    disks = tuple(f"disk{number}" for number in range(len(profile.disks)))
    modules = ("modules",) if has_modules else ()
    return ("root", *disks, *modules, *(("variables",) if needs_uefi(profile) else ()))


def device_count(profile: Profile) -> int:
    """PCI slots that the profile's own disks and NICs take."""
    buses = [disk.bus for disk in profile.disks]
    return buses.count(Bus.VIRTIO) + buses.count(Bus.NVME) + len({Bus.SCSI, Bus.SATA} & set(buses)) + len(profile.nics)


def shape_problems(profile: Profile) -> list[str]:
    """What no QEMU of ours can give, whatever the host has."""
    problems = []
    if profile.arch is not Arch.X86_64:
        problems.append(f"profile {profile.name} wants {profile.arch}; the qemu platform makes x86_64 machines only")
    if sum(disk.bus is Bus.SATA for disk in profile.disks) > MAX_SATA_DISKS:
        problems.append(
            f"profile {profile.name} has more than {MAX_SATA_DISKS} SATA disks; use another bus for the rest"
        )
    if device_count(profile) > MAX_DEVICES:
        problems.append(f"profile {profile.name} needs more than {MAX_DEVICES} PCI slots; put disks on the scsi bus")
    known = ", ".join(NIC_DEVICES)
    unknown = [nic.model for nic in profile.nics if nic.model not in NIC_DEVICES]
    problems += [f"profile {profile.name}: unknown NIC model '{model}'; known: {known}" for model in unknown]
    return problems


# ---- the parts -----------------------------------------------------------------------------------------------------


def _base(profile: Profile, acceleration: Acceleration, name: str, *, is_uefi: bool) -> Iterator[str]:
    machine = f"{MACHINE},graphics=off"  # SeaBIOS and boot loaders talk to the serial console then
    if is_uefi:
        machine += ",pflash0=code,pflash1=variables"
    yield from ("-name", process_mark(name))
    yield from ("-machine", machine, *acceleration.arguments, "-cpu", acceleration.cpu)
    yield from ("-smp", str(profile.cores), "-m", str(profile.memory_mib))
    yield from ("-nodefaults", "-no-user-config", "-display", "none", "-boot", "strict=on")
    # A guest is hostile: a QEMU that it has broken into can start no program and gain no rights.
    yield from ("-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny")
    # The panic notifier runs before the last lines are printed; pausing at once would cut them. A machine that powers
    # itself off stays as a process, so that it can go back to its snapshot.
    yield from ("-action", "panic=none,shutdown=pause")
    yield from ("-chardev", f"socket,id=qmp,fd={QMP_FD},server=off", "-mon", "chardev=qmp,mode=control")


def _firmware(machine: MachineFiles) -> Iterator[str]:
    if machine.code is None or machine.variables is None:
        return
    yield from _blockdev(_file_node("code", machine.code.path, machine.code.format, read_only=True))
    # qcow2, because a raw one makes snapshots impossible.
    yield from _blockdev(_file_node("variables", machine.variables, "qcow2"))


def _kernel(kernel: Kernel | None) -> Iterator[str]:
    if kernel is None:
        return
    yield from ("-kernel", str(Path(kernel.image).absolute()))
    if kernel.initrd:
        yield from ("-initrd", str(Path(kernel.initrd).absolute()))
    command_line = kernel.command_line or ""
    if "console=" not in command_line:
        command_line = f"{command_line} console=ttyS0".strip()
    yield from ("-append", command_line)


def _root(machine: MachineFiles, *, is_booted: bool) -> Iterator[str]:
    base = _file_node("base", machine.base, QEMU_FORMAT[machine.base_format], read_only=True)
    if machine.base_format in {ImageFormat.QCOW2, ImageFormat.VMDK}:
        base["backing"] = None
    root = {**_file_node("root", machine.root, "qcow2"), "backing": base}
    yield from _blockdev(root)
    # With a foreign kernel, QEMU's own loader is the first to boot from, and takes that number.
    first = "bootindex=0," if is_booted else ""
    yield from ("-device", f"virtio-blk-pci,drive=root,{first}addr={ROOT_SLOT:#x}")


def _control_nic() -> Iterator[str]:
    """Restricted: we get in by a port that the host's kernel picks, on loopback only; the guest gets nowhere."""
    yield from ("-netdev", "user,id=control,restrict=on,ipv6=off,hostfwd=tcp:127.0.0.1:0-:22")
    yield from ("-device", f"virtio-net-pci,netdev=control,mac={nic_address(0)},romfile=,addr={_CONTROL_SLOT:#x}")


def _devices(profile: Profile, machine: MachineFiles) -> Iterator[str]:
    slots = iter(range(_FIRST_FREE_SLOT, MODULES_SLOT))
    yield from ("-object", "rng-builtin,id=rng", "-device", f"virtio-rng-pci,rng=rng,addr={next(slots):#x}")
    yield from ("-device", f"pvpanic-pci,addr={next(slots):#x}", "-device", "vmgenid,guid=auto")
    yield from _disks(profile, machine, slots)
    yield from _nics(profile, slots)
    if machine.seed is not None:
        yield from _blockdev(_file_node("seed", machine.seed, "raw", read_only=True))
        yield from ("-device", f"virtio-blk-pci,drive=seed,serial=seed,addr={next(slots):#x}")


def _modules(machine: MachineFiles) -> Iterator[str]:
    """Written to in an overlay: a test may add a module and index anew."""
    if machine.modules is None or machine.modules_base is None:
        return
    base = _file_node("modules-base", machine.modules_base, "raw", read_only=True)
    yield from _blockdev({**_file_node("modules", machine.modules, "qcow2"), "backing": base})
    yield from ("-device", f"virtio-blk-pci,drive=modules,serial=lisa-ci-modules,addr={MODULES_SLOT:#x}")


def _disks(profile: Profile, machine: MachineFiles, slots: Iterator[int]) -> Iterator[str]:
    buses = {disk.bus for disk in profile.disks}
    if Bus.SCSI in buses:
        yield from ("-device", f"virtio-scsi-pci,id=scsi,addr={next(slots):#x}")
    if Bus.SATA in buses:
        yield from ("-device", f"ich9-ahci,id=sata,addr={next(slots):#x}")
    used = dict.fromkeys(Bus, 0)
    for number, (disk, file) in enumerate(zip(profile.disks, machine.disks, strict=True)):
        node, serial, unit = f"disk{number}", DISK_SERIAL.format(number), used[disk.bus]
        used[disk.bus] += 1
        yield from _blockdev(_file_node(node, file, "qcow2"))
        match disk.bus:
            case Bus.VIRTIO:
                device = f"virtio-blk-pci,drive={node},serial={serial},addr={next(slots):#x}"
            case Bus.NVME:
                device = f"nvme,drive={node},serial={serial},addr={next(slots):#x}"
            case Bus.SCSI:
                device = f"scsi-hd,bus=scsi.0,scsi-id={unit},drive={node},serial={serial}"
            case Bus.SATA:
                device = f"ide-hd,bus=sata.{unit},drive={node},serial={serial}"
        yield from ("-device", device)


def _nics(profile: Profile, slots: Iterator[int]) -> Iterator[str]:
    """Each has a network of its own: two in the control network would take the route to us away."""
    for number, nic in enumerate(profile.nics, start=1):
        restrict = "off" if nic.outbound else "on"
        yield from ("-netdev", f"user,id=nic{number},restrict={restrict},ipv6=off,net=10.0.{100 + number}.0/24")
        device = f"{NIC_DEVICES[nic.model]},netdev=nic{number},mac={nic_address(number)},romfile="
        yield from ("-device", f"{device},addr={next(slots):#x}")


def _console(path: Path) -> Iterator[str]:
    yield from ("-chardev", f"file,id=console,path={_escaped(path)},append=on", "-serial", "chardev:console")


def _credentials(credentials: Mapping[str, Path]) -> Iterator[str]:
    """By fw_cfg and not by SMBIOS: systemd 252 silently cuts an SMBIOS table at about 4 KiB."""
    for name, path in credentials.items():
        yield from ("-fw_cfg", f"name=opt/io.systemd.credentials/{name},file={_escaped(path)}")


def _file_node(node: str, path: Path, driver: str, *, read_only: bool = False) -> dict[str, Any]:
    file: dict[str, Any] = {"driver": "file", "filename": str(path), "read-only": read_only}
    described: dict[str, Any] = {"driver": driver, "node-name": node, "read-only": read_only, "file": file}
    if not read_only:
        described |= {"cache": _CACHE, "discard": "unmap"}
        file |= {"discard": "unmap"}
    return described


def _blockdev(described: Mapping[str, Any]) -> Iterator[str]:
    yield from ("-blockdev", json.dumps(described, separators=(",", ":")))


def _escaped(path: Path) -> str:
    """QEMU's option syntax: a comma in a value is written twice."""
    return str(path).replace(",", ",,")


def needs_uefi(profile: Profile) -> bool:
    return profile.firmware is Firmware.UEFI
