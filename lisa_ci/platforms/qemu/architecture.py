"""What differs between the architectures that machines of QEMU may have."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from lisa_ci.model import Arch


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """A machine type and what belongs to it. ``console`` is the kernel's name of the first serial port.

    ``emulated_cpu``: the model where no KVM helps. ``has_vmgenid``: a device by which a kernel learns of a restore.
    ``firmware`` is the program of ``host.find`` that gives UEFI.
    """

    emulator: str
    machine: str
    emulated_cpu: str
    console: str
    firmware: str
    has_vmgenid: bool = True


BOARDS: Final[Mapping[Arch, Board]] = {
    # With these two features kernel and libc copy and clear memory by "rep movsb" and "rep stosb": fast on a processor,
    # and byte by byte where QEMU emulates. Without them a machine reads and writes files several times as fast.
    Arch.X86_64: Board(
        emulator="qemu-system-x86_64",
        machine="q35,graphics=off",  # SeaBIOS and boot loaders talk to the serial console then
        emulated_cpu="max,erms=off,fsrm=off",
        console="ttyS0",
        firmware="ovmf",
    ),
    # Not "max": its pointer authentication slows emulation down (QEMU's docs/system/arm/cpu-features.rst).
    Arch.AARCH64: Board(
        emulator="qemu-system-aarch64",
        machine="virt,gic-version=max",
        emulated_cpu="neoverse-n1",
        console="ttyAMA0",
        firmware="aavmf",
        has_vmgenid=False,
    ),
}


def board(arch: Arch) -> Board:
    return BOARDS[arch]


def is_native(arch: Arch) -> bool:
    """Whether this host's processors are of that architecture, so that KVM may help."""
    return platform.machine() in {arch.value, {"aarch64": "arm64", "x86_64": "AMD64"}[arch.value]}
