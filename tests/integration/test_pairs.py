"""Two machines of a leg on their private links: the real QEMU, the real Debian with its whole kernel and its tools."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from lisa_ci import image
from lisa_ci.errors import Loss, MachineLostError
from lisa_ci.execution import claims, losses
from lisa_ci.model import (
    Access,
    Case,
    Disk,
    ImageSource,
    Lease,
    Nic,
    Outcome,
    Profile,
    Result,
    Subject,
    Suite,
    Timeouts,
)
from lisa_ci.platforms.qemu import QemuPlatform
from lisa_ci.platforms.qemu.platform import QemuMachines
from lisa_ci.protocols import Machine, Scenario, SupportsLinks
from lisa_ci.scenarios.iscsi import IscsiScenario
from lisa_ci.scenarios.pair_network import PairNetworkScenario
from lisa_ci.scenarios.pairs import Pair, find_pair
from lisa_ci.scenarios.rdma import RdmaScenario
from tests.doubles.demo_image import field_image_path

SOON = timedelta(seconds=120)
PAIR = Profile(
    name="pair",
    machines=2,
    memory_mib=768,
    hotplug=True,
    disks=(Disk(size_mib=256),),
    nics=(Nic(link=True), Nic(link=True)),
)


@dataclass(frozen=True)
class Given:
    group: QemuMachines
    evidence: Path

    @property
    def client(self) -> Machine:
        return self.group.members[0]

    @property
    def server(self) -> Machine:
        return self.group.members[1]


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Given]:
    """One pair for all tests of this file: its boot is most of what they take."""
    folder = tmp_path_factory.mktemp("pair")
    lease = Lease(
        owner="test",
        leg="pair",
        attempt=1,
        delete_after=datetime.now(UTC) + timedelta(minutes=60),
        evidence=folder / "evidence",
        scratch=folder / "scratch",
    )
    subject = Subject(image=image.resolve(ImageSource(path=str(field_image_path())), Path("/")))
    times = Timeouts(boot=timedelta(minutes=8))
    with QemuPlatform().provision(PAIR, subject, Access(), lease, timeouts=times, emit=lambda _: None) as group:
        yield Given(group, folder / "evidence")
    assert list((folder / "scratch").iterdir()) == [], "both are gone, with all that they had"


def told(machine: Machine, line: str) -> str:
    return machine.run("sh", "-c", line, timeout=SOON).output.decode().strip()


def pair_of(given: Given) -> Pair:
    found = find_pair(given.group)
    assert isinstance(found, Pair)
    return found


def results_of(given: Given, scenario: Scenario, *ids: str) -> dict[str, Result]:
    suite = Suite(name="pair", folder="", digest="", cases=tuple(Case(suite="pair", id=one) for one in ids))
    ran = scenario.run(suite, given.group, timeouts=Timeouts(), emit=lambda _: None)
    return {result.case: result for result in ran}


def assert_passed(found: dict[str, Result]) -> None:
    assert {one.outcome for one in found.values()} == {Outcome.PASSED}, [
        (one.case, one.outcome, one.message, one.detail) for one in found.values()
    ]


def test_the_machines_are_two_and_each_is_itself(given: Given) -> None:
    assert isinstance(given.group, SupportsLinks)
    assert [machine.role for machine in given.group.members] == ["client", "server"]
    assert told(given.server, "cat /proc/sys/kernel/hostname") == "server"
    assert told(given.client, "cat /proc/sys/kernel/hostname") != "server"
    keys = {told(machine, "cat /etc/ssh/ssh_host_ed25519_key.pub").split()[1] for machine in given.group.members}
    assert len(keys) == 2
    assert {path.name for path in given.evidence.glob("console*")} == {"console.log", "console-server.log"}
    assert claims.ask(given.client, PAIR, others=[given.server], timeout=SOON) == {}
    false = claims.ask(given.client, PAIR, others=[given.client], timeout=SOON)
    assert set(false) == {"links"}, "the second one's cards have other addresses"
    assert set(claims.ask(given.client, PAIR, timeout=SOON)) == {"machines"}


@pytest.mark.field
def test_packets_of_any_size_pass_and_a_pulled_cable_is_seen(given: Given) -> None:
    assert_passed(results_of(given, PairNetworkScenario(), "link", "mtu", "vlan", "carrier", "nic-leaves"))


@pytest.mark.field
def test_a_bond_fails_over_while_bytes_stream(given: Given) -> None:
    found = results_of(given, PairNetworkScenario(), "link", "bond")
    assert_passed(found)
    assert found["bond"].metrics["longest_gap_ms"] > 0


def test_an_iscsi_session_that_is_cut_while_it_writes_recovers_and_loses_nothing(given: Given) -> None:
    assert_passed(results_of(given, IscsiScenario(), "chap-wrong", "data", "session-drop"))


@pytest.mark.field
def test_memory_of_the_other_machine_is_reached_by_the_link(given: Given) -> None:
    found = results_of(
        given,
        RdmaScenario(),
        *("device", "pingpong", "datagrams", "connection-manager", "bandwidth", "latency", "mpi"),
        *("memory-limit", "port-state", "removal"),
    )
    assert_passed(found)
    figures = {name for one in found.values() for name in one.metrics}
    assert figures == {
        *("rc_mbit_per_s", "rc_round_trip_us", "ud_mbit_per_s", "ud_round_trip_us"),
        *("write_mbyte_per_s", "send_typical_us", "mpi_one_way_us", "mpi_mbit_per_s"),
    }


@pytest.mark.field
def test_iscsi_goes_on_over_another_path_and_with_a_new_target_and_ends_where_a_write_waits(given: Given) -> None:
    found = results_of(
        given,
        IscsiScenario(),
        *("discovery", "login", "data", "target-restart", "multipath", "logout", "logout-pending"),
    )
    assert_passed(found)
    assert set(found["target-restart"].metrics) == {"session_logged_s"}
    assert 0 <= found["logout-pending"].metrics["logout_s"] <= 60


def test_a_restored_pair_is_joined_as_it_was(given: Given) -> None:
    pair = pair_of(given)
    wire = pair.wires[0]
    pair.set_up(wire)
    pair.do("client", "answers", wire.ipv4("server"))
    assert given.group.snapshot_problem() == ""
    given.group.snapshot()
    for machine in given.group.members:
        told(machine, "touch /run/later; ip addr flush dev $(ip -br link | awk '/63:01|64:01/ {print $1}')")
    pair.cut(wire)
    given.group.restore(timeout=SOON)
    for machine in given.group.members:
        assert told(machine, "ls /run/later 2>/dev/null; date +%s").isdigit()
        assert abs(float(told(machine, "date +%s")) - time.time()) < 10
    pair.do("client", "answers", wire.ipv4("server"), wire.ipv6("server"))
    pair.clear_up()


def test_a_server_that_dies_is_told_by_its_role_and_the_client_goes_on(given: Given) -> None:
    crash = "echo 1 >/proc/sys/kernel/sysrq; echo c >/proc/sysrq-trigger; sleep 60"
    with pytest.raises(MachineLostError) as lost:
        given.server.run("sh", "-c", crash, timeout=SOON)
    assert (losses.role_of(lost.value), lost.value.loss) == ("server", Loss.PANIC)
    assert losses.reason(lost.value).startswith("server: ")
    assert told(given.client, "echo alive") == "alive"
