"""What sign, verify and publish share: the judge of the evidence, and files as options."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

import click

from lisa_ci.files import LegEvidence
from lisa_ci.model import Plan, Result, Verdict
from lisa_ci.release.evidence import Seen
from lisa_ci.reporting.chosen import LegRun
from lisa_ci.reporting.verdict import decide

FOLDER: Final = click.Path(path_type=Path, file_okay=False)
FILE: Final = click.Path(path_type=Path, dir_okay=False)


def judge(plan: Plan, plan_digest: str, evidence: Iterable[LegEvidence], seen: Seen) -> Verdict:
    """The gate of `lisa-ci report`, told over the evidence of a release."""

    def watch(run: LegRun, result: Result) -> None:
        seen(run.leg.id, result)

    return decide(plan, plan_digest, evidence, watch=watch)
