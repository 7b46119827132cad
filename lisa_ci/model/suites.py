"""Suites and cases, what is found on a console, and what is known to fail."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Final

from lisa_ci.model.hardware import Requirements

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


DEFAULT_PRIORITY: Final = 2
LEAST_PRIORITY: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One testcase of a suite. ``id`` is stable; ``title`` is what its own tool calls it; ``run`` what to execute.

    ``priority`` is 0 (what all else stands on) to 4. ``rule`` is what it holds the machine to: a standard, a manual, a
    promise of the kernel. ``mend`` is what to do where it fails. ``dirty``: it is known to leave the machine changed.
    """

    suite: str
    id: str
    title: str = ""
    description: str = ""
    priority: int = DEFAULT_PRIORITY
    rule: str = ""
    mend: str = ""
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
class Download:
    """A file from the network, pinned by its SHA-256 (hex); it lies as ``name`` in a suite's folder in the machine."""

    name: str
    url: str
    sha256: str


class PackageManager(StrEnum):
    """What installs packages in a machine, by the name of its program; ``apt`` is apt-get."""

    APT = "apt"
    TDNF = "tdnf"
    DNF = "dnf"
    ZYPPER = "zypper"
    APK = "apk"


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """A testsuite. Either ``driver`` (runs in the machine) or ``scenario`` (driven from the host) is set.

    ``cases`` None means that ``listing`` (a command in the machine) tells them. ``folder`` is on the host and is
    copied into the machine; ``digest`` is SHA-256 (hex) over its files. ``prepare`` is run in it there before anything
    else of the suite, once in each machine. ``files`` lie in it there as well, though not here: name -> path on the
    host, of what ``fetch`` asks for. ``packages`` are those that its cases use, where the plan has them installed.
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
    fetch: tuple[Download, ...] = ()
    packages: Mapping[PackageManager, tuple[str, ...]] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)


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
