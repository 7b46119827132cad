"""What every Machine does, whatever is behind it. A new machine is one line in MACHINES."""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import timedelta
from pathlib import Path, PurePosixPath

import pytest

from lisa_ci.errors import LisaCiError, MachineLostError
from lisa_ci.protocols import Machine
from lisa_ci.ssh import connect
from tests.doubles.openssh import sshd
from tests.doubles.ssh_server import SshServer

SOON = timedelta(seconds=30)
CONSOLE = b"booting\nlogin: "


@contextlib.contextmanager
def _double(folder: Path) -> Iterator[Machine]:
    (folder / "console").write_bytes(CONSOLE)
    with SshServer(folder) as server:
        machine = connect(server.login(), timeout=SOON, console=folder / "console", name="one", role="client")
        with contextlib.closing(machine):
            yield machine


@contextlib.contextmanager
def _openssh(folder: Path) -> Iterator[Machine]:
    (folder / "console").write_bytes(CONSOLE)
    with sshd(folder) as login:
        machine = connect(login, timeout=SOON, console=folder / "console", name="one", role="client")
        with contextlib.closing(machine):
            yield machine


MACHINES: dict[str, Callable[[Path], AbstractContextManager[Machine]]] = {
    "double": _double,
    "openssh": _openssh,
}


@pytest.fixture(params=MACHINES, scope="module")
def machine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    with MACHINES[request.param](tmp_path_factory.mktemp(request.param)) as machine:
        yield machine


@pytest.fixture
def there(machine: Machine) -> Iterator[PurePosixPath]:
    """An empty folder in the machine."""
    path = machine.run("mktemp", "-d", timeout=SOON).output.decode().strip()
    yield PurePosixPath(path)
    machine.run("rm", "-rf", path, timeout=SOON)


def _noise(size: int) -> bytes:
    return hashlib.shake_128(b"noise").digest(size)


ODD_ARGUMENTS = (
    "",
    " ",
    "two words",
    "line\nbreak\n",
    "it's",
    '"$HOME" `id` $(id) ${x}',
    "*",
    "~",
    "!!",
    "\\",
    "a;b|c&d>e<f#g",
    "-n",
    "--",
    "größe 日本語 🙂",
    "\x1b[31m\x7f\t\r",
    "\udcff",  # a byte that is no UTF-8
)


class TestMachine:
    def test_arguments_arrive_exactly_as_given(self, machine: Machine) -> None:
        completed = machine.run("printf", "%s\\0", *ODD_ARGUMENTS, timeout=SOON)
        arrived = completed.output.decode("utf-8", "surrogateescape").split("\0")
        assert tuple(arrived[:-1]) == ODD_ARGUMENTS

    def test_a_command_with_a_nul_byte_is_refused(self, machine: Machine) -> None:
        with pytest.raises(LisaCiError, match="NUL"):
            machine.run("echo", "a\0b", timeout=SOON)

    @pytest.mark.parametrize("code", [0, 1, 77, 255])
    def test_the_exit_code_comes_back(self, machine: Machine, code: int) -> None:
        assert machine.run("sh", "-c", f"exit {code}", timeout=SOON).exit == code

    def test_a_program_that_is_not_there_is_127_and_says_so(self, machine: Machine) -> None:
        completed = machine.run("no-such-program", timeout=SOON)
        assert completed.exit == 127
        assert b"no-such-program" in completed.output

    def test_a_signal_is_128_and_its_number(self, machine: Machine) -> None:
        assert machine.run("sh", "-c", "kill -TERM $$", timeout=SOON).exit == 128 + 15

    def test_both_outputs_come_in_the_order_they_were_written(self, machine: Machine) -> None:
        script = "for i in 1 2 3; do echo out $i; echo err $i >&2; done"
        completed = machine.run("sh", "-c", script, timeout=SOON)
        assert completed.output == b"out 1\nerr 1\nout 2\nerr 2\nout 3\nerr 3\n"
        assert (completed.dropped_bytes, completed.head_bytes) == (0, 0)

    def test_output_keeps_head_and_tail_and_counts_the_rest(self, machine: Machine) -> None:
        completed = machine.run("sh", "-c", "echo first; yes middle | head -c 3000000; echo last", timeout=SOON)
        assert len(completed.output) == 1024 * 1024
        assert completed.output.startswith(b"first\n")
        assert completed.output.endswith(b"last\n")
        assert completed.dropped_bytes == 3000000 + 11 - 1024 * 1024
        assert completed.head_bytes == 512 * 1024

    def test_stdin_goes_in_while_output_comes_out(self, machine: Machine) -> None:
        data = _noise(900_000) * 5
        completed = machine.run("cat", timeout=SOON, stdin=data)
        assert completed.exit == 0
        assert len(completed.output) + completed.dropped_bytes == len(data)
        assert completed.output[:1000] == data[:1000]
        assert completed.output[-1000:] == data[-1000:]

    def test_a_command_may_ignore_its_stdin(self, machine: Machine) -> None:
        assert machine.run("true", timeout=SOON, stdin=bytes(5_000_000)).exit == 0

    def test_without_stdin_a_command_reads_end_of_file(self, machine: Machine) -> None:
        assert machine.run("cat", timeout=SOON).exit == 0

    def test_a_timeout_ends_the_command_with_its_children(self, machine: Machine, there: PurePosixPath) -> None:
        script = f"echo begun; sh -c 'sleep 2; echo alive > {there}/child'; true"
        completed = machine.run("sh", "-c", script, timeout=timedelta(seconds=1))
        assert completed.exit is None
        assert completed.is_timed_out
        assert completed.output == b"begun\n"
        assert timedelta(seconds=0.9) < completed.wall
        time.sleep(2)
        assert machine.run("test", "-e", f"{there}/child", timeout=SOON).exit == 1

    def test_a_child_in_the_background_does_not_hold_the_command(self, machine: Machine) -> None:
        completed = machine.run("sh", "-c", "sleep 20 & echo $!", timeout=SOON)
        assert completed.exit == 0
        assert completed.wall < timedelta(seconds=10)
        machine.run("kill", completed.output.decode().strip(), timeout=SOON)

    def test_a_channel_carries_bytes_both_ways(self, machine: Machine) -> None:
        with machine.channel("cat") as channel:
            for data in (b"a", bytes(range(256)), b"\n"):
                channel.send(data)
                assert channel.receive(1000, SOON) == data

    def test_a_channel_reads_nothing_at_the_end(self, machine: Machine) -> None:
        with machine.channel("echo", "x") as channel:
            assert channel.receive(100, SOON) == b"x\n"
            assert channel.receive(100, SOON) == b""
            assert channel.receive(100, SOON) == b""

    def test_a_channel_never_hands_out_more_than_asked(self, machine: Machine) -> None:
        with machine.channel("echo", "abcdef") as channel:
            assert [channel.receive(4, SOON), channel.receive(4, SOON)] == [b"abcd", b"ef\n"]

    def test_a_silent_channel_is_a_timeout_and_goes_on_working(self, machine: Machine) -> None:
        with machine.channel("cat") as channel:
            with pytest.raises(TimeoutError):
                channel.receive(10, timedelta(seconds=0.2))
            channel.send(b"x")
            assert channel.receive(10, SOON) == b"x"

    def test_a_flood_of_errors_stops_nothing_and_is_capped(self, machine: Machine) -> None:
        script = "yes error | head -c 6000000 >&2; echo done"
        with machine.channel("sh", "-c", script) as channel:
            assert channel.receive(100, SOON) == b"done\n"
            assert len(channel.errors()) == 64 * 1024
            assert channel.errors().startswith(b"error\nerror\n")

    def test_sending_to_a_command_that_ended_is_an_error(self, machine: Machine) -> None:
        with machine.channel("true") as channel:
            assert channel.receive(10, SOON) == b""
            with pytest.raises(MachineLostError):
                channel.send(bytes(20_000_000))

    @pytest.mark.parametrize("size", [0, 1, 3_000_000])
    def test_a_file_goes_there_and_back_byte_for_byte(
        self, machine: Machine, there: PurePosixPath, tmp_path: Path, size: int
    ) -> None:
        source = tmp_path / "source"
        source.write_bytes(_noise(size))
        machine.put(source, there / "new folder" / "it's $HOME")
        machine.get(there / "new folder" / "it's $HOME", tmp_path / "back")
        assert (tmp_path / "back").read_bytes() == source.read_bytes()
        assert machine.run("ls", "-A", f"{there}/new folder", timeout=SOON).output == b"it's $HOME\n"

    def test_put_keeps_the_executable_bit_and_replaces(
        self, machine: Machine, there: PurePosixPath, tmp_path: Path
    ) -> None:
        source = tmp_path / "tool"
        source.write_text("#!/bin/sh\necho ran\n")
        machine.put(source, there / "tool")
        assert machine.run(f"{there}/tool", timeout=SOON).exit == 126
        source.chmod(0o755)
        machine.put(source, there / "tool")
        assert machine.run(f"{there}/tool", timeout=SOON).output == b"ran\n"

    def test_put_onto_a_folder_says_so(self, machine: Machine, there: PurePosixPath, tmp_path: Path) -> None:
        (tmp_path / "source").write_text("x")
        with pytest.raises(LisaCiError, match="is a directory"):
            machine.put(tmp_path / "source", there)

    def test_put_of_a_missing_file_says_so(self, machine: Machine, there: PurePosixPath, tmp_path: Path) -> None:
        with pytest.raises(LisaCiError, match="no such file"):
            machine.put(tmp_path / "absent", there / "x")

    def test_put_where_nothing_can_be_written_says_why(self, machine: Machine, tmp_path: Path) -> None:
        (tmp_path / "source").write_bytes(bytes(3_000_000))
        with pytest.raises(LisaCiError, match="cannot copy"):
            machine.put(tmp_path / "source", PurePosixPath("/proc/no/such/place"))

    def test_get_of_a_missing_file_says_so_and_leaves_nothing(self, machine: Machine, tmp_path: Path) -> None:
        with pytest.raises(LisaCiError, match="No such file"):
            machine.get(PurePosixPath("/no/such/file"), tmp_path / "x")
        assert list(tmp_path.iterdir()) == []

    def test_get_stops_at_64_mib_and_leaves_nothing(self, machine: Machine, tmp_path: Path) -> None:
        with pytest.raises(LisaCiError, match="larger than 64 MiB"):
            machine.get(PurePosixPath("/dev/zero"), tmp_path / "x")
        assert list(tmp_path.iterdir()) == []

    def test_a_folder_goes_there_whole(self, machine: Machine, there: PurePosixPath, tmp_path: Path) -> None:
        (tmp_path / "deep" / "deeper").mkdir(parents=True)
        (tmp_path / "deep" / "deeper" / "grün ★").write_text("leaf")
        (tmp_path / "tool").write_text("#!/bin/sh\necho ran\n")
        (tmp_path / "tool").chmod(0o755)
        (tmp_path / "link").symlink_to("tool")
        (tmp_path / "loop").symlink_to(".")
        (tmp_path / ("long" * 40)).write_text("name")
        machine.put_tree(tmp_path, there / "suite")
        listing = machine.run("sh", "-c", f"cd {there}/suite && find . | sort", timeout=SOON).output.decode()
        assert listing.split("\n")[:-1] == sorted(
            (".", "./deep", "./deep/deeper", "./deep/deeper/grün ★", "./link", "./loop", "./" + "long" * 40, "./tool")
        )
        assert machine.run(f"{there}/suite/link", timeout=SOON).output == b"ran\n"

    def test_a_folder_with_something_odd_in_it_says_so(
        self, machine: Machine, there: PurePosixPath, tmp_path: Path
    ) -> None:
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(LisaCiError, match="pipe: it is not a file"):
            machine.put_tree(tmp_path, there)
        with pytest.raises(LisaCiError, match="it is not a folder"):
            machine.put_tree(tmp_path / "absent", there)

    def test_a_folder_onto_a_file_says_why(self, machine: Machine, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(bytes(3_000_000))
        with pytest.raises(LisaCiError, match=r"cannot copy .*: "):
            machine.put_tree(tmp_path, PurePosixPath("/proc/version"))

    def test_it_can_be_reconnected_at_any_time(self, machine: Machine) -> None:
        machine.reconnect(timeout=SOON)
        assert machine.run("echo", "again", timeout=SOON).output == b"again\n"

    def test_the_console_answers_from_any_byte_on(self, machine: Machine) -> None:
        whole = b"".join(machine.console())
        assert whole
        assert b"".join(machine.console(since=3)) == whole[3:]
        assert b"".join(machine.console(since=10**9)) == b""

    def test_it_says_how_a_person_gets_in(self, machine: Machine) -> None:
        command = machine.login_command()
        assert command.startswith("ssh ")
        assert "StrictHostKeyChecking=yes" in command

    def test_it_has_a_name_and_a_role(self, machine: Machine) -> None:
        assert machine.name
        assert machine.role
