"""A machine's hardware as its kernel sees it: the script that tells it, and what it said as values.

The machine may lie, and may print anything: every line is checked, lines and their lengths are bounded, and what is
not understood is as if it were not there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

_LINES: Final = 4000
_MIB: Final = 1 << 20
_SECTOR: Final = 512
_HEX: Final = re.compile(r"0x[0-9a-f]{1,16}")
_RANGE: Final = re.compile(r"([0-9]{1,6})(?:-([0-9]{1,6}))?")
_ARCHES: Final = {"amd64": "x86_64", "arm64": "aarch64"}

# One fact a line, from /sys and the shell's own words; dd, tr and od only for what is binary. A device on a bus that
# has no driver is told as "undriven". A fact that cannot be read is not told.
HARDWARE: Final = r"""
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin LC_ALL=C
export PATH LC_ALL
say() { printf '%s=%s\n' "$1" "$2"; }
first() { value=; [ -r "$1" ] && read -r value <"$1"; :; }
count() { number=0; for entry; do [ -e "$entry" ] && number=$((number + 1)); done; }
place() { (cd -P "$1" 2>/dev/null && pwd -P); }
exec 2>/dev/null
say arch "$(uname -m)"
if [ -d /sys/firmware/efi ]; then say firmware uefi; else say firmware bios; fi
first /sys/devices/system/cpu/present; say cpus "$value"
first /sys/devices/system/node/online; say nodes "$value"
for entry in /sys/class/tpm/tpm* /sys/firmware/acpi/tables/TPM2; do [ -e "$entry" ] && say tpm "$entry"; done
for entry in /sys/bus/pci/slots/*; do [ -e "$entry" ] && say slot "${entry##*/}"; done
count /sys/firmware/efi/efivars/*; say efi_variables "$number"
# Four bytes of attributes, then 1 where it is enforced. A firmware without the variable has no Secure Boot.
say secure_boot "$(od -An -v -tu1 /sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c)"
while read -r name value rest; do
  case $name in MemTotal:) say memory_kib "$value"; break ;; esac
done </proc/meminfo
first /sys/kernel/kexec_crash_size; say crash_bytes "$value"
for entry in /sys/firmware/memmap/*; do
  first "$entry/type"
  [ "$value" = "System RAM" ] || continue
  first "$entry/start"; start=$value
  first "$entry/end"; say ram "$start $value"
done
for disk in /sys/block/*; do
  [ -d "$disk" ] || continue
  name=${disk##*/}
  case $name in loop* | ram* | zram* | sr* | fd* | dm-* | md* | nbd*) continue ;; esac
  first "$disk/hidden"; [ "$value" != 1 ] || continue # one path of several to a disk
  serial=
  for file in "$disk/serial" "$disk/device/serial"; do # virtio, nvme
    first "$file"; serial=$value
    [ -z "$serial" ] || break
  done
  # SCSI's page 0x80: a header of four bytes, then the serial number.
  [ -n "$serial" ] || serial=$(dd if="$disk/device/vpd_pg80" bs=1 skip=4 count=252 | tr -d '\0')
  count "$disk"/mq/*
  # NVMe with several paths: the disk itself has no queues, each hidden path to it has.
  [ "$number" -gt 0 ] || for path in /sys/block/"${name%n*}"c*n"${name##*n}"; do
    case $name in nvme*) [ ! -e "$path" ] || { count "$path"/mq/* && break; } ;; esac
  done
  first "$disk/size"
  say disk "$(place "$disk")|$value|$number|$serial"
done
for card in /sys/class/net/*; do
  [ -e "$card/device" ] || continue
  driver=$(place "$card/device/driver")
  count "$card"/queues/rx-*
  first "$card/address"; say nic "$value|${driver##*/}|$number"
done
for device in /sys/bus/pci/devices/* /sys/bus/virtio/devices/* /sys/bus/scsi/devices/*:*:*:*; do
  [ -e "$device" ] && [ ! -e "$device/driver" ] || continue
  first "$device/class"; class=$value
  first "$device/vendor"; vendor=$value
  first "$device/device"; say undriven "$class|$vendor|$value|$(place "$device")"
done
for device in /sys/bus/pci/devices/*; do
  [ -e "$device/sriov_totalvfs" ] || [ -e "$device/physfn" ] || [ -e "$device/net" ] || continue
  first "$device/class"; class=$value value=
  first "$device/sriov_totalvfs"; total=${value:-0} enslaved=0
  [ -e "$device/physfn" ] && enslaved=1
  # A virtual function of which the machine has not the physical one: it serves another card.
  for card in "$device"/net/*/master; do [ -e "$card/device" ] && enslaved=1; done
  say vfs "$class|$total|$enslaved"
done
for device in /sys/bus/pci/devices/*; do
  first "$device/class"; class=$value
  first "$device/vendor"
  case $class in 0x03* | 0x0580* | 0x12* | 0x0207*) say special "$class|$value" ;; esac
done
for device in /sys/class/infiniband/*; do [ -e "$device" ] && say verbs "${device##*/}"; done
for device in sev-guest tdx_guest; do [ -e "/sys/class/misc/$device" ] && say report "$device"; done
# What the kernel says of itself at its start (arch/x86/coco, since Linux 5.17), where its log still has it.
say encryption "$(dmesg | sed -n 's/.*Memory Encryption Features active: *//p' | tail -n 1)"
say end
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenDisk:
    """``bus`` as in ``model.Bus``, or '' for one of another kind. ``queues`` 0 = the kernel does not tell.

    ``controller`` is the same for the namespaces of one NVMe controller.
    """

    bus: str
    controller: str = ""
    serial: str
    size_mib: int
    queues: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenNic:
    address: str
    driver: str
    queues: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """``map_mib`` is what the firmware's memory map gives, 0 where the kernel does not pass it on; ``kernel_mib`` what
    the kernel uses. ``undriven``: ``nic``, or the bus of disks, of which a device has no driver. ``secure_boot`` None:
    the kernel does not show the firmware's variables. ``slots`` take devices while the machine runs. ``nvme_vfs`` are
    the virtual functions that one controller can be asked for; ``nic_vfs`` those of all cards, asked for or at work.
    ``confidential`` as in ``model.Confidential``.
    """

    arch: str = ""
    firmware: str = ""
    cores: int = 0
    map_mib: int = 0
    kernel_mib: int = 0
    disks: tuple[SeenDisk, ...] = ()
    nics: tuple[SeenNic, ...] = ()
    undriven: frozenset[str] = frozenset()
    numa_nodes: int = 1
    has_tpm: bool = False
    secure_boot: bool | None = False
    slots: int = 0
    nvme_vfs: int = 0
    nic_vfs: int = 0
    gpus: int = 0
    fpgas: int = 0
    has_rdma: bool = False
    confidential: str = "none"


def read_hardware(text: str) -> Hardware | None:
    """What ``HARDWARE`` printed; None where it did not come to its end."""
    told: dict[str, list[str]] = {}
    for line in text.split("\n", _LINES)[:_LINES]:
        name, equals, value = line.partition("=")
        if equals:
            told.setdefault(name, []).append(value.strip()[:1000])
    if "end" not in told:
        return None

    def one(name: str) -> str:
        return told.get(name, [""])[0]

    special = [_special(text) for text in told.get("special", ())]
    vfs = [(kind, _number(total), _number(serving)) for kind, total, serving in map(_vfs, told.get("vfs", ()))]
    return Hardware(
        arch=_ARCHES.get(one("arch"), one("arch")),
        firmware=one("firmware"),
        cores=_counted(one("cpus")),
        map_mib=sum(map(_range_bytes, told.get("ram", ()))) // _MIB,
        kernel_mib=(_number(one("memory_kib")) * 1024 + _number(one("crash_bytes"))) // _MIB,
        disks=tuple(map(_disk, told.get("disk", ()))),
        nics=tuple(map(_nic, told.get("nic", ()))),
        numa_nodes=max(1, _counted(one("nodes"))),
        has_tpm="tpm" in told,
        secure_boot=_secure_boot(
            one("secure_boot"), can_tell=one("firmware") != "uefi" or _number(one("efi_variables")) > 0
        ),
        slots=len(told.get("slot", ())),
        nvme_vfs=max((total for kind, total, _ in vfs if kind == "nvme"), default=0),
        nic_vfs=max(sum(n[1] for n in vfs if n[0] == "nic"), sum(n[2] for n in vfs if n[0] == "nic")),
        undriven=frozenset(filter(None, map(_undriven, told.get("undriven", ())))),
        gpus=special.count("gpu"),
        fpgas=special.count("fpga"),
        has_rdma="verbs" in told or "rdma" in special,
        confidential=_confidential(told.get("report", ()), one("encryption")),
    )


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else 0


def _counted(ranges: str) -> int:
    """How many numbers a list like ``0-3,8`` names."""
    total = 0
    for part in ranges.split(","):
        found = _RANGE.fullmatch(part)
        if found:
            total += max(0, int(found[2] or found[1]) - int(found[1]) + 1)
    return total


def _range_bytes(text: str) -> int:
    start, _, end = text.partition(" ")
    if not _HEX.fullmatch(start) or not _HEX.fullmatch(end):
        return 0
    return max(0, int(end, 16) - int(start, 16) + 1)


def _parts(text: str, count: int) -> Sequence[str]:
    parts = text.split("|", count - 1)
    return [*parts, *[""] * (count - len(parts))]


def _vfs(text: str) -> tuple[str, str, str]:
    """Kind of a PCI function, the virtual functions that it can be asked for, 1 for one that is virtual itself."""
    kind, total, serving = _parts(text, 3)
    return "nic" if kind.startswith("0x02") else _CLASSES.get(kind[:6], ""), total, serving


# PCI classes (pci.ids): displays, processing accelerators, memory controllers, InfiniBand. Emulated screens and those
# of management controllers are no GPUs. The suite gpu has the same table.
_SCREENS: Final = frozenset({"0x1234", "0x1af4", "0x1013", "0x15ad", "0x1414", "0x1b36", "0x1a03", "0x102b"})
_GPU_MAKERS: Final = frozenset({"0x10de", "0x1002", "0x1da3"})
_FPGA_MAKERS: Final = frozenset({"0x10ee", "0x8086", "0x1172"})


def _special(text: str) -> str:
    """``gpu``, ``fpga`` or ``rdma``; '' for another PCI function."""
    kind, vendor = _parts(text, 2)
    match kind[:6]:
        case "0x0300" | "0x0302" | "0x0380":
            return "" if vendor in _SCREENS else "gpu"
        case "0x1200":
            return "gpu" if vendor in _GPU_MAKERS else "fpga" if vendor in _FPGA_MAKERS else ""
        case "0x0580":
            return "fpga" if vendor == "0x10ee" else ""
        case "0x0207":
            return "rdma"
    return ""


def _confidential(devices: Sequence[str], features: str) -> str:
    """By the device that gives reports, else by what the kernel says of its memory: ``AMD SEV SEV-ES SEV-SNP``."""
    if "sev-guest" in devices or "SEV-SNP" in features.split():
        return "sev-snp"
    if "tdx_guest" in devices or "TDX" in features.split():
        return "tdx"
    return "none"


def _disk(text: str) -> SeenDisk:
    place, sectors, queues, serial = _parts(text, 4)
    size = _number(sectors) * _SECTOR // _MIB
    controller = place.rpartition("/")[0]
    return SeenDisk(
        bus=_bus_of(place), controller=controller, serial=serial.strip(), size_mib=size, queues=_number(queues)
    )


def _bus_of(place: str) -> str:
    """The bus of a device at its place below /sys/devices."""
    for bus, mark in (("nvme", r"/nvme"), ("sata", r"/ata[0-9]+/"), ("scsi", r"/host[0-9]+/"), ("virtio", r"/virtio")):
        if re.search(mark, place):
            return bus
    return ""


def _secure_boot(octets: str, *, can_tell: bool) -> bool | None:
    words = octets.split()
    if len(words) == 5:
        return words[4] == "1"
    return False if can_tell and not words else None


def _nic(text: str) -> SeenNic:
    address, driver, queues = _parts(text, 3)
    return SeenNic(address=address.lower(), driver=driver, queues=_number(queues))


# Device ids of virtio 1.2, section 5; PCI classes by their first four digits.
_VIRTIO: Final[Mapping[str, str]] = {"0x0001": "nic", "0x0002": "virtio", "0x0008": "scsi"}
_VIRTIO_PCI: Final[Mapping[str, str]] = {
    "0x1000": "nic",
    "0x1041": "nic",
    "0x1001": "virtio",
    "0x1042": "virtio",
    "0x1004": "scsi",
    "0x1048": "scsi",
}
_CLASSES: Final[Mapping[str, str]] = {"0x0108": "nvme", "0x0106": "sata", "0x0100": "scsi", "0x0107": "scsi"}


def _undriven(text: str) -> str:
    """What a device without a driver would be: ``nic``, a bus of disks, or '' for anything else."""
    kind, vendor, device, place = _parts(text, 4)
    if not kind:
        return _bus_of(place) if re.search(r"/host[0-9]+/", place) else _VIRTIO.get(device, "")
    if vendor == "0x1af4":
        return _VIRTIO_PCI.get(device, "")
    return "nic" if kind.startswith("0x02") else _CLASSES.get(kind[:6], "")
