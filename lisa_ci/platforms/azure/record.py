"""What this host knows of the resource groups that its runs made: written before the first request that creates one.

A run that was killed leaves its record, by which the next run of the same leg goes on, or a sweep cleans up. It holds
no secret: keys lie in the leg's scratch folder.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from lisa_ci import files
from lisa_ci.errors import LisaCiError
from lisa_ci.model import SCHEMA
from lisa_ci.platforms.qemu.scratch import ProcessName, is_alive, process_name

_LIMIT: Final = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One resource group. ``token``: how to go on following its deployment, '' before there is one.

    ``plan`` (SHA-256, hex) names what was deployed: only the same can be gone on with.
    """

    schema: int = SCHEMA
    subscription: str
    group: str
    region: str
    owner: str
    leg: str
    attempt: int
    delete_after: datetime
    keep: bool
    owner_process: ProcessName
    token: str = ""
    plan: str = ""

    @property
    def is_orphan(self) -> bool:
        """Whether the run that made it is dead."""
        return not is_alive(self.owner_process)


def me() -> ProcessName:
    return process_name(os.getpid())


def folder(environment: Mapping[str, str] | None = None) -> Path:
    """``$XDG_STATE_HOME/lisa-ci/azure``."""
    said = os.environ if environment is None else environment
    return Path(said.get("XDG_STATE_HOME") or Path.home() / ".local/state").absolute() / "lisa-ci" / "azure"


def write(record: Record) -> None:
    """StorageError where it cannot be written: then nothing may be created."""
    files.write_atomically(_path(record.group), files.encode(record))


def read(group: str) -> Record | None:
    """None where there is none that can be read."""
    with suppress(LisaCiError, OSError):
        path = _path(group)
        return files.decode(Record, files.read_bounded(path, _LIMIT), place=str(path))
    return None


def forget(group: str) -> None:
    """Idempotent; never raises."""
    with suppress(OSError):
        _path(group).unlink()


def records() -> Iterator[Record]:
    """All that can be read."""
    try:
        paths = sorted(folder().glob("*.json"))
    except OSError:
        return
    for path in paths:
        found = read(path.stem)
        if found is not None:
            yield found


def _path(group: str) -> Path:
    return folder() / f"{group}.json"
