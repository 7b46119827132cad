"""The images that tests boot: the demo's own, built from the distribution's mirror and kept in a cache, and copies of
it that are changed from outside.
"""

from __future__ import annotations

import functools
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lisa_ci.demo import disk
from lisa_ci.demo.image import build_image, cache_folder


@functools.cache
def demo_image_path(more: tuple[str, ...] = ()) -> Path:
    """The image's file in ``$LISA_CI_TEST_CACHE``, else where the demo keeps it; no test may write to it.

    ``more``: packages that it has beside the demo's.
    """
    own = os.environ.get("LISA_CI_TEST_CACHE")
    return build_image(Path(own) if own else cache_folder(), lambda _: None, more=more)


FIELD_PACKAGES = (
    *("btrfs-progs", "cryptsetup-bin", "dosfstools", "fdisk", "fio", "gdisk", "lvm2"),
    *("mdadm", "multipath-tools", "nvme-cli"),
    *("open-iscsi", "parted", "quota", "sg3-utils", "smartmontools", "tgt", "xfsprogs"),
    *("bind9-dnsutils", "bridge-utils", "conntrack", "dnsmasq-base", "ethtool", "iperf3", "iproute2"),
    *("isc-dhcp-client", "nftables", "pciutils", "socat"),
    *("tcpdump", "wireguard-tools", "ibverbs-providers", "ibverbs-utils", "perftest", "rdma-core", "rdmacm-utils"),
    *("netpipe-openmpi", "openmpi-bin", "rt-tests"),
    *("apparmor", "efibootmgr", "hwloc-nox", "kexec-tools", "keyutils", "makedumpfile", "mokutil", "numactl"),
    *("grub-efi-amd64-signed", "libcap2-bin", "openssl", "shim-signed", "stress-ng", "tpm2-tools", "util-linux-extra"),
    *("libasan8", "libubsan1"),  # kselftest's openat2 is built with both
)


@functools.cache
def field_image_path() -> Path:
    """As the demo's image, with Debian's whole kernel and the tools that suites of storage, network and so on use."""
    own = os.environ.get("LISA_CI_TEST_CACHE")
    folder = Path(own) if own else cache_folder()
    return build_image(folder, lambda _: None, more=FIELD_PACKAGES, kernel="linux-image-amd64", size_mib=2560)


@dataclass(frozen=True, slots=True, kw_only=True)
class EditedImage:
    """A raw copy of an image of ours, changed by debugfs and mtools: no mount, no root."""

    path: Path

    @classmethod
    def of(cls, image: Path, path: Path) -> EditedImage:
        subprocess.run(["qemu-img", "convert", "-O", "raw", image, path], check=True)
        return cls(path=path)

    def write(self, file: str, text: str) -> None:
        """A new file of root's; its folder is made."""
        source = self.path.with_name("edited.file")
        source.write_text(text)
        folders = [str(folder) for folder in reversed(Path(file).parents)][1:]
        made = [f"mkdir {folder}" for folder in folders if self.ask(f"stat {folder}").find(b"Inode:") < 0]
        self.change([*made, f"write {source} {file}", f"sif {file} mode 0100600"])
        assert self.ask(f"cat {file}") == text.encode()

    def take_folder(self, folder: str, target: Path) -> None:
        """Copy a folder out of the root file system, below ``target``."""
        target.mkdir(parents=True, exist_ok=True)
        self.ask(f"rdump {folder} {target}")

    def take_boot_file(self, name: str, target: Path) -> None:
        """Copy a file out of the EFI system partition."""
        partition = f"{self.path}@@{disk.ESP_START_MIB}M"
        subprocess.run(["mcopy", "-n", "-i", partition, f"::{name}", target], check=True)

    def take_initrd(self, modules: Path, names: Sequence[str], target: Path) -> None:
        """The image's initrd, with ``names`` loaded at its start; ``modules`` is lib/modules/VERSION.

        What is found by these names depends on nothing else, or is named as well, after what it needs.
        """
        self.take_boot_file("initrd.img", target)
        found = {path.stem: path for path in (modules / "kernel").rglob("*.ko")}
        inside = f"usr/lib/modules/{modules.name}"
        entries = {f"{inside}/{found[name].relative_to(modules)}": found[name].read_bytes() for name in names}
        entries |= {f"{inside}/{path.name}": path.read_bytes() for path in modules.glob("modules.*")}
        entries["conf/modules"] = "".join(f"{name}\n" for name in names).encode()
        with target.open("ab") as file:
            file.write(bytes(-file.tell() % 512) + newc(entries))

    def make_unbootable(self) -> None:
        """Only the boot code of the first sector goes; the partition table behind it stays."""
        with self.path.open("r+b") as file:
            file.write(bytes(440))

    def change(self, commands: Sequence[str]) -> None:
        script = "".join(f"{command}\n" for command in commands)
        subprocess.run(["debugfs", "-w", "-f", "-", self._root], input=script.encode(), capture_output=True, check=True)

    def ask(self, command: str) -> bytes:
        return subprocess.run(["debugfs", "-R", command, self._root], capture_output=True, check=True).stdout

    @property
    def _root(self) -> str:
        return f"{self.path}?offset={disk.ROOT_START_MIB * disk.MIB}"


def newc(entries: Mapping[str, bytes]) -> bytes:
    """A cpio archive as the kernel reads it (Documentation/driver-api/early-userspace/buffer-format.rst)."""
    folders = {str(folder): None for name in entries for folder in reversed(Path(name).parents) if folder.name}
    archive = bytearray()
    for number, (name, data) in enumerate([*folders.items(), *entries.items(), ("TRAILER!!!", b"")], start=1):
        mode = 0o040755 if data is None else 0o100644
        fields = (number, mode, 0, 0, 1, 0, len(data or b""), 0, 0, 0, 0, len(name) + 1, 0)
        archive += b"070701" + b"".join(b"%08X" % field for field in fields) + name.encode() + b"\0"
        archive += bytes(-len(archive) % 4)
        archive += data or b""
        archive += bytes(-len(archive) % 4)
    return bytes(archive)
