"""Scenario ``network-pair``: two machines and the links between them, whole, fast, cut, and taken out under load.

Its cases are the steps below, in their order; a suite may have any.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

from lisa_ci.events import Emit
from lisa_ci.model import Completed, Result, Suite, Timeouts
from lisa_ci.protocols import Machines
from lisa_ci.scenarios.pairs import LEAVES, SHORT, STATE, Pair, StepError, Wire, find_pair, guarded, judged
from lisa_ci.scenarios.steps import Judged, Step, errored, failed, result, results_of, skipped

JUMBO: Final = 9000
PORT: Final = 5201
SECONDS: Final = 3
MOST_LOST_PERCENT: Final = 10.0  # an emulated machine may not run for as long as a socket's buffer lasts
MOST_GAP_MS: Final = 5000
_TRANSFER_MIB: Final = 16
_TIMES: Final = 24  # a file of 1 MiB, with a pause behind each
_FILE: Final = f"{STATE}/sent"
_CAME: Final = f"{STATE}/received"
_LONG: Final = timedelta(seconds=120)
_FIRST_VLAN: Final = 77
_JSON_LIMIT: Final = 1 << 20
_PERMIT: Final = 1e9  # Mbit/s that are believed


class PairNetworkScenario:
    """``stopwatch`` (seconds, monotonic) is the host's, ``pause`` waits for seconds."""

    def __init__(
        self,
        *,
        stopwatch: Callable[[], float] = time.monotonic,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._stopwatch = stopwatch
        self._pause = pause

    def run(self, suite: Suite, machines: Machines, *, timeouts: Timeouts, emit: Emit) -> Iterable[Result]:
        """One result for each case. MachineLostError where one of the machines goes away."""
        del timeouts, emit
        cases = suite.cases or ()
        pair = find_pair(machines)
        if isinstance(pair, str):
            yield from (result(case, errored(pair)) for case in cases)
            return
        try:
            steps = Steps(pair, self._pause).all()
            yield from results_of(cases, steps, name="network-pair", stopwatch=self._stopwatch)
        finally:
            pair.clear_up()


class Steps:
    """The steps over one pair. Each sets up the links that it needs, as they are clean."""

    def __init__(self, pair: Pair, pause: Callable[[float], None]) -> None:
        self._pair = pair
        self._pause = pause
        self._wire = pair.wires[0]

    def all(self) -> Sequence[Step]:
        takes: dict[str, Callable[[], Judged | Mapping[str, float] | None]] = {
            "link": self._link,
            "mtu": self._mtu,
            "latency": self._latency,
            "small-packets": self._small_packets,
            "tcp-to-server": lambda: self._tcp("tcp_to_server_mbit_per_s"),
            "tcp-to-client": lambda: self._tcp("tcp_to_client_mbit_per_s", "-R"),
            "tcp-parallel": lambda: self._tcp("tcp_parallel_mbit_per_s", "-P", "4"),
            "udp": self._udp,
            "transfer": self._transfer,
            "vlan": self._vlan,
            "carrier": self._carrier,
            "bond": self._bond,
            "nic-leaves": self._nic_leaves,
        }
        return [
            Step(id=name, take=guarded(take, self._tidy), needs=() if name == "link" else ("link",))
            for name, take in takes.items()
        ]

    def _tidy(self) -> None:
        for wire in self._pair.wires:
            self._pair.mend(wire)
        self._pair.clear_up()

    # ---- whole -----------------------------------------------------------------------------------------------------

    def _link(self) -> None:
        for wire in self._pair.wires:
            self._pair.set_up(wire)
            self._pair.do("client", "answers", wire.ipv4("server"), wire.ipv6("server"))
            self._pair.do("server", "answers", wire.ipv4("client"), wire.ipv6("client"))
            self._pair.do("client", "neighbour", wire.ipv4("server"), wire.server)
            self._pair.do("server", "neighbour", wire.ipv4("client"), wire.client)

    def _mtu(self) -> None:
        self._pair.set_up(self._wire, mtu=JUMBO)
        for role, other in (("client", "server"), ("server", "client")):
            self._pair.do(role, "whole", self._wire.ipv4(other), self._wire.ipv6(other), str(JUMBO))

    def _latency(self) -> Mapping[str, float]:
        self._pair.set_up(self._wire)
        done = self._pair.do("client", "round_trips", self._wire.ipv4("server"), "100", timeout=_LONG)
        return judged(done, "ping").metrics

    def _small_packets(self) -> Mapping[str, float]:
        self._pair.set_up(self._wire)
        done = self._pair.do("client", "small_packets", self._wire.ipv4("server"), "2000", timeout=_LONG)
        return judged(done, "ping -f").metrics

    # ---- fast ------------------------------------------------------------------------------------------------------

    def _tcp(self, name: str, *options: str) -> Judged:
        told = self._iperf(*options)
        if isinstance(told, Judged):
            return told
        rate = number(told, "end", "sum_received", "bits_per_second") / 1e6
        if not 0 < rate < _PERMIT:
            return failed(f"nothing was received: {text_of(told)}")
        return Judged(
            metrics={name: round(rate, 3), "retransmits_count": number(told, "end", "sum_sent", "retransmits")}
        )

    def _udp(self) -> Judged:
        told = self._iperf("-u", "-b", "1M", "-l", "1000")
        if isinstance(told, Judged):
            return told
        end = {
            "udp_lost_percent": number(told, "end", "sum", "lost_percent"),
            "udp_jitter_ms": number(told, "end", "sum", "jitter_ms"),
            "udp_packets_count": number(told, "end", "sum", "packets"),
        }
        if not end["udp_packets_count"] > 0:
            return failed(f"no packet was sent: {text_of(told)}")
        lost = end["udp_lost_percent"]
        message = f"{lost:g} % of the packets were lost, at 1 Mbit/s" if lost > MOST_LOST_PERCENT else ""
        return Judged(metrics=end) if not message else failed(message)

    def _iperf(self, *options: str) -> Mapping[str, Any] | Judged:
        address = self._wire.ipv4("server")
        if self._pair.run("server", "need", "iperf3").exit != 0:
            return skipped("no iperf3 in the server (package iperf3)")
        self._pair.set_up(self._wire)
        with self._pair.serving("server", "iperf", "serve_iperf", address, str(PORT)):
            self._pair.do("server", "await_listener", str(PORT), "iperf")
            words = ("iperf", "-c", address, "-p", str(PORT), "-t", str(SECONDS), *options)
            done = self._pair.run("client", *words, timeout=SHORT)
        return read_iperf(done)

    def _transfer(self) -> Mapping[str, float]:
        """There by IPv4, back by IPv6: the bytes that come are those that were sent."""
        self._pair.set_up(self._wire)
        found: dict[str, float] = {}
        ends = (("client", "server", self._wire.ipv4("server")), ("server", "client", self._wire.ipv6("client")))
        for sender, receiver, address in ends:
            self._pair.do(receiver, "can_transfer")
            wanted = self._pair.tell(sender, "make_bytes", _FILE, str(_TRANSFER_MIB))
            with self._pair.serving(receiver, "receive", "receive", address, str(PORT), _CAME):
                self._pair.do(receiver, "await_listener", str(PORT), "receive")
                sent = self._pair.do(sender, "send_file", _FILE, address, str(PORT), timeout=_LONG)
                self._pair.do(receiver, "received", _CAME, wanted, "30", timeout=SHORT)
            for name, value in judged(sent, "send").metrics.items():
                found[name.replace("transfer_", f"transfer_to_{receiver}_")] = value
        return found

    # ---- shaped ----------------------------------------------------------------------------------------------------

    def _vlan(self) -> None:
        """Two of one VLAN reach each other, two of different ones do not."""
        self._pair.set_up(self._wire)
        self._pair.do("client", "vlan", self._wire.client, str(_FIRST_VLAN), "10.214.1.1/24")
        self._pair.do("server", "vlan", self._wire.server, str(_FIRST_VLAN), "10.214.1.2/24")
        self._pair.do("client", "answers", "10.214.1.2")
        self._pair.do("server", "vlan", self._wire.server, str(_FIRST_VLAN + 1), "10.214.1.2/24")
        self._pair.do("client", "silent", "10.214.1.2")

    # ---- cut -------------------------------------------------------------------------------------------------------

    def _carrier(self) -> None:
        """A cable that is pulled is seen, and one that is back needs no new set-up."""
        self._pair.set_up(self._wire)
        self._pair.do("client", "answers", self._wire.ipv4("server"))
        self._pair.cut(self._wire)
        for role in ("client", "server"):
            self._pair.do(role, "await_carrier", self._wire.card(role), "off")
        self._pair.do("client", "silent", self._wire.ipv4("server"))
        self._pair.mend(self._wire)
        for role in ("client", "server"):
            self._pair.do(role, "await_carrier", self._wire.card(role), "on")
        self._pair.do("client", "answers", self._wire.ipv4("server"))

    def _bond(self) -> Judged | Mapping[str, float]:
        """Traffic goes on while the first of two links is cut and mended."""
        if len(self._pair.wires) < 2:
            return skipped("there is one link, a bond needs two")
        first, second = self._pair.wires[:2]
        names = {}
        for role in ("client", "server"):
            address = f"10.215.1.{first.ipv4(role).rpartition('.')[2]}/24"
            names[role] = self._pair.tell(role, "bond", address, first.card(role), second.card(role)).split()
        self._pair.do("client", "answers", "10.215.1.2")
        return self._under_traffic("10.215.1.2", lambda: self._fail_over(first, names))

    def _fail_over(self, first: Wire, names: Mapping[str, Sequence[str]]) -> None:
        for cut, card in ((True, 1), (False, 0)):
            self._pause(1)
            self._pair.cut(first, up=not cut)
            for role in ("client", "server"):
                self._pair.do(role, "await_active", names[role][card], "10")

    def _under_traffic(self, address: str, act: Callable[[], None]) -> Mapping[str, float]:
        """While ``act`` runs, bytes stream to the server and come whole, and packets are answered."""
        self._pair.do("server", "can_transfer")
        self._pair.do("client", "make_bytes", _FILE, "1")
        wanted = self._pair.tell("client", "sum_of_times", _FILE, str(_TIMES))
        with self._pair.serving("server", "receive", "receive", address, str(PORT), _CAME):
            self._pair.do("server", "await_listener", str(PORT), "receive")
            with self._pair.serving("client", "beat", "beat", address, "110"):
                send = ("send_slowly", _FILE, str(_TIMES), address, str(PORT))
                with self._pair.serving("client", "send", *send):
                    act()
                    self._pair.do("client", "join", "send", "60", timeout=_LONG)
                self._pair.do("server", "received", _CAME, wanted, "30")
                gap = self._pair.do("client", "gap_of", "beat", str(MOST_GAP_MS))
        return judged(gap, "beat").metrics

    # ---- taken out -------------------------------------------------------------------------------------------------

    def _nic_leaves(self) -> Mapping[str, float]:
        """The client's card goes while it sends, and works when it is back; twice."""
        card, machine, spent = self._wire.client, self._pair.machines["client"], 0.0
        group, address = self._pair.group, self._wire.ipv4("server")
        self._pair.set_up(self._wire)
        for _ in range(2):
            with self._pair.serving("client", "beat", "beat", address, "110"):
                self._pause(1)
                began = time.monotonic()
                if not group.take_out(machine, card, timeout=LEAVES):
                    raise StepError(failed(f"the machine does not let go of {card} within {LEAVES.seconds} s"))
                spent = max(spent, time.monotonic() - began)
                try:
                    self._pair.do("client", "await_gone", card)
                finally:
                    group.put_back(machine, card)
            self._pair.set_up(self._wire, roles=("client",))
            self._pair.do("client", "answers", address, self._wire.ipv6("server"))
        return {"nic_leaves_s": round(spent, 3)}


# ---- what iperf3 says ------------------------------------------------------------------------------------------------


def read_iperf(done: Completed) -> Mapping[str, Any] | Judged:
    """iperf3's JSON, or why there is none: it runs in a machine that may print anything."""
    if done.exit == 77 or done.is_timed_out:
        return judged(done, "iperf3")
    try:
        told = json.loads(done.output[:_JSON_LIMIT])
    except (ValueError, RecursionError):
        return failed("iperf3 does not tell what it measured", done.output[-2000:].decode("utf-8", "replace"))
    if not isinstance(told, dict):
        return failed("iperf3 does not tell what it measured")
    if isinstance(told.get("error"), str):
        return failed(f"iperf3: {told['error'][:300]}")
    return told


def number(told: Mapping[str, Any], *path: str) -> float:
    """The number at a path in JSON; 0 where there is none."""
    found: Any = told
    for name in path:
        found = found.get(name) if isinstance(found, dict) else None
    return float(found) if isinstance(found, (int, float)) and math.isfinite(found) else 0.0


def text_of(told: Mapping[str, Any]) -> str:
    return json.dumps(told.get("end"))[:200]
