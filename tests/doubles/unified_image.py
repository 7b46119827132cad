"""The field image started by a unified kernel image: systemd's stub, kernel, initrd and command line in a file."""

from __future__ import annotations

import subprocess
from pathlib import Path

from lisa_ci.demo import disk
from tests.doubles.demo_image import EditedImage, field_image_path

STUB = "/usr/lib/systemd/boot/efi/linuxx64.efi.stub"
ENTRY = "loader/entries/lisa-ci-demo.conf"
SECTIONS = {".osrel": 0x20000, ".cmdline": 0x30000, ".linux": 0x2000000, ".initrd": 0x4000000}
"""Of each its address, behind the stub's own, as systemd-stub(7) shows it."""


def unified_image(folder: Path) -> Path:
    """A raw image in ``folder``; UEFI starts nothing else of it."""
    edited = EditedImage.of(field_image_path(), folder / "unified.raw")
    for name in ("vmlinuz", "initrd.img", ENTRY):
        edited.take_boot_file(name, folder / Path(name).name)
    lines = (folder / Path(ENTRY).name).read_text().splitlines()
    options = next(line.removeprefix("options ") for line in lines if line.startswith("options "))
    (folder / "cmdline").write_text(options)
    (folder / "osrel").write_bytes(edited.ask("cat /usr/lib/os-release"))
    parts = (folder / "osrel", folder / "cmdline", folder / "vmlinuz", folder / "initrd.img")
    words = []
    for part, (section, address) in zip(parts, SECTIONS.items(), strict=True):
        words += ["--add-section", f"{section}={part}", "--change-section-vma", f"{section}={address:#x}"]
    subprocess.run(["objcopy", *words, STUB, folder / "BOOTX64.EFI"], check=True)
    partition = f"{edited.path}@@{disk.ESP_START_MIB}M"
    target = "::EFI/BOOT/BOOTX64.EFI"
    subprocess.run(["mcopy", "-o", "-i", partition, folder / "BOOTX64.EFI", target], check=True)
    return edited.path
