"""The in-machine runner under the three shells that machines have, with and without control groups."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from pathlib import Path

import pytest

from lisa_ci import files
from lisa_ci.drivers.shell import ShellDriver
from lisa_ci.errors import MachineLostError
from lisa_ci.execution.caselist import Planned
from lisa_ci.execution.clock import Deadline, OutOfTimeError
from lisa_ci.execution.dialogue import Dialogue, Surroundings
from lisa_ci.execution.install import Installed, install, new_name, remove
from lisa_ci.execution.kernel_log import KernelLog
from lisa_ci.execution.record import Record
from lisa_ci.model import Case, Command, Outcome, Result, Risk
from tests.doubles.local_machine import LocalMachine

SHELLS = {"dash": ("dash",), "bash": ("bash", "--posix"), "ash": ("busybox", "ash")}
MINUTE = timedelta(minutes=1)
TODAY = date(2026, 11, 28)


class Desk:
    """A machine with the runner in it, and what came out of it."""

    def __init__(self, folder: Path, machine: LocalMachine) -> None:
        self.folder = files.LegFolder(folder / "leg")
        self.folder.root.mkdir()
        self.machine = machine
        self.installed = install(machine, {}, name=new_name(), timeout=MINUTE)
        self.events: list[object] = []
        self.places = folder / "places"

    def run(
        self,
        *lines: str,
        timeout: float = 60,
        risk: Risk = Risk.NONE,
        leg: timedelta = MINUTE,
        environment: dict[str, str] | None = None,
        watch: bool = False,
        replays: bool = False,
    ) -> dict[str, Result]:
        return self.start(
            *(("sh", "-c", line) for line in lines),
            timeout=timeout,
            risk=risk,
            leg=leg,
            environment=environment,
            watch=watch,
            replays=replays,
        )

    def start(
        self,
        *commands: tuple[str, ...],
        folder: Path = Path("/tmp"),
        timeout: float = 60,
        risk: Risk = Risk.NONE,
        leg: timedelta = MINUTE,
        environment: dict[str, str] | None = None,
        watch: bool = False,
        replays: bool = False,
    ) -> dict[str, Result]:
        cases = [
            Planned(
                case=Case(suite="boot", id=f"c{number}", risk=risk),
                command=Command(arguments=command),
                timeout=timedelta(seconds=timeout),
                folder=str(folder),
                environment=environment or {},
                watch=watch,
            )
            for number, command in enumerate(commands, 1)
        ]
        with Record(self.folder, "leg", self.events.append, reproduce="{case}") as record:
            around = Surroundings(
                environment={"LISA_CI_PROFILE": "here"},
                driver=lambda _: ShellDriver(),
                drivers={"boot": "shell"},
                record=record,
                console=KernelLog((), today=TODAY),
                deadline=Deadline(leg),
                silence=timedelta(seconds=20),
                emit=self.events.append,
            )
            self.dialogue = Dialogue(self.machine, self.installed, cases, around)
            try:
                self.dialogue.run()
            except MachineLostError:
                if not replays:
                    raise
                with contextlib.suppress(MachineLostError):
                    self.dialogue.replay()
        return self.results()

    def results(self) -> dict[str, Result]:
        return {result.case: result for result in files.read_journal(self.folder.journal)}

    def log(self, case: str) -> bytes:
        return self.folder.case_log("boot", case).read_bytes()

    def close(self) -> None:
        remove(self.machine, (self.installed.name,), timeout=MINUTE)


@pytest.fixture(params=["groups", "plain"])
def groups(request: pytest.FixtureRequest) -> dict[str, str]:
    """Whether the runner may use control groups. Where the host has none, both are the same."""
    return {} if request.param == "groups" else {"LISA_CI_GROUPS": ""}


@pytest.fixture(params=SHELLS)
def desk(request: pytest.FixtureRequest, tmp_path: Path, groups: dict[str, str]) -> Iterator[Desk]:
    shell = SHELLS[request.param]
    assert shutil.which(shell[0]), f"{shell[0]} is missing"
    places = tmp_path / "places"
    places.mkdir()
    desk = Desk(tmp_path, LocalMachine(shell=shell, environment={**groups, "LISA_CI_PLACES": str(places)}))
    yield desk
    desk.close()
    assert is_soon(lambda: not remains(desk.installed.name))


def is_soon(claim: Callable[[], bool]) -> bool:
    """Whether it comes true within ten seconds: what was killed takes a moment to be gone."""
    deadline = time.monotonic() + 10
    while not claim():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def remains(name: str) -> list[Path]:
    """What the installation ``name`` has on this host: its folders and control groups."""
    places = [
        *map(Path, ("/run", "/dev/shm", "/var/tmp", "/tmp")),
        Path("/sys/fs/cgroup"),
        Path("/sys/fs/cgroup/unified"),
    ]
    return [path for place in places for path in place.glob(f"*{name}*")]


def alive(mark: str) -> list[int]:
    """Processes with ``mark`` in their command line, without ourselves."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            text = entry.read_bytes()
        except OSError:
            continue
        if mark.encode() in text and int(entry.parent.name) != os.getpid():
            found.append(int(entry.parent.name))
    return found


def test_cases_end_with_their_exit_output_and_environment(desk: Desk) -> None:
    results = desk.run(
        "true",
        "echo hello; echo oops >&2; exit 3",
        'pwd; echo "$LISA_CI_SUITE $LISA_CI_CASE $LISA_CI_PROFILE $COLOUR"; false',
        "kill -9 $$",
        "printf 'a\\000b\\377'; exit 1",
        'read x; echo "input: $x."; exit 1',
        environment={"COLOUR": 'it\'s "blue" $HOME'},
    )
    assert [result.exit for result in results.values()] == [0, 3, 1, 137, 1, 1]
    assert results["c1"].outcome is Outcome.PASSED
    assert results["c1"].log is None
    assert desk.log("c2") == b"hello\noops\n"
    assert desk.log("c3") == b'/tmp\nboot c3 here it\'s "blue" $HOME\n'
    assert desk.log("c5") == b"a\0b\xff"
    assert desk.log("c6") == b"input: .\n"
    assert results["c2"].cpu is not None


@pytest.mark.parametrize(
    "output",
    [
        bytes(range(1, 128)),
        bytes(range(256)) * 4,
        "é and \N{SNOWMAN}".encode(),
        b"\xff\x81\x82\x83\x88\n",
        b"no newline",
        b"\n\n\n",
        b"  %s %d \\n \\ $HOME `id` 'q' \"q\" *\t \n \r\n ",
        b"-n\n-e\n",
        b"\0\0",
        b"ends in zero\n\0",
        b"x" * 2048,
        b"x\n" * 1024,
        b"x" * 2049,
        b"END 1 0\nABORT 0 3\nbye",
    ],
)
def test_an_output_arrives_byte_for_byte(desk: Desk, tmp_path: Path, output: bytes) -> None:
    """Little plain text goes another way through the runner than anything else."""
    said = tmp_path / "said"
    said.write_bytes(output)
    results = desk.run(f"cat {said}; exit 1", f"cat {said}; exit 2")
    assert [result.exit for result in results.values()] == [1, 2]
    assert desk.log("c1") == output
    assert desk.log("c2") == output


def test_a_script_that_may_be_read_becomes_its_program_in_a_session_of_its_own(desk: Desk, tmp_path: Path) -> None:
    mark = f"9{os.getpid()}.25"
    script = tmp_path / "begin"
    script.write_text("#!/bin/sh\necho started\nexit 9\n")
    script.chmod(0o755)
    text = 'export GREETING="hello $2"\nexec ${lisa_ci_session-} sh -c "$1"\n'
    script.with_name("begin.sourced").write_text(text)
    session = "read -r _ _ _ parent group session _ </proc/$$/stat; [ $$ = $group ] && [ $$ = $session ]"
    results = desk.start(
        ("./begin", f'{session} && echo "$GREETING" && exit 3', "you"),
        ("./begin", f"sleep {mark}"),
        ("./begin", f"(setsid sleep {mark} &); kill -TERM 0; sleep {mark}"),
        folder=tmp_path,
        timeout=1,
    )
    assert [result.exit for result in results.values()] == [3, None, 143]
    assert desk.log("c1") == b"hello you\n"
    assert not alive(mark)


def test_a_case_is_born_in_a_group_of_its_own_and_alone_there(desk: Desk) -> None:
    """The runner's shell walks ahead from group to group; it is never in the one whose case has ended."""
    has_groups = desk.machine.environment.get("LISA_CI_GROUPS") is None
    look = "sed -n 's/^0:://p' /proc/self/cgroup; exit 1"
    results = desk.run(*(look for _ in range(70)))
    assert len(results) == 70
    for number in range(1, 71):
        is_own = desk.log(f"c{number}").decode().endswith(f"/lisa-ci.{desk.installed.name}/{number}\n")
        assert is_own == has_groups


def test_a_case_that_draws_the_runner_into_its_group_ends_alone(desk: Desk) -> None:
    mark = f"10{os.getpid()}.25"
    draw = (
        "sleep 0.3; group=$(sed -n 's/^0:://p' /proc/self/cgroup); "
        "for place in /sys/fs/cgroup /sys/fs/cgroup/unified; do "
        '[ ! -e "$place$group/cgroup.procs" ] || echo "$PPID" >"$place$group/cgroup.procs"; done; '
        f"trap '' TERM; sleep {mark} & while :; do sleep 0.1; done"
    )
    results = desk.run(draw, "true", f"sleep {mark}", "true", timeout=1)
    assert "timed out" in results["c1"].message
    assert [results[name].outcome for name in ("c2", "c3", "c4")] == [Outcome.PASSED, Outcome.FAILED, Outcome.PASSED]
    assert not alive(mark)


def test_the_cpu_time_is_the_cases_own(desk: Desk) -> None:
    burn = "read -r began _ </proc/uptime; i=0; while [ $i -lt 300000 ]; do i=$((i + 1)); done"
    results = desk.run("true", burn, "true")
    times = [result.cpu for result in results.values()]
    assert times[1] is not None
    assert all(time is not None and time < times[1] / 2 for time in (times[0], times[2]))


def test_hundreds_of_cases_come_in_order_each_once(desk: Desk) -> None:
    results = desk.run(*(f"echo {number}" for number in range(1, 101)))
    assert list(results) == [f"c{number}" for number in range(1, 101)]
    assert all(desk.log(f"c{number}") == f"{number}\n".encode() for number in range(1, 101))


def test_a_case_that_hangs_ends_with_all_its_processes(desk: Desk) -> None:
    mark = f"3{os.getpid()}.25"
    hang = f"trap '' TERM; setsid sleep {mark} & (trap '' TERM; sleep {mark}) & echo started; sleep {mark}"
    results = desk.run(hang, "true", timeout=1)
    assert results["c1"].outcome is Outcome.FAILED
    assert "timed out" in results["c1"].message
    assert results["c1"].wall < timedelta(seconds=8)
    assert desk.log("c1") == b"started\n"
    assert results["c2"].outcome is Outcome.PASSED
    assert not alive(mark)


def test_a_case_can_tell_why_it_was_too_slow(desk: Desk) -> None:
    results = desk.run("trap 'echo waited for the disk; exit 1' TERM; while :; do sleep 0.1; done", timeout=1)
    assert "waited for the disk" in results["c1"].message


def test_what_a_case_leaves_behind_holds_nobody_up(desk: Desk) -> None:
    mark = f"4{os.getpid()}.25"
    started = time.monotonic()
    results = desk.run(f"echo a; sleep {mark} & exit 0", f"(setsid sleep {mark} &) ; exit 0", "true")
    assert time.monotonic() - started < 12
    assert [result.outcome for result in results.values()] == [Outcome.PASSED] * 3
    assert desk.log("c1") == b"a\n"
    assert not alive(mark)


def test_long_output_keeps_its_head_and_tail_and_tells_what_is_gone(desk: Desk) -> None:
    results = desk.run(
        "echo first; head -c 3000000 /dev/zero | tr '\\000' x; echo; echo last; exit 1",
        "head -c 65536 /dev/zero | tr '\\000' y",
        "head -c 65537 /dev/zero | tr '\\000' z",
        "head -c 1114112 /dev/zero | tr '\\000' w; printf end",
    )
    log = desk.log("c1")
    assert log.startswith(b"first\nxxx")
    assert log.endswith(b"x\nlast\n")
    assert f"[lisa-ci: {3000012 - 131072} bytes dropped here]".encode() in log
    assert "last" in results["c1"].detail
    assert desk.log("c2") == b"y" * 65536
    assert desk.log("c3") == b"z" * 65537
    assert desk.log("c4").endswith(b"wend")
    assert f"{1114112 + 3 - 131072} bytes dropped".encode() in desk.log("c4")


def test_a_risky_case_starts_only_when_everything_before_it_is_safe(desk: Desk) -> None:
    results = desk.run("true", "true", "true", risk=Risk.CRASH)
    assert len(results) == 3


def test_a_case_that_kills_the_runner_costs_itself_and_says_so(desk: Desk) -> None:
    killer = (
        "for p in /proc/[0-9]*; do case $(tr '\\000' ' ' <$p/cmdline) in "
        "*runner.sh*) kill -9 ${p#/proc/} ;; esac; done; sleep 5"
    )
    with pytest.raises(MachineLostError):
        desk.run("true", killer, "true")
    results = desk.results()
    assert results["c1"].outcome is Outcome.PASSED
    assert list(results) == ["c1"]
    assert desk.dialogue.running
    assert desk.dialogue.running.id == "c2"


def test_the_case_that_runs_when_the_legs_time_is_over_is_not_judged(desk: Desk) -> None:
    mark = f"5{os.getpid()}.25"
    with pytest.raises(OutOfTimeError):
        desk.run(f"sleep {mark}", "true", leg=timedelta(seconds=2))
    assert desk.results() == {}
    assert desk.dialogue.running
    assert desk.dialogue.running.id == "c1"
    assert is_soon(lambda: not alive(mark))


# ---- what a case leaves behind -------------------------------------------------------------------------------------


def test_what_a_watched_case_leaves_behind_stops_the_run(desk: Desk) -> None:
    results = desk.run("true", f"touch {desk.places}/left", "true", watch=True)
    assert list(results) == ["c1", "c2"]
    assert desk.dialogue.dirt == "boot#c2 left files"


def test_a_mount_is_seen_and_one_that_is_taken_away_again_is_not(desk: Desk) -> None:
    place = desk.folder.root / "mounted"
    place.mkdir()
    mount = f"mount -t tmpfs none {place}"
    try:
        results = desk.run(f"{mount} && umount {place}", mount, "true", watch=True)
    finally:
        subprocess.run(["umount", place], check=True)
    assert list(results) == ["c1", "c2"]
    assert desk.dialogue.dirt == "boot#c2 left mounts"


def test_nothing_is_looked_for_where_nobody_could_restore_the_machine(desk: Desk) -> None:
    assert len(desk.run(f"touch {desk.places}/left", "true")) == 2
    assert desk.dialogue.dirt == ""


def test_a_case_that_fills_the_disk_is_not_judged(tmp_path: Path, desk: Desk) -> None:
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", small], check=True)
    try:
        folder = Path(desk.installed.folder)
        name = new_name()
        shutil.copytree(folder, small / name)
        installed, desk.installed = desk.installed, Installed(folder=f"{small}/{name}")
        results = desk.run("true", f"cat /dev/zero >{small}/fill", "true", f"rm {small}/fill; false", "false")
        remove(desk.machine, (name,), timeout=MINUTE)
        desk.installed = installed
    finally:
        subprocess.run(["umount", small], check=True)
    assert results["c1"].outcome is Outcome.PASSED
    assert results["c2"].outcome is Outcome.ERRORED
    assert results["c2"].message == "it left the machine's disk full"
    assert [results[name].outcome for name in ("c3", "c4", "c5")] == [Outcome.PASSED, Outcome.FAILED, Outcome.FAILED]


# ---- a connection that is cut --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("after", "lingers"), [(1, 0), (1, 1), (3000, 0.1), (70_000, 0)])
def test_a_cut_connection_costs_no_finished_case(desk: Desk, after: int, lingers: float) -> None:
    """The machine goes on up to 16 cases; what it did is told on a new connection, with the output."""
    mark = f"6{os.getpid()}.25"
    lines = [f"echo {number}; head -c 20000 /dev/zero; exit 3" for number in range(1, 9)]
    desk.machine.cut_after = after
    desk.machine.lingers = lingers
    results = desk.run(*lines, f"sleep {mark}", "true", replays=True)
    assert list(results) == [f"c{number}" for number in range(1, len(results) + 1)]
    if desk.dialogue.running:
        assert desk.dialogue.running.id == f"c{len(results) + 1}"
    assert len(results) == 8 or lingers < 1
    for name, result in results.items():
        assert result.exit == 3
        assert desk.log(name) == name[1:].encode() + b"\n" + bytes(20000)
    assert not alive(mark)


def test_a_runner_ends_the_one_before_it_though_that_was_stopped_before_it_said_who_it_is(desk: Desk) -> None:
    mark, token = f"7{os.getpid()}.25", f"before{os.getpid()}"
    folder = Path(desk.installed.folder)
    (folder / "cases").write_text(f"lisa_case 1 boot#c1 9999 16 0 true 0 sleep {mark}\n")
    with desk.machine.channel("sh", desk.installed.runner, str(folder), token) as before:
        assert is_soon(lambda: bool(alive(mark)))
        (folder / "scratch").unlink()
        for process in alive(token):
            os.kill(process, signal.SIGSTOP)
        assert list(desk.run("true")) == ["c1"]
        while before.receive(65536, MINUTE):
            pass  # its last words; then all that could speak is gone
    assert not alive(mark)


def test_what_a_preparation_has_begun_goes_on_until_the_removal(desk: Desk) -> None:
    mark = f"8{os.getpid()}.25"
    begin = 'cd "$1" && export PWD && { sleep "$2" </dev/null >/dev/null 2>&1 & }'
    desk.machine.run("sh", "-c", begin, "begin", desk.installed.folder, mark, timeout=MINUTE)
    assert list(desk.run("true")) == ["c1"]
    assert list(desk.run("true")) == ["c1"]
    assert alive(mark)
    remove(desk.machine, (desk.installed.name,), timeout=MINUTE)
    assert is_soon(lambda: not alive(mark))


def test_a_case_that_timed_out_while_the_connection_was_cut_is_told_so(desk: Desk) -> None:
    desk.machine.cut_after = 100
    desk.machine.lingers = 4
    results = desk.run("sleep 60", "sleep 61", timeout=1, replays=True)
    assert "timed out" in results["c1"].message
