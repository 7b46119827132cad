"""What a kernel lacks is known from its config, before a machine that would stay silent is started."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lisa_ci.kernel.config import parse_config
from lisa_ci.kernel.drivers import Lack, Situation, Weight, drivers, early_modules, lacks
from lisa_ci.model import Access, Bus, Disk, Firmware, Nic, Profile, WayIn

CASES = Path(__file__).parents[2] / "cases/kernel"
GENERIC = (CASES / "config-6.1.0-56-amd64").read_text()
CLOUD = (CASES / "config-6.1.0-56-cloud-amd64").read_text()
SMALL = Profile(name="small")
EVERY_BUS = Profile(
    name="every",
    firmware=Firmware.UEFI,
    disks=tuple(Disk(bus=bus) for bus in Bus),
    nics=(Nic(model="e1000e"), Nic(model="vmxnet3")),
)


def found(text: str, situation: Situation) -> list[Lack]:
    return list(lacks(parse_config(text), situation))


def of(profile: Profile, **values: object) -> Situation:
    return Situation(profile=profile, access=Access(), root_kind="ext4", **values)  # type: ignore[arg-type]


@pytest.mark.parametrize("config", [GENERIC, CLOUD], ids=["generic", "cloud"])
def test_debians_kernels_boot_with_an_initramfs(config: str) -> None:
    assert found(config, of(SMALL)) == []


def test_debians_generic_kernel_has_all_that_a_large_profile_promises() -> None:
    assert found(GENERIC, of(EVERY_BUS)) == []


def test_debians_cloud_kernel_boots_a_large_profile_and_says_what_it_will_not_see() -> None:
    told = found(CLOUD, of(EVERY_BUS))
    assert {lack.option for lack in told} == {"SATA_AHCI", "E1000E"}
    assert {lack.weight for lack in told} == {Weight.TEST}


def test_without_an_initramfs_modules_are_no_help() -> None:
    told = found(GENERIC, of(SMALL, has_initramfs=False, is_ours=False))
    assert {lack.option for lack in told} == {
        "VIRTIO",
        "VIRTIO_PCI",
        "VIRTIO_BLK",
        "EXT4_FS",
        "VIRTIO_NET",
        "FW_CFG_SYSFS",
    }
    assert all(lack.weight is Weight.BOOT for lack in told)
    assert str(next(lack for lack in told if lack.option == "VIRTIO_BLK")) == (
        "CONFIG_VIRTIO_BLK is m, set it to y, or give an initrd that carries it: the root disk"
    )


def test_all_that_is_missing_is_told_at_once_and_what_to_set() -> None:
    config = GENERIC
    for option in ("DEVTMPFS", "CGROUPS", "SERIAL_8250_CONSOLE", "EXT4_FS", "PVPANIC"):
        config = config.replace(f"CONFIG_{option}=", f"# was CONFIG_{option}=")
    assert [str(lack) for lack in found(config, of(SMALL))] == [
        "CONFIG_DEVTMPFS is not set, set it to y: /dev",
        "CONFIG_CGROUPS is not set, set it to y: systemd",
        "CONFIG_SERIAL_8250_CONSOLE is not set, set it to y: the serial console",
        "CONFIG_EXT4_FS is not set, set it to y or m: the root file system",
        "CONFIG_EXT4_FS is not set, set it to y or m: the disk of the kernel's modules",
        "CONFIG_PVPANIC is not set, set it to y or m: a panic that is told at once",
    ]


def test_what_has_to_be_built_in_is_no_good_as_a_module() -> None:
    [lack] = found(GENERIC.replace("CONFIG_BINFMT_SCRIPT=y", "CONFIG_BINFMT_SCRIPT=m"), of(SMALL))
    assert str(lack) == "CONFIG_BINFMT_SCRIPT is m, set it to y: scripts"


@pytest.mark.parametrize(("kind", "option"), [("xfs", "XFS_FS"), ("btrfs", "BTRFS_FS"), ("ext3", "EXT4_FS")])
def test_the_file_system_of_the_root_decides_what_is_needed(kind: str, option: str) -> None:
    config = GENERIC.replace(f"CONFIG_{option}=m", "")
    situation = Situation(profile=SMALL, access=Access(), root_kind=kind, has_modules=False)
    assert [lack.option for lack in found(config, situation)] == [option]


def test_the_way_in_decides_what_is_needed() -> None:
    config = GENERIC.replace("CONFIG_FW_CFG_SYSFS=m", "")
    for way_in in WayIn:
        told = found(config, Situation(profile=SMALL, access=Access(way_in=way_in), root_kind="ext4"))
        assert bool(told) == (way_in in {WayIn.AUTO, WayIn.CREDENTIALS}), way_in


def test_an_empty_config_lacks_everything_that_is_needed() -> None:
    told = found("", of(EVERY_BUS))
    assert {lack.option for lack in told} == {option for driver in drivers(of(EVERY_BUS)) for option in driver.options}


def test_modules_for_the_initramfs_come_in_the_order_of_need() -> None:
    names = early_modules(drivers(of(SMALL)))
    assert names.index("virtio_pci") < names.index("virtio_blk") < names.index("ext4") < names.index("virtio_net")
    assert "nvme" not in early_modules(drivers(of(EVERY_BUS)))


def test_a_config_is_read_as_kconfig_writes_it() -> None:
    text = 'CONFIG_A=y\n# CONFIG_B is not set\nCONFIG_C="x=y"\n  CONFIG_D=m \nCONFIG_A=m\nnoise\nCONFIG_=y\n'
    assert parse_config(text) == {"A": "m", "C": '"x=y"', "D": "m"}


@given(st.text())
def test_any_text_is_a_config(text: str) -> None:
    assert all(name.isascii() for name in parse_config(text))
