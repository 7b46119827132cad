"""Every way into a real guest that the demo does not take: cloud-init alone, a key of the image's own, a user who is
not root, a foreign kernel, and a machine that is kept.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath

import pytest

from lisa_ci import image, ssh
from lisa_ci.errors import ProvisioningError
from lisa_ci.events import Event
from lisa_ci.model import Access, Become, ImageSource, Lease, Profile, Subject, Timeouts, WayIn
from lisa_ci.platforms.qemu import QemuPlatform, scratch
from lisa_ci.protocols import Machine
from tests.doubles.demo_image import EditedImage, demo_image_path

LISA_CI = Path(sys.executable).with_name("lisa-ci")
SOON = timedelta(seconds=90)
GONE_SECONDS = 5.0
PROFILE = Profile(name="small")

# systemd 252 and later take files from whoever starts the machine; this makes an image that does not.
NO_CREDENTIALS = "/etc/systemd/system/systemd-tmpfiles-setup.service.d/test.conf"
NO_DATA_SOURCE = """\
datasource_list: [None]
disable_root: false
ssh_genkeytypes: [ed25519]
# What has to do with keys; the rest only takes its time.
cloud_init_modules: [ssh]
cloud_config_modules: []
cloud_final_modules: [keys_to_console]
"""
ENDS_ITSELF = """\
[Service]
ExecStartPost=systemd-run --on-active=15 systemctl poweroff --force
"""


@pytest.fixture(scope="module", autouse=True)
def _own_state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(scope="module")
def cloud_image() -> Path:
    """The demo's image with cloud-init."""
    return demo_image_path(("cloud-init",))


@contextmanager
def running(path: Path, folder: Path, access: Access) -> Iterator[Machine]:
    subject = Subject(image=image.resolve(ImageSource(path=str(path)), Path("/")))
    lease = Lease(
        owner="test",
        leg="leg",
        attempt=1,
        delete_after=datetime.now(UTC) + timedelta(minutes=30),
        evidence=folder / "evidence",
        scratch=folder / "scratch",
    )
    events: list[Event] = []
    limits = Timeouts(boot=timedelta(minutes=5))
    with QemuPlatform().provision(PROFILE, subject, access, lease, timeouts=limits, emit=events.append) as machines:
        yield machines.members[0]


def told(machine: Machine, line: str) -> str:
    completed = machine.run("sh", "-c", line, timeout=SOON)
    assert completed.exit == 0, completed.output
    return completed.output.decode().strip()


# ---- cloud-init, and a user who is not root ------------------------------------------------------------------------


def test_cloud_init_alone_makes_a_user_who_becomes_root_by_sudo(cloud_image: Path, tmp_path: Path) -> None:
    access = Access(user="tester", become=Become.SUDO, way_in=WayIn.CLOUD_INIT)
    with running(cloud_image, tmp_path, access) as machine:
        assert told(machine, "id -un; echo $SUDO_USER").split() == ["root", "tester"]
        assert told(machine, "stat -c '%U %a' /home/tester/.ssh/authorized_keys") == "tester 600"
        assert told(machine, "passwd --status tester").split()[1] == "L", "no password opens it"
        assert told(machine, "cat /run/cloud-init/cloud-id") == "nocloud"
        assert told(machine, "ls /run/credentials/@system 2>/dev/null || echo none") == "none"
        machine.put(Path(__file__), PurePosixPath("/root/copied"))
        assert told(machine, "stat -c %U /root/copied") == "root"
        [place] = (tmp_path / "scratch").iterdir()
        entered = subprocess.run(
            shlex.split(machine.login_command()), input=b"id -un; exit\n", capture_output=True, timeout=60, check=False
        )
        assert b"root" in entered.stdout, entered
    assert not place.exists()


# ---- a key that the image has already ------------------------------------------------------------------------------


@pytest.fixture
def key(tmp_path: Path) -> ssh.KeyPair:
    return ssh.make_key(tmp_path / "mine")


def deaf_image(source: Path, path: Path, key: ssh.KeyPair) -> EditedImage:
    """An image that knows ``key`` and takes nothing from whoever starts it."""
    edited = EditedImage.of(source, path)
    edited.write("/root/.ssh/authorized_keys", f"{key.public}\n")
    edited.write(NO_CREDENTIALS, "[Service]\nLoadCredential=\nSetCredential=\n")
    return edited


def test_a_host_key_that_cloud_init_prints_on_the_console_is_as_good_as_ours(
    cloud_image: Path, tmp_path: Path, key: ssh.KeyPair
) -> None:
    deaf = deaf_image(cloud_image, tmp_path / "deaf.raw", key)
    deaf.write("/etc/cloud/cloud.cfg.d/99-test.cfg", NO_DATA_SOURCE)
    with running(deaf.path, tmp_path, Access(way_in=WayIn.KEY, key=str(key.private))) as machine:
        pinned = told(machine, "cut -d ' ' -f 1-2 /etc/ssh/ssh_host_ed25519_key.pub")
        assert pinned in (tmp_path / "evidence" / "console.log").read_text(errors="replace")
        machine.login_command()
        [place] = (tmp_path / "scratch").iterdir()
        assert pinned in (place / "known_hosts").read_text()


def test_a_host_key_that_nothing_vouches_for_is_refused(demo_image: Path, tmp_path: Path, key: ssh.KeyPair) -> None:
    deaf = deaf_image(demo_image, tmp_path / "deaf.raw", key)
    # The wait for a key on the console ends with the machine, however slow this host is.
    deaf.write("/etc/systemd/system/ssh.service.d/test.conf", ENDS_ITSELF)
    with (
        pytest.raises(ProvisioningError, match=r"a host key of its own, which nothing vouches for.*powered itself off"),
        running(deaf.path, tmp_path, Access(way_in=WayIn.KEY, key=str(key.private))),
    ):
        raise AssertionError("it was let in")


# ---- a foreign kernel, and a machine that is kept ------------------------------------------------------------------

PIPELINE = """\
name: foreign
image: {{path: {image}}}
kernel:
  image: {kernel}/vmlinuz
  initrd: {kernel}/initrd.img
  modules: {kernel}
  command_line: root=LABEL=lisa-ci-demo ro foreign=yes cryptomgr.notests
profiles: [bios]
suites: [./mine]
"""
SUITE = """\
schema: 1
name: mine
description: What a foreign kernel shows.
driver: shell
cases:
  - id: release
    description: The running kernel is the foreign one.
    run: [sh, -c, 'test "$(uname -r)" = {release} && grep -w foreign=yes /proc/cmdline']
  - id: module
    description: A module of it loads.
    run: [sh, -c, 'modprobe dummy && lsmod | grep dummy']
"""


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a pipeline: a disk that has no kernel and no modules, and a kernel beside it."""
    folder = tmp_path_factory.mktemp("foreign")
    disk = EditedImage.of(demo_image_path(), folder / "disk.raw")
    kernel = folder / "kernel"
    disk.take_folder("/usr/lib/modules", kernel / "lib")
    [release] = [path.name for path in (kernel / "lib/modules").iterdir()]
    disk.take_boot_file("vmlinuz", kernel / "vmlinuz")
    # Without these, nobody could log in to copy the other modules.
    early = ("failover", "net_failover", "virtio_net", "qemu_fw_cfg")
    disk.take_initrd(kernel / "lib/modules" / release, early, kernel / "initrd.img")
    disk.change([f"unlink /usr/lib/modules/{release}"])
    disk.make_unbootable()
    (folder / "mine").mkdir()
    (folder / "mine" / "suite.yaml").write_text(SUITE.format(release=release))
    (folder / "lisa-ci.yml").write_text(PIPELINE.format(image="disk.raw", kernel="kernel"))
    return folder


def lisa_ci(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([LISA_CI, *words], cwd=folder, capture_output=True, text=True, timeout=600, check=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    said: str

    def command(self, before: str) -> list[str]:
        [line] = re.findall(rf"{before}: (.+)$", self.said, re.MULTILINE)
        return shlex.split(line)


@pytest.fixture(scope="module")
def kept(foreign: Path) -> Iterator[Kept]:
    planned = lisa_ci(foreign, "plan", "--out", "plan.json")
    assert planned.returncode == 0, planned.stderr
    ran = lisa_ci(foreign, "run", "bios", "--plan", "plan.json", "--out", "results", "--keep", "--fail-on", "failed")
    try:
        assert ran.returncode == 0, ran.stderr
        yield Kept(said=ran.stderr)
    finally:
        for link in scratch.index_folder().glob("bios-*"):
            scratch.end(link.name)


class TestAKeptMachineWithAForeignKernel:
    """One machine for all of them, in this order; the last one ends it."""

    def test_its_cases_passed_on_the_foreign_kernel_with_its_modules(self, foreign: Path, kept: Kept) -> None:
        results = [
            json.loads(line)["result"]
            for line in (foreign / "results/bios/journal.ndjson").read_text().splitlines()
            if "result" in json.loads(line)
        ]
        assert [(result["case"], result["outcome"]) for result in results] == [
            ("release", "passed"),
            ("module", "passed"),
        ]
        assert "SYSLINUX" not in (foreign / "results/bios/console.log").read_text(errors="replace")

    def test_such_a_run_is_green_and_never_releasable(self, foreign: Path, kept: Kept) -> None:
        words = ("--plan", "plan.json", "--results", "results")
        assert lisa_ci(foreign, "report", *words, "--out", "report").returncode == 0
        verdict = json.loads((foreign / "report/verdict.json").read_text())
        assert (verdict["passed"], verdict["releasable"]) == (True, False)
        assert lisa_ci(foreign, "pack", "disk.raw", "--out", "release", *words).returncode == 0
        assert lisa_ci(foreign, "sign", "--new-key", "key").returncode == 0
        signed = lisa_ci(foreign, "sign", "release", "--key", "key")
        assert signed.returncode == 5, signed.stderr
        assert "the image was booted with a kernel that is not its own" in signed.stderr

    def test_it_goes_on_and_the_printed_command_enters_it(self, foreign: Path, kept: Kept) -> None:
        enter = kept.command("enter it")
        entered = subprocess.run(
            enter, input=b"cat /proc/cmdline; exit\n", capture_output=True, timeout=60, check=False
        )
        assert b"foreign=yes" in entered.stdout, entered
        assert lisa_ci(foreign, "sweep").returncode == 0
        assert list(scratch.index_folder().glob("bios-*")), "a sweep leaves a kept machine alone"

    def test_the_printed_end_command_ends_it_and_leaves_nothing(self, foreign: Path, kept: Kept) -> None:
        [link] = scratch.index_folder().glob("bios-*")
        folder = link.readlink()
        owned = [pid for pid in Path("/proc").iterdir() if pid.name.isdigit() and str(folder) in words_of(pid)]
        assert owned, "there is a machine"
        end = kept.command("end it")
        assert end[0] == "lisa-ci"
        ended = lisa_ci(foreign, *end[1:])
        assert ended.returncode == 0, ended.stderr
        time.sleep(0.2)
        assert not [pid for pid in owned if str(folder) in words_of(pid)]
        assert not folder.exists()
        assert not link.is_symlink()
        assert not list((foreign / "results").glob(".*scratch")), "nor the folder around it"


def words_of(process: Path) -> str:
    try:
        return (process / "cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return ""
