from __future__ import annotations

import dataclasses
import itertools
import json
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lisa_ci.model import Arch, Bus, Disk, Firmware, ImageFormat, Kernel, Nic, Profile
from lisa_ci.platforms.qemu.acceleration import KVM, Acceleration, Accelerator
from lisa_ci.platforms.qemu.command_line import (
    MODULES_SLOT,
    NIC_DEVICES,
    FirmwareFile,
    MachineFiles,
    arguments,
    device_count,
    disk_nodes,
    shape_problems,
    with_taps,
    writable_nodes,
)

TCG = Acceleration(accelerator=Accelerator.TCG)
GOLDEN = Path(__file__).parents[3] / "golden" / "qemu"
KERNEL = Kernel(image="/k/vmlinuz", initrd="/k/initrd", command_line="root=LABEL=root quiet")
EVERYTHING = Profile(
    name="everything",
    firmware=Firmware.UEFI,
    cores=4,
    memory_mib=2048,
    disks=(Disk(), Disk(bus=Bus.SCSI), Disk(bus=Bus.NVME), Disk(bus=Bus.SATA), Disk(bus=Bus.SCSI)),
    nics=(Nic(), Nic(model="e1000e", outbound=True)),
)

SPREAD = Profile(
    name="spread",
    cores=3,
    nics=(Nic(queues=3), Nic(), Nic(queues=2)),
    memory_mib=1000,
    numa_nodes=3,
    disks=(
        Disk(queues=2),
        Disk(bus=Bus.NVME, namespaces=2, queues=3),
        Disk(bus=Bus.SCSI),
        Disk(bus=Bus.SCSI, queues=3),
    ),
)
SECURE = Profile(name="secure", firmware=Firmware.UEFI, secure_boot=True, tpm=True, hotplug=True, disks=(Disk(),))
ARM = Profile(name="arm", arch=Arch.AARCH64, firmware=Firmware.UEFI, cores=2, numa_nodes=2, disks=(Disk(),))


def files(profile: Profile, *, base: str = "/images/a,b.qcow2", kind: ImageFormat = ImageFormat.QCOW2) -> MachineFiles:
    is_uefi = profile.firmware is Firmware.UEFI
    return MachineFiles(
        base=Path(base),
        base_format=kind,
        root=Path("/s/root.qcow2"),
        console=Path("/e,e/console.log"),
        disks=tuple(Path(f"/s/{node}.qcow2") for _, nodes in disk_nodes(profile) for node in nodes),
        seed=Path("/s/seed.iso"),
        credentials={"tmpfiles.extra": Path("/s/credential.tmpfiles.extra")},
        code=FirmwareFile(path=Path("/f/code.fd"), format="raw") if is_uefi else None,
        variables=Path("/s/variables.qcow2") if is_uefi else None,
    )


def command(profile: Profile, *, kernel: Kernel | None = None, acceleration: Acceleration = TCG) -> list[str]:
    return list(arguments("qemu", profile, files(profile), acceleration, name="leg-1", kernel=kernel))


def values(words: list[str], option: str) -> list[str]:
    return [value for name, value in itertools.pairwise(words) if name == option]


def blockdevs(words: list[str]) -> dict[str, dict[str, object]]:
    found = [json.loads(value) for value in values(words, "-blockdev")]
    return {node["node-name"]: node for node in found}


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("bios-kvm", command(Profile(name="small"), acceleration=KVM)),
        ("uefi-everything", command(EVERYTHING)),
        ("numa-namespaces", command(SPREAD)),
        ("secure-hotplug", command(SECURE)),
        ("aarch64", command(ARM)),
        ("foreign-kernel", command(Profile(name="small"), kernel=KERNEL)),
    ],
)
def test_the_command_is_as_reviewed(name: str, words: list[str]) -> None:
    lines = "".join(f"{'' if word.startswith('-') else '  '}{word}\n" for word in words)
    assert lines == (GOLDEN / f"{name}.txt").read_text()


FEW = settings(max_examples=25, deadline=None)
profiles = st.builds(
    Profile,
    name=st.just("any"),
    firmware=st.sampled_from(Firmware),
    disks=st.lists(
        st.one_of(
            st.builds(Disk, bus=st.sampled_from(Bus), queues=st.integers(0, 1)),
            st.builds(Disk, bus=st.just(Bus.NVME), namespaces=st.integers(1, 4)),
        ),
        max_size=6,
    ).map(tuple),
    hotplug=st.booleans(),
    tpm=st.booleans(),
    nics=st.lists(st.builds(Nic, model=st.sampled_from(sorted(NIC_DEVICES)), outbound=st.booleans()), max_size=6).map(
        tuple
    ),
)


@FEW
@given(profiles)
def test_every_device_has_a_slot_of_its_own_and_the_root_disk_the_first(profile: Profile) -> None:
    devices = values(command(profile), "-device")
    slots = [int(found[1], 16) for device in devices if (found := re.search(r"addr=(0x[0-9a-f]+)", device))]
    assert len(set(slots)) == len(slots)
    assert max(slots) < 0x1F
    assert min(slots) == slots[0]
    assert "drive=root" in devices[0]


@FEW
@given(profiles)
def test_the_image_is_only_ever_opened_for_reading(profile: Profile) -> None:
    words = command(profile)
    base = blockdevs(words)["root"]["backing"]
    assert isinstance(base, dict)
    assert base["read-only"] is True
    assert base["file"]["read-only"] is True
    assert "/images/a,b.qcow2" not in "".join(words).replace(json.dumps(base["file"]["filename"]), "")


@FEW
@given(profiles)
def test_only_an_outbound_nic_has_a_way_out(profile: Profile) -> None:
    networks = values(command(profile), "-netdev")
    ways_out = [network for network in networks if "restrict=on" not in network]
    assert len(ways_out) == sum(nic.outbound for nic in profile.nics)
    assert len({re.search(r"net=\S+|control", network)[0] for network in networks}) == len(networks)  # type: ignore[index]


def test_the_control_port_is_on_loopback_and_picked_by_the_kernel() -> None:
    [network] = values(command(Profile(name="small")), "-netdev")
    assert network.endswith("hostfwd=tcp:127.0.0.1:0-:22")


def test_data_disks_have_serials_in_the_order_of_the_profile() -> None:
    devices = values(command(EVERYTHING), "-device")
    found = [
        (found[1], device.split(",")[0]) for d in devices if (device := d) and (found := re.search(r"lisa-ci-(\d)", d))
    ]
    drivers = ["virtio-blk-pci", "scsi-hd", "nvme", "ide-hd", "scsi-hd"]
    assert found == [(str(number), driver) for number, driver in enumerate(drivers)]


def test_an_nvme_disk_with_virtual_functions_has_queues_and_interrupts_for_them_and_for_itself() -> None:
    disk = Disk(bus=Bus.NVME, namespaces=2, queues=2, vfs=3)
    devices = values(command(Profile(name="vfs", disks=(disk,), hotplug=True)), "-device")
    [controller] = [device for device in devices if device.startswith("nvme,")]
    given = dict(word.split("=") for word in controller.split(",")[1:])
    assert (given["sriov_max_vfs"], given["subsys"], given["serial"]) == ("3", "subsystem0", "lisa-ci-0")
    # QEMU refuses the device else (hw/nvme/ctrl.c, nvme_check_constraints of 7.2); what is left is the machine's own.
    assert int(given["sriov_vq_flexible"]) >= 2 * 3
    assert int(given["max_ioqpairs"]) - int(given["sriov_vq_flexible"]) == 2
    assert int(given["msix_qsize"]) - int(given["sriov_vi_flexible"]) == 3
    namespaces = [device for device in devices if device.startswith("nvme-ns,")]
    assert len(namespaces) == 2
    assert all(namespace.endswith("shared=on") for namespace in namespaces)
    ports = [device for device in devices if device.startswith("pcie-root-port")]
    assert [port for port in ports if f"id={given['bus']}," in port]
    assert len({port.split("chassis=")[1].split(",")[0] for port in ports}) == len(ports) == 5


@pytest.mark.parametrize("kind", ImageFormat)
def test_the_container_is_named_and_may_name_no_other_file(kind: ImageFormat) -> None:
    profile = Profile(name="small")
    words = list(arguments("qemu", profile, files(profile, kind=kind), TCG, name="x", kernel=None))
    base = blockdevs(words)["root"]["backing"]
    assert isinstance(base, dict)
    assert base["driver"] == {"vhd": "vpc"}.get(kind.value, kind.value)
    if kind in {ImageFormat.QCOW2, ImageFormat.VMDK}:
        assert base["backing"] is None


def test_commas_in_paths_are_doubled_where_qemu_splits_at_them() -> None:
    words = command(Profile(name="small"))
    assert any("path=/e,,e/console.log," in value for value in values(words, "-chardev"))


def test_a_foreign_kernel_talks_to_the_serial_console() -> None:
    assert values(command(Profile(name="small"), kernel=KERNEL), "-append") == ["root=LABEL=root quiet console=ttyS0"]
    own = Kernel(image="k", command_line="console=hvc0")
    assert values(command(Profile(name="small"), kernel=own), "-append") == ["console=hvc0"]


def test_the_serial_console_of_an_aarch64_machine_has_another_name() -> None:
    assert values(command(ARM, kernel=Kernel(image="k")), "-append") == ["console=ttyAMA0"]


def test_uefi_variables_are_qcow2_so_that_snapshots_stay_possible() -> None:
    nodes = blockdevs(command(EVERYTHING))
    assert nodes["variables"]["driver"] == "qcow2"
    assert nodes["code"]["read-only"] is True
    assert "variables" not in blockdevs(command(Profile(name="small")))


def test_a_shape_that_no_qemu_of_ours_gives_is_told_before_any_cost() -> None:
    assert not shape_problems(EVERYTHING)
    assert not shape_problems(ARM)
    for more in ({"firmware": Firmware.BIOS}, {"tpm": True}, {"secure_boot": True}, {"hotplug": True}):
        told = " ".join(shape_problems(dataclasses.replace(ARM, numa_nodes=1, **more)))  # type: ignore[arg-type]
        assert f"wants {'firmware bios' if 'firmware' in more else next(iter(more))}, which" in told
    assert "SATA" in shape_problems(Profile(name="sata", disks=(Disk(bus=Bus.SATA),) * 7))[0]
    assert "slots" in shape_problems(Profile(name="many", disks=(Disk(),) * 25))[0]
    assert "wants nic_vfs" in shape_problems(Profile(name="vf", nics=(Nic(vfs=1),)))[0]
    assert "unknown NIC model 'ne2000'" in shape_problems(Profile(name="old", nics=(Nic(model="ne2000"),)))[0]


def test_disks_on_a_controller_share_its_slot() -> None:
    assert device_count(Profile(name="scsi", disks=(Disk(bus=Bus.SCSI),) * 40)) == 1
    assert device_count(EVERYTHING) == 6


def test_the_modules_of_a_foreign_kernel_are_a_disk_behind_all_others_and_written_to_in_an_overlay() -> None:
    with_modules = dataclasses.replace(
        files(EVERYTHING), modules=Path("/s/modules.qcow2"), modules_base=Path("/cache/modules.ext4")
    )
    words = list(arguments("qemu", EVERYTHING, with_modules, TCG, name="leg-1", kernel=KERNEL))
    node = blockdevs(words)["modules"]
    assert (node["driver"], node["read-only"]) == ("qcow2", False)
    backing = node["backing"]
    assert isinstance(backing, dict)
    assert (backing["driver"], backing["read-only"]) == ("raw", True)
    devices = values(words, "-device")
    assert "virtio-blk-pci,drive=modules,serial=lisa-ci-modules,addr=0x1e" in devices
    slots = [int(found[1], 16) for device in devices if (found := re.search(r",addr=(0x[0-9a-f]+)", device))]
    assert len(set(slots)) == len(slots)
    assert max(slots) == MODULES_SLOT
    assert "modules" in writable_nodes(EVERYTHING, has_modules=True)
    assert "modules" not in writable_nodes(EVERYTHING)


@FEW
@given(profiles)
def test_every_file_of_a_disk_is_written_to_by_one_device_under_the_name_that_snapshots_know(profile: Profile) -> None:
    words = command(profile)
    drives = [found[1] for device in values(words, "-device") if (found := re.search(r"drive=([a-z0-9]+)", device))]
    written = [name for name, node in blockdevs(words).items() if not node["read-only"]]
    assert sorted(written) == sorted(writable_nodes(profile))
    assert sorted(drives) == sorted({*written, "seed"} - {"variables"})
    names = [str(node["file"]["filename"]) for node in blockdevs(words).values()]  # type: ignore[index]
    assert len(set(names)) == len(names)


@FEW
@given(st.integers(1, 8), st.integers(0, 40), st.integers(512, 5000))
def test_numa_nodes_share_every_processor_and_every_mebibyte(nodes: int, more: int, memory_mib: int) -> None:
    cores = nodes + more
    words = command(Profile(name="n", cores=cores, memory_mib=memory_mib, numa_nodes=nodes))
    sizes = [int(found[1]) for word in values(words, "-object") if (found := re.search(r"size=(\d+)M", word))]
    ranges = [re.findall(r"cpus=(\d+)-(\d+)", word)[0] for word in values(words, "-numa")]
    assert [cpu for first, last in ranges for cpu in range(int(first), int(last) + 1)] == (
        list(range(cores)) if nodes > 1 else []
    )
    assert sum(sizes) == (memory_mib if nodes > 1 else 0)


def test_taps_are_opened_in_the_order_in_which_cards_take_them() -> None:
    words = with_taps(SPREAD, ["qemu", "-x"])
    assert words[-5:] == ("nic1=3", "nic3=2", "--", "qemu", "-x")
    assert [word for word in values(command(SPREAD), "-netdev") if "tap" in word] == [
        "tap,id=nic1,fds=10:11:12",
        "tap,id=nic3,fds=13:14",
    ]
    assert with_taps(EVERYTHING, ["qemu", "-x"]) == ("qemu", "-x")


def test_shapes_that_contradict_themselves_are_told_before_any_cost() -> None:
    assert not shape_problems(SPREAD)
    assert not shape_problems(SECURE)
    assert "not both" in shape_problems(Profile(name="x", numa_nodes=2, hotplug=True))[0]
    assert "at least 64 MiB" in shape_problems(Profile(name="x", numa_nodes=2, memory_mib=100))[0]
    assert "needs 'firmware: uefi'" in shape_problems(Profile(name="x", secure_boot=True))[0]
    assert "slots" in shape_problems(Profile(name="many", disks=(Disk(),) * 20, hotplug=True))[0]
