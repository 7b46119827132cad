"""An SSH server in this process, whose commands run in a ``SmallWorld``, and which breaks on purpose: a fault strikes
at a chosen byte of a chosen stream, or a chosen time after the runner began.
"""

from __future__ import annotations

import contextlib
import random
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from types import TracebackType
from typing import Final, Self

import paramiko

from lisa_ci.ssh import KeyPair
from tests.doubles.small_world import SmallWorld

PANIC: Final = (
    b"[   42.000001] Kernel panic - not syncing: sysrq triggered crash\n"
    b"[   42.000002] CPU: 0 PID: 1 Comm: sh Not tainted 6.1.0 #1\n"
    b"[   42.000003] ---[ end Kernel panic - not syncing: sysrq triggered crash ]---\n"
)
_BOOTING: Final = 0.15  # seconds in which a machine that reboots closes every connection


class Kind(StrEnum):
    """What goes wrong."""

    NOTHING = "nothing"
    # the way to the machine
    CUT = "connection cut"
    STALL = "connection stalls"
    GARBLE = "bytes garbled on the wire"
    SSHD = "sshd dead"
    NETWORK = "network gone"
    SLOW = "slow link"
    # what the runner says
    NOISE = "garbage between frames"
    FORGED = "forged frame"
    TWICE = "frame twice"
    SWAPPED = "frames out of order"
    # the machine
    PANIC = "panic, noticed"
    DARK = "crash, not noticed"
    HANG = "machine hangs"
    REBOOT = "reboot"
    FULL = "disk full"
    CHATTER = "console chatter"
    # the runner in it
    RUNNER_KILLED = "runner killed"
    RUNNER_PART_KILLED = "part of the runner killed"
    RUNNER_STOPPED = "runner stopped"
    # bringing it back
    PROVISION = "next provisioning fails"
    RESTORE = "restore fails"


LOUD: Final = frozenset({Kind.NOISE, Kind.FORGED, Kind.TWICE, Kind.SWAPPED})
"""Faults that change what the runner says."""


class Stream(StrEnum):
    """Where a fault waits. RUNNER: bytes the runner said; OUT, IN: bytes of the connection, from and to the machine;
    TIME: milliseconds since the runner began. NONE: it waits for the next recovery.
    """

    RUNNER = "runner"
    OUT = "out"
    IN = "in"
    TIME = "time"
    NONE = "none"


@dataclass(slots=True, kw_only=True)
class Fault:
    kind: Kind
    stream: Stream = Stream.RUNNER
    at: int = 0
    has_fired: bool = False

    def __str__(self) -> str:
        return self.kind if self.stream is Stream.NONE else f"{self.kind} at {self.stream}:{self.at}"


Told = Callable[[str], None]


class _Wire:
    """The server's end of a connection. Counts bytes both ways, and stops, breaks or crawls where it is told to."""

    def __init__(self, sock: socket.socket, server: FaultyServer) -> None:
        self._sock = sock
        self._server = server
        self.is_mute = False

    @property
    def _closed(self) -> bool:  # paramiko asks for it
        return self._sock.fileno() < 0

    def settimeout(self, seconds: float | None) -> None:
        self._sock.settimeout(seconds)

    def recv(self, size: int) -> bytes:
        data = self._sock.recv(size)
        self._server.passes(Stream.IN, len(data), self)
        if self.is_mute:
            time.sleep(0.02)
            raise TimeoutError
        return data

    def send(self, data: bytes) -> int:
        server = self._server
        if server.is_slow:
            data = data[:97]
            time.sleep(0.0005)
        room = server.room(Stream.OUT)
        fault = None
        if room is not None and room < len(data) and not self.is_mute:
            self._send_all(data[:room])
            fault = server.passes(Stream.OUT, len(data), self)
            data = data[room:]
        else:
            room = 0
            server.passes(Stream.OUT, len(data), self)
        if self.is_mute:
            return room + len(data)
        if fault is not None and fault.kind is Kind.GARBLE:
            data = bytes(byte ^ 0x55 for byte in data)
        self._send_all(data)
        return room + len(data)

    def _send_all(self, data: bytes) -> None:
        deadline = time.monotonic() + 30
        while data:
            try:
                data = data[self._sock.send(data) :]
            except TimeoutError:
                if time.monotonic() > deadline:
                    raise

    def getpeername(self) -> object:
        return self._sock.getpeername()

    def cut(self) -> None:
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._sock.close()


class FaultyServer:
    """sshd of a ``SmallWorld``, with the faults of the machine. ``faults`` are shared by all machines of a leg."""

    def __init__(
        self, world: SmallWorld, keys: tuple[KeyPair, KeyPair], faults: list[Fault], chance: random.Random, told: Told
    ) -> None:
        self.world = world
        self.died = ""
        self.is_slow = False
        self.is_calm = False
        self._host, self._client = keys
        self._faults = faults
        self._chance = chance
        self._told = told
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._counts = dict.fromkeys(Stream, 0)
        self._wires: list[_Wire] = []
        self._sockets: list[socket.socket] = []
        self._transports: list[paramiko.Transport] = []
        self._threads: list[threading.Thread] = []
        self._processes: list[subprocess.Popen[bytes]] = []
        self._lock = threading.Lock()
        self._is_closing = False
        self._mute_until = 0.0  # monotonic; new connections get no answer
        self._closed_until = 0.0  # monotonic; new connections are closed
        self.console = world.folder / "console.log"
        self.console.touch()

    # ---- life ------------------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_closing = True
        self._stop_listening()
        self.drop()
        self.world.destroy()
        for process in self._processes:
            process.wait(10)
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(10)
                assert not thread.is_alive(), f"{thread.name} of the double does not end"

    def drop(self) -> None:
        """Cut every connection and forget it."""
        wires, self._wires = self._wires, []
        for wire in wires:
            wire.cut()
        transports, self._transports = self._transports, []
        for transport in transports:
            transport.close()
            if transport.ident is not None:
                transport.join(10)
        sockets, self._sockets = self._sockets, []
        for sock in sockets:
            sock.close()

    @property
    def is_in_reach(self) -> bool:
        """Whether lisa-ci can come in and clean up."""
        now = time.monotonic()
        return self.world.is_up and not self.world.is_frozen and now >= max(self._mute_until, self._closed_until)

    def revive(self) -> None:
        """After a restore: the server is as it was, whatever happened to it."""
        self.died = ""
        self._mute_until = self._closed_until = 0.0

    def _stop_listening(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _start(self, work: Callable[..., None], *arguments: object) -> threading.Thread:
        thread = threading.Thread(target=work, args=arguments, name=work.__name__, daemon=True)
        self._threads.append(thread)
        thread.start()
        return thread

    # ---- faults ----------------------------------------------------------------------------------------------------

    def _due(self, stream: Stream) -> Fault | None:
        return next((fault for fault in self._faults if fault.stream is stream and not fault.has_fired), None)

    def room(self, stream: Stream) -> int | None:
        """Bytes until the next fault of this stream; None where none waits."""
        fault = self._due(stream)
        return None if fault is None else max(0, fault.at - self._counts[stream])

    def passes(self, stream: Stream, count: int, wire: _Wire | None = None) -> Fault | None:
        """``count`` units went by; the fault that this set off."""
        with self._lock:
            self._counts[stream] += count
            fault = self._due(stream)
            if fault is None or self._counts[stream] < fault.at or self.is_calm:
                return None
            fault.has_fired = True
        self._fire(fault, wire)
        return fault

    def _fire(self, fault: Fault, wire: _Wire | None) -> None:
        """What must happen at this very byte happens now, the rest in a thread of its own."""
        self._told(f"fault {fault}")
        mute = fault.kind in {Kind.STALL, Kind.DARK, Kind.HANG, Kind.NETWORK, Kind.PANIC, Kind.REBOOT}
        for one in list(self._wires):
            if mute:
                one.is_mute = True
            elif fault.kind in {Kind.CUT, Kind.SSHD}:
                one.cut()
        if fault.kind in {Kind.DARK, Kind.HANG, Kind.NETWORK}:
            self._mute_until = time.monotonic() + 1000
        elif fault.kind in {Kind.SSHD, Kind.PANIC}:
            self._closed_until = time.monotonic() + 1000
        elif fault.kind is Kind.REBOOT:
            self._closed_until = time.monotonic() + _BOOTING
        elif fault.kind is Kind.SLOW:
            self.is_slow = True
        self._start(self._strike, fault.kind)

    def _strike(self, kind: Kind) -> None:
        match kind:
            case Kind.PANIC:
                self._print(PANIC)
                self.world.crash()
                self.died = "the guest's kernel panicked"
                self._cut_all()
            case Kind.DARK:
                self.world.crash()
            case Kind.HANG:
                self.world.freeze()
            case Kind.REBOOT:
                self.world.reboot()
                self._cut_all()
            case Kind.FULL:
                self.world.fill(self._chance.choice(("/var/tmp", "/run")))
            case Kind.CHATTER:
                for _ in range(200):
                    self._print(self._chance.randbytes(300).replace(b"panic", b"") + b"\n")
            case Kind.RUNNER_KILLED:
                self.world.signal(9, b"runner.sh")
            case Kind.RUNNER_STOPPED:
                self.world.signal(19, b"runner.sh")
            case Kind.RUNNER_PART_KILLED:
                self.world.kill_one(b"runner.sh", self._chance, among=self._parts())
            case _:
                pass

    def _parts(self) -> set[int]:
        """Process ids, inside, of main, keeper, ticker and supervisor: a case that was just forked looks like them."""
        for place in ("/run", "/dev/shm"):
            for path in self.world.inside(place).glob("lisa-ci-run.*/run"):
                with contextlib.suppress(OSError, ValueError, IndexError):
                    words = path.read_text().split()
                    return {int(word) for word in (words[1], *words[5:8])}
        return set()

    def _cut_all(self) -> None:
        for wire in list(self._wires):
            wire.cut()

    def _print(self, text: bytes) -> None:
        with self.console.open("ab") as file:
            file.write(text)

    def _count_time(self) -> None:
        """Milliseconds since the first runner began."""
        while not self._is_closing and self._due(Stream.TIME) is not None:
            time.sleep(0.002)
            self.passes(Stream.TIME, 2)

    # ---- connections -----------------------------------------------------------------------------------------------

    def _accept(self) -> None:
        while not self._is_closing:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            now = time.monotonic()
            if now < self._closed_until:
                sock.close()
                continue
            self._sockets.append(sock)
            if now >= self._mute_until:
                self._start(self._serve, sock)

    def _serve(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError, paramiko.SSHException, EOFError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            wire = _Wire(sock, self)
            self._wires.append(wire)
            transport = paramiko.Transport(wire)  # type: ignore[arg-type]
            transport.packetizer.start_handshake = lambda _: None  # type: ignore[method-assign]  # a timer outlives us
            transport.set_log_channel("lisa_ci.ssh.paramiko")
            transport.add_server_key(paramiko.Ed25519Key.from_private_key_file(str(self._host.private)))
            self._transports.append(transport)
            transport.start_server(server=_Interface(self, self._client.public.split()[1]))

    def execute(self, channel: paramiko.Channel, line: str) -> None:
        self._start(self._execute, channel, line)

    def _execute(self, channel: paramiko.Channel, line: str) -> None:
        with contextlib.suppress(OSError, paramiko.SSHException, EOFError):
            process = self.world.popen(line)
            self._processes.append(process)
            assert process.stdin
            assert process.stdout
            assert process.stderr
            is_runner = "/runner.sh " in line
            if is_runner and self._due(Stream.TIME) is not None:
                self._start(self._count_time)
            self._start(_feed, channel, process)
            errors = self._start(_pour, process.stderr.read, channel.sendall_stderr)
            exit_ = self._start(_tell_exit, channel, process)
            with process.stderr:
                with process.stdout as out:  # closed with the connection, as by sshd: who writes into it is told
                    _pour(_Tap(out.read, self, self._chance).read if is_runner else out.read, channel.sendall)
                errors.join()
            exit_.join()
            channel.shutdown_write()
            channel.close()


class _Tap:
    """What the runner says, with what faults make of it."""

    def __init__(self, read: Callable[[int], bytes], server: FaultyServer, chance: random.Random) -> None:
        self._read = read
        self._server = server
        self._chance = chance
        self._kept = b""

    def read(self, limit: int) -> bytes:
        data = self._read(limit)
        if self._kept and data:
            data, self._kept = data + self._kept, b""
        room = self._server.room(Stream.RUNNER)
        if room is None or room >= len(data):
            self._server.passes(Stream.RUNNER, len(data))
            return data
        fault = self._server.passes(Stream.RUNNER, len(data))
        if fault is None or fault.kind not in LOUD:
            return data
        before, after = data[:room], data[room:]
        match fault.kind:
            case Kind.NOISE:
                return before + self._chance.randbytes(self._chance.randrange(1, 60)) + after
            case Kind.FORGED:
                number = self._chance.randrange(12)
                facts = b"exit=0 wall_ms=1 cpu_us=1 memory=1 dropped=0 lost=0 timeout=0"
                return data + b"END %d %d\n%s" % (number, len(facts), facts)
            case Kind.TWICE:
                return data + data
            case _:
                self._kept = data
                return self._read(limit) or data


class _Interface(paramiko.ServerInterface):
    def __init__(self, server: FaultyServer, client: str) -> None:
        self._server = server
        self._key = client

    def get_allowed_auths(self, username: str) -> str:
        return "publickey"

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        return paramiko.AUTH_SUCCESSFUL if key.get_base64() == self._key else paramiko.AUTH_FAILED

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return paramiko.OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        self._server.execute(channel, command.decode("utf-8", "surrogateescape"))
        return True


def _feed(channel: paramiko.Channel, process: subprocess.Popen[bytes]) -> None:
    assert process.stdin
    with contextlib.suppress(OSError, ValueError, EOFError, paramiko.SSHException), process.stdin:
        while data := channel.recv(65536):
            process.stdin.write(data)


def _pour(read: Callable[[int], bytes], send: Callable[[bytes], None]) -> None:
    with contextlib.suppress(OSError, ValueError, EOFError, paramiko.SSHException):
        while data := read(65536):
            send(data)


def _tell_exit(channel: paramiko.Channel, process: subprocess.Popen[bytes]) -> None:
    code = process.wait()
    with contextlib.suppress(OSError, paramiko.SSHException, EOFError):
        channel.send_exit_status(code if code >= 0 else 128 - code)
