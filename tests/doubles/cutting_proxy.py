"""A TCP proxy on loopback that cuts connections after a given number of bytes, and counts those that went through."""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

_RESET = struct.pack("ii", 1, 0)  # linger for no time: the peer sees a reset, not an end


@dataclass(kw_only=True)
class CuttingProxy:
    """``budget``: bytes, both ways, that still go through; None for all. Cut is every connection that is open then.

    ``again`` gives the next budget after a cut: None leaves the proxy dead. ``on_cut`` is called with each cut.
    """

    target: int
    budget: int | None = None
    again: Callable[[], int | None] = lambda: None
    on_cut: Callable[[], object] = lambda: None
    port: int = 0
    sent: int = 0
    cuts: int = 0
    _is_dead: bool = False
    _is_closed: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextlib.contextmanager
    def running(self) -> Iterator[CuttingProxy]:
        with socket.create_server(("127.0.0.1", 0)) as server:
            self.port = server.getsockname()[1]
            acceptor = threading.Thread(target=self._accept, args=(server,))
            acceptor.start()
            try:
                yield self
            finally:
                self._is_closed = True
                acceptor.join(10)

    def _accept(self, server: socket.socket) -> None:
        workers = []
        while not self._is_closed:
            if not select.select([server], [], [], 0.05)[0]:
                continue
            client, _ = server.accept()
            worker = threading.Thread(target=self._serve, args=(client, self.cuts))
            worker.start()
            workers.append(worker)
        for worker in workers:
            worker.join(10)

    def _serve(self, client: socket.socket, cuts: int) -> None:
        with contextlib.suppress(OSError), client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            if self._is_dead:
                return
            with socket.create_connection(("127.0.0.1", self.target)) as server:
                server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                self._forward({client: server, server: client}, cuts)

    def _forward(self, other: dict[socket.socket, socket.socket], cuts: int) -> None:
        while not self._is_closed:
            for source in select.select(list(other), [], [], 0.05)[0]:
                with self._lock:
                    share = 64 << 10 if self.budget is None else max(1, min(64 << 10, self.budget))
                    if cuts != self.cuts:
                        return
                data = source.recv(share)
                if not data:
                    return
                other[source].sendall(data)
                self._spend(len(data))

    def _spend(self, count: int) -> None:
        with self._lock:
            self.sent += count
            if self.budget is None:
                return
            self.budget -= count
            if self.budget > 0:
                return
            self.cuts += 1
            self.budget = self.again()
            self._is_dead = self.budget is None
        self.on_cut()
