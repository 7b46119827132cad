"""An image that saves a vmcore when its kernel crashes: the demo's, with Debian's kdump-tools and memory set aside."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from lisa_ci.demo import disk
from tests.doubles.demo_image import EditedImage, demo_image_path

# On a busy host the timer of an emulated machine may be too late for the kernel's check of it, which then panics.
CRASH_KERNEL = "crashkernel=160M no_timer_check"
_BOOT_FILES = ("syslinux.cfg", "loader/entries/lisa-ci-demo.conf")


def kdump_image(folder: Path, *, reserves: str = CRASH_KERNEL) -> Path:
    """A raw image in ``folder``; ``reserves`` is put on the kernel's command line."""
    image = EditedImage.of(demo_image_path(("kdump-tools", "makedumpfile")), folder / "kdump.raw")
    # The package would make an initrd of its own at the first boot, which takes half a minute on emulation.
    [version] = set(re.findall(rb"initrd\.img-(\S+)", image.ask("ls -l /boot")))
    initrd = folder / "initrd.img"
    image.take_boot_file("initrd.img", initrd)
    settings = folder / "sysctl.conf"
    settings.write_bytes(image.ask("cat /etc/kdump/sysctl.conf"))
    made = {"initrd.img": initrd, "latest_sysctls": settings}  # the second tells what the first was made with
    image.change([f"write {path} /var/lib/kdump/{name}-{version.decode()}" for name, path in made.items()])
    partition = f"{image.path}@@{disk.ESP_START_MIB}M"
    for name in _BOOT_FILES:
        file = folder / Path(name).name
        image.take_boot_file(name, file)
        file.write_text(file.read_text().replace(" root=UUID", f" {reserves} root=UUID"))
        subprocess.run(["mcopy", "-o", "-i", partition, file, f"::{name}"], check=True)
    return image.path
