"""What lisa-ci needs from the host: one table of programs and files, why each, and which package has it.

Programs are looked for in the administrator's folders as well: a user's PATH often lacks /usr/sbin.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from lisa_ci import process
from lisa_ci.errors import ProvisioningError


class Use(StrEnum):
    """What a tool is needed for: machines, a prompt in one, release folders, building the demo's image, TPMs,
    machines with arch: aarch64.
    """

    QEMU = "qemu"
    SHELL = "shell"
    RELEASE = "release"
    DEMO = "demo"
    TPM = "tpm"
    ARM = "arm"


class PackageTool(StrEnum):
    """The package managers we can call."""

    APT = "apt-get"
    DNF = "dnf"
    ZYPPER = "zypper"
    PACMAN = "pacman"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """Something the host must have: a program, or (``files``) one of several places of a file.

    ``packages`` names, for each package manager, the package that has it; where a manager is missing from it, that
    distribution has no package we know of.
    """

    name: str
    why: str
    uses: tuple[Use, ...]
    packages: Mapping[PackageTool, str]
    files: tuple[str, ...] = ()


def _packages(apt: str, dnf: str = "", zypper: str = "", pacman: str = "") -> Mapping[PackageTool, str]:
    names = {PackageTool.APT: apt, PackageTool.DNF: dnf, PackageTool.ZYPPER: zypper, PackageTool.PACMAN: pacman}
    return {manager: name for manager, name in names.items() if name}


_EVERY: Final = (Use.QEMU, Use.RELEASE, Use.DEMO)

TOOLS: Final[tuple[Tool, ...]] = (
    Tool(
        name="qemu-system-x86_64",
        why="runs the machines",
        uses=(Use.QEMU,),
        packages=_packages("qemu-system-x86", "qemu-system-x86-core", "qemu-x86", "qemu-system-x86"),
    ),
    Tool(
        name="qemu-img",
        why="reads, converts and overlays disk images",
        uses=_EVERY,
        packages=_packages("qemu-utils", "qemu-img", "qemu-tools", "qemu-img"),
    ),
    Tool(
        name="setpriv",
        why="ends a program when lisa-ci ends, however that happens",
        uses=_EVERY,
        packages=_packages("util-linux", "util-linux", "util-linux", "util-linux"),
    ),
    Tool(
        name="ovmf",
        why="UEFI firmware for machines",
        uses=(Use.QEMU,),
        packages=_packages("ovmf", "edk2-ovmf", "qemu-ovmf-x86_64", "edk2-ovmf"),
        files=(
            "/usr/share/OVMF/OVMF_CODE_4M.fd",
            "/usr/share/OVMF/OVMF_CODE.fd",
            "/usr/share/edk2/ovmf/OVMF_CODE_4M.qcow2",
            "/usr/share/edk2/ovmf/OVMF_CODE.fd",
            "/usr/share/edk2/x64/OVMF_CODE.4m.fd",
            "/usr/share/edk2-ovmf/x64/OVMF_CODE.fd",
            "/usr/share/qemu/ovmf-x86_64-code.bin",
        ),
    ),
    Tool(
        name="qemu-system-aarch64",
        why="runs machines with arch: aarch64",
        uses=(Use.ARM,),
        packages=_packages("qemu-system-arm", "qemu-system-aarch64-core", "qemu-arm", "qemu-system-aarch64"),
    ),
    Tool(
        name="aavmf",
        why="UEFI firmware for machines with arch: aarch64",
        uses=(Use.ARM,),
        packages=_packages("qemu-efi-aarch64", "edk2-aarch64", "qemu-uefi-aarch64", "edk2-aarch64"),
        files=(
            "/usr/share/AAVMF/AAVMF_CODE.fd",
            "/usr/share/edk2/aarch64/QEMU_EFI-pflash.raw",
            "/usr/share/edk2/aarch64/QEMU_CODE.fd",
            "/usr/share/qemu/aavmf-aarch64-code.bin",
        ),
    ),
    Tool(
        name="seabios",
        why="BIOS firmware for machines",
        uses=(Use.QEMU,),
        packages=_packages("seabios", "seabios-bin", "qemu-seabios", "seabios"),
        files=(
            "/usr/share/seabios/bios-256k.bin",
            "/usr/share/qemu/bios-256k.bin",
            "/usr/local/share/qemu/bios-256k.bin",
        ),
    ),
    Tool(
        name="debugfs",
        why="puts a key into images that take neither cloud-init nor credentials",
        uses=(Use.QEMU,),
        packages=_packages("e2fsprogs", "e2fsprogs", "e2fsprogs", "e2fsprogs"),
    ),
    Tool(
        name="busybox",
        why="starts machines with a foreign kernel: its initramfs (it has to be the static one)",
        uses=(Use.QEMU,),
        packages=_packages("busybox-static", "busybox", "busybox-static", "busybox"),
    ),
    Tool(
        name="depmod",
        why="indexes the modules of a foreign kernel",
        uses=(Use.QEMU,),
        packages=_packages("kmod", "kmod", "kmod", "kmod"),
    ),
    Tool(
        name="swtpm",
        why="is the TPM of machines that have one",
        uses=(Use.TPM,),
        packages=_packages("swtpm", "swtpm", "swtpm", "swtpm"),
    ),
    Tool(
        name="ssh",
        why="gives a prompt in a machine",
        uses=(Use.SHELL,),
        packages=_packages("openssh-client", "openssh-clients", "openssh-clients", "openssh"),
    ),
    Tool(
        name="mmdebstrap",
        why="makes the root file system of the demo's image from Debian's packages",
        uses=(Use.DEMO,),
        packages=_packages("mmdebstrap", "mmdebstrap"),
    ),
    Tool(
        name="debian-archive-keyring",
        why="the keys that Debian's packages are checked against",
        uses=(Use.DEMO,),
        packages=_packages("debian-archive-keyring", "debian-keyring", "", "debian-archive-keyring"),
        files=(
            "/usr/share/keyrings/debian-archive-keyring.gpg",
            "/usr/share/keyrings/debian-archive-keyring.pgp",
        ),
    ),
    Tool(
        name="unshare",
        why="builds the demo's image in namespaces of its own, so that root is not needed",
        uses=(Use.DEMO,),
        packages=_packages("util-linux", "util-linux", "util-linux", "util-linux"),
    ),
    Tool(
        name="newuidmap",
        why="gives an ordinary user the user ids of the demo's image",
        uses=(Use.DEMO,),
        packages=_packages("uidmap", "shadow-utils", "shadow", "shadow"),
    ),
    Tool(
        name="mke2fs",
        why="makes the root file system of the demo's image, and the disk of a foreign kernel's modules",
        uses=(Use.QEMU, Use.DEMO),
        packages=_packages("e2fsprogs", "e2fsprogs", "e2fsprogs", "e2fsprogs"),
    ),
    Tool(
        name="sfdisk",
        why="partitions the disk of the demo's image",
        uses=(Use.DEMO,),
        packages=_packages("fdisk", "util-linux", "util-linux", "util-linux"),
    ),
    Tool(
        name="mformat",
        why="makes the boot partition of the demo's image without root",
        uses=(Use.DEMO,),
        packages=_packages("mtools", "mtools", "mtools", "mtools"),
    ),
    Tool(
        name="syslinux",
        why="boots the demo's image on BIOS machines",
        uses=(Use.DEMO,),
        packages=_packages("syslinux", "syslinux", "syslinux", "syslinux"),
    ),
    Tool(
        name="gptmbr.bin",
        why="boots the demo's image on BIOS machines: the code of its first sector",
        uses=(Use.DEMO,),
        packages=_packages("syslinux-common", "syslinux", "syslinux", "syslinux"),
        files=(
            "/usr/lib/syslinux/mbr/gptmbr.bin",
            "/usr/share/syslinux/gptmbr.bin",
            "/usr/lib/syslinux/bios/gptmbr.bin",
        ),
    ),
    Tool(
        name="systemd-boot",
        why="boots the demo's image on UEFI machines",
        uses=(Use.DEMO,),
        packages=_packages("systemd-boot-efi", "systemd-boot-unsigned", "systemd-boot", "systemd"),
        files=("/usr/lib/systemd/boot/efi/systemd-bootx64.efi",),
    ),
)
_BY_NAME: Final = {tool.name: tool for tool in TOOLS}


def find(name: str) -> Path | None:
    """Where a program, or a file of the table, is on this host."""
    tool = _BY_NAME.get(name)
    if tool is not None and tool.files:
        return next((path for path in map(Path, tool.files) if path.is_file()), None)
    found = process.find(name)
    return Path(found) if found else None


def require(*names: str) -> tuple[Path, ...]:
    """Where each of them is, in order; ProvisioningError that names every missing one, and how to install them."""
    found = [find(name) for name in names]
    missing = [name for name, path in zip(names, found, strict=True) if path is None]
    if missing:
        raise ProvisioningError(f"this host lacks {', '.join(missing)}", hint=install_hint(missing))
    return tuple(path for path in found if path is not None)


def tools(uses: Iterable[Use]) -> tuple[Tool, ...]:
    """What any of ``uses`` needs, in the order of the table."""
    wanted = set(uses)
    return tuple(tool for tool in TOOLS if wanted & set(tool.uses) and (tool.name != "newuidmap" or not is_root()))


def is_root() -> bool:
    return os.geteuid() == 0


def package_tool() -> PackageTool | None:
    """The package manager of this host."""
    return next((manager for manager in PackageTool if process.find(manager)), None)


def packages(names: Iterable[str], manager: PackageTool) -> tuple[str, ...]:
    """The packages that have ``names``, each once, sorted. Names without a known package are left out."""
    tools = (_BY_NAME[name] for name in names if name in _BY_NAME)
    return tuple(sorted({tool.packages[manager] for tool in tools if manager in tool.packages}))


def install_command(names: Iterable[str], *, manager: PackageTool | None = None) -> list[str]:
    """The command that installs what has ``names``, with sudo where we are not root; [] where we know of none.

    ``manager`` None asks this host for its own.
    """
    chosen = manager or package_tool()
    wanted = packages(names, chosen) if chosen else ()
    if chosen is None or not wanted:
        return []
    match chosen:
        case PackageTool.APT:
            command = ["apt-get", "install", "--yes", "--no-install-recommends", *wanted]
        case PackageTool.DNF:
            command = ["dnf", "install", "--assumeyes", *wanted]
        case PackageTool.ZYPPER:
            command = ["zypper", "--non-interactive", "install", *wanted]
        case PackageTool.PACMAN:
            command = ["pacman", "-S", "--needed", "--noconfirm", *wanted]
    return command if is_root() else ["sudo", *command]


def install_commands(names: Iterable[str], *, manager: PackageTool | None = None) -> list[list[str]]:
    """What to run, one after the other, to install what has ``names``: fresh package lists where they may be stale."""
    install = install_command(names, manager=manager)
    if not install:
        return []
    refresh = ["apt-get", "update"]
    sudo = [word for word in install[:1] if word == "sudo"]
    return [[*sudo, *refresh], install] if PackageTool.APT in install[:2] else [install]


def install_hint(names: Iterable[str]) -> str:
    """What to do about missing tools, in one line."""
    command = install_command(list(names))
    if command:
        return f"run 'lisa-ci doctor --install', or: {' '.join(command)}"
    return "install them by the package manager of this host; 'lisa-ci doctor' says what each is for"
