"""A leg's installation in its machines, from the first case to the last; ``install`` has the copying."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

from lisa_ci.errors import MachineLostError, ProvisioningError
from lisa_ci.events import Emit, Level, Message
from lisa_ci.execution import collect
from lisa_ci.execution.clock import Deadline
from lisa_ci.execution.group import Group
from lisa_ci.execution.install import Installed, install, new_name, remove
from lisa_ci.execution.inventory import in_folder
from lisa_ci.execution.packages import install_packages, wanted
from lisa_ci.model import Command, Suite, Timeouts
from lisa_ci.protocols import Machine

_SHORT: Final = timedelta(seconds=60)
_PACKAGES: Final = timedelta(minutes=20)  # to fetch and unpack them; boots and cases have limits of their own
_KNOCK: Final = timedelta(seconds=15)  # at a machine that is not needed any more


@dataclass(frozen=True, slots=True, kw_only=True)
class Brought:
    """What was brought: where it is, the machine's facts before, and each change to a machine, in words."""

    installed: Installed
    facts: Mapping[str, str]
    changes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """The runner, ``suites`` and their packages in the machine, and telemetry on the way back, into ``telemetry``.

    ``lives_on``: the machine is not ours, so nothing may stay there, but where ``keep`` asks for it; the file ``names``
    tells a run that comes after a kill what to look for. ``place`` is the leg, for what is said.
    """

    suites: Mapping[str, Suite]
    lives_on: bool
    keep: bool
    installs_packages: bool
    names: Path
    telemetry: Path
    deadline: Deadline
    timeouts: Timeouts
    emit: Emit
    place: str

    def bring(self, machines: Sequence[Machine]) -> Brought:
        """Everything that cases need, the suites' own preparation done. All but packages is in the first machine."""
        machine = machines[0]
        facts = collect.facts(machine, timeout=self.deadline.at_most(_SHORT))
        self._remove_earlier(machine)
        changes = self._bring_packages(machines) if self.installs_packages else ()
        limit = self.deadline.at_most(self.timeouts.boot)
        name = new_name()
        if self.lives_on:
            with contextlib.suppress(OSError), self.names.open("a") as file:
                file.write(f"{name}\n")
        installed = install(machine, self.suites, name=name, timeout=limit)
        for suite in self.suites.values():
            self._prepare(suite, machine, installed)
        place = f"{installed.folder}: the runner and the suites {', '.join(sorted(self.suites))}"
        return Brought(installed=installed, facts=facts, changes=(place, *changes))

    def _bring_packages(self, machines: Sequence[Machine]) -> tuple[str, ...]:
        """What it changed, a line for each machine that had not all of them."""
        changes = []
        for machine in machines:
            found = install_packages(machine, wanted(self.suites.values()), timeout=self.deadline.at_most(_PACKAGES))
            for name, why in found.lacks.items():
                text = f"package {name} cannot be installed in {machine.name}: {why}"
                self.emit(Message(text=text, level=Level.WARNING, place=self.place))
            if found.added:
                changes.append(f"packages in {machine.name}: {', '.join(found.added)}")
        return tuple(changes)

    def _prepare(self, suite: Suite, machine: Machine, installed: Installed) -> None:
        if not suite.prepare:
            return
        limit = self.deadline.at_most(suite.timeout or self.timeouts.boot)
        words = in_folder(Command(arguments=suite.prepare), installed.suite(suite.name), suite.environment)
        completed = machine.run(*words, timeout=limit)
        if completed.exit != 0:
            how = "did not end in time" if completed.is_timed_out else f"ended with exit {completed.exit}"
            said = " ".join(completed.output.decode("utf-8", "replace").split())[-300:]
            raise ProvisioningError(f"the preparation of suite {suite.name} {how}: {said or 'it said nothing'}")

    def _remove_earlier(self, machine: Machine) -> None:
        """What a run that was killed has left in a machine that lives on."""
        if self.lives_on and self.names.exists():
            remove(machine, self.names.read_text().split(), timeout=_SHORT)

    def take_back(self, group: Group) -> None:
        """Telemetry out of the machines, and all of ours. Harmless where none answers: the results are what counts."""
        try:
            if self.lives_on:
                self._answering(group)
                if not group.has_installed:
                    self._remove_earlier(group.machine)
            if not group.has_installed:
                return
            try:
                collect.telemetry(group.machine, self.telemetry, timeout=_SHORT)
                for other in group.machines.members[1:]:
                    collect.telemetry(other, self.telemetry / other.role, timeout=_SHORT)
            finally:
                if not self.keep:
                    if self.lives_on:
                        self._answering(group)
                    remove(group.machine, (group.installed.name,), timeout=_SHORT)
        except ProvisioningError as error:
            self.emit(Message(text=f"no telemetry: {error.message}", level=Level.WARNING, place=self.place))

    def _answering(self, group: Group) -> None:
        try:
            group.machine.run("true", timeout=_SHORT)
        except MachineLostError:
            group.machine.reconnect(timeout=_KNOCK)
