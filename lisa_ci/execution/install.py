"""What a leg brings into its machine: the runner and the folders of its suites, in a folder of root's own."""

from __future__ import annotations

import io
import os
import re
import secrets
import stat
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from importlib.resources import files as resources
from pathlib import Path
from typing import Final

from lisa_ci.errors import PipelineError, ProvisioningError
from lisa_ci.model import Suite
from lisa_ci.protocols import Machine

SIZE_LIMIT: Final = 64 << 20  # bytes of all suites of a leg together; more belongs on a disk or in a package
_PLACES: Final = "/var/tmp /tmp /root /run"  # noqa: S108 - nobody knows the name before, and mkdir takes no other's

# Makes a folder of our own that can hold programs (/tmp and /run are often mounted noexec), fills it with the archive
# on stdin, prints its path. The name is the host's, so that the folder can be found when this answer never arrives.
# A machine without tar says so by exit 3.
_INSTALL: Final = r"""
command -v tar >/dev/null || exit 3
umask 022
for place in $1; do
  folder=$place/$2
  mkdir -m 700 "$folder" 2>/dev/null || continue
  printf '#!/bin/sh\nexit 0\n' >"$folder/probe" && chmod 755 "$folder/probe" && "$folder/probe" 2>/dev/null && break
  rm -rf "$folder"
  folder=
done
[ -n "$folder" ] || { echo "no folder of $1 can hold programs" >&2; exit 4; }
rm -f "$folder/probe"
tar -x -f - -C "$folder" || { rm -rf "$folder"; exit 5; }
echo "$folder"
"""

_NAME: Final = re.compile(r"lisa-ci-[0-9a-f]{12}")
# Ends and removes all that bears a name of stdin. A runner that lost its host waits for a replay, and a sampler on a
# connection that has stalled waits for ever; runner.sh puts the name where it is found. Our own command has it nowhere.
_REMOVE: Final = rf"""
names=$(cat)
for name in $names; do
  round=0
  found=1
  while [ "$found" -gt 0 ] && [ "$round" -lt 5 ]; do
    found=0
    round=$((round + 1))
    for entry in $(grep -lsa -e "$name" /proc/[0-9]*/cmdline /proc/[0-9]*/environ); do
      entry=${{entry#/proc/}}
      kill -s KILL "${{entry%%/*}}" 2>/dev/null && found=1
    done
  done
  rmdir /sys/fs/cgroup/lisa-ci.$name/*/ /sys/fs/cgroup/unified/lisa-ci.$name/*/ 2>/dev/null
  rmdir /sys/fs/cgroup/lisa-ci.$name /sys/fs/cgroup/unified/lisa-ci.$name 2>/dev/null
  rm -rf "/run/lisa-ci-run.$name" "/dev/shm/lisa-ci-run.$name"
  for place in {_PLACES}; do
    rm -rf "$place/$name"
  done
done
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """``folder`` is in the machine; a suite lies in ``folder``/suites/NAME."""

    folder: str

    @property
    def name(self) -> str:
        return self.folder.rpartition("/")[2]

    @property
    def runner(self) -> str:
        return f"{self.folder}/runner.sh"

    def suite(self, name: str) -> str:
        return f"{self.folder}/suites/{name}"


def new_name() -> str:
    """A name for the folder of one installation."""
    return f"lisa-ci-{secrets.token_hex(6)}"


def install(machine: Machine, suites: Mapping[str, Suite], *, name: str, timeout: timedelta) -> Installed:
    """Copy everything in one stream into a folder ``name``. ProvisioningError with what the machine lacks."""
    archive = pack(suites)
    completed = machine.run("sh", "-c", _INSTALL, "install", _PLACES, name, timeout=timeout, stdin=archive)
    lines = completed.output.decode("utf-8", "replace").strip().splitlines()
    if completed.exit == 3:
        raise ProvisioningError("the machine has no tar, which unpacks the suites", hint="add tar to the image")
    if completed.exit != 0 or not lines or not lines[-1].startswith("/"):
        how = "not in time" if completed.is_timed_out else f"exit {completed.exit}"
        raise ProvisioningError(f"the suites could not be copied into the machine ({how})", hint=" ".join(lines)[-300:])
    return Installed(folder=lines[-1])


def remove(machine: Machine, names: Iterable[str], *, timeout: timedelta) -> None:
    """For machines that live on after the leg: installations of these names. What is no such name is passed over."""
    ours = [name for name in names if _NAME.fullmatch(name)]
    if ours:
        machine.run("sh", "-c", _REMOVE, timeout=timeout, stdin="\n".join(ours).encode())


def pack(suites: Mapping[str, Suite]) -> bytes:
    """A tar file: the runner, and suites/NAME for each suite. Owner root, times zero, executable bits as they are."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.GNU_FORMAT) as archive:
        _add(archive, "runner.sh", (resources("lisa_ci.execution") / "runner.sh").read_bytes(), executable=True)
        archive.addfile(_entry("suites", tarfile.DIRTYPE, 0o755))
        for name, suite in sorted(suites.items()):
            _add_folder(archive, f"suites/{name}", Path(suite.folder))
            for file, path in sorted(suite.files.items()):
                _add(archive, f"suites/{name}/{file}", _read(Path(path)), executable=False)
            if stream.tell() > SIZE_LIMIT:
                raise PipelineError(
                    f"the suites of this leg have more than {SIZE_LIMIT >> 20} MiB", hint="put large files on a disk"
                )
    return stream.getvalue()


def _add_folder(archive: tarfile.TarFile, name: str, folder: Path) -> None:
    archive.addfile(_entry(name, tarfile.DIRTYPE, 0o755))
    try:
        for path in sorted(folder.rglob("*")):
            inside = f"{name}/{path.relative_to(folder).as_posix()}"
            if "__pycache__" in path.parts:
                continue
            if path.is_symlink():
                link = _entry(inside, tarfile.SYMTYPE, 0o777)
                link.linkname = os.fspath(path.readlink())
                archive.addfile(link)
            elif path.is_dir():
                archive.addfile(_entry(inside, tarfile.DIRTYPE, 0o755))
            elif path.is_file():
                if path.stat().st_size > SIZE_LIMIT:
                    raise PipelineError(f"{path} is too large for a suite", hint="put large files on a disk")
                _add(archive, inside, path.read_bytes(), executable=bool(path.stat().st_mode & stat.S_IXUSR))
    except OSError as error:
        raise PipelineError(f"cannot read {error.filename}: {error.strerror}") from error


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > SIZE_LIMIT:
            raise PipelineError(f"{path} is too large for a suite", hint="put large files on a disk")
        return path.read_bytes()
    except OSError as error:
        raise PipelineError(f"cannot read {path}: {error.strerror}") from error


def _add(archive: tarfile.TarFile, name: str, data: bytes, *, executable: bool) -> None:
    entry = _entry(name, tarfile.REGTYPE, 0o755 if executable else 0o644)
    entry.size = len(data)
    archive.addfile(entry, io.BytesIO(data))


def _entry(name: str, kind: bytes, mode: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type = kind
    entry.mode = mode
    return entry
