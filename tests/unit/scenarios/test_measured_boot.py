"""Scenario measured-boot: a real boot passes, and each lie of a machine is found by the case that is about it."""

from __future__ import annotations

import base64
import gzip
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lisa_ci.attestation.event_log import driver_variables, parse_event_log
from lisa_ci.attestation.evidence import Refused
from lisa_ci.errors import MachineLostError
from lisa_ci.model import Case, Completed, Outcome, Result, Suite, Timeouts
from lisa_ci.scenarios.measured_boot import Facts, MeasuredBootScenario, read_facts
from tests.doubles.attestation import captured, captured_pcrs

ALL = ("log", "sha1", "sha256", "event-data", "separators", "secure-boot", "ima-aggregate", "ima-list")
LOG, IMA, PCRS = (
    captured("event-log-secure-boot.gz.base64"),
    captured("ima-list-secure-boot.gz.base64"),
    captured_pcrs(),
)
VARIABLES = {variable.name: variable.data for variable in driver_variables(parse_event_log(LOG))}
REAL = Facts(log=LOG, ima_list=IMA, pcrs=PCRS, variables=VARIABLES)


def packed(data: bytes) -> str:
    return base64.b64encode(gzip.compress(data)).decode()


def printed(facts: Facts) -> str:
    lines = [f"pcr={bank} {pcr} {value.hex()}" for bank, values in facts.pcrs.items() for pcr, value in values.items()]
    lines += [f"variable={name} {packed(bytes(4) + data)}" for name, data in facts.variables.items()]
    lines += [f"log={packed(facts.log)}"] if facts.log is not None else []
    lines += [f"ima={packed(facts.ima_list)}"] if facts.ima_list is not None else []
    return "\n".join([*lines, "end=", ""])


@dataclass
class Machine:
    text: str
    exit: int = 0
    name: str = "machine"
    asked: list[timedelta] = field(default_factory=list)

    def run(self, *command: str, timeout: timedelta, stdin: bytes = b"") -> Completed:
        self.asked.append(timeout)
        return Completed(exit=self.exit, output=self.text.encode())


def results(text: str | Facts, cases: tuple[str, ...] = ALL) -> dict[str, Result]:
    machine: Any = Machine(text if isinstance(text, str) else printed(text))
    suite = Suite(
        name="measured-boot",
        folder="f",
        digest="d",
        scenario="measured-boot",
        cases=tuple(Case(suite="measured-boot", id=one) for one in cases),
    )
    machines: Any = SimpleNamespace(members=[machine])
    timeouts = Timeouts(case=timedelta(seconds=33))
    found = list(MeasuredBootScenario().run(suite, machines, timeouts=timeouts, emit=lambda _: None))
    assert machine.asked in ([], [timedelta(seconds=33)])
    return {result.case: result for result in found}


def not_passed(facts: Facts) -> dict[str, Outcome]:
    return {name: one.outcome for name, one in results(facts).items() if one.outcome is not Outcome.PASSED}


def test_a_real_boot_passes_every_case() -> None:
    assert not_passed(REAL) == {}


def with_pcr(bank: str, pcr: int) -> Mapping[str, Mapping[int, bytes]]:
    return {**PCRS, bank: {**PCRS[bank], pcr: b"\x77" * len(PCRS[bank][pcr])}}


F, S = Outcome.FAILED, Outcome.SKIPPED
LOG_CASES = dict.fromkeys(("log", "sha1", "sha256", "event-data", "separators", "secure-boot"), F)
WORLDS: list[tuple[str, Facts, dict[str, Outcome]]] = [
    ("PCR 4 was extended behind the log", replace(REAL, pcrs=with_pcr("sha256", 4)), {"sha256": F, "ima-aggregate": F}),
    ("PCR 14 was extended behind the log", replace(REAL, pcrs=with_pcr("sha256", 14)), {"sha256": F}),
    ("a bit of the log's SHA-1 is another", replace(REAL, pcrs=with_pcr("sha1", 0)), {"sha1": F}),
    ("PCR 10 was extended behind the list", replace(REAL, pcrs=with_pcr("sha256", 10)), {"ima-list": F}),
    ("an entry of the list is gone", replace(REAL, ima_list=IMA[: IMA.rindex(b"\x0a\0\0\0")]), {"ima-list": F}),
    ("the list is cut", replace(REAL, ima_list=IMA[:-3]), {"ima-list": F, "ima-aggregate": F}),
    ("the kernel measures nothing", replace(REAL, ima_list=None), {"ima-list": S, "ima-aggregate": S}),
    ("Secure Boot was switched", replace(REAL, variables={**VARIABLES, "SecureBoot": b"\0"}), {"secure-boot": F}),
    ("a key was enrolled", replace(REAL, variables={**VARIABLES, "db": VARIABLES["db"] + b"x"}), {"secure-boot": F}),
    ("a variable is gone", replace(REAL, variables={**VARIABLES, "PK": b""}), {"secure-boot": F}),
    ("the firmware tells none", replace(REAL, variables={}), {"secure-boot": F}),
    ("there is no log", replace(REAL, log=None), LOG_CASES),
    ("the log is empty", replace(REAL, log=b""), LOG_CASES),
    ("the log is cut", replace(REAL, log=LOG[:-1]), LOG_CASES),
    ("the TPM has no SHA-1", replace(REAL, pcrs={"sha256": PCRS["sha256"]}), {"sha1": S}),
    ("the TPM has no SHA-256", replace(REAL, pcrs={"sha1": PCRS["sha1"]}), {"sha256": F, "ima-aggregate": S}),
    ("no PCR is told", replace(REAL, pcrs={}), {"sha1": S, "sha256": S, "ima-aggregate": S, "ima-list": S}),
]


@pytest.mark.parametrize(("facts", "expected"), [row[1:] for row in WORLDS], ids=[row[0] for row in WORLDS])
def test_a_lie_is_found_by_the_cases_that_are_about_it_and_by_no_other(
    facts: Facts, expected: dict[str, Outcome]
) -> None:
    assert not_passed(facts) == expected


def test_a_log_whose_text_was_changed_replays_and_is_found_all_the_same() -> None:
    place = LOG.index("SecureBoot".encode("utf-16-le")) + 20
    assert LOG[place] == 1
    changed = LOG[:place] + b"\0" + LOG[place + 1 :]
    assert not_passed(replace(REAL, log=changed)) == {"event-data": F, "secure-boot": F}


def test_a_failure_says_which_pcr_with_both_values() -> None:
    found = results(replace(REAL, pcrs=with_pcr("sha256", 14)))["sha256"]
    assert found.message.startswith("PCR 14 (sha256) is 7777")
    assert "the log replays to" in found.message


def test_an_unknown_case_is_errored_and_asks_the_machine_nothing() -> None:
    found = results("no end", ("nonsense",))["nonsense"]
    assert found.outcome is Outcome.ERRORED
    assert "has no case 'nonsense'" in found.message


def test_a_machine_that_stops_in_the_middle_is_lost_not_judged() -> None:
    with pytest.raises(MachineLostError, match="did not tell what it measured"):
        results("pcr=sha1 0 00")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("log=%%%", "cannot be unpacked"),
        ("log=" + base64.b64encode(b"no gzip").decode(), "cannot be unpacked"),
        ("log=" + packed(b"x" * 50)[:20], "cannot be unpacked|is cut"),
        ("variable=db " + packed(bytes(5 << 20)), "more than 4194304 bytes"),
        ("pcr=sha256 0 zz", "no hexadecimal number"),
    ],
)
def test_an_answer_that_cannot_be_read_fails_every_case(line: str, message: str) -> None:
    with pytest.raises(Refused, match=message):
        read_facts(f"{line}\nend=\n")
    assert {one.outcome for one in results(f"{line}\nend=\n").values()} == {Outcome.FAILED}


@given(st.text(max_size=300))
def test_any_answer_gives_a_result_for_each_case(text: str) -> None:
    assert len(results(f"{text}\nend=\n")) == len(ALL)
