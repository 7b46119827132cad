"""A leg on a scripted machine: whatever happens to it, every planned case has one result and the files are there."""

from __future__ import annotations

import contextlib
import json
import re
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from lisa_ci import files
from lisa_ci.drivers.shell import ShellDriver
from lisa_ci.errors import LisaCiError, Loss, MachineLostError, PipelineError, ProvisioningError
from lisa_ci.events import CaseEnded, Event, Message, StageEnded, StageStarted
from lisa_ci.execution import run_leg
from lisa_ci.model import (
    Access,
    Case,
    Completed,
    Leg,
    Method,
    Outcome,
    Plan,
    Profile,
    ReleaseSettings,
    Result,
    Risk,
    Run,
    Subject,
    Suite,
    Task,
    Timeouts,
)
from lisa_ci.signals import signals_held
from tests.doubles.local_machine import LocalMachine, LocalPlatform, SnapshotMachines

STAGES = ["provision", "prepare", "inventory", "cases", "collect", "destroy"]
TOKEN = "0123456789abcdef"  # in the place of the one that the leg draws
END = f"token={TOKEN} exit={{exit}} wall_ms=10 cpu_us=- memory=- dropped=0 lost=0 timeout=0"
CONSOLE = b"x" * 20000 + b"Kernel panic"
OK: Mapping[str, Outcome] = {f"boot#{name}": Outcome.PASSED for name in "abc"}


class ScriptedChannel:
    """Plays the runner for a list of cases; ``at`` says what happens when a case has started."""

    def __init__(self, keys: list[str], token: str, at: Mapping[str, Callable[[], bytes]]) -> None:
        self.sent: list[str] = []
        self._steps = self._play(keys, token, at)

    def _play(self, keys: list[str], token: str, at: Mapping[str, Callable[[], bytes]]) -> Iterator[bytes]:
        hello = f"protocol=1 token={token} session=1"
        yield f"HELLO 0 {len(hello)}\n{hello}".encode()
        for number, key in enumerate(keys, 1):
            yield f"START {number} {len(key)}\n{key}".encode()
            if key in at:
                yield at[key]().replace(TOKEN.encode(), token.encode())
            else:
                end = END.format(exit=0).replace(TOKEN, token)
                yield f"END {number} {len(end)}\n{end}".encode()
        yield b"BYE 0 0\n"

    def send(self, data: bytes) -> None:
        self.sent.append(data.decode().strip())

    def receive(self, limit: int, timeout: timedelta) -> bytes:
        return next(self._steps, b"")

    def errors(self) -> bytes:
        return b"sh: killed\n"


class ReplayChannel(ScriptedChannel):
    """Plays the runner that is asked again: ``frames`` and the end."""

    def __init__(self, token: str, frames: bytes) -> None:
        hello = f"protocol=1 token={token}"
        self.sent = []
        frames = frames.replace(TOKEN.encode(), token.encode())
        self._steps = iter([f"HELLO 0 {len(hello)}\n{hello}".encode() + frames + b"ABORT 0 3\ncut"])


class CollectChannel(ScriptedChannel):
    """Answers each question of the collection with the same text."""

    def __init__(self, token: str, words: tuple[str, ...]) -> None:
        self.sent = []
        self._steps = iter(
            [f"\n{token} {name}\nsome text\n".encode() for name in words[::3]] + [f"\n{token} \n".encode()]
        )


@dataclass
class ScriptedMachine(LocalMachine):
    replay: bytes = b""
    at: dict[str, Callable[[], bytes]] = field(default_factory=dict)
    fails: dict[str, LisaCiError] = field(default_factory=dict)
    channels: list[ScriptedChannel] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)

    def run(self, *command: str, timeout: timedelta, stdin: bytes = b"") -> Completed:
        script = command[2] if command[:2] == ("sh", "-c") else command[0]
        for part, error in self.fails.items():
            if part in script:
                raise error
        if "tar -x" in script:
            return Completed(exit=0, output=b"/var/tmp/lisa-ci-x\n")
        if "uname" in script:
            return Completed(exit=0, output=b"kernel=6.1\nsystem=Some \x1b[1mOS\n=\n")
        if "umask 077; cat" in script:
            self.keys = re.findall(r"^lisa_case \d+ '?([^ ']+)", stdin.decode(), re.MULTILINE)
        return Completed(exit=0, output=b"some text\n")

    def channel(self, *command: str) -> contextlib.AbstractContextManager[Any]:
        if "replay" in command:
            return contextlib.nullcontext(ReplayChannel(command[3], self.replay))
        if "lisa-ci-collect" in command:
            if "collect" in self.fails:
                raise self.fails["collect"]
            return contextlib.nullcontext(CollectChannel(command[4], command[5:]))
        if command[1] == "-c":  # the sampler's, which gets no answer
            return contextlib.nullcontext(ReplayChannel("", b""))
        self.channels.append(ScriptedChannel(self.keys, command[-1], self.at))
        return contextlib.nullcontext(self.channels[-1])


def lost() -> bytes:
    raise MachineLostError("the connection was reset")


def nothing() -> bytes:
    return b""


def silent() -> bytes:
    raise TimeoutError


def ends(code: int, number: int) -> Callable[[], bytes]:
    end = END.format(exit=code)
    frame = f"END {number} {len(end)}\n{end}".encode()
    return lambda: frame


class Rebooter:
    """A scenario; ``results`` is what it yields, an exception is raised in its place."""

    def __init__(self, *results: Result | LisaCiError) -> None:
        self.results = results
        self.asked: list[str] = []

    def run(self, suite: Suite, machines: Any, *, timeouts: Timeouts, emit: Any) -> Iterable[Result]:
        self.asked = [case.id for case in suite.cases or ()]
        for result in self.results:
            if isinstance(result, LisaCiError):
                raise result
            yield result


@dataclass
class Desk:
    folder: Path
    machine: ScriptedMachine = field(
        default_factory=lambda: ScriptedMachine(console_text=b"x" * 20000 + b"Kernel panic")
    )
    suites: dict[str, Suite] = field(default_factory=dict)
    tasks: tuple[Task, ...] = (Task(suite="boot"),)
    scenario: Rebooter = field(default_factory=Rebooter)
    failure: ProvisioningError | None = None
    events: list[Event] = field(default_factory=list)
    platform: LocalPlatform | None = None
    group: SnapshotMachines | None = None
    profile: Profile = field(default_factory=lambda: Profile(name="small", cores=3))

    def __post_init__(self) -> None:
        self.suites = {"boot": suite("boot", "abc"), **self.suites}
        (self.folder / "suite").mkdir(exist_ok=True)

    def run(self, **options: Any) -> Run:
        leg = Leg(id="leg", profile=self.profile, tasks=self.tasks)
        plan = Plan(
            name="p",
            subject=Subject(),
            access=Access(),
            timeouts=Timeouts(),
            release=ReleaseSettings(),
            suites=(),
            legs=(leg,),
        )
        self.platform = LocalPlatform(self.machine, failure=self.failure, group=self.group)
        suites = {name: replace_folder(one, self.folder / "suite") for name, one in self.suites.items()}
        return run_leg(
            plan,
            "digest",
            leg,
            platform=self.platform,
            driver=lambda _: ShellDriver(),
            scenario=lambda _: self.scenario,
            suites=suites,
            out=self.folder / "out",
            emit=self.events.append,
            **options,
        )

    @property
    def results(self) -> list[Result]:
        return list(files.read_journal(self.folder / "out/leg/journal.ndjson"))

    @property
    def outcomes(self) -> dict[str, Outcome]:
        assert len({result.key for result in self.results}) == len(self.results)
        return {result.key: result.outcome for result in self.results}

    def result(self, key: str) -> Result:
        return next(result for result in self.results if result.key == key)


def suite(name: str, letters: str, **fields: Any) -> Suite:
    found = tuple(Case(suite=name, id=letter) for letter in letters)
    return Suite(name=name, folder="", digest="0", **{"driver": "shell", "cases": found, **fields})


def replace_folder(one: Suite, folder: Path) -> Suite:
    import dataclasses

    return dataclasses.replace(one, folder=str(folder))


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_a_leg_goes_through_its_stages_and_tells_each(desk: Desk) -> None:
    run = desk.run(attempt=2)
    assert [stage.name for stage in run.stages] == STAGES
    assert [event.stage for event in desk.events if isinstance(event, StageStarted)] == STAGES
    assert [event.stage for event in desk.events if isinstance(event, StageEnded)] == STAGES
    assert (run.is_complete, run.error, run.attempt) == (True, "", 2)
    assert desk.outcomes == OK
    assert run.facts["kernel"] == "6.1"
    assert run.facts["system"] == "Some ?[1mOS"
    assert files.read_leg(desk.folder / "out/leg").run == run  # type: ignore[union-attr]
    assert (desk.folder / "out/leg/telemetry/dmesg.txt").exists()
    assert desk.platform
    assert desk.platform.destroyed == 1
    assert not list((desk.folder / "out").glob(".leg.scratch"))


def test_the_inventory_is_the_whole_suite_also_what_this_leg_leaves_out(desk: Desk) -> None:
    desk.tasks = (Task(suite="boot", only=("a", "b"), left_out={"b": "needs disks >= 2"}),)
    desk.run()
    assert json.loads((desk.folder / "out/leg/inventory.json").read_text())["suites"] == {"boot": ["a", "b", "c"]}
    assert desk.outcomes == {"boot#a": Outcome.PASSED, "boot#b": Outcome.SKIPPED}
    assert desk.result("boot#b").message == "needs disks >= 2"


def test_acknowledgements_follow_the_journal(desk: Desk) -> None:
    desk.suites["boot"] = suite("boot", "abc")
    desk.run()
    assert desk.machine.channels[0].sent == ["ACK 1", "ACK 2", "ACK 3"]


def test_a_risky_case_gets_its_word_to_go(desk: Desk) -> None:
    cases = (Case(suite="boot", id="a"), Case(suite="boot", id="b", risk=Risk.CRASH))
    desk.suites["boot"] = suite("boot", "", cases=cases)
    desk.run()
    assert desk.machine.channels[0].sent == ["ACK 1", "GO 2", "ACK 2"]


@pytest.mark.parametrize(
    ("happens", "message"),
    [
        (lost, "the connection was reset"),
        (nothing, "the runner ended before its last case: sh: killed"),
        (silent, "no sign of life from the machine for 60 s"),
        (lambda: b"END 9 0\n", "END of case 9"),
        (lambda: b"ABORT 0 4\nhelp", "gave up: help"),
        (lambda: b"\x00" * 100, "not a frame"),
    ],
)
def test_a_dead_machine_still_leaves_one_result_per_case(
    desk: Desk, happens: Callable[[], bytes], message: str
) -> None:
    desk.machine.at["boot#b"] = happens
    run = desk.run()
    assert desk.outcomes == {"boot#a": Outcome.PASSED, "boot#b": Outcome.ERRORED, "boot#c": Outcome.PASSED}
    assert message in desk.result("boot#b").message
    assert desk.result("boot#b").detail.endswith("Kernel panic")
    assert len(desk.result("boot#b").detail) <= 16 * 1024
    assert run.error == ""
    assert [(one.case, one.method) for one in run.recoveries] == [("boot#b", Method.REBOOT)]
    assert message in run.recoveries[0].reason
    assert run.is_complete
    assert [stage.name for stage in run.stages] == STAGES
    assert desk.platform
    assert desk.platform.destroyed == 2


def test_without_a_machine_every_known_case_is_errored(desk: Desk) -> None:
    desk.failure = ProvisioningError("no KVM and no emulation")
    desk.tasks = (Task(suite="boot", left_out={"c": "no disk"}),)
    run = desk.run()
    assert desk.outcomes == {"boot#a": Outcome.ERRORED, "boot#b": Outcome.ERRORED, "boot#c": Outcome.SKIPPED}
    assert desk.result("boot#a").message == "not run: no KVM and no emulation"
    assert run.error == "no KVM and no emulation"
    assert run.is_complete
    assert [event.error for event in desk.events if isinstance(event, StageEnded)] == ["no KVM and no emulation"]


@pytest.mark.parametrize("part", ["tar -x", "uname", "umask 077; cat"])
def test_a_machine_lost_before_the_first_case_leaves_errored_results(desk: Desk, part: str) -> None:
    desk.machine.fails[part] = MachineLostError("gone")
    run = desk.run()
    assert set(desk.outcomes.values()) == {Outcome.ERRORED}
    assert run.error == "gone"


def test_telemetry_that_fails_harms_nothing(desk: Desk) -> None:
    desk.machine.fails["collect"] = MachineLostError("gone")
    run = desk.run()
    assert desk.outcomes == OK
    assert run.error == ""
    assert any(isinstance(event, Message) and "no telemetry: gone" in event.text for event in desk.events)


def test_an_interrupt_leaves_results_and_goes_on_upwards(desk: Desk) -> None:
    def interrupted() -> bytes:
        raise KeyboardInterrupt

    desk.machine.at["boot#b"] = interrupted
    with pytest.raises(KeyboardInterrupt):
        desk.run()
    assert desk.outcomes == {"boot#a": Outcome.PASSED, "boot#b": Outcome.ERRORED, "boot#c": Outcome.ERRORED}
    run = files.read_leg(desk.folder / "out/leg").run  # type: ignore[union-attr]
    assert not run.is_complete
    assert run.error == "the run was interrupted"
    assert desk.platform
    assert desk.platform.destroyed == 1


def test_a_users_mistake_is_raised_when_everything_is_on_disk(desk: Desk) -> None:
    desk.suites["boot"] = suite("boot", "", cases=None, listing=())
    with pytest.raises(PipelineError, match="no listing"):
        desk.run()
    assert files.read_leg(desk.folder / "out/leg").run.is_complete  # type: ignore[union-attr]


def test_resume_keeps_what_was_judged_and_runs_the_rest(desk: Desk) -> None:
    desk.machine.at["boot#a"] = ends(1, 1)
    desk.machine.at["boot#b"] = lost
    desk.run()
    desk.machine.at = {}
    run = desk.run(resume=True)
    assert desk.machine.keys == ["boot#b"]
    assert desk.outcomes == {"boot#a": Outcome.FAILED, "boot#b": Outcome.PASSED, "boot#c": Outcome.PASSED}
    assert run.is_complete
    assert run.error == ""


def test_resume_does_not_run_again_a_case_of_which_the_machine_died(desk: Desk) -> None:
    def panicked() -> bytes:
        raise MachineLostError("the kernel panicked", loss=Loss.PANIC)

    desk.machine.at["boot#b"] = panicked
    desk.run()
    desk.machine.at = {}
    desk.machine.keys = []
    desk.run(resume=True)
    assert desk.machine.keys == []
    assert desk.outcomes["boot#b"] is Outcome.ERRORED


def test_without_resume_everything_runs_again(desk: Desk) -> None:
    desk.run()
    (desk.folder / "out/leg/cases").mkdir(exist_ok=True)
    (desk.folder / "out/leg/cases/old").touch()
    desk.run()
    assert desk.outcomes == OK
    assert not (desk.folder / "out/leg/cases/old").exists()


def test_a_folder_that_is_no_legs_is_never_emptied(desk: Desk) -> None:
    (desk.folder / "out/leg").mkdir(parents=True)
    (desk.folder / "out/leg/thesis.tex").touch()
    with pytest.raises(PipelineError, match="something else than a leg"):
        desk.run()
    assert (desk.folder / "out/leg/thesis.tex").exists()


def test_results_of_another_plan_are_not_resumed(desk: Desk) -> None:
    run = desk.run()
    other = json.loads((desk.folder / "out/leg/run.json").read_text()) | {"plan_digest": "other"}
    (desk.folder / "out/leg/run.json").write_text(json.dumps(other))
    assert run.plan_digest == "digest"
    with pytest.raises(PipelineError, match="another plan"):
        desk.run(resume=True)


def test_a_part_of_a_leg_says_that_it_is_one(desk: Desk) -> None:
    run = desk.run(only=("boot#[ab]",))
    assert desk.outcomes == {"boot#a": Outcome.PASSED, "boot#b": Outcome.PASSED}
    assert run.only == ("boot#[ab]",)


def test_a_kept_machine_says_how_to_enter_and_end_it(desk: Desk) -> None:
    desk.run(keep=True)
    texts = [event.text for event in desk.events if isinstance(event, Message)]
    assert "local stays up; enter it: sh" in texts
    assert "end it: true end" in texts
    assert desk.platform
    assert desk.platform.leases[0].keep


def test_a_failure_comes_with_the_line_that_repeats_it(desk: Desk) -> None:
    desk.machine.at["boot#b"] = ends(1, 2)
    desk.run(plan_file=Path("some where/{plan}.json"))
    lines = [event.reproduce for event in desk.events if isinstance(event, CaseEnded)]
    again = "lisa-ci run leg --plan 'some where/{plan}.json' --out reproduce --case 'boot#b' --keep"
    assert lines == ["", again, ""]


def with_scenario(desk: Desk, *results: Result | LisaCiError) -> Rebooter:
    desk.suites["reboot"] = suite("reboot", "wx", driver=None, scenario="reboot")
    desk.tasks = (Task(suite="reboot"), Task(suite="boot"))
    desk.scenario = Rebooter(*results)
    return desk.scenario


def passed(case: str, name: str = "reboot") -> Result:
    return Result(suite=name, case=case, outcome=Outcome.PASSED)


def test_scenarios_run_behind_the_cases_in_the_machine(desk: Desk) -> None:
    scenario = with_scenario(desk, passed("w"), passed("x"))
    desk.run()
    assert scenario.asked == ["w", "x"]
    assert [result.key for result in desk.results] == ["boot#a", "boot#b", "boot#c", "reboot#w", "reboot#x"]


def test_what_a_scenario_forgets_or_invents_is_told(desk: Desk) -> None:
    with_scenario(desk, passed("w"), passed("w"), passed("a", "boot"), passed("zzz"))
    desk.run()
    assert desk.outcomes == {**OK, "reboot#w": Outcome.PASSED, "reboot#x": Outcome.ERRORED}
    assert "gave no result" in desk.result("reboot#x").message
    assert any(isinstance(event, Message) and "reboot#zzz" in event.text for event in desk.events)


def test_a_machine_lost_in_a_scenario_errors_the_rest(desk: Desk) -> None:
    with_scenario(desk, passed("w"), MachineLostError("did not come back"))
    run = desk.run()
    assert desk.outcomes == {**OK, "reboot#w": Outcome.PASSED, "reboot#x": Outcome.ERRORED}
    assert "did not come back" in desk.result("reboot#x").message
    assert run.error == ""


def test_a_suite_is_prepared_in_its_folder_before_its_cases(desk: Desk) -> None:
    commands: list[tuple[str, ...]] = []
    run = desk.machine.run

    def note(*command: str, **more: Any) -> Completed:
        commands.append(command)
        return run(*command, **more)

    desk.machine.run = note  # type: ignore[method-assign]
    desk.suites["boot"] = suite("boot", "abc", prepare=("./prepare",), environment={"A": "suite", "B": "2"})
    desk.tasks = (Task(suite="boot", environment={"A": "pipeline"}),)
    desk.run()
    (prepared,) = (command for command in commands if "./prepare" in command)
    assert prepared[3:] == ("sh", "/var/tmp/lisa-ci-x/suites/boot", "env", "A=pipeline", "B=2", "./prepare")
    assert desk.outcomes == OK


def test_a_preparation_that_fails_is_no_failure_of_a_case(desk: Desk) -> None:
    run = desk.machine.run

    def fail(*command: str, **more: Any) -> Completed:
        return Completed(exit=3, output=b"no compiler\n") if "./prepare" in command else run(*command, **more)

    desk.machine.run = fail  # type: ignore[method-assign]
    desk.suites["boot"] = suite("boot", "abc", prepare=("./prepare",))
    assert desk.run().error == "the preparation of suite boot ended with exit 3: no compiler"
    assert set(desk.outcomes.values()) == {Outcome.ERRORED}


def test_a_case_that_asks_for_what_the_profile_claims_falsely_is_not_judged(desk: Desk) -> None:
    cases = (Case(suite="boot", id="a"), Case(suite="boot", id="b", requires={"cores": 2}))
    desk.suites["boot"] = suite("boot", "", cases=cases)
    desk.run()
    assert desk.outcomes == {"boot#a": Outcome.PASSED, "boot#b": Outcome.ERRORED}
    assert desk.result("boot#b").message == "the profile claims cores 3, the machine does not tell its hardware"


def test_an_interrupt_waits_until_the_leg_knows_its_cases() -> None:
    reached = []

    def begin() -> None:
        with signals_held() as let_go:
            signal.raise_signal(signal.SIGINT)
            reached.append("held")
            let_go()
            reached.append("gone on")

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            begin()
    finally:
        signal.signal(signal.SIGINT, before)
    assert reached == ["held"]
