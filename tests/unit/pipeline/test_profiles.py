from __future__ import annotations

import pytest

from lisa_ci.model import Bus, Firmware, is_id
from lisa_ci.pipeline import catalogue
from lisa_ci.platforms.qemu.command_line import shape_problems


def test_the_catalogue_has_the_profiles_that_people_expect() -> None:
    assert list(catalogue()) == [
        "bios",
        "uefi",
        "bios-disk",
        "uefi-disks",
        "multi-nic",
        "low-memory",
        "many-cores",
    ]


@pytest.mark.parametrize("name", catalogue())
def test_a_catalogue_profile_is_described_and_qemu_can_make_it(name: str) -> None:
    profile = catalogue()[name]
    assert is_id(profile.name)
    assert profile.description.endswith(".")
    assert profile.platform == "qemu"
    assert shape_problems(profile) == []


def test_catalogue_profiles_differ_from_each_other_in_their_hardware() -> None:
    shapes = [
        (profile.firmware, profile.cores, profile.memory_mib, profile.disks, profile.nics)
        for profile in catalogue().values()
    ]
    assert len(set(shapes)) == len(shapes)


def test_capabilities_say_what_the_catalogue_profile_has() -> None:
    capabilities = catalogue()["uefi-disks"].capabilities
    assert capabilities["firmware"] == Firmware.UEFI
    assert capabilities["disks"] == 4
    assert all(capabilities[f"disk_{bus.value}"] == 1 for bus in Bus)
    assert catalogue()["multi-nic"].capabilities["nics"] == 4
