"""Azure's report of a confidential machine: it ties the claims to the hardware's report, or is refused."""

from __future__ import annotations

import hashlib
import struct
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lisa_ci.attestation import hcl, snp
from lisa_ci.attestation.evidence import Refused
from tests.doubles.attestation import NOW, amd

CLAIMS = b'{"keys":[{"kid":"HCLAkPub"}]}'
BOUND = hashlib.sha256(CLAIMS).digest() + bytes(32)


def hcl_report(report: bytes, claims: bytes = CLAIMS, kind: int = 2, digest: int = 1, rest: bytes = bytes(50)) -> bytes:
    head = b"HCLA" + struct.pack("<II", 2, 2600) + bytes(20)
    return head + report + struct.pack("<IIIII", len(claims) + 20, 1, kind, digest, len(claims)) + claims + rest


def test_the_claims_are_those_that_a_signed_report_carries() -> None:
    found = hcl.parse_hcl(hcl_report(amd().report(at_50=BOUND)))
    assert found.is_snp
    assert found.claims == CLAIMS
    judged = snp.verify_report(found.report, amd().chain, report_data=found.report_data, now=NOW, trusted=amd().trusted)
    assert "it is signed by SEV-VCEK <- SEV-Test <- ARK-Test" in judged.proven


def test_a_report_of_tdx_is_bound_in_its_own_place() -> None:
    report = bytes(0x80) + BOUND + bytes(snp.REPORT_BYTES - 0xC0)
    found = hcl.parse_hcl(hcl_report(report, kind=4))
    assert not found.is_snp
    assert len(found.report) == 1024


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (hcl_report(amd().report(at_50=BOUND), claims=b'{"keys":[]}'), "the claims hash to"),
        (hcl_report(amd().report()), "the hardware's report is for 0001"),
        (hcl_report(amd().report(at_50=BOUND), kind=3), "is of type 3"),
        (hcl_report(amd().report(at_50=BOUND), digest=9), "with the hash 9"),
        (hcl_report(amd().report(at_50=BOUND), claims=b"[]"), "no JSON object"),
        (hcl_report(amd().report(at_50=BOUND), claims=b"{"), "are no JSON"),
        (hcl_report(amd().report(at_50=BOUND), rest=b"\1"), "is not zero"),
        (hcl_report(amd().report(at_50=BOUND), rest=b"")[:-1], "goes past the end"),
        (b"HCLB" + bytes(2000), "begins with 48434c42"),
        (bytes(hcl.MAX_BYTES + 1), "are not read"),
    ],
)
def test_what_does_not_hold_is_refused_with_the_reason(data: bytes, message: str) -> None:
    with pytest.raises(Refused, match=message):
        hcl.parse_hcl(data)


def test_deep_claims_are_refused() -> None:
    with pytest.raises(Refused, match="no JSON"):
        hcl.parse_hcl(hcl_report(amd().report(at_50=BOUND), claims=b"[" * 20_000))


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for whole in (data, hcl_report(amd().report(at_50=BOUND))[:1300] + data):
        with suppress(Refused):
            hcl.parse_hcl(whole)
