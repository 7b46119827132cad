"""The machines of a leg, in a state that cases may begin in, and back to it after they were lost or left dirty."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Final

from lisa_ci.errors import MachineLostError, ProvisioningError
from lisa_ci.events import Emit, Level, Message
from lisa_ci.execution.clock import Deadline
from lisa_ci.execution.install import Installed
from lisa_ci.execution.kernel_log import KernelLog
from lisa_ci.model import Method, Recovery
from lisa_ci.protocols import Machine, Machines, SupportsDiagnosis, SupportsSnapshot

_RESTORE: Final = timedelta(seconds=60)
_SHORT: Final = timedelta(seconds=60)

_TOLD: Final = {
    Method.SNAPSHOT: "the machine was restored from its snapshot",
    Method.REBOOT: "the machine was booted from a fresh overlay",
    Method.RECONNECT: "the machine was reached again as it is",
}

Provision = Callable[[], AbstractContextManager[Machines]]
Prepare = Callable[[Sequence[Machine]], Installed]
Attend = Callable[[Machine], AbstractContextManager[object]]


class Group:
    """The machines of a leg. A context: leaving it destroys them.

    ``boots``: whether ``provision`` makes a fresh machine each time, or only comes to one that goes on.
    ``prepare`` is called after each provisioning, with that of the cases first. What ``attend`` gives is entered while
    ``attended``, anew after each time that the machine was away.
    """

    def __init__(
        self,
        provision: Provision,
        prepare: Prepare,
        kernel: KernelLog,
        attend: Attend,
        *,
        boots: bool,
        boot: timedelta,
        deadline: Deadline,
        place: str,
        emit: Emit,
    ) -> None:
        self._provision = provision
        self._prepare = prepare
        self._kernel = kernel
        self._attend = attend
        self._attendance: contextlib.ExitStack | None = None
        self._boots = boots
        self._boot = boot
        self._deadline = deadline
        self._place = place
        self._emit = emit
        self._life = contextlib.ExitStack()
        self._has_snapshot = False
        self._installed: Installed | None = None
        self.recoveries: list[Recovery] = []

    # ---- coming and going ------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Provision; ``prepare`` is the next step."""
        self._machines = self._life.enter_context(self._provision())
        self._kernel.follow(*self._machines.members)

    def prepare(self) -> None:
        self._installed = self._prepare(self.machines.members)

    def end(self) -> None:
        self._life.close()

    @property
    def machines(self) -> Machines:
        return self._machines

    @property
    def machine(self) -> Machine:
        return self._machines.members[0]

    @property
    def has_installed(self) -> bool:
        """Whether anything of ours was brought into a machine."""
        return self._installed is not None

    @property
    def installed(self) -> Installed:
        """What ``prepare`` brought into the machine."""
        if self._installed is None:
            raise RuntimeError("nothing was prepared")
        return self._installed

    @contextlib.contextmanager
    def attended(self) -> Iterator[None]:
        with contextlib.ExitStack() as self._attendance:
            self._attendance.enter_context(self._attend(self.machine))
            yield
        self._attendance = None

    # ---- back to the beginning -------------------------------------------------------------------------------------

    @property
    def can_refresh(self) -> bool:
        """Whether a machine that a case has changed can be had again as it was."""
        return self._has_snapshot or self._boots

    @property
    def has_snapshots(self) -> bool:
        """Whether these machines may have the ability: the probe is to take one."""
        return isinstance(self._machines, SupportsSnapshot)

    def keep_state(self) -> None:
        """Take the snapshot that ``refresh`` goes back to, where these machines can."""
        machines = self._machines
        if not isinstance(machines, SupportsSnapshot):
            return
        problem = machines.snapshot_problem()
        if not problem:
            try:
                machines.snapshot()
            except ProvisioningError as error:
                problem = error.message
        self._has_snapshot = not problem
        if problem:
            self._say(f"no snapshot ({problem}): after a crash a fresh overlay is booted", Level.WARNING)

    def refresh(self, reason: str, case: str | None) -> None:
        """The machines as they were before the first case, whatever has become of them. ProvisioningError."""
        began = time.monotonic()
        if self._attendance is not None:
            self._attendance.close()
        method = self._restored() or self._provisioned()
        if self._attendance is not None:
            self._attendance.enter_context(self._attend(self.machine))
        wall = timedelta(seconds=time.monotonic() - began)
        self.recoveries.append(Recovery(reason=reason[:500], case=case, method=method, wall=wall))
        self._say(f"{_TOLD[method]} in {wall.total_seconds():.1f} s: {reason}", Level.INFO)

    def _restored(self) -> Method | None:
        machines = self._machines
        if not self._has_snapshot or not isinstance(machines, SupportsSnapshot):
            return None
        try:
            machines.restore(timeout=self._deadline.at_most(min(_RESTORE, self._boot)))
        except ProvisioningError as error:
            self._deadline.check()
            self._say(f"the snapshot cannot be restored: {error.message}", Level.WARNING)
            return None
        self._kernel.restored()
        return Method.SNAPSHOT

    def _provisioned(self) -> Method:
        self._deadline.check()
        if not self._boots:
            self._reconnect()
            return Method.RECONNECT
        self._has_snapshot = False
        self._life.close()
        try:
            self._begin_again()
        except ProvisioningError as error:
            self._deadline.check()
            self._say(f"no machine ({error.message}); trying once more", Level.WARNING)
            self._life.close()
            self._begin_again()
        return Method.REBOOT

    def _reconnect(self) -> None:
        """To a machine of others, which may have lost what was brought into it."""
        for is_last in (False, True):
            try:
                self.machine.reconnect(timeout=self._deadline.at_most(self._boot))
                if not self._is_prepared():
                    self.prepare()
            except MachineLostError as error:  # it answered, and then it did not
                self._deadline.check()
                if is_last:
                    raise
                self._say(f"{error.message}; trying once more", Level.WARNING)
            else:
                return

    def _is_prepared(self) -> bool:
        """Whether what was brought into the machine is still there: a reboot may have taken it."""
        if self._installed is None:
            return False
        limit = self._deadline.at_most(_SHORT)
        return self.machine.run("test", "-e", self._installed.runner, timeout=limit).exit == 0

    def _begin_again(self) -> None:
        self.start()
        self.prepare()
        self.keep_state()

    def reach(self, *, timeout: timedelta) -> bool:
        """Whether the first machine answers again, on a new connection."""
        try:
            self.machine.reconnect(timeout=self._deadline.at_most(timeout))
        except ProvisioningError:
            return False
        return True

    def diagnose(self) -> str:
        """Make a silent machine say why, where it can be made to; what was done."""
        machines = self._machines
        return machines.diagnose() if isinstance(machines, SupportsDiagnosis) else ""

    def _say(self, text: str, level: Level = Level.INFO) -> None:
        self._emit(Message(text=text, level=level, place=self._place))
