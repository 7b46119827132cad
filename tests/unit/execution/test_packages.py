from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lisa_ci import files, registry
from lisa_ci.errors import ProvisioningError
from lisa_ci.execution.packages import Packages, install_packages, wanted
from lisa_ci.model import Completed, PackageManager, Suite
from lisa_ci.pipeline.suites import bundled_suites, load_suite

NAMES = ("apt:fio", "dnf:fio", "apt:socat")


class Answering:
    """A machine that answers every command alike."""

    def __init__(self, completed: Completed) -> None:
        self.completed = completed
        self.commands: list[tuple[str, ...]] = []

    def run(self, *command: str, timeout: timedelta, stdin: bytes = b"") -> Completed:
        self.commands.append(command)
        return self.completed


def suite(name: str, **packages: Sequence[str]) -> Suite:
    by_manager = {PackageManager(key): tuple(names) for key, names in packages.items()}
    return Suite(name=name, folder="/here", digest="0", driver="shell", packages=by_manager)


def installed(completed: Completed, names: Sequence[str] = NAMES) -> Packages:
    machine: Any = Answering(completed)
    return install_packages(machine, names, timeout=timedelta(seconds=5))


def test_packages_of_several_suites_are_wanted_once() -> None:
    suites = (suite("a", apt=["fio", "socat"], apk=["fio"]), suite("b", apt=["socat", "tgt"]))
    assert wanted(suites) == ("apt:fio", "apt:socat", "apk:fio", "apt:tgt")
    assert wanted([suite("c")]) == ()


def test_a_suite_that_names_none_for_tdnf_means_those_of_dnf() -> None:
    assert wanted([suite("a", dnf=["fio"])]) == ("tdnf:fio", "dnf:fio")
    assert wanted([suite("a", dnf=["fio"], tdnf=["fio-azl"])]) == ("tdnf:fio-azl", "dnf:fio")


def test_no_machine_is_asked_for_nothing() -> None:
    assert installed(Completed(exit=9), names=()) == Packages()


def test_what_was_added_and_what_is_not_to_be_had_is_told() -> None:
    output = b"noise\nadded fio\nlacks socat: E: Unable to locate package socat: really\n"
    found = installed(Completed(exit=0, output=output))
    assert found.added == ("fio",)
    assert found.lacks == {"socat": "E: Unable to locate package socat: really"}


@pytest.mark.parametrize(
    ("completed", "said"),
    [
        (Completed(exit=1, output=b"Err: no network\n"), "no packages can be installed: Err: no network"),
        (Completed(exit=1, output=b""), "no packages can be installed: exit 1"),
        (Completed(exit=None, is_timed_out=True, output=b"half"), "no packages can be installed: not in time"),
    ],
)
def test_a_machine_that_can_have_nothing_is_an_error(completed: Completed, said: str) -> None:
    with pytest.raises(ProvisioningError, match=said):
        installed(completed)


@given(st.binary(max_size=300))
def test_a_machine_can_tell_of_no_package_that_was_not_asked_for(noise: bytes) -> None:
    found = installed(Completed(exit=0, output=noise + b"\nadded evil\nlacks worse: x\nadded fio\n"))
    assert {*found.added, *found.lacks} <= {"fio", "socat"}
    assert "fio" in found.added


def test_bundled_suites_name_packages_for_each_package_manager_or_for_none() -> None:
    """What judges the image as it was delivered (boot, userland, security) installs nothing."""
    found = {
        name: set(load_suite(files.shipped("suites") / name, registry.known(), name).packages)
        for name in bundled_suites()
    }
    with_packages = {name for name, managers in found.items() if managers}
    assert with_packages == {
        *("hpc", "iscsi", "ltp", "network", "network-pair", "performance", "rdma", "sriov", "storage"),
    }
    for name in with_packages:
        assert found[name] | {PackageManager.TDNF} == set(PackageManager), name
