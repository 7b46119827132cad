from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import jsonschema
import pytest
import yaml

from lisa_ci import files
from lisa_ci.model import Allowance, Category, Plan
from lisa_ci.pipeline import parse_pipeline
from lisa_ci.pipeline.console_settings import expired
from lisa_ci.pipeline.reference import schema_json
from lisa_ci.planning import make_plan
from tests.doubles.pipelines import KNOWN, LEAST_PIPELINE, SUBJECT, THREE_CASES, problems_of, write_suite

WHOLE = """\
console:
  - fingerprint: 1f0c2a9b7d3e4856
    reason: known, fixed in 6.12.4
    owner: kernel-team
    expires: 2027-06-30
  - match: WARNING in drm_*
    category: warning
    reason: "no screen: none is needed"
    owner: a@example.org
    expires: "2027-01-31"
"""
ALLOWED = (
    Allowance(
        fingerprint="1f0c2a9b7d3e4856",
        reason="known, fixed in 6.12.4",
        owner="kernel-team",
        expires=date(2027, 6, 30),
    ),
    Allowance(
        match="WARNING in drm_*",
        category=Category.WARNING,
        reason="no screen: none is needed",
        owner="a@example.org",
        expires=date(2027, 1, 31),
    ),
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_suite(tmp_path / "suites/mine", THREE_CASES)
    return tmp_path


def test_allowances_arrive_in_the_pipeline_and_in_the_plan(folder: Path) -> None:
    pipeline = parse_pipeline((LEAST_PIPELINE + WHOLE).encode(), "lisa-ci.yml", folder, KNOWN)
    assert pipeline.console == ALLOWED
    plan = make_plan(pipeline, SUBJECT)
    assert plan.console == ALLOWED
    assert files.decode(Plan, files.encode(plan), place="plan.json").console == ALLOWED


def test_without_the_key_nothing_is_allowed(folder: Path) -> None:
    assert parse_pipeline(LEAST_PIPELINE.encode(), "lisa-ci.yml", folder, KNOWN).console == ()


def test_every_mistake_in_an_allowance_is_told_at_its_place(folder: Path) -> None:
    text = (
        LEAST_PIPELINE
        + """\
console:
  - {fingerprint: 1f0c, reason: r, owner: o, expires: 2027-06-30}
  - {reason: r, owner: o, expires: 2027-06-30}
  - {match: a, fingerprint: 1f0c2a9b7d3e4856, reason: r, owner: o, expires: 2027-06-30}
  - {match: a, expires: 2027-06-30}
  - {match: a, reason: r, owner: o, expires: 2027-02-30}
  - {match: a, reason: r, owner: o, expires: 30.6.2027}
  - {match: a, reason: "", owner: o, expires: 2027-06-30, categori: oops}
  - {match: a, reason: r, owner: o, expires: 2027-06-30, category: ooops}
"""
    )
    assert problems_of(text, folder) == [
        (
            "lisa-ci.yml:6:19: error: 'fingerprint' must be 16 hexadecimal digits, not '1f0c'; "
            "the report and the run's folder tell it"
        ),
        "lisa-ci.yml:7:5: error: 'console' lacks 'fingerprint' or 'match'; add one of them: 'fingerprint: ...'",
        "lisa-ci.yml:8:5: error: 'console' has both 'fingerprint' and 'match'; keep one",
        (
            "lisa-ci.yml:9:5: error: 'console' lacks the key 'reason'; "
            "add 'reason: known, fixed in 6.12.4; the image ships 6.12.2'"
        ),
        "lisa-ci.yml:9:5: error: 'console' lacks the key 'owner'; add 'owner: kernel-team'",
        "lisa-ci.yml:10:46: error: 'expires' '2027-02-30' is no day of the calendar; correct it",
        "lisa-ci.yml:11:46: error: 'expires' must be a day (YYYY-MM-DD), not '30.6.2027'; write it as 2027-06-30",
        "lisa-ci.yml:12:24: error: 'reason' is empty; use 1 to 300 characters",
        "lisa-ci.yml:12:59: error: unknown key 'categori'; did you mean 'category'?",
        (
            "lisa-ci.yml:13:68: error: 'category' must be one of panic, oops, bug, warning, lockdep, kasan, kcsan, "
            "ubsan, soft-lockup, hard-lockup, hung-task, rcu-stall, oom-kill, machine-check, failed-root, "
            "emergency-shell, initramfs-prompt, not 'ooops'; did you mean 'oops'?"
        ),
    ]


def test_a_finding_that_is_allowed_twice_is_a_mistake(folder: Path) -> None:
    entry = "  - {match: a, reason: r, owner: o, expires: 2027-06-30}\n"
    told = problems_of(f"{LEAST_PIPELINE}console:\n{entry}{entry}", folder)
    assert told == ["lisa-ci.yml:7:5: error: this finding is allowed twice; the first is in line 6"]
    other = entry.replace("match: a", "match: a, category: bug")
    assert len(parse_pipeline(f"{LEAST_PIPELINE}console:\n{entry}{other}".encode(), "f", folder, KNOWN).console) == 2


def test_the_schema_takes_quoted_days_and_refuses_what_is_no_day() -> None:
    schema = json.loads(schema_json("pipeline"))["properties"]["console"]
    right = yaml.safe_load(WHOLE.replace("2027-06-30", "'2027-06-30'"))["console"]
    validator = jsonschema.Draft202012Validator(schema)
    assert validator.is_valid(right)
    for key, value in (("expires", "soon"), ("fingerprint", "x"), ("category", "x"), ("more", 1)):
        assert not validator.is_valid([{**right[0], key: value}])
    assert not validator.is_valid([{**right[0], "match": "both"}])


def test_an_allowance_counts_on_its_last_day_and_is_told_of_after_it() -> None:
    assert list(expired(ALLOWED, date(2027, 1, 31))) == []
    assert list(expired(ALLOWED, date(2027, 2, 1))) == [
        (
            "console: what a@example.org allowed as 'WARNING in drm_*' fails cases again: "
            "the allowance expired on 2027-01-31"
        )
    ]
    assert len(list(expired(ALLOWED, date(2028, 1, 1)))) == 2
