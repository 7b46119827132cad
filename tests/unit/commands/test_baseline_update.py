from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from lisa_ci.cli import cli
from lisa_ci.errors import DataError, LisaCiError, PipelineError
from lisa_ci.model import KnownFailure, Outcome
from lisa_ci.pipeline.baseline import baseline_text, load_baseline
from tests.doubles.evidence import make_plan, make_plan_file, results_of, write_leg
from tests.doubles.pipelines import LEAST_PIPELINE, THREE_CASES, write_suite

LAST = date(2027, 6, 30)


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def update(*options: str) -> Result:
    words = ["baseline", "update", "--plan", "plan.json", "--results", "results", "--owner", "kernel-team", *options]
    result = CliRunner().invoke(cli, words, catch_exceptions=True)
    if isinstance(result.exception, LisaCiError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result


def ran(outcomes: dict[str, dict[str, Outcome]]) -> None:
    """Results of a plan with one leg for each profile in ``outcomes``."""
    plan, _ = make_plan_file(Path("plan.json"), make_plan(profiles=tuple(outcomes)))
    for profile, given in outcomes.items():
        write_leg(Path("results"), plan, profile, results_of(plan, profile, given))


def known(case: str, profile: str = "*", *, expires: date = LAST) -> KnownFailure:
    return KnownFailure(case=case, profile=profile, reason="why", owner="a", expires=expires)


def test_each_failure_gets_an_entry_for_where_it_fails(desk: Path) -> None:
    bad = {"boot#a": Outcome.FAILED, "boot#b": Outcome.FAILED}
    ran({"small": bad, "large": {"boot#a": Outcome.FAILED}})
    update("--expires", "2027-06-30")
    assert load_baseline(desk / "baseline.yml") == (
        KnownFailure(case="boot#a", reason="not looked into: exit 1", owner="kernel-team", expires=LAST),
        KnownFailure(
            case="boot#b", profile="small", reason="not looked into: exit 1", owner="kernel-team", expires=LAST
        ),
    )


def test_reason_link_and_file_are_taken_as_given_and_the_day_is_in_a_month(desk: Path) -> None:
    ran({"small": {"boot#a": Outcome.FAILED}})
    update("--reason", "slow", "--link", "https://example.org/1", "--file", "known/failures.yml")
    (entry,) = load_baseline(desk / "known" / "failures.yml")
    assert (entry.reason, entry.link) == ("slow", "https://example.org/1")
    assert timedelta(days=29) <= entry.expires - datetime.now(UTC).date() <= timedelta(days=30)


def test_what_passes_again_is_taken_out_and_what_still_fails_or_was_not_run_stays(desk: Path) -> None:
    ran({"small": {"boot#a": Outcome.FAILED, "boot#c": Outcome.SKIPPED}})
    old = [known("boot#a"), known("boot#b"), known("boot#c"), known("other#x"), known("boot#[ab]")]
    (desk / "baseline.yml").write_text(baseline_text(old, head="# ours"))
    assert "0 new, 1 taken out, 4 kept" in update().stderr
    assert [entry.case for entry in load_baseline(desk / "baseline.yml")] == [
        "boot#[ab]",
        "boot#a",
        "boot#c",
        "other#x",
    ]
    assert (desk / "baseline.yml").read_text().startswith("# ours\n")


def test_an_entry_that_expired_is_left_for_its_owner(desk: Path) -> None:
    ran({"small": {"boot#a": Outcome.FAILED}})
    old = baseline_text([known("boot#a", expires=date(2020, 1, 1))])
    (desk / "baseline.yml").write_text(old)
    update()
    assert (desk / "baseline.yml").read_text() == old


def test_a_case_that_was_lost_with_its_machine_is_no_known_failure(desk: Path) -> None:
    ran({"small": {"boot#a": Outcome.ERRORED}})
    update()
    assert load_baseline(desk / "baseline.yml") == ()


def test_updating_twice_changes_nothing(desk: Path) -> None:
    ran({"small": {"boot#a": Outcome.FAILED}})
    update()
    first = (desk / "baseline.yml").read_bytes()
    update()
    assert (desk / "baseline.yml").read_bytes() == first


def test_results_of_another_plan_write_nothing(desk: Path) -> None:
    ran({"small": {}})
    make_plan_file(Path("plan.json"), make_plan(profiles=("small", "large")))
    with pytest.raises(DataError, match="no results of this plan"):
        update()
    assert not (desk / "baseline.yml").exists()


def test_a_file_with_a_mistake_and_a_bad_link_leave_the_file_as_it_is(desk: Path) -> None:
    ran({"small": {"boot#a": Outcome.FAILED}})
    (desk / "baseline.yml").write_text("schema: 1\nknow: []\n")
    with pytest.raises(PipelineError):
        update()
    assert (desk / "baseline.yml").read_text() == "schema: 1\nknow: []\n"
    (desk / "baseline.yml").write_bytes(b"# \xff\n")
    with pytest.raises(PipelineError, match="UTF-8"):
        update()
    (desk / "baseline.yml").unlink()
    with pytest.raises(PipelineError, match="mistake"):
        update("--link", "not a link")
    assert not (desk / "baseline.yml").exists()


def test_check_warns_of_an_entry_that_expired(desk: Path) -> None:
    write_suite(desk / "suites/mine", THREE_CASES)
    (desk / "lisa-ci.yml").write_text(f"{LEAST_PIPELINE}baseline: baseline.yml\n")
    (desk / "baseline.yml").write_text(baseline_text([known("mine#a", expires=date(2020, 1, 1)), known("mine#b")]))
    result = CliRunner().invoke(cli, ["check"])
    assert result.exit_code == 0, result.output
    assert result.stderr.count("shuts the gate again") == 1
