from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from lisa_ci.model import Arch, Bus, Firmware, is_id
from lisa_ci.pipeline import catalogue
from lisa_ci.pipeline.profiles import measured
from lisa_ci.platforms.qemu.command_line import shape_problems
from tests.doubles.pipelines import LEAST_PIPELINE, THREE_CASES, problems_of, write_suite


def test_the_catalogue_has_the_profiles_that_people_expect() -> None:
    assert list(catalogue()) == [
        "bios",
        "uefi",
        "bios-disk",
        "uefi-disks",
        "multi-disk",
        "nvme",
        "nvme-sriov",
        "scsi",
        "multi-nic",
        "multiqueue",
        "low-memory",
        "many-cores",
        "numa",
        "hotplug",
        "net-pair",
        "iscsi-pair",
        "rdma-pair",
        "tpm",
        "secure-boot",
        "arm64",
    ]


@pytest.mark.parametrize("name", catalogue())
def test_a_catalogue_profile_is_described_and_qemu_can_make_it(name: str) -> None:
    profile = catalogue()[name]
    assert is_id(profile.name)
    assert profile.description.endswith(".")
    assert profile.platform == "qemu"
    assert shape_problems(profile) == []


def test_catalogue_profiles_differ_from_each_other_in_their_hardware() -> None:
    shapes = [dataclasses.replace(profile, name="", description="") for profile in catalogue().values()]
    assert len(set(shapes)) == len(shapes)


def test_capabilities_say_what_the_catalogue_profile_has() -> None:
    capabilities = catalogue()["uefi-disks"].capabilities
    assert capabilities["firmware"] == Firmware.UEFI
    assert capabilities["disks"] == 4
    assert all(capabilities[f"disk_{bus.value}"] == 1 for bus in Bus)
    assert catalogue()["multi-nic"].capabilities["nics"] == 4


def test_capabilities_say_what_the_newer_profiles_are_for() -> None:
    assert catalogue()["nvme"].capabilities["nvme_namespaces"] == 3
    assert catalogue()["nvme"].capabilities["disk_queues"] == 2
    assert catalogue()["numa"].capabilities["numa_nodes"] == 2
    assert [name for name, profile in catalogue().items() if profile.capabilities["tpm"]] == ["tpm", "secure-boot"]
    assert [name for name, profile in catalogue().items() if profile.capabilities["secure_boot"]] == ["secure-boot"]
    assert [name for name, profile in catalogue().items() if profile.capabilities["hotplug"]] == ["hotplug", "net-pair"]
    assert [name for name, profile in catalogue().items() if profile.arch is Arch.AARCH64] == ["arm64"]


def test_the_figures_beside_the_catalogue_are_of_its_profiles() -> None:
    figures = measured()
    assert set(figures.boot_seconds) <= set(catalogue()) - {"secure-boot"}, "the image that is timed is not signed"
    has_nvme = {name for name, profile in catalogue().items() if any(disk.bus is Bus.NVME for disk in profile.disks)}
    assert set(figures.no_snapshot) == has_nvme


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ("{name: x, from: bios, secure_boot: true}", "profile 'x': 'secure_boot' needs 'firmware: uefi'"),
        ("{name: x, from: secure-boot, firmware: bios}", "profile 'x': 'secure_boot' needs 'firmware: uefi'"),
        ("{name: x, from: bios, disks: [{namespaces: 2}]}", "only a disk with 'bus: nvme' has several 'namespaces'"),
        ("{name: x, from: bios, disks: [{vfs: 1}]}", "only a disk with 'bus: nvme' has 'vfs'"),
        ("{name: x, from: bios, disks: [{bus: sata, queues: 2}]}", "a disk with 'bus: sata' has one queue"),
        ("{name: x, from: nvme, cores: 1}", "a disk has at most one of 'queues' for each of the 'cores'"),
        (
            "{name: x, from: multiqueue, nics: [{queues: 5}]}",
            "a NIC has at most one of 'queues' for each of the 'cores'",
        ),
        ("{name: x, from: bios, nics: [{queues: 2, outbound: true}]}", "only a NIC with 'model: virtio' and no"),
        ("{name: x, from: bios, nics: [{queues: 2, model: igb}]}", "only a NIC with 'model: virtio' and no 'outbound'"),
        ("{name: x, from: numa, cores: 1}", "'numa_nodes' needs at least one of the 'cores' for each"),
    ],
)
def test_a_profile_that_contradicts_itself_is_told_of_in_its_place(keys: str, problem: str, tmp_path: Path) -> None:
    write_suite(tmp_path / "suites/mine", THREE_CASES)
    lines = [line for line in LEAST_PIPELINE.splitlines() if not line.startswith("profiles:")]
    [found] = problems_of("\n".join([*lines, "profiles:", f"  - {keys}", ""]), tmp_path)
    assert problem in str(found)
    assert f":{len(lines) + 2}:" in str(found)
