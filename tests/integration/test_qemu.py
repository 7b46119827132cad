"""The QEMU platform with the real QEMU, the real firmware and a real Debian; emulated where the host has no KVM."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from lisa_ci import files, image
from lisa_ci.errors import MachineLostError, ProvisioningError
from lisa_ci.events import Emit, Event, Message
from lisa_ci.model import (
    Access,
    Bus,
    Disk,
    Firmware,
    ImageFormat,
    ImageSource,
    Kernel,
    Lease,
    Nic,
    Profile,
    Subject,
    Timeouts,
    WayIn,
)
from lisa_ci.platforms.qemu import QemuPlatform, scratch
from lisa_ci.platforms.qemu.acceleration import Accelerator, try_guest
from lisa_ci.platforms.qemu.command_line import process_mark
from lisa_ci.platforms.qemu.guard import Guard
from lisa_ci.platforms.qemu.payload import PASSED
from lisa_ci.platforms.qemu.platform import QemuMachines
from lisa_ci.protocols import Machine
from tests.doubles.boot_sector import make_disk

SOON = timedelta(seconds=60)
BOOT = Timeouts(boot=timedelta(minutes=5))
SHORT = Timeouts(boot=timedelta(seconds=3))
OWNER = Path(__file__).parent.parent / "doubles" / "qemu_owner.py"
GONE_SECONDS = 5.0


def lease_in(folder: Path, *, keep: bool = False) -> Lease:
    return Lease(
        owner="test",
        leg="leg",
        attempt=1,
        delete_after=datetime.now(UTC) + timedelta(minutes=30),
        evidence=folder / "evidence",
        scratch=folder / "scratch",
        keep=keep,
    )


def subject_of(path: Path) -> Subject:
    return Subject(image=image.resolve(ImageSource(path=str(path)), Path("/")))


def processes(text: Path | str) -> list[int]:
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


def guards(folder: Path) -> list[int]:
    """The guards of the machines with their scratch folder below ``folder``, and of no others."""
    return [pid for pid in processes("guard.sh") if pid in processes(folder / "scratch")]


def listeners(port: int) -> set[str]:
    """Addresses, as the kernel writes them, on which something listens at ``port``."""
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            local, state = line.split()[1], line.split()[3]
            address, _, hexadecimal = local.partition(":")
            if state == "0A" and int(hexadecimal, 16) == port:
                found.add(address)
    return found


def wait_until(done: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not done() and time.monotonic() < deadline:
        time.sleep(0.05)
    return done()


def told(machine: Machine, line: str) -> str:
    return machine.run("sh", "-c", line, timeout=SOON).output.decode().strip()


def port_of(machine: Machine) -> int:
    words = machine.login_command().split()
    return int(words[words.index("-p") + 1])


@pytest.fixture(scope="module", autouse=True)
def _own_state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


def left_of(folder: Path) -> list[object]:
    """Everything that a machine with its scratch folder below ``folder`` may leave."""
    scratch_folder = folder / "scratch"
    found: list[object] = list(processes(scratch_folder))
    with contextlib.suppress(FileNotFoundError):
        found += scratch_folder.iterdir()
    for link in scratch.index_folder().glob("*"):
        with contextlib.suppress(FileNotFoundError):
            found += [link] if folder in link.readlink().parents else []
    return found


# ---- a real system -------------------------------------------------------------------------------------------------


@dataclass
class Running:
    machines: QemuMachines
    machine: Machine
    folder: Path
    events: list[Event] = field(default_factory=list)

    def console(self) -> bytes:
        return b"".join(self.machine.console())


@contextmanager
def running(demo_image: Path, folder: Path, profile: Profile, way_in: WayIn) -> Iterator[Running]:
    events: list[Event] = []
    before = files.sha256_file(demo_image)
    with QemuPlatform().provision(
        profile, subject_of(demo_image), Access(way_in=way_in), lease_in(folder), timeouts=BOOT, emit=events.append
    ) as machines:
        [machine] = machines.members
        assert machines.end_command() == ""
        yield Running(machines, machine, folder, events)
        port = port_of(machine)
    assert files.sha256_file(demo_image) == before, "the image was written to"
    assert left_of(folder) == []
    assert listeners(port) == set()
    assert list(machine.console()), "the console still answers after the machine is gone"


@pytest.fixture(scope="class")
def bios(demo_image: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    disks = (Disk(size_mib=64), Disk(size_mib=80, bus=Bus.SCSI), Disk(bus=Bus.NVME))
    profile = Profile(name="bios", disks=disks, nics=(Nic(),))
    with running(demo_image, tmp_path_factory.mktemp("bios"), profile, WayIn.AUTO) as machine:
        yield machine


class TestBios:
    """One machine for all of them; the last one ends it."""

    def test_it_lets_us_in_as_root(self, bios: Running) -> None:
        assert told(bios.machine, "id -u") == "0"
        assert told(bios.machine, "test -d /sys/firmware/efi || echo bios") == "bios"

    def test_it_has_the_disks_of_the_profile(self, bios: Running) -> None:
        lines = told(bios.machine, "lsblk --nodeps --noheadings --bytes -o SERIAL,SIZE,TRAN").splitlines()
        disks = {words[0]: words[1:] for line in lines if (words := line.split()) and words[0].startswith("lisa-ci-")}
        assert disks["lisa-ci-0"][0] == str(64 << 20)
        assert disks["lisa-ci-1"][0] == str(80 << 20)
        assert disks["lisa-ci-2"] == [str(1024 << 20), "nvme"]

    def test_the_root_disk_is_the_first_virtio_disk(self, bios: Running) -> None:
        assert told(bios.machine, "findmnt -n -o SOURCE /").startswith("/dev/vda")

    def test_its_port_is_on_loopback_only(self, bios: Running) -> None:
        assert listeners(port_of(bios.machine)) == {"0100007F"}

    def test_it_reaches_neither_the_host_nor_the_world(self, bios: Running) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            for address, port in (("10.0.2.2", server.getsockname()[1]), ("10.0.2.3", 53), ("1.1.1.1", 443)):
                line = f"timeout 3 bash -c 'exec 3<>/dev/tcp/{address}/{port}' 2>/dev/null && echo open || echo closed"
                assert told(bios.machine, line) == "closed"

    def test_its_console_is_evidence(self, bios: Running) -> None:
        assert b"Linux version" in bios.console()
        assert b"SeaBIOS" in bios.console()
        assert (bios.folder / "evidence" / "console.log").is_file()

    def test_its_panic_device_is_there(self, bios: Running) -> None:
        assert "1b36:0011" in told(bios.machine, "cat /sys/bus/pci/devices/*/uevent | sed -n 's/PCI_ID=//p'").lower()

    def test_only_its_owner_may_read_the_keys(self, bios: Running) -> None:
        [place] = (bios.folder / "scratch").iterdir()
        assert place.stat().st_mode & 0o077 == 0

    def test_an_nvme_disk_rules_a_snapshot_out_before_it_is_tried(self, bios: Running) -> None:
        assert re.search("QEMU cannot keep the state of .*nvme", bios.machines.snapshot_problem())
        with pytest.raises(ProvisioningError, match="nvme"):
            bios.machines.snapshot()

    def test_it_comes_back_from_a_reboot(self, bios: Running) -> None:
        before = told(bios.machine, "cat /proc/sys/kernel/random/boot_id")
        bios.machine.reboot(timeout=BOOT.boot)
        assert told(bios.machine, "cat /proc/sys/kernel/random/boot_id") != before
        assert bios.console().count(b"Linux version") == 2

    def test_when_its_kernel_panics_it_is_lost_with_that_reason_and_the_text_is_evidence(self, bios: Running) -> None:
        with pytest.raises(MachineLostError, match="its kernel panicked"):
            bios.machine.run("sh", "-c", "echo c > /proc/sysrq-trigger", timeout=SOON)
        assert b"Kernel panic - not syncing: sysrq triggered crash" in bios.console()


def test_uefi_boots_and_an_offline_edit_lets_us_in(demo_image: Path, tmp_path: Path) -> None:
    profile = Profile(name="uefi", firmware=Firmware.UEFI)
    with running(demo_image, tmp_path, profile, WayIn.OFFLINE) as uefi:
        assert told(uefi.machine, "test -d /sys/firmware/efi && id -u") == "0"
        modes = told(
            uefi.machine, "stat -c '%a %U %G' /root/.ssh /root/.ssh/authorized_keys /etc/ssh/ssh_host_ed25519_key"
        )
        assert modes.splitlines() == ["700 root root", "600 root root", "600 root root"]
        uefi.machines.snapshot()
        told(uefi.machine, "touch /changed")
        uefi.machines.restore(timeout=SOON)
        assert told(uefi.machine, "ls /changed 2>/dev/null || echo as it was") == "as it was"
        with contextlib.suppress(MachineLostError):  # it may be off before the answer is out
            uefi.machine.run("sh", "-c", "echo o > /proc/sysrq-trigger", timeout=SOON)
        with pytest.raises(MachineLostError, match="powered itself off"):
            wait_until(lambda: uefi.machine.run("true", timeout=SOON).exit != 0, 60)


# ---- what goes wrong -----------------------------------------------------------------------------------------------


def provision(
    path: Path,
    folder: Path,
    *,
    kernel: Kernel | None = None,
    timeouts: Timeouts = SHORT,
    emit: Emit = lambda _: None,
) -> None:
    subject = Subject(image=subject_of(path).image, kernel=kernel)
    with QemuPlatform().provision(
        Profile(name="small", memory_mib=128),
        subject,
        Access(),
        lease_in(folder),
        timeouts=timeouts,
        emit=emit,
    ):
        raise AssertionError("nobody can log in to that")


@pytest.mark.parametrize("kind", ImageFormat)
def test_each_container_boots_and_a_timeout_quotes_the_console(kind: ImageFormat, tmp_path: Path) -> None:
    path = make_disk(tmp_path, f"hello from {kind}\r\n", kind)
    before = path.read_bytes()
    with pytest.raises(ProvisioningError, match=f"no login at .* within 3 s.*last on its console: .*hello from {kind}"):
        provision(path, tmp_path)
    assert path.read_bytes() == before
    assert left_of(tmp_path) == []


def test_an_image_that_boots_nothing_is_told_at_once(tmp_path: Path) -> None:
    path = tmp_path / "empty.raw"
    path.write_bytes(bytes(1 << 20))
    started = time.monotonic()
    with pytest.raises(ProvisioningError, match="its firmware says 'No bootable device'"):
        provision(path, tmp_path, timeouts=BOOT)
    assert time.monotonic() - started < 60
    assert left_of(tmp_path) == []


@pytest.mark.parametrize(("message", "starts"), [("no init", 1), ("IO-APIC + timer doesn't work!  Boot with apic", 2)])
def test_a_kernel_that_panics_while_it_boots_is_told_at_once(message: str, starts: int, tmp_path: Path) -> None:
    """And started again where it found no timer, for which the host was too busy. The kernel is a sector that talks."""
    path = make_disk(tmp_path, f"---[ end Kernel panic - not syncing: {message} ]---\r\n")
    said: list[Event] = []
    began = time.monotonic()
    with pytest.raises(ProvisioningError, match=f"its kernel panicked: {re.escape(message[:15])}"):
        provision(path, tmp_path, timeouts=BOOT, emit=said.append)
    assert time.monotonic() - began < 60
    assert (tmp_path / "evidence/console.log").read_text().count(message) == starts
    assert len([one for one in said if isinstance(one, Message) and "started again" in one.text]) == starts - 1
    assert left_of(tmp_path) == []


def test_a_qemu_that_does_not_start_is_quoted(tmp_path: Path) -> None:
    """By a kernel whose header leaves no room for an initrd."""
    header = bytearray(1024)
    header[0x1FE:0x208] = b"\x55\xaa\0\0HdrS\x06\x02"
    header[0x20E:0x210] = b"\0\1"  # where the release stands, from 0x200 on
    header[0x300:0x30E] = b"6.1.0 (a@b) #1"
    (tmp_path / "vmlinuz").write_bytes(header)
    (tmp_path / "initrd").write_bytes(b"initrd")
    kernel = Kernel(
        image=str(tmp_path / "vmlinuz"), initrd=str(tmp_path / "initrd"), command_line="root=/dev/vda1 console=ttyS0"
    )
    with pytest.raises(ProvisioningError, match=r"QEMU did not start: .*initrd is too large"):
        provision(make_disk(tmp_path), tmp_path, kernel=kernel)
    assert left_of(tmp_path) == []


def test_the_trial_guest_passes_where_emulation_runs_it() -> None:
    assert try_guest("qemu-system-x86_64", Accelerator.TCG).exit == PASSED


# ---- how it ends ---------------------------------------------------------------------------------------------------


@dataclass
class Owned:
    """A machine that belongs to another program."""

    owner: subprocess.Popen[bytes]
    port: int
    folder: Path

    def is_gone(self) -> bool:
        links = [link for link in scratch.index_folder().glob("*") if link.readlink() == self.folder]
        return not (processes(self.folder) or listeners(self.port) or self.folder.exists() or links)


@pytest.fixture
def owned(tmp_path: Path) -> Iterator[Owned]:
    command = [sys.executable, str(OWNER), str(make_disk(tmp_path)), str(tmp_path)]
    with (tmp_path / "owner.log").open("wb") as log:
        owner = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, cwd=OWNER.parents[2])
    try:
        assert owner.stdout is not None
        line = owner.stdout.readline()
        assert line, (tmp_path / "owner.log").read_text()
        facts = json.loads(line)
        machine = Owned(owner, facts["port"], Path(facts["folder"]))
        assert processes(machine.folder)
        assert listeners(machine.port)
        yield machine
    finally:
        owner.kill()
        owner.wait()
        assert owner.stdout is not None
        owner.stdout.close()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGABRT], ids=lambda number: number.name)
def test_whatever_ends_its_owner_leaves_nothing_within_seconds(owned: Owned, number: signal.Signals) -> None:
    owned.owner.send_signal(number)
    owned.owner.wait(timeout=GONE_SECONDS)
    assert wait_until(owned.is_gone, GONE_SECONDS), left_of(owned.folder.parents[1])


def test_a_guard_that_is_killed_takes_qemu_along_and_a_sweep_the_rest(owned: Owned) -> None:
    guard = json.loads((owned.folder / scratch.LEASE_FILE).read_bytes())["guard"]["pid"]
    os.kill(guard, signal.SIGKILL)
    assert wait_until(lambda: not listeners(owned.port), GONE_SECONDS)
    owned.owner.send_signal(signal.SIGKILL)
    owned.owner.wait()
    QemuPlatform().sweep(now=datetime.now(UTC))
    assert owned.is_gone()


@pytest.mark.parametrize("seed", range(8))
def test_a_sweep_leaves_nothing_of_an_owner_and_a_guard_that_were_killed_at_any_moment(
    seed: int, tmp_path: Path
) -> None:
    chance = random.Random(seed)
    path = make_disk(tmp_path)
    owner = subprocess.Popen(
        [sys.executable, str(OWNER), str(path), str(tmp_path)], stdout=subprocess.DEVNULL, cwd=OWNER.parents[2]
    )
    victims = chance.choice(("owner", "guard", "guard owner", "owner guard")).split()
    assert wait_until(lambda: bool(left_of(tmp_path)), 20)
    try:
        time.sleep(chance.random() ** 2)  # mostly soon: that is when the most happens
        for victim in victims:
            for pid in [owner.pid] if victim == "owner" else guards(tmp_path):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(chance.random() / 50)
    finally:
        owner.kill()
        owner.wait()
    for link in scratch.index_folder().glob("*"):  # one without a lease yet counts as unborn for a minute
        with contextlib.suppress(FileNotFoundError):  # a guard that lives is about to remove it
            os.utime(link, (0, 0), follow_symlinks=False)
    QemuPlatform().sweep(now=datetime.now(UTC))
    assert wait_until(lambda: left_of(tmp_path) == [], GONE_SECONDS), left_of(tmp_path)


def test_a_sweep_ends_a_qemu_that_has_lost_its_guard(tmp_path: Path) -> None:
    place = scratch.create(lease_in(tmp_path))
    dead = scratch.ProcessName(pid=1, started=0, boot="another")
    files.write_atomically(
        place.folder / scratch.LEASE_FILE, files.encode(replace(place.lease, owner_process=dead, guard=dead))
    )
    orphan = subprocess.Popen(["sh", "-c", "sleep 60; :", "-name", process_mark(place.id)])
    try:
        assert wait_until(lambda: processes(process_mark(place.id)) == [orphan.pid], GONE_SECONDS)
        assert [leftover.is_removed for leftover in scratch.sweep(datetime.now(UTC))] == [True]
        assert orphan.wait(timeout=GONE_SECONDS) == -signal.SIGKILL
    finally:
        orphan.kill()
    assert left_of(tmp_path) == []


def test_no_qemu_starts_under_a_guard_that_is_dead(tmp_path: Path) -> None:
    place = scratch.create(lease_in(tmp_path))
    guard = Guard(place)
    try:
        guard.start(["sh", "-c", f"touch {tmp_path}/started; sleep 60; :"])
        command = place.folder / "command"
        assert wait_until((tmp_path / "started").exists, GONE_SECONDS)
        (tmp_path / "started").unlink()
        # The same command, run by somebody else, as by the init process that inherits what a dead guard has begun.
        subprocess.run(["sh", str(command)], timeout=GONE_SECONDS, check=False)
        assert not (tmp_path / "started").exists()
    finally:
        assert guard.end()
        guard.qmp_socket.close()


def test_a_second_machine_of_the_leg_goes_on_in_the_same_evidence(tmp_path: Path) -> None:
    for word in ("first", "second"):
        with pytest.raises(ProvisioningError, match=f"last on its console: .*hello from the {word}"):
            provision(make_disk(tmp_path, f"hello from the {word}\r\n"), tmp_path)
        assert left_of(tmp_path) == []
    console = (tmp_path / "evidence" / "console.log").read_bytes()
    assert 0 < console.index(b"hello from the first") < console.index(b"hello from the second")


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Guard]:
    """A guard whose 'QEMU' is a program that only waits."""
    place = scratch.create(lease_in(tmp_path, keep=True))
    guard = Guard(place)
    try:
        guard.start(["sh", "-c", "sleep 300; :", str(place.folder)])
        assert wait_until(lambda: len(processes(place.folder)) == 2, GONE_SECONDS)
        yield guard
    finally:
        guard.end()
        guard.qmp_socket.close()


def test_a_kept_machine_goes_on_until_its_time_is_over(kept: Guard) -> None:
    kept.keep(timedelta(seconds=1))
    folder = kept.scratch.folder
    assert processes(folder)
    assert wait_until(lambda: not folder.exists(), 1 + GONE_SECONDS)
    assert wait_until(lambda: not processes(folder), GONE_SECONDS)


def test_a_kept_machine_is_ended_by_a_sweep_that_names_it(kept: Guard) -> None:
    kept.keep(timedelta(minutes=10))
    assert [leftover.is_removed for leftover in scratch.sweep(datetime.now(UTC))] == [False]
    ended = scratch.end(kept.scratch.id)
    assert ended is not None
    assert ended.is_removed
    assert not processes(kept.scratch.folder)
