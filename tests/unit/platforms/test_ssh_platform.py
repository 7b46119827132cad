from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from lisa_ci.errors import PipelineError
from lisa_ci.model import Access, Endpoint, Lease, Profile, Subject, Timeouts
from lisa_ci.platforms.ssh import SshPlatform

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGPlzLpNTBGs7Qsb3WsQBtdr2l8sgSeTnJf9XGBN0gRe"


def _profile(endpoint: Endpoint | None) -> Profile:
    return Profile(name="lab", platform="ssh", endpoint=endpoint)


def _lease(folder: Path) -> Lease:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    return Lease(owner="me", leg="lab", attempt=1, delete_after=now, evidence=folder, scratch=folder)


def test_a_whole_endpoint_has_no_problems() -> None:
    assert SshPlatform().problems(_profile(Endpoint(host="h", host_key=KEY))) == []


def test_a_profile_without_an_endpoint_is_a_problem() -> None:
    (problem,) = SshPlatform().problems(_profile(None))
    assert "lab" in problem
    assert "endpoint" in problem


def test_a_missing_host_key_is_a_problem_that_says_how_to_get_it() -> None:
    (problem,) = SshPlatform().problems(_profile(Endpoint(host="h.example", port=2222)))
    assert "no host key is pinned" in problem
    assert "ssh-keyscan -p 2222 -t ed25519 h.example" in problem


def test_every_problem_is_named_at_once() -> None:
    assert len(SshPlatform().problems(_profile(Endpoint(host="h", port=70000, host_key="x")))) == 2


def test_a_login_without_a_key_is_refused_before_anything_connects(tmp_path: Path) -> None:
    profile = _profile(Endpoint(host="h", host_key=KEY))
    group = SshPlatform().provision(
        profile, Subject(), Access(), _lease(tmp_path), timeouts=Timeouts(), emit=lambda _: None
    )
    with pytest.raises(PipelineError, match="no private key for root@h"), group:
        pass


def test_a_key_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    profile = _profile(Endpoint(host="h", host_key=KEY))
    access = Access(key=str(tmp_path / "absent"))
    group = SshPlatform().provision(
        profile, Subject(), access, _lease(tmp_path), timeouts=Timeouts(), emit=lambda _: None
    )
    with pytest.raises(PipelineError, match="absent"), group:
        pass


def test_there_is_nothing_to_sweep() -> None:
    assert SshPlatform().sweep(now=datetime(2026, 1, 1, tzinfo=UTC)) == ()
