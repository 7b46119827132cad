"""The demo's image, made for real from Debian's packages, looked into from outside, and booted both ways."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from lisa_ci import image as images
from lisa_ci import process, registry
from lisa_ci.demo import disk, image
from lisa_ci.events import Event
from lisa_ci.model import Access, Firmware, ImageSource, Lease, Profile, Subject, Timeouts
from lisa_ci.pipeline import catalogue

TOOL_LIMIT = timedelta(minutes=2)


def ignore(_event: Event) -> None:
    """Nobody looks."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made by whoever runs the tests: root here and there, an ordinary user on a hosted runner."""
    return image.build_image(tmp_path_factory.mktemp("cache"), ignore)


@pytest.fixture(scope="module")
def raw(made: Path) -> Path:
    path = made.with_suffix(".raw")
    process.check(["qemu-img", "convert", "-f", "qcow2", "-O", "raw", made, path], timeout=TOOL_LIMIT)
    return path


def inside(raw: Path, request: str) -> str:
    """What debugfs says of the root file system."""
    place = f"{raw}?offset={disk.ROOT_START_MIB * disk.MIB}"
    return process.check(["debugfs", "-R", request, place], timeout=TOOL_LIMIT).decode()


def test_only_the_image_its_log_and_a_lock_stay_in_the_cache(made: Path, raw: Path) -> None:
    assert {path.name for path in made.parent.iterdir()} == {
        made.name,
        made.with_suffix(".log").name,
        raw.name,
        ".lisa-ci-lock",
    }


def test_the_image_is_a_plain_qcow2_of_a_whole_number_of_mebibytes(made: Path) -> None:
    told = json.loads(process.check(["qemu-img", "info", "-f", "qcow2", "--output=json", made], timeout=TOOL_LIMIT))
    assert told["virtual-size"] == disk.SIZE_MIB << 20
    assert "backing-filename" not in told
    assert told["actual-size"] < 600 << 20


def test_the_partition_table_names_both_partitions(raw: Path) -> None:
    table = json.loads(process.check(["sfdisk", "--json", raw], timeout=TOOL_LIMIT))["partitiontable"]
    assert table["label"] == "gpt"
    assert [part["name"] for part in table["partitions"]] == ["esp", "root"]
    assert "LegacyBIOSBootable" in table["partitions"][0]["attrs"]


def test_the_file_system_is_whole(raw: Path, tmp_path: Path) -> None:
    root = tmp_path / "root.ext4"
    with raw.open("rb") as source:
        source.seek(disk.ROOT_START_MIB * disk.MIB)
        root.write_bytes(source.read(disk.root_mib(disk.SIZE_MIB) * disk.MIB))
    finished = process.run(["e2fsck", "-fn", root], timeout=TOOL_LIMIT)
    assert finished.exit == 0, finished.stdout


def test_nothing_that_must_differ_between_machines_is_in_the_image(raw: Path) -> None:
    assert inside(raw, "cat /etc/machine-id") == ""
    assert "ssh_host_" not in inside(raw, "ls -p /etc/ssh")
    assert "random-seed" not in inside(raw, "ls -p /var/lib/systemd")


def test_nobody_can_log_in_by_a_password(raw: Path) -> None:
    shadow = inside(raw, "cat /etc/shadow").splitlines()
    assert len(shadow) > 5
    assert all(line.split(":")[1][:1] in {"*", "!"} for line in shadow)


def test_nothing_of_this_host_is_left_in_the_image(raw: Path) -> None:
    assert "99mmdebstrap" not in inside(raw, "ls -p /etc/apt/apt.conf.d")
    assert inside(raw, "cat /etc/hostname") == "lisa-ci-demo\n"
    assert inside(raw, "stat /etc/resolv.conf").find("stub-resolv.conf") > 0


def test_owners_and_setuid_bits_are_those_of_the_packages(raw: Path) -> None:
    sudo = inside(raw, "stat /usr/bin/sudo")
    assert "Mode:  04755" in sudo
    assert "User:     0   Group:     0" in sudo


@pytest.mark.parametrize("firmware", list(Firmware))
def test_a_machine_boots_and_takes_our_key(made: Path, tmp_path: Path, firmware: Firmware) -> None:
    profile: Profile = catalogue()[firmware.value]
    subject = Subject(image=images.resolve(ImageSource(path=made.name), made.parent))
    lease = Lease(
        owner="test",
        leg=profile.name,
        attempt=1,
        delete_after=datetime.now(UTC) + timedelta(minutes=20),
        evidence=tmp_path / "evidence",
        scratch=tmp_path / "scratch",
    )
    platform = registry.platform(profile.platform)
    with platform.provision(
        profile, subject, Access(), lease, timeouts=Timeouts(boot=timedelta(minutes=10)), emit=ignore
    ) as machines:
        machine = machines.members[0]
        state = machine.run("systemctl", "is-system-running", "--wait", timeout=timedelta(minutes=5)).output
        is_uefi = machine.run("test", "-d", "/sys/firmware/efi", timeout=timedelta(minutes=1)).exit == 0
        identity = machine.run("cat", "/etc/machine-id", timeout=timedelta(minutes=1)).output
    assert state.strip() == b"running"
    assert is_uefi is (firmware is Firmware.UEFI)
    assert len(identity.strip()) == 32


def test_a_build_that_is_killed_leaves_no_mount_and_no_process(tmp_path: Path) -> None:
    """SIGKILL, while packages are being installed."""
    code = (
        "import sys; from pathlib import Path; from lisa_ci.demo.image import build_image;"
        "build_image(Path(sys.argv[1]), lambda event: print(type(event).__name__, flush=True))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, start_new_session=True
    ) as build:
        assert build.stdout is not None
        for line in build.stdout:
            if line.startswith(b"StageAdvanced"):
                break
        build.kill()
    (work,) = tmp_path.glob(f"{image._BUILD_PREFIX}*")
    deadline = datetime.now(UTC) + timedelta(seconds=10)
    while users := users_of(work):
        assert datetime.now(UTC) < deadline, users
    assert str(work) not in Path("/proc/self/mountinfo").read_text()
    assert list((work / "root").iterdir()) == []


def users_of(folder: Path) -> list[str]:
    """Processes that name the folder on their command line."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if str(folder).encode() in words:
                found.append(words.replace(b"\0", b" ").decode(errors="replace"))
    return found
