"""One table says what the host needs, why, and where it comes from."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lisa_ci import host
from lisa_ci.errors import ProvisioningError
from lisa_ci.host import TOOLS, PackageTool, Use


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A host without any tool: programs are looked for in the folder alone."""
    monkeypatch.setattr(
        "lisa_ci.process.find", lambda name: str(tmp_path / name) if (tmp_path / name).exists() else None
    )
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    return tmp_path


def install(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).write_text("#!/bin/sh\n")


def test_every_tool_says_why_and_has_a_package_for_apt() -> None:
    assert len({tool.name for tool in TOOLS}) == len(TOOLS)
    for tool in TOOLS:
        assert tool.why
        assert tool.uses
        assert tool.packages.get(PackageTool.APT), tool.name


def test_a_user_needs_uidmap_and_root_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert "newuidmap" not in {tool.name for tool in host.tools([Use.DEMO])}
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert "newuidmap" in {tool.name for tool in host.tools([Use.DEMO])}


def test_require_names_everything_missing_and_how_to_get_it(bare: Path) -> None:
    install(bare, "apt-get", "qemu-img")
    with pytest.raises(ProvisioningError, match="lacks mmdebstrap, sfdisk") as caught:
        host.require("qemu-img", "mmdebstrap", "sfdisk")
    assert "lisa-ci doctor --install" in caught.value.hint
    assert "sudo apt-get install --yes --no-install-recommends fdisk mmdebstrap" in caught.value.hint


def test_require_gives_the_paths_in_order(bare: Path) -> None:
    install(bare, "one", "two")
    assert host.require("two", "one") == (bare / "two", bare / "one")


def test_a_file_is_found_in_any_of_its_places(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = bare / "gptmbr.bin"
    real.write_bytes(b"x")
    tool = host.Tool(name="t", why="w", uses=(Use.DEMO,), packages={}, files=("/nowhere/t", str(real)))
    monkeypatch.setitem(host._BY_NAME, "t", tool)
    assert host.find("t") == real
    real.unlink()
    assert host.find("t") is None


@pytest.mark.parametrize(
    ("manager", "start"),
    [
        (PackageTool.APT, ["sudo", "apt-get", "install", "--yes"]),
        (PackageTool.DNF, ["sudo", "dnf", "install", "--assumeyes"]),
        (PackageTool.ZYPPER, ["sudo", "zypper", "--non-interactive", "install"]),
        (PackageTool.PACMAN, ["sudo", "pacman", "-S"]),
    ],
)
def test_each_package_manager_is_spoken_to_in_its_own_words(bare: Path, manager: PackageTool, start: list[str]) -> None:
    command = host.install_command(["qemu-img", "mformat"], manager=manager)
    assert command[: len(start)] == start
    assert "mtools" in command


def test_root_needs_no_sudo(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert host.install_command(["qemu-img"], manager=PackageTool.DNF)[0] == "dnf"


def test_apt_reads_its_lists_anew_before_it_installs(bare: Path) -> None:
    update, install_ = host.install_commands(["qemu-img"], manager=PackageTool.APT)
    assert update == ["sudo", "apt-get", "update"]
    assert install_[-1] == "qemu-utils"
    assert len(host.install_commands(["qemu-img"], manager=PackageTool.DNF)) == 1


def test_a_package_that_has_several_tools_is_named_once(bare: Path) -> None:
    assert host.packages(["setpriv", "unshare"], PackageTool.APT) == ("util-linux",)


def test_without_a_package_manager_the_hint_says_so(bare: Path) -> None:
    assert host.install_command(["qemu-img"]) == []
    assert "package manager of this host" in host.install_hint(["qemu-img"])
    assert host.install_commands(["qemu-img"]) == []


def test_the_first_package_manager_found_is_used(bare: Path) -> None:
    assert host.package_tool() is None
    install(bare, "zypper")
    assert host.package_tool() is PackageTool.ZYPPER


def test_an_unknown_tool_has_no_package(bare: Path) -> None:
    assert host.packages(["no-such-tool"], PackageTool.APT) == ()
