"""The user's pipeline, what is planned of it, and who owns the machines."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from lisa_ci.errors import Loss
from lisa_ci.model.hardware import Profile
from lisa_ci.model.subject import SCHEMA, Access, ImageFormat, ImageSource, Kernel, Subject, Timeouts
from lisa_ci.model.suites import LEAST_PRIORITY, Allowance, Download, KnownFailure, Suite

# ---- pipeline and plan ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteSelection:
    """A suite as the pipeline selects it: which profiles (globs) and cases (globs), into how many shards.

    ``priority``: of the cases that tell theirs before a machine exists, those up to this number.
    """

    suite: Suite
    shards: int = 1
    profiles: tuple[str, ...] = ("*",)
    only: tuple[str, ...] = ()
    skip: Mapping[str, str] = field(default_factory=dict)
    priority: int = LEAST_PRIORITY
    required: bool = True
    environment: Mapping[str, str] = field(default_factory=dict)
    fetch: tuple[Download, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseSettings:
    """What a release is called and contains; ``formats`` are containers of one and the same disk.

    ``allow_known_failures``: an image may be signed of which cases failed as the baseline knows; the statement names
    them.
    """

    name: str = ""
    version: str = ""
    formats: tuple[ImageFormat, ...] = (ImageFormat.VHD, ImageFormat.QCOW2)
    allow_known_failures: bool = False


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
    install_packages: bool = False
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

    ``environment`` and ``fetch`` come on top of the suite's own.
    """

    suite: str
    shard: Shard = Shard()
    only: tuple[str, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    fetch: tuple[Download, ...] = ()


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
    install_packages: bool = False
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
