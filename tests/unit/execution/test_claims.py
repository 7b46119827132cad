from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lisa_ci.execution.claims import claimed_falsely, verify
from lisa_ci.execution.hardware import read_hardware
from lisa_ci.model import Bus, Case, Confidential, Disk, Endpoint, Firmware, Nic, Profile, Suite

PROFILE = Profile(
    name="p",
    firmware=Firmware.UEFI,
    cores=4,
    memory_mib=1024,
    disks=(Disk(), Disk(size_mib=512, bus=Bus.NVME), Disk(bus=Bus.SATA), Disk(bus=Bus.SCSI)),
    nics=(Nic(model="e1000e"), Nic()),
)
# What a machine of this profile printed (Debian 12, kernel 6.1, QEMU 7.2), some lines left out.
TEXT = """\
arch=x86_64
firmware=uefi
cpus=0-3
efi_variables=41
memory_kib=983048
crash_bytes=0
ram=0x0 0x9ffff
ram=0x100000 0x3eb00fff
ram=0x3ff00000 0x3ff4ffff
disk=/sys/devices/pci0000:00/0000:00:02.0/virtio0/block/vda|4194304|4|
disk=/sys/devices/pci0000:00/0000:00:07.0/virtio3/block/vdb|2097152|4|lisa-ci-0
disk=/sys/devices/pci0000:00/0000:00:08.0/nvme/nvme0/nvme0n1|1048576|4|lisa-ci-1
disk=/sys/devices/pci0000:00/0000:00:09.0/ata7/host6/target6:0:0/6:0:0:0/block/sda|2097152|1|lisa-ci-2
disk=/sys/devices/pci0000:00/0000:00:06.0/virtio4/host8/target8:0:0/8:0:0:0/block/sdb|2097152|4|lisa-ci-3
nic=52:54:00:6c:63:00|virtio_net|1
nic=52:54:00:6c:63:01|e1000e|1
nic=52:54:00:6c:63:02|virtio_net|1
undriven=0x060000|0x8086|0x29c0|/sys/devices/pci0000:00/0000:00:00.0
end=
"""
RICH = Profile(
    name="rich",
    firmware=Firmware.UEFI,
    disks=(Disk(bus=Bus.NVME, namespaces=3, queues=2, vfs=2),),
    numa_nodes=2,
    nics=(Nic(queues=2, vfs=1),),
    tpm=True,
    secure_boot=True,
    hotplug=True,
)
RICH_TEXT = """\
arch=x86_64
firmware=uefi
cpus=0-1
nodes=0-1
tpm=/sys/class/tpm/tpm0
tpm=/sys/firmware/acpi/tables/TPM2
slot=1
efi_variables=62
secure_boot=   6   0   0   0   1
memory_kib=983048
disk=/sys/devices/virtual/nvme-subsystem/nvme-subsys0/nvme0n1|2097152|2|lisa-ci-0
disk=/sys/devices/virtual/nvme-subsystem/nvme-subsys0/nvme0n2|2097152|2|lisa-ci-0
disk=/sys/devices/virtual/nvme-subsystem/nvme-subsys0/nvme0n3|2097152|2|lisa-ci-0
nic=52:54:00:6c:63:00|virtio_net|1
nic=52:54:00:6c:63:01|virtio_net|2
vfs=0x010802|2|0
vfs=0x020000|0|1
end=
"""
THERE = Profile(name="lab", platform="ssh", endpoint=Endpoint(host="h", host_key="k"))


def without(*marks: str) -> str:
    kept = [line for line in TEXT.splitlines() if not any(mark in line for mark in marks)]
    assert len(kept) < len(TEXT.splitlines())
    return "\n".join(kept) + "\n"


def replaced(old: str, new: str) -> str:
    assert old in TEXT
    return TEXT.replace(old, new)


def test_a_machine_that_is_what_its_profile_says_makes_no_claim_false() -> None:
    assert verify(PROFILE, TEXT) == {}


@pytest.mark.parametrize(
    ("text", "names", "why"),
    [
        (replaced("cpus=0-3", "cpus=0,2"), {"cores"}, "the profile claims cores 4, the machine has 2"),
        (replaced("cpus=0-3", "cpus="), {"cores"}, "the machine has 0"),
        (
            replaced("0x3eb00fff", "0x2eb00fff"),
            {"memory_mib"},
            "the profile claims memory_mib 1024, the machine has 74",
        ),
        (replaced("uefi", "bios"), {"firmware"}, "the profile claims firmware uefi, the machine says bios"),
        (replaced("arch=x86_64", "arch=i686"), {"arch"}, "the machine says i686"),
        (
            without("lisa-ci-1"),
            {"disks", "disk_nvme", "nvme_namespaces"},
            "the profile claims disks 4, the machine has 3: lisa-ci-1",
        ),
        (replaced("1048576|4|lisa-ci-1", "2097152|4|lisa-ci-1"), {"disks", "disk_nvme"}, "has 1024 MiB, not 512"),
        (replaced("virtio4/host8", "ata9/host8"), {"disks", "disk_scsi"}, "lisa-ci-3 is on bus sata, not scsi"),
        (without("63:02"), {"nics"}, "the profile claims nics 3, the machine has 2"),
        (replaced("63:02", "63:09"), {"nics"}, "with the address 52:54:00:6c:63:02, the machine has none"),
        (replaced("|e1000e|", "|e1000|"), {"nics"}, "claims a NIC e1000e with .*63:01, the machine has e1000 there"),
    ],
)
def test_each_wrong_world_makes_exactly_its_claims_false(text: str, names: set[str], why: str) -> None:
    false = verify(PROFILE, text)
    assert set(false) == names
    assert any(re.search(why, said) for said in false.values()), false


@pytest.mark.parametrize(
    ("gone", "undriven", "names"),
    [
        ("lisa-ci-0", "|0x1af4|0x0002|/sys/devices/pci0000:00/0000:00:07.0/virtio3", set()),
        ("lisa-ci-1", "0x010802|0x1b36|0x0010|/sys/devices/pci0000:00/0000:00:08.0", set()),
        ("lisa-ci-2", "0x010601|0x8086|0x2922|/sys/devices/pci0000:00/0000:00:09.0", set()),
        ("lisa-ci-3", "|0x1af4|0x0008|/sys/devices/pci0000:00/0000:00:06.0/virtio4", set()),
        ("lisa-ci-3", "||0x0|/sys/devices/pci0000:00/0000:00:06.0/virtio4/host8/target8:0:0/8:0:0:0", set()),
        ("63:01", "0x020000|0x8086|0x10d3|/sys/devices/pci0000:00/0000:00:04.0", set()),
        ("63:02", "0x020000|0x1af4|0x1041|/sys/devices/pci0000:00/0000:00:04.0", set()),
        ("lisa-ci-0", "0x010802|0x1b36|0x0010|/sys/devices/pci0000:00/0000:00:08.0", {"disks", "disk_virtio"}),
        ("63:01", "0x010000|0x1af4|0x1001|/sys/devices/pci0000:00/0000:00:04.0", {"nics"}),
    ],
)
def test_hardware_that_is_there_without_a_driver_is_the_images_failure_and_no_false_claim(
    gone: str, undriven: str, names: set[str]
) -> None:
    assert set(verify(PROFILE, f"undriven={undriven}\n{without(gone)}")) == names


def test_firmware_may_keep_a_sixteenth_of_the_memory_and_no_more() -> None:
    def whole(mib: int) -> str:
        return f"{without('ram=')}ram=0x0 {(mib << 20) - 1:#x}\n"

    big = Profile(name="big", memory_mib=4096)
    assert "memory_mib" not in verify(big, whole(4096 - 256))
    assert verify(big, whole(4096 - 257))["memory_mib"].endswith("the machine has 3839")


def test_without_the_firmwares_map_a_quarter_may_be_missing_beside_a_crash_kernels_share() -> None:
    text = without("ram=")
    assert verify(PROFILE, text) == {}
    less = text.replace("memory_kib=983048", f"memory_kib={700 * 1024}")
    assert verify(PROFILE, less)["memory_mib"].endswith("the machine has 700")
    assert verify(PROFILE, less.replace("crash_bytes=0", f"crash_bytes={128 << 20}")) == {}


def test_a_machine_that_was_found_is_measured_by_counts_and_sizes() -> None:
    def lab(*disks: Disk, nics: int = 0) -> Profile:
        nothing = Profile(name="lab", platform="ssh", firmware=Firmware.UEFI, endpoint=THERE.endpoint)
        return Profile(
            name="lab",
            platform="ssh",
            firmware=nothing.firmware,
            endpoint=nothing.endpoint,
            disks=disks,
            nics=(Nic(),) * nics,
        )

    text = TEXT.replace("lisa-ci-", "WD-").replace("52:54:00", "00:11:22")
    assert verify(lab(Disk(), Disk(size_mib=512, bus=Bus.NVME), nics=2), text) == {}
    assert set(verify(lab(Disk(size_mib=4096)), text)) == {"disks", "disk_virtio"}
    assert "the machine has 1 on bus nvme" in verify(lab(*[Disk(size_mib=1, bus=Bus.NVME)] * 2), text)["disk_nvme"]
    assert verify(lab(*[Disk()] * 5), text)["disks"].endswith("the machine has 4 beside its own")
    assert verify(lab(nics=3), text)["nics"] == "the profile claims nics 4, the machine has 3"


def test_more_than_is_claimed_is_no_false_claim() -> None:
    assert verify(Profile(name="less", firmware=Firmware.UEFI), TEXT) == {}


@pytest.mark.parametrize("text", ["", "end", TEXT.replace("end=", ""), "\0" * 100])
def test_a_machine_that_does_not_tell_has_confirmed_nothing(text: str) -> None:
    false = verify(PROFILE, text)
    assert {"cores", "memory_mib", "disks", "nics", "firmware", "arch"} <= set(false)
    assert not {"platform", "machines", "outbound"} & set(false)
    assert all(why.endswith("the machine does not tell its hardware") for why in false.values())


def test_only_what_asks_for_a_false_claim_is_not_believed() -> None:
    false = verify(PROFILE, without("lisa-ci-1"))
    plain = Suite(name="s", folder="f", digest="d")
    case = Case(suite="s", id="c")
    needs = Case(suite="s", id="n", requires={"disk_nvme": 1, "cores": 2})
    assert claimed_falsely(case, plain, false) == ""
    assert claimed_falsely(needs, plain, {}) == ""
    assert claimed_falsely(needs, plain, false).startswith("the profile claims disk_nvme 1, the machine has 0")
    whole = Suite(name="s", folder="f", digest="d", requires={"disks": 1})
    assert claimed_falsely(case, whole, false) == false["disks"]
    assert claimed_falsely(needs, whole, false).count("the profile claims") == 2


LINES = st.sampled_from([*TEXT.splitlines(), "ram=0x0", "cpus=9-1", "disk=||||||", "nic=", "cpus=" + "9" * 5000])


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.text(), st.lists(st.one_of(LINES, st.text()), max_size=60).map("\n".join)))
def test_whatever_a_machine_prints_is_judged_in_short_words(text: str) -> None:
    for why in verify(PROFILE, f"{text}\nend=\n").values():
        assert why
        assert len(why) < 400


def test_a_flood_of_facts_is_cut() -> None:
    flood = "disk=/virtio|2048|1|x\n" * 100_000
    assert read_hardware(flood + "end=\n") is None
    found = read_hardware("end=\n" + flood)
    assert found is not None
    assert len(found.disks) < 5000


@pytest.mark.parametrize(
    ("old", "new", "names"),
    [
        ("end=", "end=", set()),
        ("nodes=0-1", "nodes=0", {"numa_nodes"}),
        ("nodes=0-1", "nodes=", {"numa_nodes"}),
        ("tpm=/sys/class/tpm/tpm0\ntpm=/sys/firmware/acpi/tables/TPM2\n", "", {"tpm"}),
        ("tpm=/sys/class/tpm/tpm0\n", "", set()),
        ("slot=1\n", "", {"hotplug"}),
        ("63:01|virtio_net|2", "63:01|virtio_net|1", {"nic_queues"}),
        ("0   1\n", "0   0\n", {"secure_boot"}),
        ("   6   0   0   0   1", "", {"secure_boot"}),
        ("efi_variables=62\nsecure_boot=   6   0   0   0   1", "efi_variables=0\nsecure_boot=", {"secure_boot"}),
        ("nvme-subsys0/nvme0n3", "nvme-subsys1/nvme0n3", {"nvme_namespaces"}),
        ("|2|lisa-ci-0", "|1|lisa-ci-0", {"disk_queues"}),
        ("vfs=0x010802|2", "vfs=0x010802|1", {"nvme_vfs"}),
        ("vfs=0x010802|2", "vfs=0x020000|2", {"nvme_vfs"}),
        ("vfs=0x020000|0|1", "vfs=0x020000|1|0", set()),
        ("vfs=0x020000|0|1", "vfs=0x020000|0|0", {"nic_vfs"}),
        ("vfs=0x020000|0|1\n", "", {"nic_vfs"}),
    ],
)
def test_each_wrong_world_of_a_rich_profile_makes_exactly_its_claim_false(old: str, new: str, names: set[str]) -> None:
    assert old in RICH_TEXT
    assert set(verify(RICH, RICH_TEXT.replace(old, new))) == names


SPECIAL = Profile(name="special", gpus=2, fpgas=1, rdma=True, confidential=Confidential.SEV_SNP)
SPECIAL_TEXT = """\
arch=x86_64
firmware=bios
cpus=0-1
memory_kib=983048
special=0x030000|0x1414
special=0x030200|0x10de
special=0x120000|0x1002
special=0x120000|0x10ee
special=0x020700|0x15b3
verbs=mlx5_ib0
report=sev-guest
encryption=AMD SEV SEV-ES SEV-SNP
end=
"""


def test_what_no_emulation_gives_is_found_where_it_is() -> None:
    assert {name for name in verify(SPECIAL, SPECIAL_TEXT) if name != "nics"} == set()


@pytest.mark.parametrize(
    ("old", "new", "name"),
    [
        ("0x030200|0x10de", "0x030000|0x1234", "gpus"),
        ("special=0x120000|0x1002\n", "", "gpus"),
        ("0x120000|0x10ee", "0x058000|0x15b3", "fpgas"),
        ("special=0x020700|0x15b3\nverbs=mlx5_ib0\n", "", "rdma"),
        ("report=sev-guest\nencryption=AMD SEV SEV-ES SEV-SNP", "encryption=AMD SEV SEV-ES", "confidential"),
        ("report=sev-guest\nencryption=AMD SEV SEV-ES SEV-SNP", "report=tdx_guest", "confidential"),
        ("report=sev-guest\nencryption=AMD SEV SEV-ES SEV-SNP", "encryption=Intel TDX", "confidential"),
    ],
)
def test_a_machine_without_it_makes_the_claim_a_false_one(old: str, new: str, name: str) -> None:
    assert old in SPECIAL_TEXT
    assert {one for one in verify(SPECIAL, SPECIAL_TEXT.replace(old, new)) if one != "nics"} == {name}


def test_a_machine_with_secure_boot_is_not_one_without() -> None:
    less = Profile(name="less", firmware=Firmware.UEFI)
    assert verify(less, RICH_TEXT)["secure_boot"] == "the profile claims secure_boot false, the machine says true"
    hidden = RICH_TEXT.replace("efi_variables=62", "efi_variables=0").replace("   6   0   0   0   1", "")
    assert verify(less, hidden)["secure_boot"] == "the profile claims secure_boot false, the machine says nothing"
