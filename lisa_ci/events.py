"""What happens, as values. Code below ``commands`` emits events; only ``console`` draws them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from lisa_ci.model import Result


class Level(StrEnum):
    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A sentence for people. ``place`` is a leg id or another short label."""

    text: str
    level: Level = Level.INFO
    place: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageStarted:
    """A stage begins. ``expected`` is the number of steps where known (cases to run, bytes to hash ...)."""

    place: str
    stage: str
    expected: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StageAdvanced:
    """``done`` steps of the running stage are behind us."""

    place: str
    stage: str
    done: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StageEnded:
    """Always follows StageStarted, also when the stage failed (``error`` says why)."""

    place: str
    stage: str
    wall: timedelta
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseStarted:
    place: str
    case: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseEnded:
    """A case has its result; the result is on disk by now. ``reproduce`` is the one-line command for a failure."""

    place: str
    result: Result
    reproduce: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineOutput:
    """Bytes a machine printed. Never trusted: the console fences, strips and caps them."""

    place: str
    data: bytes


Event = Message | StageStarted | StageAdvanced | StageEnded | CaseStarted | CaseEnded | MachineOutput
Emit = Callable[[Event], None]
