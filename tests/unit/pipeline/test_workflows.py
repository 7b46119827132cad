from __future__ import annotations

from pathlib import Path

import pytest

from lisa_ci import files
from lisa_ci.errors import PipelineError
from lisa_ci.pipeline.workflows import WorkflowFindings, check_workflows

TEMPLATE = (files.shipped("templates") / "workflows/lisa-ci.yml").read_text()
COMMIT = "a" * 40
GOOD = TEMPLATE.replace("0" * 40, COMMIT)


def findings(tmp_path: Path, text: str) -> WorkflowFindings:
    folder = tmp_path / ".github/workflows"
    folder.mkdir(parents=True)
    (folder / "ci.yml").write_text(text)
    return check_workflows(tmp_path)


def test_what_init_writes_is_right(tmp_path: Path) -> None:
    found = findings(tmp_path, GOOD)
    assert found == WorkflowFindings(mistakes=(), advice=())


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (COMMIT, "0" * 40, "not filled in"),
        ("  pull_request:\n", "  pull_request_target:\n", "stranger's image"),
        ("      signing-key: ${{ secrets.LISA_CI_SIGNING_KEY }}", "      other: x", "passes no signing-key"),
        ("          name: image\n", "          name: disk\n", "no job uploads an artifact 'image'"),
        ("    needs: image\n", "", "does not wait for the job that uploads 'image'"),
        (
            "      contents: read # reads the pipeline file and the suites",
            "      actions: read",
            "job 'pipeline' may not read the repository",
        ),
    ],
)
def test_a_mistake_is_told_with_its_place(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in GOOD
    found = findings(tmp_path, GOOD.replace(old, new))
    assert any(message in problem.message for problem in found.mistakes), found
    assert all(problem.location is not None and problem.location.line for problem in found.mistakes)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("  merge_group:\n", "", "merge queue waits"),
        ("  pull_request:\n", "  pull_request:\n    paths: [x]\n", "required check waits for ever"),
        (COMMIT, "v1", "can be moved"),
        (" && needs.pipeline.outputs.releasable == 'true'", "", "nothing is proven"),
        (
            "    with:\n      image-artifact",
            "    secrets: inherit\n    with:\n      image-artifact",
            "needs no secrets",
        ),
    ],
)
def test_advice_is_no_mistake(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in GOOD
    found = findings(tmp_path, GOOD.replace(old, new, 1))
    assert any(message in problem.message for problem in found.advice), found
    assert not found.mistakes


def test_workflows_that_do_not_call_lisa_ci_are_none_of_our_business(tmp_path: Path) -> None:
    assert findings(tmp_path, "on: pull_request_target\njobs: {}\n") == WorkflowFindings(mistakes=(), advice=())
    assert check_workflows(tmp_path / "nowhere") == WorkflowFindings(mistakes=(), advice=())


def test_a_broken_workflow_is_told_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(PipelineError) as caught:
        findings(tmp_path, "on: [push\n")
    assert caught.value.location is not None
