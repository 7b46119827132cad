"""A machine's state within its own disks: kept and brought back by QEMU's jobs while its process goes on.

The memory lies in the overlay beside the disk's own state, so it goes with the scratch folder, and a QEMU that ended
takes it along. A restored machine has no connection of ours: it was closed before the state was kept.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from lisa_ci import ssh
from lisa_ci.errors import MachineLostError, ProvisioningError
from lisa_ci.model import Profile
from lisa_ci.platforms.qemu import storage
from lisa_ci.platforms.qemu.life import Life
from lisa_ci.platforms.qemu.qmp import Qmp

MOST_CLOCK_OFF: Final = 2.0  # seconds
_TAGS: Final = ("lisa-ci-0", "lisa-ci-1")
_JOB: Final = "lisa-ci"
_VMSTATE: Final = "root"
_SAVE_LIMIT: Final = timedelta(seconds=120)
_LOAD_LIMIT: Final = timedelta(seconds=60)
_LOGIN_LIMIT: Final = timedelta(seconds=60)
_ROOM_MIB: Final = 256  # the machine's devices, and what it writes meanwhile
_POLL_SECONDS: Final = 0.01
_NEEDS_RESET: Final = frozenset({"shutdown", "internal-error"})  # QEMU lets no machine go on from these
_FRESH: Final = "a fresh machine is needed"


class Snapshots:
    """The one snapshot of a machine. ``nodes`` are its writable block devices, the root overlay among them."""

    def __init__(
        self, qmp: Qmp, life: Life, machine: ssh.SshMachine, profile: Profile, *, nodes: Sequence[str], folder: Path
    ) -> None:
        self._qmp = qmp
        self._life = life
        self._machine = machine
        self._profile = profile
        self._nodes = list(nodes)
        self._folder = folder
        self._tag = ""
        self._refusal = ""

    def problem(self) -> str:
        """Why there can be none: QEMU names devices whose state it cannot keep (nvme), or it refused one already."""
        if self._refusal:
            return self._refusal
        try:
            blocked = self._qmp.execute("query-migrate").get("blocked-reasons", [])
        except ProvisioningError as error:
            return error.message
        return f"QEMU cannot keep the state of a {'; '.join(map(str, blocked))}" if blocked else ""

    def save(self) -> None:
        """Keep the state, in place of an earlier one, which stays where this fails. ProvisioningError."""
        save_all((self,))

    def load(self, timeout: timedelta) -> None:
        """The machine as it was kept, whatever state it is in now: connected, clock set, entropy mixed in.

        ProvisioningError, with a hint, where QEMU is gone or the restored machine does not answer.
        """
        load_all((self,), timeout)

    # ---- step by step, for several machines at once ----------------------------------------------------------------

    def check_save(self) -> None:
        problem = self.problem()
        if problem:
            raise ProvisioningError(f"{self._machine.name} cannot be snapshot: {problem}", hint=_FRESH)
        storage.check_space(self._folder, (self._profile.memory_mib + _ROOM_MIB) << 20)

    def check_load(self) -> None:
        if not self._tag:
            raise ProvisioningError(f"{self._machine.name} has no snapshot to go back to", hint=_FRESH)

    def close(self) -> None:
        """The server's side of an open connection would wake up without its other end after each restore."""
        self._machine.close()

    def stop(self) -> None:
        self._qmp.execute("stop")

    def keep(self) -> None:
        """Beside an earlier one, until ``replace``."""
        try:
            self._run("snapshot-save", self._other_tag, _SAVE_LIMIT)
        except MachineLostError:
            raise
        except ProvisioningError as error:
            self._refusal = error.message
            raise

    def replace(self) -> None:
        """What was kept last takes the place of the earlier one."""
        earlier, self._tag = self._tag, self._other_tag
        if earlier:
            self._run("snapshot-delete", earlier, _SAVE_LIMIT)

    def drop(self) -> None:
        """What was kept last goes: another machine's state could not be kept with it."""
        with suppress(ProvisioningError):
            self._run("snapshot-delete", self._other_tag, _SAVE_LIMIT)

    def go_on(self) -> None:
        if self._status() != "running":
            self._qmp.execute("cont")

    def reconnect(self, timeout: timedelta = _LOGIN_LIMIT) -> None:
        self._machine.reconnect(timeout=timeout)

    def make_loadable(self, deadline: float) -> None:
        """A machine that is off, or whose processor gave up, goes on only after a reset; what it was is lost anyway."""
        if self._status() not in _NEEDS_RESET:
            return
        self._qmp.execute("system_reset")
        while self._status() in _NEEDS_RESET:
            if time.monotonic() > deadline:
                raise ProvisioningError(f"{self._machine.name} cannot be reset", hint=_FRESH)
            time.sleep(_POLL_SECONDS)

    def bring_back(self, timeout: timedelta) -> None:
        self._run("snapshot-load", self._tag, min(_LOAD_LIMIT, timeout))
        self._life.restored()

    def lost(self, error: MachineLostError) -> ProvisioningError:
        death = self._life.death()
        why = death.why if death else error.message
        return ProvisioningError(
            f"{self._machine.name} cannot go back to its snapshot, which went with its QEMU: {why}", hint=_FRESH
        )

    def check_clock(self) -> None:
        off = self._life.clock_off
        if off is None or abs(off) > MOST_CLOCK_OFF:
            said = "does not tell its time" if off is None else f"is {abs(off):.0f} s off"
            raise ProvisioningError(
                f"{self._machine.name}: the clock of the restored machine {said}, it could not be set", hint=_FRESH
            )

    # ---- QEMU ------------------------------------------------------------------------------------------------------

    @property
    def _other_tag(self) -> str:
        return next(tag for tag in _TAGS if tag != self._tag)

    def _status(self) -> str:
        return str(self._qmp.execute("query-status")["status"])

    def _run(self, command: str, tag: str, limit: timedelta) -> None:
        """A job from its begin to its end; ProvisioningError with what QEMU says of a failure."""
        arguments: dict[str, object] = {"job-id": _JOB, "tag": tag, "devices": self._nodes}
        if command != "snapshot-delete":
            arguments["vmstate"] = _VMSTATE
        self._qmp.execute(command, arguments)
        deadline = time.monotonic() + limit.total_seconds()
        while (job := self._job()).get("status") != "concluded":
            if time.monotonic() > deadline:
                raise ProvisioningError(
                    f"QEMU's {command} does not end within {limit.total_seconds():g} s", hint=_FRESH
                )
            time.sleep(_POLL_SECONDS)
        self._qmp.execute("job-dismiss", {"id": _JOB})
        if "error" in job:
            raise ProvisioningError(f"QEMU refuses {command}: {job['error']}", hint=_FRESH)

    def _job(self) -> dict[str, Any]:
        return next((job for job in self._qmp.execute("query-jobs") if job["id"] == _JOB), {})


def save_all(parts: Sequence[Snapshots]) -> None:
    """Keep the state of machines that know each other, as of one moment: none runs while another is kept.

    All have their new state, or all their earlier one. ProvisioningError.
    """
    for part in parts:
        part.check_save()
    with ExitStack() as connected, ExitStack() as running:
        for part in parts:
            part.close()
            connected.callback(part.reconnect)
        for part in parts:
            if len(parts) > 1:
                part.stop()
            running.callback(part.go_on)
        _keep_all(parts)
    for part in parts:
        part.replace()


def _keep_all(parts: Sequence[Snapshots]) -> None:
    kept: list[Snapshots] = []
    try:
        for part in parts:
            part.keep()
            kept.append(part)
    except ProvisioningError:
        for part in kept:
            part.drop()
        raise


def load_all(parts: Sequence[Snapshots], timeout: timedelta) -> None:
    """The machines as ``save_all`` kept them: none runs before the last is back. ProvisioningError."""
    deadline = time.monotonic() + timeout.total_seconds()

    def left() -> timedelta:
        return timedelta(seconds=max(1.0, deadline - time.monotonic()))

    for part in parts:
        part.check_load()
    for part in parts:
        part.close()
    _each(parts, lambda part: part.make_loadable(deadline))
    if len(parts) > 1:
        _each(parts, Snapshots.stop)
    _each(parts, lambda part: part.bring_back(left()))
    _each(parts, Snapshots.go_on)
    for part in parts:
        part.reconnect(left())
        part.check_clock()


def _each(parts: Sequence[Snapshots], step: Callable[[Snapshots], None]) -> None:
    for part in parts:
        try:
            step(part)
        except MachineLostError as error:
            raise part.lost(error) from error
