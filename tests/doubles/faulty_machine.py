"""A platform whose machines break on purpose: the product's own SSH machine in front of a ``FaultyServer``."""

from __future__ import annotations

import contextlib
import itertools
import random
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Self

from lisa_ci.errors import Loss, ProvisioningError
from lisa_ci.events import Emit
from lisa_ci.model import Access, Death, Lease, Leftover, Profile, Subject, Timeouts
from lisa_ci.protocols import Machine
from lisa_ci.ssh import Login, Vitals, connect, make_key
from tests.doubles.faulty_server import Fault, FaultyServer, Kind, Told
from tests.doubles.small_world import SmallWorld


class Ability(StrEnum):
    """What the group can do. GIVEN: one machine that is not ours, as of platform ssh: provisioning only connects."""

    SNAPSHOT = "snapshot"
    FRESH = "fresh"
    GIVEN = "given"


class _Group:
    def __init__(self, machine: Machine) -> None:
        self.members: Sequence[Machine] = (machine,)

    def end_command(self) -> str:
        return ""


class _SnapshotGroup(_Group):
    """Implements ``protocols.SupportsSnapshot``."""

    def __init__(self, machine: Machine, server: FaultyServer, owner: FaultyPlatform) -> None:
        super().__init__(machine)
        self._server = server
        self._owner = owner
        self._disk: Path | None = None

    def snapshot_problem(self) -> str:
        return ""

    def snapshot(self) -> None:
        self._disk = self._server.world.save()
        self._owner.told("snapshot")

    def restore(self, *, timeout: timedelta) -> None:
        if self._owner.fails(Kind.RESTORE):
            raise ProvisioningError("the snapshot could not be loaded: invalid state")
        assert self._disk is not None, "restore without a snapshot"
        self._server.drop()
        self._server.world.crash()
        self._server.world.boot(self._disk)
        self._server.revive()
        self._owner.told("restore")
        self.members[0].reconnect(timeout=timeout)


@dataclass
class FaultyPlatform:
    """Implements ``protocols.Platform``. ``told`` hears of every fault and of every machine that comes.

    ``left`` collects what was found in a machine that goes on after its leg, or that no fault has struck.
    """

    folder: Path
    seed: int
    faults: list[Fault]
    ability: Ability
    told: Told
    silence: timedelta = timedelta(seconds=3)
    left: list[str] = field(default_factory=list)
    provisioned: int = 0
    ready: int = 0
    _given: FaultyServer | None = None

    def __post_init__(self) -> None:
        self._chance = random.Random(self.seed)
        self._numbers = itertools.count(1)
        self._keys = (make_key(self.folder, "host"), make_key(self.folder, "client"))
        self._stack = contextlib.ExitStack()

    def fails(self, kind: Kind) -> bool:
        """Whether this kind of failure waits; it is used up."""
        for fault in self.faults:
            if fault.kind is kind and not fault.has_fired and self.ready:
                fault.has_fired = True
                self.told(f"fault {fault}")
                return True
        return False

    def problems(self, profile: Profile) -> Sequence[str]:
        return ()

    @contextlib.contextmanager
    def provision(
        self, profile: Profile, subject: Subject, access: Access, lease: Lease, *, timeouts: Timeouts, emit: Emit
    ) -> Iterator[_Group]:
        self.provisioned += 1
        if self.fails(Kind.PROVISION):
            raise ProvisioningError("no machine is to be had at the moment")
        with contextlib.ExitStack() as stack:
            server = self._server(stack)
            machine = connect(
                Login(
                    host="127.0.0.1",
                    port=server.port,
                    user="root",
                    key=self._keys[1].private,
                    host_key=self._keys[0].public,
                ),
                timeout=timeouts.boot,
                silence=self.silence,
                console=server.console,
                vitals=None if self.ability is Ability.GIVEN else _vitals(server),
                known_hosts=lease.scratch / "known_hosts",
            )
            stack.callback(machine.close)
            self.ready += 1
            self.told(f"machine {self.ready}")
            group = _SnapshotGroup(machine, server, self) if self.ability is Ability.SNAPSHOT else _Group(machine)
            server.is_calm = False
            try:
                yield group
            finally:
                server.is_calm = True  # what the leg left is looked at in peace
            machine.close()
            # What a machine that is thrown away still holds after a fault is of no matter.
            if self.ability is not Ability.GIVEN and not any(fault.has_fired for fault in self.faults):
                self.left += server.world.left()

    def _server(self, stack: contextlib.ExitStack) -> FaultyServer:
        if self._given is not None:
            return self._given
        world = SmallWorld(self.folder / f"machine-{next(self._numbers)}")
        server = FaultyServer(world, self._keys, self.faults, self._chance, self.told)
        world.boot()
        if self.ability is Ability.GIVEN:
            self._given = self._stack.enter_context(server)
            return server
        return stack.enter_context(server)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        given = self._given
        if given is not None and given.is_in_reach:
            self.left += given.world.left()
        self._stack.close()
        for folder in self.folder.glob("machine-*"):
            shutil.rmtree(folder)

    def sweep(self, *, now: datetime) -> Sequence[Leftover]:
        return ()


def _vitals(server: FaultyServer) -> Vitals:
    """What a hypervisor knows."""
    return Vitals(
        is_alive=lambda: Death(loss=Loss.PANIC, why=server.died) if server.died else None,
        farewell=timedelta(seconds=0.5),
    )
