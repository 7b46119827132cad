"""Every way lisa-ci can stop, each with an exit code of its own (the table is in docs/exit-codes.md).

A failed test is data and never raises. These classes are for a world that does not allow the job to be done.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar


@dataclass(frozen=True, slots=True, kw_only=True)
class Location:
    """A place in a user's file; line and column count from 1, None where only the file is known."""

    file: str
    line: int | None = None
    column: int | None = None

    def __str__(self) -> str:
        return ":".join(str(part) for part in (self.file, self.line, self.column) if part is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One mistake in a user's file: what is wrong (with the offending value) and what to do next."""

    message: str
    hint: str = ""
    location: Location | None = None

    def __str__(self) -> str:
        place = f"{self.location}: " if self.location else ""
        hint = f"; {self.hint}" if self.hint else ""
        return f"{place}error: {self.message}{hint}"


class LisaCiError(Exception):
    """Root of our errors: ``message`` says what is wrong, ``hint`` what to do next, ``location`` where."""

    exit_code: ClassVar[int] = 70

    def __init__(self, message: str, *, hint: str = "", location: Location | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.location = location

    @property
    def problems(self) -> tuple[Problem, ...]:
        return (Problem(message=self.message, hint=self.hint, location=self.location),)


class PipelineError(LisaCiError):
    """The user's file or flags are wrong. Carries every problem found, not only the first."""

    exit_code = 2

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        location: Location | None = None,
        problems: tuple[Problem, ...] = (),
    ) -> None:
        super().__init__(message, hint=hint, location=location)
        self._problems = problems

    @property
    def problems(self) -> tuple[Problem, ...]:
        return self._problems or super().problems


class NothingToDoError(LisaCiError):
    """The plan is empty, and the pipeline says that this is a mistake."""

    exit_code = 3


class ProvisioningError(LisaCiError):
    """No usable machine: infrastructure, not a judgement of the image; a retry may help."""

    exit_code = 4


class Loss(StrEnum):
    """How a machine was lost. CONNECTION: nobody knows more than that it no longer talks to us."""

    CONNECTION = "connection"
    SILENCE = "silence"
    PANIC = "panic"
    REBOOT = "reboot"
    POWER_OFF = "power-off"
    DESTROYED = "destroyed"  # the hypervisor's process, or the cloud's machine, is gone
    CONSOLE_FLOOD = "console-flood"
    RUNNER = "runner"  # the in-machine runner was killed, or broke its protocol


class MachineLostError(ProvisioningError):
    """A machine that was usable no longer answers (crash, hang, connection gone, protocol broken): ``loss``."""

    def __init__(
        self, message: str, *, hint: str = "", location: Location | None = None, loss: Loss = Loss.CONNECTION
    ) -> None:
        super().__init__(message, hint=hint, location=location)
        self.loss = loss


class ToolError(ProvisioningError):
    """A program we need is missing, failed, or did not end in time. Infrastructure."""


class StorageError(ProvisioningError):
    """A file of ours cannot be written on this host: a full disk, no right to. Infrastructure."""

    @classmethod
    def of(cls, path: object, error: OSError, *, hint: str = "check its folder and the free space") -> StorageError:
        """``path`` is what should have been written; raise it ``from error``."""
        return cls(f"cannot write {path}: {error.strerror or error}", hint=hint)


class VerificationError(LisaCiError):
    """A release, a plan or its proof is not what it claims to be. Nothing was released. Carries every problem found."""

    exit_code = 5

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        location: Location | None = None,
        problems: tuple[Problem, ...] = (),
    ) -> None:
        super().__init__(message, hint=hint, location=location)
        self._problems = problems

    @property
    def problems(self) -> tuple[Problem, ...]:
        return self._problems or super().problems


class DataError(VerificationError):
    """A file that we read back (plan, run, journal, manifest ...) is not what it should be."""


class SigningError(LisaCiError):
    """No signature was made. Nothing was released."""

    exit_code = 6


class PublishingError(LisaCiError):
    """The target was not changed, or was put back. Nothing was released."""

    exit_code = 7
