"""The doctor names what is missing, and installs it only after saying so."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from lisa_ci import cli, host, process
from lisa_ci.commands import doctor
from lisa_ci.demo import rootfs
from lisa_ci.errors import ProvisioningError
from lisa_ci.platforms.qemu.acceleration import KVM, Acceleration, Accelerator


@pytest.fixture
def tools(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """What this host has; a test takes things away."""
    present = {tool.name for tool in host.TOOLS} | {"apt-get"}
    monkeypatch.setattr(host, "find", lambda name: Path("/usr/bin") / name if name in present else None)
    monkeypatch.setattr(process, "find", lambda name: f"/usr/bin/{name}" if name in present else None)
    monkeypatch.setattr(doctor, "find_acceleration", lambda *_arguments: KVM)
    monkeypatch.setattr(rootfs, "problems", list)
    monkeypatch.setattr(rootfs, "available_memory_mib", lambda: 4000)
    return present


@pytest.fixture
def attached(tools: set[str], monkeypatch: pytest.MonkeyPatch) -> list[Sequence[str]]:
    """A package manager that installs everything, and the list of its calls."""
    calls: list[Sequence[str]] = []

    def attach(arguments: Sequence[str]) -> int:
        calls.append(arguments)
        if "install" in arguments:
            tools.update(tool.name for tool in host.TOOLS)
        return 0

    monkeypatch.setattr(process, "attach", attach)
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    return calls


def run(*arguments: str, answer: str = "") -> Result:
    return CliRunner().invoke(cli.cli, ["--log", "plain", "doctor", *arguments], input=answer)


def test_a_complete_host_is_told_as_such(tools: set[str]) -> None:
    result = run()
    assert result.exit_code == 0
    assert "MISSING" not in result.stdout
    assert "ok      mmdebstrap" in result.stdout


def test_each_missing_tool_is_named_with_its_reason_and_package(tools: set[str]) -> None:
    tools -= {"sfdisk", "qemu-img"}
    result = run()
    assert isinstance(result.exception, ProvisioningError)
    assert "MISSING sfdisk" in result.stdout
    assert "(package fdisk)" in result.stdout
    assert "qemu-img, sfdisk" in result.exception.message
    assert "apt-get install" in result.exception.hint


def test_what_is_not_asked_for_is_not_needed(tools: set[str]) -> None:
    tools -= {"mmdebstrap", "qemu-system-x86_64"}
    assert run("--for", "release").exit_code == 0
    assert isinstance(run("--for", "qemu").exception, ProvisioningError)


def test_emulation_is_a_note_and_no_reason_to_stop(tools: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Acceleration(accelerator=Accelerator.TCG, reason="this host has no /dev/kvm", hint="enable it")
    monkeypatch.setattr(doctor, "find_acceleration", lambda *_arguments: slow)
    result = run()
    assert result.exit_code == 0
    assert "note    acceleration" in result.stdout
    assert "this host has no /dev/kvm; enable it" in result.stdout


def test_a_host_that_cannot_build_the_image_is_told_how_to(tools: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rootfs, "problems", lambda: ["namespaces cannot be made here; do this"])
    result = run()
    assert isinstance(result.exception, ProvisioningError)
    assert "do this" in result.exception.hint


def test_too_little_memory_is_told(tools: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rootfs, "available_memory_mib", lambda: 300)
    assert "MISSING memory" in run("--for", "qemu").stdout


def test_installing_says_what_and_why_first_then_checks_again(tools: set[str], attached: list[Sequence[str]]) -> None:
    tools -= {"mmdebstrap"}
    result = run("--install")
    assert result.exit_code == 0, result.output
    assert [list(call[:2]) for call in attached] == [["sudo", "apt-get"], ["sudo", "apt-get"]]
    assert "mmdebstrap: makes the root file system" in result.stderr
    assert "will run: sudo apt-get install" in result.stderr
    assert "ok      mmdebstrap" in result.stdout


def test_nothing_is_installed_where_nothing_is_missing(attached: list[Sequence[str]]) -> None:
    assert run("--install").exit_code == 0
    assert attached == []


@pytest.mark.parametrize(("answer", "is_installed"), [("y\n", True), ("n\n", False)])
def test_a_person_is_asked_before_anything_is_installed(
    tools: set[str],
    attached: list[Sequence[str]],
    monkeypatch: pytest.MonkeyPatch,
    answer: str,
    is_installed: bool,
) -> None:
    tools -= {"mmdebstrap"}
    asked: list[str] = []

    def confirm(text: str, **_options: object) -> None:
        asked.append(text)
        if answer == "n\n":
            raise click.Abort

    monkeypatch.setattr(click, "confirm", confirm)
    monkeypatch.setattr(doctor, "_is_person_there", lambda: True)
    run("--install")
    assert len(asked) == 1
    assert bool(attached) is is_installed


def test_yes_asks_nothing(tools: set[str], attached: list[Sequence[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    tools -= {"mmdebstrap"}
    monkeypatch.setattr(doctor, "_is_person_there", lambda: True)
    assert run("--install", "--yes").exit_code == 0
    assert len(attached) == 2


def test_a_package_manager_that_fails_is_told(tools: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    tools -= {"mmdebstrap"}
    monkeypatch.setattr(process, "attach", lambda _arguments: 100)
    result = run("--install")
    assert isinstance(result.exception, ProvisioningError)
    assert "failed with exit code 100" in result.exception.message


def test_without_a_known_package_manager_nothing_is_tried(tools: set[str], attached: list[Sequence[str]]) -> None:
    tools -= {"mmdebstrap", "apt-get"}
    result = run("--install")
    assert isinstance(result.exception, ProvisioningError)
    assert attached == []
