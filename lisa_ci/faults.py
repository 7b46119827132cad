"""Whose doing it is that there is no judgement: the image's, the test's own, or the world's (infrastructure).

One table, asked by everything that tells the two apart: exit code, verdict, JUnit, summary, annotations, and what a
later attempt may run again. Each entry is explained in docs/attempts.md.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Final

from lisa_ci.errors import Loss
from lisa_ci.model import Category, Finding, Outcome, Result, Run


class Fault(StrEnum):
    """IMAGE: it took its machine down. TEST: the machine was there, and the case could not tell. WORLD: neither."""

    IMAGE = "image"
    TEST = "test"
    WORLD = "infrastructure"


OF_LOSS: Final = {
    Loss.CONNECTION: Fault.WORLD,  # nobody saw more than a connection that ended
    Loss.DESTROYED: Fault.WORLD,  # the hypervisor or the cloud took it
    Loss.SILENCE: Fault.IMAGE,
    Loss.PANIC: Fault.IMAGE,
    Loss.REBOOT: Fault.IMAGE,
    Loss.POWER_OFF: Fault.IMAGE,
    Loss.CONSOLE_FLOOD: Fault.IMAGE,
    Loss.RUNNER: Fault.IMAGE,  # killed in the machine, or made to break its protocol there
}
DEADLY: Final = frozenset(
    {Category.PANIC, Category.FAILED_ROOT, Category.EMERGENCY_SHELL, Category.INITRAMFS_PROMPT, Category.HARD_LOCKUP}
)
"""What a console says of a machine that does not come up, or not again."""
NO_TIMER: Final = "IO-APIC + timer doesn't work!"
"""The message of a panic that is no image's doing: at boot the kernel tries its timer (arch/x86/kernel/apic/io_apic.c,
check_timer), and on a host that is too busy to emulate one it does not tick in time."""
HARMLESS: Final = frozenset({Category.OOM_KILL})
"""Told, but for itself no fault of the kernel."""


def of_run(run: Run) -> Fault | None:
    """Why a leg was not judged as a whole; None where it was.

    A leg that gave up on its machine is the image's fault where the console told of a death that no case explains.
    """
    if run.is_complete and not run.error:
        return None
    return Fault.IMAGE if run.error and deadly(run.findings) else Fault.WORLD


def of_result(run: Run, result: Result) -> Fault | None:
    """Why a case of this run was not judged; None where it was."""
    if result.outcome is not Outcome.ERRORED:
        return None
    return OF_LOSS[result.loss] if result.loss else of_run(run) or Fault.TEST


def is_proof(run: Run, result: Result) -> bool:
    """True where the case need not, and must not, run again for this plan: it says something about the image."""
    return of_result(run, result) is not Fault.WORLD


def unallowed(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """The findings that are trouble: not allowed by the pipeline, and not harmless."""
    return tuple(
        found
        for found in findings
        if not found.allowed and found.category not in HARMLESS and not is_of_the_host(found)
    )


def deadly(findings: Iterable[Finding]) -> Finding | None:
    """The first finding of which a machine dies. An allow-list does not bring a machine back."""
    return next((found for found in findings if found.category in DEADLY and not is_of_the_host(found)), None)


def is_of_the_host(finding: Finding) -> bool:
    """Said by a kernel at its start, when no case runs, and the doing of what emulates it: infrastructure."""
    is_panic = finding.category is Category.PANIC and finding.case is None
    return is_panic and finding.title.startswith(f"Kernel panic: {NO_TIMER}")
