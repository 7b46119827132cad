"""Secure Boot with a signed loader, in a real machine: what nobody signed is refused. One boot."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from lisa_ci import files, process, registry
from lisa_ci.execution import claims
from lisa_ci.model import Firmware, Outcome, Profile, unmet
from lisa_ci.pipeline.suites import load_suite
from lisa_ci.scenarios import measured_boot
from tests.doubles.secure_boot_image import secure_boot_image
from tests.doubles.security_machine import SOON, SecurityMachine, security_machine

SECURED = Profile(name="secured", firmware=Firmware.UEFI, memory_mib=1024, tpm=True, secure_boot=True)
SUITE = files.shipped("suites") / "security"
CHECKS = sorted(path for path in SUITE.iterdir() if path.is_file() and path.stat().st_mode & 0o100)
SHELLS = (["dash", "-n"], ["bash", "--posix", "-n"], ["busybox", "ash", "-n"])
SHELLCHECK = ["shellcheck", "-s", "sh", "-S", "warning", "-e", "SC1090,SC1091,SC2034,SC2046,SC2086,SC2154"]
REFUSALS = ("unsigned-module", "altered-module", "lockdown-state", "kexec-refused", "msr-writes", "hibernation-refused")


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecurityMachine]:
    folder = tmp_path_factory.mktemp("secured")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(folder / "state"))
        with security_machine(folder, SECURED, secure_boot_image(folder)) as found:
            yield found


def test_secure_boot_lets_a_signed_loader_start_and_the_kernel_locks_down(machine: SecurityMachine) -> None:
    assert claims.ask(machine.machine, SECURED, timeout=SOON) == {}
    assert "[integrity]" in machine.sh("cat /sys/kernel/security/lockdown")
    assert machine.case("secure-boot-state").outcome is Outcome.PASSED


@pytest.mark.parametrize("case", REFUSALS)
def test_what_nobody_signed_is_refused(machine: SecurityMachine, case: str) -> None:
    result = machine.case(case)
    assert result.outcome is Outcome.PASSED, result


def test_a_secret_comes_out_of_the_tpm_only_for_the_pcrs_that_it_was_sealed_to(machine: SecurityMachine) -> None:
    result = machine.case("tpm-seal")
    assert result.outcome is Outcome.PASSED, result


def test_what_was_measured_is_what_was_logged_until_something_is_extended_behind_the_log(
    machine: SecurityMachine,
) -> None:
    assert machine.not_passed("measured-boot") == {}
    machine.sh(f"tpm2_pcrextend 14:sha256={'ab' * 32} -T device:/dev/tpmrm0")
    assert machine.not_passed("measured-boot") == {"sha256": Outcome.FAILED}


def test_a_machine_that_is_not_confidential_proves_nothing(machine: SecurityMachine) -> None:
    assert set(machine.not_passed("confidential").values()) == {Outcome.FAILED}


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
def test_every_check_is_read_by_every_shell(shell: list[str]) -> None:
    for path in [*CHECKS, SUITE / "security.sh"]:
        process.check([*shell, path], timeout=timedelta(seconds=30))


def test_shellcheck_has_nothing_to_say() -> None:
    process.check([*SHELLCHECK, *CHECKS, SUITE / "security.sh"], timeout=timedelta(seconds=60))


def test_what_the_host_asks_for_is_read_by_every_shell(tmp_path: Path) -> None:
    script = tmp_path / "facts"
    script.write_text(measured_boot.FACTS)
    for shell in [*SHELLS, SHELLCHECK]:
        process.check([*shell, script], timeout=timedelta(seconds=30))


def test_every_check_is_a_case_and_says_what_it_proves() -> None:
    cases = load_suite(SUITE, registry.known()).cases or ()
    assert {case.run[0] for case in cases} == {f"./{path.name}" for path in CHECKS}
    assert [case.id for case in cases if len(case.description) < 60] == []
    assert (SUITE / "words.sh").read_bytes() == (SUITE.parent / "userland" / "words.sh").read_bytes()


@pytest.mark.parametrize(
    "table", ["kernel-options", "sysctl-values", "setuid-allowed", "capabilities-allowed", "ssh-wanted"]
)
def test_every_line_of_a_table_is_whole(table: str) -> None:
    """Capabilities have no reason beside them, every other line has one."""
    words = {"kernel-options": 4, "sysctl-values": 5, "setuid-allowed": 2, "capabilities-allowed": 2, "ssh-wanted": 3}
    lines = [line for line in (SUITE / table).read_text().splitlines() if not line.startswith("#")]
    assert len(lines) > 10
    assert [line for line in lines if len(line.split()) < words[table]] == []
    assert len({tuple(line.split()[:3]) for line in lines}) == len(lines)


def test_a_plain_machine_is_asked_for_nothing_that_it_cannot_have() -> None:
    cases = load_suite(SUITE, registry.known()).cases or ()
    plain = [case.id for case in cases if unmet(case.requires, Profile(name="plain").capabilities) == ()]
    assert len(plain) > 20
    assert not {*REFUSALS, "tpm-seal", "secure-boot-state"} & set(plain)
