"""A machine's state within its own disks: kept and brought back by QEMU's jobs while its process goes on.

The memory lies in the overlay beside the disk's own state, so it goes with the scratch folder, and a QEMU that ended
takes it along. A restored machine has no connection of ours: it was closed before the state was kept.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
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
        problem = self.problem()
        if problem:
            raise ProvisioningError(f"{self._machine.name} cannot be snapshot: {problem}", hint=_FRESH)
        storage.check_space(self._folder, (self._profile.memory_mib + _ROOM_MIB) << 20)
        tag = next(tag for tag in _TAGS if tag != self._tag)
        # The server's side of an open connection would wake up without its other end after each restore.
        self._machine.close()
        try:
            self._run("snapshot-save", tag, _SAVE_LIMIT)
        except MachineLostError:
            raise
        except ProvisioningError as error:
            self._refusal = error.message
            raise
        finally:
            self._machine.reconnect(timeout=_LOGIN_LIMIT)
        earlier, self._tag = self._tag, tag
        if earlier:
            self._run("snapshot-delete", earlier, _SAVE_LIMIT)

    def load(self, timeout: timedelta) -> None:
        """The machine as it was kept, whatever state it is in now: connected, clock set, entropy mixed in.

        ProvisioningError, with a hint, where QEMU is gone or the restored machine does not answer.
        """
        if not self._tag:
            raise ProvisioningError(f"{self._machine.name} has no snapshot to go back to", hint=_FRESH)
        deadline = time.monotonic() + timeout.total_seconds()
        self._machine.close()
        try:
            self._make_loadable(deadline)
            self._run("snapshot-load", self._tag, min(_LOAD_LIMIT, timeout))
            self._life.restored()
            if self._status() != "running":
                self._qmp.execute("cont")
        except MachineLostError as error:
            death = self._life.death()
            why = death.why if death else error.message
            raise ProvisioningError(
                f"{self._machine.name} cannot go back to its snapshot, which went with its QEMU: {why}", hint=_FRESH
            ) from error
        self._machine.reconnect(timeout=timedelta(seconds=max(1.0, deadline - time.monotonic())))
        self._check_clock()

    def _check_clock(self) -> None:
        off = self._life.clock_off
        if off is None or abs(off) > MOST_CLOCK_OFF:
            said = "does not tell its time" if off is None else f"is {abs(off):.0f} s off"
            raise ProvisioningError(
                f"{self._machine.name}: the clock of the restored machine {said}, it could not be set", hint=_FRESH
            )

    # ---- QEMU ------------------------------------------------------------------------------------------------------

    def _make_loadable(self, deadline: float) -> None:
        """A machine that is off, or whose processor gave up, goes on only after a reset; what it was is lost anyway."""
        if self._status() not in _NEEDS_RESET:
            return
        self._qmp.execute("system_reset")
        while self._status() in _NEEDS_RESET:
            if time.monotonic() > deadline:
                raise ProvisioningError(f"{self._machine.name} cannot be reset", hint=_FRESH)
            time.sleep(_POLL_SECONDS)

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
