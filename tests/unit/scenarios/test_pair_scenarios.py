"""What scenarios over two machines make of words that end well, badly, late, or with nonsense."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lisa_ci.errors import MachineLostError, ProvisioningError
from lisa_ci.model import Case, Completed, Outcome, Result, Suite, Timeouts
from lisa_ci.protocols import SupportsLinks
from lisa_ci.scenarios import iscsi, pair_network, pairs, rdma
from lisa_ci.scenarios.pair_network import number, read_iperf
from lisa_ci.scenarios.pairs import StepError, find_pair, guarded, judged, metrics_in
from lisa_ci.scenarios.steps import Judged

SCENARIOS = {
    "network-pair": pair_network.PairNetworkScenario,
    "iscsi": iscsi.IscsiScenario,
    "rdma": rdma.RdmaScenario,
}
IPERF = {
    "end": {
        "sum_received": {"bits_per_second": 4e8},
        "sum_sent": {"retransmits": 3},
        "sum": {"lost_percent": 0.5, "jitter_ms": 0.2, "packets": 1300},
    }
}
ANSWERS = {
    "iperf": json.dumps(IPERF).encode(),
    "round_trips": b"METRIC rtt_median_us=900\n",
    "small_packets": b"METRIC small_packets_per_s=2000\n",
    "send_file": b"METRIC transfer_mbit_per_s=300\n",
    "gap_of": b"METRIC longest_gap_ms=300\n",
    "bond": b"eth1 eth2\n",
    "log_in": b"/dev/sda\n",
    "disk_bytes": b"268435456\n",
    "disk_sum": b"feed\n",
    "make_bytes": b"feed\n",
    "count_written": b"9\n",
    "blocks_sum": b"feed\n",
    "log_out_in": b"METRIC logout_s=2\n",
    "gather": b"/dev/mapper/one\n",
    "await_state": b"METRIC session_logged_s=4\n",
    "make_device": b"lisa-rxe software\n",
    "gid": b"1\n",
    "pingpong": b"METRIC rc_mbit_per_s=100\n",
    "make_key": b"ssh-ed25519 AAAA user\n",
    "mpi": b"METRIC mpi_one_way_us=100\n",
    "perftest": b"METRIC write_mbyte_per_s=100\n",
}


@dataclass
class World:
    """Two machines in memory; ``wrong`` maps a word to how it ends instead, in whatever machine."""

    wrong: dict[str, Completed | ProvisioningError] = field(default_factory=dict)
    wires: int = 2
    said: list[str] = field(default_factory=list)
    cables: list[str] = field(default_factory=list)
    out: list[str] = field(default_factory=list)
    holds: bool = False

    def __post_init__(self) -> None:
        self.members: Sequence[Any] = (Member(self, "client"), Member(self, "server"))

    def end_command(self) -> str:
        return ""

    def links(self, machine: Any) -> Sequence[str]:
        return [f"{machine.role}-{wire}" for wire in range(1, self.wires + 1)]

    def set_link(self, machine: Any, name: str, *, up: bool) -> None:
        assert name not in self.out
        self.cables.append(f"{name} {'in' if up else 'out'}")

    def take_out(self, machine: Any, name: str, *, timeout: timedelta) -> bool:
        if not self.holds:
            self.out.append(name)
        return not self.holds

    def put_back(self, machine: Any, name: str) -> None:
        self.out.remove(name)


@dataclass
class Member:
    world: World
    role: str

    def run(self, *command: str, timeout: timedelta, stdin: bytes = b"") -> Completed:
        assert stdin
        assert command[:2] == ("sh", "-c")
        word = command[5]
        self.world.said.append(f"{self.role} {' '.join(command[5:])}")
        wrong = self.world.wrong.get(word) or self.world.wrong.get(f"{self.role} {word}")
        if isinstance(wrong, ProvisioningError):
            raise wrong
        return wrong or Completed(exit=0, output=ANSWERS.get(word, b""))


def results(name: str, world: World, ids: Sequence[str] | None = None) -> dict[str, Result]:
    scenario = SCENARIOS[name](pause=lambda _: None)
    steps = {"network-pair": pair_network, "iscsi": iscsi, "rdma": rdma}[name].Steps
    known = [step.id for step in steps(find_pair(world), lambda _: None).all()] if ids is None else ids
    cases = tuple(Case(suite=name, id=case_id) for case_id in known)
    suite = Suite(name=name, folder="", digest="", scenario=name, cases=cases)
    found: Iterator[Result] = iter(scenario.run(suite, world, timeouts=Timeouts(), emit=lambda _: None))
    return {result.case: result for result in found}


def fails(*words: str, output: bytes = b"FAIL: it is wrong\n", status: int = 1) -> World:
    return World(wrong={word: Completed(exit=status, output=output) for word in words})


# ---- words ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("done", "outcome", "message"),
    [
        (Completed(exit=0, output=b"FAIL: printed, and meant nothing\n"), Outcome.PASSED, ""),
        (Completed(exit=1, output=b"noise\nFAIL: eth1 has no carrier\nnoise\n"), Outcome.FAILED, "eth1 has no carrier"),
        (Completed(exit=77, output=b"SKIP: no iperf3 here\n"), Outcome.SKIPPED, "no iperf3 here"),
        (Completed(exit=77, output=b"no reason\n"), Outcome.FAILED, "link up ended with 77: no reason"),
        (Completed(exit=127, output=b"sh: not found\n"), Outcome.FAILED, "link up ended with 127: sh: not found"),
        (Completed(exit=None, is_timed_out=True), Outcome.FAILED, "link up did not end in time"),
    ],
)
def test_a_word_ends_as_a_case_does(done: Completed, outcome: Outcome, message: str) -> None:
    found = judged(done, "link up")
    assert (found.outcome, found.message) == (outcome, message)


@given(st.binary(max_size=300))
def test_whatever_a_machine_prints_figures_are_finite_and_few(noise: bytes) -> None:
    output = noise + b"\nMETRIC a_s=1.5\n" + b"".join(b"METRIC x%d_s=2\n" % n for n in range(200))
    found = metrics_in(output)
    assert len(found) <= 50
    assert all(abs(value) < 1e16 for value in found.values())


def test_a_figure_has_a_name_and_a_number() -> None:
    output = b"METRIC ok_s=12.5\nMETRIC Bad=1\nMETRIC nan_s=nan\nMETRIC long_s=99999999999999999999\n METRIC in_s=1\n"
    assert metrics_in(output) == {"ok_s": 12.5}


@pytest.mark.parametrize(
    ("output", "said"),
    [
        (b"", "does not tell"),
        (b"[1]", "does not tell"),
        (b"[" * 100_000, "does not tell"),
        (b'{"error": "unable to connect to server"}', "iperf3: unable to connect"),
    ],
)
def test_what_iperf_could_not_do_is_a_failure_that_says_so(output: bytes, said: str) -> None:
    found = read_iperf(Completed(exit=1, output=output))
    assert isinstance(found, Judged)
    assert found.outcome is Outcome.FAILED
    assert said in found.message


json_values = st.recursive(st.none() | st.booleans() | st.floats() | st.text(), lambda x: st.dictionaries(st.text(), x))


@given(st.dictionaries(st.sampled_from(["end", "sum"]), json_values))
def test_a_number_in_json_is_finite_or_nothing(told: dict[str, Any]) -> None:
    assert abs(number(told, "end", "sum")) < float("inf")


def test_a_step_tidies_up_however_it_ends_and_keeps_its_own_end() -> None:
    tidied = []

    def tidy() -> None:
        tidied.append(True)
        raise StepError(Judged(outcome=Outcome.FAILED, message="of tidying"))

    def ends_badly() -> None:
        raise StepError(Judged(outcome=Outcome.FAILED, message="its own"))

    assert guarded(ends_badly, tidy)().message == "its own"
    assert guarded(lambda: {"a_s": 1.0}, tidy)().metrics == {"a_s": 1.0}
    assert len(tidied) == 2


# ---- scenarios -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SCENARIOS)
def test_where_all_is_well_all_passes_and_nothing_is_left(name: str) -> None:
    world = World()
    found = results(name, world)
    assert {result.outcome for result in found.values()} == {Outcome.PASSED}, [r.message for r in found.values()]
    begun = [line.split()[:3] for line in world.said if line.split()[1] == "begin"]
    for role, _, started in begun:
        assert f"{role} end {started} {'KILL' if started == 'target' else 'TERM'}" in world.said
    assert [line.split()[1] for line in world.said[-2:]] == ["clear_up", "clear_up"]
    assert world.out == []
    ends: dict[str, str] = dict(line.split() for line in world.cables)
    assert set(ends.values()) == {"in"}, "no cable is left pulled"


@pytest.mark.parametrize("name", SCENARIOS)
def test_without_links_nothing_is_judged(name: str) -> None:
    class Lone:
        members = (World().members[0],)

        def end_command(self) -> str:
            return ""

    assert not isinstance(Lone(), SupportsLinks)
    for world, said in ((Lone(), "no private links"), (World(wires=0), "no link joins")):
        (result,) = results(name, world, ["any"]).values()  # type: ignore[arg-type]
        assert (result.outcome, said in result.message) == (Outcome.ERRORED, True)


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_machine_that_goes_away_is_told_to_who_runs_the_leg(name: str) -> None:
    world = World(
        wrong={"server set_up": MachineLostError("pair (server) at 127.0.0.1:1 is lost: its kernel panicked")}
    )
    with pytest.raises(MachineLostError, match="its kernel panicked"):
        results(name, world)


# Word that fails -> the cases that fail by it; what needs them is not judged, and all others pass.
WRONG = [
    ("network-pair", "neighbour", {"link"}),
    ("network-pair", "whole", {"mtu"}),
    ("network-pair", "round_trips", {"latency"}),
    ("network-pair", "small_packets", {"small-packets"}),
    ("network-pair", "received", {"transfer", "bond"}),
    ("network-pair", "silent", {"vlan", "carrier"}),
    ("network-pair", "await_carrier", {"carrier"}),
    ("network-pair", "await_active", {"bond"}),
    ("network-pair", "gap_of", {"bond"}),
    ("network-pair", "await_gone", {"nic-leaves"}),
    ("iscsi", "discover", {"discovery"}),
    ("iscsi", "refused", {"chap-wrong"}),
    ("iscsi", "write_whole", {"data"}),
    ("iscsi", "await_state", {"session-drop", "target-restart"}),
    ("iscsi", "await_paths", {"multipath"}),
    ("iscsi", "nothing_left", {"logout", "logout-pending"}),
    ("iscsi", "await_pending", {"logout-pending"}),
    ("iscsi", "log_out_in", {"logout-pending"}),
    ("iscsi", "broke", {"logout-pending"}),
    ("iscsi", "no_sessions", {"logout"}),
    ("rdma", "verbs", {"device"}),
    ("rdma", "pingpong", {"pingpong", "datagrams"}),
    ("rdma", "rping_to", {"connection-manager"}),
    ("rdma", "perftest", {"bandwidth", "latency"}),
    ("rdma", "make_key", {"mpi"}),
    ("rdma", "mpi", {"mpi"}),
    ("rdma", "memory", {"memory-limit"}),
]


@pytest.mark.parametrize(("name", "word", "cases"), WRONG)
def test_what_is_wrong_fails_the_case_that_is_about_it_and_no_other(name: str, word: str, cases: set[str]) -> None:
    found = results(name, fails(word))
    assert {case for case, result in found.items() if result.outcome is Outcome.FAILED} == cases
    assert {found[case].message for case in cases} == {"it is wrong"}
    first = next(iter(found))
    rest = {result.outcome for case, result in found.items() if case not in cases}
    wanted = {Outcome.ERRORED} if first in cases else {Outcome.PASSED, Outcome.ERRORED}
    assert rest <= wanted, found


def test_a_tool_that_is_missing_is_a_skip_of_its_cases() -> None:
    found = results("network-pair", fails("need", output=b"SKIP: no iperf3 here\n", status=77))
    skipped = {case: result.message for case, result in found.items() if result.outcome is Outcome.SKIPPED}
    assert set(skipped) == {"tcp-to-server", "tcp-to-client", "tcp-parallel", "udp"}
    assert all("iperf3" in message for message in skipped.values())


def test_a_kernel_without_soft_roce_skips_everything_with_that_reason() -> None:
    found = results("rdma", fails("make_device", output=b"SKIP: this kernel has no module rdma_rxe\n", status=77))
    assert {result.outcome for result in found.values()} == {Outcome.SKIPPED}
    assert all("rdma_rxe" in result.message for result in found.values())


@pytest.mark.parametrize(
    ("told", "case", "said"),
    [
        ({"end": {"sum_received": {"bits_per_second": 0}}}, "tcp-to-server", "nothing was received"),
        ({"end": {"sum": {"lost_percent": 60, "packets": 9}}}, "udp", "60 % of the packets were lost"),
        ({"end": {"sum": {"lost_percent": 0, "packets": 0}}}, "udp", "no packet was sent"),
    ],
)
def test_a_link_that_carries_nothing_or_loses_most_fails(told: object, case: str, said: str) -> None:
    world = World(wrong={"iperf": Completed(exit=0, output=json.dumps(told).encode())})
    result = results("network-pair", world)[case]
    assert (result.outcome, said in result.message) == (Outcome.FAILED, True), result.message


def test_a_card_that_does_not_leave_fails_and_one_that_left_is_put_back() -> None:
    held = results("network-pair", World(holds=True))["nic-leaves"]
    assert (held.outcome, "does not let go" in held.message) == (Outcome.FAILED, True)
    world = fails("await_gone")
    assert results("network-pair", world)["nic-leaves"].outcome is Outcome.FAILED
    assert world.out == []


def test_a_target_that_keeps_other_bytes_than_were_written_fails() -> None:
    found = results("iscsi", World(wrong={"server disk_sum": Completed(exit=0, output=b"beef\n")}))
    assert found["data"].outcome is Outcome.FAILED
    assert "what the target keeps is not what was written" in found["data"].message
    assert found["session-drop"].outcome is Outcome.ERRORED, "nothing is known of it, where plain data is lost"


def test_a_logout_that_costs_what_was_acknowledged_fails() -> None:
    found = results("iscsi", World(wrong={"server blocks_sum": Completed(exit=0, output=b"beef\n")}))
    assert {case for case, result in found.items() if result.outcome is Outcome.FAILED} == {"logout-pending"}
    assert "of the 9 blocks that were acknowledged the target keeps others" in found["logout-pending"].message


def test_a_disk_of_another_size_than_the_target_gives_fails() -> None:
    found = results("iscsi", World(wrong={"client disk_bytes": Completed(exit=0, output=b"512\n")}))
    assert "has 512 bytes, the target gives 268435456" in found["login"].message


def test_one_link_is_no_bond_and_no_second_path() -> None:
    for name, case in (("network-pair", "bond"), ("iscsi", "multipath")):
        assert results(name, World(wires=1))[case].outcome is Outcome.SKIPPED


def test_texts_are_one_script_each() -> None:
    for text in (pairs.TEXT, iscsi.TEXT, rdma.TEXT):
        assert text.count('\n"$@"\n') == 1
        assert text.endswith('\n"$@"\n')
