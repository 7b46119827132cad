"""The list of cases as the runner reads it: a piece of shell, one call of ``lisa_case`` a case."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from lisa_ci.errors import PipelineError
from lisa_ci.model import DISK_SERIAL, Case, Command, Leg, Profile, Risk, nic_address

AHEAD: Final = 16  # cases that may run before the host has the result of an earlier one on its disk
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """A case with the command its driver gave; ``folder`` is the suite's in the machine.

    ``watch``: what it leaves behind (mounts, modules, files ...) is looked for; where any is found, the runner
    waits to be ended.
    """

    case: Case
    command: Command
    timeout: timedelta
    folder: str
    environment: Mapping[str, str]
    watch: bool = False


def case_list(cases: Sequence[Planned], environment: Mapping[str, str]) -> bytes:
    """The text of the list. ``environment`` is that of all cases. PipelineError for what no command can be given."""
    lines = [f"export {_assignment(name, value)}" for name, value in environment.items()]
    setups: dict[str, str] = {}
    for planned in cases:
        if planned.case.suite not in setups:
            setups[planned.case.suite] = f"lisa_suite_{len(setups) + 1}"
            lines.append(_setup(setups[planned.case.suite], planned))
    lines += [
        _case(number, planned, setups[planned.case.suite], ahead=_ahead(cases, number))
        for number, planned in enumerate(cases, 1)
    ]
    return "\n".join([*lines, ""]).encode("utf-8", "surrogateescape")


def _ahead(cases: Sequence[Planned], number: int) -> int:
    """1 for a case that may take the machine down: everything before it must be safe with the host."""
    return 1 if cases[number - 1].case.risk is Risk.CRASH else AHEAD


def _setup(name: str, planned: Planned) -> str:
    words = ["cd", shlex.quote(planned.folder)]
    for variable, value in planned.environment.items():
        words += ["&&", "export", _assignment(variable, value)]
    return f"{name}() {{ {' '.join(words)}; }}"


def _case(number: int, planned: Planned, setup: str, *, ahead: int) -> str:
    command = planned.command
    arguments = command.arguments
    if command.directory is not None:
        arguments = ("sh", "-c", 'cd "$1" && shift && exec "$@"', "sh", command.directory, *arguments)
    settings = [_assignment(name, value) for name, value in command.environment.items()]
    limit = max(1, round(planned.timeout.total_seconds() * 100))
    words = ["lisa_case", str(number), _quoted([planned.case.key]), str(limit), str(ahead), str(int(planned.watch))]
    return " ".join([*words, setup, str(len(settings)), *settings, _quoted(arguments)])


def _assignment(name: str, value: str) -> str:
    if _NAME.fullmatch(name) is None:
        raise PipelineError(
            f"'{name[:60]}' cannot be the name of an environment variable", hint="letters, digits and _"
        )
    return _quoted([f"{name}={value}"])


def _quoted(words: Iterable[str]) -> str:
    quoted = " ".join(shlex.quote(word) for word in words)
    if "\0" in quoted:
        raise PipelineError("a command or a variable has a zero byte in it")
    return quoted


def environment(leg: Leg) -> dict[str, str]:
    """What every case of a leg may know of its machine: ``LISA_CI_CORES=2`` and the like; truth is ``true``."""
    facts = {f"LISA_CI_{name.upper()}": _text(value) for name, value in leg.profile.capabilities.items()}
    shape = {"LISA_CI_PROFILE_DISKS": _disks(leg.profile), "LISA_CI_PROFILE_NICS": _nics(leg.profile)}
    return {**facts, "LISA_CI_PROFILE": leg.profile.name, **shape}


def _disks(profile: Profile) -> str:
    """Each data disk as SERIAL:BUS:SIZE_MIB:NAMESPACES:QUEUES:VFS, ``-`` where it has no serial number of ours."""
    return " ".join(
        f"{DISK_SERIAL.format(number) if profile.names_devices else '-'}"
        f":{disk.bus.value}:{disk.size_mib}:{disk.namespaces}:{disk.queues}:{disk.vfs}"
        for number, disk in enumerate(profile.disks)
    )


def _nics(profile: Profile) -> str:
    """Each NIC beside the control NIC as ADDRESS,MODEL,QUEUES,USE; ``-`` where its address is not ours.

    USE is ``link``, ``outbound`` or ``none``.
    """
    return " ".join(
        f"{nic_address(number) if profile.names_devices else '-'},{nic.model},{nic.queues}"
        f",{'link' if nic.link else 'outbound' if nic.outbound else 'none'}"
        for number, nic in enumerate(profile.nics, start=1)
    )


def _text(value: int | str | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
