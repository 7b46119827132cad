"""A leg on Azure, against the double that keeps the API's rules: the real SDK, real SSH, real clocks."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from lisa_ci import image
from lisa_ci.errors import Loss, MachineLostError, PipelineError, ProvisioningError
from lisa_ci.events import Event, Message
from lisa_ci.model import (
    Access,
    Azure,
    Disk,
    ImageSource,
    Lease,
    Nic,
    Profile,
    Receipt,
    Spot,
    Subject,
    Timeouts,
    WayIn,
)
from lisa_ci.platforms.azure import names, record
from lisa_ci.platforms.azure.evidence import Fetched
from lisa_ci.platforms.azure.lro import Clock
from lisa_ci.platforms.azure.platform import AzurePlatform
from lisa_ci.platforms.azure.provisioning import Doors
from lisa_ci.protocols import SupportsAcceleration, SupportsDiagnosis, SupportsHotPlug, SupportsPower
from tests.doubles.azure.arm import ADDRESS, DISK, NIC, VM, Arm, Stored
from tests.doubles.azure.entra import Entra
from tests.doubles.azure.faults import error_body
from tests.doubles.azure.hosts import SshdHosts, sshd_hosts
from tests.doubles.azure.wire import Answer, request_of
from tests.doubles.azure.world import make_arm, subscription

SOON = timedelta(seconds=30)
QUICK = Timeouts(boot=timedelta(seconds=20))
PLAIN = Azure(sizes=("Standard_D2s_v5", "Standard_D4s_v5"), regions=("westeurope", "northeurope"))


@dataclasses.dataclass
class World:
    arm: Arm
    hosts: SshdHosts
    platform: AzurePlatform
    lease: Lease
    subject: Subject
    events: list[Event] = dataclasses.field(default_factory=list)
    uploads: list[str] = dataclasses.field(default_factory=list)

    def machines(self, *, access: Access | None = None, keep: bool = False, timeouts: Timeouts = QUICK, **told: object):
        profile = dataclasses.replace(Profile(name="small", platform="azure", azure=PLAIN), **told)
        lease = dataclasses.replace(self.lease, keep=keep)
        return self.platform.provision(
            profile, self.subject, access or Access(), lease, timeouts=timeouts, emit=self.events.append
        )

    @property
    def receipt(self) -> Receipt:
        return self.platform.receipts()[-1]

    @property
    def vm(self) -> Stored:
        return next(one for one in self.arm.resources.values() if one.type == VM)

    def said(self, words: str) -> bool:
        return any(words in event.text for event in self.events if isinstance(event, Message))


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("GITHUB_RUN_ID", raising=False)
    disk = tmp_path / "disk.raw"
    with disk.open("wb") as file:
        file.truncate(20 << 20)
    for name in ("evidence", "scratch"):
        (tmp_path / name).mkdir()
    with sshd_hosts(tmp_path / "hosts") as hosts:
        entra = Entra()
        arm = make_arm(hosts=hosts, entra=entra, pace=0.004)
        azure = subscription(arm, entra, Clock(), pause=0.02)
        found = World(
            arm=arm,
            hosts=hosts,
            platform=AzurePlatform(lambda: azure, owner=lambda _: "acme/distro/77"),
            lease=Lease(
                owner="me",
                leg="small",
                attempt=1,
                delete_after=datetime.now(UTC) + timedelta(minutes=30),
                evidence=tmp_path / "evidence",
                scratch=tmp_path / "scratch",
            ),
            subject=Subject(image=image.resolve(ImageSource(path=str(disk)), tmp_path)),
        )
        doors = Doors(
            runner=lambda: ("203.0.113.9",),
            upload=lambda _image, _path, url, _emit: found.uploads.append(url.reveal()),
            fetch=_fetcher(arm),
            follow_every=timedelta(seconds=0.1),
            ssh_port=hosts.port,
        )
        found.platform._doors = doors
        yield found


def _fetcher(arm: Arm) -> Callable[[str, int], Fetched | None]:
    def fetch(url: str, start: int) -> Fetched | None:
        answer = arm.serve(request_of("GET", url, {"Range": f"bytes={start}-"}, b""))
        if answer.status == 416:
            return Fetched(is_end=True)
        return Fetched(data=answer.content()) if answer.status in {200, 206} else None

    return fetch


class TestOneMachine:
    def test_it_answers_as_root_and_everything_is_gone_afterwards(self, world: World) -> None:
        with world.machines() as machines:
            [machine] = machines.members
            assert machine.role == "main"
            assert machine.run("id", "-u", timeout=SOON).output == b"0\n"
            made = {one.type for one in world.arm.resources.values()}
            assert {VM, DISK, NIC, ADDRESS} <= made
        assert not world.arm.groups
        assert not world.arm.resources
        assert not world.hosts.running
        assert list(world.lease.scratch.iterdir()) == []
        assert list(record.records()) == []

    def test_the_first_request_that_creates_anything_bears_the_lease_and_so_does_all_else(self, world: World) -> None:
        with world.machines():
            pass
        first, *rest = world.arm.ever
        assert first["type"] == "Microsoft.Resources/resourceGroups"
        for made in (first, *rest):
            assert made["tags"][names.OWNER] == "acme/distro/77", made["id"]
            assert names.delete_after(made["tags"]) == world.lease.delete_after.replace(microsecond=0)

    def test_a_machine_takes_two_write_requests_and_its_local_image_three_more(self, world: World) -> None:
        with world.machines():
            writes = [one for one in world.arm.writes if "retrieveBootDiagnosticsData" not in one]
        said = [f"{method} {path.rpartition('/')[2]}" for method, path in (one.split(" ", 1) for one in writes)]
        assert said[0].startswith("PUT lisa-ci-")
        assert said[1:] == ["PUT source", "POST beginGetAccess", "POST endGetAccess", "PUT machines"]

    def test_the_receipt_counts_everything_and_leaves_nothing(self, world: World) -> None:
        with world.machines():
            seen = {f"{one.type}/{one.name}" for one in world.arm.resources.values()}
        assert seen <= set(world.receipt.created)
        assert set(world.receipt.deleted) == set(world.receipt.created)
        assert world.receipt.left == ()
        assert "westeurope" in world.receipt.place

    def test_the_image_goes_up_by_a_link_that_nobody_sees(self, world: World) -> None:
        with world.machines():
            pass
        assert world.uploads == ["https://blobs.invalid/source?sig=secret"]
        assert "sig=" not in repr(world.events)

    def test_ssh_is_open_to_the_runner_alone(self, world: World) -> None:
        with world.machines():
            groups = [one for one in world.arm.resources.values() if one.type.endswith("networkSecurityGroups")]
        rules = [rule["properties"] for one in groups for rule in one.properties["securityRules"]]
        allowed = [rule for rule in rules if rule["access"] == "Allow" and rule["direction"] == "Inbound"]
        assert [rule["sourceAddressPrefix"] for rule in allowed] == ["203.0.113.9"]

    def test_its_serial_console_is_the_leg_s_console_while_it_runs(self, world: World) -> None:
        world.hosts.text = b"first line\r\n"
        with world.machines() as machines:
            [machine] = machines.members
            _until(lambda: b"first line" in b"".join(machine.console()))
            world.hosts.text += b"Kernel panic - not syncing: double\r\n"
            _until(lambda: b"panic" in b"".join(machine.console()))
            world.hosts.text += b"last words\r\n"
        console = (world.lease.evidence / "console.log").read_bytes()
        assert console == b"first line\r\nKernel panic - not syncing: double\r\nlast words\r\n"

    def test_a_console_that_starts_anew_is_appended(self, world: World) -> None:
        world.hosts.text = b"first boot, a long one\r\n"
        with world.machines() as machines:
            _until(lambda: b"first boot" in b"".join(machines.members[0].console()))
            world.hosts.text = b"second\r\n"
        assert (world.lease.evidence / "console.log").read_bytes() == b"first boot, a long one\r\n\nsecond\r\n"


def _until(is_so: Callable[[], bool]) -> None:
    import time

    deadline = time.monotonic() + 10
    while not is_so():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.02)


class TestGroups:
    def test_machines_have_roles_and_keys_of_their_own(self, world: World) -> None:
        with world.machines(machines=2, nics=(Nic(link=True),)) as machines:
            client, server = machines.members
            assert (client.role, server.role) == ("client", "server")
            for machine in (client, server):
                assert machine.run("echo", machine.role, timeout=SOON).output.decode().strip() == machine.role
            assert (
                len(
                    {
                        one.properties["osProfile"]["customData"]
                        for one in world.arm.resources.values()
                        if one.type == VM
                    }
                )
                == 2
            )
        assert not world.arm.groups


class TestElsewhere:
    def test_a_size_that_is_sold_out_is_had_in_the_next_region(self, world: World) -> None:
        world.arm.sold_out = {("Standard_D2s_v5", "westeurope")}
        with world.machines() as machines:
            assert machines.members[0].run("true", timeout=SOON).exit == 0
            assert world.vm.body["location"] == "northeurope"
        assert not world.arm.groups
        assert world.said("SkuNotAvailable")
        assert [receipt.left for receipt in world.platform.receipts()] == [(), ()]

    def test_an_allocation_that_fails_inside_the_operation_leaves_nothing_behind(self, world: World) -> None:
        failed = {"code": "AllocationFailed", "message": "Allocation failed. We do not have sufficient capacity."}
        world.arm.plan.add("PUT", "/deployments/machines$", operation=failed)
        with world.machines() as machines:
            assert machines.members[0].run("true", timeout=SOON).exit == 0
        first, second = world.platform.receipts()
        assert f"{VM}/m0" in first.created, "the machine that was not allocated was there"
        assert f"{NIC}/m0-nic0" in first.deleted
        assert (first.left, second.left) == ((), ())
        assert not world.arm.resources

    def test_where_no_place_has_room_each_is_named_and_nothing_is_left(self, world: World) -> None:
        world.arm.sold_out = {(size, region) for size in PLAIN.sizes for region in PLAIN.regions}
        with pytest.raises(ProvisioningError) as caught, world.machines():
            raise AssertionError("there is no machine")
        assert all(region in caught.value.message for region in PLAIN.regions)
        assert not world.arm.groups

    def test_a_quota_that_is_used_up_costs_no_request_that_writes(self, world: World) -> None:
        world.arm.quota = {"westeurope": 1, "northeurope": 1}
        with pytest.raises(ProvisioningError, match="quota"), world.machines():
            raise AssertionError("there is no machine")
        assert not world.arm.writes

    def test_a_right_that_is_missing_is_no_reason_to_try_elsewhere(self, world: World) -> None:
        told = "The client does not have authorization to perform action 'Microsoft.Resources/subscriptions/...'"
        refused = Answer(status=403, body=error_body("AuthorizationFailed", told))
        world.arm.plan.add("PUT", "/resourcegroups/[^/]+$", last=9, answer=refused)
        with pytest.raises(ProvisioningError) as caught, world.machines():
            raise AssertionError("there is no machine")
        assert "doctor azure" in caught.value.hint
        assert sum(one.startswith("PUT") for one in world.arm.writes) == 0


class TestWhenItDoesNotBoot:
    def test_screen_and_state_are_kept_and_the_console_is_told(self, world: World) -> None:
        world.hosts.silent = {"m0"}
        world.hosts.text = b"dracut: FATAL: no root\r\n"
        impatient = Timeouts(boot=timedelta(seconds=1))
        with pytest.raises(ProvisioningError, match="no root"), world.machines(timeouts=impatient):
            raise AssertionError("there is no machine")
        kept = {path.name for path in (world.lease.evidence / "azure").iterdir()}
        assert kept == {"screenshot-m0.png", "instance-view-m0.json"}
        view = json.loads((world.lease.evidence / "azure/instance-view-m0.json").read_text())
        assert any(one["code"] == "PowerState/running" for one in view["statuses"])
        assert not world.arm.groups

    def test_another_host_key_than_ours_is_never_trusted(self, world: World, tmp_path: Path) -> None:
        start = world.hosts.start

        def start_with_another(machine: Stored, address: str) -> None:
            from tests.doubles.azure import hosts as module

            told = module.cloud_config(machine)
            from lisa_ci.ssh import make_key

            told["ssh_keys"]["ed25519_private"] = make_key(tmp_path, "foreign").private.read_text()
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(module, "cloud_config", lambda _: told)
                start(machine, address)

        world.hosts.start = start_with_another  # type: ignore[method-assign]
        with pytest.raises(ProvisioningError, match="not the machine it should be"), world.machines():
            raise AssertionError("there is no machine")
        assert not world.arm.groups


class TestLoss:
    @pytest.mark.parametrize("eviction", ["Delete", "Deallocate"])
    def test_a_spot_machine_that_azure_takes_back_is_infrastructure(self, world: World, eviction: str) -> None:
        azure = dataclasses.replace(PLAIN, spot=Spot())
        with world.machines(azure=azure) as machines:
            world.vm.properties["evictionPolicy"] = eviction
            world.arm.evict(world.vm)
            with pytest.raises(MachineLostError) as caught:
                machines.members[0].run("sleep", "30", timeout=SOON)
        assert caught.value.loss is Loss.DESTROYED
        assert "evicted" in caught.value.message
        assert not world.arm.groups

    def test_a_machine_that_switches_itself_off_is_the_image_s_doing(self, world: World) -> None:
        with world.machines() as machines:
            world.arm.power_off(world.vm, "stopped")
            with pytest.raises(MachineLostError) as caught:
                machines.members[0].run("sleep", "30", timeout=SOON)
        assert caught.value.loss is Loss.POWER_OFF

    def test_a_silent_machine_is_asked_through_azure(self, world: World) -> None:
        with world.machines() as machines:
            assert isinstance(machines, SupportsDiagnosis)
            said = machines.diagnose()
        assert "run-command-m0.txt" in said
        assert (world.lease.evidence / "azure/run-command-m0.txt").read_text().startswith("[stdout]")


class TestAbilities:
    def test_it_is_stopped_started_moved_and_resized_and_answers_each_time(self, world: World) -> None:
        with world.machines() as machines:
            assert isinstance(machines, SupportsPower)
            [machine] = machines.members
            machines.power_off(machine, timeout=SOON)
            assert world.vm.power == "deallocated"
            with pytest.raises(MachineLostError):
                machine.run("true", timeout=SOON)
            machines.power_on(machine, timeout=SOON)
            assert machine.run("true", timeout=SOON).exit == 0
            machines.redeploy(machine, timeout=SOON)
            assert len(world.vm.started) == 3
            machines.resize(machine, "Standard_D4s_v5", timeout=SOON)
            assert world.vm.properties["hardwareProfile"]["vmSize"] == "Standard_D4s_v5"
            assert machine.run("true", timeout=SOON).exit == 0

    def test_disks_come_and_go_while_it_runs(self, world: World) -> None:
        with world.machines() as machines:
            assert isinstance(machines, SupportsHotPlug)
            [machine] = machines.members
            name = machines.add_disk(machine, size_mib=2048)
            [attached] = [
                one for one in world.vm.properties["storageProfile"]["dataDisks"] if f"lun-{one['lun']}" == name
            ]
            made = world.arm.resources[attached["managedDisk"]["id"].lower()]
            assert made.properties["diskSizeGB"] == 2
            assert made.body["tags"][names.OWNER] == "acme/distro/77"
            assert len(world.vm.started) == 1
            assert machines.remove_device(machine, name, timeout=SOON)
            assert made.id.lower() not in world.arm.resources
            with pytest.raises(ProvisioningError, match=name):
                machines.remove_device(machine, name, timeout=SOON)

    def test_a_nic_comes_over_a_stop_and_a_start(self, world: World) -> None:
        with world.machines() as machines:
            [machine] = machines.members
            address = machines.add_nic(machine)
            nics = world.vm.properties["networkProfile"]["networkInterfaces"]
            assert len(nics) == 2
            assert address.count(":") == 5
            assert machine.run("true", timeout=SOON).exit == 0
            assert machines.remove_device(machine, address, timeout=SOON)
            assert len(world.vm.properties["networkProfile"]["networkInterfaces"]) == 1

    def test_accelerated_networking_is_switched_on_the_control_nic(self, world: World) -> None:
        with world.machines() as machines:
            assert isinstance(machines, SupportsAcceleration)
            [machine] = machines.members
            [nic] = [one for one in world.arm.resources.values() if one.name == "m0-nic0"]
            address = nic.properties["ipConfigurations"][0]["properties"]["privateIPAddress"]
            for is_on in (False, True):
                machines.set_accelerated_networking(machine, is_on=is_on, timeout=SOON)
                assert nic.properties["enableAcceleratedNetworking"] is is_on
                assert nic.properties["ipConfigurations"][0]["properties"]["privateIPAddress"] == address
                assert machine.run("true", timeout=SOON).exit == 0
            assert len(world.vm.started) == 3

    def test_data_disks_of_the_profile_are_there_from_the_start(self, world: World) -> None:
        with world.machines(disks=(Disk(), Disk(size_mib=4096))):
            attached = world.vm.properties["storageProfile"]["dataDisks"]
        assert [one["lun"] for one in attached] == [0, 1]


class TestLeaving:
    @pytest.mark.parametrize("signal", [KeyboardInterrupt(), SystemExit(143)])
    def test_a_cancelled_job_starts_the_deletion_and_waits_for_nothing(
        self, world: World, signal: BaseException
    ) -> None:
        # Without the follower, a thread that may be asking at this moment.
        world.platform._doors = dataclasses.replace(world.platform._doors, follow_every=None)
        leg = contextlib.ExitStack()
        leg.enter_context(world.machines())
        world.arm.requests.clear()
        with pytest.raises(type(signal)), leg:
            raise signal
        deletes = [number for number, one in enumerate(world.arm.requests) if one.startswith("DELETE")]
        assert len(deletes) == 1
        after = world.arm.requests[deletes[0] + 1 :]
        assert not after, "nothing is asked after the deletion was begun"
        assert world.receipt.left, "what is going is told as left"
        _until(lambda: not _settled(world.arm).groups)

    def test_a_block_that_fails_waits_until_all_is_gone(self, world: World) -> None:
        with pytest.raises(ZeroDivisionError), world.machines():
            raise ZeroDivisionError
        assert not world.arm.groups

    def test_a_disk_that_is_let_go_of_late_goes_at_the_second_try(self, world: World) -> None:
        with world.machines():
            disk = next(one for one in world.arm.resources.values() if one.name == "m0-os")
            world.arm.lingering.add(disk.id.lower())
        assert not world.arm.groups
        assert world.receipt.left == ()

    def test_a_lock_is_told_and_what_it_holds_is_in_the_receipt(self, world: World) -> None:
        with world.machines():
            group = next(iter(world.arm.groups.values()))
            world.arm.locks = [{"id": f"{group['id']}/providers/Microsoft.Authorization/locks/keep", "properties": {}}]
        assert world.said("ScopeLocked")
        assert f"{VM}/m0" in world.receipt.left

    def test_a_deletion_that_is_throttled_is_asked_for_again(self, world: World) -> None:
        busy = Answer(status=409, body=error_body("AnotherOperationInProgress", "another operation is in progress"))
        with world.machines():
            world.arm.plan.add("DELETE", "/resourcegroups/[^/]+$", answer=busy)
            world.platform._subscription().clock.sleep(0)
        assert not world.arm.groups

    def test_a_machine_that_is_kept_goes_on_and_its_record_says_how_to_end_it(self, world: World) -> None:
        with world.machines(keep=True) as machines:
            assert machines.end_command().startswith("lisa-ci sweep lisa-ci-")
        assert world.hosts.running
        [found] = record.records()
        assert found.keep
        assert world.platform.sweep(now=datetime.now(UTC)) == ()
        [swept] = world.platform.sweep(now=world.lease.delete_after)
        assert swept.is_removed
        assert not world.arm.groups


def _settled(arm: Arm) -> Arm:
    arm.settle()
    return arm


class TestAfterACrash:
    def kill(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        """As SIGKILL in the middle of the deployment: nothing of ours runs any more."""

        class KilledError(BaseException):
            pass

        with monkeypatch.context() as patch:
            patch.setattr("lisa_ci.platforms.azure.provisioning.Provisioning._leave", lambda *_: None)
            patch.setattr("lisa_ci.platforms.azure.group.ResourceGroup.look", _raise(KilledError()))
            with contextlib.suppress(KilledError), world.machines():
                raise AssertionError("there is no machine yet")

    def orphan(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(record, "is_alive", lambda _: False)

    def test_the_record_was_there_before_the_group(self, world: World) -> None:
        world.arm.plan.add("PUT", "/resourcegroups/[^/]+$", last=99, cuts="before")
        with monkeypatch_clock(world), pytest.raises(ProvisioningError), world.machines():
            raise AssertionError("there is no machine")
        assert not world.arm.groups

    def test_a_sweep_of_this_host_ends_what_a_killed_run_left(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.kill(world, monkeypatch)
        assert world.arm.groups
        assert world.platform.sweep(now=datetime.now(UTC)) == (), "its process still lives"
        self.orphan(monkeypatch)
        [swept] = world.platform.sweep(now=datetime.now(UTC))
        assert swept.is_removed
        assert not world.arm.groups
        assert list(record.records()) == []

    def test_the_next_run_goes_on_with_the_deployment_that_a_killed_one_began(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.kill(world, monkeypatch)
        self.orphan(monkeypatch)
        world.arm.writes.clear()
        with world.machines() as machines:
            assert machines.members[0].run("true", timeout=SOON).exit == 0
            assert not [one for one in world.arm.writes if one.startswith("PUT")], "nothing is made twice"
        assert world.said("went on with the deployment")
        assert not world.arm.groups

    def test_the_next_run_deletes_what_it_cannot_go_on_with(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.kill(world, monkeypatch)
        self.orphan(monkeypatch)
        [before] = record.records()
        record.write(dataclasses.replace(before, token=""))
        with world.machines() as machines:
            assert machines.members[0].run("true", timeout=SOON).exit == 0
            assert world.vm.group != before.group
        assert not world.arm.groups
        assert [receipt.left for receipt in world.platform.receipts()] == [(), ()]


def _raise(error: BaseException) -> Callable[..., object]:
    def act(*_: object, **__: object) -> object:
        raise error

    return act


@contextlib.contextmanager
def monkeypatch_clock(world: World) -> Iterator[None]:
    """Pauses of the SDK and ours cost nothing."""
    azure = world.platform._subscription()
    fast = dataclasses.replace(azure, clock=Clock(now=azure.clock.now, sleep=lambda _: None))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(world.platform, "_connect", lambda: fast)
        for one in (azure.compute, azure.resources, azure.deployments):
            transport = one._client._pipeline._transport  # type: ignore[attr-defined]
            patch.setattr(transport, "_pause", lambda _: None)
        yield


def test_a_way_in_that_azure_has_not_is_said_before_anything_is_asked(world: World) -> None:
    with pytest.raises(PipelineError, match="offline"), world.machines(access=Access(way_in=WayIn.OFFLINE)):
        raise AssertionError("there is no machine")
    assert not world.arm.requests
