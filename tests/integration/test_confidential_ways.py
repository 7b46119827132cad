"""The ways to an attestation report, walked on this host: the script is the machine's, what it finds are doubles."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lisa_ci.model import Case, Completed, Outcome, Result, Suite, Timeouts
from lisa_ci.scenarios import confidential
from lisa_ci.scenarios.confidential import ConfidentialScenario
from tests.doubles.attestation import ASKED, NOW, amd, azure, intel, table

SOURCE = Path(__file__).parent.parent / "doubles" / "sev_guest.c"
NO_WAY = {"/sys/kernel/config": "/nowhere", "/dev/sev-guest": "/nowhere/sev-guest"}


@dataclass
class Host:
    """This host as the machine: paths of the script are ``moved``, programs in ``folder``/bin come first."""

    folder: Path
    moved: dict[str, str]
    environment: dict[str, str] = field(default_factory=dict)
    name: str = "here"

    def run(self, *command: str, timeout: timedelta, stdin: bytes = b"") -> Completed:
        words = list(command)
        for old, new in self.moved.items():
            words = [word.replace(old, new) for word in words]
        path = f"{self.folder / 'bin'}:{os.environ['PATH']}"
        done = subprocess.run(
            words,
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PATH": path, **self.environment},
            timeout=timeout.total_seconds(),
            check=False,
        )
        return Completed(exit=done.returncode, output=done.stdout)

    def program(self, name: str, *lines: str) -> None:
        path = self.folder / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("\n".join(["#!/bin/sh", *lines, ""]))
        path.chmod(0o755)

    def file(self, name: str, data: bytes) -> str:
        (self.folder / name).write_bytes(data)
        return str(self.folder / name)


def results(host: Host, *cases: str) -> dict[str, Result]:
    scenario = ConfidentialScenario(
        random=lambda size: ASKED[:size], clock=lambda: NOW, amd=amd().trusted, intel=intel().trusted
    )
    named = tuple(Case(suite="confidential", id=one) for one in cases)
    suite = Suite(name="confidential", folder="f", digest="d", scenario="confidential", cases=named)
    machines: Any = SimpleNamespace(members=[host])
    found = list(scenario.run(suite, machines, timeouts=Timeouts(case=timedelta(seconds=60)), emit=lambda _: None))
    return {result.case: result for result in found}


def outcomes(host: Host, *cases: str) -> dict[str, str]:
    return {name: one.message or one.outcome.value for name, one in results(host, *cases).items()}


PASSED = {"snp-report": "passed", "snp-signature": "passed"}


@pytest.fixture
def host(tmp_path: Path) -> Host:
    made = Host(folder=tmp_path, moved=dict(NO_WAY))
    made.program("modprobe")
    made.program("mount")
    made.program("dmesg", "echo '[    0.1] Memory Encryption Features active: AMD SEV SEV-ES SEV-SNP'")
    return made


@pytest.fixture
def sev_guest(host: Host) -> Callable[..., Host]:
    library = host.folder / "sev_guest.so"
    subprocess.run(["gcc", "-Wall", "-Werror", "-shared", "-fPIC", "-o", library, SOURCE], check=True)
    host.moved["/dev/sev-guest"] = "/dev/null"
    host.program("perl", f'LD_PRELOAD={library} exec /usr/bin/perl "$@"')

    def answers(report: bytes, certificates: bytes = b"", asked: bytes = ASKED) -> Host:
        host.environment |= {"SEV_ASKED": host.file("asked", asked), "SEV_REPORT": host.file("report", report)}
        host.environment |= {"SEV_TABLE": host.file("table", certificates)} if certificates else {}
        return host

    return answers


def test_the_device_gives_a_report_and_the_hosts_certificates(sev_guest: Callable[..., Host]) -> None:
    assert outcomes(sev_guest(amd().report(), table()), "snp-report", "snp-signature", "snp-memory") == {
        **PASSED,
        "snp-memory": "passed",
    }


def test_a_host_without_certificates_is_asked_again_for_the_report_alone(sev_guest: Callable[..., Host]) -> None:
    found = results(sev_guest(amd().report()), "snp-report", "snp-signature")
    assert [one.outcome for one in found.values()] == [Outcome.PASSED, Outcome.SKIPPED]


def test_a_device_that_gives_no_report_is_no_way(sev_guest: Callable[..., Host]) -> None:
    found = outcomes(sev_guest(amd().report(), asked=bytes(64)), "snp-report")
    assert "the machine gives no report" in found["snp-report"]


def configfs(host: Host, provider: str, report: bytes, certificates: bytes = b"") -> None:
    """The kernel puts the files of an entry there when its folder is made; a report is for what was written."""
    tsm = host.folder / "config" / "tsm" / "report"
    tsm.mkdir(parents=True)
    host.moved["/sys/kernel/config"] = str(host.folder / "config")
    out = host.file("out", report)
    lines = [f'/bin/mkdir "$1" && cp {out} "$1/outblob" && echo {provider} >"$1/provider"']
    lines += [f'cp {host.file("aux", certificates)} "$1/auxblob"'] if certificates else []
    host.program("mkdir", *lines)


def test_configfs_gives_a_report_with_certificates_and_gets_what_was_asked_in_one_write(host: Host) -> None:
    configfs(host, "sev_guest", amd().report(), table())
    assert outcomes(host, "snp-report", "snp-signature") == PASSED
    assert (host.folder / "config/tsm/report/lisa-ci/inblob").read_bytes() == ASKED


def test_configfs_gives_a_quote(host: Host) -> None:
    configfs(host, "tdx_guest", intel().quote())
    host.program("dmesg", "echo '[    0.1] tdx: Guest detected'")
    assert outcomes(host, "tdx-memory", "tdx-quote") == {"tdx-memory": "passed", "tdx-quote": "passed"}


def test_azures_virtual_tpm_gets_what_was_asked_and_gives_its_report(host: Host) -> None:
    report = host.file("hcl", azure({"user-data": ASKED.hex().upper()}))
    host.program("tpm2_nvreadpublic", f'[ "$1" = 0x01400001 ] || [ -e {shlex.quote(str(host.folder / "defined"))} ]')
    host.program("tpm2_nvdefine", f"touch {host.folder / 'defined'}")
    host.program("tpm2_nvwrite", f'[ -e {host.folder / "defined"} ] && cp "$5" {host.folder / "written"}')
    host.program("tpm2_nvread", f'[ "$3" = 0x01400001 ] && cat {report}')
    host.program("sleep")
    assert outcomes(host, "snp-report") == {"snp-report": "passed"}
    assert (host.folder / "written").read_bytes() == ASKED


def test_a_machine_without_any_way_says_so(host: Host) -> None:
    assert "no configfs-tsm, no /dev/sev-guest (with Perl), no Azure vTPM" in outcomes(host, "tdx-quote")["tdx-quote"]


def test_the_script_is_read_by_every_shell(tmp_path: Path) -> None:
    script = tmp_path / "evidence"
    script.write_text(confidential.EVIDENCE)
    for shell in (["dash", "-n"], ["bash", "--posix", "-n"], ["busybox", "ash", "-n"], ["shellcheck", "-s", "sh"]):
        subprocess.run([*shell, script], check=True)
    subprocess.run(["perl", "-c", "-e", confidential.SEV_GUEST], check=True, capture_output=True)
