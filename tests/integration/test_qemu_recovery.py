"""A real guest that crashes, hangs, reboots, loses its network or its disk: told in time, and back within seconds."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from lisa_ci import image
from lisa_ci.demo.rootfs import namespace
from lisa_ci.errors import Loss, MachineLostError, ProvisioningError
from lisa_ci.model import Access, ImageSource, Lease, Profile, Subject, Timeouts
from lisa_ci.platforms.qemu import QemuPlatform, life
from lisa_ci.platforms.qemu.platform import QemuMachines
from lisa_ci.platforms.qemu.snapshot import Snapshots
from lisa_ci.protocols import Machine, SupportsDiagnosis, SupportsSnapshot

pytestmark = pytest.mark.alone

SOON = timedelta(seconds=60)
# kexec_file_load(kernel, no initrd, length and text of the command line, KEXEC_FILE_ON_CRASH | KEXEC_FILE_NO_INITRAMFS)
LOAD_CRASH_KERNEL = """
    open K, "<", glob "/boot/vmlinuz-*" or die;
    my $line = "console=ttyS0 panic=-1 reset_devices lisa-ci-crash-kernel\\0";
    exit(syscall(320, fileno K, -1, length $line, $line, 2 | 4) != 0);
"""
FULL_DISK = Path(__file__).parent.parent / "doubles" / "qemu_full_disk.py"
BOOT = Timeouts(boot=timedelta(minutes=5))


def lease_in(folder: Path) -> Lease:
    later = datetime.now(UTC) + timedelta(minutes=30)
    return Lease(
        owner="test", leg="leg", attempt=1, delete_after=later, evidence=folder / "evidence", scratch=folder / "scratch"
    )


@dataclass
class Guest:
    """A machine whose snapshot was taken when it was idle."""

    machines: QemuMachines
    machine: Machine
    folder: Path

    def sh(self, line: str, *, timeout: timedelta = SOON) -> str:
        return self.machine.run("sh", "-c", line, timeout=timeout).output.decode().strip()

    def restore(self) -> float:
        started = time.monotonic()
        self.machines.restore(timeout=SOON)
        assert self.sh("echo here") == "here"
        return time.monotonic() - started

    def loses(self, line: str, *, within: float) -> MachineLostError:
        """How the machine is lost that runs ``line``, then nothing for a minute."""
        started = time.monotonic()
        with pytest.raises(MachineLostError) as caught:
            self.machine.run("sh", "-c", f"{line}\nsleep 60", timeout=timedelta(seconds=50))
        assert time.monotonic() - started < within, caught.value
        return caught.value

    def console(self) -> bytes:
        return b"".join(self.machine.console())


@contextmanager
def started(demo_image: Path, folder: Path) -> Iterator[Guest]:
    subject = Subject(image=image.resolve(ImageSource(path=str(demo_image)), Path("/")))
    with QemuPlatform().provision(
        Profile(name="small", memory_mib=512), subject, Access(), lease_in(folder), timeouts=BOOT, emit=lambda _: None
    ) as machines:
        yield Guest(machines, machines.members[0], folder)


@pytest.fixture(scope="module", autouse=True)
def _own_state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(scope="class")
def guest(demo_image: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guest]:
    with started(demo_image, tmp_path_factory.mktemp("recovery")) as guest:
        assert isinstance(guest.machines, SupportsSnapshot)
        assert isinstance(guest.machines, SupportsDiagnosis)
        with pytest.raises(ProvisioningError, match="no snapshot to go back to"):
            guest.machines.restore(timeout=SOON)
        assert guest.machines.snapshot_problem() == ""
        guest.machines.snapshot()
        yield guest


class TestOneMachine:
    """One machine and one snapshot for all of them; the last one ends it."""

    def test_a_restored_machine_is_as_it_was_with_the_hosts_time_and_random_bytes_of_its_own(
        self, guest: Guest
    ) -> None:
        told = []
        for _ in range(2):
            guest.sh("echo changed >/etc/motd; sleep 1; mkdir /run/left; rm -r /usr/games; kill -STOP 1")
            assert guest.restore() < 15
            told.append(guest.sh("head -c 16 /dev/urandom | od -An -tx1"))
            asked, told_time = time.time(), float(guest.sh("date +%s.%N"))
            assert asked - 2 < told_time < time.time() + 2
            state = guest.sh("cat /etc/motd; ls -d /run/left /usr/games 2>&1; cat /proc/1/stat | cut -d' ' -f3")
            assert "changed" not in state
            assert "'/run/left': No such file" in state
            assert "/usr/games" in state.splitlines()
        assert told[0] != told[1]

    def test_no_session_of_an_earlier_login_is_left_in_it(self, guest: Guest) -> None:
        guest.restore()
        assert guest.sh("pgrep -fc '^sshd: root@notty$'") == "1"

    def test_a_panic_is_told_at_once_with_its_text_and_gone_after_the_restore(self, guest: Guest) -> None:
        lost = guest.loses("echo c >/proc/sysrq-trigger", within=8)
        assert lost.loss is Loss.PANIC
        assert "its kernel panicked" in lost.message
        assert b"end Kernel panic - not syncing: sysrq triggered crash" in guest.console()
        guest.restore()
        with pytest.raises(TimeoutError), guest.machine.channel("cat") as channel:
            channel.receive(1, timedelta(seconds=2))

    def test_a_panic_that_reboots_is_still_a_panic(self, guest: Guest) -> None:
        lost = guest.loses("sysctl -q kernel.panic=-1; echo c >/proc/sysrq-trigger", within=8)
        assert (lost.loss, "and it rebooted" in lost.message) == (Loss.PANIC, True)
        time.sleep(1)  # the firmware is at work now
        guest.restore()

    def test_a_reboot_by_itself_is_told(self, guest: Guest) -> None:
        lost = guest.loses("echo b >/proc/sysrq-trigger", within=10)
        assert lost.loss is Loss.REBOOT
        guest.restore()
        lost = guest.loses("systemctl reboot", within=20)
        assert lost.loss is Loss.REBOOT
        guest.restore()

    def test_a_machine_that_is_off_can_come_back(self, guest: Guest) -> None:
        lost = guest.loses("echo o >/proc/sysrq-trigger", within=8)
        assert lost.loss is Loss.POWER_OFF
        guest.restore()

    def test_a_dead_sshd_is_a_lost_connection(self, guest: Guest) -> None:
        lost = guest.loses("pkill -KILL sshd", within=20)
        assert lost.loss is Loss.CONNECTION
        guest.restore()

    def test_a_lost_session_costs_no_waiting_where_ssh_still_answers(self, guest: Guest) -> None:
        lost = guest.loses("kill -KILL $(pgrep -f '^sshd: root@notty$')", within=8)
        assert lost.loss is Loss.CONNECTION
        guest.machine.reconnect(timeout=SOON)
        assert guest.sh("echo here") == "here"

    def test_a_hang_is_made_to_tell_where_it_is(self, guest: Guest) -> None:
        guest.restore()
        spin = "sysctl -q kernel.sched_rt_runtime_us=-1; for i in 1 2; do chrt -f 99 sh -c 'while :; do :; done' & done"
        with pytest.raises(TimeoutError), guest.machine.channel("sh", "-c", f"{spin}; sleep 60") as channel:
            channel.receive(1, timedelta(seconds=3))
        before = len(guest.console())
        started = time.monotonic()
        assert guest.machines.diagnose() == "an NMI made its kernel tell where it was"
        assert time.monotonic() - started < 15
        text = guest.console()[before:]
        assert b"NMI" in text
        assert b"end Kernel panic" in text
        assert guest.machines.diagnose() == "", "it is dead now, and told so"
        guest.restore()

    def test_a_machine_without_its_network_is_silent_and_can_come_back(self, guest: Guest) -> None:
        with (
            pytest.raises(TimeoutError),
            guest.machine.channel(
                "sh", "-c", "ip link set $(ip -o route get 10.0.2.2 | cut -d' ' -f3) down; sleep 60"
            ) as channel,
        ):
            channel.receive(1, timedelta(seconds=3))
        guest.restore()

    def test_a_second_snapshot_takes_the_place_of_the_first(self, guest: Guest) -> None:
        guest.sh("echo second >/etc/motd")
        guest.machines.snapshot()
        guest.sh("echo third >/etc/motd")
        guest.restore()
        assert guest.sh("cat /etc/motd") == "second"
        guest.machines.snapshot()
        guest.restore()
        assert guest.sh("cat /etc/motd") == "second"

    def test_what_qemu_answers_to_a_snapshot_is_told_and_the_machine_goes_on(self, guest: Guest) -> None:
        [part] = guest.machines._parts
        profile = Profile(name="small", memory_mib=512)
        nodes = ("root", "nowhere")
        snapshots = Snapshots(part.qmp, part.life, part.ssh, profile, nodes=nodes, folder=guest.folder)
        assert snapshots.problem() == ""
        with pytest.raises(ProvisioningError, match=r"refuses snapshot-save: .*nowhere"):
            snapshots.save()
        assert "nowhere" in snapshots.problem()
        assert guest.sh("echo here") == "here"

    def test_a_console_without_end_is_stopped(self, guest: Guest, monkeypatch: pytest.MonkeyPatch) -> None:
        begin = len(guest.console())
        # Beyond the room comes what is printed until somebody looks: a quarter of a megabyte on a quick host.
        monkeypatch.setattr(life, "MOST_CONSOLE_BYTES", begin + 1_000_000)
        lost = guest.loses("yes flood >/dev/ttyS0", within=30)
        assert lost.loss is Loss.CONSOLE_FLOOD
        assert re.search(r"its console printed more than [01]\.\d+ MiB", lost.message)
        time.sleep(0.5)
        size = len(guest.console())
        time.sleep(0.5)
        assert len(guest.console()) == size, "it is stopped"
        guest.restore()
        assert guest.loses("yes flood >/dev/ttyS0", within=15).loss is Loss.CONSOLE_FLOOD
        assert len(guest.console()) - size < size - begin, "there is less room after a restore"
        guest.restore()

    def test_a_crash_kernel_is_not_cut_short(self, guest: Guest) -> None:
        """The reboot that it takes to reserve memory is at the same time the one that is asked for."""
        edit = "sed -i 's/root=UUID/crashkernel=128M &/' /run/esp/syslinux.cfg"
        guest.sh(f"mkdir -p /run/esp; mount /dev/vda1 /run/esp; {edit}; umount /run/esp")
        guest.machine.reboot(timeout=BOOT.boot)
        assert guest.sh("cat /etc/motd") == "second"
        assert guest.sh(f"perl -e '{LOAD_CRASH_KERNEL}' && cat /sys/kernel/kexec_crash_loaded") == "1"
        guest.machine.reconnect(timeout=SOON)
        guest.sh("echo 1 >/sys/module/kernel/parameters/crash_kexec_post_notifiers")
        before = len(guest.console())
        lost = guest.loses("echo c >/proc/sysrq-trigger", within=45)
        assert (lost.loss, "and it rebooted" in lost.message) == (Loss.PANIC, True)
        assert b"lisa-ci-crash-kernel" in guest.console()[before:]
        guest.restore()

    def test_a_qemu_that_was_killed_is_told_at_once_and_its_snapshot_is_gone(self, guest: Guest) -> None:
        [pid] = qemus(guest.folder)
        begun = time.monotonic()
        with guest.machine.channel("sleep", "60") as channel:
            os.kill(pid, signal.SIGKILL)
            with pytest.raises(MachineLostError) as caught:
                channel.receive(1, timedelta(seconds=30))
        assert caught.value.loss is Loss.DESTROYED
        assert time.monotonic() - begun < 5
        with pytest.raises(ProvisioningError, match="which went with its QEMU") as refused:
            guest.machines.restore(timeout=SOON)
        assert "fresh machine" in refused.value.hint
        assert guest.machines.diagnose() == ""


def test_a_full_disk_of_the_host_ends_a_machine_with_that_reason(demo_image: Path, tmp_path: Path) -> None:
    command = [*namespace(), sys.executable, str(FULL_DISK), str(demo_image), str(tmp_path)]
    done = subprocess.run(command, stdout=subprocess.PIPE, cwd=FULL_DISK.parents[2], timeout=300, check=True)
    told = json.loads(done.stdout)
    assert told["loss"] == Loss.DESTROYED
    assert "the host's disk is full" in told["message"]
    assert told["seconds"] < 20
    assert re.search(r"has \d+ MiB left, the machine needs \d+ MiB", told["snapshot"])
    assert told["left"] == []


def qemus(folder: Path) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            words = (entry / "cmdline").read_bytes().split(b"\0") if entry.name.isdigit() else [b""]
            if words[0].endswith(b"qemu-system-x86_64") and str(folder).encode() in b"\0".join(words):
                found.append(int(entry.name))
    return found
