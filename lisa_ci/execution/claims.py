"""What a profile claims, checked in the machine before a case that asked for it is believed.

One shell script tells the hardware as the kernel sees it; ``verify`` compares. A claim is about the hardware: a device
that is there and has no driver, or a processor that is there and was never brought up, is the image's own failure,
which cases find. What is not there at all makes the claim false, and then nothing is known about the image.

Not checked: ``platform`` and ``outbound``, which no machine can tell about itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from itertools import islice, zip_longest
from typing import Final

from lisa_ci.execution.hardware import HARDWARE, Hardware, SeenDisk, read_hardware
from lisa_ci.model import DISK_SERIAL, Bus, Capability, Case, Disk, Profile, Suite, nic_address
from lisa_ci.protocols import Machine

# Firmware keeps some of the memory for itself, OVMF with Secure Boot most of all (its map shows about 20 MiB less).
MEMORY_SLACK_MIB: Final = 64
MEMORY_SLACK: Final = 1 / 16
# Where the kernel does not pass on the firmware's map, its own page tables and image are missing as well.
MEMORY_SLACK_WITHOUT_MAP: Final = 1 / 4
_SHOWN: Final = 60
_DRIVERS: Final = {"virtio": ("virtio_net",), "rtl8139": ("8139cp", "8139too")}  # else named as the model
_UNTOLD: Final = "the machine does not tell its hardware"


def ask(machine: Machine, profile: Profile, *, others: Sequence[Machine] = (), timeout: timedelta) -> Mapping[str, str]:
    """Capability -> why the profile claims it falsely. MachineLostError where a machine does not answer.

    ``machine`` is the one that cases run in, ``others`` are those of the leg beside it.
    """
    told = [
        one.run("sh", "-c", HARDWARE, timeout=timeout).output.decode("utf-8", "replace") for one in (machine, *others)
    ]
    false = dict(verify(profile, told[0]))
    for number, text in enumerate(told):
        if why := _links(profile, text, number):
            false.setdefault("links", why)
    if len(told) < profile.machines:
        false["machines"] = f"{_claims(profile, 'machines')}, there is {len(told)}"
    return false


def verify(profile: Profile, text: str) -> Mapping[str, str]:
    """Capability -> why it is claimed falsely, of what ``HARDWARE`` printed in a machine of the profile.

    A text that is cut short makes every claim that is checked a false one.
    """
    seen = read_hardware(text)
    if seen is None:
        return {name: f"{_claims(profile, name)}, {_UNTOLD}" for name in profile.capabilities if name in _CHECKED}
    return {name: why for name, check in _CHECKED.items() if (why := check(profile, seen))}


def claimed_falsely(case: Case, suite: Suite, false: Mapping[str, str]) -> str:
    """Why nothing is known of the case: what it or its suite asks for is claimed falsely; '' where all is true."""
    needed = dict.fromkeys([*suite.requires, *case.requires])
    return "; ".join(dict.fromkeys(false[name] for name in needed if name in false))


# ---- one capability after the other ---------------------------------------------------------------------------------

Check = Callable[[Profile, Hardware], str]


def _claims(profile: Profile, name: str) -> str:
    return f"the profile claims {name} {_shown(profile.capabilities[name])}"


def _shown(value: Capability | None) -> str:
    return "nothing" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _equal(name: str, told: Callable[[Hardware], Capability | None]) -> tuple[str, Check]:
    """A claim that has to be exactly right; a machine that does not tell has not confirmed it."""

    def check(profile: Profile, seen: Hardware) -> str:
        found = told(seen)
        if found == profile.capabilities[name]:
            return ""
        return f"{_claims(profile, name)}, the machine says {_shown(found)[:_SHOWN]}"

    return name, check


def _at_least(name: str, told: Callable[[Hardware], int]) -> tuple[str, Check]:
    def check(profile: Profile, seen: Hardware) -> str:
        found = told(seen)
        return "" if found >= int(profile.capabilities[name]) else f"{_claims(profile, name)}, the machine has {found}"

    return name, check


def _memory(profile: Profile, seen: Hardware) -> str:
    if seen.map_mib:
        found, slack = seen.map_mib, max(MEMORY_SLACK_MIB, int(profile.memory_mib * MEMORY_SLACK))
    else:
        found, slack = seen.kernel_mib, int(profile.memory_mib * MEMORY_SLACK_WITHOUT_MAP)
    if found >= profile.memory_mib - slack:
        return ""
    return f"{_claims(profile, 'memory_mib')}, the machine has {found}"


def _nics(profile: Profile, seen: Hardware) -> str:
    claimed = 1 + len(profile.nics)
    has_undriven = "nic" in seen.undriven
    if len(seen.nics) < claimed and not has_undriven:
        return f"{_claims(profile, 'nics')}, the machine has {len(seen.nics)}"
    if not profile.names_devices:
        return ""
    by_address = {nic.address: nic for nic in seen.nics}
    models = ("virtio", *(nic.model for nic in profile.nics))
    for number, model in enumerate(models):
        found = by_address.get(nic_address(number))
        wanted = f"the profile claims a NIC {model} with the address {nic_address(number)}"
        if found is None and not has_undriven:
            return f"{wanted}, the machine has none"
        if found is not None and found.driver not in _DRIVERS.get(model, (model,)):
            return f"{wanted}, the machine has {found.driver[:_SHOWN] or 'no driver'} there"
    return ""


def _links(profile: Profile, text: str, machine: int) -> str:
    """The first NIC of a link that is missing in a machine. What a link leads to, scenarios find out."""
    seen = read_hardware(text)
    if not profile.capabilities["links"] or not profile.names_devices:
        return ""
    if seen is None:
        return f"{_claims(profile, 'links')}, {_UNTOLD}"
    addresses = {nic.address for nic in seen.nics}
    for number, nic in enumerate(profile.nics, start=1):
        wanted = nic_address(number, machine)
        if nic.link and wanted not in addresses and "nic" not in seen.undriven:
            return f"{_claims(profile, 'links')}, machine {machine + 1} has no NIC with the address {wanted}"
    return ""


def _disks_on(*buses: Bus) -> Callable[[Profile, Hardware], str]:
    """The first thing wrong with the data disks of these buses: count, size, bus, namespaces."""

    def check(profile: Profile, seen: Hardware) -> str:
        claimed = [(number, disk) for number, disk in enumerate(profile.data_disks) if disk.bus in buses]
        claimed = [(number, disk) for number, disk in claimed if disk.bus not in seen.undriven]
        if not claimed:
            return ""
        problems = _named(claimed, seen.disks) if profile.names_devices else _counted(claimed, seen.disks)
        name = "disks" if len(buses) > 1 else f"disk_{buses[0].value}"
        return next((f"{_claims(profile, name)}, {problem}" for problem in problems), "")

    return check


def _named(claimed: Iterable[tuple[int, Disk]], disks: Iterable[SeenDisk]) -> Iterator[str]:
    """By the serial numbers that machines made for a profile give to their disks."""
    by_serial: dict[str, list[SeenDisk]] = {}
    for seen in disks:
        by_serial.setdefault(seen.serial, []).append(seen)
    there = sum(DISK_SERIAL.format(number) in by_serial for number, _ in claimed)
    for number, disk in claimed:
        serial = DISK_SERIAL.format(number)
        found = by_serial.get(serial, [])
        if not found:
            yield f"the machine has {there}: {serial} is not there"
        elif any(one.bus != disk.bus for one in found):
            yield f"{serial} is on bus {found[0].bus or 'unknown'}, not {disk.bus.value}"
        elif any(one.size_mib != disk.size_mib for one in found):
            wrong = next(one.size_mib for one in found if one.size_mib != disk.size_mib)
            yield f"{serial} has {wrong} MiB, not {disk.size_mib}"


def _counted(claimed: Iterable[tuple[int, Disk]], disks: tuple[SeenDisk, ...]) -> Iterator[str]:
    """A machine of others has disks with names of its own: enough of them, beside the one that it runs from."""
    wanted = [disk for _, disk in claimed]
    if len(disks) < len(wanted) + 1:
        yield f"the machine has {max(0, len(disks) - 1)} beside its own"
        return
    for bus in dict.fromkeys(disk.bus for disk in wanted):
        sizes = sorted((disk.size_mib for disk in wanted if disk.bus is bus), reverse=True)
        found = sorted((seen.size_mib for seen in disks if seen.bus == bus), reverse=True)
        for size, has in islice(zip_longest(sizes, found), len(sizes)):
            if has is None:
                yield f"the machine has {len(found)} on bus {bus.value}"
            elif has < size:
                yield f"the machine has one of {has} MiB, not {size}"


def _namespaces(profile: Profile, seen: Hardware) -> str:
    claimed = int(profile.capabilities["nvme_namespaces"])
    if not claimed or Bus.NVME in seen.undriven:
        return ""
    controllers = Counter(disk.controller for disk in seen.disks if disk.bus == Bus.NVME)
    found = max(controllers.values(), default=0)
    return "" if found >= claimed else f"{_claims(profile, 'nvme_namespaces')}, the machine has {found}"


def _nvme_vfs(profile: Profile, seen: Hardware) -> str:
    """Virtual functions that a controller can be asked for, whether or not any was made."""
    claimed = int(profile.capabilities["nvme_vfs"])
    if not claimed or Bus.NVME in seen.undriven:
        return ""
    return "" if seen.nvme_vfs >= claimed else f"{_claims(profile, 'nvme_vfs')}, the machine has {seen.nvme_vfs}"


def _nic_vfs(profile: Profile, seen: Hardware) -> str:
    claimed = int(profile.capabilities["nic_vfs"])
    return "" if seen.nic_vfs >= claimed else f"{_claims(profile, 'nic_vfs')}, the machine has {seen.nic_vfs}"


def _disk_queues(profile: Profile, seen: Hardware) -> str:
    """A disk that was asked for with queues has them; by its serial number where that is known."""
    for number, disk in enumerate(profile.disks):
        serial = DISK_SERIAL.format(number)
        found = [
            one.queues
            for one in seen.disks
            if one.bus == disk.bus and (one.serial == serial or not profile.names_devices)
        ]
        if disk.queues > 1 and found and max(found) < disk.queues:
            return f"{_claims(profile, 'disk_queues')}, the machine has {max(found)} on bus {disk.bus.value}"
    return ""


def _nic_queues(profile: Profile, seen: Hardware) -> str:
    """A card that is not there at all is the business of ``nics``."""
    for number, nic in enumerate(profile.nics, start=1):
        address = nic_address(number)
        found = [one.queues for one in seen.nics if one.address == address or not profile.names_devices]
        if nic.queues > 1 and found and max(found) < nic.queues:
            return f"{_claims(profile, 'nic_queues')}, the machine has {max(found)}"
    return ""


def _rdma(profile: Profile, seen: Hardware) -> str:
    return f"{_claims(profile, 'rdma')}, the machine has no such device" if profile.rdma and not seen.has_rdma else ""


def _hotplug(profile: Profile, seen: Hardware) -> str:
    if not profile.hotplug or seen.slots:
        return ""
    return f"{_claims(profile, 'hotplug')}, the machine has no slot that takes a device"


_CHECKED: Final[Mapping[str, Check]] = dict(
    (
        _equal("arch", lambda seen: seen.arch),
        _equal("firmware", lambda seen: seen.firmware),
        _at_least("cores", lambda seen: seen.cores),
        ("memory_mib", _memory),
        ("disks", _disks_on(*Bus)),
        ("nics", _nics),
        *((f"disk_{bus.value}", _disks_on(bus)) for bus in Bus),
        ("nvme_namespaces", _namespaces),
        ("nvme_vfs", _nvme_vfs),
        ("nic_vfs", _nic_vfs),
        ("disk_queues", _disk_queues),
        ("nic_queues", _nic_queues),
        _at_least("numa_nodes", lambda seen: seen.numa_nodes),
        _equal("tpm", lambda seen: seen.has_tpm),
        _equal("secure_boot", lambda seen: seen.secure_boot),
        ("hotplug", _hotplug),
        _at_least("gpus", lambda seen: seen.gpus),
        _at_least("fpgas", lambda seen: seen.fpgas),
        ("rdma", _rdma),
        _equal("confidential", lambda seen: seen.confidential),
    )
)
