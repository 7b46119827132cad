"""Our side of the NBD protocol against a server that answers in any order, wrongly, or not at all."""

from __future__ import annotations

import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lisa_ci.errors import ToolError
from lisa_ci.nbd import BLOCK, Export

DISK = os.urandom(3 * BLOCK + 512)
Serve = Callable[[socket.socket], None]


def receive(connection: socket.socket, length: int) -> bytes:
    data = b""
    while len(data) < length:
        part = connection.recv(length - len(data))
        if not part:
            raise EOFError
        data += part
    return data


def greet(connection: socket.socket, *, flags: int = 3, size: int = len(DISK)) -> None:
    connection.sendall(b"NBDMAGIC" + b"IHAVEOPT" + struct.pack(">H", flags))
    client = struct.unpack(">I", receive(connection, 4))[0]
    assert client == flags & 3
    assert receive(connection, 16) == b"IHAVEOPT" + struct.pack(">II", 1, 0)
    connection.sendall(struct.pack(">QH", size, 1) + (b"" if flags & 2 else bytes(124)))


def answer(connection: socket.socket, *, magic: int = 0x67446698, error: int = 0, backwards: bool = False) -> None:
    """Answer reads two by two; ``backwards`` the second first."""
    waiting: list[tuple[int, int]] = []

    def flush() -> None:
        for offset, length in reversed(waiting) if backwards else waiting:
            connection.sendall(struct.pack(">IIQ", magic, error, offset))
            if not error:
                connection.sendall(DISK[offset : offset + length])
        waiting.clear()

    connection.settimeout(0.05)
    while True:
        try:
            request = receive(connection, 28)
        except TimeoutError:
            flush()
            continue
        _, _, kind, cookie, offset, length = struct.unpack(">IHHQQI", request)
        if kind == 2:
            return
        assert cookie == offset
        waiting.append((offset, length))
        if len(waiting) == 2:
            flush()


@contextmanager
def server(serve: Serve) -> Iterator[socket.socket]:
    ours, theirs = socket.socketpair()
    ours.settimeout(5)

    def run() -> None:
        with theirs:
            try:
                serve(theirs)
            except (EOFError, OSError):
                return

    thread = threading.Thread(target=run)
    thread.start()
    try:
        with ours:
            yield ours
    finally:
        thread.join(5)


def read(connection: socket.socket, *ranges: tuple[int, int]) -> bytes:
    export = Export(connection)
    data = b"".join(export.read(ranges, time.monotonic() + 5))
    export.close()
    return data


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("flags", [1, 3])
def test_the_disk_comes_in_order_whatever_the_order_of_the_answers(flags: int, backwards: bool) -> None:
    def serve(connection: socket.socket) -> None:
        greet(connection, flags=flags)
        answer(connection, backwards=backwards)

    with server(serve) as connection:
        assert read(connection, (0, len(DISK))) == DISK
    with server(serve) as connection:
        assert read(connection, (512, 512), (BLOCK, BLOCK + 1)) == DISK[512:1024] + DISK[BLOCK : 2 * BLOCK + 1]


@pytest.mark.parametrize(("options", "told"), [({"error": 5}, "cannot be read"), ({"magic": 1}, "another protocol")])
def test_an_answer_that_is_an_error_or_nonsense_is_told(options: dict[str, int], told: str) -> None:
    def serve(connection: socket.socket) -> None:
        greet(connection)
        answer(connection, **options)  # type: ignore[arg-type]

    with server(serve) as connection, pytest.raises(ToolError, match=told):
        read(connection, (0, len(DISK)))


def test_a_server_that_dies_is_told() -> None:
    """Our next request meets a closed socket (``served`` turns that into a ToolError) or the answer does not come."""
    with server(greet) as connection, pytest.raises((ToolError, BrokenPipeError, ConnectionResetError)):
        read(connection, (0, len(DISK)))


def test_a_disk_that_takes_too_long_is_given_up() -> None:
    def serve(connection: socket.socket) -> None:
        greet(connection)
        answer(connection)

    with server(serve) as connection, pytest.raises(ToolError, match="took too long"):
        b"".join(Export(connection).read([(0, len(DISK))], time.monotonic() - 1))


def test_an_answer_that_breaks_off_is_told() -> None:
    def serve(connection: socket.socket) -> None:
        greet(connection)
        receive(connection, 28)
        connection.sendall(struct.pack(">IIQ", 0x67446698, 0, 0) + DISK[:100])

    with server(serve) as connection, pytest.raises(ToolError, match="ended before its last answer"):
        read(connection, (0, 512))


@given(st.binary(min_size=18, max_size=18))
def test_any_other_greeting_is_refused(greeting: bytes) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(greeting)
        with pytest.raises(ToolError, match="another protocol"):
            Export(ours)
