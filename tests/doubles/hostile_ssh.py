"""An SSH server that does everything right up to one message, and then something wrong with it."""

from __future__ import annotations

import contextlib
import random
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import paramiko
from paramiko.common import cMSG_CHANNEL_REQUEST

from lisa_ci.ssh import KeyPair, Login, make_key


class Step(Enum):
    """The server's messages, by their numbers in RFC 4250, in the order of a connection with one command."""

    KEXINIT = 20
    KEX_REPLY = 31
    NEWKEYS = 21
    SERVICE_ACCEPT = 6
    USERAUTH_SUCCESS = 52
    CHANNEL_OPEN_CONFIRMATION = 91
    CHANNEL_SUCCESS = 99
    CHANNEL_DATA = 94
    CHANNEL_REQUEST = 98  # the exit status
    CHANNEL_EOF = 96
    CHANNEL_CLOSE = 97


class Deed(StrEnum):
    """What the server does in place of the message, or with it."""

    HANG = "hangs"
    CLOSE = "closes"
    NOISE = "random bytes"
    EMPTY = "no fields"
    HUGE = "huge fields"
    AGAIN = "again and again"
    OTHER = "another message"
    LONG = "200 kB more"


Change = Callable[["HostileTransport", bytes], bytes | None]


def deed_at(step: Step, deed: Deed) -> Change:
    """A change of the message at ``step``: gives the payload to send, None for nothing."""
    chance = random.Random(f"{step} {deed}")

    def change(transport: HostileTransport, payload: bytes) -> bytes | None:
        if transport.is_mute or payload[0] != step.value:
            return None if transport.is_mute else payload
        changed: bytes | None = payload
        match deed:
            case Deed.HANG:
                transport.is_mute = True
                changed = None
            case Deed.CLOSE:
                transport.shut()
                changed = None
            case Deed.NOISE:
                changed = payload[:1] + chance.randbytes(chance.randrange(1, 80))
            case Deed.EMPTY:
                changed = payload[:1]
            case Deed.HUGE:
                changed = payload[:1] + b"\xff" * 40
            case Deed.AGAIN:
                transport.repeats = payload
            case Deed.OTHER:
                changed = bytes([chance.choice([one.value for one in Step if one is not step])]) + payload[1:]
            case Deed.LONG:
                changed = payload + bytes(200_000)
        return changed

    return change


def any_change(seed: int) -> Change:
    """Now and then a message with a few bytes of it changed, left out or doubled."""
    chance = random.Random(seed)

    def change(transport: HostileTransport, payload: bytes) -> bytes | None:
        if chance.random() > 0.15:
            return payload
        place = chance.randrange(len(payload))
        match chance.randrange(4):
            case 0:
                return payload[:place] + chance.randbytes(1) + payload[place + 1 :]
            case 1:
                return payload[: place + 1]
            case 2:
                return payload + payload[place:]
            case _:
                return None

    return change


class HostileTransport(paramiko.Transport):
    """``change`` sees the payload of every message before it is encrypted."""

    def __init__(self, sock: socket.socket, change: Change) -> None:
        super().__init__(sock)
        self.packetizer.start_handshake = lambda _: None  # type: ignore[method-assign]  # a timer that outlives us
        self.set_log_channel("lisa_ci.ssh.paramiko")
        self._change = change
        self.is_mute = False
        self.repeats = b""

    def shut(self) -> None:
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)

    def _send_message(self, data: Any) -> None:
        payload = self._change(self, data.asbytes())
        if payload:
            super()._send_message(paramiko.Message(payload))  # type: ignore[misc]

    def repeat(self) -> None:
        """Send ``repeats`` for as long as somebody is there, once a run of the connection came so far."""
        while self.is_active():
            if self.repeats:
                with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
                    for _ in range(100):
                        super()._send_message(paramiko.Message(self.repeats))  # type: ignore[misc]
            time.sleep(0.01)


@dataclass(slots=True)
class HostileServer:
    """``with HostileServer(folder, change) as server: connect(server.login(), ...)``. Every command prints ``fine``."""

    folder: Path
    change: Change
    host: KeyPair = field(init=False)
    client: KeyPair = field(init=False)
    _listener: socket.socket = field(init=False)
    _threads: list[threading.Thread] = field(default_factory=list)
    _transports: list[HostileTransport] = field(default_factory=list)
    _is_closing: bool = False

    def __post_init__(self) -> None:
        self.host = make_key(self.folder, "host")
        self.client = make_key(self.folder, "client")
        self._listener = socket.create_server(("127.0.0.1", 0))

    def login(self) -> Login:
        port = int(self._listener.getsockname()[1])
        return Login(host="127.0.0.1", port=port, user="root", key=self.client.private, host_key=self.host.public)

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_closing = True
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for transport in self._transports:
            transport.shut()
            transport.close()
            if transport.ident is not None:
                transport.join(10)
            transport.sock.close()
        for thread in self._threads:
            thread.join(10)
            assert not thread.is_alive(), thread.name

    def _start(self, work: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, name=work.__name__, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._is_closing:
            with contextlib.suppress(OSError):
                sock, _ = self._listener.accept()
                self._start(self._serve, sock)

    def _serve(self, sock: socket.socket) -> None:
        transport = HostileTransport(sock, self.change)
        transport.add_server_key(paramiko.Ed25519Key.from_private_key_file(str(self.host.private)))
        self._transports.append(transport)
        with contextlib.suppress(paramiko.SSHException, EOFError, OSError, ValueError):
            transport.start_server(server=_Interface(self))
            transport.repeat()

    def answer(self, channel: paramiko.Channel) -> None:
        """What every command prints, and its exit."""
        self._start(self._answer, channel)

    def _answer(self, channel: paramiko.Channel) -> None:
        with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
            time.sleep(0.02)  # after the reply to the request, so that the messages come in the order of ``Step``
            channel.sendall(b"\nlisa-ci-group 0\nfine\n")
            message = paramiko.Message()
            message.add_byte(cMSG_CHANNEL_REQUEST)
            message.add_int(channel.remote_chanid)
            message.add_string("exit-status")
            message.add_boolean(False)
            message.add_int(0)
            channel.transport._send_user_message(message)  # type: ignore[attr-defined]
            channel.shutdown_write()
            channel.close()


class _Interface(paramiko.ServerInterface):
    def __init__(self, server: HostileServer) -> None:
        self._server = server

    def get_allowed_auths(self, username: str) -> str:
        return "publickey"

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        return paramiko.AUTH_SUCCESSFUL

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return paramiko.OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        self._server.answer(channel)
        return True
