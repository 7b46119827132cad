"""SEV-SNP reports: a captured one and our own verify, and nothing that was changed in them does."""

from __future__ import annotations

import struct
import uuid
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from lisa_ci.attestation import snp
from lisa_ci.attestation.evidence import Judged, Refused
from tests.doubles import attestation as made
from tests.doubles.attestation import ASKED, CHIP, NOW, amd, captured, captured_pem, certificate, vcek_extensions

THEN = datetime(2023, 10, 1, tzinfo=UTC)
CHAIN = ("snp-aws-milan.vlek.pem", "snp-aws-milan.asvk.pem", "ark-milan.pem")
VCEK, ARK = (
    uuid.UUID(text) for text in ("63da758d-e664-4564-adc5-f4b93be8accd", "c0b406a4-a803-4952-9743-3fb6014cd0ae")
)


def verify(report: bytes, **changes: object) -> Judged:
    given = {"certificates": amd().chain, "report_data": ASKED, "now": NOW, "trusted": amd().trusted} | changes
    return snp.verify_report(report, given.pop("certificates"), **given)  # type: ignore[arg-type]


def test_a_captured_report_is_traced_back_to_amd() -> None:
    report = captured("snp-aws-milan.report.base64")
    judged = snp.verify_report(report, captured_pem(*CHAIN), report_data=report[0x50:0x90], now=THEN)
    assert "it is signed by SEV-VLEK <- SEV-VLEK-Milan <- ARK-Milan" in judged.proven
    assert any("compared with none" in text for text in judged.open)


def test_one_changed_bit_of_a_captured_report_is_refused() -> None:
    report, chain = captured("snp-aws-milan.report.base64"), captured_pem(*CHAIN)
    for place in range(0, len(report), 2):
        changed = bytearray(report)
        changed[place] ^= 1 << place // 2 % 8
        with pytest.raises(Refused):
            snp.verify_report(bytes(changed), chain, report_data=report[0x50:0x90], now=THEN)


def test_a_captured_chain_is_worth_nothing_after_its_end_or_without_its_root() -> None:
    report, chain = captured("snp-aws-milan.report.base64"), captured_pem(*CHAIN)
    with pytest.raises(Refused, match="'SEV-VLEK' is valid from 2023-07-19 to 2024-07-19, not 2026-06-01"):
        snp.verify_report(report, chain, report_data=report[0x50:0x90], now=NOW)
    with pytest.raises(Refused, match=r"the issuer of 'SEV-VLEK-Milan' is not there"):
        snp.verify_report(report, chain[:2], report_data=report[0x50:0x90], now=THEN)


def test_a_report_of_ours_verifies_with_our_root_and_with_no_other() -> None:
    assert f"the chip is {CHIP[:24].hex()}..." in verify(amd().report()).proven
    with pytest.raises(Refused, match=r"the root 'ARK-Test' \(.*\) is not trusted"):
        snp.verify_report(amd().report(), amd().chain, report_data=ASKED, now=NOW)


def test_one_changed_bit_of_every_byte_is_refused() -> None:
    report = amd().report()
    for place in range(len(report)):
        changed = bytearray(report)
        changed[place] ^= 1 << place % 8
        with pytest.raises(Refused):
            verify(bytes(changed))


def test_the_measurement_is_compared_where_it_is_known() -> None:
    judged = verify(amd().report(), measurement=b"m" * 48)
    assert "the measurement is the expected one" in judged.proven
    assert judged.open == ("whether AMD revoked a key of the chain",)
    with pytest.raises(Refused, match="the measurement is 6d6d"):
        verify(amd().report(), measurement=b"n" * 48)


def test_an_old_report_is_refused() -> None:
    with pytest.raises(Refused, match=r"the report is for 000102.*, it was asked for ffff"):
        verify(amd().report(), report_data=b"\xff" * 64)


def test_a_machine_that_can_be_debugged_is_refused_although_its_report_is_signed() -> None:
    with pytest.raises(Refused, match="allows debugging"):
        verify(amd().report(at_0a=b"\x0b"))


def test_a_migration_agent_is_told() -> None:
    assert "a migration agent may move the machine" in verify(amd().report(at_0a=b"\x07")).open


def test_without_a_certificate_the_signature_is_open_and_nothing_is_said_of_it() -> None:
    judged = verify(amd().report(), certificates=[])
    assert judged.open[0] == "no VCEK certificate: the signature"
    assert not any("signed" in text for text in judged.proven)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"at_0": b"\x01"}, "version 1"),
        ({"at_0": b"\x06"}, "version 6"),
        ({"at_34": b"\x02"}, "algorithm 2"),
        ({"at_0a": b"\x01"}, "reserved bits"),
        ({"at_0f": b"\x01"}, "reserved bits"),
        ({"at_48": b"\x1c"}, "name no key"),
        ({"at_48": b"\x20"}, "name no key"),
        ({"at_48": b"\x04"}, "says that a VLEK signed it, the certificate is of SEV-VCEK"),
        ({"at_4c": b"\x01"}, "0x4c is not zero"),
        ({"at_190": b"\x01"}, "0x18b is not zero"),
        ({"at_180": b"\x04"}, "for the firmware level 1 of 020103, the report says 4"),
        ({"at_187": b"\x01"}, "firmware level 8 of 020200c8, the report says 1"),
        ({"at_1a0": b"\x00"}, "the certificate is for the chip 6465"),
    ],
)
def test_a_field_that_does_not_fit_is_refused_although_the_report_is_signed(
    changes: dict[str, bytes], message: str
) -> None:
    with pytest.raises(Refused, match=message):
        verify(amd().report(**changes))


def test_turin_keeps_its_levels_elsewhere_and_names_chips_shorter() -> None:
    levels = {"1": 2, "2": 3, "3": 4, "8": 200, "9": 1}
    prefix = "1.3.6.1.4.1.3704.1"
    extensions = {f"{prefix}.3.{name}": made._integer(level) for name, level in levels.items()}
    extensions[f"{prefix}.4"] = CHIP[:8]
    leaf = certificate("SEV-VCEK", amd().vcek_key, ("SEV-Test", amd().ask_key), is_ca=False, extensions=extensions)
    report = amd().report(at_188=b"\x1a\x02\x01", at_180=bytes([1, 2, 3, 4, 0, 0, 0, 200]), at_1a0=CHIP[:8] + bytes(56))
    assert "the certificate is for this firmware" in verify(report, certificates=[leaf, *amd().chain[1:]]).proven
    with pytest.raises(Refused, match="firmware level 9"):
        verify(amd().report(at_188=b"\x1a\x02\x01"), certificates=[leaf, *amd().chain[1:]])


def leaf(name: str = "SEV-VCEK", **changes: object) -> list[object]:
    key = changes.pop("key", amd().vcek_key)
    given = {"is_ca": False, "extensions": vcek_extensions()} | changes
    made_leaf = certificate(name, key, ("SEV-Test", amd().ask_key), **given)  # type: ignore[arg-type]
    return [made_leaf, *amd().chain[1:]]


def test_a_certificate_that_is_not_the_chips_is_refused() -> None:
    other = ec.generate_private_key(ec.SECP384R1())
    with pytest.raises(Refused, match="not signed by the key of 'SEV-VCEK'"):
        verify(amd().report(), certificates=leaf(key=other))
    with pytest.raises(Refused, match="none of the curve P-384"):
        verify(amd().report(), certificates=leaf(key=ec.generate_private_key(ec.SECP256R1())))
    with pytest.raises(Refused, match="level 1 of none"):
        verify(amd().report(), certificates=leaf(extensions={}))
    with pytest.raises(Refused, match="is valid from"):
        verify(amd().report(), certificates=leaf(end=NOW - timedelta(days=1)))


def test_a_chain_that_somebody_else_made_is_refused() -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    fake_root = certificate("ARK-Test", key, ("ARK-Test", key))
    with pytest.raises(Refused, match="'SEV-Test' is not signed by 'ARK-Test'"):
        verify(amd().report(), certificates=[*amd().chain[:2], fake_root])
    fake_ask = certificate("SEV-Test", key, ("ARK-Test", key))
    with pytest.raises(Refused, match="'SEV-VCEK' is not signed by 'SEV-Test'"):
        verify(amd().report(), certificates=[amd().vcek, fake_ask, fake_root])


def test_a_key_that_may_not_issue_certificates_issues_none() -> None:
    key = ec.generate_private_key(ec.SECP384R1())
    middle = certificate("Middle", key, ("SEV-Test", amd().ask_key), is_ca=False)
    end = certificate("SEV-VCEK", amd().vcek_key, ("Middle", key), is_ca=False, extensions=vcek_extensions())
    with pytest.raises(Refused, match="'Middle' does not say that it may issue certificates"):
        verify(amd().report(), certificates=[end, middle, *amd().chain[1:]])


def table(*rows: tuple[uuid.UUID, bytes], end: bool = True) -> bytes:
    head, body = b"", b""
    start = 24 * (len(rows) + 1)
    for name, data in rows:
        head += name.bytes + struct.pack("<II", start + len(body), len(data))
        body += data
    return head + (bytes(24) if end else b"") + body


def test_the_table_beside_an_extended_report_gives_its_certificates() -> None:
    der = [each.public_bytes(Encoding.DER) for each in amd().chain]
    found = snp.parse_table(table((VCEK, der[0]), (uuid.uuid4(), b"something else"), (ARK, der[2])))
    assert [each.public_bytes(Encoding.DER) for each in found] == [der[0], der[2]]
    assert snp.parse_table(b"") == []
    assert snp.parse_table(bytes(4096)) == []


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (table((VCEK, b"no certificate")), "the VCEK of the table is no certificate"),
        (VCEK.bytes + struct.pack("<II", 24, 1000), "goes past the end of the table"),
        (table((VCEK, bytes(17 << 10))), "more than 16384 are not read"),
        (b"\1" * 23, "goes past the end"),
        (bytes(snp.MAX_TABLE_BYTES + 1), "are not read"),
    ],
)
def test_a_broken_table_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(Refused, match=message):
        snp.parse_table(data)


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for read in (snp.parse_report, snp.parse_table):
        for whole in (data, (amd().report()[:500] + data).ljust(0x4A0, b"\0")):
            with suppress(Refused):
                read(whole)
