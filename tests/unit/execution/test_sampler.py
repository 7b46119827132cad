"""The host's half of sampling, on a scripted machine: it never raises, never hangs, never harms the host."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from lisa_ci.errors import LisaCiError, MachineLostError
from lisa_ci.events import Level, Message
from lisa_ci.execution import sampler as sampling
from lisa_ci.execution.sampler import FILE, SUMMARY, Sampler, Sampling, read_samples, script
from lisa_ci.execution.samples import GREETING
from tests.unit.execution.test_samples import FIRST

FAST = timedelta(milliseconds=1)
OWNER = "lisa-ci-0123456789ab"
Answer = bytes | Callable[[], bytes]


@dataclass
class Machine:
    """Answers each request with the next of ``answers``, and the last one for ever; ``done`` is set behind the last."""

    answers: list[Answer]
    name: str = "m"
    role: str = "main"
    requests: list[bytes] = field(default_factory=list)
    opened: int = 0
    closed: int = 0
    done: threading.Event = field(default_factory=threading.Event)

    @contextlib.contextmanager
    def channel(self, *command: str) -> Iterator[Any]:
        assert command[:2] == ("sh", "-c")
        self.opened += 1
        self._waiting: list[bytes] = [GREETING + b"\n"]
        try:
            yield self
        finally:
            self.closed += 1

    def send(self, data: bytes) -> None:
        self.requests.append(data)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if len(self.answers) == 1 and len(self.requests) > 3:
            self.done.set()
        self._waiting.append(answer if isinstance(answer, bytes) else answer())

    def receive(self, limit: int, timeout: timedelta) -> bytes:
        if self._waiting:
            return self._waiting.pop(0)
        self.done.set()
        threading.Event().wait(min(timeout.total_seconds(), 0.01))
        raise TimeoutError

    def errors(self) -> bytes:
        return b"sh: \x1b[2Jkilled"


def answer(uptime: float) -> bytes:
    return FIRST.replace("U 100.00", f"U {uptime:.2f}").encode() + b".\n"


def raises(error: Exception) -> Callable[[], bytes]:
    def fail() -> bytes:
        raise error

    return fail


def sample(machine: Any, folder: Path, *, times: int = 1) -> list[Any]:
    events: list[Any] = []
    sampler = Sampler(machine, folder, OWNER, emit=events.append, period=FAST)
    for _ in range(times):
        machine.done.clear()
        with sampler:
            assert machine.done.wait(10)
    return events


def summary(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / SUMMARY).read_bytes())
    return found


def test_samples_are_lines_and_the_summary_follows(tmp_path: Path) -> None:
    machine = Machine([answer(100), answer(101), answer(102), answer(103)])
    events = sample(machine, tmp_path / "telemetry")
    samples = list(read_samples(tmp_path / "telemetry" / FILE))
    assert [one.uptime_seconds for one in samples[:3]] == [100.0, 101.0, 102.0]
    assert samples[0].cpu is None
    assert summary(tmp_path / "telemetry")["samples"] == len(samples)
    assert machine.requests[:3] == [b"all\n", b"one\n", b"one\n"]
    assert machine.closed == machine.opened == 1
    assert events == []


def test_a_second_start_goes_on_in_the_same_file(tmp_path: Path) -> None:
    sample(Machine([answer(100), answer(101)]), tmp_path, times=2)
    assert {one.start for one in read_samples(tmp_path / FILE)} == {1, 2}
    assert summary(tmp_path)["starts"] == 2


def test_machines_that_follow_one_another_share_a_file_that_is_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Path] = []
    known = sampling.read_samples
    monkeypatch.setattr(sampling, "read_samples", lambda path: read.append(path) or known(path))
    of_leg = Sampling(tmp_path, emit=print, period=FAST)
    for _ in range(3):
        machine: Any = Machine([answer(100), answer(101)])
        with of_leg.of(machine, OWNER):
            assert machine.done.wait(10)
    assert read == [tmp_path / FILE]
    assert {one.start for one in read_samples(tmp_path / FILE)} == {1, 2, 3}
    assert (summary(tmp_path)["starts"], summary(tmp_path)["samples"]) == (3, len(list(read_samples(tmp_path / FILE))))


def test_a_resumed_run_counts_what_is_there_and_a_torn_line_costs_itself(tmp_path: Path) -> None:
    sample(Machine([answer(100), answer(101)]), tmp_path)
    before = len(list(read_samples(tmp_path / FILE)))
    with (tmp_path / FILE).open("ab") as file:
        file.write(b'{"schema":1,"tim')
    sample(Machine([answer(100), answer(101)]), tmp_path)
    samples = list(read_samples(tmp_path / FILE))
    assert len(samples) > before
    assert samples[-1].start == 2
    assert summary(tmp_path)["samples"] == len(samples)


@pytest.mark.parametrize(
    ("happens", "said", "level"),
    [
        (raises(MachineLostError("the connection was reset")), "the connection was reset", Level.DEBUG),
        (b"", "the sampler in the machine ended: 'sh: \\x1b[2Jkilled'", Level.DEBUG),
        (raises(LisaCiError("odd")), "odd", Level.WARNING),
        (b"y" * 300_000, "this is not our sampler", Level.WARNING),
        (b"X 1\n" * 100_000, "this is not our sampler", Level.WARNING),
    ],
)
def test_whatever_ends_the_sampling_is_told_and_harms_nothing(
    tmp_path: Path, happens: Answer, said: str, level: Level
) -> None:
    machine = Machine([answer(100), answer(101), happens])
    events: list[Any] = []
    with Sampler(machine, tmp_path, OWNER, emit=events.append, period=FAST) as sampler:  # type: ignore[arg-type]
        assert sampler._watch is not None
        sampler._watch._thread.join(10)
        assert not sampler._watch._thread.is_alive()
    (event,) = events
    assert isinstance(event, Message)
    assert said in event.text
    assert event.level is level
    assert summary(tmp_path)["samples"] == 2
    assert machine.closed == 1


def test_a_machine_that_does_not_let_us_in_is_no_trouble(tmp_path: Path) -> None:
    class Gone(Machine):
        def channel(self, *command: str) -> Any:
            self.done.set()
            raise MachineLostError("not connected")

    events = sample(Gone([b""]), tmp_path)
    assert "not connected" in events[0].text or events == []
    assert summary(tmp_path)["samples"] == 0


def test_a_machine_that_answers_nothing_is_left_without_waiting(tmp_path: Path) -> None:
    class Mute(Machine):
        def send(self, data: bytes) -> None:
            self.requests.append(data)

    machine = Mute([b""])
    assert sample(machine, tmp_path) == []
    assert len(machine.requests) <= 1


def test_a_thread_that_hangs_is_left_and_writes_nothing_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "_JOIN", 0.05)
    go_on = threading.Event()

    def hang() -> bytes:
        machine.done.set()
        go_on.wait(10)
        return answer(101)

    machine = Machine([hang])
    began = time.monotonic()
    events: list[Any] = []
    with Sampler(machine, tmp_path, OWNER, emit=events.append, period=FAST) as sampler:  # type: ignore[arg-type]
        assert sampler._watch is not None
        thread = sampler._watch._thread
        assert machine.done.wait(10)
    assert time.monotonic() - began < 5
    assert thread.daemon
    go_on.set()
    thread.join(10)
    assert not thread.is_alive()
    assert (tmp_path / FILE).read_bytes() == b""


def test_only_one_sample_is_taken_for_each_request(tmp_path: Path) -> None:
    machine = Machine([answer(100) + answer(101) * 50, answer(102), answer(103)])
    sample(machine, tmp_path)
    assert len(list(read_samples(tmp_path / FILE))) <= len(machine.requests)


def test_the_file_is_bounded_and_the_summary_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "FILE_LIMIT", 3000)
    sample(Machine([answer(number) for number in range(100, 120)]), tmp_path)
    assert (tmp_path / FILE).stat().st_size <= 3000
    found = summary(tmp_path)
    assert found["is_cut"]
    assert found["samples"] >= 19


def test_a_disk_that_is_full_ends_the_sampling_only(tmp_path: Path) -> None:
    (tmp_path / FILE).symlink_to("/dev/full")
    events: list[Any] = []
    with Sampler(Machine([answer(1)]), tmp_path, OWNER, emit=events.append, period=FAST):  # type: ignore[arg-type]
        pass
    assert "no samples: cannot write" in events[0].text
    assert events[0].level is Level.WARNING


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    events: list[Any] = []
    with Sampler(Machine([answer(1)]), tmp_path / "file", OWNER, emit=events.append):  # type: ignore[arg-type]
        pass
    assert "no samples" in events[0].text


def test_the_script_that_is_sent_has_no_comments_and_fits_a_command_line() -> None:
    assert "#" not in "".join(line[0] for line in script(OWNER).splitlines())
    assert "while read -r asked" in script(OWNER)
    assert len(script(OWNER)) < 8000
