"""Wrong worlds of two machines and their links: the case that claims a thing fails where it is not so, others pass.

The two are network namespaces of this host (tests/doubles/paired_namespaces.py), so it takes no machine. What these
cannot give, VLANs and bonds, is on the table of tests/unit/scenarios/test_pair_scenarios.py and in real machines.
Run by ``pytest tests/mutation/test_network_pair.py``; about two minutes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from lisa_ci.model import Case, Outcome, Result, Suite, Timeouts
from lisa_ci.scenarios import pair_network, pairs
from lisa_ci.scenarios.pair_network import PairNetworkScenario
from tests.doubles.paired_namespaces import PairedNamespaces, inside, paired_namespaces

Change = Callable[[PairedNamespaces], None]


def nothing(_: PairedNamespaces) -> None:
    """The world as it should be."""


def link_down(group: PairedNamespaces) -> None:
    _cables_do_not_move(group)
    inside(group.pids[2], "ip", "link", "set", "hub1m1", "down")


def _cables_do_not_move(group: Any) -> None:
    group.set_link = lambda *_, **__: None


def crossed(group: PairedNamespaces) -> None:
    """The server's cards are on each other's link."""
    for wire, other in ((1, 2), (2, 1)):
        inside(group.pids[2], "ip", "link", "set", f"hub{wire}m1", "master", f"bridge{other}")


def another_answers(group: PairedNamespaces) -> None:
    """The server's card has another address than the one that it was made with: it is not the server that answers."""
    inside(group.pids[2], "ip", "link", "add", "thief1", "type", "veth", "peer", "name", "thief2")
    for name in ("thief1", "thief2"):
        inside(group.pids[2], "ip", "link", "set", name, "up")
    inside(group.pids[2], "ip", "link", "set", "thief2", "master", "bridge1")
    inside(group.pids[2], "ip", "addr", "add", "10.213.1.2/24", "dev", "thief1")
    inside(group.pids[2], "ip", "addr", "add", "fd4c:4943:1::2/64", "dev", "thief1", "nodad")
    inside(group.pids[2], "ip", "link", "set", "hub1m1", "nomaster")


def answers_are_limited(group: PairedNamespaces) -> None:
    """The server answers 20 packets a second."""
    for setting in ("icmp_ratemask=1", "icmp_ratelimit=50"):
        inside(group.pids[1], "sysctl", "-qw", f"net.ipv4.{setting}")


def holds(group: Any) -> None:
    group.take_out = lambda *_, **__: False


def comes_back_dead(group: Any) -> None:
    whole = group.put_back

    def put_back(machine: Any, name: str) -> None:
        whole(machine, name)
        inside(group.pids[2], "ip", "link", "set", "hub1m0", "down")

    group.put_back = put_back


def stays(group: Any) -> None:
    """The platform says that the card is out, and it is not."""
    group.take_out = lambda *_, **__: True
    group.put_back = lambda *_: None


def one_byte(text: str) -> str:
    sent = 'send "$2" "$3" <"$1" ||'
    assert text.count(sent) == 1
    return text.replace(sent, '{ head -c 5000000 "$1"; printf x; tail -c +5000002 "$1"; } | send "$2" "$3" ||')


def half(text: str) -> str:
    sent = 'send "$2" "$3" <"$1" ||'
    return text.replace(sent, 'head -c 8000000 "$1" | send "$2" "$3" ||')


def silent_server(text: str) -> str:
    served = 'exec iperf3 -s -B "$1" -p "$2"'
    assert text.count(served) == 1
    return text.replace(served, "exec socat -u TCP4-LISTEN:$2,bind=$1,fork OPEN:/dev/null")


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """``cases`` are run, after ``link``; those of ``fails`` must fail, the others must not."""

    wrong: str
    cases: tuple[str, ...]
    fails: tuple[str, ...]
    change: Change = nothing
    text: Callable[[str], str] = str
    hub_mtu: int = 9000


TCP = "tcp-to-server"
WORLDS = (
    World(wrong="nothing", cases=("mtu", "latency", "small-packets", TCP, "udp", "transfer", "carrier"), fails=()),
    World(wrong="a link is down", cases=(), fails=("link",), change=link_down),
    World(wrong="links are crossed", cases=(), fails=("link",), change=crossed),
    World(wrong="another machine answers", cases=(), fails=("link",), change=another_answers),
    World(wrong="the link drops jumbo frames", cases=("mtu", "latency"), fails=("mtu",), hub_mtu=1500),
    World(
        wrong="packets are lost",
        cases=("latency", "small-packets", TCP),
        fails=("latency", "small-packets"),
        change=answers_are_limited,
    ),
    World(wrong="one byte changes on its way", cases=("transfer", TCP), fails=("transfer",), text=one_byte),
    World(wrong="half of the bytes come", cases=("transfer",), fails=("transfer",), text=half),
    World(wrong="nobody serves", cases=(TCP, "udp", "latency"), fails=(TCP, "udp"), text=silent_server),
    World(wrong="a pulled cable is not seen", cases=("carrier",), fails=("carrier",), change=_cables_do_not_move),
    World(wrong="a card is held on to", cases=("nic-leaves",), fails=("nic-leaves",), change=holds),
    World(wrong="a card stays", cases=("nic-leaves",), fails=("nic-leaves",), change=stays),
    World(wrong="a card comes back dead", cases=("nic-leaves",), fails=("nic-leaves",), change=comes_back_dead),
)


def results_of(world: World, monkeypatch: pytest.MonkeyPatch) -> dict[str, Result]:
    monkeypatch.setattr(pairs, "LEAVES", timedelta(seconds=5))
    text = world.text(pairs.TEXT)
    monkeypatch.setattr(pair_network, "find_pair", lambda machines: pairs.find_pair(machines, text=text))
    cases = tuple(Case(suite="network-pair", id=case_id) for case_id in ("link", *world.cases))
    suite = Suite(name="network-pair", folder="", digest="", scenario="network-pair", cases=cases)
    with paired_namespaces(hub_mtu=world.hub_mtu) as group:
        world.change(group)
        ran = PairNetworkScenario().run(suite, group, timeouts=Timeouts(), emit=lambda _: None)
        return {result.case: result for result in ran}


@pytest.mark.parametrize("world", WORLDS, ids=lambda world: world.wrong.replace(" ", "-"))
def test_a_wrong_world_fails_the_case_that_is_about_it(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    found = results_of(world, monkeypatch)
    assert {case for case, one in found.items() if one.outcome is Outcome.FAILED} == set(world.fails), found
    assert all(found[case].message for case in world.fails)
    rest = {one.outcome for case, one in found.items() if case not in world.fails}
    assert rest <= {Outcome.PASSED}, found


def test_each_case_that_namespaces_can_give_fails_in_some_world() -> None:
    known = {case for world in WORLDS for case in world.cases} | {"link"}
    assert known - {case for world in WORLDS for case in world.fails} == set()
