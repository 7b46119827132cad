"""What profiles claim, in real machines: two boots with all kinds of hardware, and one that Secure Boot refuses."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from lisa_ci import files, image
from lisa_ci.errors import MachineLostError, ProvisioningError
from lisa_ci.execution import claims
from lisa_ci.execution.hardware import HARDWARE
from lisa_ci.model import Access, Bus, Disk, Firmware, ImageSource, Lease, Nic, Outcome, Profile, Subject, Timeouts
from lisa_ci.pipeline.known import Known
from lisa_ci.pipeline.suites import load_suite
from lisa_ci.platforms.qemu import QemuPlatform
from lisa_ci.platforms.qemu.platform import QemuMachines
from lisa_ci.protocols import Machine
from lisa_ci.scenarios.hotplug import HotplugScenario

SOON = timedelta(seconds=60)
BOOT = Timeouts(boot=timedelta(minutes=5))

SPREAD = Profile(
    name="spread",
    cores=2,
    memory_mib=1024,
    numa_nodes=2,
    disks=(
        Disk(size_mib=64, queues=2),
        Disk(size_mib=80, bus=Bus.NVME, namespaces=3, queues=2),
        Disk(size_mib=96, bus=Bus.SCSI, queues=2),
        Disk(size_mib=96, bus=Bus.SATA),
    ),
    nics=(Nic(queues=2), Nic(model="e1000e")),
)
TRUSTED = Profile(
    name="trusted", firmware=Firmware.UEFI, memory_mib=768, tpm=True, hotplug=True, disks=(Disk(size_mib=64),)
)


def lease_in(folder: Path) -> Lease:
    later = datetime.now(UTC) + timedelta(minutes=30)
    return Lease(
        owner="test", leg="leg", attempt=1, delete_after=later, evidence=folder / "evidence", scratch=folder / "scratch"
    )


def processes(text: Path) -> list[int]:
    """Processes whose command line has ``text`` in it, ours excepted."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                words = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if str(text).encode() in words:
                found.append(int(entry.name))
    return found


@dataclass
class Guest:
    machines: QemuMachines
    machine: Machine
    folder: Path

    def sh(self, line: str) -> str:
        completed = self.machine.run("sh", "-c", line, timeout=SOON)
        assert completed.exit == 0, completed.output
        return completed.output.decode().strip()


@contextmanager
def booted(demo_image: Path, folder: Path, profile: Profile) -> Iterator[Guest]:
    subject = Subject(image=image.resolve(ImageSource(path=str(demo_image)), Path("/")))
    with QemuPlatform().provision(
        profile, subject, Access(), lease_in(folder), timeouts=BOOT, emit=lambda _: None
    ) as machines:
        yield Guest(machines=machines, machine=machines.members[0], folder=folder)
    assert processes(folder / "scratch") == []
    assert list((folder / "scratch").iterdir()) == []


@pytest.fixture(scope="module", autouse=True)
def _own_state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(scope="class")
def spread(demo_image: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guest]:
    with booted(demo_image, tmp_path_factory.mktemp("spread"), SPREAD) as guest:
        yield guest


@pytest.fixture(scope="class")
def spread_hardware(spread: Guest) -> str:
    """What it says of its hardware, asked once."""
    return spread.sh(HARDWARE)


class TestManyDevices:
    def test_all_that_the_profile_claims_is_true(self, spread: Guest) -> None:
        assert claims.ask(spread.machine, SPREAD, timeout=SOON) == {}

    def test_a_card_without_a_driver_is_there_and_claimed_truly(self, spread: Guest) -> None:
        """The demo's kernel has no e1000e; hardware that is missing altogether is another thing."""
        assert spread.sh("ls /sys/class/net | grep -vc lo") == "2"
        assert "0x10d3" in spread.sh("cat /sys/bus/pci/devices/*/device")

    @pytest.mark.parametrize(
        ("claim", "names"),
        [
            (replace(SPREAD, cores=3), {"cores"}),
            (replace(SPREAD, memory_mib=2048), {"memory_mib"}),
            (replace(SPREAD, numa_nodes=3), {"numa_nodes"}),
            (replace(SPREAD, nics=(Nic(queues=3), SPREAD.nics[1])), {"nic_queues"}),
            (replace(SPREAD, disks=(*SPREAD.disks, Disk())), {"disks", "disk_virtio"}),
            (replace(SPREAD, disks=(Disk(size_mib=65), *SPREAD.disks[1:])), {"disks", "disk_virtio"}),
            (replace(SPREAD, firmware=Firmware.UEFI, secure_boot=True), {"firmware", "secure_boot"}),
            (replace(SPREAD, tpm=True, hotplug=True), {"tpm", "hotplug"}),
        ],
    )
    def test_a_profile_that_claims_more_is_found_out(
        self, spread_hardware: str, claim: Profile, names: set[str]
    ) -> None:
        assert set(claims.verify(claim, spread_hardware)) == names

    def test_a_namespace_too_few_or_a_queue_too_few_is_found_out(self, spread_hardware: str) -> None:
        virtio, nvme, scsi, sata = SPREAD.disks
        more = replace(SPREAD, disks=(virtio, replace(nvme, namespaces=4), scsi, sata))
        assert set(claims.verify(more, spread_hardware)) == {"nvme_namespaces"}
        for disks in ((replace(virtio, queues=3), nvme, scsi, sata), (virtio, nvme, replace(scsi, queues=3), sata)):
            assert set(claims.verify(replace(SPREAD, disks=disks), spread_hardware)) == {"disk_queues"}

    def test_memory_and_processors_are_on_two_nodes(self, spread: Guest) -> None:
        assert spread.sh("cat /sys/devices/system/node/node?/cpulist").split() == ["0", "1"]
        lines = spread.sh("grep MemTotal /sys/devices/system/node/node?/meminfo").splitlines()
        assert len(lines) == 2
        assert all(400 < int(line.split()[-2]) // 1024 <= 512 for line in lines)

    def test_each_namespace_is_a_disk_of_its_own(self, spread: Guest) -> None:
        spread.sh("for n in 1 2 3; do echo number-$n | dd of=/dev/nvme0n$n bs=512 conv=sync,fsync; done 2>/dev/null")
        read = "dd if=/dev/nvme0n$n bs=512 count=1 iflag=direct 2>/dev/null | tr -d '\\0'"
        assert spread.sh(f"for n in 1 2 3; do {read}; done").split() == ["number-1", "number-2", "number-3"]

    def test_nvme_rules_a_snapshot_out(self, spread: Guest) -> None:
        assert "nvme" in spread.machines.snapshot_problem()


@pytest.fixture(scope="class")
def trusted(demo_image: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guest]:
    with booted(demo_image, tmp_path_factory.mktemp("trusted"), TRUSTED) as guest:
        yield guest


PCR = "cat /sys/class/tpm/tpm0/pcr-sha256/16"


class TestTpmAndHotplug:
    def test_all_that_the_profile_claims_is_true(self, trusted: Guest) -> None:
        assert claims.ask(trusted.machine, TRUSTED, timeout=SOON) == {}

    def test_the_tpm_measured_the_boot(self, trusted: Guest) -> None:
        assert trusted.sh("cat /sys/class/tpm/tpm0/tpm_version_major") == "2"
        measured = [trusted.sh(f"cat /sys/class/tpm/tpm0/pcr-sha256/{number}") for number in (0, 4, 7)]
        assert all(len(value) == 64 and set(value) != {"0"} for value in measured)
        assert set(trusted.sh(PCR)) == {"0"}

    def test_the_tpms_state_goes_back_with_the_snapshot(self, trusted: Guest) -> None:
        assert trusted.machines.snapshot_problem() == ""
        trusted.machines.snapshot()
        # TPM2_PCR_Extend of PCR 16 by 32 times 0x31, in a session of the empty password (TPM 2.0 part 3, 22.2).
        trusted.sh(
            "printf '\\200\\002\\000\\000\\000\\101\\000\\000\\001\\202\\000\\000\\000\\020\\000\\000\\000\\011"
            "\\100\\000\\000\\011\\000\\000\\000\\000\\000\\000\\000\\000\\001\\000\\013%s' "
            "11111111111111111111111111111111 >/tmp/extend; exec 3<>/dev/tpm0; cat /tmp/extend >&3; "
            "dd bs=4096 count=1 <&3 >/dev/null 2>&1"
        )
        assert set(trusted.sh(PCR)) != {"0"}
        trusted.machines.restore(timeout=SOON)
        assert set(trusted.sh(PCR)) == {"0"}
        assert claims.ask(trusted.machine, TRUSTED, timeout=SOON) == {}

    def test_a_disk_and_a_nic_come_and_go_while_data_is_written(self, trusted: Guest) -> None:
        folder = files.shipped("suites") / "hotplug"
        suite = load_suite(folder, Known(platforms=frozenset(), drivers=frozenset(), scenarios=frozenset({"hotplug"})))
        results = list(HotplugScenario().run(suite, trusted.machines, timeouts=BOOT, emit=lambda _: None))
        assert {result.case: (result.outcome, result.message) for result in results} == {
            case.id: (Outcome.PASSED, "") for case in suite.cases or ()
        }
        assert trusted.machines.snapshot_problem() == ""
        assert trusted.sh("ls -d /var/tmp/lisa-ci-* 2>/dev/null || echo clean") == "clean"
        [place] = (trusted.folder / "scratch").iterdir()
        assert list(place.glob("hot-*")) == []

    def test_what_is_plugged_in_rules_a_snapshot_out_and_takes_a_port(self, trusted: Guest) -> None:
        machines, machine = trusted.machines, trusted.machine
        names = [machines.add_disk(machine, size_mib=8) for _ in range(4)]
        with pytest.raises(ProvisioningError, match="no free port"):
            machines.add_nic(machine)
        assert "was plugged in" in machines.snapshot_problem()
        with pytest.raises(ProvisioningError, match="was plugged in"):
            machines.restore(timeout=SOON)
        assert all(machines.remove_device(machine, name, timeout=SOON) for name in names)
        machines.restore(timeout=SOON)
        assert trusted.sh("cat /sys/block/*/serial | grep -c hot || :") == "0"

    def test_the_tpm_ends_with_its_machine(self, trusted: Guest) -> None:
        folder = trusted.folder / "scratch"
        named = {pid: Path(f"/proc/{pid}/comm").read_text().strip() for pid in processes(folder)}
        [tpm] = [pid for pid, name in named.items() if name == "swtpm"]
        [emulator] = [pid for pid, name in named.items() if name.startswith("qemu-system")]
        os.kill(emulator, signal.SIGKILL)
        deadline = time.monotonic() + 5
        while tpm in processes(folder) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert tpm not in processes(folder)
        with pytest.raises(MachineLostError):
            trusted.machine.run("true", timeout=SOON)


def test_secure_boot_refuses_a_loader_that_nobody_signed(demo_image: Path, tmp_path: Path) -> None:
    profile = Profile(name="secure", firmware=Firmware.UEFI, secure_boot=True, tpm=True)
    refused = pytest.raises(
        ProvisioningError, match=r"its firmware says '(Access Denied|Security Violation): Secure Boot"
    )
    with refused, booted(demo_image, tmp_path, profile):
        raise AssertionError("nobody can log in to that")
    assert processes(tmp_path / "scratch") == []
