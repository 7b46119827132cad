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


# ---- a kernel's gate -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["tree", "config", "module"])
def test_a_kernels_gate_is_right_for_every_kind_of_repository(tmp_path: Path, kind: str) -> None:
    made = init(tmp_path, "--kernel-gate", kind, "--name", "mine", "--lisa-ci", f"org/fork@{COMMIT}")
    assert made.exit_code == 0, made.output
    pipeline = load_pipeline(tmp_path / "lisa-ci.yml", registry.known())
    assert pipeline.name == "mine"
    assert pipeline.kernel is not None
    expected = ("kernel.tar", "modules") if kind == "module" else ("kernel.tar.zst", None)
    assert (pipeline.kernel.source, pipeline.kernel.extra) == expected
    script = tmp_path / "build-kernel.sh"
    assert script.stat().st_mode & 0o111
    assert f'"$delivery/{pipeline.kernel.source}"' in script.read_text()
    found = check_workflows(tmp_path)
    assert not found.mistakes
    assert not found.advice
    assert sorted(path.name for path in (tmp_path / ".github/workflows").iterdir()) == ["kernel-gate.yml"]
    workflow = yaml.safe_load((tmp_path / ".github/workflows/kernel-gate.yml").read_text())
    assert workflow["jobs"]["pipeline"]["uses"] == f"org/fork/.github/workflows/pipeline.yml@{COMMIT}"


@pytest.mark.parametrize(
    ("kind", "built"),
    [("tree", {"kselftest", "kunit", "syscalls"}), ("config", {"kselftest", "syscalls"}), ("module", {"syscalls"})],
)
def test_the_suites_of_which_something_is_built_are_in_the_repository(
    tmp_path: Path, kind: str, built: set[str]
) -> None:
    assert init(tmp_path, "--kernel-gate", kind).exit_code == 0
    pipeline = load_pipeline(tmp_path / "lisa-ci.yml", registry.known())
    own = {entry.suite.name for entry in pipeline.suites if Path(entry.suite.folder).parent.name == "kernel-tests"}
    assert own == built
    assert {entry.suite.name for entry in pipeline.suites} == built | {"boot", "kunit"}
    assert (tmp_path / "kernel-tests/syscalls/check").stat().st_mode & 0o111
    script = (tmp_path / "build-kernel.sh").read_text()
    assert all(f"kernel-tests/{name}/suite.yaml" in script for name in built)


def test_a_kernels_gate_takes_an_image_by_its_address(tmp_path: Path) -> None:
    address = "https://images.example.org/d.qcow2"
    made = init(tmp_path, "--kernel-gate", "tree", "--image", address, "--sha256", "a" * 64)
    assert made.exit_code == 0, made.output
    image = load_pipeline(tmp_path / "lisa-ci.yml", registry.known()).image
    assert image is not None
    assert (image.url, image.sha256) == (address, "a" * 64)


@pytest.mark.parametrize(
    "options",
    [
        ("--kernel-gate", "tree", "--image", "https://x.example.org/d"),
        ("--kernel-gate", "tree", "--sha256", "a" * 64),
        ("--kernel-gate", "tree", "--build", "make"),
        ("--sha256", "a" * 64),
    ],
)
def test_options_that_do_not_go_together_write_nothing(tmp_path: Path, options: tuple[str, ...]) -> None:
    assert isinstance(init(tmp_path, *options).exception, PipelineError)
    assert not list(tmp_path.iterdir())
