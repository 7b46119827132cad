from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from lisa_ci import process, registry
from lisa_ci.cli import cli
from lisa_ci.commands import shell
from lisa_ci.errors import PipelineError, ProvisioningError
from lisa_ci.model import Image, ImageFormat, Lease, Leftover, Profile, Subject
from lisa_ci.platforms.qemu import scratch


class Member:
    def login_command(self) -> str:
        return "ssh -p 2222 'root@127.0.0.1'"


class Group:
    members = (Member(),)


class OnePlatform:
    """Gives a machine to whoever asks, and remembers."""

    def __init__(self, leftovers: Sequence[Leftover] = ()) -> None:
        self.given: list[tuple[Profile, Subject, Lease]] = []
        self.is_open = False
        self.leftovers = leftovers

    @contextmanager
    def provision(self, profile: Profile, subject: Subject, access: Any, lease: Lease, **_: Any) -> Iterator[Group]:
        self.given.append((profile, subject, lease))
        self.is_open = True
        try:
            yield Group()
        finally:
            self.is_open = False

    def sweep(self, *, now: datetime) -> Sequence[Leftover]:
        assert now.tzinfo is not None
        return self.leftovers


@pytest.fixture
def platform(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> OnePlatform:
    one = OnePlatform()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(registry, "platform", lambda _: one)
    monkeypatch.setattr(process, "find", lambda _: "/usr/bin/ssh")
    monkeypatch.setattr(shell.images, "resolve", lambda source, _folder, _emit: _image(source.path))
    return one


def _image(path: str) -> Image:
    return Image(path=path, format=ImageFormat.RAW, disk_digest="d", size_bytes=1)


def call(*words: str) -> Any:
    return CliRunner().invoke(cli, ["--log", "plain", *words])


def test_the_prompt_is_ssh_in_a_machine_that_is_gone_afterwards(
    platform: OnePlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[Sequence[str]] = []

    def attach(words: Sequence[str]) -> int:
        assert platform.is_open
        called.append(words)
        return 3

    monkeypatch.setattr(process, "attach", attach)
    assert call("shell", "uefi", "--image", "disk.raw").exit_code == 3
    assert called == [["ssh", "-p", "2222", "root@127.0.0.1"]]
    [(profile, subject, lease)] = platform.given
    assert profile.name == "uefi"
    assert subject.image == _image("disk.raw")
    assert not platform.is_open
    assert not lease.scratch.parent.exists()


def test_a_mistyped_profile_is_answered_with_the_right_one(platform: OnePlatform) -> None:
    error = call("shell", "ueif", "--image", "disk.raw").exception
    assert isinstance(error, PipelineError)
    assert error.hint == "did you mean 'uefi'?"


def test_without_an_image_there_is_nothing_to_boot(platform: OnePlatform) -> None:
    error = call("shell", "bios").exception
    assert isinstance(error, PipelineError)
    assert "--image" in error.hint


def test_without_the_openssh_client_no_machine_is_started(
    platform: OnePlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "find", lambda _: None)
    error = call("shell", "bios", "--image", "disk.raw").exception
    assert isinstance(error, ProvisioningError)
    assert "openssh-client" in error.hint
    assert not platform.given


def test_a_sweep_tells_what_is_gone_and_what_is_left(platform: OnePlatform) -> None:
    platform.leftovers = (
        Leftover(what="machine a", owner="ann", is_removed=True),
        Leftover(what="machine b, kept", owner="", is_removed=False),
    )
    result = call("sweep")
    assert result.exit_code == 0
    assert result.stdout.count("removed: machine a of ann\n") == len(registry.PLATFORMS)
    assert "left: machine b, kept\n" in result.stdout


def test_a_sweep_ends_a_kept_machine_that_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    later = datetime.now(UTC) + timedelta(hours=1)
    lease = Lease(
        owner="me", leg="leg", attempt=1, delete_after=later, evidence=tmp_path, scratch=tmp_path / "s", keep=True
    )
    place = scratch.create(lease)
    result = call("sweep", place.id)
    assert result.exit_code == 0
    assert result.stdout.startswith(f"removed: machine {place.id}")
    assert not place.folder.exists()
    error = call("sweep", place.id).exception
    assert isinstance(error, PipelineError)
    assert "there is no machine" in error.message
