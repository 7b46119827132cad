"""Read a disk out of any container: QEMU serves it on a socket of our own, we ask for the ranges we want.

The client side of the NBD protocol, fixed newstyle handshake and simple replies, which every server speaks; reading
only. Two requests are under way at a time, so that the server reads while we hash.
"""

from __future__ import annotations

import socket
import struct
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Final

from lisa_ci import process
from lisa_ci.errors import ToolError

BLOCK: Final = 1 << 20
_AHEAD: Final = 2
_START: Final = timedelta(seconds=20)
_SILENCE: Final = timedelta(seconds=120)
_GREETING: Final = b"NBDMAGIC" + b"IHAVEOPT"
_FIXED_NEWSTYLE, _NO_ZEROES = 1, 2
_EXPORT_NAME: Final = struct.pack(">8sII", b"IHAVEOPT", 1, 0)
_REQUEST: Final = struct.Struct(">IHHQQI")
_REQUEST_MAGIC: Final = 0x25609513
_REPLY: Final = struct.Struct(">IIQ")
_REPLY_MAGIC: Final = 0x67446698
_READ, _DISCONNECT = 0, 2


class Export:
    """A disk that is served to us. ``size`` is in bytes."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        greeting = self._receive(18)
        if greeting[:16] != _GREETING or not greeting[17] & _FIXED_NEWSTYLE:
            raise ToolError("the NBD server greets us in another protocol")
        no_zeroes = greeting[17] & _NO_ZEROES
        connection.sendall(struct.pack(">I", _FIXED_NEWSTYLE | no_zeroes) + _EXPORT_NAME)
        self.size = int(struct.unpack(">QH", self._receive(10))[0])
        if not no_zeroes:
            self._receive(124)

    def read(self, ranges: Iterable[tuple[int, int]], deadline: float) -> Iterator[bytearray]:
        """The bytes of each (offset, length), in order, in blocks of at most BLOCK bytes. ToolError.

        A server may answer in any order; each answer names its request, here by its offset.
        """
        asked: dict[int, int] = {}
        answered: dict[int, bytearray] = {}
        for offset, length in _blocks(ranges):
            self._connection.sendall(_REQUEST.pack(_REQUEST_MAGIC, 0, _READ, offset, offset, length))
            asked[offset] = length
            if len(asked) > _AHEAD:
                yield self._answer(asked, answered, deadline)
        while asked:
            yield self._answer(asked, answered, deadline)

    def close(self) -> None:
        with suppress(OSError):  # everything we wanted is here
            self._connection.sendall(_REQUEST.pack(_REQUEST_MAGIC, 0, _DISCONNECT, 0, 0, 0))

    def _answer(self, asked: dict[int, int], answered: dict[int, bytearray], deadline: float) -> bytearray:
        """The answer to the oldest request, which is no longer in ``asked`` then."""
        oldest = next(iter(asked))
        while oldest not in answered:
            if time.monotonic() > deadline:
                raise ToolError("reading the disk took too long")
            magic, error, name = _REPLY.unpack(self._receive(_REPLY.size))
            if magic != _REPLY_MAGIC or name not in asked or name in answered:
                raise ToolError("the NBD server answers in another protocol")
            if error:
                raise ToolError(f"the disk cannot be read (error {error})")
            answered[name] = self._receive(asked[name])
        del asked[oldest]
        return answered.pop(oldest)

    def _receive(self, length: int) -> bytearray:
        data = bytearray(length)
        view = memoryview(data)
        while view:
            count = self._connection.recv_into(view)
            if count == 0:
                raise ToolError("the NBD server ended before its last answer")
            view = view[count:]
        return data


def _blocks(ranges: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    for offset, length in ranges:
        for start in range(offset, offset + length, BLOCK):
            yield start, min(BLOCK, offset + length - start)


@contextmanager
def served(server: Sequence[str]) -> Iterator[Export]:
    """Start ``server`` (qemu-nbd and its arguments, without an address) on a socket that only we can reach.

    ToolError with what it said where it does not come up or breaks off. It is dead when the block ends.
    """
    with tempfile.TemporaryDirectory(prefix="lisa-ci-nbd-") as folder:
        place, log = Path(folder) / "socket", Path(folder) / "log"
        running = process.spawn([*server, f"--socket={place}"], stdout=log)
        try:
            with _connected(running, place, log) as connection:
                export = Export(connection)
                yield export
                export.close()
        except OSError as error:
            raise ToolError(f"the disk's server failed: {_said(log) or error}") from error
        finally:
            process.kill_group(running)


def _connected(running: process.Child, place: Path, log: Path) -> socket.socket:
    deadline = time.monotonic() + _START.total_seconds()
    while True:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(_SILENCE.total_seconds())
        try:
            connection.connect(str(place))
        except OSError:
            connection.close()
        else:
            return connection
        if running.poll() is not None or time.monotonic() > deadline:
            raise ToolError(_said(log) or "qemu-nbd did not start")
        time.sleep(0.005)


def _said(log: Path) -> str:
    lines = log.read_bytes()[-2000:].decode(errors="replace").strip().splitlines() if log.exists() else []
    return lines[-1][:300] if lines else ""
