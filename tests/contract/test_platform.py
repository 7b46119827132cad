"""What every Platform does, whatever it makes machines of. A new platform is one line in PLATFORMS."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from lisa_ci import image
from lisa_ci.errors import LisaCiError, ProvisioningError
from lisa_ci.model import Access, Azure, Endpoint, ImageSource, Lease, Nic, Profile, Subject, Timeouts
from lisa_ci.platforms.azure.lro import Clock
from lisa_ci.platforms.azure.platform import AzurePlatform
from lisa_ci.platforms.azure.provisioning import Doors
from lisa_ci.platforms.qemu import QemuPlatform
from lisa_ci.platforms.ssh import SshPlatform
from lisa_ci.protocols import Machine, Machines, Platform, SupportsDiagnosis, SupportsSnapshot
from tests.doubles.azure.entra import Entra
from tests.doubles.azure.hosts import sshd_hosts
from tests.doubles.azure.world import make_arm, subscription
from tests.doubles.boot_sector import make_disk
from tests.doubles.demo_image import demo_image_path
from tests.doubles.openssh import sshd

SOON = timedelta(seconds=60)
PATIENT = Timeouts(boot=timedelta(minutes=5))
IMPATIENT = Timeouts(boot=timedelta(seconds=2))


@dataclass
class Given:
    """A platform with something it can make a machine of, and something it cannot."""

    platform: Platform
    good: tuple[Profile, Subject, Access]
    dead: tuple[Profile, Subject, Access]
    wrong: Profile


def _disk(path: Path) -> Subject:
    return Subject(image=image.resolve(ImageSource(path=str(path)), Path("/")))


@contextmanager
def _qemu(folder: Path) -> Iterator[Given]:
    profile = Profile(name="small", memory_mib=512)
    yield Given(
        platform=QemuPlatform(),
        good=(profile, _disk(demo_image_path()), Access()),
        dead=(profile, _disk(make_disk(folder)), Access()),
        wrong=Profile(name="wrong", nics=(Nic(model="none"),)),
    )


@contextmanager
def _ssh(folder: Path) -> Iterator[Given]:
    with sshd(folder) as login:
        access = Access(user=login.user, become=login.become, key=str(login.key))
        there = Endpoint(host=login.host, port=login.port, host_key=login.host_key)
        nobody = Endpoint(host=login.host, port=1, host_key=login.host_key)
        yield Given(
            platform=SshPlatform(),
            good=(Profile(name="lab", platform="ssh", endpoint=there), Subject(), access),
            dead=(Profile(name="lab", platform="ssh", endpoint=nobody), Subject(), access),
            wrong=Profile(name="wrong", platform="ssh"),
        )


@contextmanager
def _azure(folder: Path) -> Iterator[Given]:
    """On the double of Azure's API, in this process; its machines are sshds on loopback."""
    disk = folder / "disk.raw"
    with disk.open("wb") as file:
        file.truncate(20 << 20)
    entra = Entra()
    with sshd_hosts(folder / "hosts") as hosts:
        arm = make_arm(hosts=hosts, entra=entra, pace=0.004)
        azure = subscription(arm, entra, Clock(), pause=0.02)
        doors = Doors(
            runner=lambda: ("203.0.113.9",),
            upload=lambda *_: None,
            fetch=lambda _url, _start: None,
            follow_every=None,
            ssh_port=hosts.port,
        )
        places = Azure(sizes=("Standard_D2s_v5",), regions=("westeurope",))
        silent = Azure(sizes=("Standard_D2s_v5",), regions=("northeurope",))
        hosts.silent_regions = {"northeurope"}
        yield Given(
            platform=AzurePlatform(lambda: azure, doors, owner=lambda _: "me"),
            good=(Profile(name="small", platform="azure", azure=places), _disk(disk), Access()),
            dead=(Profile(name="dead", platform="azure", azure=silent), _disk(disk), Access()),
            wrong=Profile(name="wrong", platform="azure"),
        )


PLATFORMS: dict[str, Callable[[Path], AbstractContextManager[Given]]] = {"qemu": _qemu, "ssh": _ssh, "azure": _azure}


@pytest.fixture(params=PLATFORMS, scope="class")
def given(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Given]:
    with pytest.MonkeyPatch.context() as patch, PLATFORMS[request.param](tmp_path_factory.mktemp("platform")) as given:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield given


def lease_in(folder: Path) -> Lease:
    (folder / "evidence").mkdir()
    (folder / "scratch").mkdir()
    later = datetime.now(UTC) + timedelta(minutes=30)
    return Lease(
        owner="me", leg="leg", attempt=1, delete_after=later, evidence=folder / "evidence", scratch=folder / "scratch"
    )


class TestPlatform:
    def test_it_finds_no_problem_with_what_it_can_make(self, given: Given) -> None:
        assert list(given.platform.problems(given.good[0])) == []

    def test_it_names_the_profile_that_it_cannot_make(self, given: Given) -> None:
        problems = given.platform.problems(given.wrong)
        assert problems
        assert all(isinstance(problem, str) and "wrong" in problem for problem in problems)

    def test_it_does_not_start_what_it_cannot_make(self, given: Given, tmp_path: Path) -> None:
        lease = lease_in(tmp_path)
        _, subject, access = given.good
        with (
            pytest.raises(LisaCiError),
            given.platform.provision(given.wrong, subject, access, lease, timeouts=IMPATIENT, emit=lambda _: None),
        ):
            raise AssertionError("there is no machine")
        assert list(lease.scratch.iterdir()) == []

    def test_a_machine_that_never_answers_is_a_provisioning_error_and_leaves_nothing(
        self, given: Given, tmp_path: Path
    ) -> None:
        lease = lease_in(tmp_path)
        with (
            pytest.raises(ProvisioningError),
            given.platform.provision(*given.dead, lease, timeouts=IMPATIENT, emit=lambda _: None),
        ):
            raise AssertionError("there is no machine")
        assert list(lease.scratch.iterdir()) == []
        assert list(given.platform.sweep(now=datetime.now(UTC))) == []

    def test_it_gives_machines_with_roots_rights_and_takes_them_away_when_the_block_fails(
        self, given: Given, tmp_path: Path
    ) -> None:
        lease = lease_in(tmp_path)
        used: list[Machine] = []
        with pytest.raises(ZeroDivisionError):
            self._use_and_fail(given, lease, used)
        with pytest.raises(LisaCiError):
            used[0].run("true", timeout=SOON)
        assert list(lease.scratch.iterdir()) == []

    def _use_and_fail(self, given: Given, lease: Lease, used: list[Machine]) -> None:
        with given.platform.provision(*given.good, lease, timeouts=PATIENT, emit=lambda _: None) as machines:
            [machine] = machines.members
            used.append(machine)
            assert machine.role == "main"
            assert machine.run("id", "-u", timeout=SOON).output.strip() == b"0"
            assert machine.login_command().startswith("ssh ")
            assert machines.end_command() == ""
            assert list(given.platform.sweep(now=datetime.now(UTC))) == [], "a machine in use is no leftover"
            self._restore(machines)
            if isinstance(machines, SupportsDiagnosis):
                assert isinstance(machines.diagnose(), str)
            raise ZeroDivisionError

    def _restore(self, machines: Machines) -> None:
        if not isinstance(machines, SupportsSnapshot) or machines.snapshot_problem():
            return
        [machine] = machines.members
        with pytest.raises(ProvisioningError):
            machines.restore(timeout=SOON)
        machine.run("touch", "/before", timeout=SOON)
        machines.snapshot()
        machine.run("touch", "/after", timeout=SOON)
        machines.restore(timeout=SOON)
        assert machine.run("ls", "/before", timeout=SOON).exit == 0
        assert machine.run("ls", "/after", timeout=SOON).exit != 0
        asked, told = time.time(), float(machine.run("date", "+%s", timeout=SOON).output)
        assert asked - 3 <= told <= time.time() + 2

    def test_there_is_nothing_to_sweep_where_nothing_was_left(self, given: Given) -> None:
        assert list(given.platform.sweep(now=datetime.now(UTC) + timedelta(days=365))) == []
