"""TDX quotes: a captured one and our own verify, and nothing that was changed in them does."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from lisa_ci.attestation import tdx
from lisa_ci.attestation.evidence import Judged, Refused
from tests.doubles.attestation import ASKED, NOW, captured, certificate, intel

REAL = captured("tdx-v4.quote.hex")
DATA = REAL[0x30 + 0x208 : 0x30 + 0x248]
THEN = datetime(2025, 9, 1, tzinfo=UTC)
CHAIN_START = REAL.index(b"-----BEGIN")
VERSIONS = [(4, 2), (5, 2), (5, 3)]


def verify(quote: bytes) -> Judged:
    return tdx.verify_quote(quote, report_data=ASKED, now=NOW, trusted=intel().trusted)


def test_a_captured_quote_is_traced_back_to_intel() -> None:
    judged = tdx.verify_quote(REAL, report_data=DATA, now=THEN)
    names = "Intel SGX PCK Certificate <- Intel SGX PCK Platform CA <- Intel SGX Root CA"
    assert f"it is signed by Intel's quoting enclave, certified by {names}" in judged.proven
    assert "whether the platform's firmware is up to date (TCB info)" in judged.open
    assert tdx.measurements(tdx.parse_quote(REAL))[0].startswith("c68518a0ebb42136")


def test_one_changed_bit_of_a_captured_quote_is_refused() -> None:
    for place in range(0, CHAIN_START, 2):
        changed = bytearray(REAL)
        changed[place] ^= 1 << place // 2 % 8
        with pytest.raises(Refused):
            tdx.verify_quote(bytes(changed), report_data=DATA, now=THEN)


def test_one_changed_bit_of_a_captured_chain_is_refused_or_changes_no_certificate() -> None:
    certificates = [each.public_bytes(Encoding.DER) for each in tdx.parse_quote(REAL).certificates]
    for place in range(CHAIN_START, len(REAL), 23):
        changed = bytearray(REAL)
        changed[place] ^= 1 << place % 8
        try:
            tdx.verify_quote(bytes(changed), report_data=DATA, now=THEN)
        except Refused:
            continue
        read = [each.public_bytes(Encoding.DER) for each in tdx.parse_quote(bytes(changed)).certificates]
        assert read == certificates, f"byte {place}"


@pytest.mark.parametrize(("version", "body_type"), VERSIONS)
def test_a_quote_of_ours_verifies_with_our_root_and_with_no_other(version: int, body_type: int) -> None:
    quote = intel().quote(version, body_type=body_type)
    assert "the quote carries the data that it was asked for" in verify(quote).proven
    with pytest.raises(Refused, match="the root 'Test Root'"):
        tdx.verify_quote(quote, report_data=ASKED, now=NOW)


def test_one_changed_bit_of_every_byte_of_a_quote_of_version_5_is_refused() -> None:
    quote = intel().quote(5, body_type=3)
    for place in range(quote.index(b"-----BEGIN")):
        changed = bytearray(quote)
        changed[place] ^= 1 << place % 8
        with pytest.raises(Refused):
            verify(bytes(changed))


def test_the_measurement_is_compared_where_it_is_known() -> None:
    asked = {"report_data": ASKED, "now": NOW, "trusted": intel().trusted}
    judged = tdx.verify_quote(intel().quote(), measurement=b"t" * 48, **asked)  # type: ignore[arg-type]
    assert "the measurement is the expected one" in judged.proven
    with pytest.raises(Refused, match="the measurement is 7474"):
        tdx.verify_quote(intel().quote(), measurement=b"x" * 48, **asked)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"body_208": b"\xff"}, "the quote is for ff00"),
        ({"body_78": b"\x01"}, "allow debugging"),
        ({"enclave_80": b"\x00"}, "not Intel's for TDX"),
        ({"enclave_100": b"\x03"}, "product 3"),
        ({"enclave_30": b"\x02"}, "can be debugged"),
        ({"enclave_140": b"\x00" * 32}, "not for the attestation key"),
        ({"enclave_17f": b"\x01"}, "not for the attestation key"),
    ],
)
def test_a_field_that_does_not_fit_is_refused_although_the_quote_is_signed(
    changes: dict[str, bytes], message: str
) -> None:
    with pytest.raises(Refused, match=message):
        verify(intel().quote(**changes))


def test_a_pck_that_somebody_else_made_is_refused() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    root = certificate("Test Root", key, ("Test Root", key))
    theirs = type(intel())(pck_key=key, attestation_key=key, chain=(certificate("P", key, ("Test Root", key)), root))
    with pytest.raises(Refused, match="is not trusted"):
        verify(theirs.quote())


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "goes past the end"),
        (b"\3\0" + REAL[2:], "version 3"),
        (REAL[:2] + b"\3\0" + REAL[4:], "key of type 3"),
        (REAL[:4] + bytes(4) + REAL[8:], "type 0x0"),
        (REAL[:12] + bytes(16) + REAL[28:], "not of Intel"),
        (REAL[:-1], "goes past the end"),
        (REAL + b"\1", "what follows the quote"),
        (bytes(tdx.MAX_QUOTE_BYTES + 1), "are not read"),
        (REAL.replace(b"\5\0\x5e\x0e", b"\1\0\x5e\x0e"), "only 5 can be verified"),
        (intel().quote(5)[:48] + b"\7\0" + intel().quote(5)[50:], "is of type 7"),
    ],
)
def test_what_is_no_quote_is_refused_with_the_reason(data: bytes, message: str) -> None:
    with pytest.raises(Refused, match=message):
        tdx.parse_quote(data)


@given(st.binary(max_size=300), st.integers(0, 1500))
def test_any_bytes_are_read_or_refused(data: bytes, place: int) -> None:
    for whole in (data, REAL[:place] + data + REAL[place + len(data) :]):
        with suppress(Refused):
            tdx.parse_quote(whole)
