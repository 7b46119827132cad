"""What is collected from a machine that may lie, hang, flood or die: names are ours, bytes and time are bounded."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lisa_ci import files
from lisa_ci.errors import LisaCiError, MachineLostError, ProvisioningError
from lisa_ci.execution import collect
from lisa_ci.execution.collect import Collected, State, _Answers, facts, on_failure, telemetry
from lisa_ci.execution.questions import AT_THE_END, CORE, ON_FAILURE
from lisa_ci.model import Completed

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
Step = bytes | Exception


class Channel:
    """Plays ``steps``; after the last the script has ended."""

    def __init__(self, steps: Sequence[Step]) -> None:
        self._steps = list(steps)

    def receive(self, limit: int, timeout: timedelta) -> bytes:
        if not self._steps:
            return b""
        step = self._steps.pop(0)
        if isinstance(step, Exception):
            raise step
        if len(step) > limit:
            self._steps.insert(0, step[limit:])
        return step[:limit]


@dataclass
class Machine:
    """``plays`` makes the output from the token and the names that were asked for; one for each start of the script."""

    plays: list[Callable[[str, list[str]], Sequence[Step]]]
    asked: list[list[str]] = field(default_factory=list)

    @contextlib.contextmanager
    def channel(self, *command: str) -> Iterator[Any]:
        token, words = command[4], command[5:]
        self.asked.append(list(words[::3]))
        play = self.plays.pop(0) if len(self.plays) > 1 else self.plays[0]
        yield Channel(play(token, self.asked[-1]))

    def run(self, *command: str, timeout: timedelta, stdin: bytes = b"") -> Completed:
        return Completed(
            exit=0, output=b"kernel=6.1\ncommand_line=quiet password=hunter22 ro\nx\x1b=1\n" + b"a=b\n" * 99
        )


def answers(**texts: bytes) -> Callable[[str, list[str]], Sequence[Step]]:
    """An honest machine; ``dmesg`` for dmesg.txt and so on."""

    def play(token: str, names: list[str]) -> Sequence[Step]:
        parts = [f"\n{token} {name}\n".encode() + texts.get(name.partition(".")[0], b"") for name in names]
        return [b"Welcome\n", b"".join(parts), f"\n{token} \n".encode()]

    return play


def failure(machine: Any, folder: Path, **more: Any) -> Collected:
    return on_failure(machine, folder, reason="boot#a failed", **more)


def states(collected: Collected) -> dict[str, State]:
    return {file.name: file.state for file in collected.files}


def test_facts_are_short_lines_without_secrets() -> None:
    found = facts(Machine([answers()]), timeout=SECOND)  # type: ignore[arg-type]
    assert found["kernel"] == "6.1"
    assert found["command_line"] == "quiet password=[lisa-ci: secret removed] ro"
    assert set(found) == {"kernel", "command_line", "a"}


def test_what_was_answered_lies_in_a_folder_of_its_own_with_a_report(tmp_path: Path) -> None:
    machine = Machine([answers(dmesg=b"[    1.0] Linux\n", journal=b"token=hunter22\n", core=b"\x7fELFcore")])
    collected = failure(machine, tmp_path)
    assert collected.error == ""
    assert collected.folder == "failure-1"
    assert collected.secrets_removed == 1
    folder = tmp_path / "failure-1"
    assert sorted(path.name for path in folder.iterdir()) == ["collected.json", "core", "dmesg.txt", "journal.txt"]
    assert (folder / "dmesg.txt").read_bytes() == b"[    1.0] Linux\n"
    assert (folder / "journal.txt").read_bytes() == b"token=[lisa-ci: secret removed]\n"
    assert states(collected)["slab.txt"] is State.EMPTY
    assert files.decode(Collected, (folder / "collected.json").read_bytes(), place="x") == collected
    assert machine.asked == [[question.name for question in (*ON_FAILURE, CORE)]]


def test_the_reason_is_one_line_without_secrets(tmp_path: Path) -> None:
    machine: Any = Machine([answers()])
    assert (
        on_failure(machine, tmp_path, reason="a\n\npassword=hunter22").reason == "a password=[lisa-ci: secret removed]"
    )
    assert len(on_failure(machine, tmp_path, reason="x" * 9999).reason) == 500


def test_what_hangs_is_left_behind_and_the_rest_is_asked_again(tmp_path: Path) -> None:
    def hangs(token: str, names: list[str]) -> Sequence[Step]:
        return [f"\n{token} {names[0]}\nlog\n\n{token} {names[1]}\nhalf".encode(), TimeoutError()]

    machine = Machine([hangs, answers(memory=b"MemTotal: 1\n")])
    collected = failure(machine, tmp_path)
    assert states(collected)["dmesg.txt"] is State.WHOLE
    assert states(collected)["journal.txt"] is State.LATE
    assert states(collected)["memory.txt"] is State.WHOLE
    assert (tmp_path / "failure-1/journal.txt").read_bytes() == b"half"
    assert machine.asked[1] == machine.asked[0][2:]
    assert len(collected.files) == len(ON_FAILURE) + 1


def test_a_machine_where_everything_hangs_costs_the_time_that_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]

    class Clock:
        @staticmethod
        def monotonic() -> float:
            now[0] += 0.01
            return now[0]

    def hangs(token: str, names: list[str]) -> Sequence[Step]:
        class Hang(Exception):
            pass

        now[0] += 10
        return [f"\n{token} {names[0]}\n".encode(), TimeoutError()]

    monkeypatch.setattr(collect, "time", Clock)
    collected = failure(Machine([hangs]), tmp_path)
    assert 30 <= collected.seconds < 41
    assert list(states(collected).values()).count(State.LATE) <= 4
    assert states(collected)["disk-space.txt"] is State.MISSING


@pytest.mark.parametrize("error", [MachineLostError("it died"), ProvisioningError("no sudo")])
def test_a_machine_that_dies_leaves_what_came_until_then(tmp_path: Path, error: ProvisioningError) -> None:
    def dies(token: str, names: list[str]) -> Sequence[Step]:
        return [f"\n{token} {names[0]}\nlast words\n".encode(), error]

    collected = failure(Machine([dies]), tmp_path)
    assert collected.error == error.message
    assert states(collected)["dmesg.txt"] is State.LATE
    assert states(collected)["journal.txt"] is State.MISSING
    assert (tmp_path / "failure-1/dmesg.txt").read_bytes() == b"last words\n"
    assert json.loads((tmp_path / "failure-1/collected.json").read_bytes())["error"] == error.message
    with pytest.raises(ProvisioningError, match=error.message):
        telemetry(Machine([dies]), tmp_path, timeout=MINUTE)  # type: ignore[arg-type]


def test_a_machine_without_a_shell_ends_the_asking(tmp_path: Path) -> None:
    machine = Machine([lambda *_: [b"This account is currently not available.\n"]])
    collected = failure(machine, tmp_path)
    assert collected.error == "the machine answers no question"
    assert len(machine.asked) == 1
    assert set(states(collected).values()) == {State.MISSING}


def test_a_file_is_cut_at_its_limit_and_a_core_comes_whole_or_not_at_all(tmp_path: Path) -> None:
    big = b"x" * 100 + b"\n"
    collected = failure(Machine([answers(slab=big * 3000, core=b"\x7fELF" * (CORE.limit // 4 + 1))]), tmp_path)
    assert states(collected)["slab.txt"] is State.CUT
    assert (tmp_path / "failure-1/slab.txt").stat().st_size == 256 * 1024
    assert states(collected)["core"] is State.CUT
    assert not (tmp_path / "failure-1/core").exists()


def test_a_machine_that_floods_one_answer_is_stopped(tmp_path: Path) -> None:
    sent = []

    class Endless(Channel):
        def receive(self, limit: int, timeout: timedelta) -> bytes:
            sent.append(limit)
            return b"y" * limit if len(sent) > 1 else f"\n{self.token} dmesg.txt\n".encode()

        token = ""

    class Flood(Machine):
        @contextlib.contextmanager
        def channel(self, *command: str) -> Iterator[Any]:
            sent.clear()
            channel = Endless([])
            channel.token = command[4]
            yield channel

    collected = failure(Flood([answers()]), tmp_path)
    assert len(sent) < 200
    assert states(collected)["dmesg.txt"] is State.LATE
    assert sum(path.stat().st_size for path in (tmp_path / "failure-1").iterdir()) < 2 << 20


def test_a_leg_has_eight_failures_looked_into(tmp_path: Path) -> None:
    machine = Machine([answers(dmesg=b"log\n")])
    assert [failure(machine, tmp_path).folder for _ in range(9)] == [*(f"failure-{n}" for n in range(1, 9)), ""]
    assert "8 failures" in failure(machine, tmp_path).error
    assert len(machine.asked) == 8


def test_a_leg_keeps_twenty_mebibytes_of_failures(tmp_path: Path) -> None:
    machine = Machine([answers(core=b"\x7fELF" * (2000 * 1024), journal=b"line\n" * 400_000)])
    while failure(machine, tmp_path).folder:
        pass
    total = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
    assert total < collect.LEG_LIMIT + 100_000
    assert len(machine.asked) < 8


def test_names_that_were_not_asked_for_begin_no_file(tmp_path: Path) -> None:
    def lies(token: str, names: list[str]) -> Sequence[Step]:
        text = "".join(
            f"\n{token} {name}\nx" for name in ["../../../x", "/etc/passwd", "dmesg.txt\0", "sysctl.txt", "dmesg.txt"]
        )
        return [text.encode(), f"\n{token} \n".encode()]

    collected = failure(Machine([lies]), tmp_path / "leg")
    assert sorted(path.name for path in (tmp_path / "leg/failure-1").iterdir()) == ["collected.json", "sysctl.txt"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["leg"]
    assert states(collected)["dmesg.txt"] is State.MISSING
    assert len(collected.files) == len(ON_FAILURE) + 1


def test_a_link_in_the_place_of_a_file_is_not_written_through(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(b"mine")
    folder = tmp_path / "telemetry"
    folder.mkdir()
    (folder / "dmesg.txt").symlink_to(outside)
    telemetry(Machine([answers(dmesg=b"log\n")]), folder, timeout=MINUTE)  # type: ignore[arg-type]
    assert outside.read_bytes() == b"mine"
    assert (folder / "dmesg.txt").read_bytes() == b"log\n"
    assert not (folder / "dmesg.txt").is_symlink()


def test_a_full_disk_is_told_and_never_raised_after_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object, **more: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "open", full)
    collected = failure(Machine([answers(dmesg=b"log\n")]), tmp_path)
    assert "No space left on device" in collected.error
    with pytest.raises(LisaCiError, match="No space left"):
        telemetry(Machine([answers(dmesg=b"log\n")]), tmp_path, timeout=MINUTE)  # type: ignore[arg-type]


def test_the_end_of_a_leg_asks_for_less_and_may_be_repeated(tmp_path: Path) -> None:
    machine: Any = Machine([answers(dmesg=b"one\n"), answers(dmesg=b"two\n")])
    telemetry(machine, tmp_path, timeout=MINUTE)
    found = telemetry(machine, tmp_path, timeout=MINUTE)
    assert [file.name for file in found] == [question.name for question in AT_THE_END]
    assert (tmp_path / "dmesg.txt").read_bytes() == b"two\n"


def test_every_question_is_asked_once_and_has_a_plain_name() -> None:
    for questions in ((*ON_FAILURE, CORE), AT_THE_END):
        names = [question.name for question in questions]
        assert len(set(names)) == len(names)
        assert all(name.replace("-", "").replace(".txt", "").isalpha() and len(name) < 60 for name in names)


TOKEN = "t" * 32
MARKS = st.sampled_from([f"\n{TOKEN} {name}\n" for name in ("a.txt", "b.txt", "c.txt", "", "../x", "z" * 90)])


@settings(deadline=None)
@given(
    parts=st.lists(MARKS.map(str.encode) | st.binary(max_size=50) | st.just(f"\n{TOKEN[:-1]}".encode()), max_size=20),
    size=st.integers(1, 200),
)
def test_answers_are_split_the_same_in_any_pieces(parts: list[bytes], size: int) -> None:
    data = b"".join(parts)

    def split(pieces: Sequence[bytes]) -> list[bytes | str | None]:
        answers = _Answers(TOKEN, ["a.txt", "b.txt", "c.txt"])
        joined: list[bytes | str | None] = []
        for piece in [one for part in pieces for one in answers.feed(part)] + [answers.rest()]:
            if isinstance(piece, bytes) and joined and isinstance(joined[-1], bytes):
                joined[-1] += piece
            else:
                joined.append(piece)
        return joined

    whole = split([data])
    assert split([data[at : at + size] for at in range(0, len(data), size)]) == whole
    names = [piece for piece in whole if isinstance(piece, str)]
    assert names == sorted(set(names))
