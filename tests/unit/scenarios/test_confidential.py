"""Scenario confidential: a machine whose report verifies passes; a stale, foreign or missing one does not."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from lisa_ci.errors import MachineLostError
from lisa_ci.model import Case, Completed, Outcome, Result, Suite, Timeouts
from lisa_ci.scenarios.confidential import ConfidentialScenario
from tests.doubles.attestation import ASKED, NOW, amd, azure, intel, table

SNP, TDX = ("snp-memory", "snp-report", "snp-signature"), ("tdx-memory", "tdx-quote")
SNP_LINE = "kernel=Memory Encryption Features active: AMD SEV SEV-ES SEV-SNP"
TDX_LINE = "kernel=Memory Encryption Features active: Intel TDX"


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def answer(*lines: str, way: str = "configfs sev_guest", report: bytes = b"", certificates: bytes = b"") -> str:
    given = [*lines, f"table={b64(certificates)}", f"way={way}", f"report={b64(report)}"] if report else list(lines)
    return "\n".join([*given, "end=", ""])


@dataclass
class Machine:
    text: str
    stdin: bytes = b""
    name: str = "machine"

    def run(self, *command: str, timeout: timedelta, stdin: bytes = b"") -> Completed:
        self.stdin = stdin
        return Completed(exit=0, output=self.text.encode())


def results(text: str, cases: tuple[str, ...], **environment: str) -> dict[str, Result]:
    machine: Any = Machine(text)
    named = tuple(Case(suite="confidential", id=one) for one in cases)
    suite = Suite(
        name="confidential", folder="f", digest="d", scenario="confidential", cases=named, environment=environment
    )
    scenario = ConfidentialScenario(
        random=lambda size: ASKED[:size], clock=lambda: NOW, amd=amd().trusted, intel=intel().trusted
    )
    machines: Any = SimpleNamespace(members=[machine])
    found = list(scenario.run(suite, machines, timeouts=Timeouts(), emit=lambda _: None))
    assert machine.stdin in (b"", ASKED)
    return {result.case: result for result in found}


def outcomes(text: str, cases: tuple[str, ...], **environment: str) -> dict[str, str]:
    return {name: one.message or one.outcome.value for name, one in results(text, cases, **environment).items()}


def test_a_machine_of_sev_snp_whose_host_gives_the_certificates_passes() -> None:
    found = results(answer(SNP_LINE, report=amd().report(), certificates=table()), SNP)
    assert {one.outcome for one in found.values()} == {Outcome.PASSED}
    assert "proven: it is signed by SEV-VCEK <- SEV-Test <- ARK-Test" in found["snp-signature"].detail
    assert "not proven: whether AMD revoked a key of the chain" in found["snp-signature"].detail


def test_without_certificates_the_signature_is_skipped_and_said_to_be_open() -> None:
    found = results(answer(SNP_LINE, report=amd().report()), SNP)
    assert found["snp-report"].outcome is Outcome.PASSED
    assert found["snp-signature"].outcome is Outcome.SKIPPED
    assert found["snp-signature"].message.endswith("not proven")


def test_a_host_that_gives_the_chips_certificate_alone_proves_nothing_and_refutes_nothing() -> None:
    found = results(answer(report=amd().report(), certificates=table(1)), SNP)["snp-signature"]
    assert found.outcome is Outcome.SKIPPED
    assert "the issuer of 'SEV-VCEK' is not there" in found.message


def test_certificates_may_be_a_file_of_this_host(tmp_path: Path) -> None:
    path = tmp_path / "chain.pem"
    path.write_bytes(b"".join(one.public_bytes(Encoding.PEM) for one in amd().chain))
    found = results(answer(report=amd().report()), SNP, CONFIDENTIAL_CERTIFICATES=str(path))
    assert found["snp-signature"].outcome is Outcome.PASSED


def test_the_expected_measurement_is_compared() -> None:
    good, bad = {"CONFIDENTIAL_MEASUREMENT": "6d" * 48}, {"CONFIDENTIAL_MEASUREMENT": "6e" * 48}
    assert results(answer(report=amd().report()), SNP, **good)["snp-report"].outcome is Outcome.PASSED
    assert "expected is 6e6e" in outcomes(answer(report=amd().report()), SNP, **bad)["snp-report"]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("CONFIDENTIAL_MEASUREMENT", "6d", "96 hexadecimal digits are wanted"),
        ("CONFIDENTIAL_CERTIFICATES", "/none/such.pem", "No such file"),
        ("CONFIDENTIAL_CERTIFICATES", "/dev/null", "has no certificates"),
    ],
)
def test_a_wrong_variable_is_the_pipelines_fault_not_the_images(name: str, value: str, message: str) -> None:
    found = results(answer(report=amd().report()), SNP, **{name: value})
    assert {one.outcome for one in found.values()} == {Outcome.ERRORED}
    assert message in found["snp-report"].message


WORLDS = [
    ("a plain machine", answer("kernel=Memory Encryption Features active: AMD SEV"), "snp-memory", "it says: Memory"),
    ("a machine that says nothing", answer(), "snp-memory", "nothing of encrypted memory"),
    ("no way to a report", answer(SNP_LINE), "snp-report", "the machine gives no report"),
    ("an old report", answer(report=amd().report(at_50=b"\xff" * 64)), "snp-report", "it was asked for 0001"),
    ("debugging is allowed", answer(report=amd().report(at_0a=b"\x0b")), "snp-report", "allows debugging"),
    ("half a report", answer(report=amd().report()[:600]), "snp-report", "has 600 bytes"),
    ("no base64", "way=configfs x\nreport=%\nend=\n", "snp-report", "no base64"),
    (
        "a changed report",
        answer(report=amd().report()[:0x90] + b"X" + amd().report()[0x91:], certificates=table()),
        "snp-signature",
        "not signed by the key",
    ),
    ("a broken table", answer(report=amd().report(), certificates=b"\1" * 30), "snp-signature", "past the end"),
    ("the other technology", answer(report=amd().report()), "tdx-quote", "version 3"),
    ("no guest of TDX", answer(SNP_LINE), "tdx-memory", "not say that it is a guest of tdx"),
    ("an old quote", answer(report=intel().quote(body_208=b"\xff" * 64)), "tdx-quote", "it was asked for 0001"),
    ("claims for another", answer(way="azure", report=azure({"user-data": "00"})), "snp-report", "carry '00'"),
    ("claims without data", answer(way="azure", report=azure({})), "snp-report", "carry ''"),
    ("claims of no text", answer(way="azure", report=azure({"user-data": 7})), "snp-report", "carry '7'"),
    ("Azure's SNP, asked for TDX", answer(way="azure", report=azure({})), "tdx-quote", "of SEV-SNP, not of TDX"),
    (
        "Azure's TDX, asked for SNP",
        answer(way="azure", report=azure({}, kind=4)),
        "snp-report",
        "of TDX, not of SEV-SNP",
    ),
]


@pytest.mark.parametrize(("text", "case", "message"), [row[1:] for row in WORLDS], ids=[row[0] for row in WORLDS])
def test_what_does_not_prove_it_fails_with_the_reason(text: str, case: str, message: str) -> None:
    found = results(text, (case,))[case]
    assert found.outcome is Outcome.FAILED
    assert message in found.message


def test_a_machine_of_tdx_passes() -> None:
    found = results(answer(TDX_LINE, way="configfs tdx_guest", report=intel().quote()), TDX)
    assert {one.outcome for one in found.values()} == {Outcome.PASSED}


@pytest.mark.parametrize(("group", "case"), [("0xba2", "snp-memory"), ("0xbe3", "tdx-memory")])
def test_hyper_v_tells_the_kind_in_its_isolation(group: str, case: str) -> None:
    line = f"kernel=Hyper-V: Isolation Config: Group A 0x1, Group B {group}"
    found = {name: one.outcome for name, one in results(answer(line), ("snp-memory", "tdx-memory")).items()}
    assert found.pop(case) is Outcome.PASSED
    assert set(found.values()) == {Outcome.FAILED}


def test_azures_claims_carry_what_was_asked_for() -> None:
    report = azure({"user-data": ASKED.hex().upper()})
    found = results(answer(way="azure", report=report, certificates=table()), ("snp-report", "snp-signature"))
    assert {one.outcome for one in found.values()} == {Outcome.PASSED}
    quote = results(answer(way="azure", report=azure({"user-data": ASKED.hex()}, kind=4)), ("tdx-quote",))["tdx-quote"]
    assert quote.outcome is Outcome.PASSED
    assert "not proven: the signature" in quote.detail


def test_an_unknown_case_is_errored() -> None:
    assert "has no case 'x'" in outcomes(answer(), ("x",))["x"]


def test_a_machine_that_stops_in_the_middle_is_lost_not_judged() -> None:
    with pytest.raises(MachineLostError, match="did not give its evidence"):
        results("way=configfs", SNP)


@given(st.text(max_size=200))
def test_any_answer_gives_a_result_for_each_case(text: str) -> None:
    assert len(results(f"{text}\nway=configfs\nreport=AAAA\nend=\n", SNP + TDX)) == 5
