from __future__ import annotations

import dataclasses
import json
from datetime import timedelta

import pytest

from lisa_ci import files
from lisa_ci.errors import NothingToDoError, PipelineError
from lisa_ci.github.matrix import matrix_json
from lisa_ci.model import (
    Access,
    Case,
    Endpoint,
    Kernel,
    LeftOut,
    Plan,
    PlannedSuite,
    Profile,
    Shard,
    Subject,
    SuiteSelection,
    Task,
    Timeouts,
    WayIn,
)
from lisa_ci.planning import explain, make_plan, refuse_empty
from tests.doubles.pipelines import IMAGE, SUBJECT, pipeline, suite

BIOS, BIG = Profile(name="bios"), Profile(name="big", cores=8)
MANY = [f"case-{number}" for number in range(300)]


def test_a_profile_without_shards_is_one_leg_of_its_own_name() -> None:
    plan = make_plan(pipeline([BIOS, BIG], [SuiteSelection(suite=suite("s", "a"))]), SUBJECT)
    assert [(leg.id, leg.profile, leg.tasks) for leg in plan.legs] == [
        ("bios", BIOS, (Task(suite="s"),)),
        ("big", BIG, (Task(suite="s"),)),
    ]


def test_a_suite_with_fewer_parts_sits_on_the_first_legs() -> None:
    selections = [
        SuiteSelection(suite=suite("whole", *MANY)),
        SuiteSelection(suite=suite("two", *MANY), shards=2),
        SuiteSelection(suite=suite("three", *MANY), shards=3),
    ]
    plan = make_plan(pipeline([BIOS], selections), SUBJECT)
    assert {leg.id: [(task.suite, task.shard) for task in leg.tasks] for leg in plan.legs} == {
        "bios.1of3": [
            ("whole", Shard()),
            ("two", Shard(index=1, count=2)),
            ("three", Shard(index=1, count=3)),
        ],
        "bios.2of3": [("two", Shard(index=2, count=2)), ("three", Shard(index=2, count=3))],
        "bios.3of3": [("three", Shard(index=3, count=3))],
    }


def test_every_case_is_in_exactly_one_leg_of_a_profile() -> None:
    plan = make_plan(pipeline([BIOS, BIG], [SuiteSelection(suite=suite("s", *MANY), shards=7)]), SUBJECT)
    for profile in ("bios", "big"):
        tasks = [task for leg in plan.legs if leg.profile.name == profile for task in leg.tasks]
        assert len(tasks) == 7
        assert all(sum(task.shard.contains(case) for task in tasks) == 1 for case in MANY)


def test_parts_that_would_be_empty_are_not_made_and_that_is_told() -> None:
    plan = make_plan(pipeline([BIOS, BIG], [SuiteSelection(suite=suite("s", "a"), shards=4)]), SUBJECT)
    assert [leg.id for leg in plan.legs] == ["bios", "big"]
    assert plan.notes == ("suite s: 4 shards leave parts without a case on bios, so it has 1 there",)


def test_what_is_left_out_says_why_in_the_task_and_in_the_plan() -> None:
    cases = [Case(suite="s", id="a", run=("true",)), Case(suite="s", id="b", run=("true",), requires={"cores": 4})]
    selections = [
        SuiteSelection(suite=suite("s", *cases)),
        SuiteSelection(suite=suite("t", "a", requires={"disks": 1})),
    ]
    plan = make_plan(pipeline([BIOS], selections), SUBJECT)
    assert plan.legs[0].tasks == (Task(suite="s", left_out={"b": "needs cores >= 4, the profile gives 2"}),)
    assert plan.left_out == (
        LeftOut(profile="bios", suite="s", case="b", reason="needs cores >= 4, the profile gives 2"),
        LeftOut(profile="bios", suite="t", reason="needs disks >= 1, the profile gives 0"),
    )
    assert plan.notes == ("suite t runs on no profile: needs disks >= 1, the profile gives 0",)


def test_every_suite_is_in_the_plan_also_one_that_runs_nowhere() -> None:
    selections = [
        SuiteSelection(suite=suite("s", "a", "b", digest="1" * 64)),
        SuiteSelection(suite=suite("t", listing=("x",), requires={"disks": 1}), required=False),
    ]
    plan = make_plan(pipeline([BIOS], selections), SUBJECT)
    assert plan.suites == (
        PlannedSuite(name="s", folder="own/s", digest="1" * 64, cases=("a", "b")),
        PlannedSuite(name="t", folder="own/t", digest="0" * 64, cases=None, required=False),
    )


def test_the_same_pipeline_and_subject_give_the_same_bytes() -> None:
    def plan() -> Plan:
        selections = [
            SuiteSelection(suite=suite("s", *MANY), shards=3, skip={"case-1*": "x", "case-2": "y"}),
            SuiteSelection(suite=suite("t", "a", requires={"cores": (8, 16), "outbound": False})),
        ]
        return make_plan(pipeline([BIOS, BIG], selections), SUBJECT)

    first, second = files.encode(plan()), files.encode(plan())
    assert first == second
    assert files.decode(Plan, first, place="plan.json") == plan()


def test_more_legs_than_a_matrix_runs_are_packed_together_and_that_is_told() -> None:
    profiles = [Profile(name=f"p{number}") for number in range(100)]
    selections = [SuiteSelection(suite=suite("s", listing=("x",)), shards=4), SuiteSelection(suite=suite("t", "a"))]
    plan = make_plan(pipeline(profiles, selections), SUBJECT)
    assert len(plan.legs) == 256
    assert len({leg.id for leg in plan.legs}) == 256
    assert sum(task.suite == "t" for leg in plan.legs for task in leg.tasks) == 100
    (note,) = plan.notes
    assert note.startswith(
        "400 legs do not fit into one matrix, so shards are packed together: p0 from 4 to 3, p1 from"
    )
    assert note.endswith("p4 from 4 to 3 and 95 more")
    for profile in profiles:
        shards = [task.shard for leg in plan.legs if leg.profile == profile for task in leg.tasks if task.suite == "s"]
        assert [shard.index for shard in shards] == list(range(1, shards[0].count + 1))


def test_more_profiles_than_a_matrix_runs_are_a_mistake() -> None:
    profiles = [Profile(name=f"p{number}") for number in range(257)]
    with pytest.raises(PipelineError, match="257 profiles need a leg each"):
        make_plan(pipeline(profiles, [SuiteSelection(suite=suite("s", "a"))]), SUBJECT)


def test_the_matrix_of_the_largest_plan_fits_into_an_output() -> None:
    profiles = [Profile(name=f"p{number}".ljust(100, "x"), runs_on="r" * 100) for number in range(256)]
    selections = [SuiteSelection(suite=suite(f"s{number}".ljust(100, "y"), "a")) for number in range(5)]
    plan = make_plan(pipeline(profiles, selections), SUBJECT)
    matrix = matrix_json(plan)
    assert len(json.loads(matrix)["include"]) == 256
    assert len(matrix.encode("utf-16-le")) <= 1_000_000


def test_an_empty_plan_stops_with_the_first_reason_unless_it_is_allowed() -> None:
    given = pipeline([BIOS], [SuiteSelection(suite=suite("s", "a", requires={"disks": 1}))])
    plan = make_plan(given, SUBJECT)
    with pytest.raises(NothingToDoError) as caught:
        refuse_empty(plan)
    assert caught.value.message == "the plan has no leg; bios/s: needs disks >= 1, the profile gives 0"
    assert caught.value.exit_code == 3
    allowed = make_plan(dataclasses.replace(given, allow_empty=True), SUBJECT)
    refuse_empty(allowed)
    assert (allowed.legs, allowed.notes) == ((), ("the plan is empty: needs disks >= 1, the profile gives 0",))
    assert json.loads(matrix_json(allowed)) == {"include": []}


def test_the_subject_of_a_foreign_kernel_is_in_the_plan() -> None:
    subject = Subject(image=IMAGE, kernel=Kernel(image="bzImage", digest="e" * 64))
    plan = make_plan(pipeline([BIOS], [SuiteSelection(suite=suite("s", "a"))]), subject)
    assert plan.subject == subject
    assert plan.subject.digest == "d" * 64 + "+" + "e" * 64


def test_the_key_of_a_login_is_seen_from_the_working_directory() -> None:
    given = pipeline(
        [BIOS],
        [SuiteSelection(suite=suite("s", "a"))],
        folder="repo/ci",
        access=Access(way_in=WayIn.KEY, key="keys/id"),
    )
    assert make_plan(given, SUBJECT).access.key == "repo/ci/keys/id"


RUNNING = Profile(name="running", platform="ssh", endpoint=Endpoint(host="h", host_key="k"))


@pytest.mark.parametrize(
    ("profiles", "values", "note"),
    [
        (
            [BIOS],
            {"timeouts": Timeouts(leg=timedelta(hours=6))},
            "timeouts.leg is 6h, but GitHub's own runners end a job",
        ),
        (
            [BIOS],
            {"timeouts": Timeouts(case=timedelta(hours=2))},
            "timeouts.case (2h) is longer than timeouts.leg (1h)",
        ),
        ([BIOS, RUNNING], {}, "running: a machine that already runs is not proven to run the image"),
        ([RUNNING], {}, "no profile boots the image: every one is a machine that already runs"),
        ([RUNNING], {"image": None, "kernel": Kernel(image="k")}, "running: a machine that already runs does not boot"),
    ],
)
def test_what_is_probably_not_meant_is_noted(profiles: list[Profile], values: dict[str, object], note: str) -> None:
    plan = make_plan(pipeline(profiles, [SuiteSelection(suite=suite("s", "a"))], **values), SUBJECT)
    assert len(plan.notes) == 1
    assert plan.notes[0].startswith(note)


@pytest.mark.parametrize("runs_on", ["self-hosted", "my-runner"])
def test_a_long_leg_on_a_runner_of_ones_own_is_fine(runs_on: str) -> None:
    given = pipeline(
        [Profile(name="p", runs_on=runs_on)],
        [SuiteSelection(suite=suite("s", "a"))],
        timeouts=Timeouts(leg=timedelta(hours=20)),
    )
    assert make_plan(given, SUBJECT).notes == ()


def test_a_skip_that_matches_nothing_is_noted() -> None:
    given = pipeline([BIOS], [SuiteSelection(suite=suite("s", "a"), skip={"gone-*": "x"})])
    assert make_plan(given, SUBJECT).notes == ("suite s: skip 'gone-*' matches no case",)


def test_the_explanation_has_every_pair_and_every_case_left_out() -> None:
    cases = [Case(suite="s", id="a", run=("true",)), Case(suite="s", id="b", run=("true",), requires={"cores": 4})]
    selections = [
        SuiteSelection(suite=suite("s", *cases)),
        SuiteSelection(suite=suite("t", *MANY), shards=2, profiles=("big",), only=("case-1*",)),
        SuiteSelection(suite=suite("u", "a", requires={"disks": 1})),
    ]
    assert explain(make_plan(pipeline([BIOS, BIG], selections), SUBJECT)) == (
        "in   bios/s: bios\n"
        "out  bios/s#b: needs cores >= 4, the profile gives 2\n"
        "out  bios/t: selected for big only\n"
        "out  bios/u: needs disks >= 1, the profile gives 0\n"
        "in   big/s: big.1of2\n"
        "in   big/t: big.1of2, big.2of2 (only case-1*)\n"
        "out  big/u: needs disks >= 1, the profile gives 0\n"
        "note suite u runs on no profile: needs disks >= 1, the profile gives 0\n"
        "3 legs: 3 pairs in, 3 out, 1 case left out\n"
    )
