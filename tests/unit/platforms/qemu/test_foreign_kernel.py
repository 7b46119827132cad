"""The modules of a foreign kernel go to where that kernel looks for them, or the user hears why not."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path, PurePosixPath
from typing import cast

import pytest

from lisa_ci.errors import PipelineError, ProvisioningError
from lisa_ci.model import Completed
from lisa_ci.platforms.qemu.foreign_kernel import install_modules
from lisa_ci.protocols import Machine

LIMIT = timedelta(seconds=5)


class Booted:
    """A machine that tells a release; what is done to it is written down."""

    def __init__(self, release: str, *, taken: Completed | None = None) -> None:
        self._release = release
        self._taken = taken or Completed(exit=0, output=b"")
        self.done: list[tuple[str, ...]] = []

    def run(self, *command: str, timeout: timedelta, stdin: bytes = b"") -> Completed:
        if command == ("uname", "-r"):
            return Completed(exit=0, output=f"{self._release}\n".encode())
        self.done.append(command)
        return self._taken if command[0] == "sh" else Completed(exit=0, output=b"")

    def put_tree(self, folder: Path, target: PurePosixPath) -> None:
        self.done.append(("put", str(folder), str(target)))


def installed(machine: Booted, folder: Path) -> None:
    install_modules(cast("Machine", machine), folder, timeout=LIMIT)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "lib/modules/6.6.1-mine").mkdir(parents=True)
    return tmp_path


def test_the_tree_of_the_running_kernel_takes_the_place_of_what_was_there(folder: Path) -> None:
    machine = Booted("6.6.1-mine")
    installed(machine, folder)
    removed, put, taken = machine.done
    assert removed == ("rm", "-rf", "/lib/modules/6.6.1-mine")
    assert put == ("put", f"{folder}/lib/modules/6.6.1-mine", "/lib/modules/6.6.1-mine")
    assert taken[-1] == "6.6.1-mine"


@pytest.mark.parametrize("release", ["6.6.2", "", "..", "../../../etc", "6.6.1-mine/", "-rf", "6 6", "x" * 5000])
def test_a_release_that_the_folder_does_not_have_is_told_and_nothing_is_touched(folder: Path, release: str) -> None:
    machine = Booted(release)
    with pytest.raises(PipelineError, match=r"no modules of the kernel that runs, .*there is 6\.6\.1-mine"):
        installed(machine, folder)
    assert machine.done == []


def test_a_folder_without_modules_is_told(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match="there is no lib/modules/VERSION in it"):
        installed(Booted("6.6.1"), tmp_path)


def test_modules_that_cannot_be_taken_into_use_are_infrastructure(folder: Path) -> None:
    machine = Booted("6.6.1-mine", taken=Completed(exit=1, output=b"depmod: not found\n"))
    with pytest.raises(ProvisioningError, match="cannot be taken into use: depmod: not found"):
        installed(machine, folder)
