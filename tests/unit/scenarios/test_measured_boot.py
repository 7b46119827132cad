"""Scenario measured-boot: a real boot passes, and each lie of a machine is found by the case that is about it."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import struct
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lisa_ci.attestation.event_log import ALGORITHMS, driver_variables, parse_event_log
from lisa_ci.attestation.evidence import Refused
from lisa_ci.attestation.systemd_log import parse_systemd_log
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
    return base64.b64encode(gzip.compress(data, mtime=0)).decode()


def printed(facts: Facts) -> str:
    lines = [f"pcr={bank} {pcr} {value.hex()}" for bank, values in facts.pcrs.items() for pcr, value in values.items()]
    lines += [f"variable={name} {packed(bytes(4) + data)}" for name, data in facts.variables.items()]
    lines += [f"log={packed(facts.log)}"] if facts.log is not None else []
    lines += [f"ima={packed(facts.ima_list)}"] if facts.ima_list is not None else []
    lines += [f"systemd={packed(facts.systemd_log)}"] if facts.systemd_log is not None else []
    lines += ["stub="] if facts.has_stub else []
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


def extended(pcrs: Mapping[str, Mapping[int, bytes]], pcr: int, *texts: str) -> Mapping[str, Mapping[int, bytes]]:
    """The PCRs after the hashes of some texts went into one."""
    after = {bank: dict(values) for bank, values in pcrs.items()}
    for bank, values in after.items():
        for text in texts:
            values[pcr] = hashlib.new(bank, values[pcr] + hashlib.new(bank, text.encode()).digest()).digest()
    return after


def record(pcr: int, text: str) -> bytes:
    """A record of systemd's log, in the form of its version 257."""
    digests = [{"hashAlg": bank, "digest": hashlib.new(bank, text.encode()).hexdigest()} for bank in ("sha1", "sha256")]
    content = {"eventType": "phase", "string": text}
    return (
        b"\x1e" + json.dumps({"pcr": pcr, "digests": digests, "content_type": "systemd", "content": content}).encode()
    )


def event(pcr: int, text: str) -> bytes:
    """An event of the loader (EV_IPL) for the end of the log, in each of its banks."""
    ids = {name: number for number, name in ALGORITHMS.items()}
    banks = parse_event_log(LOG).banks
    digests = b"".join(struct.pack("<H", ids[bank]) + hashlib.new(bank, text.encode()).digest() for bank in banks)
    return struct.pack("<III", pcr, 0xD, len(banks)) + digests + struct.pack("<I", len(text)) + text.encode()


UNIFIED = replace(
    REAL,
    log=LOG + event(11, "k"),
    has_stub=True,
    pcrs=extended({b: {**v, 11: bytes(len(v[0]))} for b, v in PCRS.items()}, 11, "k"),
)
"""As a unified kernel image starts: its stub measures it into PCR 11."""
BANKS = {"sha1": F, "sha256": F}
NV_RECORD = b'\x1e{"nv_index": 30474705, "digests": [], "content": {}}\n'
PHASED = extended(UNIFIED.pcrs, 11, "sysinit", "ready")
IDENTIFIED = extended(PHASED, 15, "machine-id:1")
RECORDS = record(11, "sysinit") + record(11, "ready") + NV_RECORD + record(15, "machine-id:1")
UNIFIED_WORLDS: list[tuple[str, Facts, dict[str, Outcome]]] = [
    ("nothing of systemd's has run", UNIFIED, {}),
    ("the phases of a start", replace(UNIFIED, pcrs=PHASED), {}),
    ("those of an initrd too", replace(UNIFIED, pcrs=extended(UNIFIED.pcrs, 11, "enter-initrd", "leave-initrd")), {}),
    ("no stub that would lead to phases", replace(UNIFIED, pcrs=PHASED, has_stub=False), BANKS),
    ("phases in another order", replace(UNIFIED, pcrs=extended(UNIFIED.pcrs, 11, "ready", "sysinit")), BANKS),
    ("something that is no phase", replace(UNIFIED, pcrs=extended(PHASED, 11, "rootkit")), BANKS),
    ("all in systemd's log", replace(UNIFIED, pcrs=IDENTIFIED, systemd_log=RECORDS), {}),
    ("a record is gone", replace(UNIFIED, pcrs=IDENTIFIED, systemd_log=RECORDS[RECORDS.index(b"\x1e", 1) :]), BANKS),
    ("one is not in the log", replace(UNIFIED, pcrs=extended(IDENTIFIED, 15, "x"), systemd_log=RECORDS), BANKS),
    ("the log is cut", replace(UNIFIED, pcrs=IDENTIFIED, systemd_log=RECORDS[:-9]), BANKS),
    ("a record without digests", replace(UNIFIED, pcrs=PHASED, systemd_log=b'\x1e{"pcr": 11}'), BANKS),
    ("a record of no PCR there is", replace(UNIFIED, pcrs=PHASED, systemd_log=record(24, "x")), BANKS),
    ("a log of other hashes", replace(UNIFIED, pcrs=PHASED, systemd_log=b'\x1e{"pcr":11,"digests":[]}'), BANKS),
    ("a log that is no object", replace(UNIFIED, pcrs=PHASED, systemd_log=b"\x1e[]"), BANKS),
]


@pytest.mark.parametrize(
    ("facts", "expected"), [row[1:] for row in UNIFIED_WORLDS], ids=[row[0] for row in UNIFIED_WORLDS]
)
def test_what_systemd_measured_later_is_replayed_behind_the_firmware_s_log(
    facts: Facts, expected: dict[str, Outcome]
) -> None:
    assert not_passed(facts) == expected


@given(st.binary(max_size=200))
def test_any_log_of_systemd_s_is_read_or_refused(data: bytes) -> None:
    with suppress(Refused):
        assert all(extension.pcr in range(24) for extension in parse_systemd_log(b"\x1e" + data))


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
