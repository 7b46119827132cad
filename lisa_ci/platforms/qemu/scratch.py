"""Scratch folders with an owner and an expiry, and how to find and remove those that outlived theirs.

Every machine has one folder for all that is thrown away with it. ``lease.json`` in it says whose it is; a link in the
user's state folder makes it findable later, wherever it lies. A process is named by its id *and* its start time on
this boot of the host, so that a reused id is never taken for it.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Final

from lisa_ci import files
from lisa_ci.errors import LisaCiError, ProvisioningError
from lisa_ci.model import SCHEMA, Lease, Leftover
from lisa_ci.platforms.qemu.command_line import process_mark

LEASE_FILE: Final = "lease.json"
COMMAND_FILE: Final = "command"
END_SECONDS: Final = 5.0
_LEASE_LIMIT_BYTES: Final = 64 << 10
_UNBORN_SECONDS: Final = 60.0  # a link may point to a folder that is about to be made
_POLL_SECONDS: Final = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessName:
    """A process of this boot of the host; ``started`` is in clock ticks since boot."""

    pid: int
    started: int
    boot: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseFile:
    """``lease.json``. ``owner_process`` is lisa-ci, ``guard`` the shell that owns QEMU once there is one."""

    schema: int = SCHEMA
    owner: str
    leg: str
    attempt: int
    delete_after: datetime
    keep: bool
    owner_process: ProcessName
    guard: ProcessName | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Scratch:
    """One machine's folder and the link by which a sweep finds it; the link's name is the machine's id."""

    folder: Path
    link: Path
    lease: LeaseFile

    @property
    def id(self) -> str:
        return self.link.name


def index_folder() -> Path:
    """Links to all scratch folders of this user: ``$XDG_STATE_HOME/lisa-ci/machines``."""
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state").absolute() / "lisa-ci" / "machines"


def create(lease: Lease) -> Scratch:
    """A new folder below the lease's scratch folder. Link first, then folder: there is no moment without an owner."""
    name = f"{lease.leg}-{secrets.token_hex(4)}"
    folder, link = lease.scratch.absolute() / name, index_folder() / name
    written = LeaseFile(
        owner=lease.owner,
        leg=lease.leg,
        attempt=lease.attempt,
        delete_after=lease.delete_after,
        keep=lease.keep,
        owner_process=process_name(os.getpid()),
    )
    try:
        link.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        link.symlink_to(folder)
        folder.mkdir(parents=True, mode=0o700)
    except OSError as error:
        with suppress(OSError):
            link.unlink()
        raise ProvisioningError(
            f"cannot make the machine's scratch folder: {error}", hint="check the free space, and XDG_STATE_HOME"
        ) from error
    files.write_atomically(folder / LEASE_FILE, files.encode(written))
    return Scratch(folder=folder, link=link, lease=written)


def guarded(scratch: Scratch, guard_pid: int) -> Scratch:
    """Note the guard in the lease."""
    lease = replace(scratch.lease, guard=process_name(guard_pid))
    files.write_atomically(scratch.folder / LEASE_FILE, files.encode(lease))
    return replace(scratch, lease=lease)


def remove(folder: Path, link: Path) -> bool:
    """Remove folder and link; never raises. True where nothing is left.

    The lease goes last but for the link: whoever is killed on the way leaves what a sweep knows to be ours.
    """
    with suppress(OSError):
        for entry in folder.iterdir():
            if entry.name != LEASE_FILE:
                _remove_entry(entry)
    shutil.rmtree(folder, ignore_errors=True)
    return _forget(folder, link)


def _remove_entry(entry: Path) -> None:
    if entry.is_dir() and not entry.is_symlink():
        shutil.rmtree(entry, ignore_errors=True)
    else:
        with suppress(OSError):
            entry.unlink()


def _forget(folder: Path, link: Path) -> bool:
    """Remove the link where its folder is gone; a folder that is left is found again."""
    if folder.exists():
        return False
    with suppress(OSError):
        link.unlink()
    return not link.is_symlink()


# ---- finding what is left ------------------------------------------------------------------------------------------


def sweep(now: datetime) -> list[Leftover]:
    """Remove what dead or expired leases left; tell what is kept on purpose. Machines in use are not told of."""
    found: list[Leftover] = []
    for link in _links():
        leftover = _swept(link, now)
        if leftover is not None:
            found.append(leftover)
    return found


def end(machine: str) -> Leftover | None:
    """End a kept machine now and remove what it has; None where there is no such machine."""
    link = index_folder() / machine
    if Path(machine).name != machine or not link.is_symlink():
        return None
    lease = _read(link)
    return _ended(link, lease) if lease else Leftover(what=machine, owner="", is_removed=remove(link.readlink(), link))


def _links() -> list[Path]:
    try:
        return sorted(entry for entry in index_folder().iterdir() if entry.is_symlink())
    except OSError:
        return []


def _swept(link: Path, now: datetime) -> Leftover | None:
    lease = _read(link)
    if lease is None:
        return _swept_without_lease(link)
    if now >= lease.delete_after:
        return _ended(link, lease)
    if lease.guard is not None and is_alive(lease.guard):
        if lease.keep:
            told = f"machine {link.name}, kept until {lease.delete_after:%Y-%m-%d %H:%M %Z}"
            return Leftover(what=told, owner=lease.owner, is_removed=False)
        return None if is_alive(lease.owner_process) else _ended(link, lease)
    return None if is_alive(lease.owner_process) else _ended(link, lease)


def _swept_without_lease(link: Path) -> Leftover | None:
    """A run died between making the link and writing the lease, or is just there."""
    with suppress(OSError):
        if time.time() - link.lstat().st_mtime < _UNBORN_SECONDS:
            return None
    folder = link.readlink()
    # Without a lease the folder is not known to be ours: it goes only where nothing is in it but half a lease.
    with suppress(OSError):
        for half in folder.glob(f".{LEASE_FILE}.*"):
            half.unlink()
        folder.rmdir()
    return Leftover(what=f"unfinished scratch folder {folder}", owner="", is_removed=_forget(folder, link))


def _ended(link: Path, lease: LeaseFile) -> Leftover:
    """The guard removes everything when it is told to end; where it cannot, we do."""
    folder = link.readlink()
    if lease.guard is not None:
        for number in (signal.SIGTERM, signal.SIGKILL):
            if _gone_after(lease.guard, number):
                break
    # QEMU, and who was killed while it became QEMU: a fork of the guard has the link among its words.
    for mark in (process_mark(link.name), str(folder / COMMAND_FILE), str(link)):
        for pid in processes_with(mark):
            _gone_after(process_name(pid), signal.SIGKILL)
    is_removed = remove(folder, link)
    with suppress(OSError):  # the folder around it was left for this machine; another one's keeps it
        folder.parent.rmdir()
    return Leftover(what=f"machine {link.name} in {folder}", owner=lease.owner, is_removed=is_removed)


def _gone_after(guard: ProcessName, number: signal.Signals) -> bool:
    if not is_alive(guard):
        return True
    with suppress(ProcessLookupError, PermissionError):
        os.kill(guard.pid, number)
    deadline = time.monotonic() + END_SECONDS
    while is_alive(guard) and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
    return not is_alive(guard)


def _read(link: Path) -> LeaseFile | None:
    path = link.readlink() / LEASE_FILE
    with suppress(LisaCiError, OSError):
        return files.decode(LeaseFile, files.read_bounded(path, _LEASE_LIMIT_BYTES), place=str(path))
    return None


# ---- processes -----------------------------------------------------------------------------------------------------


def process_name(pid: int) -> ProcessName:
    return ProcessName(pid=pid, started=_started(pid) or 0, boot=_boot())


def processes_with(argument: str) -> list[int]:
    """Processes of this user that have exactly this argument."""
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if entry.name.isdigit() and entry.stat().st_uid == os.getuid():
                words = (entry / "cmdline").read_bytes().split(b"\0")
                if os.fsencode(argument) in words:
                    found.append(int(entry.name))
    return found


def is_alive(process: ProcessName) -> bool:
    return process.boot == _boot() and _started(process.pid) == process.started


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _started(pid: int) -> int | None:
    """Start time in clock ticks since boot; None where there is no such process, or only its exit code is left."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    state, *rest = text.rpartition(")")[2].split()  # the name before it may contain anything
    return None if state in {"Z", "X"} else int(rest[18])
