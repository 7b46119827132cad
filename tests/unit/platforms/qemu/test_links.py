"""The private links of a group, and its machines, started at once."""

from __future__ import annotations

import dataclasses
import fcntl
import itertools
import os
import threading
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from lisa_ci.errors import ProvisioningError
from lisa_ci.model import ImageFormat, Nic, Profile, contradictions, nic_address
from lisa_ci.platforms.qemu import group, links
from lisa_ci.platforms.qemu.acceleration import Acceleration, Accelerator
from lisa_ci.platforms.qemu.builder import Builder, Seat
from lisa_ci.platforms.qemu.command_line import MachineFiles, arguments, shape_problems
from lisa_ci.platforms.qemu.links import LinkCards

PAIR = Profile(name="pair", machines=2, nics=(Nic(link=True), Nic(), Nic(link=True, model="e1000e")))
AT_ONCE = timedelta()


def command(profile: Profile, machine: int) -> list[str]:
    files = MachineFiles(
        base=Path("/i/image.qcow2"),
        base_format=ImageFormat.QCOW2,
        root=Path("/s/root.qcow2"),
        console=Path("/e/console.log"),
        number=machine,
        links=(100, 101),
    )
    tcg = Acceleration(accelerator=Accelerator.TCG)
    return list(arguments("qemu", profile, files, tcg, name="leg-1", kernel=None))


def values(words: list[str], option: str) -> list[str]:
    return [value for name, value in itertools.pairwise(words) if name == option]


# ---- the command line ----------------------------------------------------------------------------------------------


def test_a_card_of_a_link_gets_a_socket_and_no_port_of_the_host() -> None:
    networks = values(command(PAIR, 0), "-netdev")
    assert networks[0] == "user,id=control,restrict=on,ipv6=off,hostfwd=tcp:127.0.0.1:0-:22"
    assert [each for each in networks[1:] if each.startswith("socket")] == [
        "socket,id=link1,fd=100",
        "socket,id=link3,fd=101",
    ]
    assert not [each for each in networks if "listen" in each or "mcast" in each or "connect" in each]


def test_no_two_machines_of_a_group_have_a_card_with_the_same_address() -> None:
    addresses = [
        part.removeprefix("mac=")
        for machine in range(2)
        for device in values(command(PAIR, machine), "-device")
        for part in device.split(",")
        if part.startswith("mac=")
    ]
    assert len(addresses) == len(set(addresses)) == 8
    assert nic_address(1) == "52:54:00:6c:63:01", "a machine of its own has the addresses that it always had"
    assert {nic_address(n, m) for n in range(4) for m in range(2)} == set(addresses)


def test_where_machines_take_hardware_a_card_of_a_link_has_a_port_that_it_can_leave() -> None:
    devices = values(command(dataclasses.replace(PAIR, hotplug=True), 1), "-device")
    assert any(each.startswith("pcie-root-port,id=link-port1,") for each in devices)
    assert "virtio-net-pci,id=link-nic1,netdev=link1,mac=52:54:00:6c:64:01,romfile=,bus=link-port1" in devices
    slots = [part for each in devices for part in each.split(",") if part.startswith("addr=")]
    assert len(slots) == len(set(slots))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (Profile(name="x", nics=(Nic(link=True),)), "'link' needs 'machines: 2'"),
        (Profile(name="x", machines=2, nics=(Nic(link=True, outbound=True),)), "'link' or 'outbound', not both"),
        (Profile(name="x", machines=2, nics=(Nic(link=True, queues=2),)), "'link' has one queue"),
        (Profile(name="x", machines=3, nics=(Nic(link=True),)), "joins 2 machines"),
    ],
)
def test_what_no_link_can_give_is_told_before_any_cost(wrong: Profile, said: str) -> None:
    assert any(said in problem for problem in shape_problems(wrong))
    assert contradictions(Profile(name="x", machines=3)) == ()


# ---- sockets -------------------------------------------------------------------------------------------------------


def test_the_ends_of_a_link_are_connected_keep_packets_apart_and_end_with_the_block() -> None:
    with links.sockets(PAIR) as ends:
        assert [len(of_machine) for of_machine in ends] == [2, 2]
        numbers = [end.fileno() for of_machine in ends for end in of_machine]
        assert min(numbers) >= 100, "clear of the file descriptors that QEMU gets by number"
        assert all(fcntl.fcntl(number, fcntl.F_GETFD) & fcntl.FD_CLOEXEC for number in numbers)
        ends[0][1].send(b"one")
        ends[0][1].send(b"two" * 3000)
        assert [len(ends[1][1].recv(65536)) for _ in range(2)] == [3, 9000]
        ends[1][0].setblocking(False)
        with pytest.raises(BlockingIOError):
            ends[1][0].recv(1)
    for number in numbers:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(number)


def test_a_profile_without_links_opens_nothing() -> None:
    with links.sockets(Profile(name="x", machines=2)) as ends:
        assert list(ends) == [()]


# ---- cards that come and go ----------------------------------------------------------------------------------------


class Qmp:
    """``holds``: the guest does not let go of a device."""

    def __init__(self) -> None:
        self.devices = {"link-nic1", "link-nic3"}
        self.carrier: dict[str, bool] = {}
        self.added: list[Mapping[str, Any]] = []
        self.holds = False

    def execute(self, command: str, arguments: Mapping[str, Any] | None = None) -> Any:
        told = dict(arguments or {})
        match command:
            case "set_link":
                assert told["name"] in self.devices
                self.carrier[told["name"]] = told["up"]
            case "device_del" if not self.holds:
                self.devices.remove(told["id"])
            case "device_add":
                self.devices.add(told["id"])
                self.added.append(told)
            case "qom-list":
                return [{"name": name} for name in sorted(self.devices)]
        return {}


@pytest.fixture
def qmp() -> Qmp:
    return Qmp()


def cards(qmp: Any, *, hotplug: bool = True) -> LinkCards:
    return LinkCards(qmp, dataclasses.replace(PAIR, hotplug=hotplug), 1)


def test_a_cable_is_pulled_and_mended_by_the_address_of_the_card(qmp: Qmp) -> None:
    mine = cards(qmp)
    assert mine.addresses == (nic_address(1, 1), nic_address(3, 1))
    mine.set_carrier(nic_address(3, 1), on=False)
    assert qmp.carrier == {"link-nic3": False}
    mine.mend()
    assert qmp.carrier == {"link-nic1": True, "link-nic3": True}
    with pytest.raises(ProvisioningError, match="no NIC 52:54:00:6c:63:01 on a link"):
        mine.set_carrier(nic_address(1), on=False)


def test_a_card_that_was_taken_out_comes_back_as_it_was(qmp: Qmp) -> None:
    mine, address = cards(qmp), nic_address(1, 1)
    assert mine.take_out(address, AT_ONCE)
    assert mine.taken_out == [address]
    mine.mend()
    with pytest.raises(ProvisioningError, match="no NIC"):
        mine.take_out(address, AT_ONCE)
    mine.put_back(address)
    assert mine.taken_out == []
    assert [(each["driver"], each["mac"], each["netdev"], each["bus"]) for each in qmp.added] == [
        ("virtio-net-pci", address, "link1", "link-port1")
    ]
    with pytest.raises(ProvisioningError, match="was not taken out"):
        mine.put_back(address)


def test_a_machine_that_holds_on_to_its_card_keeps_it(qmp: Qmp) -> None:
    mine = cards(qmp)
    qmp.holds = True
    assert not mine.take_out(nic_address(1, 1), AT_ONCE)
    assert mine.taken_out == []


def test_without_hot_plug_no_card_can_be_taken_out(qmp: Qmp) -> None:
    with pytest.raises(ProvisioningError) as refused:
        cards(qmp, hotplug=False).take_out(nic_address(1, 1), AT_ONCE)
    assert "hotplug: true" in refused.value.hint


# ---- starting together ---------------------------------------------------------------------------------------------


class Guard:
    def __init__(self) -> None:
        self.ended = threading.Event()

    def end(self) -> bool:
        self.ended.set()
        return True


def test_machines_boot_at_the_same_time_and_come_in_the_order_of_their_roles() -> None:
    meeting = threading.Barrier(2, timeout=10)

    def boots(name: str) -> Any:
        meeting.wait()
        return name

    found = group._Starting().together([lambda: boots("client"), lambda: boots("server")])
    assert list(found) == ["client", "server"]
    assert group.roles(1) == ("main",)
    assert group.roles(4) == ("client", "server", "server2", "server3")


def test_one_that_does_not_come_up_ends_all_at_once() -> None:
    starting, guards = group._Starting(), [Guard(), Guard()]

    def boots(number: int) -> Any:
        starting.joins(guards[number])  # type: ignore[arg-type]
        if number == 1:
            raise ProvisioningError("no boot loader")
        assert guards[0].ended.wait(10), "its QEMU is ended while it is waited for"
        raise ProvisioningError("somebody ended QEMU")

    with pytest.raises(ProvisioningError, match="no boot loader"):
        starting.together([lambda: boots(0), lambda: boots(1)])
    assert all(guard.ended.is_set() for guard in guards)
    with pytest.raises(ProvisioningError, match="another machine of the group"):
        starting.joins(Guard())  # type: ignore[arg-type]


def test_an_interrupt_ends_all_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    starting, guard = group._Starting(), Guard()

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    def boots() -> Any:
        with suppress(ProvisioningError):
            starting.joins(guard)  # type: ignore[arg-type]
            assert guard.ended.wait(10)
        raise ProvisioningError("somebody ended QEMU")

    monkeypatch.setattr(group, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        starting.together([boots])


def test_each_machine_beside_the_first_has_a_console_and_a_name_of_its_own(tmp_path: Path) -> None:
    builder: Any = object.__new__(Builder)
    builder._lease = type("Lease", (), {"leg": "net-pair", "evidence": tmp_path})
    told = {}
    for seat in (Seat(role="client"), Seat(role="server", number=1)):
        builder.seat = seat
        told[seat.role] = (builder.name, builder.console.name)
    assert told == {"client": ("net-pair", "console.log"), "server": ("net-pair (server)", "console-server.log")}
