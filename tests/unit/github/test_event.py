from __future__ import annotations

import json
from pathlib import Path

import pytest

from lisa_ci.errors import PipelineError
from lisa_ci.github import event


@pytest.mark.parametrize(
    ("said", "attempt"), [("3", 3), ("1", 1), ("", 1), ("0", 1), ("-2", 1), ("x", 1), ("²", 1), ("9" * 30, 1)]
)
def test_the_attempt_is_a_number_from_one_whatever_is_said(said: str, attempt: int) -> None:
    assert event.attempt({"GITHUB_RUN_ATTEMPT": said}) == attempt


def test_outside_github_there_are_plain_answers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert (event.attempt({}), event.run_id({}), event.sha({}), event.workspace({})) == (1, "", "", tmp_path)
    assert not event.is_fork_pull_request({})


def pull_request(head: str | None, base: str = "distro/image") -> dict[str, object]:
    repo = None if head is None else {"full_name": head}
    return {"pull_request": {"head": {"repo": repo}, "base": {"repo": {"full_name": base}}}}


@pytest.mark.parametrize(
    ("content", "is_fork"),
    [
        (pull_request("distro/image"), False),
        (pull_request("someone/image"), True),
        (pull_request(None), True),
        ({}, True),
        ([], True),
        ({"pull_request": 3}, True),
    ],
    ids=["own branch", "fork", "fork that is gone", "nothing", "a list", "a number"],
)
def test_a_pull_request_is_trusted_only_when_it_is_from_this_repository(
    content: object, is_fork: bool, tmp_path: Path
) -> None:
    path = tmp_path / "event.json"
    path.write_text(json.dumps(content))
    environment = {"GITHUB_EVENT_NAME": "pull_request", "GITHUB_EVENT_PATH": str(path)}
    assert event.is_fork_pull_request(environment) is is_fork


def test_a_pull_request_without_an_event_file_is_not_trusted() -> None:
    assert event.is_fork_pull_request({"GITHUB_EVENT_NAME": "pull_request_target"})


def test_a_push_is_not_a_pull_request() -> None:
    assert not event.is_fork_pull_request({"GITHUB_EVENT_NAME": "push", "GITHUB_EVENT_PATH": "/nowhere"})


@pytest.mark.parametrize("content", [b"{", b"\xff", b"[" * 100_000])
def test_an_event_that_is_not_json_is_told_with_its_place(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "event.json"
    path.write_bytes(content)
    with pytest.raises(PipelineError, match=r"event\.json"):
        event.is_fork_pull_request({"GITHUB_EVENT_NAME": "pull_request", "GITHUB_EVENT_PATH": str(path)})
