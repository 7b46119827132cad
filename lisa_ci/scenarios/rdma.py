"""Scenario ``rdma``: remote direct memory access between two machines, by the device of the link's card.

Where the card has none, one is made in software over it (soft-RoCE), which every Ethernet card can carry. Its cases are
the steps below, in their order; a suite may have any.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from importlib.resources import files as resources
from typing import Final

from lisa_ci.events import Emit
from lisa_ci.model import Result, Suite, Timeouts
from lisa_ci.protocols import Machines
from lisa_ci.scenarios import pairs
from lisa_ci.scenarios.pairs import Pair, find_pair, guarded, judged
from lisa_ci.scenarios.steps import Judged, Step, errored, result, results_of, skipped

TEXT: Final = pairs.TEXT.removesuffix('"$@"\n') + (resources("lisa_ci.scenarios") / "rdma.sh").read_text()
_PORT: Final = "18515"
_SSH_PORT: Final = "18522"
_LONG: Final = timedelta(seconds=120)
_ROLES: Final = ("client", "server")
_SOFTWARE: Final = "software"


class RdmaScenario:
    """``stopwatch`` (seconds, monotonic) is the host's, ``pause`` waits for seconds."""

    def __init__(
        self,
        *,
        stopwatch: Callable[[], float] = time.monotonic,
        pause: Callable[[float], None] = time.sleep,
        text: str = TEXT,
    ) -> None:
        self._stopwatch = stopwatch
        self._pause = pause
        self._text = text

    def run(self, suite: Suite, machines: Machines, *, timeouts: Timeouts, emit: Emit) -> Iterable[Result]:
        """One result for each case. MachineLostError where one of the machines goes away."""
        del timeouts, emit
        cases = suite.cases or ()
        pair = find_pair(machines, text=self._text)
        if isinstance(pair, str):
            yield from (result(case, errored(pair)) for case in cases)
            return
        try:
            steps = Steps(pair, self._pause).all()
            yield from results_of(cases, steps, name="rdma", stopwatch=self._stopwatch)
        finally:
            pair.clear_up()


class Steps:
    """The steps over one pair; each makes the device anew, and it is gone at the end."""

    def __init__(self, pair: Pair, pause: Callable[[float], None]) -> None:
        self._pair = pair
        self._pause = pause
        self._wire = pair.wires[0]
        self._device: dict[str, str] = {}
        self._kind = ""
        self._gid: dict[str, str] = {}

    def all(self) -> Sequence[Step]:
        takes: dict[str, Callable[[], Judged | Mapping[str, float] | None]] = {
            "device": self._verbs,
            "pingpong": lambda: self._pingpong("rc", "-s", "4096", "-n", "100", "-c"),
            "datagrams": lambda: self._pingpong("ud", "-s", "1024", "-n", "100"),
            "connection-manager": self._connection_manager,
            "bandwidth": lambda: self._perftest("write_mbyte_per_s", 4, "ib_write_bw", "-s", "65536", "-n", "200"),
            "latency": lambda: self._perftest("send_typical_us", 5, "ib_send_lat", "-s", "64", "-n", "200"),
            "mpi": self._mpi,
            "memory-limit": self._memory_limit,
            "port-state": self._port_state,
            "removal": self._removal,
        }
        return [
            Step(id=name, take=guarded(take, self._tidy), needs=() if name == "device" else ("device",))
            for name, take in takes.items()
        ]

    def _tidy(self) -> None:
        self._pair.mend(self._wire)
        for role in _ROLES:
            self._pair.run(role, "remove_device", self._wire.card(role))
        self._pair.clear_up()

    def _set_up(self) -> None:
        self._pair.set_up(self._wire)
        for role in _ROLES:
            found = self._pair.tell(role, "make_device", self._wire.card(role)).split()
            self._device[role], self._kind = found[0], found[-1]
            self._pair.do(role, "await_port", found[0], "active")
            self._gid[role] = self._pair.tell(role, "gid", found[0], self._wire.ipv4(role))

    # ---- one machine -----------------------------------------------------------------------------------------------

    def _verbs(self) -> None:
        self._set_up()
        for role in _ROLES:
            self._pair.do(role, "verbs", self._device[role])

    def _memory_limit(self) -> None:
        self._set_up()
        self._pair.do("client", "memory", self._device["client"], self._gid["client"])

    def _port_state(self) -> None:
        """The port follows the cable."""
        self._set_up()
        self._pair.cut(self._wire)
        for role in _ROLES:
            self._pair.do(role, "await_port", self._device[role], "inactive")
        self._pair.mend(self._wire)
        for role in _ROLES:
            self._pair.do(role, "await_port", self._device[role], "active")

    def _removal(self) -> Judged | None:
        self._set_up()
        if self._kind != _SOFTWARE:
            return skipped("the card has a device of its own, which nothing made")
        for role in _ROLES:
            self._pair.do(role, "remove_device", self._wire.card(role))
        return None

    # ---- between the two -------------------------------------------------------------------------------------------

    def _pingpong(self, kind: str, *options: str) -> Mapping[str, float]:
        self._set_up()
        both = {role: ("-d", self._device[role], "-g", self._gid[role], "-p", _PORT, *options) for role in _ROLES}
        with self._pair.serving("server", "pingpong", "serve", f"ibv_{kind}_pingpong", *both["server"]):
            self._await("pingpong", _PORT)
            address = self._wire.ipv4("server")
            done = self._pair.do("client", "pingpong", kind, address, *both["client"], timeout=_LONG)
        return judged(done, "pingpong").metrics

    def _connection_manager(self) -> None:
        self._set_up()
        address = self._wire.ipv4("server")
        with self._pair.serving("server", "rping", "serve", "rping", "-s", "-a", address, "-C", "20", "-V"):
            self._pause(2)  # it listens at no port of TCP's
            self._pair.do("client", "rping_to", address, "20", timeout=_LONG)

    def _mpi(self) -> Mapping[str, float]:
        """MPI starts its second process over SSH, as in the field: by a server and by keys that live for this alone."""
        self._set_up()
        address = self._wire.ipv4("server")
        user = self._pair.tell("client", "make_key", "user")
        host = self._pair.tell("server", "make_key", "host")
        with self._pair.serving("server", "sshd", "serve_ssh", address, _SSH_PORT, user, limit=2 * _LONG):
            self._await("sshd", _SSH_PORT)
            ends = (f"{self._wire.ipv4(role)} {self._device[role]} {self._gid[role]}" for role in _ROLES)
            done = self._pair.do("client", "mpi", self._kind, _SSH_PORT, host, *ends, timeout=2 * _LONG)
        return judged(done, "mpi").metrics

    def _perftest(self, name: str, column: int, program: str, *options: str) -> Mapping[str, float]:
        self._set_up()
        found = {
            role: (program, "-F", "-d", self._device[role], "-x", self._gid[role], "-p", _PORT, *options)
            for role in _ROLES
        }
        with self._pair.serving("server", "perftest", "serve", *found["server"]):
            self._await("perftest", _PORT)
            words = ("perftest", name, str(column), *found["client"], self._wire.ipv4("server"))
            done = self._pair.do("client", *words, timeout=_LONG)
        return judged(done, program).metrics

    def _await(self, name: str, port: str) -> None:
        self._pair.do("server", "await_listener", port, name)
