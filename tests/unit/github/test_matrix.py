from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta

import pytest

from lisa_ci.errors import PipelineError
from lisa_ci.github.matrix import matrix_json
from lisa_ci.model import Leg, Plan, Profile, Timeouts
from tests.doubles.evidence import make_plan


def with_legs(count: int, **profile: str) -> Plan:
    plan = make_plan()
    legs = (Leg(id=f"leg-{number}", profile=Profile(name="p", **profile), tasks=()) for number in range(count))  # type: ignore[arg-type]
    return replace(plan, legs=tuple(legs))


def test_the_matrix_holds_names_only() -> None:
    plan = make_plan(suites={"boot": ["a"], "userland": ["b"]}, profiles=("small", "large"))
    assert json.loads(matrix_json(plan)) == {
        "include": [
            {"leg": "small", "title": "small (boot, userland)", "runs-on": "ubuntu-24.04", "timeout-minutes": 75},
            {"leg": "large", "title": "large (boot, userland)", "runs-on": "ubuntu-24.04", "timeout-minutes": 75},
        ]
    }


def test_the_matrix_is_one_line_so_that_it_can_be_an_output() -> None:
    assert "\n" not in matrix_json(make_plan())


def test_the_jobs_timeout_is_the_legs_and_a_margin_in_whole_minutes() -> None:
    plan = replace(make_plan(), timeouts=Timeouts(leg=timedelta(minutes=9, seconds=1)))
    assert json.loads(matrix_json(plan))["include"][0]["timeout-minutes"] == 25


def test_an_empty_plan_gives_an_empty_matrix() -> None:
    assert matrix_json(make_plan(suites={})) == '{"include":[]}'


def test_as_many_legs_as_github_runs_are_fine() -> None:
    assert len(json.loads(matrix_json(with_legs(256)))["include"]) == 256


def test_one_leg_more_than_github_runs_is_refused_with_a_way_out() -> None:
    with pytest.raises(PipelineError, match="257 legs") as caught:
        matrix_json(with_legs(257))
    assert "shards" in caught.value.hint


def test_a_matrix_that_does_not_fit_into_an_output_is_refused() -> None:
    with pytest.raises(PipelineError, match="UTF-16"):
        matrix_json(with_legs(256, runs_on="label" * 500))


def test_a_long_title_is_cut() -> None:
    plan = make_plan(suites={f"suite-{number}": ["a"] for number in range(50)})
    title = json.loads(matrix_json(plan))["include"][0]["title"]
    assert len(title) == 100
    assert title.endswith("…")
