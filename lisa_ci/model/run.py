"""What one leg left behind, and what is decided of all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from lisa_ci.errors import Loss
from lisa_ci.model.subject import SCHEMA
from lisa_ci.model.suites import Finding

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
    ``mend`` is what the suite says to do about it, where it failed.
    ``metrics`` are figures that the case measured: a name that ends with the unit (``tcp_mbit_per_s``) -> a finite
    number.
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
    mend: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)

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
class Receipt:
    """What a leg made where it costs money, ``TYPE/NAME`` each: ``created`` is ``deleted`` and ``left`` together.

    ``place`` is where; what is left may be swept after ``delete_after``, or goes by itself where its deletion runs.
    """

    place: str
    created: tuple[str, ...] = ()
    deleted: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    delete_after: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """The head of everything one leg left behind (``run.json``); its results are in ``journal.ndjson``.

    ``is_complete`` is written last: without it the leg died on the way. ``error`` is why the image was not judged.
    ``only`` are the case globs of ``run --case``: a run with some is a desk's, and no gate opens on it.
    ``findings`` are those of the console that belong to no case. ``receipts``: see Receipt.
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
    receipts: tuple[Receipt, ...] = ()


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
    """May this image be released; if not, every reason. ``passed`` is the gate, ``releasable`` asks for more.

    ``blocks`` say why a green verdict would still not do for a release. ``known`` (``leg/suite#case``, sorted) failed
    as the baseline knows; ``notes`` are what else people must know.
    """

    schema: int = SCHEMA
    name: str
    plan_digest: str
    subject_digest: str
    passed: bool
    releasable: bool
    reasons: tuple[Reason, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    legs: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    blocks: tuple[str, ...] = ()
    known: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
