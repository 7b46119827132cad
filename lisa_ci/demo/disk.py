"""The disk of the demo's image: a GPT with an EFI system partition and a root partition, bootable both ways.

BIOS: the code of ``gptmbr.bin`` starts syslinux from the EFI system partition. UEFI: systemd-boot lies there. Both load
the same kernel and initrd. Everything is done by tools on a plain file: no loop device, no root.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

from lisa_ci import process

MIB: Final = 1 << 20
SIZE_MIB: Final = 1024
ESP_START_MIB: Final = 1
ESP_MIB: Final = 63
ROOT_START_MIB: Final = ESP_START_MIB + ESP_MIB
# On emulation, the self-tests of ciphers and the set-up of nested virtualisation take a third of the boot, and a kernel
# that tries its timer on a busy host gives up (it does not where it knows the hypervisor).
COMMAND_LINE: Final = (
    "root=UUID={root} rw console=tty0 console=ttyS0,115200 cryptomgr.notests modprobe.blacklist=kvm_amd,kvm_intel"
    " no_timer_check"
)

_BOOT_CODE_BYTES: Final = 440  # of the first sector; the partition table's protective entry follows
_ESP_OFFSET: Final = ESP_START_MIB * MIB
_SECTOR: Final = 512
_TIMEOUT: Final = timedelta(minutes=2)

_TABLE: Final = """\
label: gpt
label-id: {disk}
start={esp_start}MiB, size={esp_size}MiB, type=U, uuid={esp}, name=esp, attrs=LegacyBIOSBootable
start={root_start}MiB, size={root_size}MiB, type=4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709, uuid={part}, name=root
"""
_SYSLINUX: Final = """\
DEFAULT linux
PROMPT 0
SERIAL 0 115200
LABEL linux
  LINUX /vmlinuz
  INITRD /initrd.img
  APPEND {command_line}
"""
_LOADER: Final = "timeout 0\n"
_ENTRY: Final = """\
title lisa-ci demo
linux /vmlinuz
initrd /initrd.img
options {command_line}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """The ids of a disk and its parts: from the recipe's digest, so that the same recipe gives the same ids."""

    disk: uuid.UUID
    esp: uuid.UUID
    part: uuid.UUID
    root: uuid.UUID

    @classmethod
    def of(cls, digest: str) -> Identity:
        disk, esp, part, root = (
            uuid.uuid5(uuid.NAMESPACE_OID, f"{digest}/{name}") for name in ("disk", "esp", "part", "root")
        )
        return cls(disk=disk, esp=esp, part=part, root=root)


@dataclass(frozen=True, slots=True, kw_only=True)
class BootFiles:
    """What starts the kernel: ``gptmbr`` and ``loader`` are the host's copies of syslinux' and systemd-boot's code."""

    kernel: Path
    initrd: Path
    gptmbr: Path
    loader: Path


def root_mib(size_mib: int) -> int:
    """Of the root partition; the last MiB of a disk belongs to the second copy of the partition table."""
    return size_mib - ROOT_START_MIB - 1


def make_table(disk: Path, identity: Identity, *, size_mib: int) -> None:
    """An empty disk (a sparse file) with its partition table."""
    with disk.open("wb") as file:
        file.truncate(size_mib * MIB)
    table = _TABLE.format(
        disk=identity.disk,
        esp=identity.esp,
        part=identity.part,
        esp_start=ESP_START_MIB,
        esp_size=ESP_MIB,
        root_start=ROOT_START_MIB,
        root_size=root_mib(size_mib),
    )
    process.check(["sfdisk", "--quiet", disk], stdin=table.encode(), timeout=_TIMEOUT)


def make_bootable(disk: Path, identity: Identity, files: BootFiles, *, scratch: Path) -> None:
    """Fill the EFI system partition and write the boot code of the first sector. ``scratch`` is a folder for us."""
    command_line = COMMAND_LINE.format(root=identity.root)
    partition = f"{disk}@@{_ESP_OFFSET}"
    tree = scratch / "esp"
    (tree / "EFI/BOOT").mkdir(parents=True)
    (tree / "loader/entries").mkdir(parents=True)
    (tree / "EFI/BOOT/BOOTX64.EFI").write_bytes(files.loader.read_bytes())
    (tree / "loader/loader.conf").write_text(_LOADER)
    (tree / "loader/entries/lisa-ci-demo.conf").write_text(_ENTRY.format(command_line=command_line))
    (tree / "syslinux.cfg").write_text(_SYSLINUX.format(command_line=command_line))
    files.kernel.replace(tree / "vmlinuz")
    files.initrd.replace(tree / "initrd.img")

    serial = f"{identity.esp.int & 0xFFFFFFFF:08x}"
    geometry = ["-T", str(ESP_MIB * MIB // _SECTOR), "-h", "64", "-s", "32", "-H", str(_ESP_OFFSET // _SECTOR)]
    process.check(["mformat", "-i", partition, "-v", "ESP", "-N", serial, *geometry, "::"], timeout=_TIMEOUT)
    process.check(["mcopy", "-i", partition, "-s", "-m", *sorted(tree.iterdir()), "::/"], timeout=_TIMEOUT)
    process.check(["syslinux", "--install", "--offset", str(_ESP_OFFSET), disk], timeout=_TIMEOUT)
    with disk.open("r+b") as file:
        file.write(files.gptmbr.read_bytes()[:_BOOT_CODE_BYTES])


def to_qcow2(disk: Path, target: Path) -> None:
    """Not compressed: the image stays on this host, and machines boot from it directly."""
    process.check(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", disk, target], timeout=_TIMEOUT)
