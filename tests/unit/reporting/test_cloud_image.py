"""An image that a cloud holds: it can be gated on, and is never released by us."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from lisa_ci import files
from lisa_ci.model import CloudImage, Outcome, Plan, Subject, Verdict
from lisa_ci.reporting.highlights import Highlights
from lisa_ci.reporting.summary import summary
from lisa_ci.reporting.verdict import decide
from tests.doubles.evidence import make_plan, plan_digest, results_of, write_leg

NAME = "debian:debian-12:12-gen2:0.20261101.1"


def on_azure(name: str = NAME) -> Plan:
    return replace(make_plan(), subject=Subject(cloud=CloudImage(platform="azure", name=name)))


def verdict(plan: Plan, results: Path) -> Verdict:
    return decide(plan, plan_digest(plan), files.read_results(results))


def test_it_passes_the_gate_and_is_not_releasable(tmp_path: Path) -> None:
    write_leg(tmp_path, on_azure(), "small")
    told = verdict(on_azure(), tmp_path)
    assert told.passed
    assert not told.releasable
    assert told.blocks == (f"the image is named, not held: azure:{NAME}",)
    assert told.subject_digest == f"azure:{NAME}"


def test_a_failure_in_it_shuts_the_gate_as_any(tmp_path: Path) -> None:
    plan = on_azure()
    write_leg(tmp_path, plan, "small", results_of(plan, "small", {"boot#b": Outcome.FAILED}))
    assert not verdict(plan, tmp_path).passed


def test_results_for_another_version_prove_nothing(tmp_path: Path) -> None:
    write_leg(tmp_path, on_azure("debian:debian-12:12-gen2:0.20261001.1"), "small")
    assert not verdict(on_azure(), tmp_path).passed


def test_the_summary_names_it(tmp_path: Path) -> None:
    write_leg(tmp_path, on_azure(), "small")
    text = summary(on_azure(), verdict(on_azure(), tmp_path), Highlights())
    assert f"`{NAME}` of azure: named, not held" in text
