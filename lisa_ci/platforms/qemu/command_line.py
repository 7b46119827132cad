"""A profile as QEMU's command line. Pure: the same values give the same arguments, and no file is looked at.

Block devices are described as JSON with every driver named, so that QEMU probes no format, follows no backing file
that we did not name, and needs no escaping of paths. PCI slots are given: a device's name in the guest (the root disk
is the first virtio disk, the control NIC is in slot 3) must not depend on what else a profile has.
"""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from lisa_ci.image import QEMU_FORMAT
from lisa_ci.model import (
    DISK_SERIAL,
    Arch,
    Bus,
    Confidential,
    Disk,
    Firmware,
    ImageFormat,
    Kernel,
    Profile,
    contradictions,
    nic_address,
)
from lisa_ci.platforms.qemu import taps
from lisa_ci.platforms.qemu.acceleration import Acceleration, Accelerator
from lisa_ci.platforms.qemu.architecture import Board, board

QMP_FD: Final = 4  # a single digit: dash cannot close others
FOLDER_FD: Final = 5  # the scratch folder, where a socket in it is to be reached
TPM_SOCKET: Final = f"/proc/self/fd/{FOLDER_FD}/tpm.sock"
MAX_SATA_DISKS: Final = 6
MAX_DEVICES: Final = 23
HOT_PORTS: Final = 4
LEAST_NODE_MIB: Final = 64
NIC_DEVICES: Final = {
    "virtio": "virtio-net-pci",
    "e1000": "e1000",
    "e1000e": "e1000e",
    "igb": "igb",
    "rtl8139": "rtl8139",
    "vmxnet3": "vmxnet3",
}
LINK_DEVICE: Final = "link-nic{}"
LINKED_MACHINES: Final = 2
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

    ``disks`` are the profile's data disks in its order, one namespace after the other. ``credentials`` are systemd's,
    name -> file. ``code`` and ``variables`` are set for UEFI only. ``modules`` is a qcow2 overlay over
    ``modules_base``, a raw disk with the modules of a foreign kernel. ``number`` is the machine's place in its group;
    ``links`` are file descriptors, one datagram socket for each NIC with ``link``, in the profile's order.
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
    number: int = 0
    links: tuple[int, ...] = ()


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
        *_firmware(machine, is_secure=profile.secure_boot),
        *_kernel(kernel, console=board(profile.arch).console),
        *_root(machine, is_booted=kernel is None),
        *_control_nic(machine.number),
        *_devices(profile, machine),
        *_modules(machine),
        *_tpm(profile),
        *_console(machine.console),
        *_credentials(machine.credentials),
    )
    return (emulator, *options)


def with_taps(profile: Profile, command: Sequence[str]) -> tuple[str, ...]:
    """``command``, started with a tap device for each NIC with several queues."""
    wanted = [f"nic{number}={nic.queues}" for number, nic in enumerate(profile.nics, start=1) if nic.queues > 1]
    return (sys.executable, "-I", taps.__file__, *wanted, "--", *command) if wanted else tuple(command)


def writable_nodes(profile: Profile, *, has_modules: bool = False) -> tuple[str, ...]:
    """The block devices that the machine writes to, by the names that ``arguments`` gives them; all are qcow2."""
    disks = tuple(node for _, nodes in disk_nodes(profile) for node in nodes)
    modules = ("modules",) if has_modules else ()
    return ("root", *disks, *modules, *(("variables",) if needs_uefi(profile) else ()))


def disk_nodes(profile: Profile) -> tuple[tuple[Disk, tuple[str, ...]], ...]:
    """Each data disk with its block devices by name, of which an NVMe disk with namespaces has several."""
    return tuple(
        (disk, (f"disk{number}", *(f"disk{number}n{extra}" for extra in range(2, disk.namespaces + 1))))
        for number, disk in enumerate(profile.disks)
    )


def device_count(profile: Profile) -> int:
    """PCI slots that the profile's own disks and NICs take, and its free ports."""
    buses = [disk.bus for disk in profile.disks]
    disks = buses.count(Bus.VIRTIO) + buses.count(Bus.NVME) + len({Bus.SCSI, Bus.SATA} & set(buses))
    return disks + len(profile.nics) + (HOT_PORTS if profile.hotplug else 0)


def shape_problems(profile: Profile) -> list[str]:
    """What no QEMU of ours can give, whatever the host has."""
    problems = [f"profile {profile.name}: {problem}" for problem in contradictions(profile)]
    problems += _arm_problems(profile) if profile.arch is Arch.AARCH64 else []
    if sum(disk.bus is Bus.SATA for disk in profile.disks) > MAX_SATA_DISKS:
        problems.append(
            f"profile {profile.name} has more than {MAX_SATA_DISKS} SATA disks; use another bus for the rest"
        )
    if device_count(profile) > MAX_DEVICES:
        problems.append(f"profile {profile.name} needs more than {MAX_DEVICES} PCI slots; put disks on the scsi bus")
    if profile.numa_nodes > 1 and profile.hotplug:
        problems.append(f"profile {profile.name}: the qemu platform gives NUMA nodes or hot-plug, not both")
    if profile.numa_nodes > 1 and profile.memory_mib // profile.numa_nodes < LEAST_NODE_MIB:
        problems.append(f"profile {profile.name}: a NUMA node needs at least {LEAST_NODE_MIB} MiB")
    real = [name for name in ("gpus", "fpgas", "rdma", "nic_vfs") if profile.capabilities[name]]
    real += [profile.confidential] if profile.confidential is not Confidential.NONE else []
    problems += [f"profile {profile.name} wants {name}, which the qemu platform cannot give" for name in real]
    if profile.machines > LINKED_MACHINES and any(nic.link for nic in profile.nics):
        problems.append(f"profile {profile.name}: a link of the qemu platform joins {LINKED_MACHINES} machines")
    known = ", ".join(NIC_DEVICES)
    unknown = [nic.model for nic in profile.nics if nic.model not in NIC_DEVICES]
    problems += [f"profile {profile.name}: unknown NIC model '{model}'; known: {known}" for model in unknown]
    return problems


def _arm_problems(profile: Profile) -> list[str]:
    """What a machine of the type ``virt`` does not have, or does not have from us."""
    asked = {
        "firmware bios": not needs_uefi(profile),
        "tpm": profile.tpm,
        "secure_boot": profile.secure_boot,
        "hotplug": profile.hotplug,
    }
    return [
        f"profile {profile.name} wants {name}, which the qemu platform gives to x86_64 machines only"
        for name, is_asked in asked.items()
        if is_asked
    ]


# ---- the parts -----------------------------------------------------------------------------------------------------


def _base(profile: Profile, acceleration: Acceleration, name: str, *, is_uefi: bool) -> Iterator[str]:
    parts = board(profile.arch)
    machine = parts.machine
    if is_uefi:
        machine += ",pflash0=code,pflash1=variables"
    if profile.secure_boot:
        machine += ",smm=on"
    yield from ("-name", process_mark(name))
    yield from ("-machine", machine, *acceleration.arguments, "-cpu", _cpu(parts, acceleration))
    yield from _processors_and_memory(profile)
    yield from ("-nodefaults", "-no-user-config", "-display", "none", "-boot", "strict=on")
    # A guest is hostile: a QEMU that it has broken into can start no program and gain no rights.
    yield from ("-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny")
    # The panic notifier runs before the last lines are printed; pausing at once would cut them. A machine that powers
    # itself off stays as a process, so that it can go back to its snapshot.
    yield from ("-action", "panic=none,shutdown=pause")
    yield from ("-chardev", f"socket,id=qmp,fd={QMP_FD},server=off", "-mon", "chardev=qmp,mode=control")


def _processors_and_memory(profile: Profile) -> Iterator[str]:
    if profile.hotplug:
        most = 2 * profile.cores
        yield from ("-smp", f"{profile.cores},maxcpus={most},sockets={most},cores=1,threads=1")
        yield from ("-m", f"{profile.memory_mib},slots={HOT_PORTS},maxmem={2 * profile.memory_mib}M")
    else:
        yield from ("-smp", str(profile.cores), "-m", str(profile.memory_mib))
    if profile.numa_nodes > 1:
        for node in range(profile.numa_nodes):
            first, behind = _share(profile.cores, profile.numa_nodes, node)
            start, end = _share(profile.memory_mib, profile.numa_nodes, node)
            yield from ("-object", f"memory-backend-ram,id=memory{node},size={end - start}M")
            yield from ("-numa", f"node,nodeid={node},cpus={first}-{behind - 1},memdev=memory{node}")


def _cpu(parts: Board, acceleration: Acceleration) -> str:
    return acceleration.cpu if acceleration.accelerator is Accelerator.KVM else parts.emulated_cpu


def _share(whole: int, parts: int, part: int) -> tuple[int, int]:
    """Where the part begins, and where the next one does."""
    return whole * part // parts, whole * (part + 1) // parts


def _firmware(machine: MachineFiles, *, is_secure: bool) -> Iterator[str]:
    if machine.code is None or machine.variables is None:
        return
    if is_secure:
        # Only code in system management mode may write variables: else the guest's kernel could enroll its own keys.
        yield from ("-global", "driver=cfi.pflash01,property=secure,value=on", "-global", "ICH9-LPC.disable_s3=1")
    yield from _blockdev(file_node("code", machine.code.path, machine.code.format, read_only=True))
    # qcow2, because a raw one makes snapshots impossible.
    yield from _blockdev(file_node("variables", machine.variables, "qcow2"))


def _tpm(profile: Profile) -> Iterator[str]:
    if profile.tpm:
        yield from ("-chardev", f"socket,id=tpm,path={TPM_SOCKET}")
        yield from ("-tpmdev", "emulator,id=tpm,chardev=tpm", "-device", "tpm-crb,tpmdev=tpm")


def _kernel(kernel: Kernel | None, *, console: str) -> Iterator[str]:
    if kernel is None:
        return
    yield from ("-kernel", str(Path(kernel.image).absolute()))
    if kernel.initrd:
        yield from ("-initrd", str(Path(kernel.initrd).absolute()))
    command_line = kernel.command_line or ""
    if "console=" not in command_line:
        command_line = f"{command_line} console={console}".strip()
    yield from ("-append", command_line)


def _root(machine: MachineFiles, *, is_booted: bool) -> Iterator[str]:
    base = file_node("base", machine.base, QEMU_FORMAT[machine.base_format], read_only=True)
    if machine.base_format in {ImageFormat.QCOW2, ImageFormat.VMDK}:
        base["backing"] = None
    root = {**file_node("root", machine.root, "qcow2"), "backing": base}
    yield from _blockdev(root)
    # With a foreign kernel, QEMU's own loader is the first to boot from, and takes that number.
    first = "bootindex=0," if is_booted else ""
    yield from ("-device", f"virtio-blk-pci,drive=root,{first}addr={ROOT_SLOT:#x}")


def _control_nic(number: int) -> Iterator[str]:
    """Restricted: we get in by a port that the host's kernel picks, on loopback only; the guest gets nowhere."""
    yield from ("-netdev", "user,id=control,restrict=on,ipv6=off,hostfwd=tcp:127.0.0.1:0-:22")
    yield from (
        "-device",
        f"virtio-net-pci,netdev=control,mac={nic_address(0, number)},romfile=,addr={_CONTROL_SLOT:#x}",
    )


def _devices(profile: Profile, machine: MachineFiles) -> Iterator[str]:
    slots = iter(range(_FIRST_FREE_SLOT, MODULES_SLOT))
    yield from ("-object", "rng-builtin,id=rng", "-device", f"virtio-rng-pci,rng=rng,addr={next(slots):#x}")
    yield from ("-device", f"pvpanic-pci,addr={next(slots):#x}")
    yield from ("-device", "vmgenid,guid=auto") if board(profile.arch).has_vmgenid else ()
    yield from _disks(profile, machine, slots)
    yield from _nics(profile, machine, slots)
    yield from _hot_ports(profile, slots)
    if machine.seed is not None:
        yield from _blockdev(file_node("seed", machine.seed, "raw", read_only=True))
        yield from ("-device", f"virtio-blk-pci,drive=seed,serial=seed,addr={next(slots):#x}")


def _modules(machine: MachineFiles) -> Iterator[str]:
    """Written to in an overlay: a test may add a module and index anew."""
    if machine.modules is None or machine.modules_base is None:
        return
    base = file_node("modules-base", machine.modules_base, "raw", read_only=True)
    yield from _blockdev({**file_node("modules", machine.modules, "qcow2"), "backing": base})
    yield from ("-device", f"virtio-blk-pci,drive=modules,serial=lisa-ci-modules,addr={MODULES_SLOT:#x}")


def _disks(profile: Profile, machine: MachineFiles, slots: Iterator[int]) -> Iterator[str]:
    buses = {disk.bus for disk in profile.disks}
    if Bus.SCSI in buses:
        asked = max(disk.queues for disk in profile.disks if disk.bus is Bus.SCSI)
        yield from ("-device", f"virtio-scsi-pci,id=scsi,addr={next(slots):#x}{_queues('num_queues', asked)}")
    if Bus.SATA in buses:
        yield from ("-device", f"ich9-ahci,id=sata,addr={next(slots):#x}")
    used = dict.fromkeys(Bus, 0)
    files = iter(machine.disks)
    for number, (disk, nodes) in enumerate(disk_nodes(profile)):
        node, serial, unit = nodes[0], DISK_SERIAL.format(number), used[disk.bus]
        used[disk.bus] += 1
        for each in nodes:
            yield from _blockdev(file_node(each, next(files), "qcow2"))
        match disk.bus:
            case Bus.VIRTIO:
                queues = _queues("num-queues", disk.queues)
                device = f"virtio-blk-pci,drive={node},serial={serial},addr={next(slots):#x}{queues}"
            case Bus.NVME:
                yield from _nvme(disk, number, nodes, next(slots))
                continue
            case Bus.SCSI:
                device = f"scsi-hd,bus=scsi.0,scsi-id={unit},drive={node},serial={serial}"
            case Bus.SATA:
                device = f"ide-hd,bus=sata.{unit},drive={node},serial={serial}"
        yield from ("-device", device)


def _queues(setting: str, count: int) -> str:
    return f",{setting}={count}" if count else ""


def _nvme(disk: Disk, number: int, nodes: Sequence[str], slot: int) -> Iterator[str]:
    """A controller, its namespaces, and an interrupt for each I/O queue beside that of the admin queue.

    Virtual functions need a subsystem, whose namespaces all of them can attach, a port of PCI Express, and queues and
    interrupts beside the controller's own (QEMU's documentation, devices/nvme.rst).
    """
    serial = DISK_SERIAL.format(number)
    if disk.vfs:
        own = disk.queues or 2
        port = HOT_PORTS + number + 1
        yield from ("-device", f"pcie-root-port,id=vfs{number},chassis={port},slot={port},addr={slot:#x}")
        yield from ("-device", f"nvme-subsys,id=subsystem{number},nqn={serial}")
        flexible = f"sriov_max_vfs={disk.vfs},sriov_vq_flexible={2 * disk.vfs},sriov_vi_flexible={disk.vfs}"
        own_ones = f"max_ioqpairs={own + 2 * disk.vfs},msix_qsize={own + 1 + disk.vfs}"
        controller = f"nvme,id=nvme{number},serial={serial},bus=vfs{number},subsys=subsystem{number}"
        yield from ("-device", f"{controller},{flexible},{own_ones}")
        for namespace, node in enumerate(nodes, start=1):
            yield from ("-device", f"nvme-ns,bus=nvme{number},nsid={namespace},drive={node},shared=on")
        return
    queues = f"{_queues('max_ioqpairs', disk.queues)}{_queues('msix_qsize', disk.queues and disk.queues + 1)}"
    controller = f"nvme,id=nvme{number},serial={serial},addr={slot:#x}{queues}"
    if len(nodes) == 1:
        yield from ("-device", f"{controller},drive={nodes[0]}")
        return
    yield from ("-device", controller)
    for namespace, node in enumerate(nodes, start=1):
        yield from ("-device", f"nvme-ns,bus=nvme{number},nsid={namespace},drive={node}")


def _nics(profile: Profile, machine: MachineFiles, slots: Iterator[int]) -> Iterator[str]:
    """Each has a network of its own: two in the control network would take the route to us away.

    Those with several queues get taps, whose file descriptors ``with_taps`` opens in this order.
    """
    descriptors = itertools.count(taps.FIRST_FD)
    links = iter(machine.links)
    for number, nic in enumerate(profile.nics, start=1):
        address = nic_address(number, machine.number)
        if nic.link:
            yield from _link(profile, number, next(links), next(slots), machine.number)
            continue
        queues = ""
        if nic.queues > 1:
            numbers = ":".join(str(next(descriptors)) for _ in range(nic.queues))
            yield from ("-netdev", f"tap,id=nic{number},fds={numbers}")
            # An interrupt for each queue of a pair, and two for the rest.
            queues = f",mq=on,vectors={2 * nic.queues + 2}"
        else:
            restrict = "off" if nic.outbound else "on"
            yield from ("-netdev", f"user,id=nic{number},restrict={restrict},ipv6=off,net=10.0.{100 + number}.0/24")
        device = f"{NIC_DEVICES[nic.model]},netdev=nic{number},mac={address},romfile={queues}"
        yield from ("-device", f"{device},addr={next(slots):#x}")


def link_device(profile: Profile, number: int, machine: int) -> Mapping[str, str]:
    """A NIC of the link, as QMP's ``device_add`` takes it: where machines take hardware, it has a port of its own."""
    device = {"driver": NIC_DEVICES[profile.nics[number - 1].model], "id": LINK_DEVICE.format(number)}
    device |= {"netdev": f"link{number}", "mac": nic_address(number, machine), "romfile": ""}
    return {**device, "bus": f"link-port{number}"} if profile.hotplug else device


def _link(profile: Profile, number: int, descriptor: int, slot: int, machine: int) -> Iterator[str]:
    """Datagrams keep their bounds: a packet that is dropped half sent, as a NIC leaves, cannot garble those behind."""
    yield from ("-netdev", f"socket,id=link{number},fd={descriptor}")
    described = link_device(profile, number, machine)
    device = ",".join((described["driver"], *(f"{k}={v}" for k, v in described.items() if k != "driver")))
    if profile.hotplug:
        place = 2 * MAX_DEVICES + number
        yield from ("-device", f"pcie-root-port,id={described['bus']},chassis={place},slot={place},addr={slot:#x}")
        yield from ("-device", device)
    else:
        yield from ("-device", f"{device},addr={slot:#x}")


def _hot_ports(profile: Profile, slots: Iterator[int]) -> Iterator[str]:
    """q35's own bus takes nothing while the machine runs."""
    for port in range(HOT_PORTS if profile.hotplug else 0):
        yield from ("-device", f"pcie-root-port,id=hot{port},chassis={port + 1},slot={port + 1},addr={next(slots):#x}")


def _console(path: Path) -> Iterator[str]:
    yield from ("-chardev", f"file,id=console,path={_escaped(path)},append=on", "-serial", "chardev:console")


def _credentials(credentials: Mapping[str, Path]) -> Iterator[str]:
    """By fw_cfg and not by SMBIOS: systemd 252 silently cuts an SMBIOS table at about 4 KiB."""
    for name, path in credentials.items():
        yield from ("-fw_cfg", f"name=opt/io.systemd.credentials/{name},file={_escaped(path)}")


def file_node(node: str, path: Path, driver: str, *, read_only: bool = False) -> dict[str, Any]:
    """A block device over a file, as ``-blockdev`` and QMP's ``blockdev-add`` take it."""
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
