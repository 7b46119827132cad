"""An image that Secure Boot lets start: the field image with Debian's shim and GRUB, signed, in front of its kernel.

shim is signed by Microsoft, whose keys OVMF's template of variables holds; GRUB and the kernel are signed by Debian,
whose key is built into shim. All three come out of the image itself, where their packages put them.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from lisa_ci.demo import disk
from tests.doubles.demo_image import EditedImage, field_image_path

SHIM = "/usr/lib/shim/shimx64.efi.signed"
GRUB = "/usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed"
ENTRY = "loader/entries/lisa-ci-demo.conf"

# GRUB's own prefix is /EFI/debian on the partition that it came from. The root has a /vmlinuz too, a link, so that the
# partition is found by a file that only it has.
GRUB_CONFIG = """\
set timeout=0
search --no-floppy --set=root --file /{entry}
linux /vmlinuz {options}
initrd /initrd.img
boot
"""


def secure_boot_image(folder: Path, *, more: str = "") -> Path:
    """A raw image in ``folder``, made from the field image; ``more`` goes at the end of the kernel's command line."""
    edited = EditedImage.of(field_image_path(), folder / "secure-boot.raw")
    for source, name in ((SHIM, "BOOTX64.EFI"), (GRUB, "grubx64.efi")):
        taken = folder / name
        taken.write_bytes(edited.ask(f"cat {source}"))
        assert taken.read_bytes()[:2] == b"MZ", f"the field image has no {source}"
        _to_esp(edited.path, taken, f"EFI/BOOT/{name}")
    edited.take_boot_file(ENTRY, folder / "entry.conf")
    lines = (folder / "entry.conf").read_text().splitlines()
    options = next(line.removeprefix("options ") for line in lines if line.startswith("options "))
    config = folder / "grub.cfg"
    config.write_text(GRUB_CONFIG.format(entry=ENTRY, options=f"{options} {more}".strip()))
    subprocess.run(["mmd", "-i", _esp(edited.path), "::EFI/debian"], check=True)
    _to_esp(edited.path, config, "EFI/debian/grub.cfg")
    return edited.path


def _to_esp(image: Path, source: Path, name: str) -> None:
    subprocess.run(["mcopy", "-o", "-i", _esp(image), source, f"::{name}"], check=True)


def _esp(image: Path) -> str:
    return f"{image}@@{disk.ESP_START_MIB}M"
