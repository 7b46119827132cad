from __future__ import annotations

import hashlib
import json
from pathlib import Path

import jsonschema
import pytest
from click.testing import CliRunner, Result

from lisa_ci import cli, files
from lisa_ci.errors import NothingToDoError, PipelineError
from tests.doubles.pipelines import LEAST_PIPELINE, THREE_CASES, write_suite


@pytest.fixture
def repo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("GITHUB_ACTIONS", "GITHUB_OUTPUT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LISA_CI_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "repo"
    write_suite(folder / "suites/mine", THREE_CASES)
    (folder / "lisa-ci.yml").write_text(LEAST_PIPELINE)
    (folder / "i.raw").write_bytes(b"\1" * (1 << 20))
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def github(repo: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Inside a step of a workflow; gives the file of its outputs."""
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_OUTPUT", str(repo.parent / "outputs"))
    return repo.parent / "outputs"


def call(*arguments: str) -> Result:
    return CliRunner().invoke(cli.cli, arguments)


def outputs(path: Path) -> dict[str, str]:
    found, lines = {}, iter(path.read_text().splitlines())
    for line in lines:
        name, _, delimiter = line.partition("<<")
        value = []
        while (part := next(lines)) != delimiter:
            value.append(part)
        found[name] = "\n".join(value)
    return found


def test_check_says_what_a_right_file_has(repo: Path) -> None:
    result = call("check")
    assert result.exit_code == 0, result.output
    assert result.stdout == ""
    assert "lisa-ci.yml: 1 profile, 1 suite, 3 stated cases; no mistakes" in result.stderr


def test_check_gives_every_mistake_of_file_and_workflows(repo: Path) -> None:
    Path("lisa-ci.yml").write_text(LEAST_PIPELINE.replace("[bios]", "[boos]") + "q: 1\n")
    Path(".github/workflows").mkdir(parents=True)
    Path(".github/workflows/ci.yml").write_text(
        "on: push\njobs:\n  a:\n    uses: lisa-ci/lisa-ci/.github/workflows/pipeline.yml@" + "0" * 40 + "\n"
    )
    result = call("check")
    assert isinstance(result.exception, PipelineError)
    places = [str(problem.location) for problem in result.exception.problems]
    assert places[:2] == ["lisa-ci.yml:3:12", "lisa-ci.yml:5:1"]
    assert places[2].startswith(".github/workflows/ci.yml:4:")


def test_check_shows_mistakes_in_the_pull_request(github: Path) -> None:
    Path("lisa-ci.yml").write_text(LEAST_PIPELINE + "profile: []\n")
    result = call("check")
    assert result.stdout == ("::error file=lisa-ci.yml,line=5,col=1::unknown key 'profile'; did you mean 'profiles'?\n")


def test_check_warns_of_what_is_probably_not_meant(repo: Path) -> None:
    Path("lisa-ci.yml").write_text(LEAST_PIPELINE + "timeouts: {leg: 7h}\n")
    result = call("check")
    assert result.exit_code == 0
    assert "lisa-ci.yml: timeouts.leg is 7h" in result.stderr


def test_plan_writes_a_file_that_reads_back_and_says_its_digest(repo: Path) -> None:
    result = call("plan", "--out", "out/plan.json")
    assert result.exit_code == 0, result.output
    assert result.stdout == ""
    plan, digest = files.read_plan(Path("out/plan.json"))
    assert [leg.id for leg in plan.legs] == ["bios"]
    assert plan.suites[0].folder == "suites/mine"
    assert plan.subject.image is not None
    assert plan.subject.image.path == "i.raw"
    assert f"1 leg, digest {digest}" in result.stderr


def test_plan_gives_the_same_bytes_each_time(repo: Path) -> None:
    assert call("plan").stdout == call("plan").stdout
    assert call("plan").stdout.encode() == files.encode(
        files.decode(_plan_type(), call("plan").stdout.encode(), place="p")
    )


def _plan_type() -> type:
    from lisa_ci.model import Plan

    return Plan


def test_the_matrix_is_alone_on_stdout(repo: Path) -> None:
    result = call("plan", "--out", "plan.json", "--matrix")
    assert [leg["leg"] for leg in json.loads(result.stdout)["include"]] == ["bios"]
    assert result.stdout.count("\n") == 1


def test_explain_tells_pairs_on_stdout(repo: Path) -> None:
    assert call("plan", "--explain").stdout == ("in   bios/mine: bios\n1 leg: 1 pair in, 0 out, 0 cases left out\n")


def test_plan_sets_the_outputs_of_its_step(github: Path) -> None:
    result = call("plan", "--out", "plan.json")
    assert result.exit_code == 0, result.output
    found = outputs(github)
    assert found["count"] == "1"
    assert found["digest"] == hashlib.sha256(Path("plan.json").read_bytes()).hexdigest()
    assert json.loads(found["matrix"])["include"][0]["leg"] == "bios"


def test_nothing_in_a_pipeline_file_becomes_a_workflow_command(github: Path) -> None:
    skip = "suites: [{suite: ./suites/mine, skip: {clock: '##[add-mask]x'}}]"
    Path("lisa-ci.yml").write_text(LEAST_PIPELINE.replace("suites: [./suites/mine]", skip))
    result = call("plan", "--explain")
    assert "out  bios/mine#clock: ## [add-mask]x\n" in result.stdout


def test_an_image_on_the_command_line_is_the_one_that_is_planned(repo: Path) -> None:
    Path("other.raw").write_bytes(b"\2" * (1 << 20))
    call("plan", "--image", "other.raw", "--out", "plan.json")
    image = files.read_plan(Path("plan.json"))[0].subject.image
    assert image is not None
    assert image.path == "other.raw"


def test_an_empty_plan_is_explained_and_stops(repo: Path) -> None:
    text = LEAST_PIPELINE.replace("[./suites/mine]", "[{suite: ./suites/mine, skip: {'*': broken}}]")
    Path("lisa-ci.yml").write_text(text)
    result = call("plan", "--out", "plan.json", "--explain")
    assert isinstance(result.exception, NothingToDoError)
    assert "out  bios/mine: no case is left: broken (and 2 more)\n" in result.stdout
    assert not Path("plan.json").exists()


def test_an_empty_plan_that_is_allowed_has_no_legs_and_says_why(github: Path) -> None:
    text = LEAST_PIPELINE.replace("[./suites/mine]", "[{suite: ./suites/mine, skip: {'*': broken}}]")
    Path("lisa-ci.yml").write_text(text + "allow_empty: true\n")
    result = call("plan", "--out", "plan.json")
    assert result.exit_code == 0, result.output
    assert (outputs(github)["count"], outputs(github)["matrix"]) == ("0", '{"include":[]}')
    assert files.read_plan(Path("plan.json"))[0].notes == ("the plan is empty: no case is left: broken (and 2 more)",)


def test_a_plan_that_nobody_could_read_back_is_not_written(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "PLAN_LIMIT", 100)
    result = call("plan", "--out", "plan.json")
    assert isinstance(result.exception, PipelineError)
    assert not Path("plan.json").exists()


def test_plan_shows_mistakes_in_the_pull_request(github: Path) -> None:
    Path("lisa-ci.yml").write_text(LEAST_PIPELINE + "profile: []\n")
    result = call("plan", "--out", "plan.json")
    assert isinstance(result.exception, PipelineError)
    assert result.stdout.startswith("::error file=lisa-ci.yml,line=5,col=1::unknown key")


@pytest.mark.parametrize("what", ["pipeline", "suite"])
def test_schema_prints_a_schema(what: str) -> None:
    schema = json.loads(call("schema", what).stdout)
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["title"].startswith("lisa-ci ")


def test_schema_of_the_pipeline_file_is_the_default() -> None:
    assert call("schema").stdout == call("schema", "pipeline").stdout


@pytest.mark.parametrize("what", ["pipeline", "suite", "profiles"])
def test_schema_prints_the_reference_page(what: str) -> None:
    assert call("schema", what, "--markdown").stdout.startswith("<!-- Generated")


def test_the_catalogue_has_a_page_but_no_schema() -> None:
    assert isinstance(call("schema", "profiles").exception, PipelineError)


@pytest.mark.parametrize("verb", ["check", "plan"])
def test_an_expired_allowance_is_a_warning_that_does_not_change_the_plan(repo: Path, verb: str) -> None:
    entry = "console: [{match: 'WARNING in f', reason: r, owner: kernel-team, expires: 2020-01-01}]\n"
    Path("lisa-ci.yml").write_text(LEAST_PIPELINE + entry)
    result = call(verb)
    assert result.exit_code == 0, result.output
    told = " ".join(result.stderr.split())
    assert "kernel-team allowed as 'WARNING in f' fails cases again: the allowance expired on 2020-01-01" in told
    assert "fails cases again" not in result.stdout
