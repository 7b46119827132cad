"""What each kind of backend must do. A backend is a module that meets one of these, and a line in ``registry``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import Protocol, runtime_checkable

from lisa_ci.events import Emit
from lisa_ci.model import (
    Access,
    Bus,
    Case,
    Command,
    Completed,
    Lease,
    Leftover,
    Profile,
    Receipt,
    Result,
    Subject,
    Suite,
    Timeouts,
)


class Channel(Protocol):
    """Bytes both ways with one command in a machine."""

    def send(self, data: bytes) -> None:
        """All of ``data``, or MachineLostError."""

    def receive(self, limit: int, timeout: timedelta) -> bytes:
        """At most ``limit`` bytes as soon as there are some; b"" at the end; TimeoutError; MachineLostError."""

    def errors(self) -> bytes:
        """What the command wrote to stderr so far: the first 64 KiB."""


class Machine(Protocol):
    """The live thing. Commands run with root's rights (the access method's ``become``)."""

    @property
    def name(self) -> str: ...
    @property
    def role(self) -> str: ...

    def run(self, *command: str, timeout: timedelta, stdin: bytes = b"") -> Completed:
        """Run to its end; output is capped at 1 MiB. MachineLostError when the machine does not answer."""

    def channel(self, *command: str) -> AbstractContextManager[Channel]: ...

    def put(self, source: Path, target: PurePosixPath) -> None:
        """Copy one file into the machine, byte for byte, executable bit kept."""

    def put_tree(self, folder: Path, target: PurePosixPath) -> None:
        """Copy a folder's content below ``target`` in one stream: files, folders, symbolic links as links."""

    def get(self, source: PurePosixPath, target: Path) -> None:
        """Copy one file out of the machine, 64 MiB at most."""

    def reboot(self, *, timeout: timedelta) -> None:
        """Ask for a reboot and come back connected to the new boot, or MachineLostError."""

    def reconnect(self, *, timeout: timedelta) -> None:
        """A new connection after a crash, a restore, a reset; commands that ran are gone. ProvisioningError."""

    def console(self, since: int = 0) -> Iterator[bytes]:
        """What the console printed from byte ``since`` on; still answers after the machine is gone."""

    def login_command(self) -> str:
        """The command that gives a person a prompt in the machine."""


class Machines(Protocol):
    """All machines of a leg. Abilities (snapshot, hot-plug ...) belong to the group and are probed, never assumed."""

    @property
    def members(self) -> Sequence[Machine]: ...

    def end_command(self) -> str:
        """The command that ends a kept group; '' where there is nothing to end."""


@runtime_checkable
class SupportsSnapshot(Protocol):
    """On the group: back to a state within seconds."""

    def snapshot_problem(self) -> str:
        """Why these machines cannot be snapshot, as far as it is known before it is tried; '' where they can."""

    def snapshot(self) -> None:
        """Keep the state of all members, in place of an earlier one. ProvisioningError where it does not work."""

    def restore(self, *, timeout: timedelta) -> None:
        """All members as ``snapshot`` kept them: connected anew, clock set, entropy mixed in. ProvisioningError."""


@runtime_checkable
class SupportsDiagnosis(Protocol):
    """On the group: make a machine that gives no sign of life say why."""

    def diagnose(self) -> str:
        """What was done ('' where nothing could be); returns when its traces are on the console. Never raises."""


@runtime_checkable
class SupportsDiskReturn(Protocol):
    """On the group, beside SupportsHotPlug: disks of several buses that leave with what they hold, and come back."""

    def plug_disk(self, machine: Machine, *, size_mib: int, bus: Bus) -> str:
        """A new, empty disk; what its serial number is. ProvisioningError where there is no room, or no such bus."""

    def pull_disk(self, machine: Machine, name: str, *, timeout: timedelta) -> bool:
        """Take it out, in use or not; False where the machine does not let go of it in time. ProvisioningError."""

    def return_disk(self, machine: Machine, name: str) -> None:
        """Put it back where it was, with what it held. ProvisioningError."""


@runtime_checkable
class SupportsHotPlug(Protocol):
    """On the group: disks and NICs that come and go while a machine runs; profiles with ``hotplug`` have room."""

    def add_disk(self, machine: Machine, *, size_mib: int) -> str:
        """A new, empty disk; what its serial number is. ProvisioningError where there is no room."""

    def add_nic(self, machine: Machine) -> str:
        """A new NIC that leads nowhere; what its address is. ProvisioningError where there is no room."""

    def remove_device(self, machine: Machine, name: str, *, timeout: timedelta) -> bool:
        """Take back what was added; False where the machine does not let go of it in time. ProvisioningError."""


@runtime_checkable
class SupportsHotAdd(Protocol):
    """On the group: processors and memory that come while a machine runs; profiles with ``hotplug`` have room."""

    def add_processor(self, machine: Machine) -> str:
        """One more; what it is called here. ProvisioningError where there is no room."""

    def add_memory(self, machine: Machine, *, size_mib: int) -> str:
        """A module of that size; what it is called here. ProvisioningError where there is no room."""

    def removal_problem(self, machine: Machine, name: str) -> str:
        """Why it cannot be taken back, as far as it is known before it is tried; '' where it can."""

    def remove_added(self, machine: Machine, name: str, *, timeout: timedelta) -> bool:
        """Take back what was added; False where the machine does not let go of it in time. ProvisioningError."""


@runtime_checkable
class SupportsPower(Protocol):
    """On the group: what a cloud does to a machine as a whole. Each returns when it answers again (off: when it is)."""

    def power_off(self, machine: Machine, *, timeout: timedelta) -> None:
        """Stop it and give it back: the next start may be on another host. ProvisioningError."""

    def power_on(self, machine: Machine, *, timeout: timedelta) -> None:
        """Start it. ProvisioningError."""

    def redeploy(self, machine: Machine, *, timeout: timedelta) -> None:
        """Move it to another host; disks of the host itself are lost. ProvisioningError."""

    def resize(self, machine: Machine, size: str, *, timeout: timedelta) -> None:
        """Make it one of another size. ProvisioningError."""


@runtime_checkable
class SupportsAcceleration(Protocol):
    """On the group: the card that a host passes through beside the paravirtual one, for the same address."""

    def set_accelerated_networking(self, machine: Machine, *, is_on: bool, timeout: timedelta) -> None:
        """Give or take that of the first NIC; the machine may be stopped and started for it. ProvisioningError."""


@runtime_checkable
class SupportsLinks(Protocol):
    """On the group: NICs of its machines that are on private links, each with one NIC of another; named by address."""

    def links(self, machine: Machine) -> Sequence[str]:
        """The addresses of the machine's NICs on links, in the same order for all: the first is on the first link."""

    def set_link(self, machine: Machine, name: str, *, up: bool) -> None:
        """Give or take the NIC's carrier, as a cable does. ProvisioningError where there is no such NIC now."""

    def take_out(self, machine: Machine, name: str, *, timeout: timedelta) -> bool:
        """Remove the NIC itself; False where the machine does not let go of it in time. ProvisioningError."""

    def put_back(self, machine: Machine, name: str) -> None:
        """The NIC that was taken out, on the same link, with the same address. ProvisioningError."""


class Platform(Protocol):
    """Makes machines."""

    def problems(self, profile: Profile) -> Sequence[str]:
        """What is missing on this host for this profile, found before any cost."""

    def provision(
        self, profile: Profile, subject: Subject, access: Access, lease: Lease, *, timeouts: Timeouts, emit: Emit
    ) -> AbstractContextManager[Machines]:
        """Machines that answer over SSH. Leaving the block destroys them: idempotent, never raises."""

    def sweep(self, *, now: datetime) -> Sequence[Leftover]:
        """Remove what outlived its lease."""


@runtime_checkable
class SupportsReceipts(Protocol):
    """On the platform: what it made costs money, and it can tell what became of it."""

    def receipts(self) -> Sequence[Receipt]:
        """One for each place where something was made, since this platform is there; complete when a leg has ended."""


class Driver(Protocol):
    """Knows one kind of suite. Pure: no I/O, no clock."""

    def listing(self, suite: Suite) -> Command | None: ...
    def discover(self, suite: Suite, listing: bytes) -> Sequence[Case]: ...
    def command(self, case: Case) -> Command: ...
    def interpret(self, case: Case, completed: Completed) -> Result: ...


@runtime_checkable
class Scenario(Protocol):
    """A test driven from the host. Yields one result for each case of its suite, in any order."""

    def run(self, suite: Suite, machines: Machines, *, timeouts: Timeouts, emit: Emit) -> Iterable[Result]: ...


# ---- release -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """``key_id`` names the public key (SHA-256 hex over its DER form); ``value`` is the signature's bytes."""

    key_id: str
    value: bytes


class Signer(Protocol):
    """Holds, or reaches, a private key."""

    @property
    def key_id(self) -> str: ...

    def sign(self, message: bytes) -> Signature:
        """A signature over exactly these bytes, or SigningError."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseFile:
    """A file of a release, as its checksums prove it. ``sha256`` is hex."""

    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """A folder whose signature verified. ``digest`` (SHA-256 hex over SHA256SUMS) names all its bytes but the proof's.

    ``files`` maps a relative name to what was proven of it: all files of the folder.
    """

    folder: Path
    name: str
    version: str
    arch: str
    digest: str
    files: Mapping[str, ReleaseFile]


@dataclass(frozen=True, slots=True, kw_only=True)
class Staged:
    """A release that lies complete at the target, where no consumer sees it. ``is_new`` False: it is public already."""

    release: Release
    place: str
    is_new: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """A release that consumers see. ``is_latest`` tells whether it is what they get without naming a version."""

    release: Release
    place: str
    is_latest: bool
    is_changed: bool


class Target(Protocol):
    """Where releases are published. Every step starts with "is it already so?", so that it can be repeated."""

    def stage(self, release: Release, *, emit: Emit) -> Staged:
        """Bring every byte there, unseen. Resumes what an earlier attempt left. PublishingError."""

    def promote(self, staged: Staged, *, emit: Emit) -> Published:
        """Make it visible; `latest` moves last, and never to an older version. PublishingError."""

    def undo(self, done: Staged | Published, *, emit: Emit) -> None:
        """Put the target back to what it was before this step; nothing where nothing is left of it."""
