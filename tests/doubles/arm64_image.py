"""An image for the profile ``arm64``: the demo's recipe with Debian's packages for arm64, and systemd-boot in front.

The kernel is told of no console: on aarch64 it takes the one that the firmware names (SPCR). The loader comes out of
the image itself.
"""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from lisa_ci.demo import disk, image, rootfs
from tests.doubles.demo_image import EditedImage

LOADER = "/usr/lib/systemd/boot/efi/systemd-bootaa64.efi"
ROOTFS = Path(__file__).with_name("arm64_rootfs.sh")
COMMAND_LINE = "root=UUID={root} rw cryptomgr.notests"
ENTRY = "title arm64\nlinux /vmlinuz\ninitrd /initrd.img\noptions {options}\n"


@functools.cache
def arm64_image_path() -> Path:
    """The image's file, a qcow2 in ``$LISA_CI_TEST_CACHE`` or where the demo keeps its own; no test may write to it.

    It is made where there is none, or an old one.
    """
    own = os.environ.get("LISA_CI_TEST_CACHE")
    folder = Path(own) if own else image.cache_folder()
    chosen = image.recipe()
    parts = (chosen.digest.encode(), Path(__file__).read_bytes(), ROOTFS.read_bytes())
    digest = hashlib.sha256(b"\n".join(parts)).hexdigest()
    target = folder / f"debian-{chosen.suite}-arm64-{digest[:12]}.qcow2"
    with image._locked(folder):
        age = image._age(target)
        if age is None or age > image.MAX_AGE:
            _build(chosen, target)
    return target


def _build(chosen: image.Recipe, target: Path) -> None:
    """As the demo's image is built; all it prints is beside ``target``."""
    image._check_host(target.parent, chosen.size_mib)
    identity = disk.Identity.of(chosen.digest)
    work = Path(tempfile.mkdtemp(dir=target.parent, prefix=image._BUILD_PREFIX))
    try:
        (work / "root").mkdir()
        (work / "sources.list").write_text(image._sources(chosen))
        (work / "apt.conf").write_text(image._apt_settings())
        (work / "root.uuid").write_text(str(identity.root))
        raw = work / "disk.raw"
        disk.make_table(raw, identity, size_mib=chosen.size_mib)
        what = (chosen.suite, ",".join(chosen.packages), str(identity.root))
        where = (str(disk.ROOT_START_MIB * disk.MIB), str(disk.root_mib(chosen.size_mib) * 1024))
        arguments = (image.RECIPE, work, *what, *where)
        rootfs.make(ROOTFS, arguments, log=target.with_suffix(".log"), place=image.PLACE, emit=lambda _: None)
        _make_bootable(EditedImage(path=raw), identity, work)
        disk.to_qcow2(raw, work / "disk.qcow2")
        (work / "disk.qcow2").replace(target)
    finally:
        shutil.rmtree(work)


def _make_bootable(made: EditedImage, identity: disk.Identity, work: Path) -> None:
    """The EFI system partition: the loader, its entry, the kernel and its initrd."""
    tree = work / "esp"
    (tree / "EFI/BOOT").mkdir(parents=True)
    (tree / "loader/entries").mkdir(parents=True)
    loader = made.ask(f"cat {LOADER}")
    assert loader[:2] == b"MZ", f"the image has no {LOADER}"
    (tree / "EFI/BOOT/BOOTAA64.EFI").write_bytes(loader)
    (tree / "loader/loader.conf").write_text("timeout 0\n")
    options = COMMAND_LINE.format(root=identity.root)
    (tree / "loader/entries/arm64.conf").write_text(ENTRY.format(options=options))
    for name in ("vmlinuz", "initrd.img"):
        (work / name).replace(tree / name)
    offset = disk.ESP_START_MIB * disk.MIB
    partition = f"{made.path}@@{offset}"
    geometry = ["-T", str(disk.ESP_MIB * disk.MIB // 512), "-h", "64", "-s", "32", "-H", str(offset // 512)]
    subprocess.run(["mformat", "-i", partition, "-v", "ESP", *geometry, "::"], check=True)
    subprocess.run(["mcopy", "-i", partition, "-s", *sorted(tree.iterdir()), "::/"], check=True)
