"""What GitHub tells a step about the run it belongs to. Outside GitHub every answer has a plain default."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from lisa_ci.errors import PipelineError
from lisa_ci.github.limits import EVENT_BYTES


def attempt(environment: Mapping[str, str] | None = None) -> int:
    """Which try of the workflow run this is, from 1; a re-run counts on."""
    said = _environment(environment).get("GITHUB_RUN_ATTEMPT", "")
    return int(said) if said.isascii() and said.isdigit() and 0 < len(said) < 10 and int(said) > 0 else 1


def run_id(environment: Mapping[str, str] | None = None) -> str:
    """The number of the workflow run, the same for all its attempts; '' outside GitHub."""
    return _environment(environment).get("GITHUB_RUN_ID", "")


def sha(environment: Mapping[str, str] | None = None) -> str:
    """The commit the run is about (for a pull request: the merge commit); '' outside GitHub."""
    return _environment(environment).get("GITHUB_SHA", "")


def workspace(environment: Mapping[str, str] | None = None) -> Path:
    """The checkout that annotations' file names are relative to; the working directory outside GitHub."""
    return Path(_environment(environment).get("GITHUB_WORKSPACE") or Path.cwd())


def is_fork_pull_request(environment: Mapping[str, str] | None = None) -> bool:
    """True when the run is for a pull request from another repository: no secrets, a read-only token, hostile text.

    A pull request whose head is gone (the fork was deleted) counts as one. PipelineError for an event that is not JSON.
    """
    said = _environment(environment)
    if not said.get("GITHUB_EVENT_NAME", "").startswith("pull_request"):
        return False
    where = said.get("GITHUB_EVENT_PATH", "")
    event = _read_event(Path(where)) if where else {}
    head = _text_at(event, "pull_request", "head", "repo", "full_name")
    return head is None or head != _text_at(event, "pull_request", "base", "repo", "full_name")


def _read_event(path: Path) -> object:
    try:
        with path.open("rb") as stream:
            data = stream.read(EVENT_BYTES + 1)
        if len(data) > EVENT_BYTES:
            raise PipelineError(f"{path}: the event file has more than {EVENT_BYTES:,} bytes")
        return json.loads(data)
    except (OSError, ValueError, RecursionError) as reason:
        raise PipelineError(
            f"{path}: the event file cannot be read: {reason}",
            hint="GITHUB_EVENT_PATH must name the file that GitHub wrote for this run",
        ) from reason


def _text_at(value: object, *keys: str) -> str | None:
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, str) else None


def _environment(given: Mapping[str, str] | None) -> Mapping[str, str]:
    return os.environ if given is None else given
