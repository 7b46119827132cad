"""The platform: what this host lacks for a profile, and machines of it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from lisa_ci import host, process
from lisa_ci.errors import ProvisioningError
from lisa_ci.events import Emit
from lisa_ci.model import Access, Bus, Lease, Leftover, Profile, Subject, Timeouts
from lisa_ci.platforms.qemu import scratch, storage, tpm
from lisa_ci.platforms.qemu.architecture import board
from lisa_ci.platforms.qemu.command_line import needs_uefi, shape_problems, with_taps
from lisa_ci.platforms.qemu.diagnosis import diagnose
from lisa_ci.platforms.qemu.group import run_machines
from lisa_ci.platforms.qemu.machine import Member
from lisa_ci.platforms.qemu.snapshot import load_all, save_all
from lisa_ci.protocols import Machine

_PROGRAMS: Final = ("qemu-img", "setpriv")
_TAP_LIMIT: Final = timedelta(seconds=20)
_OVERHEAD_MIB: Final = 256  # QEMU's own memory beside the guest's


class QemuMachines:
    """The machines of a leg; implements ``protocols.Machines`` and all its abilities.

    ``keep``: they outlive us.
    """

    def __init__(self, parts: Sequence[Member], *, boot: timedelta, keep: bool = False) -> None:
        self._parts = parts
        self._boot = boot
        self._keep = keep
        self.members: Sequence[Machine] = tuple(part.ssh for part in parts)

    def end_command(self) -> str:
        return f"lisa-ci sweep {shlex.join(part.id for part in self._parts)}" if self._keep else ""

    def snapshot_problem(self) -> str:
        return self._plugged or "; ".join(filter(None, (part.snapshots.problem() for part in self._parts)))

    @property
    def _plugged(self) -> str:
        """QEMU brings a state back only to the devices that it was kept of."""
        names = [name for part in self._parts for name in (*part.hot_plug.names, *part.hot_add.names)]
        out = [name for part in self._parts for name in part.links.taken_out]
        told = f"{', '.join(names)} was plugged in" if names else ""
        return f"{told or ', '.join(out) + ' was taken out'}" if names or out else ""

    def snapshot(self) -> None:
        save_all([part.snapshots for part in self._parts])

    def restore(self, *, timeout: timedelta) -> None:
        if self._plugged:
            raise ProvisioningError(f"there is no way back to the snapshot: {self._plugged}")
        load_all([part.snapshots for part in self._parts], timeout)
        for part in self._parts:
            part.links.mend()

    def add_disk(self, machine: Machine, *, size_mib: int) -> str:
        return self._part(machine).hot_plug.add_disk(size_mib)

    def add_nic(self, machine: Machine) -> str:
        return self._part(machine).hot_plug.add_nic()

    def remove_device(self, machine: Machine, name: str, *, timeout: timedelta) -> bool:
        return self._part(machine).hot_plug.remove(name, timeout)

    def plug_disk(self, machine: Machine, *, size_mib: int, bus: Bus) -> str:
        return self._part(machine).hot_plug.plug_disk(size_mib, bus)

    def pull_disk(self, machine: Machine, name: str, *, timeout: timedelta) -> bool:
        return self._part(machine).hot_plug.pull(name, timeout)

    def return_disk(self, machine: Machine, name: str) -> None:
        self._part(machine).hot_plug.put_back(name)

    def add_processor(self, machine: Machine) -> str:
        return self._part(machine).hot_add.add_processor()

    def add_memory(self, machine: Machine, *, size_mib: int) -> str:
        return self._part(machine).hot_add.add_memory(size_mib)

    def removal_problem(self, machine: Machine, name: str) -> str:
        return self._part(machine).hot_add.removal_problem(name)

    def remove_added(self, machine: Machine, name: str, *, timeout: timedelta) -> bool:
        return self._part(machine).hot_add.remove(name, timeout)

    def links(self, machine: Machine) -> Sequence[str]:
        return self._part(machine).links.addresses

    def set_link(self, machine: Machine, name: str, *, up: bool) -> None:
        self._part(machine).links.set_carrier(name, on=up)

    def take_out(self, machine: Machine, name: str, *, timeout: timedelta) -> bool:
        return self._part(machine).links.take_out(name, timeout)

    def put_back(self, machine: Machine, name: str) -> None:
        self._part(machine).links.put_back(name)

    def _part(self, machine: Machine) -> Member:
        return next(part for part in self._parts if part.ssh is machine)

    def diagnose(self) -> str:
        told = [(part.ssh.role, diagnose(part.qmp, part.life, boot=self._boot)) for part in self._parts]
        several = len(self._parts) > 1
        return "; ".join(f"{role}: {did}" if several else did for role, did in told if did)


class QemuPlatform:
    """Implements ``protocols.Platform``."""

    def problems(self, profile: Profile) -> Sequence[str]:
        found, parts = shape_problems(profile), board(profile.arch)
        missing = [program for program in (parts.emulator, *_PROGRAMS) if host.find(program) is None]
        firmware = storage.find_firmware
        if needs_uefi(profile) and firmware(is_secure=profile.secure_boot, arch=profile.arch) is None:
            missing.append(parts.firmware)
        if profile.tpm and host.find(tpm.PROGRAM) is None:
            missing.append(tpm.PROGRAM)
        if missing:
            found.append(f"this host lacks {', '.join(missing)}; {host.install_hint(missing)}")
        found += _tap_problems(profile)
        available = available_mib(Path("/proc/meminfo").read_text())
        needed = profile.machines * (profile.memory_mib + _OVERHEAD_MIB)
        if available is not None and available < needed:
            found.append(
                f"profile {profile.name} needs {needed} MiB of memory, this host has {available} MiB available"
            )
        return found

    @contextmanager
    def provision(
        self, profile: Profile, subject: Subject, access: Access, lease: Lease, *, timeouts: Timeouts, emit: Emit
    ) -> Iterator[QemuMachines]:
        problems = self.problems(profile)
        if problems:
            raise ProvisioningError("; ".join(problems))
        with run_machines(profile, subject, access, lease, timeouts=timeouts, emit=emit) as members:
            yield QemuMachines(members, boot=timeouts.boot, keep=lease.keep)

    def sweep(self, *, now: datetime) -> Sequence[Leftover]:
        return scratch.sweep(now)


def _tap_problems(profile: Profile) -> list[str]:
    """A tap is tried: whether it is allowed depends on the kernel, its security modules, and the container around."""
    command = with_taps(profile, ["true"])
    if len(command) == 1:
        return []
    tried = process.run(command, timeout=_TAP_LIMIT)
    if tried.exit == 0:
        return []
    said = " ".join(tried.stderr.decode("utf-8", "replace").split())[-200:] or f"exit {tried.exit}"
    hint = "/dev/net/tun has to be open to this user, and user namespaces allowed (on Ubuntu: sysctl"
    hint += " kernel.apparmor_restrict_unprivileged_userns=0)"
    return [f"profile {profile.name} has a NIC with several queues, which needs a tap device: {said}; {hint}"]


def available_mib(meminfo: str) -> int | None:
    """``MemAvailable`` of /proc/meminfo in MiB; None where the kernel does not tell."""
    for line in meminfo.splitlines():
        name, _, value = line.partition(":")
        if name == "MemAvailable":
            return int(value.split()[0]) // 1024
    return None
