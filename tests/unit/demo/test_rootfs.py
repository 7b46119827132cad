"""What the recipe prints becomes stages, and its last words an error."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lisa_ci import process
from lisa_ci.demo import rootfs
from lisa_ci.errors import ProvisioningError, ToolError
from lisa_ci.events import Event, StageAdvanced, StageEnded, StageStarted

PRINTED = (
    b"I: automatically chosen format: directory\nI: running apt-get update...\nGet:1 x\n",
    b"I: installing essential packages...\nUnpacking libc6 ...\nSetting up li",
    b"bc6 ...\nI: running --customize-hook in shell: sh\nI: making the file system...\n",
)


def printing(blocks: tuple[bytes, ...], error: str = "") -> object:
    def stream(_arguments: object, *, timeout: object) -> Iterator[bytes]:
        yield from blocks
        if error:
            raise ToolError(error)

    return stream


def make(tmp_path: Path) -> list[Event]:
    events: list[Event] = []
    rootfs.make(Path("rootfs.sh"), ["x"], log=tmp_path / "log", place="image", emit=events.append)
    return events


def test_each_heading_is_a_stage_and_each_package_a_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "stream", printing(PRINTED))
    events = make(tmp_path)
    started = [event.stage for event in events if isinstance(event, StageStarted)]
    ended = [(event.stage, event.error) for event in events if isinstance(event, StageEnded)]
    assert started == ["package lists", "install the base", "set up", "file system"]
    assert ended == [(name, "") for name in started]
    assert [event.done for event in events if isinstance(event, StageAdvanced)] == [1, 2]


def test_the_log_holds_every_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "stream", printing((*PRINTED, b"no newline at the end")))
    make(tmp_path)
    assert (tmp_path / "log").read_bytes() == b"".join(PRINTED) + b"no newline at the end\n"


def test_a_failure_names_the_tool_s_own_error_and_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = (b"I: running apt-get update...\nE: cannot resolve mirror.example.org\nI: cleaning up\n",)
    monkeypatch.setattr(process, "stream", printing(blocks, "setpriv failed with exit code 1"))
    with pytest.raises(ProvisioningError, match="E: cannot resolve mirror") as caught:
        make(tmp_path)
    assert str(tmp_path / "log") in caught.value.hint


def test_a_failure_without_an_error_line_shows_the_last_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "stream", printing((b"one\ntwo\nmke2fs: not found\n",), "failed"))
    with pytest.raises(ProvisioningError, match="mke2fs: not found"):
        make(tmp_path)


def test_a_stage_that_fails_ends_with_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "stream", printing((b"I: extracting archives...\n",), "boom"))
    events: list[Event] = []
    with pytest.raises(ProvisioningError):
        rootfs.make(Path("rootfs.sh"), [], log=tmp_path / "log", place="image", emit=events.append)
    assert [event.error for event in events if isinstance(event, StageEnded)] == ["boom"]


def test_a_line_without_an_end_stays_bounded() -> None:
    lines = list(rootfs._lines([b"x" * 1_000_000] * 3))
    assert sum(map(len, lines)) <= rootfs._LINE_LIMIT


def test_root_needs_no_user_namespace_and_a_user_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert "--user" not in rootfs.namespace()
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert {"--user", "--map-root-user", "--map-auto"} <= set(rootfs.namespace())


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"/proc/sys/kernel/apparmor_restrict_unprivileged_userns": "1"}, "apparmor_restrict_unprivileged_userns=0"),
        ({"/proc/sys/kernel/unprivileged_userns_clone": "0"}, "unprivileged_userns_clone=1"),
        ({}, "/etc/subuid"),
    ],
)
def test_a_forbidden_namespace_says_how_to_allow_it(
    monkeypatch: pytest.MonkeyPatch, files: dict[str, str], words: str
) -> None:
    refused = process.Finished(exit=1, stdout=b"", stderr=b"unshare: write failed: Operation not permitted\n")
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setattr(process, "run", lambda *_a, **_k: refused)
    monkeypatch.setattr(
        rootfs, "_read", lambda path: {"/proc/meminfo": "MemAvailable: 9000000 kB", **files}.get(path, "")
    )
    (problem,) = rootfs.problems()
    assert "Operation not permitted" in problem
    assert words in problem


def test_too_little_memory_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "run", lambda *_a, **_k: process.Finished(exit=0, stdout=b"", stderr=b""))
    monkeypatch.setattr(rootfs, "_read", lambda _path: "MemAvailable:     500000 kB")
    (problem,) = rootfs.problems()
    assert "488 MiB" in problem
