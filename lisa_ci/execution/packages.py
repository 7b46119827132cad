"""Packages that suites name, installed in a machine before anything of a suite runs there (``packages.sh``)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from importlib.resources import files as resources
from typing import Final

from lisa_ci.errors import ProvisioningError
from lisa_ci.model import PackageManager, Suite
from lisa_ci.protocols import Machine

_SCRIPT: Final = (resources("lisa_ci.execution") / "packages.sh").read_text()
_ADDED: Final = "added "
_LACKS: Final = "lacks "
_SAID: Final = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Packages:
    """What became of them: names that were ``added``, and name -> why the machine still ``lacks`` it."""

    added: tuple[str, ...] = ()
    lacks: Mapping[str, str] = field(default_factory=dict)


def wanted(suites: Iterable[Suite]) -> Sequence[str]:
    """All that ``suites`` name, as ``MANAGER:NAME``, each once. A suite that names none for tdnf means dnf's."""
    names: dict[str, None] = {}
    for suite in suites:
        for manager in PackageManager:
            given = suite.packages.get(manager, ())
            if manager is PackageManager.TDNF and not given:
                given = suite.packages.get(PackageManager.DNF, ())
            names.update(dict.fromkeys(f"{manager}:{name}" for name in given))
    return tuple(names)


def install_packages(machine: Machine, names: Sequence[str], *, timeout: timedelta) -> Packages:
    """Install what the machine lacks of ``names`` (of ``wanted``). ProvisioningError where nothing can be had."""
    if not names:
        return Packages()
    done = machine.run("sh", "-c", _SCRIPT, "sh", *names, timeout=timeout)
    lines = done.output.decode("utf-8", "replace").splitlines()
    if done.exit != 0:
        why = "not in time" if done.is_timed_out else (lines[-1] if lines else f"exit {done.exit}")[:_SAID]
        hint = "without 'install_packages' the image is tested as it is"
        raise ProvisioningError(f"no packages can be installed: {why}", hint=hint)
    asked = {name.partition(":")[2] for name in names}
    told = {line.removeprefix(_LACKS).partition(": ")[::2] for line in lines if line.startswith(_LACKS)}
    return Packages(
        added=tuple(name for line in lines if line.startswith(_ADDED) and (name := line.removeprefix(_ADDED)) in asked),
        lacks={name: why[:_SAID] for name, why in sorted(told) if name in asked},
    )
