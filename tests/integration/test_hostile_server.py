"""An SSH server that hangs, closes, lies or floods at any step of a connection: an error of ours in time, or a result;
bounded memory, no thread left.
"""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest

from lisa_ci.errors import ProvisioningError
from lisa_ci.ssh import connect
from tests.doubles.hostile_ssh import Change, Deed, HostileServer, Step, any_change, deed_at

LIMIT = timedelta(seconds=1.5)
SILENCE = timedelta(seconds=1)
LONGEST = 8.0  # seconds for a login, its proof and a command, each of which has a limit
MEMORY = 96 << 10  # KiB for eight such connections together


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    deadline = time.monotonic() + 5
    while left := [thread for thread in threading.enumerate() if thread not in before]:
        assert time.monotonic() < deadline, left
        time.sleep(0.02)


def resident_kib() -> int:
    """The highest resident size so far, of this process itself."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found[1])


def outcome(folder: Path, change: Change) -> str:
    """How a login and a command go with such a server: '' where it worked."""
    started = time.monotonic()
    try:
        with (
            HostileServer(folder, change) as server,
            contextlib.closing(connect(server.login(), timeout=LIMIT, silence=SILENCE)) as machine,
        ):
            completed = machine.run("fine", timeout=LIMIT)
            said = "" if (completed.exit, completed.output) == (0, b"fine\n") else f"{completed}"
    except ProvisioningError as error:
        said = error.message
    assert time.monotonic() - started < LONGEST, f"{time.monotonic() - started:.1f} s: {said}"
    assert len(said) < 1500
    return said


def test_the_server_that_does_nothing_wrong_works(tmp_path: Path) -> None:
    assert outcome(tmp_path, lambda _, payload: payload) == ""


@pytest.mark.parametrize("step", Step, ids=lambda step: step.name.lower())
def test_whatever_a_server_does_at_a_step_ends_in_time_and_in_bounded_memory(tmp_path: Path, step: Step) -> None:
    before = resident_kib()
    with ThreadPoolExecutor(len(Deed)) as pool:
        said = dict(
            zip(Deed, pool.map(lambda deed: outcome(tmp_path / deed.name, deed_at(step, deed)), Deed), strict=True)
        )
    # The reply to the request for a command is not waited for, and one close too many is none too few.
    harmless = {Step.CHANNEL_SUCCESS, Step.CHANNEL_EOF, Step.CHANNEL_CLOSE, Step.CHANNEL_REQUEST}
    if step not in harmless:
        assert said[Deed.HANG], said
        assert said[Deed.CLOSE], said
    assert resident_kib() - before < MEMORY


def test_any_change_of_a_servers_messages_is_survived(tmp_path: Path) -> None:
    before = resident_kib()
    with ThreadPoolExecutor(8) as pool:
        said = list(pool.map(lambda seed: outcome(tmp_path / str(seed), any_change(seed)), range(48)))
    assert any(said)
    assert resident_kib() - before < MEMORY
