"""A leg of two machines: what happens to the second one counts against the case that runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lisa_ci.errors import Loss, MachineLostError
from lisa_ci.execution import index
from lisa_ci.files import LegFolder
from lisa_ci.model import Case, Category, Expectation, Outcome, Result
from tests.doubles.local_machine import SnapshotMachines
from tests.unit.execution.test_leg import OK, Desk, ScriptedMachine, suite

OOPS = b"""[   12.000000] BUG: kernel NULL pointer dereference, address: 0000000000000000
[   12.000001] #PF: supervisor read access in kernel mode
[   12.000002] Oops: 0000 [#1] PREEMPT SMP NOPTI
[   12.000003] CPU: 0 PID: 1 Comm: tgtd Not tainted 6.1.0 #1
[   12.000004] RIP: 0010:break_it+0x1/0x10
[   12.000005] Call Trace:
[   12.000006]  do_it+0x1/0x10
[   12.000007] ---[ end trace 0000000000000000 ]---
"""
WHY = "leg (server) at 127.0.0.1:1 is lost: its kernel panicked"


class Pair:
    """Cases ``v``, ``w`` and ``x``; ``during`` is done while the one of that name runs."""

    def __init__(self, server: ScriptedMachine) -> None:
        self.server = server
        self.during: dict[str, Any] = {}

    def run(self, suite: Any, machines: Any, **_: object) -> Iterator[Result]:
        for case in suite.cases:
            act = self.during.get(case.id)
            if act is not None:
                act()
            yield Result(suite=case.suite, case=case.id, outcome=Outcome.PASSED)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    desk = Desk(tmp_path)
    server = ScriptedMachine(role="server", name="leg (server)", console_text=b"[    1.000000] Linux version 6.1\n")
    desk.group = SnapshotMachines(members=(desk.machine, server))
    desk.suites = {"boot": suite("boot", "abc"), "pair": suite("pair", "vwx", driver=None, scenario="pair")}
    desk.tasks = (desk.tasks[0], type(desk.tasks[0])(suite="pair"))
    desk.scenario = Pair(server)  # type: ignore[assignment]
    return desk


def pair(desk: Desk) -> Pair:
    assert isinstance(desk.scenario, Pair)
    return desk.scenario


def prints(desk: Desk, text: bytes) -> None:
    pair(desk).server.console_text += text


def test_a_healthy_pair_passes(desk: Desk) -> None:
    desk.run()
    assert desk.outcomes == {**OK, **{f"pair#{case}": Outcome.PASSED for case in "vwx"}}


def test_a_server_whose_kernel_breaks_while_a_case_runs_fails_that_case_and_no_other(desk: Desk) -> None:
    pair(desk).during["w"] = lambda: prints(desk, OOPS)
    desk.run()
    assert desk.outcomes == {
        **OK,
        "pair#v": Outcome.PASSED,
        "pair#w": Outcome.FAILED,
        "pair#x": Outcome.PASSED,
    }
    result = desk.result("pair#w")
    assert result.message.startswith("it passed, but the kernel said: server: ")
    assert [(found.category, found.case) for found in result.findings] == [(Category.OOPS, "pair#w")]


def test_a_case_that_expects_it_may_break_the_server(desk: Desk) -> None:
    cases = (Case(suite="pair", id="v"), Case(suite="pair", id="w", expects=(Expectation.SPLAT,)))
    desk.suites["pair"] = suite("pair", "", cases=cases, driver=None, scenario="pair")
    pair(desk).during["w"] = lambda: prints(desk, OOPS)
    desk.run()
    assert desk.outcomes["pair#w"] is Outcome.PASSED


def test_what_the_server_said_before_the_first_case_is_no_cases(desk: Desk) -> None:
    prints(desk, OOPS)
    run = desk.run()
    assert set(desk.outcomes.values()) == {Outcome.PASSED}
    assert [found.title[:7] for found in run.findings] == ["server:"]


def test_a_server_that_breaks_while_a_case_runs_in_the_client_is_told_with_that_case(desk: Desk) -> None:
    def breaks() -> bytes:
        prints(desk, OOPS)
        raise MachineLostError("no answer", loss=Loss.CONNECTION)

    desk.machine.at["boot#b"] = breaks
    desk.run()
    result = desk.result("boot#b")
    assert result.outcome is Outcome.ERRORED
    assert any(found.title.startswith("server: ") for found in result.findings)


def test_a_dead_server_never_looks_like_a_pass(desk: Desk) -> None:
    def dies() -> None:
        pair(desk).server.fails["true"] = MachineLostError(WHY, loss=Loss.PANIC)
        prints(desk, b"[   13.0] Kernel panic - not syncing: Fatal exception\n")

    pair(desk).during["w"] = dies
    desk.run()
    assert desk.outcomes == {
        **OK,
        "pair#v": Outcome.PASSED,
        "pair#w": Outcome.ERRORED,
        "pair#x": Outcome.ERRORED,
    }
    result = desk.result("pair#w")
    assert "while the case ran: server: its kernel panicked" in result.message
    assert (result.loss, "Kernel panic" in result.detail) == (Loss.PANIC, True)


def test_a_silent_server_is_made_to_say_why(desk: Desk) -> None:
    def hangs() -> None:
        lost = MachineLostError("leg (server) at 127.0.0.1:1 is lost: no sign of life", loss=Loss.SILENCE)
        pair(desk).server.fails["true"] = lost

    pair(desk).during["v"] = hangs
    desk.run()
    assert desk.group
    assert "diagnose" in desk.group.calls
    assert "it was asked why" in desk.result("pair#v").message


def test_the_logs_of_each_machine_have_a_folder_of_their_own(desk: Desk) -> None:
    desk.run()
    telemetry = desk.folder / "out/leg/telemetry"
    ours, theirs = ({path.name for path in folder.iterdir()} for folder in (telemetry, telemetry / "server"))
    assert theirs
    assert theirs < ours


def test_the_servers_console_is_scrubbed_and_listed_as_one(desk: Desk) -> None:
    token = "ghp_" + "a1B2" * 9
    console = desk.folder / "out/leg/console-server.log"
    pair(desk).during["v"] = lambda: console.write_text(f"token={token}\n")
    desk.run()
    assert token not in console.read_text()
    kinds = {entry.path: entry.kind for entry in index.read(LegFolder(desk.folder / "out/leg")).files}
    assert kinds["console-server.log"] == "console"
