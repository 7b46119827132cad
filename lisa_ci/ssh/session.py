"""One command in a machine: bytes both ways, its errors, its exit."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Final

import paramiko

from lisa_ci.errors import MachineLostError
from lisa_ci.ssh.link import Link

ERRORS: Final = 64 * 1024  # bytes of stderr kept
SEND: Final = 32 * 1024  # bytes per packet; OpenSSH takes no more
_SLICE: Final = 0.5  # seconds between two looks at stderr while stdout is silent
_AFTER_EXIT: Final = 1.0  # seconds of silence after a command's exit that end it, though a child holds its output
TROUBLES: Final = (paramiko.SSHException, EOFError, OSError)


class InputClosedError(MachineLostError):
    """The command no longer takes input: it ended, or was never started. Its exit and errors say why."""


class Session:
    """A running command; implements ``protocols.Channel``. ``lost`` turns a reason into our error."""

    def __init__(
        self, link: Link, channel: paramiko.Channel, *, lost: Callable[[str], MachineLostError], patience: float
    ) -> None:
        self._link = link
        self._channel = channel
        self._lost = lost
        self._errors = bytearray()
        self._patience = patience
        channel.settimeout(patience)

    def send(self, data: bytes) -> None:
        """All of ``data``, or MachineLostError (InputClosedError when only the command is gone)."""
        left = memoryview(data)
        while left:
            left = left[self.send_some(left) :]

    def send_some(self, data: memoryview) -> int:
        """A part of ``data``, at least one byte, as soon as there is room."""
        deadline = time.monotonic() + self._patience
        while True:
            try:
                count = self._channel.send(bytes(data[:SEND]))
            except TimeoutError:
                # paramiko has one timeout for both ways, and "receive" may have shortened it in another thread.
                if time.monotonic() < deadline:
                    continue
                raise self._lost(f"a command takes no input for {self._patience:g} s") from None
            except TROUBLES as error:
                raise self._ended(str(error)) from error
            if not count:
                raise self._ended("its input is closed")
            return count

    def _ended(self, why: str) -> MachineLostError:
        if self._link.is_active() and self._channel.closed:
            return InputClosedError(f"the command takes no input any more: {why}")
        return self._lost(why)

    @property
    def takes_input(self) -> bool:
        """Whether ``send_some`` would not wait."""
        return self._channel.send_ready()

    def end_input(self) -> None:
        """The command reads end of file. A dead connection shows at the next read."""
        with contextlib.suppress(*TROUBLES):
            self._channel.shutdown_write()

    def receive(self, limit: int, timeout: timedelta) -> bytes:
        """At most ``limit`` bytes as soon as there are some; b"" at the end; TimeoutError; MachineLostError."""
        deadline = time.monotonic() + timeout.total_seconds()
        while True:
            self._drain()
            rest = deadline - time.monotonic()
            self._channel.settimeout(min(max(rest, 0.0), _SLICE))
            try:
                data = self._channel.recv(limit)
            except TimeoutError:
                if rest <= _SLICE:
                    raise TimeoutError(f"nothing came for {timeout.total_seconds():g} s") from None
                continue
            except TROUBLES as error:
                raise self._lost(str(error)) from error
            finally:
                self._channel.settimeout(self._patience)
            if not data and not self._channel.eof_received and not self._link.is_active():
                raise self._lost("the connection ended")
            return data

    def _drain(self) -> None:
        """stderr shares stdout's window: a command that fills it would stop us both."""
        while self._channel.recv_stderr_ready():
            try:
                data = self._channel.recv_stderr(256 * 1024)
            except TROUBLES as error:
                raise self._lost(str(error)) from error
            self._errors += data[: ERRORS - len(self._errors)]

    def errors(self) -> bytes:
        """What the command wrote to stderr so far: the first 64 KiB."""
        self._drain()
        return bytes(self._errors)

    @property
    def has_exited(self) -> bool:
        return self._channel.status_event.is_set() and self._channel.exit_status >= 0

    def rest(
        self, deadline: float, take: Callable[[bytes], None], stdin: bytes = b"", *, is_whole: bool = False
    ) -> int | None:
        """Feed ``stdin``, hand all output to ``take``; the exit code, or None when ``deadline`` came first.

        sshd tells the exit before it sent all output, and a child in the background may keep the output open for ever.
        ``is_whole`` waits for the real end; else silence after the exit is taken for it, on a connection that lives.
        """
        left = memoryview(stdin)
        if not left:
            self.end_input()
        quiet_since: float | None = None  # since when the command has ended and said nothing, and the server was asked
        while True:
            left = self._feed(left)
            now = time.monotonic()
            wait = (0.0 if self.takes_input else 0.01) if left else 0.2
            try:
                data = self.receive(256 * 1024, timedelta(seconds=max(0.0, min(deadline - now, wait))))
            except TimeoutError:
                if now >= deadline:
                    return self._channel.exit_status if self.has_exited else None
                if self.has_exited and not is_whole:
                    quiet_since = quiet_since or self._link.ask()
                    if now - quiet_since >= _AFTER_EXIT and self._link.has_heard_since(quiet_since):
                        return self._channel.exit_status
                continue
            if not data:
                return self._exit(deadline)
            take(data)
            quiet_since = None
            if time.monotonic() >= deadline:
                return self._channel.exit_status if self.has_exited else None

    def _feed(self, left: memoryview) -> memoryview:
        """Send what there is room for; what is left. A command that takes no more input may still print."""
        if not left or not self.takes_input:
            return left
        try:
            left = left[self.send_some(left) :]
        except InputClosedError:
            left = left[:0]
        if not left:
            self.end_input()
        return left

    def _exit(self, deadline: float) -> int | None:
        """After the end of the output: a command may close it long before it ends."""
        while not self._channel.status_event.wait(max(0.0, min(deadline - time.monotonic(), _SLICE))):
            if not self._link.is_active():
                raise self._lost("the connection ended")
            if time.monotonic() >= deadline:
                return None
            self._drain()
        if self._channel.exit_status < 0:
            raise self._lost("the server ended the command, or refused it, without saying how")
        return self._channel.exit_status

    def close(self) -> None:
        with contextlib.suppress(*TROUBLES):
            self._channel.close()
