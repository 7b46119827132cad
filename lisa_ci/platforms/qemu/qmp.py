"""QEMU's control channel, for threads: the asyncio library on an event loop and a thread of its own."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from collections.abc import Callable, Coroutine, Mapping
from concurrent import futures
from contextlib import suppress
from datetime import timedelta
from typing import Any, Final, TypeVar

from qemu.qmp import EventListener, ExecuteError, QMPClient, QMPError, Runstate

from lisa_ci.errors import MachineLostError, ProvisioningError
from lisa_ci.platforms.qemu.signs import Event

_GREETING_LIMIT: Final = timedelta(seconds=30)
_COMMAND_LIMIT: Final = timedelta(seconds=30)
_CLOSE_SECONDS: Final = 3.0
_SETTLE_SECONDS: Final = 0.01
_REASON: Final = 200  # characters

T = TypeVar("T")

# The library logs each failure that it raises; errors reach people as ours instead.
logging.getLogger("qemu.qmp").addHandler(logging.NullHandler())
logging.getLogger("qemu.qmp").propagate = False


class Qmp:
    """One connection over a socket that QEMU inherited: no path, no race. Usable from any thread."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._take: Callable[[Event], None] = lambda _: None
        self._client = QMPClient("lisa-ci")
        self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(
            lambda _loop, _context: None
        )  # what the library leaves behind when it is cut off
        self._thread = threading.Thread(target=self._loop.run_forever, name="qmp", daemon=True)
        self._was_connected = False
        self._asking: asyncio.Task[None] | None = None  # kept, because the loop does not keep it
        self._thread.start()

    def connect(self, timeout: timedelta = _GREETING_LIMIT) -> None:
        """Wait for QEMU's greeting. ProvisioningError where it does not come."""
        try:
            self._wait(self._client.connect(self._connection), timeout)
        except (QMPError, OSError, EOFError, TimeoutError) as error:
            raise ProvisioningError(f"QEMU did not answer on its control channel: {_reason(error)}") from error
        self._was_connected = True
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop)

    def execute(
        self, command: str, arguments: Mapping[str, object] | None = None, *, timeout: timedelta = _COMMAND_LIMIT
    ) -> Any:
        """The answer of a QMP command. ProvisioningError where QEMU refuses, MachineLostError where it is gone."""
        try:
            return self._wait(self._client.execute(command, dict(arguments or {})), timeout)
        except ExecuteError as error:
            raise ProvisioningError(f"QEMU refuses {command}: {error}") from error
        except (QMPError, OSError, EOFError, TimeoutError) as error:
            raise MachineLostError(f"QEMU does not answer {command}: {_reason(error)}") from error

    def post(self, command: str) -> None:
        """Send a command and wait for nothing: neither its answer nor its failure is of interest."""

        async def send() -> None:
            with suppress(ExecuteError, QMPError, OSError, EOFError):
                await self._client.execute(command)

        if self._loop.is_running():
            asyncio.run_coroutine_threadsafe(send(), self._loop)

    def monitor(self, line: str) -> str:
        """A command for people, where QMP has none. Errors are text, too."""
        return str(self.execute("human-monitor-command", {"command-line": line}))

    @property
    def is_connected(self) -> bool:
        """False once QEMU is gone."""
        return self._client.runstate is Runstate.RUNNING

    def settle(self) -> None:
        """Let what QEMU has already said become events: another connection to it may have ended a moment sooner."""
        if self._loop.is_running():
            with suppress(TimeoutError):
                self._wait(asyncio.sleep(_SETTLE_SECONDS), timedelta(seconds=_CLOSE_SECONDS))

    def on_event(self, take: Callable[[Event], None]) -> None:
        """``take`` hears every event from now on, in this connection's thread; it must not wait."""
        self._take = take

    def close(self) -> None:
        """End connection, loop and thread. Idempotent, never raises."""
        if self._loop.is_closed():
            return
        if self._loop.is_running():
            # Only a connection that stood can be taken down: the library asserts on one that failed on its way.
            with suppress(QMPError, OSError, EOFError, TimeoutError, futures.CancelledError):
                if self._was_connected:
                    self._wait(self._client.disconnect(), timedelta(seconds=_CLOSE_SECONDS))
            with suppress(TimeoutError, futures.CancelledError):
                self._wait(_cancel_all(), timedelta(seconds=_CLOSE_SECONDS))
            self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=_CLOSE_SECONDS)
        if not self._thread.is_alive():
            self._loop.close()
        with suppress(OSError):
            self._connection.close()

    async def _listen(self) -> None:
        listener = EventListener()
        with self._client.listen(listener):
            async for event in listener:
                if event["event"] == "STOP":
                    self._asking = asyncio.create_task(self._tell_stop())
                else:
                    self._take(_event(event))

    async def _tell_stop(self) -> None:
        """A stop, with the state that QEMU is in after it: the event itself does not say why."""
        with suppress(ExecuteError, QMPError, OSError, EOFError):
            told = await self._client.execute("query-status")
            if isinstance(told, dict) and "status" in told:
                self._take(Event(name="STOP", reason=str(told["status"])[:_REASON]))

    def _wait(self, work: Coroutine[Any, Any, T], timeout: timedelta) -> T:
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result(timeout.total_seconds())
        finally:
            future.cancel()  # has no effect on one that is done


def _event(message: Mapping[str, Any]) -> Event:
    data = message.get("data")
    told = data if isinstance(data, dict) else {}
    return Event(
        name=str(message["event"]),
        reason=str(told.get("reason", ""))[:_REASON],
        is_out_of_space=told.get("nospace") is True,
    )


async def _cancel_all() -> None:
    tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _reason(error: BaseException) -> str:
    return str(error) or type(error).__name__
