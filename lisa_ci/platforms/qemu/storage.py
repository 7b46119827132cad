"""The files of a machine's disks and firmware. The image is only ever a backing file, never opened to write."""

from __future__ import annotations

import os
import shutil
from datetime import timedelta
from pathlib import Path
from typing import Final

from lisa_ci import image, process
from lisa_ci.errors import ProvisioningError
from lisa_ci.model import Arch, Image, ImageFormat, Profile
from lisa_ci.platforms.qemu.command_line import FirmwareFile, disk_nodes

_MIB: Final = 1 << 20
_CREATE_LIMIT: Final = timedelta(seconds=60)
_ROOM_TO_GROW_BYTES: Final = 1 << 30  # what a machine writes into its overlays, at least

# Where distributions put UEFI code and its empty variable store: Debian and Ubuntu, Fedora, Arch, openSUSE.
_FIRMWARE: Final = (
    ("/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"),
    ("/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"),
    ("/usr/share/edk2/ovmf/OVMF_CODE_4M.qcow2", "/usr/share/edk2/ovmf/OVMF_VARS_4M.qcow2"),
    ("/usr/share/edk2/ovmf/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd"),
    ("/usr/share/edk2/x64/OVMF_CODE.4m.fd", "/usr/share/edk2/x64/OVMF_VARS.4m.fd"),
    ("/usr/share/edk2-ovmf/x64/OVMF_CODE.fd", "/usr/share/edk2-ovmf/x64/OVMF_VARS.fd"),
    ("/usr/share/qemu/ovmf-x86_64-code.bin", "/usr/share/qemu/ovmf-x86_64-vars.bin"),
)

# Code that asks for system management mode, and variables with Microsoft's keys: Debian and Ubuntu, Fedora, openSUSE.
_SECURE_FIRMWARE: Final = (
    ("/usr/share/OVMF/OVMF_CODE_4M.secboot.fd", "/usr/share/OVMF/OVMF_VARS_4M.ms.fd"),
    ("/usr/share/OVMF/OVMF_CODE.secboot.fd", "/usr/share/OVMF/OVMF_VARS.ms.fd"),
    ("/usr/share/edk2/ovmf/OVMF_CODE_4M.secboot.qcow2", "/usr/share/edk2/ovmf/OVMF_VARS_4M.secboot.qcow2"),
    ("/usr/share/edk2/ovmf/OVMF_CODE.secboot.fd", "/usr/share/edk2/ovmf/OVMF_VARS.secboot.fd"),
    ("/usr/share/qemu/ovmf-x86_64-smm-ms-code.bin", "/usr/share/qemu/ovmf-x86_64-smm-ms-vars.bin"),
)

# For aarch64: Debian and Ubuntu, Fedora, Arch, openSUSE.
_ARM_FIRMWARE: Final = (
    ("/usr/share/AAVMF/AAVMF_CODE.fd", "/usr/share/AAVMF/AAVMF_VARS.fd"),
    ("/usr/share/edk2/aarch64/QEMU_EFI-pflash.raw", "/usr/share/edk2/aarch64/vars-template-pflash.raw"),
    ("/usr/share/edk2/aarch64/QEMU_CODE.fd", "/usr/share/edk2/aarch64/QEMU_VARS.fd"),
    ("/usr/share/qemu/aavmf-aarch64-code.bin", "/usr/share/qemu/aavmf-aarch64-vars.bin"),
)


def find_firmware(
    root: Path = Path("/"), *, is_secure: bool = False, arch: Arch = Arch.X86_64
) -> tuple[FirmwareFile, FirmwareFile] | None:
    """UEFI code and the variables that belong to it, empty, or with the keys of Secure Boot; None for none here."""
    known = _ARM_FIRMWARE if arch is Arch.AARCH64 else _SECURE_FIRMWARE if is_secure else _FIRMWARE
    for code, variables in known:
        found = root / code.lstrip("/"), root / variables.lstrip("/")
        if all(path.is_file() for path in found):
            return _firmware_file(found[0]), _firmware_file(found[1])
    return None


def _firmware_file(path: Path) -> FirmwareFile:
    return FirmwareFile(path=path, format="qcow2" if path.suffix == ".qcow2" else "raw")


def copy_variables(empty: FirmwareFile, target: Path) -> None:
    """The machine's own variables, as qcow2: with a raw store QEMU refuses every snapshot."""
    command = ["qemu-img", "convert", "-q", "-f", empty.format, "-O", "qcow2", str(empty.path), str(target)]
    process.check(command, timeout=_CREATE_LIMIT)


def make_overlay(target: Path, size_bytes: int) -> None:
    """A qcow2 that gets its backing file on QEMU's command line, so that no file of it names another.

    ``size_bytes`` is the padded size of the disk, so that the machine sees the whole MiBs that the digest is over.
    """
    process.check(["qemu-img", "create", "-q", "-f", "qcow2", target, str(size_bytes)], timeout=_CREATE_LIMIT)


def make_disks(profile: Profile, folder: Path) -> tuple[Path, ...]:
    """The profile's empty data disks, one file for each namespace; they take no space until they are written."""
    made = []
    for disk, nodes in disk_nodes(profile):
        for node in nodes:
            path = folder / f"{node}.qcow2"
            command = ["qemu-img", "create", "-q", "-f", "qcow2", str(path), f"{disk.size_mib}M"]
            process.check(command, timeout=_CREATE_LIMIT)
            made.append(path)
    return tuple(made)


def check_space(folder: Path, needed_bytes: int = _ROOM_TO_GROW_BYTES) -> None:
    """ProvisioningError where the file system of ``folder`` has not that much left."""
    free = shutil.disk_usage(folder).free
    if free < needed_bytes:
        raise ProvisioningError(
            f"{folder} has {free // _MIB} MiB left, the machine needs {needed_bytes // _MIB} MiB",
            hint="free some space, or put scratch files on another file system by setting TMPDIR",
        )


def raw_copy(subject: Image, source: Path, target: Path) -> None:
    """The disk as a raw, sparse file of its padded size; for the offline edit only. Space is checked first."""
    needed = subject.size_bytes
    if subject.format is ImageFormat.RAW:
        needed = min(needed, source.stat().st_blocks * 512)  # a hole costs nothing, in the copy either
    check_space(target.parent, needed + _ROOM_TO_GROW_BYTES)
    options = ["-f", image.QEMU_FORMAT[subject.format], "-O", "raw", str(source.absolute()), str(target)]
    process.check(image.limited("qemu-img", "convert", "-q", *options), timeout=image.time_for(subject.size_bytes))
    os.truncate(target, subject.size_bytes)
