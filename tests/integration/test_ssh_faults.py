"""Servers that hang, lie, flood or die: an error of ours in time, and bounded memory."""

from __future__ import annotations

import contextlib
import itertools
import resource
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path, PurePosixPath

import pytest

from lisa_ci.errors import Loss, MachineLostError, PipelineError, ProvisioningError
from lisa_ci.model import Become, Death
from lisa_ci.protocols import Channel
from lisa_ci.ssh import Login, SshMachine, Vitals, WrongHostKeyError, connect, make_key
from lisa_ci.ssh.keys import parse_host_key
from tests.doubles.ssh_server import Answer, Faults, SshServer

SOON = timedelta(seconds=20)
SHORT = timedelta(seconds=2)
GONE = Death(loss=Loss.DESTROYED, why="QEMU exited with 1")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[SshServer]:
    with SshServer(tmp_path / "server") as server:
        yield server


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    deadline = time.monotonic() + 5
    while left := [thread for thread in threading.enumerate() if thread not in before]:
        assert time.monotonic() < deadline, left
        time.sleep(0.02)


@contextlib.contextmanager
def connected(login: Login, *, silence: timedelta = timedelta(seconds=30)) -> Iterator[SshMachine]:
    with contextlib.closing(connect(login, timeout=SOON, silence=silence)) as machine:
        yield machine


def _read_all(channel: Channel) -> None:
    while channel.receive(1024 * 1024, SOON):
        pass


# ---- coming in -----------------------------------------------------------------------------------------------------


def test_connections_that_hang_or_close_before_the_banner_are_tried_again(server: SshServer) -> None:
    server.faults.silent_connections = 2
    server.faults.closed_connections = 3
    started = time.monotonic()
    with connected(server.login()) as machine:
        assert machine.run("true", timeout=SOON).exit == 0
    assert time.monotonic() - started < 5


def test_a_machine_that_accepts_but_never_speaks_is_no_machine(server: SshServer) -> None:
    server.faults.silent_connections = 1000
    with pytest.raises(ProvisioningError, match=r"within 2 s: it accepts connections, but sends no SSH banner"):
        connect(server.login(), timeout=SHORT)


def test_nobody_listening_is_said(server: SshServer) -> None:
    login = server.login()
    server.stop_listening()
    with pytest.raises(ProvisioningError, match="connection refused"):
        connect(login, timeout=timedelta(seconds=1))


def test_a_host_without_an_address_is_an_error_at_once(server: SshServer) -> None:
    login = server.login()
    odd = Login(host="no such host.invalid", port=22, user="root", key=login.key, host_key=login.host_key)
    started = time.monotonic()
    with pytest.raises(ProvisioningError, match="no address for"):
        connect(odd, timeout=SOON)
    assert time.monotonic() - started < 10


@pytest.mark.parametrize(
    "faults",
    [
        Faults(greeting=b"x" * 60000),
        Faults(greeting=b"\n" * 60000),
        Faults(greeting=b"HTTP/1.1 400 Bad Request\r\n\r\n"),
        Faults(greeting=b"SSH-2.0-" + b"x" * 60000),
        Faults(greeting=b"SSH-2.0-\xff\xfe\r\n"),
        Faults(greeting=b"SSH-1.5-old\r\n"),
        Faults(stops_after_banner=True),
        Faults(drips_after_banner=True),
        Faults(first_packet_length=0xFFFFFFFF),
        Faults(first_packet_length=0),
        Faults(first_packet_length=300_000),
        Faults(endless_extensions=True),
    ],
    ids=[
        "no-line",
        "lines",
        "http",
        "long-banner",
        "odd-banner",
        "ssh-1",
        "stop",
        "drip",
        "4-GiB",
        "0",
        "300-kB",
        "extensions",
    ],
)
def test_a_server_that_does_not_shake_hands_costs_neither_time_nor_memory(server: SshServer, faults: Faults) -> None:
    server.faults = faults
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.monotonic()
    with pytest.raises(ProvisioningError, match="no login at"):
        connect(server.login(), timeout=timedelta(seconds=1))
    assert time.monotonic() - started < 4
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024  # KiB


def test_a_machine_that_dies_while_we_wait_is_an_error_at_once(server: SshServer) -> None:
    server.faults.silent_connections = 1000
    calls = itertools.count()
    started = time.monotonic()
    with pytest.raises(ProvisioningError, match="died before it could be used: QEMU exited with 1"):
        connect(server.login(), timeout=SOON, vitals=Vitals(is_alive=lambda: GONE if next(calls) > 2 else None))
    assert time.monotonic() - started < 3


def test_a_wrong_host_key_is_an_error_at_once_with_both_fingerprints(server: SshServer, tmp_path: Path) -> None:
    pinned = make_key(tmp_path, "other").public
    started = time.monotonic()
    with pytest.raises(WrongHostKeyError) as caught:
        connect(server.login(host_key=pinned), timeout=SOON)
    assert time.monotonic() - started < 5
    assert parse_host_key(pinned).fingerprint in caught.value.message
    assert parse_host_key(server.host.public).fingerprint in caught.value.message
    assert server.commands == []


def test_no_host_key_is_refused_before_anything_connects(server: SshServer) -> None:
    with pytest.raises(PipelineError, match="no host key is pinned"):
        connect(server.login(host_key=""), timeout=SOON)


def test_a_refused_key_is_tried_again_while_a_machine_boots(server: SshServer) -> None:
    server.faults.refused_logins = 2
    reasons: list[str] = []
    with contextlib.closing(connect(server.login(), timeout=SOON, note=reasons.append)) as machine:
        assert machine.run("true", timeout=SOON).exit == 0
    assert len(reasons) == 2
    assert "refuses user root" in reasons[0]


def test_a_key_that_stays_refused_is_named_at_the_end(server: SshServer, tmp_path: Path) -> None:
    stranger = make_key(tmp_path, "stranger").private
    with pytest.raises(ProvisioningError, match=r"refuses user root with our key .*stranger") as caught:
        connect(server.login(key=stranger), timeout=SHORT)
    assert "authorized_keys" in caught.value.hint


def test_a_refused_key_is_an_error_at_once_for_a_machine_that_already_runs(server: SshServer, tmp_path: Path) -> None:
    stranger = make_key(tmp_path, "stranger").private
    started = time.monotonic()
    with pytest.raises(ProvisioningError, match="refuses user root"):
        connect(server.login(key=stranger), timeout=SOON, retries_refusal=False)
    assert time.monotonic() - started < 5


def test_sudo_that_wants_a_password_says_what_to_allow(server: SshServer) -> None:
    server.answer = lambda line: Answer(stderr=b"sudo: a password is required\n", exit=1) if "sudo" in line else None
    with pytest.raises(ProvisioningError, match="cannot become root by sudo: sudo: a password is required") as caught:
        connect(server.login(become=Become.SUDO), timeout=SOON)
    assert "NOPASSWD" in caught.value.hint


def test_an_account_without_a_shell_is_told_apart_from_a_failing_command(server: SshServer) -> None:
    server.answer = lambda _: Answer(stdout=b"This account is currently not available.\n", exit=1)
    with pytest.raises(ProvisioningError, match="cannot run a command"):
        connect(server.login(), timeout=SOON)


def test_a_server_that_refuses_commands_is_no_machine(server: SshServer) -> None:
    server.faults.refuses_exec = True
    with pytest.raises(ProvisioningError, match="refused"):
        connect(server.login(), timeout=SHORT)


def test_a_machine_that_lets_us_in_but_runs_nothing_is_no_machine(server: SshServer) -> None:
    def slow(_: str) -> Answer:
        time.sleep(2)
        return Answer()

    server.answer = slow
    with pytest.raises(ProvisioningError, match="lets us in, but does not run a command within 1 s"):
        connect(server.login(), timeout=timedelta(seconds=1.2))


def test_sending_and_receiving_in_two_threads_do_not_disturb_each_other(server: SshServer) -> None:
    data = bytes(range(256)) * 40_000
    with connected(server.login()) as machine, machine.channel("sh", "-c", "sleep 1; cat") as channel:
        sender = threading.Thread(target=channel.send, args=(data,))
        sender.start()
        got = bytearray()
        while len(got) < len(data):
            with contextlib.suppress(TimeoutError):
                got += channel.receive(1 << 20, timedelta(seconds=0.01))
        sender.join()
        assert got == data


# ---- once in -------------------------------------------------------------------------------------------------------


def test_a_connection_that_drops_is_a_lost_machine_not_the_end_of_the_output(server: SshServer) -> None:
    with connected(server.login()) as machine, machine.channel("sh", "-c", "echo x; sleep 100") as channel:
        assert channel.receive(10, SOON) == b"x\n"
        server.drop()
        with pytest.raises(MachineLostError, match="is lost"):
            channel.receive(10, SOON)
        with pytest.raises(MachineLostError):
            machine.run("true", timeout=SOON)


def test_a_connection_that_drops_ends_a_running_command(server: SshServer) -> None:
    with connected(server.login()) as machine:
        timer = threading.Timer(0.5, server.drop)
        timer.start()
        started = time.monotonic()
        with pytest.raises(MachineLostError):
            machine.run("sleep", "100", timeout=timedelta(seconds=100))
        assert time.monotonic() - started < 5
        timer.join()


def test_why_the_machine_died_is_in_the_message(server: SshServer) -> None:
    died: list[Death] = []
    machine = connect(server.login(), timeout=SOON, vitals=Vitals(is_alive=lambda: died[0] if died else None))
    with contextlib.closing(machine):
        server.drop()
        died.append(GONE)
        with pytest.raises(MachineLostError, match="QEMU exited with 1") as caught:
            machine.run("true", timeout=SOON)
        assert caught.value.loss is Loss.DESTROYED


WAITING = {
    "channel": lambda _, channel: channel.receive(10, SOON),
    "run": lambda machine, _: machine.run("true", timeout=SOON),
    "send": lambda _, channel: channel.send(bytes(20_000_000)),
}


@pytest.mark.parametrize("wait", WAITING.values(), ids=WAITING)
def test_a_death_that_the_platform_knows_of_ends_all_waiting_within_a_second_or_so(
    server: SshServer, wait: Callable[[SshMachine, Channel], object]
) -> None:
    died: list[Death] = []
    vitals = Vitals(is_alive=lambda: died[0] if died else None)
    machine = connect(server.login(), timeout=SOON, vitals=vitals)
    with contextlib.closing(machine), machine.channel("cat") as channel:
        server.freeze()
        timer = threading.Timer(0.3, died.append, (Death(loss=Loss.PANIC, why="its kernel panicked"),))
        timer.start()
        started = time.monotonic()
        with pytest.raises(MachineLostError, match="its kernel panicked") as caught:
            wait(machine, channel)
        timer.join()
    assert caught.value.loss is Loss.PANIC
    assert time.monotonic() - started < 3


def test_what_arrived_before_a_death_is_still_handed_out(server: SshServer) -> None:
    died: list[Death] = []
    with (
        contextlib.closing(
            connect(server.login(), timeout=SOON, vitals=Vitals(is_alive=lambda: died[0] if died else None))
        ) as machine,
        machine.channel("sh", "-c", "echo result; cat") as channel,
    ):
        time.sleep(0.5)
        died.append(GONE)
        time.sleep(1.5)
        assert channel.receive(100, SOON) == b"result\n"
        with pytest.raises(MachineLostError, match="QEMU exited with 1"):
            channel.receive(100, SOON)


def test_a_machine_that_goes_down_has_the_time_to_say_so(server: SshServer) -> None:
    died: list[Death] = []
    with (
        contextlib.closing(
            connect(server.login(), timeout=SOON, vitals=Vitals(is_alive=lambda: died[0] if died else None))
        ) as machine,
        machine.channel("cat") as channel,
    ):
        server.faults.silent_connections = 1000
        server.drop()
        timer = threading.Timer(1.5, died.append, (Death(loss=Loss.REBOOT, why="it rebooted by itself"),))
        timer.start()
        with pytest.raises(MachineLostError, match="it rebooted by itself") as caught:
            channel.receive(10, SOON)
        timer.join()
        assert caught.value.loss is Loss.REBOOT


def test_where_ssh_still_answers_only_the_connection_is_lost(server: SshServer) -> None:
    with (
        contextlib.closing(connect(server.login(), timeout=SOON, vitals=Vitals(is_alive=lambda: None))) as machine,
        machine.channel("cat") as channel,
    ):
        server.drop()
        started = time.monotonic()
        with pytest.raises(MachineLostError) as caught:
            channel.receive(10, SOON)
        assert caught.value.loss is Loss.CONNECTION
        assert time.monotonic() - started < 2


def test_a_silent_machine_with_a_crash_kernel_gets_the_time_to_save_its_memory(server: SshServer) -> None:
    died: list[Death] = []
    vitals = Vitals(is_alive=lambda: died[0] if died else None, grace=lambda: timedelta(seconds=20))
    with (
        contextlib.closing(
            connect(server.login(), timeout=SOON, silence=timedelta(seconds=1), vitals=vitals)
        ) as machine,
        machine.channel("cat") as channel,
    ):
        server.faults.silent_connections = 1000
        server.freeze()
        timer = threading.Timer(4, died.append, (Death(loss=Loss.PANIC, why="its kernel panicked, and it rebooted"),))
        timer.start()
        with pytest.raises(MachineLostError, match="panicked, and it rebooted"):
            channel.receive(10, SOON)
        timer.join()


def test_the_first_command_of_a_login_is_the_platforms(server: SshServer) -> None:
    told: list[object] = []
    vitals = Vitals(
        opening=lambda: (("cat",), b"words"), logged_in=told.append, comes_up=lambda: told.append("comes up")
    )
    with contextlib.closing(connect(server.login(), timeout=SOON, vitals=vitals)) as machine:
        machine.reconnect(timeout=SOON)
    assert told == ["comes up", b"words"] * 2


def test_a_machine_that_hangs_is_noticed_without_a_byte_from_us(server: SshServer) -> None:
    silence = timedelta(seconds=1)
    with connected(server.login(), silence=silence) as machine, machine.channel("cat") as channel:
        server.freeze()
        started = time.monotonic()
        with pytest.raises(MachineLostError, match="silent for 1 s"):
            channel.receive(10, SOON)
        assert time.monotonic() - started < 3


def test_a_machine_that_is_only_idle_is_not_lost(server: SshServer) -> None:
    with connected(server.login(), silence=timedelta(seconds=0.8)) as machine, machine.channel("cat") as channel:
        with pytest.raises(TimeoutError):
            channel.receive(10, timedelta(seconds=2.5))
        channel.send(b"x")
        assert channel.receive(10, SOON) == b"x"


def test_a_command_that_takes_no_input_is_noticed(server: SshServer) -> None:
    silence = timedelta(seconds=1)
    with (
        connected(server.login(), silence=silence) as machine,
        machine.channel("sleep", "100") as channel,
        pytest.raises(MachineLostError, match="takes no input for 1 s"),
    ):
        channel.send(bytes(20_000_000))


def test_a_server_that_ignores_the_window_is_cut_off(server: SshServer) -> None:
    with connected(server.login()) as machine:
        server.faults.overruns_window = True
        with machine.channel("x") as channel:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            time.sleep(1.5)
            with pytest.raises(MachineLostError, match="more than the window allows"):
                _read_all(channel)
            assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024  # KiB


def test_a_command_that_ends_without_an_exit_is_a_lost_machine(server: SshServer) -> None:
    with connected(server.login()) as machine:
        server.answer = lambda _: Answer(stdout=b"\nlisa-ci-group 0\nx", exit=None)
        with pytest.raises(MachineLostError, match="without saying how"):
            machine.run("true", timeout=SOON)


def test_a_command_that_is_killed_before_it_begins_is_a_lost_machine(server: SshServer) -> None:
    with connected(server.login()) as machine:
        server.answer = lambda _: Answer(exit=137)
        with pytest.raises(MachineLostError, match="a command was killed"):
            machine.run("true", timeout=SOON)


def test_silence_after_the_exit_is_the_end_of_the_output_only_where_the_server_still_answers(server: SshServer) -> None:
    with connected(server.login(), silence=timedelta(seconds=2)) as machine:
        server.answer = lambda _: Answer(stdout=b"\nlisa-ci-group 0\nall 90 cases", exit=0)
        server.faults.hangs_after_exit = True
        with pytest.raises(MachineLostError, match="silent for 2 s"):
            machine.run("cat", "cases", timeout=SOON)


def test_a_file_that_is_cut_off_on_the_way_leaves_nothing(server: SshServer, tmp_path: Path) -> None:
    with connected(server.login()) as machine:
        server.answer = lambda _: Answer(stdout=b"\nlisa-ci-group \nhalf", exit=None)
        with pytest.raises(MachineLostError):
            machine.get(PurePosixPath("/etc/hostname"), tmp_path / "target")
    assert not list(tmp_path.glob("target*"))


def test_an_older_file_stays_when_a_new_one_does_not_come(server: SshServer, tmp_path: Path) -> None:
    (tmp_path / "target").write_text("old")
    with connected(server.login()) as machine, pytest.raises(ProvisioningError):
        machine.get(PurePosixPath("/no/such/file"), tmp_path / "target")
    assert (tmp_path / "target").read_text() == "old"


# ---- again ---------------------------------------------------------------------------------------------------------


def test_a_lost_machine_can_be_reconnected(server: SshServer) -> None:
    with connected(server.login()) as machine:
        server.drop()
        machine.reconnect(timeout=SOON)
        assert machine.is_connected
        assert machine.run("true", timeout=SOON).exit == 0


class _Boots:
    """Boot ids and what a reboot does, told by a function instead of a kernel."""

    def __init__(
        self, server: SshServer, *, changes: bool = True, drops: bool = True, freezes: bool = False, code: int = 0
    ) -> None:
        self.number = 1
        self._server, self._changes, self._drops, self._freezes, self._code = server, changes, drops, freezes, code
        self._timer: threading.Timer | None = None
        server.answer = self.answer

    def answer(self, line: str) -> Answer | None:
        marked = b"\nlisa-ci-group 0\n"
        if "boot_id" in line:
            return Answer(stdout=marked + f"boot-{self.number}\n".encode())
        if "reboot" not in line:
            return None
        if self._code:
            return Answer(stdout=marked + b"Access denied\n", exit=self._code)
        if self._drops:
            self._timer = threading.Timer(0.2, self._go_down)
            self._timer.start()
        return Answer(stdout=marked)

    def _go_down(self) -> None:
        self.number += self._changes
        self._server.faults.silent_connections = 1
        self._server.faults.refused_logins = 1
        if self._freezes:
            self._server.freeze()
        else:
            self._server.drop()


def test_a_reboot_comes_back_connected_to_the_new_boot(server: SshServer) -> None:
    with connected(server.login()) as machine:
        _Boots(server)
        assert machine.boot_id() == "boot-1"
        machine.reboot(timeout=SOON)
        assert machine.boot_id() == "boot-2"


def test_a_reboot_that_leaves_the_old_connection_hanging_is_noticed_soon(server: SshServer) -> None:
    with connected(server.login()) as machine:
        _Boots(server, freezes=True)
        started = time.monotonic()
        machine.reboot(timeout=SOON)
        assert machine.boot_id() == "boot-2"
        assert time.monotonic() - started < 12


def test_a_login_shell_that_prints_does_not_spoil_output_or_files(server: SshServer, tmp_path: Path) -> None:
    marked = b"Welcome!\nno newline at the end\nlisa-ci-group 0\n"
    with connected(server.login()) as machine:
        server.answer = lambda _: Answer(stdout=marked + b"it\n", stderr=b"setlocale: cannot\n")
        assert machine.run("echo", "it", timeout=SOON).output == b"it\n"
        machine.get(PurePosixPath("/some/file"), tmp_path / "file")
        assert (tmp_path / "file").read_bytes() == b"it\n"


def test_a_connection_to_the_old_boot_is_not_taken_for_the_new_one(server: SshServer) -> None:
    with connected(server.login()) as machine:
        _Boots(server, changes=False)
        with pytest.raises(MachineLostError, match="did not come back from a reboot within 4 s"):
            machine.reboot(timeout=timedelta(seconds=4))


def test_a_machine_that_does_not_go_down_is_not_rebooted(server: SshServer) -> None:
    with connected(server.login()) as machine:
        _Boots(server, drops=False)
        with pytest.raises(MachineLostError, match="did not go down"):
            machine.reboot(timeout=SHORT)


def test_a_reboot_that_is_not_allowed_says_so(server: SshServer) -> None:
    with connected(server.login()) as machine:
        _Boots(server, code=1)
        with pytest.raises(ProvisioningError, match="cannot ask for a reboot: Access denied"):
            machine.reboot(timeout=SOON)
