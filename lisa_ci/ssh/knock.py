"""Waiting for a real SSH banner. A TCP connection is no sign of life: QEMU's user network accepts it for a dead guest.

Several tries overlap: a connection made before the guest's network is up may hang for long, a new one answers at once.
"""

from __future__ import annotations

import errno
import os
import selectors
import socket
import time
from collections.abc import Callable
from typing import Final

_MOST_OPEN: Final = 3  # sshd starts to drop unauthenticated connections at 10
_FIRST_PAUSE: Final = 0.5  # seconds between two tries that hang; grows, for servers that need long for a banner
_LAST_PAUSE: Final = 5.0
_AFTER_CLOSED: Final = (0.05, 0.5)  # seconds: the first and the longest pause after a try that was refused
_BEFORE_BANNER: Final = 8 * 1024  # bytes of other lines a server may send first
_BANNER: Final = 255  # bytes, RFC 4253

_Address = tuple[socket.AddressFamily, tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]]


class NoSshError(OSError):
    """Something answers there, but it does not speak SSH."""


def find_banner(seen: bytes) -> bytes | None:
    """``seen`` from the SSH banner line on, None while it has not come; NoSshError when it never will."""
    start = 0
    while True:
        end = seen.find(b"\n", start)
        line = seen[start : end if end >= 0 else len(seen)]
        if line.startswith(b"SSH-"):
            if len(line) > _BANNER:
                raise NoSshError("its SSH banner is too long")
            return seen[start:] if end >= 0 else None
        if end < 0:
            break
        start = end + 1
    if len(seen) > _BEFORE_BANNER:
        raise NoSshError("it does not speak SSH")
    return None


class _Try:
    """One connection on its way to a banner."""

    def __init__(self, address: _Address) -> None:
        self.sock = socket.socket(address[0], socket.SOCK_STREAM)
        self.sock.setblocking(False)
        self.seen = b""
        self.is_connected = False
        code = self.sock.connect_ex(address[1])
        if code not in {0, errno.EINPROGRESS}:
            self.sock.close()
            raise OSError(code, os.strerror(code))

    def advance(self) -> bytes | None:
        """What there is to do now; the bytes from the banner on when it is there; OSError when this try is over."""
        if not self.is_connected:
            code = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code:
                raise OSError(code, os.strerror(code))
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.is_connected = True
            return None
        block = self.sock.recv(4096)
        if not block:
            raise ConnectionResetError(errno.ECONNRESET, "closed before an SSH banner came")
        self.seen += block
        return find_banner(self.seen)


class Knocker:
    """Knocks at ``host:port`` until an SSH server answers."""

    def __init__(self, host: str, port: int) -> None:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        self._addresses: list[_Address] = [(family, address) for family, _, _, _, address in found]
        self._count = 0
        self.reason = "it does not answer"

    def wait(self, deadline: float, check: Callable[[], None]) -> tuple[socket.socket, bytes]:
        """A connected socket, and what it sent from the banner on. TimeoutError at ``deadline`` (``reason`` says why).

        ``check`` is called at least four times a second and may raise.
        """
        pause, after_closed = _FIRST_PAUSE, _AFTER_CLOSED[0]
        due = time.monotonic()
        with selectors.DefaultSelector() as selector:
            tries: list[_Try] = []
            try:
                while (now := time.monotonic()) < deadline:
                    check()
                    if now >= due:
                        if self._start(selector, tries):
                            pause = min(pause * 1.2, _LAST_PAUSE)
                        due = now + pause
                    for key, _ in selector.select(max(0.0, min(due - now, deadline - now, 0.25))):
                        attempt: _Try = key.data
                        try:
                            banner = attempt.advance()
                        except OSError as error:
                            self._end(selector, tries, attempt, error)
                            due = min(due, time.monotonic() + after_closed)
                            after_closed = min(after_closed * 1.3, _AFTER_CLOSED[1])
                            continue
                        if banner is not None:
                            tries.remove(attempt)
                            return attempt.sock, banner
                        selector.modify(attempt.sock, selectors.EVENT_READ, attempt)
                        self.reason = "it accepts connections, but sends no SSH banner"
                raise TimeoutError(self.reason)
            finally:
                for attempt in tries:
                    attempt.sock.close()

    def _start(self, selector: selectors.BaseSelector, tries: list[_Try]) -> bool:
        """One more try; True when the oldest had to give way, which says that tries hang."""
        is_full = len(tries) >= _MOST_OPEN
        if is_full:
            oldest = tries.pop(0)
            selector.unregister(oldest.sock)
            oldest.sock.close()
        try:
            attempt = _Try(self._addresses[self._count % len(self._addresses)])
        except OSError as error:
            self.reason = error.strerror or str(error)
        else:
            tries.append(attempt)
            selector.register(attempt.sock, selectors.EVENT_WRITE, attempt)
        self._count += 1
        return is_full

    def _end(self, selector: selectors.BaseSelector, tries: list[_Try], attempt: _Try, error: OSError) -> None:
        self.reason = (error.strerror or str(error)).lower()
        tries.remove(attempt)
        selector.unregister(attempt.sock)
        attempt.sock.close()
