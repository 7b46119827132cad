"""What `report` writes for evidence with one of everything. ``UPDATE_GOLDEN=1`` writes the files anew."""

from __future__ import annotations

import io
import json
import os
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from lisa_ci import files
from lisa_ci.errors import Loss
from lisa_ci.model import Bus, Category, Disk, Finding, Firmware, Method, Outcome, Plan, Recovery, SubResult
from lisa_ci.reporting.annotations import annotate
from lisa_ci.reporting.attempts import noted
from lisa_ci.reporting.highlights import Highlights
from lisa_ci.reporting.junit import JUnitWriter
from lisa_ci.reporting.summary import summary
from lisa_ci.reporting.verdict import decide
from tests.doubles.evidence import make_plan, make_result, plan_digest, results_of, write_leg

GOLDEN = Path(__file__).parent / "report"
PANIC = Finding(
    category=Category.PANIC,
    title="Kernel panic - not syncing: sysrq triggered crash",
    fingerprint="1" * 16,
    text="Kernel panic - not syncing: sysrq triggered crash\n---[ end Kernel panic ]---",
    case="boot#panics",
)
SPLAT = Finding(
    category=Category.WARNING, title="WARNING: at drivers/x.c:1", fingerprint="0" * 16, text="WARNING\n```\nCall Trace:"
)
HOSTILE = "exit 1: `rm` <b>bold</b> | @everyone\n::error::not ours\x1b[31m\x00"


def one_of_everything(results: Path) -> Plan:
    plan = make_plan(
        suites={"boot": ["clock", "network", "panics", "units"], "userland": ["dns", "packages", "rtc"]},
        profiles=("bios-small", "uefi-large", "uefi-lost"),
        left_out={"packages": "needs outbound true, profile gives false"},
    )
    large = replace(
        plan.legs[1].profile,
        firmware=Firmware.UEFI,
        cores=4,
        memory_mib=4096,
        disks=(Disk(bus=Bus.NVME), Disk(bus=Bus.SCSI)),
    )
    plan = replace(plan, legs=(plan.legs[0], replace(plan.legs[1], profile=large), plan.legs[2]))
    given = {result.key: result for result in results_of(plan, "bios-small", {"userland#rtc": Outcome.SKIPPED})}
    given["boot#network"] = make_result(
        "boot",
        "network",
        Outcome.FAILED,
        message=HOSTILE,
        detail=f"eth1 has no address\n```\n</details>\n{HOSTILE}",
        exit=1,
        file="suites/boot/network",
        line=12,
        log="cases/boot/network.log",
        children=(
            SubResult(name="eth0 has an address", outcome=Outcome.PASSED),
            SubResult(name="eth1 has an address", outcome=Outcome.FAILED, message="none"),
        ),
    )
    given["boot#units"] = make_result("boot", "units", Outcome.ERRORED)
    given["userland#dns"] = make_result("userland", "dns", Outcome.ERRORED, loss=None, message="Bail out! no resolver")
    given["boot#panics"] = make_result(
        "boot",
        "panics",
        Outcome.ERRORED,
        message="while the case ran: the kernel panicked",
        loss=Loss.PANIC,
        findings=(PANIC,),
        detail=PANIC.text,
    )
    first = [result for result in given.values() if result.key != "boot#units"]
    write_leg(results, plan, "bios-small", [*first, given["boot#units"]], folder="lisa-ci-leg-bios-small-1")
    write_leg(
        results,
        plan,
        "bios-small",
        [*(noted(result, 1) for result in first), make_result("boot", "units")],
        folder="lisa-ci-leg-bios-small-2",
        attempt=2,
        findings=(SPLAT, replace(SPLAT, fingerprint="2" * 16, title="ACPI BIOS Error (bug)", allowed="firmware, #7")),
        recoveries=(
            Recovery(reason="panic", case="boot#panics", method=Method.SNAPSHOT, wall=timedelta(seconds=2.5)),
            Recovery(reason="connection", case=None, method=Method.RECONNECT, wall=timedelta(seconds=0.3)),
        ),
    )
    write_leg(
        results,
        plan,
        "uefi-large",
        [make_result("boot", "clock"), make_result("boot", "network", Outcome.ERRORED)],
        is_complete=False,
    )
    return plan


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    results = tmp_path_factory.mktemp("results")
    plan = one_of_everything(results)
    highlights, stream = Highlights(), io.BytesIO()
    junit = JUnitWriter(stream, plan)
    verdict = decide(
        plan,
        plan_digest(plan),
        files.read_results(results),
        watch=lambda run, result: (junit.take(run, result), highlights.take(run, result)),
        begin=highlights.begin,
    )
    junit.close(verdict.reasons)
    return {
        "verdict.json": files.encode(verdict).decode(),
        "junit.xml": stream.getvalue().decode(),
        "summary.md": summary(plan, verdict, highlights),
        "annotations.txt": "\n".join(annotate(verdict, highlights, workspace=Path("/work"))) + "\n",
    }


@pytest.mark.parametrize("name", ["verdict.json", "junit.xml", "summary.md", "annotations.txt"])
def test_the_report_is_the_one_that_was_reviewed(name: str, written: dict[str, str]) -> None:
    # The plan's digest changes with every field that a plan gets; what it is called here is not the point.
    text = written[name].replace(_digest_in(written), "PLAN-DIGEST")
    path = GOLDEN / name
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


def _digest_in(written: dict[str, str]) -> str:
    digest: str = json.loads(written["verdict.json"])["plan_digest"]
    return digest
