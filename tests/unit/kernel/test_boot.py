"""From a kernel and an image to what boots: every obstacle is told before a machine is made."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from lisa_ci import host
from lisa_ci.errors import PipelineError
from lisa_ci.kernel import Slots, boot
from lisa_ci.kernel.boot import Boot, prepare, problems, wishes
from lisa_ci.model import Access, Bus, Disk, Image, ImageFormat, Kernel, Profile
from tests.unit.kernel.kernels import RELEASE, bzimage, elf, note, program
from tests.unit.kernel.test_drivers import CLOUD, GENERIC
from tests.unit.kernel.test_initramfs import files_of
from tests.unit.kernel.test_volumes import IDS, gpt

SMALL = Profile(name="small")
DEP = """\
kernel/virtio.ko:
kernel/virtio_pci.ko: kernel/virtio.ko
kernel/virtio_blk.ko: kernel/virtio.ko
kernel/virtio_net.ko: kernel/virtio.ko
kernel/ext4.ko:
kernel/xfs.ko:
kernel/qemu_fw_cfg.ko:
kernel/nvme.ko:
"""


class World:
    """A disk of four partitions, and a kernel beside it, file by file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.disk = folder / "disk.raw"
        self.disk.write_bytes(gpt())
        self.image = Image(
            path="disk.raw", format=ImageFormat.RAW, disk_digest="d", size_bytes=self.disk.stat().st_size
        )
        (folder / "bzImage").write_bytes(bzimage())
        (folder / "config").write_text(GENERIC)
        self.modules = folder / "mods/lib/modules" / RELEASE
        (self.modules / "kernel").mkdir(parents=True)
        (self.modules / "modules.dep").write_text(DEP)
        for line in DEP.splitlines():
            (self.modules / line.partition(":")[0]).write_bytes(line.encode())
        self.kernel = Kernel(image=str(folder / "bzImage"), config=str(folder / "config"), modules=str(folder / "mods"))

    def problems(self, kernel: Kernel, profile: Profile = SMALL) -> list[str]:
        return [problem.message for problem in problems(kernel, self.image, self.disk, profile, Access())]

    def prepare(self, kernel: Kernel) -> Boot:
        slots = Slots(root=2, modules=30)
        return prepare(kernel, self.image, self.disk, SMALL, Access(), slots=slots, folder=self.folder)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    (tmp_path / "busybox").write_bytes(program())
    monkeypatch.setattr(host, "require", lambda *_names: (tmp_path / "busybox",))
    monkeypatch.setattr(boot, "modules_disk", lambda _parts, _delivery: tmp_path / "modules.ext4")
    return World(tmp_path)


def test_a_kernel_of_modules_boots_by_an_initramfs_of_ours(world: World) -> None:
    found = world.prepare(world.kernel)
    assert found.command_line == f"root=PARTUUID={IDS[1]} rw"
    assert found.identity.release == RELEASE
    assert found.initrd is not None
    packed = files_of(found.initrd.read_bytes())
    assert packed["root"] == b"02\n2\next4\nrw\n/sbin/init\n1e\n"
    assert found.early == ("virtio", "virtio_pci", "virtio_blk", "ext4", "virtio_net", "qemu_fw_cfg")
    assert (found.modules_disk, found.tree) == (world.folder / "modules.ext4", None)


def test_the_words_of_the_command_line_are_followed(world: World) -> None:
    line = "quiet root=LABEL=big rootfstype=xfs rootflags=noquota ro init=/bin/start"
    found = world.prepare(replace(world.kernel, command_line=line))
    assert found.command_line == line
    assert found.initrd is not None
    assert files_of(found.initrd.read_bytes())["root"] == b"02\n3\nxfs\nro,noquota\n/bin/start\n1e\n"


def test_a_user_who_brings_an_initrd_gets_that_one_and_modules_after_the_login(world: World) -> None:
    line = "root=/dev/mapper/vg-root"
    found = world.prepare(replace(world.kernel, initrd="my.img", command_line=line))
    assert (found.initrd, found.command_line) == (Path("my.img"), line)
    assert (found.modules_disk, found.tree) == (None, world.folder / "mods")


def test_a_kernel_with_everything_built_in_needs_no_initramfs(world: World) -> None:
    (world.folder / "config").write_text(GENERIC.replace("=m\n", "=y\n"))
    whole = replace(world.kernel, modules=None, command_line=f"root=PARTUUID={IDS[1]} ro")
    found = world.prepare(whole)
    assert (found.initrd, found.modules_disk, found.tree) == (None, None, None)


def test_modules_without_an_initramfs_are_told(world: World) -> None:
    told = world.problems(replace(world.kernel, modules=None, command_line=f"root=PARTUUID={IDS[1]}"))
    assert any("CONFIG_VIRTIO_BLK is m, set it to y, or give an initrd" in message for message in told)
    assert all(message.startswith("the kernel cannot boot profile small: ") for message in told)


def test_a_module_that_was_not_delivered_is_told(world: World) -> None:
    (world.modules / "modules.dep").write_text(DEP.replace("kernel/virtio_net.ko: kernel/virtio.ko\n", ""))
    [told] = world.problems(world.kernel)
    assert told.endswith("CONFIG_VIRTIO_NET is m, and no module virtio_net was delivered: the control network card")


def test_modules_of_another_release_are_told(world: World) -> None:
    world.modules.rename(world.modules.with_name("6.0.0"))
    assert f"has no lib/modules/{RELEASE}, which this kernel looks for" in world.problems(world.kernel)[0]


def test_modules_without_an_index_are_told(world: World) -> None:
    (world.modules / "modules.dep").unlink()
    assert "has no modules.dep" in world.problems(world.kernel)[0]


def test_everything_that_is_lacking_is_raised_at_once(world: World) -> None:
    (world.folder / "config").write_text(GENERIC.replace("CONFIG_CGROUPS=y", "").replace("CONFIG_DEVTMPFS=y", ""))
    with pytest.raises(PipelineError) as raised:
        world.prepare(world.kernel)
    assert [problem.message.split(":")[1].split(",")[0] for problem in raised.value.problems] == [
        " CONFIG_DEVTMPFS is not set",
        " CONFIG_CGROUPS is not set",
    ]


def test_what_a_profile_promises_and_the_kernel_does_not_see_is_a_wish(world: World) -> None:
    (world.folder / "config").write_text(CLOUD)
    profile = replace(SMALL, disks=(Disk(bus=Bus.SATA),))
    assert world.problems(world.kernel, profile) == []
    [told] = wishes(world.kernel, profile, Access())
    assert told == "profile small: CONFIG_SATA_AHCI is not set, set it to y or m: data disks on SATA"


def test_a_kernel_without_its_config_is_booted_unchecked_and_that_is_told(world: World) -> None:
    bare = replace(world.kernel, config=None)
    assert world.problems(bare) == []
    assert "comes without its config" in wishes(bare, SMALL, Access())[0]


def test_the_build_id_of_vmlinux_is_what_has_to_be_proven(world: World) -> None:
    (world.folder / "vmlinux").write_bytes(elf(note(3, b"GNU", b"\x01\x02")))
    found = world.prepare(replace(world.kernel, vmlinux=str(world.folder / "vmlinux")))
    assert found.identity.build_id == "0102"
