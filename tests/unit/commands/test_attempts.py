"""`plan`, `run` and `report` in a second attempt: what is proven is kept, and what cannot be true is not believed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from lisa_ci import cli, files
from lisa_ci.errors import Loss, PipelineError, ProvisioningError
from lisa_ci.execution.earlier import take_over
from lisa_ci.files import LegFolder
from lisa_ci.model import Category, Finding, Outcome, Plan
from tests.doubles.evidence import make_result, results_of, write_leg
from tests.doubles.github_runner import read_outputs
from tests.doubles.pipelines import LEAST_PIPELINE, THREE_CASES, write_suite

RUN = ("run", "bios", "--plan", "plan.json", "--out", "results", "--previous", "previous")
KEYS = {"mine#net-dns", "mine#net-link", "mine#clock"}
PANIC = Finding(category=Category.PANIC, title="Kernel panic - not syncing", fingerprint="1" * 16)


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    for name in ("GITHUB_ACTIONS", "GITHUB_OUTPUT", "GITHUB_RUN_ATTEMPT", "GITHUB_STEP_SUMMARY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LISA_CI_CACHE", str(tmp_path / "cache"))
    write_suite(tmp_path / "suites/mine", THREE_CASES)
    (tmp_path / "lisa-ci.yml").write_text(LEAST_PIPELINE.replace("[bios]", "[bios, uefi]"))
    (tmp_path / "i.raw").write_bytes(b"\1" * (1 << 20))
    monkeypatch.chdir(tmp_path)
    assert call("plan", "--out", "plan.json").exit_code == 0
    return files.read_plan(Path("plan.json"))[0]


@pytest.fixture
def github(plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Inside a step of attempt 2; gives the file of its outputs."""
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_RUN_ATTEMPT", "2")
    monkeypatch.setenv("GITHUB_OUTPUT", str(tmp_path / "outputs"))
    return tmp_path / "outputs"


def call(*arguments: str) -> Result:
    return CliRunner().invoke(cli.cli, arguments, standalone_mode=False)


def leg_of_attempt(plan: Plan, number: int, leg: str = "bios", **fields: object) -> Path:
    folder = f"lisa-ci-leg-{leg}-{number}"
    return write_leg(Path("previous"), plan, leg, attempt=number, folder=folder, **fields)  # type: ignore[arg-type]


def matrix_after(*, out: str = "again.json") -> tuple[list[str], Result]:
    result = call("plan", "--out", out, "--matrix", "--previous", "previous")
    assert result.exit_code == 0, result.output
    return [leg["leg"] for leg in json.loads(result.stdout)["include"]], result


# ---- plan ----------------------------------------------------------------------------------------------------------


def test_a_leg_that_is_proven_is_left_out_of_the_matrix_and_stays_in_the_plan(plan: Plan) -> None:
    leg_of_attempt(plan, 1)
    legs, result = matrix_after()
    assert legs == ["uefi"]
    assert "leg bios: proven by attempt 1, not run again" in result.stderr
    assert Path("again.json").read_bytes() == Path("plan.json").read_bytes()


def test_a_failure_is_proof_and_is_not_run_again(plan: Plan) -> None:
    leg_of_attempt(plan, 1, results=results_of(plan, "bios", {"mine#clock": Outcome.FAILED}))
    crashed = make_result("mine", "clock", Outcome.ERRORED, loss=Loss.PANIC)
    rest = [result for result in results_of(plan, "uefi") if result.key != crashed.key]
    leg_of_attempt(plan, 1, "uefi", results=[*rest, crashed])
    assert matrix_after()[0] == []


@pytest.mark.parametrize(
    "fields",
    [
        {"is_complete": False},
        {"error": "no machine"},
        {"digest": "0" * 64},
        {"subject": "0" * 64},
        {"only": ["mine#clock"]},
        {"has_inventory": False},
        {"results": []},
        {"results": [make_result("mine", name, Outcome.ERRORED) for name in ("net-dns", "net-link", "clock")]},
    ],
    ids=str,
)
def test_a_leg_that_lacks_any_proof_runs_again(plan: Plan, fields: dict[str, object]) -> None:
    leg_of_attempt(plan, 1, **fields)
    assert matrix_after()[0] == ["bios", "uefi"]


def test_two_attempts_may_prove_a_leg_together(plan: Plan) -> None:
    leg_of_attempt(plan, 1, results=results_of(plan, "bios", {"mine#clock": Outcome.ERRORED}))
    leg_of_attempt(plan, 2)
    legs, result = matrix_after()
    assert legs == ["uefi"]
    assert "proven by attempt 2" in result.stderr


def test_with_everything_proven_the_count_is_zero_and_the_gate_still_asks(plan: Plan, github: Path) -> None:
    for leg in ("bios", "uefi"):
        leg_of_attempt(plan, 1, leg)
    call("plan", "--out", "again.json", "--previous", "previous")
    outputs = read_outputs(github.read_text())
    assert (outputs["count"], outputs["matrix"]) == ("0", '{"include":[]}')
    told = call("report", "--plan", "again.json", "--results", "previous", "--out", "report")
    assert told.return_value == 0, told.output


def test_an_attempt_that_is_not_earlier_proves_nothing(plan: Plan, github: Path) -> None:
    leg_of_attempt(plan, 2)
    leg_of_attempt(plan, 3, "uefi")
    call("plan", "--out", "again.json", "--previous", "previous")
    assert read_outputs(github.read_text())["count"] == "2"


def test_folders_that_contradict_each_other_prove_nothing(plan: Plan) -> None:
    leg_of_attempt(plan, 1)
    write_leg(Path("previous"), plan, "bios", attempt=1, folder="bios")
    assert matrix_after()[0] == ["bios", "uefi"]


def test_a_damaged_folder_is_told_and_hides_nothing(plan: Plan) -> None:
    (leg_of_attempt(plan, 1) / "run.json").write_text("{")
    leg_of_attempt(plan, 1, "uefi")
    legs, result = matrix_after()
    assert legs == ["bios"]
    assert "not used: previous/lisa-ci-leg-bios-1/run.json is not a valid run file" in result.stderr


def test_without_earlier_results_everything_is_planned(plan: Plan) -> None:
    assert matrix_after()[0] == ["bios", "uefi"]


# ---- run -----------------------------------------------------------------------------------------------------------


def test_a_leg_with_every_proof_makes_no_machine_and_is_whole(plan: Plan, github: Path) -> None:
    source = leg_of_attempt(plan, 1, results=[
        make_result("mine", "clock", log="cases/mine/clock.log"), make_result("mine", "net-dns", Outcome.FAILED),
        make_result("mine", "net-link"),
    ], findings=(PANIC,))  # fmt: skip
    log = LegFolder(source).case_log("mine", "clock")
    log.parent.mkdir(parents=True)
    log.write_bytes(b"tick\n")

    told = call(*RUN)

    assert told.exit_code == 0, told.output
    assert "3 results kept of earlier attempts; nothing is left to run" in told.stderr
    leg = files.read_leg(Path("results/bios"))
    assert leg is not None
    assert (leg.run.attempt, leg.run.is_complete, leg.run.error) == (2, True, "")
    assert leg.run.findings == (PANIC,)
    assert {result.key: result.note for result in leg.results()} == dict.fromkeys(KEYS, "attempt 1")
    assert leg.inventory is not None
    assert Path("results/bios/junit.xml").is_file()
    assert Path("results/bios/cases/mine/clock.log").read_bytes() == b"tick\n"


def test_an_image_that_died_is_told_again_and_is_not_infrastructure(plan: Plan) -> None:
    never = [make_result("mine", name, Outcome.ERRORED, loss=None) for name in ("net-dns", "net-link", "clock")]
    leg_of_attempt(plan, 1, results=never, error="no login in 300 s", has_inventory=False, findings=(PANIC,))
    told = call(*RUN)
    assert told.return_value == 0, told.output
    assert "the image gave no machine: no login in 300 s; its console: Kernel panic - not syncing" in told.stderr
    assert call(*RUN, "--fail-on", "failed").return_value == 1


def test_outside_github_the_attempt_counts_on(plan: Plan) -> None:
    leg_of_attempt(plan, 4)
    assert call(*RUN).exit_code == 0
    assert files.read_leg(Path("results/bios")).run.attempt == 5  # type: ignore[union-attr]


@pytest.mark.parametrize("flags", [("--resume",), ("--case", "mine#clock")])
def test_previous_results_go_with_no_other_choice_of_cases(plan: Plan, flags: tuple[str, ...]) -> None:
    told = call(*RUN, *flags)
    assert isinstance(told.exception, PipelineError)
    assert "--previous goes with neither" in told.exception.message


def test_a_leg_without_a_machine_says_that_it_is_infrastructure(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    """The platform is asked before anything is made: here it has no tools."""
    monkeypatch.setenv("PATH", "/nowhere")
    leg_of_attempt(plan, 1, results=results_of(plan, "bios", {"mine#clock": Outcome.ERRORED}))
    assert isinstance(call(*RUN).exception, ProvisioningError)


# ---- the folder ----------------------------------------------------------------------------------------------------


def test_nothing_outside_of_the_earlier_folder_is_copied(plan: Plan, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "clock.log").write_text("secret")
    results = [make_result("mine", "clock", log="../../../etc/passwd"), make_result("..", "passwd", log="x")]
    source = leg_of_attempt(plan, 1, results=results)
    (source / "cases").mkdir()
    (source / "cases/mine").symlink_to(secret)
    run = files.read_leg(source).run  # type: ignore[union-attr]
    take_over(Path("results"), run, results, inventory=None, sources=[source])
    assert not Path("results/bios/cases").exists()
    (source / "cases/mine").unlink()
    (source / "cases/mine").mkdir()
    (source / "cases/mine/clock.log").symlink_to(secret / "clock.log")
    take_over(Path("results"), run, results, inventory=None, sources=[source])
    assert not Path("results/bios/cases").exists()


def test_a_folder_that_is_no_legs_is_not_replaced(plan: Plan) -> None:
    leg_of_attempt(plan, 1)
    Path("results/bios").mkdir(parents=True)
    Path("results/bios/thesis.tex").touch()
    told = call(*RUN)
    assert isinstance(told.exception, PipelineError)
    assert Path("results/bios/thesis.tex").exists()


# ---- report --------------------------------------------------------------------------------------------------------


def test_the_gate_of_an_attempt_does_not_believe_a_later_one(plan: Plan, github: Path) -> None:
    leg_of_attempt(plan, 1)
    leg_of_attempt(plan, 7, "uefi")
    told = call("report", "--plan", "plan.json", "--results", "previous", "--out", "report")
    assert told.return_value == 1
    verdict = json.loads(Path("report/verdict.json").read_text())
    assert [reason["kind"] for reason in verdict["reasons"]] == ["later-attempt", "missing-leg"]
