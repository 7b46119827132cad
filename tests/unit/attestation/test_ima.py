"""Linux's own measurements: a real list replays to PCR 10, and nothing that was changed in it does."""

from __future__ import annotations

import hashlib
import struct
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lisa_ci.attestation import ima
from lisa_ci.attestation.evidence import Refused
from tests.doubles.attestation import captured, captured_pcrs

REAL = captured("ima-list-secure-boot.gz.base64")
PCRS = captured_pcrs()


def entry(*fields: bytes, pcr: int = 10, template: bytes = b"ima-ng", digest: bytes | None = None) -> bytes:
    data = b"".join(struct.pack("<I", len(field)) + field for field in fields)
    proven = hashlib.sha1(data, usedforsecurity=False).digest() if digest is None else digest
    return (
        struct.pack("<I", pcr)
        + proven
        + struct.pack("<I", len(template))
        + template
        + struct.pack("<I", len(data))
        + data
    )


@pytest.mark.parametrize("bank", ["sha1", "sha256"])
def test_a_real_list_replays_to_pcr_10(bank: str) -> None:
    entries = ima.parse_measurements(REAL)
    assert len(entries) == 95
    assert ima.replay(entries, bank) == PCRS[bank][10]


def test_a_real_boot_aggregate_is_that_of_the_firmwares_pcrs() -> None:
    bank, value = ima.boot_aggregate(ima.parse_measurements(REAL))
    assert bank == "sha256"
    assert value == ima.expected_aggregate(bank, PCRS[bank])[0]
    assert value not in ima.expected_aggregate(bank, {**PCRS[bank], 7: bytes(32)})


def test_one_changed_bit_is_found_wherever_it_is() -> None:
    for place in range(0, len(REAL), 3):
        changed = bytearray(REAL)
        changed[place] ^= 1 << place % 8
        try:
            entries = ima.parse_measurements(bytes(changed))
            values = {bank: ima.replay(entries, bank) for bank in ("sha1", "sha256")}
        except Refused:
            continue
        is_found = any(values[bank] != PCRS[bank][10] for bank in values)
        # The name of the template is the one thing that no digest covers.
        is_renamed = any(one.template not in {"ima-sig", "ima-ng"} for one in entries)
        assert is_found or is_renamed, f"byte {place}"


def test_a_violation_is_extended_as_ones() -> None:
    entries = ima.parse_measurements(entry(b"sha256:\0" + bytes(32), b"/x\0", digest=bytes(20)))
    assert ima.replay(entries, "sha256") == hashlib.sha256(bytes(32) + b"\xff" * 32).digest()


def test_the_old_hash_of_a_boot_aggregate_is_sha1() -> None:
    entries = ima.parse_measurements(entry(b"d" * 20, b"boot_aggregate\0"))
    assert ima.boot_aggregate(entries) == ("sha1", b"d" * 20)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (entry(b"a", b"b")[:-1], "goes past the end"),
        (entry(template=b"ima"), "read by nobody"),
        (struct.pack("<I", 10) + bytes(20) + b"\xff" * 4, "claims 4294967295 bytes"),
        (bytes(ima.MAX_LIST_BYTES + 1), "are not read"),
    ],
)
def test_what_is_no_list_is_refused_with_the_reason(data: bytes, message: str) -> None:
    with pytest.raises(Refused, match=message):
        ima.parse_measurements(data)


def test_a_digest_that_is_not_the_datas_is_refused() -> None:
    with pytest.raises(Refused, match="has the digest 0101"):
        ima.replay(ima.parse_measurements(entry(b"a", digest=b"\1" * 20)), "sha256")


def test_a_measurement_into_another_pcr_is_refused() -> None:
    with pytest.raises(Refused, match="into PCR 11"):
        ima.replay(ima.parse_measurements(entry(b"a", pcr=11)), "sha256")


@pytest.mark.parametrize("data", [b"", entry(b"x"), entry(b"x", b"/bin/sh\0")])
def test_a_list_without_a_boot_aggregate_is_refused(data: bytes) -> None:
    with pytest.raises(Refused, match="does not begin with the boot aggregate"):
        ima.boot_aggregate(ima.parse_measurements(data))


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for whole in (data, REAL[:500] + data):
        with suppress(Refused):
            ima.boot_aggregate(ima.parse_measurements(whole))
