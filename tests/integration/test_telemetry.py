"""Telemetry from real shells, over a real sshd: sampling while cases run, collection after a failure."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from lisa_ci.errors import MachineLostError
from lisa_ci.events import Message
from lisa_ci.execution.collect import State, on_failure, telemetry
from lisa_ci.execution.install import remove
from lisa_ci.execution.questions import AT_THE_END, COLLECT, FACTS, ON_FAILURE
from lisa_ci.execution.sampler import FILE, SUMMARY, Sampler, read_samples, script
from lisa_ci.execution.samples import GREETING, Parser, Reading, Sample
from lisa_ci.ssh import SshMachine, connect
from tests.doubles.local_machine import LocalMachine
from tests.doubles.openssh import sshd

SHELLS = {"dash": ("dash",), "bash": ("bash", "--posix"), "ash": ("busybox", "ash")}
# The sampler runs in awk, or in the shell where there is none.
AWKS = {"mawk": "mawk", "busybox awk": "busybox"}
MINUTE = timedelta(minutes=1)
OWNER = "lisa-ci-0123456789ab"
ROOT = Path(__file__).parent.parent.parent
# "CPU below 1 %" with room for a host on which others work: dash needs about 1.5 ms a sample.
MOST_CPU_MS = 10.0


@pytest.fixture(params=sorted(SHELLS))
def shell(request: pytest.FixtureRequest) -> tuple[str, ...]:
    return SHELLS[request.param]


@pytest.fixture(params=[*sorted(SHELLS), *sorted(AWKS)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> LocalMachine:
    """A machine with one awk, or with none."""
    programs = tmp_path / "programs"
    programs.mkdir()
    if request.param in AWKS:
        (programs / "awk").symlink_to(str(shutil.which(AWKS[request.param])))
    program, *options = SHELLS.get(request.param, SHELLS["dash"])
    shell = (str(shutil.which(program)), *options)
    return LocalMachine(shell, {"PATH": str(programs)})


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[SshMachine]:
    folder = tmp_path / "sshd"
    folder.mkdir()
    with sshd(folder) as login, contextlib.closing(connect(login, timeout=MINUTE)) as connected:
        yield connected


def wait_for_samples(path: Path, count: int, *, seconds: float = 30) -> list[Sample]:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = list(read_samples(path))
        if len(found) >= count:
            return found
        time.sleep(0.05)
    raise AssertionError(f"{len(list(read_samples(path)))} samples within {seconds} s")


def silent_sampler(machine: Any, folder: Path, *, period: float = 0.2) -> tuple[Sampler, list[Any]]:
    events: list[Any] = []
    return Sampler(machine, folder, OWNER, emit=events.append, period=timedelta(seconds=period)), events


# ---- sampler -------------------------------------------------------------------------------------------------------


def test_every_shell_and_awk_tells_everything_that_the_kernel_has(place: LocalMachine, tmp_path: Path) -> None:
    sampler, events = silent_sampler(place, tmp_path)
    with sampler:
        samples = wait_for_samples(tmp_path / FILE, 4)
    sample = samples[3]
    assert sample.memory_kib["total"] > sample.memory_kib["available"] > 0
    assert len(sample.load) == 3
    assert sample.tasks_running is not None
    assert sample.interrupts_per_second is not None
    assert sample.context_switches_per_second is not None
    assert set(sample.pressure) == {path.name for path in Path("/proc/pressure").glob("*")} - {"irq"}
    assert any(one.cpu is not None for one in samples)
    summary = json.loads((tmp_path / SUMMARY).read_bytes())
    assert summary["ignored_lines"] == 0
    assert summary["series"]["memory_available_kib"]["peak"] > 0
    assert events == []


def test_the_numbers_are_those_of_the_kernel(place: LocalMachine) -> None:
    """One reading between two looks of our own."""
    before, after = ours(), {}
    with place.channel("sh", "-c", script(OWNER), "lisa-ci-sampler") as channel:
        channel.send(b"all\n")
        parser, found = Parser(), list[Reading]()
        while not found:
            found += parser.feed(channel.receive(65536, MINUTE))
        after = ours()
    reading = found[0]
    assert before["ctxt"] <= (reading.context_switches or 0) <= after["ctxt"]
    assert before["processes"] <= (reading.forks or 0) <= after["processes"]
    assert before["intr"] <= (reading.interrupts or 0) <= after["intr"]
    assert sum(reading.irqs.values()) <= after["intr"]
    assert before["uptime"] <= reading.uptime <= after["uptime"]
    assert reading.memory["total"] == before["total"]


def ours() -> dict[str, float]:
    stat = dict(line.split()[:2] for line in Path("/proc/stat").read_text().splitlines())
    memory = Path("/proc/meminfo").read_text().split()
    return {
        **{name: int(stat[name]) for name in ("ctxt", "processes", "intr")},
        "uptime": float(Path("/proc/uptime").read_text().split()[0]),
        "total": int(memory[1]),
    }


def test_a_sample_makes_no_process_and_costs_little(place: LocalMachine) -> None:
    count = 100
    with place.channel("sh", "-c", script(OWNER), "lisa-ci-sampler") as channel:
        process = channel._process
        assert process.stdout
        assert process.stdout.readline().strip() == GREETING
        before = spent_ms(process.pid), children_ms(process.pid)
        for _ in range(count):
            channel.send(b"one\n")
            while process.stdout.readline() != b".\n":
                pass
        after = spent_ms(process.pid), children_ms(process.pid)
        assert not Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
    assert after[1] == before[1]
    assert (after[0] - before[0]) / count < MOST_CPU_MS


def spent_ms(process: int, place: int = 11) -> float:
    """User and system time of a process."""
    words = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(words[place]) + int(words[place + 1])) * 1000 / os.sysconf("SC_CLK_TCK")


def children_ms(process: int) -> float:
    """The same of its children that have ended."""
    return spent_ms(process, 13)


def test_removal_ends_a_sampler_whose_connection_has_stalled_and_no_other(place: LocalMachine) -> None:
    other = OWNER.replace("0", "f")
    with (
        place.channel("sh", "-c", script(OWNER), "lisa-ci-sampler") as stalled,
        place.channel("sh", "-c", script(other), "lisa-ci-sampler") as kept,
    ):
        assert stalled.receive(100, MINUTE).strip() == GREETING
        assert kept.receive(100, MINUTE).strip() == GREETING
        remove(LocalMachine(place.shell), (OWNER,), timeout=MINUTE)  # with the programs that a removal needs
        while stalled.receive(100, MINUTE):
            pass  # what is left of the greeting
        kept.send(b"one\n")
        assert kept.receive(100, MINUTE)


def test_the_sampler_ends_with_its_connection(place: LocalMachine) -> None:
    with place.channel("sh", "-c", script(OWNER), "lisa-ci-sampler") as channel:
        assert channel.receive(100, MINUTE).strip() == GREETING
        process = channel._process
    assert process.returncode in {0, -signal.SIGPIPE}  # at the end of its input, or because nobody listens


def test_sampling_beside_commands_over_one_connection(machine: SshMachine, tmp_path: Path) -> None:
    sampler, events = silent_sampler(machine, tmp_path / "telemetry", period=0.05)
    with sampler:
        with machine.channel("cat") as channel:
            for number in range(50):
                channel.send(f"line {number}\n".encode())
                assert channel.receive(100, MINUTE) == f"line {number}\n".encode()
                assert machine.run("echo", "x", timeout=MINUTE).output == b"x\n"
        samples = wait_for_samples(tmp_path / "telemetry" / FILE, 10)
    assert samples[-1].networks["lo"].received_bytes_per_second >= 0
    assert events == []
    assert machine.run("true", timeout=MINUTE).exit == 0


def test_a_connection_that_is_cut_ends_sampling_and_a_new_one_goes_on(machine: SshMachine, tmp_path: Path) -> None:
    sampler, events = silent_sampler(machine, tmp_path)
    with sampler:
        wait_for_samples(tmp_path / FILE, 2)
        machine.close()
        with pytest.raises(MachineLostError):
            machine.run("true", timeout=MINUTE)
    machine.reconnect(timeout=MINUTE)
    with sampler:
        count = len(wait_for_samples(tmp_path / FILE, 1))
        samples = wait_for_samples(tmp_path / FILE, count + 2)
    assert {one.start for one in samples} == {1, 2}
    assert all(isinstance(event, Message) and "ended early" in event.text for event in events)
    assert not [thread for thread in threading.enumerate() if thread.name == "lisa-ci-sampler"]


def test_a_machine_that_stands_still_holds_nobody_up(tmp_path: Path) -> None:
    """The sampler's process is stopped, as a frozen machine would."""
    processes: list[int] = []

    class Freezing(LocalMachine):
        @contextlib.contextmanager
        def channel(self, *command: str) -> Iterator[Any]:
            with super().channel(*command) as channel:
                processes.append(channel._process.pid)
                yield channel

    sampler, _ = silent_sampler(Freezing(), tmp_path)
    with sampler:
        wait_for_samples(tmp_path / FILE, 1)
        os.kill(processes[0], signal.SIGSTOP)
        time.sleep(0.5)
        began = time.monotonic()
    assert time.monotonic() - began < 4
    deadline = time.monotonic() + 15
    while Path(f"/proc/{processes[0]}").exists() and time.monotonic() < deadline:
        time.sleep(0.1)  # the double waits five seconds before it kills
    assert not Path(f"/proc/{processes[0]}").exists()


# ---- collection ----------------------------------------------------------------------------------------------------


def test_every_shell_collects(shell: tuple[str, ...], tmp_path: Path) -> None:
    collected = on_failure(LocalMachine(shell=shell), tmp_path, reason="boot#a failed")
    assert collected.error == ""
    states = {file.name: file.state for file in collected.files}
    assert State.LATE not in states.values()
    assert State.MISSING not in states.values()
    folder = tmp_path / collected.folder
    assert b"MemTotal:" in (folder / "memory.txt").read_bytes()
    assert b"processor" in (folder / "cpu.txt").read_bytes()
    assert b" / " in (folder / "mounts.txt").read_bytes()
    assert b"Filesystem" in (folder / "disk-space.txt").read_bytes()
    assert b"dpkg" in (folder / "packages.txt").read_bytes()
    assert b"lisa-ci-collect" in (folder / "processes.txt").read_bytes()
    for name in ("blocked-tasks.txt", "network.txt", "coredumps.txt", "crash-dmesg.txt", "pci.txt"):
        assert not (folder / name).exists() or b"syntax error" not in (folder / name).read_bytes().lower()


def test_collection_over_ssh(machine: SshMachine, tmp_path: Path) -> None:
    collected = on_failure(machine, tmp_path, reason="boot#a failed")
    assert collected.error == ""
    assert collected.seconds < 30
    found = telemetry(machine, tmp_path, timeout=MINUTE)
    assert {file.name for file in found} == {question.name for question in AT_THE_END}
    assert (tmp_path / "os-release.txt").stat().st_size > 0


def test_a_program_that_hangs_costs_its_own_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lisa_ci.execution.collect._PATIENCE", 1.0)
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "dmesg").write_text(f"#!/bin/sh\necho begin\necho $$ >{tmp_path}/process\nexec sleep 60\n")
    (programs / "dmesg").chmod(0o755)
    machine = LocalMachine(environment={"PATH": f"{programs}:{os.environ['PATH']}"})
    began = time.monotonic()
    collected = on_failure(machine, tmp_path / "telemetry", reason="x")
    assert time.monotonic() - began < 15
    states = {file.name: file.state for file in collected.files}
    assert states["dmesg.txt"] is State.LATE
    assert states["memory.txt"] is State.WHOLE
    with contextlib.suppress(ProcessLookupError):
        os.kill(int((tmp_path / "process").read_text()), signal.SIGKILL)


def test_a_core_of_this_boot_is_collected_and_its_secrets_are_not(tmp_path: Path) -> None:
    """coredumpctl as systemd's: it prints the newest core where its output is no terminal."""
    programs = tmp_path / "bin"
    programs.mkdir()
    core = tmp_path / "core"
    core.write_bytes(b"\x7fELF" + b"\0" * 1000 + b"password=hunter22\0" + b"\0" * 1000)
    (programs / "coredumpctl").write_text(f'#!/bin/sh\ncase $* in *" dump _BOOT_ID="*) cat {core} ;; esac\n')
    (programs / "coredumpctl").chmod(0o755)
    machine = LocalMachine(environment={"PATH": f"{programs}:{os.environ['PATH']}"})
    collected = on_failure(machine, tmp_path / "telemetry", reason="x")
    found = (tmp_path / "telemetry/failure-1/core").read_bytes()
    assert len(found) == core.stat().st_size
    assert found.startswith(b"\x7fELF")
    assert b"hunter22" not in found
    assert collected.secrets_removed >= 1


# ---- the scripts ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["sampler", "collect", "facts", "questions"])
def test_the_scripts_are_clean_posix_shell(name: str, tmp_path: Path) -> None:
    texts = {
        "sampler": (ROOT / "lisa_ci/execution/sampler.sh").read_text(),
        "collect": "#!/bin/sh\n" + COLLECT,
        "facts": "#!/bin/sh\n# shellcheck disable=SC1091\n" + FACTS,
        "questions": '#!/bin/sh\ntry() { "$@"; }\n' + "\n".join(f"( {one.line}\n)" for one in ON_FAILURE),
    }
    path = tmp_path / "script.sh"
    path.write_text(texts[name])
    finished = subprocess.run(["shellcheck", "--norc", str(path)], capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stdout


def test_the_script_that_is_sent_is_the_one_that_is_checked() -> None:
    sent, whole = script(OWNER), (ROOT / "lisa_ci/execution/sampler.sh").read_text()
    assert [line for line in sent.splitlines()[1:] if line not in {part.strip() for part in whole.splitlines()}] == []
    subprocess.run(["dash", "-n", "-c", sent], check=True)
