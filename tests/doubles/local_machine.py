"""Machines without a machine: commands run on this host, through pipes; the shell of the runner can be chosen."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path, PurePosixPath

from lisa_ci.errors import MachineLostError, ProvisioningError
from lisa_ci.events import Emit
from lisa_ci.model import Access, Completed, Lease, Leftover, Profile, Subject, Timeouts
from lisa_ci.protocols import Machine

CAP = 1 << 20


class LocalChannel:
    """``cut_after``: so many bytes come through, then the connection is lost, which the other side learns later."""

    def __init__(self, process: subprocess.Popen[bytes], cut_after: int | None = None) -> None:
        self._process = process
        self._left = cut_after
        self._errors = bytearray()
        self._reader = threading.Thread(target=self._read_errors, daemon=True)
        self._reader.start()

    def send(self, data: bytes) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(data)
        except OSError as error:
            raise MachineLostError("the machine reads no more") from error

    def receive(self, limit: int, timeout: timedelta) -> bytes:
        assert self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        if not select.select([descriptor], [], [], timeout.total_seconds())[0]:
            raise TimeoutError
        data = os.read(descriptor, limit)
        if self._left is not None:
            if len(data) >= self._left:
                raise MachineLostError("the connection was cut")
            self._left -= len(data)
        return data

    def errors(self) -> bytes:
        self._reader.join(1)
        return bytes(self._errors)

    def _read_errors(self) -> None:
        assert self._process.stderr is not None
        with contextlib.suppress(OSError, ValueError):  # closed by the other thread
            while data := self._process.stderr.read(4096):
                self._errors += data[: max(0, 65536 - len(self._errors))]


@dataclass
class LocalMachine:
    """``shell`` runs what is started as ``sh``; ``environment`` is added to ours."""

    shell: Sequence[str] = ("sh",)
    environment: Mapping[str, str] = field(default_factory=dict)
    console_text: bytes = b""
    cut_after: int | None = None
    lingers: float = 0.0
    name: str = "local"
    role: str = "main"

    def _start(self, command: tuple[str, ...]) -> subprocess.Popen[bytes]:
        arguments = [*self.shell, *command[1:]] if command[0] == "sh" else list(command)
        return subprocess.Popen(
            arguments,
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            env={**os.environ, **self.environment},
        )

    def run(self, *command: str, timeout: timedelta, stdin: bytes = b"") -> Completed:
        process = self._start(command)
        try:
            out, errors = process.communicate(stdin, timeout.total_seconds())
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            return Completed(exit=None, is_timed_out=True)
        return Completed(exit=process.returncode, output=(out + errors)[:CAP])

    @contextlib.contextmanager
    def channel(self, *command: str) -> Iterator[LocalChannel]:
        process = self._start(command)
        cut_after, self.cut_after = self.cut_after, None
        try:
            yield LocalChannel(process, cut_after)
        finally:
            if cut_after is None:
                self._hang_up(process)
            else:
                self._cut(process)

    def _hang_up(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        with contextlib.suppress(OSError):
            process.stdin.close()
        process.stdout.close()  # the runner sees at its next sign of life that nobody listens
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(5)
        process.kill()
        process.wait(5)
        process.stderr.close()

    def _cut(self, process: subprocess.Popen[bytes]) -> None:
        """Nobody reads or closes the other ends: the process cannot know. It is reaped when it has ended."""
        time.sleep(self.lingers)
        threading.Thread(target=process.wait, daemon=True).start()

    def put(self, source: Path, target: PurePosixPath) -> None:
        shutil.copy(source, target)

    def get(self, source: PurePosixPath, target: Path) -> None:
        shutil.copy(source, target)

    def reboot(self, *, timeout: timedelta) -> None:
        raise MachineLostError("this machine is the host")

    def reconnect(self, *, timeout: timedelta) -> None:
        pass

    def console(self, since: int = 0) -> Iterator[bytes]:
        yield self.console_text[since:]

    def login_command(self) -> str:
        return "sh"


@dataclass
class LocalMachines:
    members: Sequence[Machine]

    def end_command(self) -> str:
        return "true end"


@dataclass
class SnapshotMachines(LocalMachines):
    """Machines with the abilities; ``problems`` are what the next calls of each name fail with."""

    problem: str = ""
    calls: list[str] = field(default_factory=list)
    problems: dict[str, list[ProvisioningError]] = field(default_factory=dict)

    def snapshot_problem(self) -> str:
        return self.problem

    def snapshot(self) -> None:
        self._call("snapshot")

    def restore(self, *, timeout: timedelta) -> None:
        self._call("restore")

    def diagnose(self) -> str:
        self._call("diagnose")
        return "it was asked why"

    def _call(self, name: str) -> None:
        self.calls.append(name)
        if self.problems.get(name):
            raise self.problems[name].pop(0)


@dataclass
class LocalPlatform:
    """Gives ``machine``, or ``group``; or fails with ``failure`` when asked for one."""

    machine: Machine
    group: LocalMachines | None = None
    failure: ProvisioningError | None = None
    leases: list[Lease] = field(default_factory=list)
    destroyed: int = 0

    def problems(self, profile: Profile) -> Sequence[str]:
        return ()

    def provision(
        self, profile: Profile, subject: Subject, access: Access, lease: Lease, *, timeouts: Timeouts, emit: Emit
    ) -> AbstractContextManager[LocalMachines]:
        return self._provision(lease)

    @contextlib.contextmanager
    def _provision(self, lease: Lease) -> Iterator[LocalMachines]:
        self.leases.append(lease)
        if self.failure is not None:
            raise self.failure
        try:
            yield self.group or LocalMachines(members=(self.machine,))
        finally:
            self.destroyed += 1

    def sweep(self, *, now: datetime) -> Sequence[Leftover]:
        return ()
