"""The suites ``storage``, ``sriov`` and ``storage-hotplug``: well made, and a part of them in two real machines."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import timedelta

import pytest

from lisa_ci import files, process, registry
from lisa_ci.execution import claims
from lisa_ci.model import Outcome, Suite, Timeouts, unmet
from lisa_ci.pipeline.profiles import catalogue
from lisa_ci.pipeline.suites import load_suite
from lisa_ci.scenarios.storage_hotplug import StorageHotplugScenario
from tests.doubles.storage_machine import EVERY_BUS, StorageMachine, storage_machine

ROOT = files.shipped("suites")
NAMES = ("storage", "sriov")
SCRIPTS = sorted(path for name in NAMES for path in (ROOT / name).iterdir() if path.suffix != ".yaml")
SHELLS = (["dash", "-n"], ["bash", "--posix", "-n"], ["busybox", "ash", "-n"])
SHELLCHECK = ["shellcheck", "-s", "sh", "-S", "warning", "-e", "SC1090,SC1091,SC2034,SC2046,SC2086,SC2154"]
TIMEOUT = timedelta(seconds=60)


def suite(name: str) -> Suite:
    return load_suite(ROOT / name, registry.known(), name)


# ---- the files -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
def test_every_script_is_read_by_every_shell(shell: list[str]) -> None:
    assert len(SCRIPTS) > 60
    for path in SCRIPTS:
        process.check([*shell, path], timeout=TIMEOUT)


def test_shellcheck_has_nothing_to_say() -> None:
    process.check([*SHELLCHECK, *SCRIPTS], timeout=timedelta(minutes=3))


def test_the_suites_share_their_words_and_steps() -> None:
    for name in ("words.sh", "steps.sh"):
        assert len({(ROOT / folder / name).read_bytes() for folder in NAMES}) == 1
    assert (ROOT / "storage/words.sh").read_bytes() == (ROOT / "boot/words.sh").read_bytes()


def test_every_case_says_what_it_proves_and_when_it_fails_and_runs_a_file_of_its_suite() -> None:
    for name in NAMES:
        for case in suite(name).cases or ():
            assert os.access(ROOT / name / case.run[0], os.X_OK), case.key
            assert len(case.description) > 80, case.key
            assert case.timeout is None or case.timeout <= timedelta(minutes=10)


def test_a_case_that_makes_something_begins_by_taking_it_back() -> None:
    for path in SCRIPTS:
        if os.access(path, os.X_OK) and path.name != "prepare":
            assert "\nbegin\n" in path.read_text(), path.name


def test_every_case_fits_a_profile_of_qemu_but_those_of_network_functions() -> None:
    cases = [case for name in (*NAMES, "storage-hotplug") for case in suite(name).cases or ()]
    homeless = {
        case.id
        for case in cases
        if all(
            unmet({**suite(case.suite).requires, **case.requires}, profile.capabilities)
            for profile in catalogue().values()
            if profile.platform == "qemu"
        )
    }
    assert all(case_id.startswith("nic-vf") for case_id in homeless)
    assert len(homeless) == 7


# ---- in a machine --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", autouse=True)
def _own_state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(scope="class")
def every_bus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StorageMachine]:
    with storage_machine(tmp_path_factory.mktemp("every-bus")) as found:
        yield found


class TestOnEveryBus:
    def test_all_that_the_profile_claims_is_true(self, every_bus: StorageMachine) -> None:
        assert claims.ask(every_bus.machine, EVERY_BUS, timeout=TIMEOUT) == {}

    @pytest.mark.parametrize(
        "case",
        [
            *("serials", "sizes", "queue-interrupts", "nvme-identify", "nvme-discard", "nvme-reset"),
            *("scsi-unmap", "partition-table", "crash-ext4", "lvm", "raid1", "luks", "verity", "swap", "fio-io-uring"),
        ],
    )
    def test_a_case_passes_and_leaves_nothing(self, every_bus: StorageMachine, case: str) -> None:
        result = every_bus.case("storage", case)
        assert (result.outcome, result.message) == (Outcome.PASSED, "")
        look = "ls /dev/mapper | grep -v control; ls -d /tmp/lisa-ci-* /var/tmp/lisa-ci-world* 2>/dev/null"
        left = every_bus.machine.run("sh", "-c", look, timeout=TIMEOUT)
        assert left.output.decode().strip() == ""

    @pytest.mark.parametrize(
        ("case", "facts", "says"),
        [
            ("sizes", "lisa-ci-0:virtio:513:1:0:0", "the profile says 537919488"),
            ("serials", "lisa-ci-0:virtio:512:2:0:0", "1 block devices have the serial number lisa-ci-0"),
            ("buses", "lisa-ci-0:scsi:512:1:0:0", "is on bus virtio, the profile says scsi"),
            ("queues", "lisa-ci-3:sata:512:1:2:0", "has 1 queues, the profile says 2"),
        ],
    )
    def test_a_profile_that_says_otherwise_fails_its_case(
        self, every_bus: StorageMachine, case: str, facts: str, says: str
    ) -> None:
        result = every_bus.case("storage", case, facts={"LISA_CI_PROFILE_DISKS": facts})
        assert result.outcome is Outcome.FAILED
        assert says in result.message

    def test_a_flipped_bit_that_verity_lets_through_fails_its_case(self, every_bus: StorageMachine) -> None:
        shim = 'program veritysetup \'[ "$1" != open ] || set -- "$@" --ignore-corruption; exec $real "$@"\''
        result = every_bus.case("storage", "verity", shim)
        assert result.outcome is Outcome.FAILED
        assert "a block with a flipped bit was not refused" in result.message

    def test_disks_leave_under_io_and_return_with_their_data(self, every_bus: StorageMachine) -> None:
        assert every_bus.machines is not None
        scenario = StorageHotplugScenario()
        results = scenario.run(suite("storage-hotplug"), every_bus.machines, timeouts=Timeouts(), emit=lambda _: None)
        assert {result.case: result.message for result in results if result.outcome is not Outcome.PASSED} == {}


class TestNvmeFunctions:
    def test_virtual_functions_are_claimed_made_used_refused_and_removed(
        self, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        profile = catalogue()["nvme-sriov"]
        with storage_machine(tmp_path_factory.mktemp("sriov"), profile) as found:
            assert claims.ask(found.machine, profile, timeout=TIMEOUT) == {}
            cases = [case.id for case in suite("sriov").cases or () if not unmet(case.requires, profile.capabilities)]
            assert len(cases) == 4
            results = {case: found.case("sriov", case) for case in cases}
            results |= {case: found.case("storage", case) for case in ("serials", "nvme-identify", "queues")}
            assert {name: one.message for name, one in results.items() if one.outcome is not Outcome.PASSED} == {}
            more = found.case("sriov", "nvme-vfs-claimed", facts={"LISA_CI_PROFILE_DISKS": "lisa-ci-0:nvme:512:2:2:3"})
            assert "can have 2 virtual functions, the profile says 3" in more.message
