"""The suites ``network`` and ``performance`` in a real machine: a representative third of the cases, worlds in which
they must fail, and what they leave behind. All worlds: tests/mutation/test_network.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from lisa_ci import files, process
from lisa_ci.execution import claims
from lisa_ci.model import Outcome
from tests.doubles.network_machine import TWO_CARDS, network_machine
from tests.doubles.storage_machine import StorageMachine
from tests.mutation.test_network import WORLDS

ROOT = files.shipped("suites")
NAMES = ("network", "performance")
SCRIPTS = sorted(path for name in NAMES for path in (ROOT / name).iterdir() if path.suffix != ".yaml")
MINUTE = timedelta(minutes=1)

# One of each kind: the profile's cards, queues, addresses, layers, redundancy, tunnels, filters, shaping, TCP, sockets.
CASES = (
    *("nic-identity", "nic-link", "nic-mtu", "nic-offloads", "nic-channels", "nic-send-spread", "receive-spread"),
    *("ipv6", "dhcp", "dns", "vlan", "bridge", "bond-failover", "vxlan", "wireguard", "nft-nat", "xdp", "tc-netem"),
    *("path-mtu", "unix-sockets"),
)
SEEDED = (
    "a card has too few queues",
    "WireGuard accepts a wrong key",
    "netem does nothing",
    "an offload cannot be set",
)

# All that the cases of a machine may leave: nothing, but for iproute2's own empty folder of names. Cards come back when
# the last namespace is taken down.
STATE = (
    "mkdir -p /run/netns; sleep 2; "
    'for card in /sys/class/net/*/; do echo "$card $(cat $card/address) $(cat $card/mtu)"; done;'
    " ls -A /var/run/netns /tmp 2>/dev/null; wc -l </proc/mounts;"
    " ps -e -o comm= | grep -E '^(socat|dnsmasq|dhclient|iperf3|tcpdump|ping)$'; true"
)


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StorageMachine]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        with network_machine(tmp_path_factory.mktemp("machine")) as found:
            yield found


def said(machine: StorageMachine, line: str) -> str:
    completed = machine.machine.run("sh", "-c", line, timeout=MINUTE)
    assert completed.exit == 0, completed.output
    return completed.output.decode()


def test_what_the_profile_claims_of_its_cards_is_true(machine: StorageMachine) -> None:
    assert claims.ask(machine.machine, TWO_CARDS, timeout=MINUTE) == {}


def test_a_third_of_the_cases_pass_and_leave_nothing_behind(machine: StorageMachine) -> None:
    before = said(machine, STATE)
    results = {case: machine.case("network", case) for case in CASES}
    bad = {case: result.message for case, result in results.items() if result.outcome is not Outcome.PASSED}
    assert bad == {}
    assert said(machine, STATE) == before


@pytest.mark.parametrize("wrong", SEEDED)
def test_a_case_fails_in_a_wrong_world(machine: StorageMachine, wrong: str) -> None:
    world = next(world for world in WORLDS if world.wrong == wrong)
    for case, says in world.fails.items():
        result = machine.case("network", case, *world.prelude, facts=world.facts)
        assert (result.outcome, says in result.message) == (Outcome.FAILED, True), result.message


def test_a_case_that_has_not_its_tool_skips_and_names_the_package(machine: StorageMachine) -> None:
    gone = 'mount --bind /dev/null "$(command -v ethtool)"'
    result = machine.case("network", "nic-rings", gone)
    assert (result.outcome, result.message) == (Outcome.SKIPPED, "no ethtool here (package ethtool)")


def test_figures_are_told_with_their_spread(machine: StorageMachine) -> None:
    for case, name in (("system-calls", "system_call_ns"), ("loopback-tcp", "loopback_tcp_mbit_per_s")):
        result = machine.case("performance", case)
        assert (result.outcome, result.note) == (Outcome.PASSED, ""), result.message
        spread = name.replace("_ns", "").replace("_mbit_per_s", "") + "_spread_percent"
        assert result.metrics.keys() == {name, spread}
        assert result.metrics[name] > 0
        assert result.metrics[spread] >= 0


def test_a_real_time_thread_wakes_up_late_and_at_worst_later(machine: StorageMachine) -> None:
    result = machine.case("performance", "timer-latency")
    assert (result.outcome, result.note) == (Outcome.PASSED, ""), result.message
    assert 0 < result.metrics["timer_late_us"] < result.metrics["timer_latest_us"]
    plain = """program cyclictest 'exec setpriv --bounding-set -sys_nice --inh-caps -sys_nice "$real" "$@"'"""
    refused = machine.case("performance", "timer-latency", plain)
    assert (refused.outcome, "missing capabilities" in refused.message) == (Outcome.FAILED, True), refused.message


@pytest.mark.parametrize("shell", [["dash", "-n"], ["bash", "--posix", "-n"], ["busybox", "ash", "-n"]], ids="-".join)
def test_every_script_is_read_by_every_shell(shell: list[str]) -> None:
    for path in SCRIPTS:
        process.check([*shell, path], timeout=MINUTE)


def test_shellcheck_has_nothing_to_say() -> None:
    # As in test_suites: words are sourced and lists of names are split on purpose.
    quiet = "SC1090,SC1091,SC2034,SC2046,SC2086,SC2154"
    process.check(["shellcheck", "-s", "sh", "-S", "warning", "-e", quiet, *SCRIPTS], timeout=2 * MINUTE)


def test_the_words_are_those_of_the_other_suites() -> None:
    assert len({(ROOT / name / "words.sh").read_bytes() for name in (*NAMES, "boot")}) == 1
