"""Whether a workflow run goes on: asked of GitHub's API with the job's token."""

from __future__ import annotations

import http.client
import json
import os
import re
import ssl
from collections.abc import Mapping
from typing import Final

from lisa_ci import __version__

_SECONDS: Final = 20
_MOST_ANSWER: Final = 1 << 20
_API: Final = re.compile(
    r"https://(?P<host>[A-Za-z0-9.-]{1,253})(?::(?P<port>[0-9]{1,5}))?(?P<path>/[A-Za-z0-9/._-]*)?"
)
_REPOSITORY: Final = re.compile(r"[A-Za-z0-9_.-]{1,100}/[A-Za-z0-9_.-]{1,100}")


def is_alive(repository: str, run: str, environment: Mapping[str, str] | None = None) -> bool | None:
    """True while any job of the run waits or works; None where we may not ask, or nobody answers."""
    said = os.environ if environment is None else environment
    token = said.get("GITHUB_TOKEN") or said.get("GH_TOKEN") or ""
    api = _API.fullmatch(said.get("GITHUB_API_URL") or "https://api.github.com")
    if not token or api is None or not _REPOSITORY.fullmatch(repository) or not run.isdecimal():
        return None
    path = f"{(api['path'] or '').rstrip('/')}/repos/{repository}/actions/runs/{run}"
    headers = {
        "Authorization": f"Bearer {token}",
        "Accept": "application/vnd.github+json",
        "User-Agent": f"lisa-ci/{__version__}",
    }
    connection = http.client.HTTPSConnection(
        api["host"], int(api["port"] or 443), timeout=_SECONDS, context=ssl.create_default_context()
    )
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        body = answer.read(_MOST_ANSWER)
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
    return understood(answer.status, body)


def understood(status: int, body: bytes) -> bool | None:
    """What an answer to the question for a run says."""
    if status == http.client.NOT_FOUND:
        # Also the answer to who may not see the repository: then the lease alone decides.
        return None
    try:
        read = json.loads(body) if status == http.client.OK else None
    except ValueError:
        return None
    state = read.get("status") if isinstance(read, dict) else None
    return state != "completed" if isinstance(state, str) else None
