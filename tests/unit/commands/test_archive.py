"""``lisa-ci archive`` on a folder: what is told, what is refused, and which exit code says so."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from lisa_ci.cli import cli
from lisa_ci.errors import DataError, LisaCiError, PipelineError, PublishingError
from lisa_ci.files import LegFolder
from lisa_ci.model import Category, Finding, Outcome
from tests.doubles.evidence import make_plan, make_plan_file, results_of, write_leg


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """``plan.json`` and ``results`` of two legs."""
    for variable in ("GITHUB_RUN_ID", "GITHUB_SHA", "LISA_CI_ARCHIVE"):
        monkeypatch.delenv(variable, raising=False)
    plan, _ = make_plan_file(tmp_path / "plan.json", make_plan(profiles=("big", "small")))
    finding = Finding(category=Category.OOPS, title="oops in foo", fingerprint="f00d", case="boot#b")
    write_leg(tmp_path / "results", plan, "big", results_of(plan, "big", {"boot#b": Outcome.FAILED}))
    write_leg(tmp_path / "results", plan, "small", findings=(finding,))
    return tmp_path


def call(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, ["--log", "plain", "archive", *map(str, arguments)], standalone_mode=False)


def put(world: Path, *more: str | Path) -> Result:
    return call("put", world / "results", "--plan", world / "plan.json", "--to", world / "archive", *more)


def lines(result: Result) -> Sequence[list[str]]:
    assert result.exception is None, result.exception
    return [line.split("\t") for line in result.stdout.splitlines()]


def refused(result: Result, kind: type[LisaCiError]) -> LisaCiError:
    assert isinstance(result.exception, kind), result.exception
    return result.exception


def test_both_legs_are_archived_and_a_second_time_nothing_is_done(world: Path) -> None:
    first = put(world)
    assert len(first.stdout.split()) == 2
    assert "2 of 2" not in first.stderr
    assert "blobs sent" in first.stderr
    again = put(world)
    assert again.stdout == first.stdout
    assert again.stderr.count("is in the archive already") == 2


def test_ls_tells_runs_and_query_tells_cases(world: Path) -> None:
    put(world)
    assert [line[3] for line in lines(call("ls", "--from", world / "archive"))] == ["big", "small"]
    assert [line[5] for line in lines(call("ls", "--from", world / "archive"))] == ["2 passed 1 failed", "3 passed"]
    cases = lines(call("query", "--from", world / "archive", "--outcome", "failed"))
    assert [line[2:5] for line in cases] == [["big", "boot#b", "failed"]]
    found = lines(call("query", "--from", world / "archive", "--finding", "f0"))
    assert [line[2:5] for line in found] == [["small", "boot#b", "passed"]]
    profiles = lines(call("query", "--from", world / "archive", "--by", "profile"))
    assert [line[0] for line in profiles] == ["big", "small"]


def test_json_is_one_object_a_line(world: Path) -> None:
    put(world, "--label", "team=kernel")
    (run,) = [
        json.loads(line)
        for line in call("ls", "--from", world / "archive", "--leg", "big", "--json").stdout.splitlines()
    ]
    assert (run["labels"], run["counts"]["failed"]) == ({"team": "kernel"}, 1)
    (row,) = [
        json.loads(line)
        for line in call("query", "--from", world / "archive", "--outcome", "failed", "--json").stdout.splitlines()
    ]
    assert (row["case"], row["wall_seconds"]) == ("boot#b", 0.25)
    found = [
        json.loads(line)
        for line in call("query", "--from", world / "archive", "--by", "case", "--json").stdout.splitlines()
    ]
    assert next((one["key"], one["failed"], one["failed_percent"]) for one in found) == ("boot#b", 1, 50.0)


def test_on_github_runs_are_found_by_their_run_and_commit(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_RUN_ID", "123")
    monkeypatch.setenv("GITHUB_SHA", "abc")
    put(world)
    assert len(lines(call("ls", "--from", world / "archive", "--label", "run=123", "--label", "sha=abc"))) == 2
    assert lines(call("ls", "--from", world / "archive", "--label", "run=124")) == []


def test_days_may_be_told_from_today(world: Path) -> None:
    leg = LegFolder(world / "results/small")
    now = datetime.now(UTC)
    leg.run.write_text(leg.run.read_text().replace("2026-01-02T03:04:05Z", (now - timedelta(days=3)).isoformat()))
    put(world)
    found = lines(call("ls", "--from", world / "archive", "--since", "5d"))
    assert "small" in [line[3] for line in found]
    assert "small" not in [line[3] for line in lines(call("ls", "--from", world / "archive", "--since", "1d"))]


def test_a_leg_of_another_plan_and_a_damaged_one_are_told_and_the_rest_is_archived(world: Path) -> None:
    other = make_plan(profiles=("other",))
    write_leg(world / "results", other, "other")
    LegFolder(world / "results/big").run.write_text("{}")
    told = put(world)
    error = refused(told, DataError)
    assert error.message == "1 of 2 legs were not archived"
    assert "other belongs to another plan" in told.stderr
    assert "run.json is not a valid run file" in told.stderr
    assert [line[3] for line in lines(call("ls", "--from", world / "archive"))] == ["small"]


def test_a_folder_without_results_is_told(world: Path) -> None:
    (world / "empty").mkdir()
    error = refused(call("put", world / "empty", "--plan", world / "plan.json", "--to", world / "archive"), DataError)
    assert "holds no results of this plan" in error.message


def test_an_archive_that_is_not_there_is_a_mistake_of_the_user(world: Path) -> None:
    assert "there is no archive" in refused(call("ls", "--from", world / "nothing"), PipelineError).message


def test_an_archive_that_cannot_be_written_is_exit_7(world: Path) -> None:
    (world / "archive").mkdir()
    (world / "archive/blobs").write_text("in the way")
    error = refused(put(world), PublishingError)
    assert "cannot write" in error.message


@pytest.mark.parametrize("label", ["novalue", "=x", "a=" + "x" * 400])
def test_a_label_that_is_none_is_refused(world: Path, label: str) -> None:
    assert "is not a label" in refused(put(world, "--label", label), PipelineError).message


def test_text_from_machines_is_harmless(world: Path) -> None:
    run = LegFolder(world / "results/small").run
    run.write_text(run.read_text().replace('"error": ""', '"error": "\\u001b[2J\\n::error::gotcha\\tx"'))
    put(world)
    told = call("ls", "--from", world / "archive", "--leg", "small").stdout
    assert "\x1b" not in told
    assert "gotcha" in told
    assert len(told.splitlines()) == 1


def test_prune_tells_first_and_removes_on_request(world: Path) -> None:
    put(world, "--keep-days", "1")
    archive = world / "archive"
    assert "2 runs and 0 blobs" in call("prune", "--from", archive).stdout
    assert len(lines(call("ls", "--from", archive))) == 2
    assert "removed 2 runs" in call("prune", "--from", archive, "--apply").stderr
    assert lines(call("ls", "--from", archive)) == []


def test_legs_of_another_plan_are_no_error_where_there_are_some_of_this_one(world: Path) -> None:
    write_leg(world / "results", make_plan(profiles=("other",)), "other", folder="lisa-ci-leg-other-1")
    told = put(world)
    assert told.exception is None
    assert "lisa-ci-leg-other-1 belongs to another plan" in told.stderr
    assert len(told.stdout.split()) == 2
