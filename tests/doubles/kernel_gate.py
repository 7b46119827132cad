"""The gate of a kernel on a repository: its workflow under act, or its steps one by one, and what they left."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lisa_ci import image
from tests.doubles.act import COMMIT, PULL_REQUEST, ActRun, run_act

LISA_CI = Path(sys.executable).with_name("lisa-ci")
WORKFLOW = ".github/workflows/kernel-gate.yml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """Of one leg, its results by case (``SUITE#CASE``) and its console."""

    by_case: Mapping[str, Mapping[str, Any]]
    console: str

    @classmethod
    def of(cls, leg: Path) -> Results:
        lines = (leg / "journal.ndjson").read_text().splitlines()
        results = [json.loads(line)["result"] for line in lines]
        return cls(
            by_case={f"{result['suite']}#{result['case']}": result for result in results},
            console=(leg / "console.log").read_text(errors="replace"),
        )

    def outcomes(self) -> dict[str, str]:
        return {case: str(result["outcome"]) for case, result in self.by_case.items()}

    def failed(self) -> list[str]:
        return sorted(case for case, outcome in self.outcomes().items() if outcome in {"failed", "errored"})


def lisa_ci(folder: Path, *words: str, minutes: int = 30) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [LISA_CI, *words], cwd=folder, capture_output=True, text=True, timeout=60 * minutes, check=False
    )


def init(folder: Path, gate: str) -> None:
    """What ``lisa-ci init`` writes, over what is there."""
    words = ("--kernel-gate", gate, "--force", "--lisa-ci", f"lisa-ci/lisa-ci@{COMMIT}")
    made = lisa_ci(folder, "init", ".", *words)
    assert made.returncode == 0, made.stderr


def judge(folder: Path) -> tuple[bool, Results]:
    """Plan, run on profile bios and report at a desk, of a repository that is built; whether the gate is open."""
    planned = lisa_ci(folder, "plan", "--out", "plan.json")
    assert planned.returncode == 0, planned.stderr
    ran = lisa_ci(folder, "run", "bios", "--plan", "plan.json", "--out", "results")
    assert ran.returncode == 0, ran.stderr
    told = lisa_ci(folder, "report", "--plan", "plan.json", "--results", "results", "--out", "report")
    assert told.returncode in {0, 1}, told.stderr
    return told.returncode == 0, Results.of(folder / "results/bios")


def run_workflow(
    caller: Path, work: Path, *, lisa_ci_repository: Path, wheelhouse: Path, minutes: int = 15, **environment: str
) -> tuple[ActRun, Results]:
    """The workflow that ``init`` wrote, under act on a pull request: each job in a working tree of its own."""
    workflow = caller / WORKFLOW
    # act does not tell a called workflow where it comes from; servers that do not either use the same inputs.
    told = f"lisa-ci-repository: lisa-ci/lisa-ci\n      lisa-ci-ref: {COMMIT}\n      image-artifact: kernel"
    workflow.write_text(workflow.read_text().replace("image-artifact: kernel", told))
    run = run_act(
        caller,
        WORKFLOW,
        event="pull_request",
        payload=PULL_REQUEST,
        work=work,
        repositories={"lisa-ci/lisa-ci": lisa_ci_repository, "distro/kernel": caller},
        environment={
            "GITHUB_REPOSITORY": "distro/kernel",
            "GITHUB_REF": "refs/pull/7/merge",
            "SHA_REF": COMMIT,
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(wheelhouse),
            "LISA_CI_CACHE": str(image.cache_folder()),  # the kernel need not be unpacked again
            **environment,
        },
        timeout_seconds=60 * minutes,
    )
    for job in ("kernel", "plan"):
        assert not run.job_failed(job), "\n".join(run.lines.get(job, ()))[-3000:]
    leg = work / "artifacts/lisa-ci-leg-bios-1"
    assert leg.is_dir(), run.text[-5000:]
    return run, Results.of(leg)
