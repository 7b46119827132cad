"""The modules of a foreign kernel go to where that kernel looks for them, or the user hears why not."""

from __future__ import annotations

import struct
from datetime import timedelta
from pathlib import Path, PurePosixPath
from typing import cast

import pytest

from lisa_ci.errors import PipelineError, ProvisioningError
from lisa_ci.kernel import Identity
from lisa_ci.model import Completed
from lisa_ci.platforms.qemu.foreign_kernel import install_modules, prove
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


# ---- who runs ------------------------------------------------------------------------------------------------------

NOTES = struct.pack("<III", 4, 20, 3) + b"GNU\0" + bytes(range(20))
ID = bytes(range(20)).hex()
EXPECTED = Identity(release="6.9.1-mine", version="#7 SMP now", build_id=ID)


class Speaking:
    def __init__(self, *lines: str) -> None:
        self._lines = lines

    def run(self, *command: str, timeout: timedelta, stdin: bytes = b"") -> Completed:
        return Completed(exit=0, output="".join(f"{line}\n" for line in self._lines).encode())


def proven(expected: Identity, *lines: str) -> None:
    prove(cast("Machine", Speaking(*lines)), expected)


def test_the_kernel_that_was_meant_is_proven_by_all_that_is_known_of_it() -> None:
    proven(EXPECTED, "6.9.1-mine", "#7 SMP now", NOTES.hex())
    proven(Identity(release="6.9.1-mine"), "6.9.1-mine", "#8 SMP later", "")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (("6.9.1", "#7 SMP now", NOTES.hex()), "its release is '6.9.1', not '6.9.1-mine'"),
        (("6.9.1-mine", "#8 SMP now", NOTES.hex()), "its version is '#8 SMP now', not '#7 SMP now'"),
        (("6.9.1-mine", "#7 SMP now", NOTES[:-1].hex() + "00"), f"its build id is '{ID[:-2]}00', not '{ID}'"),
        (("6.9.1-mine", "#7 SMP now", "no hex"), "its build id is '', not"),
        ((), "its release is '', not"),
    ],
)
def test_another_kernel_is_no_usable_machine(lines: tuple[str, ...], message: str) -> None:
    with pytest.raises(ProvisioningError, match="another kernel was booted") as raised:
        proven(EXPECTED, *lines)
    assert message in raised.value.message
