"""Scenario ``iscsi``: a target in the server, an initiator in the client, and what happens between them.

Its cases are the steps below, in their order; a suite may have any. Data is judged at the target, on what it keeps: an
initiator that reads its own cache proves nothing.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from importlib.resources import files as resources
from typing import Final

from lisa_ci.events import Emit
from lisa_ci.model import DISK_SERIAL, Result, Suite, Timeouts
from lisa_ci.protocols import Machines
from lisa_ci.scenarios import pairs
from lisa_ci.scenarios.pairs import STATE, Pair, StepError, Wire, find_pair, guarded, judged
from lisa_ci.scenarios.steps import Judged, Step, errored, failed, result, results_of, skipped

NAME: Final = "iqn.2026-01.example.lisa-ci:pair"
USER: Final = "lisa-ci"
SECRET: Final = "a-word-of-16-chr"  # noqa: S105  of a target that lives for seconds on a link that nobody else is on
WRONG: Final = "another-16-chars"
TEXT: Final = pairs.TEXT.removesuffix('"$@"\n') + (resources("lisa_ci.scenarios") / "iscsi.sh").read_text()
MIB: Final = 16
_BLOCKS: Final = 2 * MIB
_FILE: Final = f"{STATE}/data"
_LONG: Final = timedelta(seconds=150)
_TARGET_ENDS_BY: Final = "KILL"  # tgtd takes no notice of a SIGTERM (seen with 1.0.85)
_PATIENT, _QUICK = "240", "5"  # seconds that a lost session holds its I/O back


class IscsiScenario:
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
            yield from results_of(cases, steps, name="iscsi", stopwatch=self._stopwatch)
        finally:
            pair.clear_up()


class Steps:
    """The steps over one pair; each has a target of its own, which is empty of sessions at its end."""

    def __init__(self, pair: Pair, pause: Callable[[float], None]) -> None:
        self._pair = pair
        self._pause = pause
        self._wire = pair.wires[0]
        self._backing = ""

    def all(self) -> Sequence[Step]:
        takes: dict[str, Callable[[], Judged | Mapping[str, float] | None]] = {
            "discovery": self._discovery,
            "login": self._login,
            "data": self._data,
            "session-drop": self._session_drop,
            "target-restart": self._target_restart,
            "multipath": self._multipath,
            "logout": self._logout,
            "logout-pending": self._logout_pending,
            "chap-wrong": self._chap_wrong,  # last: kernels were seen to break while a login is refused
        }
        needs = {"discovery": (), "login": ("discovery",), "chap-wrong": ("login",), "data": ("login",)}
        return [
            Step(id=name, take=guarded(take, self._tidy), needs=needs.get(name, ("data",)))
            for name, take in takes.items()
        ]

    def _tidy(self) -> None:
        for wire in self._pair.wires:
            self._pair.mend(wire)
        self._pair.run("client", "scatter", timeout=_LONG)
        self._pair.run("client", "log_out", NAME, timeout=_LONG)
        self._pair.run("server", "end", "target", _TARGET_ENDS_BY)
        self._pair.run("server", "drop_backing")
        self._pair.clear_up()

    # ---- the target and a session ----------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _target(self, wires: Sequence[Wire] = ()) -> Iterator[None]:
        """A target that answers on these links, with CHAP."""
        wires = wires or (self._wire,)
        self._pair.do("client", "need_initiator")
        self._pair.do("server", "need_target")
        for wire in wires:
            self._pair.set_up(wire)
        self._backing = self._pair.tell("server", "backing", DISK_SERIAL.format(0))
        with self._serving(wires):
            yield

    @contextlib.contextmanager
    def _serving(self, wires: Sequence[Wire]) -> Iterator[None]:
        first, *others = [wire.ipv4("server") for wire in wires]
        words = ("serve_target", first)
        with self._pair.serving("server", "target", *words, limit=timedelta(minutes=8), ended_by=_TARGET_ENDS_BY):
            self._define([first, *others])
            yield

    def _define(self, addresses: Sequence[str]) -> None:
        self._pair.do("server", "define_target", NAME, self._backing, USER, SECRET, *addresses[1:])

    def _found(self, wires: Sequence[Wire], *, patience: str = _PATIENT) -> None:
        self._pair.do("client", "discover", NAME, *(wire.ipv4("server") for wire in wires))
        self._pair.do("client", "secret", NAME, USER, SECRET)
        self._pair.do("client", "patience", NAME, patience)

    def _disk(self, wire: Wire) -> str:
        return self._pair.tell("client", "log_in", NAME, wire.ipv4("server"), timeout=_LONG)

    def _check_target(self, wanted: str) -> None:
        found = self._pair.tell("server", "disk_sum", self._backing, str(MIB), timeout=_LONG)
        if found != wanted:
            raise StepError(failed(f"what the target keeps is not what was written: SHA-256 {found}, not {wanted}"))

    # ---- whole -----------------------------------------------------------------------------------------------------

    def _discovery(self) -> None:
        with self._target(self._pair.wires):
            self._pair.do("client", "discover", NAME, *(wire.ipv4("server") for wire in self._pair.wires))

    def _login(self) -> None:
        with self._target():
            self._found([self._wire])
            disk = self._disk(self._wire)
            sizes = [
                self._pair.tell(*at) for at in (("client", "disk_bytes", disk), ("server", "disk_bytes", self._backing))
            ]
            if sizes[0] != sizes[1]:
                raise StepError(failed(f"{disk} has {sizes[0]} bytes, the target gives {sizes[1]}"))

    def _chap_wrong(self) -> None:
        with self._target():
            self._found([self._wire])
            for user, secret in ((USER, WRONG), ("nobody", SECRET), ("", "")):
                self._pair.do("client", "secret", NAME, user, secret)
                self._pair.do("client", "refused", NAME, self._wire.ipv4("server"), timeout=_LONG)

    def _data(self) -> None:
        """Written whole, and there again by another session."""
        with self._target():
            self._found([self._wire])
            disk = self._disk(self._wire)
            wanted = self._pair.tell("client", "make_bytes", _FILE, str(MIB))
            self._pair.do("client", "write_whole", _FILE, disk, timeout=_LONG)
            self._check_target(wanted)
            self._pair.do("client", "log_out", NAME, timeout=_LONG)
            self._found([self._wire])
            found = self._pair.tell("client", "disk_sum", self._disk(self._wire), str(MIB), timeout=_LONG)
            if found != wanted:
                raise StepError(failed(f"another session reads the SHA-256 {found}, {wanted} was written"))

    # ---- cut -------------------------------------------------------------------------------------------------------

    def _session_drop(self) -> Mapping[str, float]:
        """The link is cut while blocks are written, and mended: the same session goes on, no block is lost."""
        with self._target():
            self._found([self._wire])

            def cut() -> Mapping[str, float]:
                self._pair.cut(self._wire)
                self._pair.do("client", "await_state", NAME, "FAILED", "60", timeout=_LONG)
                self._pair.mend(self._wire)
                return self._logged_in_again()

            return self._while_writing(self._disk(self._wire), cut)

    def _target_restart(self) -> Mapping[str, float]:
        """The target is killed while blocks are written, and another takes its place."""
        with self._target():
            self._found([self._wire])

            def restart() -> Mapping[str, float]:
                self._pair.do("server", "end", "target", _TARGET_ENDS_BY)
                self._pair.do("client", "await_state", NAME, "FAILED", "60", timeout=_LONG)
                address = self._wire.ipv4("server")
                self._pair.do("server", "begin", "target", "300", "serve_target", address)
                self._define([address])
                return self._logged_in_again()

            return self._while_writing(self._disk(self._wire), restart)

    def _logged_in_again(self) -> Mapping[str, float]:
        done = self._pair.do("client", "await_state", NAME, "LOGGED_IN", "90", timeout=_LONG)
        return judged(done, "await_state").metrics

    def _while_writing(self, disk: str, act: Callable[[], Mapping[str, float]]) -> Mapping[str, float]:
        """``act`` in the middle of writing; then all of it is at the target."""
        wanted = self._pair.tell("client", "make_bytes", _FILE, str(MIB))
        with self._pair.serving("client", "writer", "write_slowly", _FILE, disk, limit=timedelta(minutes=5)):
            self._pair.do("client", "await_written", str(_BLOCKS // 8), "60", timeout=_LONG)
            found = act()
            self._pair.do("client", "join", "writer", "120", timeout=_LONG)
        self._check_target(wanted)
        return found

    def _multipath(self) -> Judged | Mapping[str, float]:
        """One path of two is cut while blocks are written: the other one takes over, and both are there at the end."""
        if len(self._pair.wires) < 2:
            return skipped("there is one link, two paths need two")
        wires = self._pair.wires[:2]
        with self._target(wires):
            self._found(wires, patience=_QUICK)
            disks = [self._disk(wire) for wire in wires]
            over = self._pair.tell("client", "gather", *disks, timeout=_LONG)

            def cut() -> Mapping[str, float]:
                self._pair.cut(wires[0])
                self._pair.do("client", "await_paths", "1", disks[0], "60", timeout=_LONG)
                self._pair.do("client", "await_written", str(_BLOCKS // 2), "90", timeout=_LONG)
                self._pair.mend(wires[0])
                self._pair.do("client", "await_paths", "2", disks[0], "90", timeout=_LONG)
                return {}

            return self._while_writing(over, cut)

    # ---- the end ---------------------------------------------------------------------------------------------------

    def _logout(self) -> None:
        with self._target(self._pair.wires):
            self._found(self._pair.wires)
            disks = [self._disk(wire) for wire in self._pair.wires]
            self._pair.do("client", "log_out", NAME, timeout=_LONG)
            self._pair.do("client", "nothing_left", NAME, *disks, timeout=_LONG)
            self._pair.do("server", "no_sessions")

    def _logout_pending(self) -> Mapping[str, float]:
        """A logout while the link is cut and a write waits: it ends, the write fails, what was safe before still is."""
        with self._target():
            self._found([self._wire])
            disk = self._disk(self._wire)
            self._pair.do("client", "make_bytes", _FILE, str(MIB))
            with self._pair.serving("client", "writer", "write_slowly", _FILE, disk, limit=timedelta(minutes=5)):
                self._pair.do("client", "await_written", str(_BLOCKS // 8), "60", timeout=_LONG)
                self._pair.cut(self._wire)
                self._pair.do("client", "await_pending", disk, "40", timeout=_LONG)
                done = self._pair.do("client", "log_out_in", NAME, "60", timeout=_LONG)
                self._pair.do("client", "broke", "writer", "60", timeout=_LONG)
                self._pair.mend(self._wire)
            self._pair.do("client", "log_out", NAME, timeout=_LONG)
            self._pair.do("client", "nothing_left", NAME, disk, timeout=_LONG)
            written = self._pair.tell("client", "count_written")
            wanted = self._pair.tell("client", "blocks_sum", _FILE, written, timeout=_LONG)
            found = self._pair.tell("server", "blocks_sum", self._backing, written, timeout=_LONG)
            if found != wanted:
                why = f"of the {written} blocks that were acknowledged the target keeps others: SHA-256 {found}"
                raise StepError(failed(f"{why}, not {wanted}"))
            return judged(done, "log_out_in").metrics
