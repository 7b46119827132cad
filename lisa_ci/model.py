"""The nouns of lisa-ci as frozen values: what is tested, on what, by what, and how it ended.

Everything that crosses a module or a file border is one of these. They hold no live state and do no I/O. The words
are those of CONTRIBUTING.md, one word for one thing. Sizes name their unit; times are ``timedelta``.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from enum import StrEnum
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final

from lisa_ci.errors import Loss

SCHEMA: Final = 1
ID_PATTERN: Final = r"[a-z0-9](?:[a-z0-9._-]{0,126}[a-z0-9])?"
_ID: Final = re.compile(ID_PATTERN)

Capability = int | str | bool


def is_id(text: str) -> bool:
    """True for a legal profile, suite, case or leg id: also a legal folder, artifact and check name."""
    return _ID.fullmatch(text) is not None and ".." not in text


class Secret:
    """A value that never shows itself: ``str`` and ``repr`` are ``***``; ``reveal()`` is the only way to it."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return "***"

    __str__ = __repr__


# ---- what is tested ------------------------------------------------------------------------------------------------


class ImageFormat(StrEnum):
    """Containers of a disk. ``vhd`` is QEMU's ``vpc``."""

    RAW = "raw"
    QCOW2 = "qcow2"
    VHD = "vhd"
    VHDX = "vhdx"
    VMDK = "vmdk"


class Firmware(StrEnum):
    BIOS = "bios"
    UEFI = "uefi"


class Arch(StrEnum):
    X86_64 = "x86_64"
    AARCH64 = "aarch64"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSource:
    """The image as the pipeline names it: a path, a glob that matches one file, or an URL with its sha256."""

    path: str | None = None
    url: str | None = None
    sha256: str | None = None
    format: ImageFormat | None = None
    arch: Arch = Arch.X86_64
    firmware: tuple[Firmware, ...] = (Firmware.BIOS, Firmware.UEFI)


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """The disk under test.

    ``disk_digest`` is the SHA-256 (hex) over the bytes the machine sees: the raw disk, padded with zeros to a whole
    MiB, whatever the container. ``size_bytes`` is that padded size. ``path`` is relative to the working directory
    where the file lies below it; ``url`` and ``sha256`` (of the file) are set where the image is downloaded, and then
    ``path`` is only its file name.
    """

    path: str
    url: str | None = None
    sha256: str | None = None
    format: ImageFormat
    disk_digest: str
    size_bytes: int
    arch: Arch = Arch.X86_64
    firmware: tuple[Firmware, ...] = (Firmware.BIOS, Firmware.UEFI)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """A foreign kernel to boot the image with. Paths on the host; ``digest`` is SHA-256 (hex) over all its parts.

    ``source`` is where it was delivered (a folder, an archive, a package), ``extra`` a folder with more modules for it,
    and ``delivery`` SHA-256 (hex) of both; without ``source``, ``image`` is set.
    """

    image: str = ""
    source: str | None = None
    extra: str | None = None
    delivery: str = ""
    modules: str | None = None
    config: str | None = None
    initrd: str | None = None
    command_line: str | None = None
    vmlinux: str | None = None
    digest: str = ""

    @property
    def path(self) -> str:
        """What people know it by."""
        return self.source or self.image


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What a run judges: the disk, plus a foreign kernel where one is booted. None = a machine that already runs."""

    image: Image | None = None
    kernel: Kernel | None = None

    @property
    def digest(self) -> str:
        """Names the subject in runs: the disk digest, joined with the kernel's where there is one; '' for neither."""
        parts = [part for part in (self.image and self.image.disk_digest, self.kernel and self.kernel.digest) if part]
        return "+".join(parts)


# ---- how to get into a machine -------------------------------------------------------------------------------------


class Become(StrEnum):
    """How the login gets root's rights: it is root, or ``sudo -n`` is allowed."""

    NONE = "none"
    SUDO = "sudo"


class WayIn(StrEnum):
    """How our key gets into an image that knows nothing of us. AUTO offers cloud-init and credentials together."""

    AUTO = "auto"
    CLOUD_INIT = "cloud-init"
    CREDENTIALS = "credentials"
    OFFLINE = "offline"
    KEY = "key"


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Who logs in, and how. ``key`` is the path of a private key that the machine already accepts (way in KEY)."""

    user: str = "root"
    become: Become = Become.NONE
    way_in: WayIn = WayIn.AUTO
    key: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """``boot``: power-on to login; ``case``: one case without a timeout of its own; ``leg``: the whole leg.

    ``silence``: how long a machine may give no sign of life before it is taken for hung.
    """

    boot: timedelta = timedelta(minutes=5)
    case: timedelta = timedelta(minutes=5)
    leg: timedelta = timedelta(minutes=60)
    silence: timedelta = timedelta(seconds=60)


# ---- hardware ------------------------------------------------------------------------------------------------------

DISK_SERIAL: Final = "lisa-ci-{}"


def nic_address(number: int) -> str:
    """Of a machine that is made: 0 is the control NIC, the profile's follow. Locally administered, in QEMU's range."""
    return f"52:54:00:6c:63:{number:02x}"


class Bus(StrEnum):
    VIRTIO = "virtio"
    SCSI = "scsi"
    NVME = "nvme"
    SATA = "sata"


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """A data disk beside the image's own; empty, thrown away with the machine.

    ``namespaces`` (NVMe only) are as many block devices of ``size_mib`` each behind one controller. ``queues`` 0 leaves
    their number to the platform.
    """

    size_mib: int = 1024
    bus: Bus = Bus.VIRTIO
    namespaces: int = 1
    queues: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Nic:
    """A network card beside the control NIC. ``outbound`` gives it a way out; without, it has no network at all.

    ``queues`` are pairs, one for receiving and one for sending.
    """

    model: str = "virtio"
    outbound: bool = False
    queues: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where a machine that already runs listens; ``host_key`` is its pinned public key, ``TYPE BASE64``."""

    host: str
    port: int = 22
    host_key: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """A hardware profile: the shape a leg is provisioned with, and the platform that makes it.

    ``numa_nodes`` share processors and memory evenly. ``hotplug``: room for disks, NICs, processors and memory that
    come while it runs.
    """

    name: str
    platform: str = "qemu"
    description: str = ""
    arch: Arch = Arch.X86_64
    firmware: Firmware = Firmware.BIOS
    cores: int = 2
    memory_mib: int = 1024
    disks: tuple[Disk, ...] = ()
    nics: tuple[Nic, ...] = ()
    numa_nodes: int = 1
    tpm: bool = False
    secure_boot: bool = False
    hotplug: bool = False
    endpoint: Endpoint | None = None
    runs_on: str = "ubuntu-24.04"

    @property
    def names_devices(self) -> bool:
        """Its disks have the serial numbers, its NICs the addresses that are ours: it is made, not found."""
        return self.endpoint is None

    @property
    def capabilities(self) -> Mapping[str, Capability]:
        """What a suite may ask for. Counts are 'at least', everything else is 'equal'."""
        return {
            "platform": self.platform,
            "arch": self.arch.value,
            "firmware": self.firmware.value,
            "cores": self.cores,
            "memory_mib": self.memory_mib,
            "disks": len(self.disks),
            "nics": 1 + len(self.nics),
            "machines": 1,
            "outbound": any(nic.outbound for nic in self.nics),
            **{f"disk_{bus.value}": sum(disk.bus is bus for disk in self.disks) for bus in Bus},
            "nvme_namespaces": max((disk.namespaces for disk in self.disks if disk.bus is Bus.NVME), default=0),
            "disk_queues": max((max(1, disk.queues) for disk in self.disks), default=0),
            "nic_queues": max((1, *(nic.queues for nic in self.nics))),
            "numa_nodes": self.numa_nodes,
            "tpm": self.tpm,
            "secure_boot": self.secure_boot,
            "hotplug": self.hotplug,
        }


def contradictions(profile: Profile) -> tuple[str, ...]:
    """What a profile asks for that no machine can give at once; one sentence each."""
    found = []
    if profile.secure_boot and profile.firmware is not Firmware.UEFI:
        found.append("'secure_boot' needs 'firmware: uefi'")
    if any(disk.namespaces > 1 and disk.bus is not Bus.NVME for disk in profile.disks):
        found.append("only a disk with 'bus: nvme' has several 'namespaces'")
    if any(disk.queues > 1 and disk.bus is Bus.SATA for disk in profile.disks):
        found.append("a disk with 'bus: sata' has one queue")
    if any(disk.queues > profile.cores for disk in profile.disks):
        found.append("a disk has at most one of 'queues' for each of the 'cores'")
    several = [nic for nic in profile.nics if nic.queues > 1]
    if any(nic.model != "virtio" or nic.outbound for nic in several):
        found.append("only a NIC with 'model: virtio' and no 'outbound' has several 'queues'")
    if any(nic.queues > profile.cores for nic in several):
        found.append("a NIC has at most one of 'queues' for each of the 'cores'")
    if profile.numa_nodes > profile.cores:
        found.append("'numa_nodes' needs at least one of the 'cores' for each")
    return tuple(found)


Requirements = Mapping[str, Capability | tuple[Capability, ...]]


def unmet(requirements: Requirements, capabilities: Mapping[str, Capability]) -> tuple[str, ...]:
    """One sentence for each requirement that the capabilities do not meet; empty when all are met.

    A number asks for at least that many, anything else for an equal value; a tuple asks for one of its members.
    """
    reasons = []
    for name, wanted in requirements.items():
        given = capabilities.get(name)
        choices = wanted if isinstance(wanted, tuple) else (wanted,)
        if not any(_meets(given, choice) for choice in choices):
            said = " or ".join(_shown(choice) for choice in choices)
            has = "says nothing of it" if given is None else f"gives {_shown(given).removeprefix('>= ')}"
            reasons.append(f"needs {name} {said}, the profile {has}")
    return tuple(reasons)


def _meets(given: Capability | None, wanted: Capability) -> bool:
    if isinstance(wanted, bool) or isinstance(given, bool):
        return type(given) is type(wanted) and given == wanted
    if isinstance(wanted, str) or isinstance(given, str):
        return given == wanted  # also where one is a StrEnum's member, as a suite file gives it
    return given is not None and given >= wanted


def _shown(value: Capability) -> str:
    return f"{value}".lower() if isinstance(value, bool) else f"{value}" if isinstance(value, str) else f">= {value}"


# ---- suites and cases ----------------------------------------------------------------------------------------------


class Expectation(StrEnum):
    """What a case may do to its machine without that being its failure."""

    REBOOT = "reboot"
    PANIC = "panic"
    OOM = "oom"
    SPLAT = "splat"


class Risk(StrEnum):
    """CRASH: the machine may die, so the runner never goes ahead of the host's acknowledgement."""

    NONE = "none"
    CRASH = "crash"


class Isolation(StrEnum):
    """When the machine goes back to its state after preparation: before every case, after a case that left it dirty,
    or only after a crash.
    """

    CASE = "case"
    DIRTY = "dirty"
    CRASH = "crash"


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A command in a machine: arguments, no shell unless it names one.

    ``directory`` None = the suite's folder there.
    """

    arguments: tuple[str, ...]
    directory: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One testcase of a suite. ``id`` is stable; ``title`` is what its own tool calls it; ``run`` what to execute.

    ``dirty``: it is known to leave the machine changed.
    """

    suite: str
    id: str
    title: str = ""
    description: str = ""
    run: tuple[str, ...] = ()
    timeout: timedelta | None = None
    requires: Requirements = field(default_factory=dict)
    expects: tuple[Expectation, ...] = ()
    risk: Risk = Risk.NONE
    dirty: bool = False
    source: str | None = None

    @property
    def key(self) -> str:
        """``suite#case``: names the case within a leg."""
        return f"{self.suite}#{self.id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """A testsuite. Either ``driver`` (runs in the machine) or ``scenario`` (driven from the host) is set.

    ``cases`` None means that ``listing`` (a command in the machine) tells them. ``folder`` is on the host and is
    copied into the machine; ``digest`` is SHA-256 (hex) over its files. ``prepare`` is run in it there before anything
    else of the suite, once in each machine.
    """

    name: str
    folder: str
    digest: str
    description: str = ""
    driver: str | None = None
    scenario: str | None = None
    cases: tuple[Case, ...] | None = None
    listing: tuple[str, ...] = ()
    prepare: tuple[str, ...] = ()
    requires: Requirements = field(default_factory=dict)
    timeout: timedelta | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    isolation: Isolation = Isolation.DIRTY


# ---- the console ---------------------------------------------------------------------------------------------------


class Category(StrEnum):
    """What a finding on the console is about. The table of patterns is execution/console_watch.py."""

    PANIC = "panic"
    OOPS = "oops"
    BUG = "bug"
    WARNING = "warning"
    LOCKDEP = "lockdep"
    KASAN = "kasan"
    KCSAN = "kcsan"
    UBSAN = "ubsan"
    SOFT_LOCKUP = "soft-lockup"
    HARD_LOCKUP = "hard-lockup"
    HUNG_TASK = "hung-task"
    RCU_STALL = "rcu-stall"
    OOM_KILL = "oom-kill"
    MACHINE_CHECK = "machine-check"
    FAILED_ROOT = "failed-root"
    EMERGENCY_SHELL = "emergency-shell"
    INITRAMFS_PROMPT = "initramfs-prompt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something bad that a kernel or an early boot said.

    ``fingerprint`` (16 hex digits) is the same for the same trouble: addresses, numbers and times do not count.
    ``text`` is the excerpt, at most 8 KiB. ``case`` is ``suite#case`` where it came up while a case ran.
    ``allowed`` is the reason of the pipeline's allow-list, '' where nothing allows it.
    """

    category: Category
    title: str
    fingerprint: str
    text: str = ""
    case: str | None = None
    allowed: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """A finding that does not fail a case, for a reason, as long as somebody answers for it.

    ``fingerprint`` or ``match`` (a glob over the finding's title) is set; ``category`` narrows it; ``expires`` is the
    last day on which it counts.
    """

    reason: str
    owner: str
    expires: date
    fingerprint: str | None = None
    match: str | None = None
    category: Category | None = None


# ---- the baseline --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownFailure:
    """Cases that are known to fail, for a reason, as long as somebody answers for them.

    ``case`` is a glob over ``suite#case``, ``profile`` one over the profile's name; ``expires`` is the last day (UTC)
    on which it counts. ``link`` leads to what is known of it.
    """

    case: str
    reason: str
    owner: str
    expires: date
    profile: str = "*"
    link: str = ""

    def covers(self, profile: str, case: str) -> bool:
        """True for a case (``suite#case``) on a profile that this entry is about, expired or not."""
        return fnmatchcase(case, self.case) and fnmatchcase(profile, self.profile)


# ---- pipeline and plan ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteSelection:
    """A suite as the pipeline selects it: which profiles (globs) and cases (globs), into how many shards."""

    suite: Suite
    shards: int = 1
    profiles: tuple[str, ...] = ("*",)
    only: tuple[str, ...] = ()
    skip: Mapping[str, str] = field(default_factory=dict)
    required: bool = True
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseSettings:
    """What a release is called and contains; ``formats`` are containers of one and the same disk."""

    name: str = ""
    version: str = ""
    formats: tuple[ImageFormat, ...] = (ImageFormat.VHD, ImageFormat.QCOW2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """The user's ``lisa-ci.yml``, validated. Paths are as written, relative to ``folder``."""

    file: str
    folder: str
    name: str
    image: ImageSource | None
    kernel: Kernel | None
    access: Access
    profiles: tuple[Profile, ...]
    suites: tuple[SuiteSelection, ...]
    timeouts: Timeouts
    release: ReleaseSettings
    allow_empty: bool = False
    console: tuple[Allowance, ...] = ()
    baseline: tuple[KnownFailure, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """Part ``index`` (from 1) of ``count`` of a suite's cases; every case is in exactly one.

    A stable hash of the case id decides, so a shard is defined before its cases are known.
    """

    index: int = 1
    count: int = 1

    def contains(self, case_id: str) -> bool:
        return self.index_of(case_id, self.count) == self.index

    @staticmethod
    def index_of(case_id: str, count: int) -> int:
        """The part, from 1, that a case falls into when there are ``count``."""
        return int.from_bytes(hashlib.sha256(case_id.encode()).digest()[:8], "big") % count + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What a leg does with one suite. ``left_out`` are case ids this profile cannot run or the pipeline skips.

    ``environment`` comes on top of the suite's own.
    """

    suite: str
    shard: Shard = Shard()
    only: tuple[str, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Leg:
    """One matrix job: one profile and the tasks packed on it."""

    id: str
    profile: Profile
    tasks: tuple[Task, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedSuite:
    """A suite as planned: where it is, its digest, and its case ids where they are known before a machine exists."""

    name: str
    folder: str
    digest: str
    cases: tuple[str, ...] | None
    required: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """A pair that does not fit, and why. ``case`` None: the whole suite."""

    profile: str
    suite: str
    case: str | None = None
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Every leg of one workflow run. ``digest`` is not a field: it is the SHA-256 of the plan file's bytes."""

    schema: int = SCHEMA
    name: str
    subject: Subject
    access: Access
    timeouts: Timeouts
    release: ReleaseSettings
    suites: tuple[PlannedSuite, ...]
    legs: tuple[Leg, ...]
    left_out: tuple[LeftOut, ...] = ()
    notes: tuple[str, ...] = ()
    allow_empty: bool = False
    console: tuple[Allowance, ...] = ()
    baseline: tuple[KnownFailure, ...] = ()

    def leg(self, leg_id: str) -> Leg | None:
        return next((leg for leg in self.legs if leg.id == leg_id), None)


# ---- machines and their owner --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Death:
    """Why a machine is dead, as far as the host can see."""

    loss: Loss
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """Written before anything is created: who owns it, until when, where its evidence and its scratch files go.

    ``keep``: the machine outlives us, until ``delete_after``.
    """

    owner: str
    leg: str
    attempt: int
    delete_after: datetime
    evidence: Path
    scratch: Path
    keep: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Leftover:
    """Something a sweep found: what it was and whether it is gone now."""

    what: str
    owner: str
    is_removed: bool


# ---- results -------------------------------------------------------------------------------------------------------


class Outcome(StrEnum):
    """As in JUnit. ERRORED = the image was not judged (the world failed), and is worse than FAILED."""

    PASSED = "passed"
    FAILED = "failed"
    ERRORED = "errored"
    SKIPPED = "skipped"


_WORST_FIRST: Final = (Outcome.ERRORED, Outcome.FAILED, Outcome.PASSED, Outcome.SKIPPED)


def worst(outcomes: Iterable[Outcome]) -> Outcome | None:
    """The outcome that a group takes from its members: only skips is SKIPPED, none is None."""
    present = set(outcomes)
    return next((outcome for outcome in _WORST_FIRST if outcome in present), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Completed:
    """How a command in a machine ended.

    ``exit`` is None when it never ended by itself (timeout, machine lost); a signal is 128 + its number, as in a
    shell. ``output`` is stdout and stderr as they came, capped to a head and a tail; ``dropped_bytes`` is what was
    cut out between, at ``head_bytes``. CPU and memory are None where the machine cannot tell.
    """

    exit: int | None
    output: bytes = b""
    head_bytes: int = 0
    dropped_bytes: int = 0
    is_timed_out: bool = False
    wall: timedelta = timedelta()
    cpu: timedelta | None = None
    peak_memory_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SubResult:
    """One sub-test (a TAP line, an LTP TFAIL ...) inside a case; ``children`` where the tool nests further."""

    name: str
    outcome: Outcome
    message: str = ""
    children: tuple[SubResult, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """How one case ended.

    ``file`` and ``line`` point into sources where the tool told; ``log`` is relative to the leg's folder.
    ``loss`` is how the machine was lost while the case ran. ``findings`` is what the console said meanwhile.
    ``note`` tells people what was special (ran a second time, ended by the machine's own journal ...).
    """

    suite: str
    case: str
    outcome: Outcome
    message: str = ""
    detail: str = ""
    exit: int | None = None
    wall: timedelta = timedelta()
    cpu: timedelta | None = None
    peak_memory_bytes: int | None = None
    children: tuple[SubResult, ...] = ()
    dropped_children: int = 0
    file: str | None = None
    line: int | None = None
    log: str | None = None
    title: str = ""
    loss: Loss | None = None
    findings: tuple[Finding, ...] = ()
    note: str = ""

    @property
    def key(self) -> str:
        return f"{self.suite}#{self.case}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One stage of a leg (provision, prepare, inventory, cases, collect, destroy) and what it took."""

    name: str
    started: datetime
    wall: timedelta


class Method(StrEnum):
    """How a machine came back: SNAPSHOT restored, REBOOT from a fresh overlay, RECONNECT to one that went on."""

    SNAPSHOT = "snapshot"
    REBOOT = "reboot"
    RECONNECT = "reconnect"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """A machine that was brought back in the middle of a leg: why, after which case, how, and what it took."""

    reason: str
    case: str | None
    method: Method
    wall: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """The head of everything one leg left behind (``run.json``); its results are in ``journal.ndjson``.

    ``is_complete`` is written last: without it the leg died on the way. ``error`` is why the image was not judged.
    ``only`` are the case globs of ``run --case``: a run with some is a desk's, and no gate opens on it.
    ``findings`` are those of the console that belong to no case.
    """

    schema: int = SCHEMA
    leg: str
    plan_digest: str
    subject_digest: str
    attempt: int
    started: datetime
    ended: datetime | None = None
    is_complete: bool = False
    error: str = ""
    stages: tuple[Stage, ...] = ()
    facts: Mapping[str, str] = field(default_factory=dict)
    changes: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    recoveries: tuple[Recovery, ...] = ()
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """The case ids a machine really has, suite by suite, before sharding (``inventory.json``)."""

    schema: int = SCHEMA
    leg: str
    suites: Mapping[str, tuple[str, ...]]


# ---- the verdict ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """Why a verdict is not green. ``kind`` is stable for programs; infrastructure is told apart from tests."""

    kind: str
    message: str
    leg: str | None = None
    case: str | None = None
    is_infrastructure: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """May this image be released; if not, every reason. ``passed`` is the gate, ``releasable`` asks for more."""

    schema: int = SCHEMA
    name: str
    plan_digest: str
    subject_digest: str
    passed: bool
    releasable: bool
    reasons: tuple[Reason, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    legs: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
