"""An SSH server on loopback, by paramiko, that runs commands under the local /bin/sh or answers by a function, and
misbehaves on request. It stands in for a machine wherever a test needs one that fails in a certain way.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import paramiko
from paramiko.common import cMSG_CHANNEL_DATA, cMSG_CHANNEL_REQUEST, cMSG_EXT_INFO

from lisa_ci.model import Become
from lisa_ci.ssh import KeyPair, Login, make_key


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a command does: its output, and its exit (None: the channel is closed without any)."""

    stdout: bytes = b""
    stderr: bytes = b""
    exit: int | None = 0


@dataclass(slots=True, kw_only=True)
class Faults:
    """Counters are used up by each connection or login they spoil; everything else holds until it is reset."""

    silent_connections: int = 0  # accepts, says nothing, keeps the connection
    closed_connections: int = 0  # accepts and closes
    greeting: bytes | None = None  # sent instead of SSH; repeated until the client goes away
    stops_after_banner: bool = False  # a banner, then nothing
    drips_after_banner: bool = False  # a banner, then SSH "ignore" messages for ever
    first_packet_length: int | None = None  # a banner, then a packet that claims this length
    endless_extensions: bool = False  # at the login: an extension list that claims 4 billion entries
    refused_logins: int = 0
    refuses_exec: bool = False
    hangs_after_exit: bool = False  # tells a command's exit, as sshd does before all of the output, and nothing more
    overruns_window: bool = False  # sends stdout without caring for the window


class _Wire:
    """A socket that can go silent without closing, as a machine that hangs."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self.is_mute = False

    @property
    def _closed(self) -> bool:
        return self._sock.fileno() < 0

    def settimeout(self, seconds: float | None) -> None:
        self._sock.settimeout(seconds)

    def recv(self, size: int) -> bytes:
        if self.is_mute:
            time.sleep(0.05)
            raise TimeoutError
        return self._sock.recv(size)

    def send(self, data: bytes) -> int:
        return len(data) if self.is_mute else self._sock.send(data)

    def getpeername(self) -> object:
        return self._sock.getpeername()

    def close(self) -> None:
        self._sock.close()


@dataclass(slots=True)
class SshServer:
    """``with SshServer(folder) as server: connect(server.login(), ...)``. Keys are made in ``folder``; commands run in
    ``folder/home``. ``answer`` replaces the shell: it gets the command line, None from it means "run it after all".
    """

    folder: Path
    answer: Callable[[str], Answer | None] | None = None
    faults: Faults = field(default_factory=Faults)
    commands: list[str] = field(default_factory=list)
    host: KeyPair = field(init=False)
    client: KeyPair = field(init=False)
    home: Path = field(init=False)
    _listener: socket.socket = field(init=False)
    _sockets: list[socket.socket] = field(default_factory=list)
    _wires: list[_Wire] = field(default_factory=list)
    _transports: list[paramiko.Transport] = field(default_factory=list)
    _threads: list[threading.Thread] = field(default_factory=list)
    _processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    _is_closing: bool = False

    def __post_init__(self) -> None:
        self.home = self.folder / "home"
        self.home.mkdir(parents=True)
        self.host = make_key(self.folder, "host")
        self.client = make_key(self.folder, "client")

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    def login(self, *, become: Become = Become.NONE, host_key: str | None = None, key: Path | None = None) -> Login:
        return Login(
            host="127.0.0.1",
            port=self.port,
            user="root",
            key=key or self.client.private,
            host_key=self.host.public if host_key is None else host_key,
            become=become,
        )

    # ---- life ------------------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._start(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_closing = True
        self.stop_listening()
        self.drop()
        for process in self._processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        for thread in self._threads:
            thread.join(10)
            assert not thread.is_alive(), f"{thread.name} does not end"

    def stop_listening(self) -> None:
        """New connections are refused. Shutting down first ends the thread that waits for one."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def freeze(self) -> None:
        """No byte passes on the connections there are, but they stay; new ones are not touched."""
        for wire in self._wires:
            wire.is_mute = True

    def drop(self) -> None:
        """Cut every connection, as a machine that crashes."""
        for sock in self._sockets:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for transport in self._transports:
            transport.close()
            if transport.ident is not None:
                transport.join(10)
        for sock in self._sockets:
            sock.close()
        self._transports.clear()
        self._sockets.clear()

    def _start(self, work: Callable[..., None], *arguments: object) -> threading.Thread:
        thread = threading.Thread(target=work, args=arguments, name=work.__name__, daemon=True)
        self._threads.append(thread)
        thread.start()
        return thread

    # ---- connections -----------------------------------------------------------------------------------------------

    def _accept(self) -> None:
        while not self._is_closing:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self._sockets.append(sock)
            if self.faults.closed_connections:
                self.faults.closed_connections -= 1
                sock.close()
            elif self.faults.silent_connections:
                self.faults.silent_connections -= 1
            else:
                self._start(self._serve, sock)

    def _serve(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError):
            faults = self.faults
            if faults.greeting is not None:
                while not self._is_closing:
                    sock.sendall(faults.greeting)
                    time.sleep(0.001)
            elif faults.first_packet_length is not None:
                sock.sendall(b"SSH-2.0-double\r\n" + struct.pack(">IB", faults.first_packet_length, 4))
                while not self._is_closing:
                    sock.sendall(bytes(65536))
            elif faults.stops_after_banner or faults.drips_after_banner:
                sock.sendall(b"SSH-2.0-double\r\n")
                while faults.drips_after_banner and not self._is_closing:
                    # packet length, padding length, SSH_MSG_IGNORE, its empty string, padding
                    sock.sendall(struct.pack(">IBBI", 12, 6, 2, 0) + bytes(6))
                    time.sleep(0.02)
            else:
                self._speak_ssh(sock)

    def _speak_ssh(self, sock: socket.socket) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        wire = _Wire(sock)
        self._wires.append(wire)
        transport = paramiko.Transport(wire)  # type: ignore[arg-type]
        transport.set_log_channel("lisa_ci.ssh.paramiko")
        transport.add_server_key(paramiko.Ed25519Key.from_private_key_file(str(self.host.private)))
        self._transports.append(transport)
        with contextlib.suppress(paramiko.SSHException, EOFError):
            transport.start_server(server=_Interface(self))

    def send_endless_extensions(self) -> None:
        message = paramiko.Message()
        message.add_byte(cMSG_EXT_INFO)
        message.add_int(0xFFFFFFFF)
        self._transports[-1]._send_message(message)

    # ---- commands --------------------------------------------------------------------------------------------------

    def execute(self, channel: paramiko.Channel, line: str) -> None:
        self.commands.append(line)
        self._start(self._execute, channel, line)

    def _execute(self, channel: paramiko.Channel, line: str) -> None:
        with contextlib.suppress(OSError, paramiko.SSHException, EOFError):
            if self.faults.overruns_window:
                _overrun(channel)
                return
            answer = self.answer(line) if self.answer else None
            if answer is None:
                self._run(channel, line)
                return
            if self.faults.hangs_after_exit and answer.exit is not None:
                channel.send_exit_status(answer.exit)
                self.freeze()
                return
            channel.sendall_stderr(answer.stderr)
            channel.sendall(answer.stdout)
            if answer.exit is not None:
                channel.send_exit_status(answer.exit)
            channel.shutdown_write()
            channel.close()

    def _run(self, channel: paramiko.Channel, line: str) -> None:
        process = subprocess.Popen(
            ["/bin/sh", "-c", line],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=self.home,
            start_new_session=True,
        )
        self._processes.append(process)
        assert process.stdin
        assert process.stdout
        assert process.stderr
        with process.stdout, process.stderr:
            self._start(_feed, channel, process)
            errors = self._start(_pour, process.stderr.fileno(), channel.sendall_stderr)
            # As sshd: the exit is told at once, the channel closes when nobody holds the outputs any more.
            exit_ = self._start(_tell_exit, channel, process)
            _pour(process.stdout.fileno(), channel.sendall)
            errors.join()
            exit_.join()
        channel.shutdown_write()
        channel.close()


class _Interface(paramiko.ServerInterface):
    def __init__(self, server: SshServer) -> None:
        self._server = server

    def get_allowed_auths(self, username: str) -> str:
        return "publickey"

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        if self._server.faults.endless_extensions:
            self._server.send_endless_extensions()
        if self._server.faults.refused_logins:
            self._server.faults.refused_logins -= 1
            return paramiko.AUTH_FAILED
        is_ours = self._server.client.public.split()[1] == key.get_base64()
        return paramiko.AUTH_SUCCESSFUL if is_ours else paramiko.AUTH_FAILED

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return paramiko.OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        if self._server.faults.refuses_exec:
            return False
        self._server.execute(channel, command.decode("utf-8", "surrogateescape"))
        return True


def _feed(channel: paramiko.Channel, process: subprocess.Popen[bytes]) -> None:
    assert process.stdin
    with contextlib.suppress(OSError, ValueError), process.stdin:
        while data := channel.recv(65536):
            process.stdin.write(data)
            process.stdin.flush()


def _pour(source: int, send: Callable[[bytes], None]) -> None:
    with contextlib.suppress(OSError):
        while data := os.read(source, 65536):
            send(data)


def _tell_exit(channel: paramiko.Channel, process: subprocess.Popen[bytes]) -> None:
    code = process.wait()
    with contextlib.suppress(OSError, paramiko.SSHException, EOFError):
        if code >= 0:
            channel.send_exit_status(code)
        else:
            _send_exit_signal(channel, signal.Signals(-code).name.removeprefix("SIG"))


def _send_exit_signal(channel: paramiko.Channel, name: str) -> None:
    message = paramiko.Message()
    message.add_byte(cMSG_CHANNEL_REQUEST)
    message.add_int(channel.remote_chanid)
    message.add_string("exit-signal")
    message.add_boolean(False)
    message.add_string(name)
    message.add_boolean(False)
    message.add_string("")
    message.add_string("")
    channel.transport._send_user_message(message)


def _overrun(channel: paramiko.Channel) -> None:
    while channel.transport.is_active() and not channel.closed:
        message = paramiko.Message()
        message.add_byte(cMSG_CHANNEL_DATA)
        message.add_int(channel.remote_chanid)
        message.add_string(bytes(32768))
        channel.transport._send_user_message(message)
