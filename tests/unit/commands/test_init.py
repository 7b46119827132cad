from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from lisa_ci import cli, registry
from lisa_ci.errors import PipelineError
from lisa_ci.pipeline import load_pipeline
from lisa_ci.pipeline.workflows import check_workflows

COMMIT = "c" * 40


def init(folder: Path, *options: str) -> Result:
    return CliRunner().invoke(cli.cli, ["init", str(folder), *options])


def test_what_it_writes_is_right(tmp_path: Path) -> None:
    folder = tmp_path / "My Distro!"
    folder.mkdir()
    made = init(folder, "--image", "out/disk.raw", "--build", 'make "all"', "--lisa-ci", f"org/fork@{COMMIT}")
    assert made.exit_code == 0, made.output
    pipeline = load_pipeline(folder / "lisa-ci.yml", registry.known())
    assert pipeline.name == "my-distro"
    assert pipeline.image is not None
    assert pipeline.image.path == "out/disk.raw"
    found = check_workflows(folder)
    assert not found.mistakes
    assert not found.advice
    workflow = yaml.safe_load((folder / ".github/workflows/lisa-ci.yml").read_text())
    assert workflow["jobs"]["image"]["steps"][1]["run"] == 'make "all"'
    assert workflow["jobs"]["pipeline"]["uses"] == f"org/fork/.github/workflows/pipeline.yml@{COMMIT}"
    assert workflow["jobs"]["pipeline"]["with"]["image"] == "disk.raw"


def test_it_never_writes_over_files_unless_told(tmp_path: Path) -> None:
    (tmp_path / "lisa-ci.yml").write_text("mine")
    refused = init(tmp_path)
    assert isinstance(refused.exception, PipelineError)
    assert "is there already" in str(refused.exception.problems[0])
    assert (tmp_path / "lisa-ci.yml").read_text() == "mine"
    assert not (tmp_path / ".github").exists()
    assert init(tmp_path, "--force").exit_code == 0


@pytest.mark.parametrize("source", ["nonsense", "org/fork", "org/fork@", "org/fork@a b", "../../x@y$(id)"])
def test_a_source_that_is_no_repository_is_refused(tmp_path: Path, source: str) -> None:
    assert isinstance(init(tmp_path, "--lisa-ci", source).exception, PipelineError)


def test_an_installation_from_a_repository_pins_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class FromGit:
        def read_text(self, _name: str) -> str:
            return json.dumps(
                {"url": "https://github.com/org/fork.git", "vcs_info": {"vcs": "git", "commit_id": COMMIT}}
            )

    monkeypatch.setattr(metadata, "distribution", lambda _name: FromGit())
    assert init(tmp_path).exit_code == 0
    assert (
        f"org/fork/.github/workflows/release.yml@{COMMIT}" in (tmp_path / ".github/workflows/lisa-ci.yml").read_text()
    )
