from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from lisa_ci import files
from lisa_ci.model import Endpoint, Kernel, Outcome, Plan, Shard, Verdict
from lisa_ci.reporting.reasons import PER_KIND, Kind
from lisa_ci.reporting.verdict import decide
from tests.doubles.evidence import make_plan, make_result, plan_digest, results_of, write_leg


def verdict(plan: Plan, results: Path) -> Verdict:
    return decide(plan, plan_digest(plan), files.read_results(results))


def kinds(verdict: Verdict) -> list[str]:
    return [reason.kind for reason in verdict.reasons]


def many(count: int) -> list[str]:
    return [f"case-{number}" for number in range(count)]


# ---- green ---------------------------------------------------------------------------------------------------------


def test_a_plan_of_which_every_case_passed_is_green_and_releasable(tmp_path: Path) -> None:
    plan = make_plan(profiles=("small", "large"))
    write_leg(tmp_path, plan, "small")
    write_leg(tmp_path, plan, "large")
    told = verdict(plan, tmp_path)
    assert told.passed
    assert told.releasable
    assert told.reasons == ()
    assert told.notes == ()
    assert told.counts == {"passed": 6, "failed": 0, "errored": 0, "skipped": 0}
    assert told.legs["large"] == {"passed": 3, "failed": 0, "errored": 0, "skipped": 0}
    assert (told.name, told.subject_digest, told.plan_digest) == ("example", plan.subject.digest, plan_digest(plan))


def test_a_skip_beside_something_proven_does_not_shut_the_gate(tmp_path: Path) -> None:
    plan = make_plan()
    write_leg(tmp_path, plan, "small", results_of(plan, "small", {"boot#b": Outcome.SKIPPED}))
    assert verdict(plan, tmp_path).releasable


def test_the_same_plan_and_results_give_the_same_bytes(tmp_path: Path) -> None:
    plan = make_plan(profiles=("small", "large"))
    write_leg(tmp_path, plan, "small", results_of(plan, "small", {"boot#b": Outcome.FAILED}))
    assert files.encode(verdict(plan, tmp_path)) == files.encode(verdict(plan, tmp_path))


def test_shards_that_share_all_cases_are_green(tmp_path: Path) -> None:
    plan = make_plan(suites={"big": many(40)}, shards={"big": 4})
    for leg in plan.legs:
        write_leg(tmp_path, plan, leg.id)
    told = verdict(plan, tmp_path)
    assert told.releasable
    assert told.counts["passed"] == 40


def test_a_shard_that_happens_to_have_no_case_is_green(tmp_path: Path) -> None:
    only = next(case for case in many(50) if Shard(index=1, count=2).contains(case))
    plan = make_plan(suites={"one": [only]}, shards={"one": 2})
    for leg in plan.legs:
        write_leg(tmp_path, plan, leg.id)
    assert verdict(plan, tmp_path).releasable


def test_two_profiles_may_have_different_cases_when_machines_tell_them(tmp_path: Path) -> None:
    plan = make_plan(suites={"found": None}, profiles=("small", "large"))
    write_leg(tmp_path, plan, "small", [make_result("found", "x")], inventory={"found": ["x"]})
    write_leg(tmp_path, plan, "large", [make_result("found", "y")], inventory={"found": ["y"]})
    assert verdict(plan, tmp_path).releasable


def test_cases_that_were_to_be_left_out_need_no_result_and_may_be_told_as_skipped(tmp_path: Path) -> None:
    plan = make_plan(left_out={"b": "needs nics >= 2"})
    write_leg(tmp_path, plan, "small")
    assert verdict(plan, tmp_path).releasable
    told = [*results_of(plan, "small"), make_result("boot", "b", Outcome.SKIPPED)]
    write_leg(tmp_path, plan, "small", told)
    assert verdict(plan, tmp_path).releasable


def test_cases_outside_the_selected_globs_need_no_result(tmp_path: Path) -> None:
    plan = make_plan(suites={"boot": ["net-up", "net-dns", "clock"]}, only=["net-*"])
    write_leg(tmp_path, plan, "small", [make_result("boot", "net-up"), make_result("boot", "net-dns")])
    assert verdict(plan, tmp_path).releasable


def test_an_optional_suite_may_skip_everything(tmp_path: Path) -> None:
    plan = make_plan(suites={"boot": ["a"], "extra": ["b"]}, optional=["extra"])
    write_leg(tmp_path, plan, "small", results_of(plan, "small", {"extra#b": Outcome.SKIPPED}))
    assert verdict(plan, tmp_path).releasable


# ---- an empty plan -------------------------------------------------------------------------------------------------


def test_an_intentionally_empty_plan_is_green_says_why_and_is_never_releasable(tmp_path: Path) -> None:
    plan = make_plan(suites={}, allow_empty=True, notes=["only documentation changed"])
    told = verdict(plan, tmp_path)
    assert told.passed
    assert not told.releasable
    assert "only documentation changed" in told.notes[0]


def test_an_empty_plan_that_nobody_allowed_is_not_green(tmp_path: Path) -> None:
    assert kinds(verdict(make_plan(suites={}), tmp_path)) == [Kind.EMPTY_PLAN]


# ---- not for release -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("plan", "note"),
    [
        (make_plan(kernel=Kernel(image="vmlinuz", digest="ab" * 32)), "kernel that is not its own"),
        (make_plan(has_image=False), "no image was tested"),
    ],
    ids=["foreign kernel", "no image"],
)
def test_a_green_subject_that_is_not_just_an_image_is_not_releasable(plan: Plan, note: str, tmp_path: Path) -> None:
    write_leg(tmp_path, plan, "small")
    told = verdict(plan, tmp_path)
    assert told.passed
    assert not told.releasable
    assert note in told.blocks[0]


def on_a_machine_that_runs(plan: Plan, leg_id: str) -> Plan:
    legs = tuple(
        replace(leg, profile=replace(leg.profile, platform="ssh", endpoint=Endpoint(host="host.example")))
        if leg.id == leg_id
        else leg
        for leg in plan.legs
    )
    return replace(plan, legs=legs)


def test_a_machine_that_already_runs_proves_nothing_about_the_image(tmp_path: Path) -> None:
    plan = on_a_machine_that_runs(make_plan(), "small")
    write_leg(tmp_path, plan, "small")
    told = verdict(plan, tmp_path)
    assert told.passed
    assert not told.releasable
    assert "booted from the image" in told.blocks[0]


def test_an_image_booted_beside_a_machine_that_already_runs_is_releasable(tmp_path: Path) -> None:
    plan = on_a_machine_that_runs(make_plan(profiles=("small", "lab")), "lab")
    write_leg(tmp_path, plan, "small")
    write_leg(tmp_path, plan, "lab")
    assert verdict(plan, tmp_path).releasable


def test_globs_of_cases_to_leave_out_hold_for_cases_that_only_the_machine_knows(tmp_path: Path) -> None:
    plan = make_plan(suites={"found": None}, left_out={"slow-*": "takes hours"})
    write_leg(tmp_path, plan, "small", [make_result("found", "quick")], inventory={"found": ["quick", "slow-1"]})
    assert verdict(plan, tmp_path).releasable


def test_a_profile_that_leaves_out_thousands_of_cases_is_judged_at_once(tmp_path: Path) -> None:
    cases = many(5_000)
    plan = make_plan(suites={"big": cases}, left_out=dict.fromkeys(cases[1:], "needs nics >= 2"))
    write_leg(tmp_path, plan, "small")
    started = time.process_time()
    assert verdict(plan, tmp_path).releasable
    assert time.process_time() - started < 3


# ---- not green -----------------------------------------------------------------------------------------------------


def test_a_leg_without_results_is_a_reason_about_infrastructure(tmp_path: Path) -> None:
    plan = make_plan(profiles=("small", "large"))
    write_leg(tmp_path, plan, "small")
    told = verdict(plan, tmp_path)
    assert kinds(told) == [Kind.MISSING_LEG]
    assert told.reasons[0].leg == "large"
    assert told.reasons[0].is_infrastructure
    assert told.legs["large"] == {"passed": 0, "failed": 0, "errored": 0, "skipped": 0}


def test_no_results_at_all_is_not_green(tmp_path: Path) -> None:
    assert kinds(verdict(make_plan(), tmp_path / "nowhere")) == [Kind.MISSING_LEG]


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"digest": "0" * 64}, Kind.OTHER_PLAN),
        ({"subject": "0" * 64}, Kind.OTHER_SUBJECT),
        ({"digest": ""}, Kind.OTHER_PLAN),
        ({"subject": ""}, Kind.OTHER_SUBJECT),
    ],
)
def test_results_for_another_plan_or_image_prove_nothing(change: dict[str, str], kind: Kind, tmp_path: Path) -> None:
    plan = make_plan()
    write_leg(tmp_path, plan, "small", **change)  # type: ignore[arg-type]
    told = verdict(plan, tmp_path)
    assert kinds(told) == [kind, Kind.MISSING_LEG]
    assert told.counts["passed"] == 0


def test_a_leg_that_is_not_in_the_plan_is_a_reason(tmp_path: Path) -> None:
    plan = make_plan()
    write_leg(tmp_path, plan, "small")
    write_leg(tmp_path, plan, "huge", [])
    assert kinds(verdict(plan, tmp_path)) == [Kind.UNPLANNED_LEG]


def test_a_leg_that_died_gets_one_reason_for_all_it_lacks(tmp_path: Path) -> None:
    plan = make_plan()
    write_leg(tmp_path, plan, "small", [make_result("boot", "a")], is_complete=False)
    told = verdict(plan, tmp_path)
    assert kinds(told) == [Kind.INCOMPLETE_RUN]
    assert told.reasons[0].is_infrastructure
    assert told.counts["passed"] == 1


def test_a_leg_without_a_machine_gets_one_reason_and_not_one_for_each_errored_case(tmp_path: Path) -> None:
    plan = make_plan()
    errored = [make_result("boot", case, Outcome.ERRORED, loss=None) for case in "abc"]
    write_leg(tmp_path, plan, "small", errored, error="QEMU did not start: no space left", has_inventory=False)
    told = verdict(plan, tmp_path)
    assert kinds(told) == [Kind.NOT_JUDGED]
    assert "no space left" in told.reasons[0].message
    assert told.counts["errored"] == 3


def test_a_failed_and_an_errored_case_are_told_apart(tmp_path: Path) -> None:
    plan = make_plan()
    write_leg(tmp_path, plan, "small", results_of(plan, "small", {"boot#a": Outcome.FAILED, "boot#c": Outcome.ERRORED}))
    told = verdict(plan, tmp_path)
    assert [(one.kind, one.case, one.is_infrastructure) for one in told.reasons] == [
        (Kind.LOST, "boot#c", True),
        (Kind.FAILED, "boot#a", False),
    ]


def test_a_failure_in_an_optional_suite_still_shuts_the_gate(tmp_path: Path) -> None:
    plan = make_plan(suites={"boot": ["a"], "extra": ["b"]}, optional=["extra"])
    write_leg(tmp_path, plan, "small", results_of(plan, "small", {"extra#b": Outcome.FAILED}))
    assert kinds(verdict(plan, tmp_path)) == [Kind.FAILED]


def test_a_missing_inventory_is_a_reason(tmp_path: Path) -> None:
    plan = make_plan()
    write_leg(tmp_path, plan, "small", has_inventory=False)
    assert kinds(verdict(plan, tmp_path)) == [Kind.MISSING_INVENTORY]


def test_an_inventory_that_does_not_name_a_suite_is_a_reason(tmp_path: Path) -> None:
    plan = make_plan(suites={"boot": ["a"], "extra": ["b"]})
    write_leg(tmp_path, plan, "small", inventory={"boot": ["a"]})
    assert kinds(verdict(plan, tmp_path)) == [Kind.MISSING_INVENTORY]


def test_an_inventory_of_another_leg_is_not_believed(tmp_path: Path) -> None:
    plan = make_plan(profiles=("small", "large"))
    write_leg(tmp_path, plan, "small")
    large = write_leg(tmp_path, plan, "large")
    (large / "inventory.json").write_bytes((tmp_path / "small" / "inventory.json").read_bytes())
    assert kinds(verdict(plan, tmp_path)) == [Kind.OTHER_LEG, Kind.MISSING_LEG]


def test_shards_with_different_inventories_are_a_reason_that_names_the_cases(tmp_path: Path) -> None:
    plan = make_plan(suites={"found": None}, shards={"found": 2})
    for leg, cases in zip(plan.legs, (many(10), [*many(9), "odd"]), strict=True):
        mine = [case for case in cases if leg.tasks[0].shard.contains(case)]
        write_leg(tmp_path, plan, leg.id, [make_result("found", case) for case in mine], inventory={"found": cases})
    told = verdict(plan, tmp_path)
    assert kinds(told) == [Kind.DIFFERENT_INVENTORY]
    assert "case-9, odd" in told.reasons[0].message


@pytest.mark.parametrize("cases", [["a", "b"], ["a", "b", "c", "d"]], ids=["fewer", "more"])
def test_a_machine_that_has_other_cases_than_planned_is_a_reason(cases: list[str], tmp_path: Path) -> None:
    plan = make_plan()
    write_leg(tmp_path, plan, "small", [make_result("boot", case) for case in cases], inventory={"boot": cases})
    assert kinds(verdict(plan, tmp_path)) == [Kind.DIFFERENT_INVENTORY]


def test_a_case_of_the_inventory_without_a_result_is_a_reason(tmp_path: Path) -> None:
    plan = make_plan()
    write_leg(tmp_path, plan, "small", [make_result("boot", "a"), make_result("boot", "b")])
    told = verdict(plan, tmp_path)
    assert [(one.kind, one.leg, one.case) for one in told.reasons] == [(Kind.MISSING_RESULT, "small", "boot#c")]


def test_a_journal_torn_by_a_crash_lacks_its_last_case(tmp_path: Path) -> None:
    plan = make_plan()
    folder = write_leg(tmp_path, plan, "small")
    journal = folder / "journal.ndjson"
    journal.write_bytes(journal.read_bytes()[:-20])
    assert kinds(verdict(plan, tmp_path)) == [Kind.MISSING_RESULT]


@pytest.mark.parametrize("result", [make_result("boot", "z"), make_result("other", "a")], ids=["case", "suite"])
def test_a_result_for_a_case_that_is_not_in_the_inventory_is_a_reason(result: object, tmp_path: Path) -> None:
    plan = make_plan()
    write_leg(tmp_path, plan, "small", [*results_of(plan, "small"), result])  # type: ignore[list-item]
    assert kinds(verdict(plan, tmp_path)) == [Kind.UNKNOWN_CASE]


def test_a_case_that_was_left_out_and_has_a_result_is_a_reason(tmp_path: Path) -> None:
    plan = make_plan(left_out={"b": "skipped by the pipeline"})
    write_leg(tmp_path, plan, "small", [*results_of(plan, "small"), make_result("boot", "b")])
    assert kinds(verdict(plan, tmp_path)) == [Kind.UNKNOWN_CASE]


def test_a_case_with_two_results_is_a_reason(tmp_path: Path) -> None:
    plan = make_plan()
    write_leg(tmp_path, plan, "small", [*results_of(plan, "small"), make_result("boot", "a")])
    assert kinds(verdict(plan, tmp_path)) == [Kind.REPEATED_RESULT]


def test_a_case_in_more_than_one_leg_is_a_reason(tmp_path: Path) -> None:
    plan = make_plan(suites={"big": many(20)}, shards={"big": 2})
    first, second = plan.legs
    write_leg(tmp_path, plan, first.id)
    write_leg(tmp_path, plan, second.id, [*results_of(plan, second.id), results_of(plan, first.id)[0]])
    told = verdict(plan, tmp_path)
    assert kinds(told) == [Kind.WRONG_LEG]
    assert told.reasons[0].leg == second.id


def test_a_plan_that_lacks_a_shard_is_a_reason(tmp_path: Path) -> None:
    whole = make_plan(suites={"big": many(20)}, shards={"big": 2})
    plan = replace(whole, legs=whole.legs[:-1])
    write_leg(tmp_path, plan, plan.legs[0].id)
    assert kinds(verdict(plan, tmp_path)) == [Kind.INCOMPLETE_SHARDS]


def test_a_plan_with_two_legs_of_one_id_is_a_reason(tmp_path: Path) -> None:
    plan = make_plan(suites={"boot": ["a"], "extra": ["b"]})
    (leg,) = plan.legs
    plan = replace(plan, legs=tuple(replace(leg, tasks=(task,)) for task in leg.tasks))
    write_leg(tmp_path, plan, "small", [make_result("boot", "a")])
    assert kinds(verdict(plan, tmp_path))[0] == Kind.DUPLICATE_LEG


def test_a_single_artifact_may_lie_in_the_results_folder_itself(tmp_path: Path) -> None:
    plan = make_plan()
    write_leg(tmp_path, plan, "small", folder=".")
    assert verdict(plan, tmp_path).releasable


@pytest.mark.parametrize("depth", [500, 20_000])
def test_results_nested_to_exhaust_a_parser_are_a_reason(depth: int, tmp_path: Path) -> None:
    plan = make_plan()
    folder = write_leg(tmp_path, plan, "small")
    children = '{"name":"x","outcome":"failed","children":[' * depth + "]}" * depth
    line = f'{{"schema":1,"result":{{"suite":"boot","case":"a","outcome":"failed","children":[{children}]}}}}\n'
    (folder / "journal.ndjson").write_text(line)
    assert kinds(verdict(plan, tmp_path))[0] == Kind.UNREADABLE


def test_only_skips_prove_nothing(tmp_path: Path) -> None:
    plan = make_plan()
    skips = dict.fromkeys(["boot#a", "boot#b", "boot#c"], Outcome.SKIPPED)
    write_leg(tmp_path, plan, "small", results_of(plan, "small", skips))
    told = verdict(plan, tmp_path)
    assert kinds(told) == [Kind.NOTHING_RUN]
    assert "all 3 cases were skipped" in told.reasons[0].message


def test_a_required_suite_that_skipped_everything_on_one_profile_is_a_reason(tmp_path: Path) -> None:
    plan = make_plan(suites={"boot": ["a"], "disks": ["d"]}, profiles=("small", "large"))
    write_leg(tmp_path, plan, "small")
    write_leg(tmp_path, plan, "large", results_of(plan, "large", {"disks#d": Outcome.SKIPPED}))
    told = verdict(plan, tmp_path)
    assert kinds(told) == [Kind.NOTHING_RUN]
    assert "required suite disks proved nothing on profile large" in told.reasons[0].message


def test_a_required_suite_without_a_case_is_a_reason(tmp_path: Path) -> None:
    plan = make_plan(suites={"boot": ["a"], "found": None})
    write_leg(tmp_path, plan, "small", inventory={"boot": ["a"], "found": []})
    assert kinds(verdict(plan, tmp_path)) == [Kind.NOTHING_RUN]


def test_optional_suites_that_all_skip_are_not_green_when_there_is_nothing_else(tmp_path: Path) -> None:
    plan = make_plan(suites={"extra": ["a"]}, optional=["extra"])
    write_leg(tmp_path, plan, "small", results_of(plan, "small", {"extra#a": Outcome.SKIPPED}))
    assert kinds(verdict(plan, tmp_path)) == [Kind.NOTHING_RUN]


def test_a_run_of_some_cases_opens_no_gate_and_gets_one_reason(tmp_path: Path) -> None:
    plan = make_plan()
    write_leg(tmp_path, plan, "small", [make_result("boot", "a")], only=["boot#a"])
    told = verdict(plan, tmp_path)
    assert kinds(told) == [Kind.PARTIAL_RUN]
    assert not told.passed


# ---- attempts ------------------------------------------------------------------------------------------------------


def test_after_all_jobs_ran_again_the_artifacts_of_the_old_plan_do_no_harm(tmp_path: Path) -> None:
    plan = make_plan()
    write_leg(tmp_path, plan, "small", digest="0" * 64, attempt=1, folder="lisa-ci-leg-small-1")
    write_leg(tmp_path, plan, "small", attempt=2, folder="lisa-ci-leg-small-2")
    assert verdict(plan, tmp_path).releasable


def test_a_later_attempt_about_another_plan_is_a_reason(tmp_path: Path) -> None:
    plan = make_plan()
    write_leg(tmp_path, plan, "small", attempt=1, folder="lisa-ci-leg-small-1")
    write_leg(tmp_path, plan, "small", digest="0" * 64, attempt=2, folder="lisa-ci-leg-small-2")
    assert kinds(verdict(plan, tmp_path)) == [Kind.OTHER_PLAN]


def test_two_folders_of_one_attempt_are_a_reason(tmp_path: Path) -> None:
    plan = make_plan()
    write_leg(tmp_path, plan, "small", folder="lisa-ci-leg-small-1")
    write_leg(tmp_path, plan, "small", folder="small")
    assert kinds(verdict(plan, tmp_path)) == [Kind.DUPLICATE_LEG]


# ---- hostile evidence ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("line", [b"{}\n", b"not json\n", b'{"schema": 9}\n', b"\xff\xfe\n"])
def test_a_journal_that_cannot_be_read_is_a_reason_and_no_traceback(line: bytes, tmp_path: Path) -> None:
    plan = make_plan()
    folder = write_leg(tmp_path, plan, "small")
    with (folder / "journal.ndjson").open("ab") as journal:
        journal.write(line)
    told = verdict(plan, tmp_path)
    assert kinds(told) == [Kind.UNREADABLE]
    assert "journal.ndjson:4" in told.reasons[0].message


def test_the_reasons_of_a_kind_are_capped_and_the_rest_is_counted(tmp_path: Path) -> None:
    plan = make_plan(suites={"big": many(200)})
    outcomes = {f"big#{case}": Outcome.FAILED for case in many(200)}
    outcomes["big#case-199"] = Outcome.ERRORED
    write_leg(tmp_path, plan, "small", results_of(plan, "small", outcomes))
    told = verdict(plan, tmp_path)
    assert kinds(told) == [Kind.LOST] + [Kind.FAILED] * (PER_KIND + 1)
    assert told.reasons[-1].message == "and 149 more of this kind"
    assert told.counts["failed"] == 199


def test_a_hostile_message_becomes_one_short_printable_line(tmp_path: Path) -> None:
    plan = make_plan()
    hostile = "\x1b[2Jone\nline\x00 " + "x" * 100_000
    results = [make_result("boot", "a", Outcome.FAILED, message=hostile), *results_of(plan, "small")[1:]]
    write_leg(tmp_path, plan, "small", results)
    message = verdict(plan, tmp_path).reasons[0].message
    assert message.startswith("one line")
    assert message.isprintable()
    assert len(message) <= 600


def test_results_of_suites_that_are_not_planned_are_counted_under_one_name(tmp_path: Path) -> None:
    plan = make_plan()
    odd = [make_result(f"suite-{number}", "a") for number in range(500)]
    write_leg(tmp_path, plan, "small", [*results_of(plan, "small"), *odd])
    told = verdict(plan, tmp_path)
    assert set(kinds(told)) == {Kind.UNKNOWN_CASE}
    assert told.counts["passed"] == 503


def test_results_are_read_once_and_shown_on_the_way(tmp_path: Path) -> None:
    plan = make_plan()
    write_leg(tmp_path, plan, "small")
    reads: list[str] = []

    def counted() -> Iterable[files.LegEvidence]:
        for evidence in files.read_results(tmp_path):
            yield files.LegEvidence(
                run=evidence.run,
                inventory=evidence.inventory,
                folder=evidence.folder,
                results=lambda evidence=evidence: reads.append("read") or evidence.results(),  # type: ignore[func-returns-value,misc]
            )

    seen: list[str] = []
    decide(plan, plan_digest(plan), counted(), watch=lambda run, result: seen.append(f"{run.leg.id}/{result.key}"))
    assert reads == ["read"]
    assert seen == ["small/boot#a", "small/boot#b", "small/boot#c"]
