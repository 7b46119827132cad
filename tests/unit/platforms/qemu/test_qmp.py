"""The control channel against a server of ours: how it ends matters more than how it goes."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import BinaryIO

import pytest

from lisa_ci.errors import MachineLostError, ProvisioningError
from lisa_ci.platforms.qemu.qmp import Qmp
from lisa_ci.platforms.qemu.signs import Event

SOON = timedelta(seconds=5)
Answer = Callable[[dict[str, object]], dict[str, object] | None]
GREETING = {"QMP": {"version": {"qemu": {"major": 7, "minor": 2, "micro": 0}, "package": ""}, "capabilities": []}}


def say(stream: BinaryIO, value: object) -> None:
    stream.write(json.dumps(value).encode() + b"\n")
    stream.flush()


def requests(connection: socket.socket) -> Iterator[dict[str, object]]:
    """JSON objects, with nothing between them that could be relied on."""
    seen = ""
    while data := connection.recv(1 << 16):
        seen += data.decode()
        while seen:
            try:
                request, end = json.JSONDecoder().raw_decode(seen)
            except json.JSONDecodeError:
                break
            seen = seen[end:].lstrip()
            yield request


@contextmanager
def serving(answer: Answer, *, greets: bool = True, events: tuple[dict[str, object], ...] = ()) -> Iterator[Qmp]:
    ours, theirs = socket.socketpair()

    def serve() -> None:
        # What is still unsent when the client has gone is of no interest.
        with suppress(OSError), theirs, theirs.makefile("wb") as stream:
            if not greets:
                return
            say(stream, GREETING)
            for request in requests(theirs):
                told = {"return": {}} if request["execute"] == "qmp_capabilities" else answer(request)
                if told is None:
                    return
                for event in events if request["execute"] == "cont" else ():
                    say(stream, event)
                say(stream, told | {key: request[key] for key in ("id",) if key in request})

    thread = threading.Thread(target=serve)
    thread.start()
    qmp = Qmp(ours)
    try:
        yield qmp
    finally:
        qmp.close()
        thread.join(timeout=5)
        assert not thread.is_alive()


def test_a_command_is_answered() -> None:
    with serving(lambda request: {"return": f"did {request['arguments']['command-line']}"}) as qmp:  # type: ignore[index]
        qmp.connect(SOON)
        assert qmp.monitor("info usernet") == "did info usernet"
        assert qmp.is_connected


def test_a_refusal_is_an_error_with_its_reason() -> None:
    refusal = {"error": {"class": "GenericError", "desc": "no such device"}}
    with serving(lambda _: refusal) as qmp:  # type: ignore[arg-type,return-value]
        qmp.connect(SOON)
        with pytest.raises(ProvisioningError, match=r"refuses device_add.*no such device"):
            qmp.execute("device_add")


def test_a_qemu_that_dies_is_noticed_and_closing_stays_quiet() -> None:
    with serving(lambda _: None) as qmp:
        qmp.connect(SOON)
        with pytest.raises(MachineLostError):
            qmp.execute("quit", timeout=SOON)
        assert not qmp.is_connected
        with pytest.raises(MachineLostError):
            qmp.execute("query-status", timeout=SOON)


def test_a_qemu_that_dies_before_its_greeting_is_a_provisioning_error() -> None:
    with serving(lambda _: None, greets=False) as qmp, pytest.raises(ProvisioningError, match="did not answer"):
        qmp.connect(SOON)


def test_events_are_told_with_their_reason() -> None:
    stamp = {"seconds": 1, "microseconds": 1}
    events: tuple[dict[str, object], ...] = (
        {"event": "RESET", "data": {"guest": True, "reason": "guest-reset"}, "timestamp": stamp},
        {"event": "BLOCK_IO_ERROR", "data": {"reason": "x" * 1000, "nospace": True}, "timestamp": stamp},
    )
    told: list[Event] = []
    with serving(lambda _: {"return": {}}, events=events) as qmp:
        qmp.on_event(told.append)
        qmp.connect(SOON)
        qmp.execute("cont")
        qmp.settle()
    assert told == [
        Event(name="RESET", reason="guest-reset"),
        Event(name="BLOCK_IO_ERROR", reason="x" * 200, is_out_of_space=True),
    ]


@pytest.mark.parametrize(
    ("answer", "told"),
    [({"status": "internal-error"}, [Event(name="STOP", reason="internal-error")]), ({}, []), ([], [])],
)
def test_a_stop_is_told_with_the_state_that_qemu_is_in_after_it(answer: object, told: list[Event]) -> None:
    stop: dict[str, object] = {"event": "STOP", "timestamp": {"seconds": 1, "microseconds": 1}}
    heard: list[Event] = []
    asked = threading.Event()

    def serve(request: dict[str, object]) -> dict[str, object]:
        if request["execute"] != "query-status":
            return {"return": {}}
        asked.set()
        return {"return": answer}

    with serving(serve, events=(stop,)) as qmp:
        qmp.on_event(heard.append)
        qmp.connect(SOON)
        qmp.execute("cont")
        assert asked.wait(5)
        qmp.execute("query-name")  # its answer comes after the one that is waited for
        qmp.settle()
    assert [event for event in heard if event.name == "STOP"] == told


def test_a_command_whose_answer_is_of_no_interest_is_not_waited_for() -> None:
    asked = threading.Event()

    def answer(request: dict[str, object]) -> None:
        if request["execute"] == "stop":
            asked.set()

    with serving(answer) as qmp:
        qmp.connect(SOON)
        qmp.post("stop")
        assert asked.wait(5)
    qmp.post("stop")  # there is nobody any more


def test_closing_twice_is_closing_once() -> None:
    with serving(lambda _: {"return": {}}) as qmp:
        qmp.connect(SOON)
        qmp.close()
        qmp.close()
        assert not qmp.is_connected


def test_a_qemu_that_never_answers_is_given_up() -> None:
    ours, theirs = socket.socketpair()
    qmp = Qmp(ours)
    with theirs, pytest.raises(ProvisioningError, match="did not answer"):
        qmp.connect(timedelta(milliseconds=50))
    qmp.close()
    assert not qmp.is_connected
