"""One SSH connection, on paramiko, hardened: bounded packets and buffers, a deadline for the handshake, dead peers
noticed, the host key pinned, and commands started without a round trip more than SSH needs.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import signal
import socket
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import paramiko
from paramiko.buffered_pipe import BufferedPipe
from paramiko.common import MSG_CHANNEL_REQUEST, cMSG_CHANNEL_REQUEST, cMSG_GLOBAL_REQUEST
from paramiko.packet import NeedRekeyException, Packetizer

from lisa_ci.ssh.keys import HostKey, fingerprint
from lisa_ci.ssh.vitals import Alive

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

MAX_PACKET: Final = 256 * 1024  # bytes; RFC 4253 asks for 35,000 and OpenSSH stops at the same number
WINDOW: Final = 2 * 1024 * 1024  # bytes a channel may have under way, as in OpenSSH
_BLOCK: Final = 128 * 1024
_LOG: Final = "lisa_ci.ssh.paramiko"
_CIPHERS: Final = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "aes128-ctr", "aes256-ctr")
_DIGESTS: Final = ("hmac-sha2-256-etm@openssh.com", "hmac-sha2-512-etm@openssh.com", "hmac-sha2-256", "hmac-sha2-512")
_KEX: Final = ("curve25519-sha256", "ecdh-sha2-", "group14-sha256", "group16-sha512")
_MOST_EXTENSIONS: Final = 64
_LOOK: Final = 0.9  # seconds between two looks at what the platform knows; together with a read's 0.1 s, one second

# paramiko logs what servers send and its own tracebacks; errors reach people as our errors instead.
logging.getLogger(_LOG).addHandler(logging.NullHandler())
logging.getLogger(_LOG).propagate = False

Trouble = paramiko.SSHException | EOFError | OSError


class RefusedError(Exception):
    """The server does not accept our user or key."""


class WrongKeyError(Exception):
    """The server proved itself with another key than the pinned one; carries its fingerprint."""


class Packets(Packetizer):
    """paramiko's packet layer with our own reading and writing: read ahead, never more than MAX_PACKET at once, never
    past ``deadline``, and an end when the peer stays silent for ``silence`` seconds although it was asked for a sign,
    or when ``is_alive`` knows that it is dead.
    """

    # Keys are renewed when the server wants it (OpenSSH has a limit for each cipher), never from our side: a renewal
    # that paramiko begins in the middle of a transfer leaves both sides waiting, about every second time.
    REKEY_BYTES = REKEY_PACKETS = 1 << 60

    def __init__(self, sock: socket.socket, *, first: bytes, silence: float, is_alive: Alive) -> None:
        super().__init__(sock)
        self._wire = sock
        self._ahead = bytearray(first)
        self._is_alive = is_alive
        self.silence = silence
        self.is_silent = False
        self.heard = self._asked = self._looked = time.monotonic()
        self._is_writing = False
        self.deadline: float | None = None
        self.ask: Callable[[], None] | None = None
        self.why_lost = ""

    def start_handshake(self, timeout: float) -> None:
        """paramiko would start a timer thread here that outlives a failed try; ``deadline`` does its work."""

    def read_all(self, n: int, check_rekey: bool = False) -> bytes:  # noqa: FBT001, FBT002, RUF100 - paramiko's signature
        if not 0 <= n <= MAX_PACKET:
            raise paramiko.SSHException(f"a packet of {n} bytes")
        while len(self._ahead) < n:
            if self.deadline is not None and time.monotonic() > self.deadline:
                raise self._lose("the handshake does not end")
            try:
                block = self._wire.recv(_BLOCK)
            except TimeoutError:
                if self.closed:
                    raise EOFError from None
                if check_rekey and not self._ahead and self.need_rekey():
                    raise NeedRekeyException from None
                self._watch()
                continue
            except OSError as error:
                raise self._lose(error.strerror or str(error)) from error
            if not block:
                raise self._lose("the connection was closed")
            self.heard = time.monotonic()
            self._ahead += block
        data = bytes(self._ahead[:n])
        del self._ahead[:n]
        return data

    def readline(self, timeout: float) -> str:  # noqa: ARG002 - paramiko's signature
        """The banner, which ``first`` already holds; paramiko asks for it once."""
        end = self._ahead.find(b"\n")
        if end < 0:
            raise paramiko.SSHException("no SSH banner")
        line = self.read_all(end + 1)
        return line.decode("utf-8", "replace").rstrip("\r\n")

    def write_all(self, out: ReadableBuffer) -> None:
        left = memoryview(out)
        stalled: float | None = None
        self._is_writing = True
        try:
            while left:
                try:
                    left = left[self._wire.send(left) :]
                    stalled = None
                except TimeoutError:
                    stalled = stalled or time.monotonic()
                    if self.closed:
                        raise EOFError from None
                    if time.monotonic() - stalled > self.silence:
                        raise self._lose(f"it takes no data for {self.silence:g} s") from None
                except OSError as error:
                    raise self._lose(error.strerror or str(error)) from error
        finally:
            self._is_writing = False

    def _watch(self) -> None:
        """Called about ten times a second while nothing comes in."""
        now = time.monotonic()
        if now - self._looked > _LOOK:
            self._looked = now
            death = self._is_alive()
            if death is not None:
                raise self._lose(death.why)
        if self.ask is None:
            return
        if now - self.heard > self.silence:
            self.is_silent = True
            raise self._lose(f"silent for {self.silence:g} s")
        if now - max(self.heard, self._asked) > self.silence / 4 and not self._is_writing:
            self._asked = now
            self.ask()

    def _lose(self, why: str) -> EOFError:
        self.why_lost = self.why_lost or why
        return EOFError(why)


class _Buffer(BufferedPipe):  # type: ignore[type-arg]
    """A channel's input that a server cannot fill beyond the window it was given."""

    def feed(self, data: bytes | str) -> None:
        if len(self) + len(data) > WINDOW:
            raise paramiko.SSHException("the server sends more than the window allows")
        super().feed(data)


def _on_request(channel: paramiko.Channel, message: paramiko.Message) -> None:
    """paramiko ignores exit-signal; a command that a signal ended then seems to have never ended."""
    if message.get_text() != "exit-signal":
        message.rewind()
        message.get_int()
        channel._handle_request(message)  # type: ignore[attr-defined]  # noqa: SLF001 - the function we stand before
        return
    message.get_boolean()
    number = getattr(signal, f"SIG{message.get_text()[:16]}", 0)
    channel.exit_status = 128 + int(number if isinstance(number, signal.Signals) else 0)
    channel.status_event.set()


class Link(paramiko.Transport):
    """A connection to one server. ``first`` is what was read from ``sock`` so far, from the SSH banner on.

    ``is_alive`` is asked in the reading thread: once it knows of a death, everything that waits here ends at once.
    """

    packetizer: Packets
    saved_exception: Exception | None

    def __init__(self, sock: socket.socket, *, first: bytes, silence: float, is_alive: Alive) -> None:
        packets = functools.partial(Packets, first=first, silence=silence, is_alive=is_alive)
        super().__init__(sock, packetizer_class=packets)  # type: ignore[arg-type]
        self.set_log_channel(_LOG)
        self._channel_handler_table = {
            **paramiko.Transport._channel_handler_table,  # type: ignore[attr-defined]  # noqa: SLF001 - widened by one
            MSG_CHANNEL_REQUEST: _on_request,
        }

    def get_exception(self) -> Trouble | None:
        """Whatever a hostile server made the reading thread stumble over, as one of three classes."""
        error = super().get_exception()
        if error is None or isinstance(error, Trouble):
            return error
        return paramiko.SSHException(f"broken protocol: {type(error).__name__}")

    def _parse_ext_info(self, msg: paramiko.Message) -> None:
        """paramiko would count to whatever the server claims, and a thread that counts to 4 billion cannot be ended."""
        if msg.get_int() > _MOST_EXTENSIONS:
            raise paramiko.SSHException("the server announces too many extensions")
        msg.rewind()
        super()._parse_ext_info(msg)  # type: ignore[misc]

    @property
    def why_lost(self) -> str:
        """What ended the connection, as far as this side can tell; '' while it stands."""
        error = self.saved_exception
        return self.packetizer.why_lost or (str(error) if isinstance(error, paramiko.SSHException) else "")

    def log_in(self, user: str, key: paramiko.PKey, host_key: HostKey, *, limit: float) -> None:
        """Handshake and login within ``limit`` seconds; RefusedError, WrongKeyError, SSHException, EOFError."""
        deadline = time.monotonic() + limit
        self.packetizer.deadline = deadline
        options = self.get_security_options()
        options.key_types = host_key.algorithms
        options.ciphers = _CIPHERS
        options.digests = _DIGESTS
        options.kex = tuple(name for name in options.kex if any(known in name for known in _KEX))
        done = threading.Event()
        self.start_client(event=done)
        self._await(done, deadline)
        offered = self.get_remote_server_key().asbytes()
        if offered != host_key.blob:
            raise WrongKeyError(fingerprint(offered))
        done = threading.Event()
        self.auth_publickey(user, key, done)
        self._await(done, deadline)
        if not self.is_authenticated():
            raise RefusedError(user)
        self.packetizer.deadline = None
        self.packetizer.ask = self._ask

    def _await(self, done: threading.Event, deadline: float) -> None:
        if not done.wait(max(0.0, deadline - time.monotonic())):
            raise paramiko.SSHException("the handshake does not end")
        if not self.is_active():
            raise self.get_exception() or EOFError("the connection was closed")

    def ask(self) -> float:
        """Ask for a sign of life; any answer is one. When that was, monotonic."""
        now = time.monotonic()
        self._ask()
        return now

    def has_heard_since(self, moment: float) -> bool:
        """Whether anything came after ``moment``, monotonic."""
        return self.packetizer.heard > moment

    def _ask(self) -> None:
        """Runs in the reading thread, too, so it must not wait."""
        if self.clear_to_send.is_set():
            message = paramiko.Message()
            message.add_byte(cMSG_GLOBAL_REQUEST)
            message.add_string("keepalive@openssh.com")
            message.add_boolean(True)  # noqa: FBT003, RUF100 - paramiko's signature
            self._send_user_message(message)  # type: ignore[attr-defined]

    def execute(self, command: bytes, *, limit: float) -> paramiko.Channel:
        """Start ``command``. Does not wait for the server's consent: a refusal shows as a channel that closes."""
        channel = self.open_session(timeout=limit)
        channel.in_buffer = _Buffer()
        channel.in_stderr_buffer = _Buffer()
        message = paramiko.Message()
        message.add_byte(cMSG_CHANNEL_REQUEST)
        message.add_int(channel.remote_chanid)
        message.add_string("exec")
        message.add_boolean(True)  # noqa: FBT003, RUF100 - paramiko's signature
        message.add_string(command)
        self._send_user_message(message)  # type: ignore[attr-defined]
        return channel

    def close(self) -> None:
        """Idempotent; returns when the reading thread is gone."""
        with contextlib.suppress(OSError):  # it is closed already
            self.sock.shutdown(socket.SHUT_RDWR)
        super().close()
        self.sock.close()
        if self.is_alive() and self is not threading.current_thread():
            self.join(5)
