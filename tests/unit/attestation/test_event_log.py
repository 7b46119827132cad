"""Event logs: a real one replays to the PCRs of its machine, and nothing that was changed in it does."""

from __future__ import annotations

import hashlib
import struct
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lisa_ci.attestation import event_log
from lisa_ci.attestation.event_log import EventType, parse_event_log
from lisa_ci.attestation.evidence import Refused
from tests.doubles.attestation import captured, captured_pcrs

REAL = captured("event-log-secure-boot.gz.base64")
PCRS = captured_pcrs()
SIZES = {"sha1": 20, "sha256": 32}
IDS = {"sha1": 4, "sha256": 11}


def header(banks: dict[str, int] | None = None, *, spec: bytes = b"Spec ID Event03\0", rest: bytes = b"") -> bytes:
    given = SIZES if banks is None else banks
    listed = b"".join(struct.pack("<HH", IDS.get(name, 0x99), size) for name, size in given.items())
    body = spec + bytes(8) + struct.pack("<I", len(given)) + listed + b"\0" + rest
    return struct.pack("<II", 0, 3) + bytes(20) + struct.pack("<I", len(body)) + body


def event(pcr: int, kind: int, data: bytes, *, measured: bytes | None = None) -> bytes:
    digests = b"".join(
        struct.pack("<H", IDS[name]) + hashlib.new(name, data if measured is None else measured).digest()
        for name in SIZES
    )
    return struct.pack("<III", pcr, kind, len(SIZES)) + digests + struct.pack("<I", len(data)) + data


def problems(data: bytes) -> list[str]:
    """All that is wrong with a log against the real machine's PCRs."""
    try:
        log = parse_event_log(data)
        found = [text for bank in PCRS for text in event_log.differences(log, bank, PCRS[bank])]
        return [*found, *event_log.untrue_data(log)]
    except Refused as refused:
        return [str(refused)]
    except KeyError as missing:
        return [f"no bank {missing}"]


def test_a_real_log_replays_to_the_pcrs_of_its_machine() -> None:
    log = parse_event_log(REAL)
    assert log.banks == ("sha1", "sha256", "sha384", "sha512")
    assert len(log.events) == 48
    assert problems(REAL) == []
    assert sorted(event_log.replay(log, "sha256")) == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 14]


def test_a_real_log_tells_the_variables_of_secure_boot() -> None:
    variables = {variable.name: variable.data for variable in event_log.driver_variables(parse_event_log(REAL))}
    assert variables["SecureBoot"] == b"\x01"
    assert set(variables) == {"SecureBoot", "PK", "KEK", "db", "dbx"}


def test_a_real_log_separates_firmware_from_boot_loader_in_each_pcr() -> None:
    found = event_log.separators(parse_event_log(REAL))
    assert {pcr: list(values) for pcr, values in found.items()} == {pcr: [bytes(4)] for pcr in range(8)}


def digest_spans() -> list[tuple[int, int]]:
    """Where the digests of the two banks lie that are compared, for each event that is extended."""
    spans, place = [], 4 + 4 + 20 + 4 + int.from_bytes(REAL[28:32], "little")
    for _ in parse_event_log(REAL).events:
        kind = int.from_bytes(REAL[place + 4 : place + 8], "little")
        place += 12
        for size in (20, 32, 48, 64):
            if kind != EventType.NO_ACTION and size <= 32:
                spans.append((place + 2, place + 2 + size))
            place += 2 + size
        place += 4 + int.from_bytes(REAL[place : place + 4], "little")
    assert place == len(REAL)
    return spans


def test_one_changed_bit_of_any_digest_is_found() -> None:
    """One bit of each byte, another one from byte to byte."""
    for start, end in digest_spans():
        for place in range(start, end, 5):
            changed = bytearray(REAL)
            changed[place] ^= 1 << place % 8
            assert problems(bytes(changed)) != [], f"bit {place % 8} of byte {place}"


def test_a_changed_text_is_found_where_its_digest_is_that_of_the_text() -> None:
    log = parse_event_log(REAL)
    found = 0
    for number, one in enumerate(log.events):
        if one.kind in {0x80000001, 0x80000006, 0x80000007, 4, 8}:
            changed = replace(one, data=bytes([one.data[0] ^ 1]) + one.data[1:])
            events = (*log.events[:number], changed, *log.events[number + 1 :])
            found += len(list(event_log.untrue_data(replace(log, events=events))))
    assert found == 18


@pytest.mark.parametrize("what", ["dropped", "twice", "swapped"])
def test_events_that_are_lost_doubled_or_in_another_order_are_found(what: str) -> None:
    log = parse_event_log(REAL)
    first, second = [n for n, one in enumerate(log.events) if one.pcr == 4][:2]
    events = list(log.events)
    if what == "dropped":
        del events[first]
    elif what == "twice":
        events.insert(first, events[first])
    else:
        events[first], events[second] = events[second], events[first]
    changed = replace(log, events=tuple(events))
    assert [text[:5] for text in event_log.differences(changed, "sha256", PCRS["sha256"])] == ["PCR 4"]


def test_another_pcr_than_the_logs_is_named_with_both_values() -> None:
    pcrs = {**PCRS["sha256"], 7: bytes(32)}
    (text,) = event_log.differences(parse_event_log(REAL), "sha256", pcrs)
    assert text.startswith("PCR 7 (sha256) is 0000")
    assert "the log replays to 75677db6" in text


def test_a_pcr_that_is_not_told_is_no_match() -> None:
    pcrs = {pcr: value for pcr, value in PCRS["sha256"].items() if pcr != 8}
    assert "is not told" in event_log.differences(parse_event_log(REAL), "sha256", pcrs)[0]


def test_a_start_at_another_locality_changes_pcr_0() -> None:
    note = event(0, EventType.NO_ACTION, b"StartupLocality\0\x03")
    log = parse_event_log(header() + note + event(0, 4, bytes(4)))
    before = bytes(31) + b"\x03"
    digest = hashlib.sha256(bytes(4)).digest()
    assert event_log.replay(log, "sha256") == {0: hashlib.sha256(before + digest).digest()}


@pytest.mark.parametrize("data", [b"StartupLocality\0\x07", b"StartupLocality\0"])
def test_an_impossible_locality_is_refused(data: bytes) -> None:
    with pytest.raises(Refused, match="gives PCR 0 the start"):
        parse_event_log(header() + event(0, EventType.NO_ACTION, data))


def test_a_locality_that_comes_after_the_first_measurement_is_refused() -> None:
    late = event(0, 4, bytes(4)) + event(0, EventType.NO_ACTION, b"StartupLocality\0\x03")
    with pytest.raises(Refused, match="where none can be"):
        parse_event_log(header() + late)


def test_notes_are_not_extended() -> None:
    log = parse_event_log(header() + event(3, EventType.NO_ACTION, b"a note"))
    assert event_log.replay(log, "sha1") == {}


def test_a_separator_of_an_error_is_told_as_it_is() -> None:
    log = parse_event_log(header() + event(2, 4, b"\xff" * 4, measured=b"\0\0\0\1"))
    assert list(event_log.untrue_data(log)) == []
    assert event_log.separators(log) == {2: [b"\xff" * 4]}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "goes past the end"),
        (header(spec=b"Spec ID Event00\0"), "only the crypto-agile form"),
        (header({}), "claims 0 hashes"),
        (header({"sha1": 20, "sha256": 31}), "gives sha256 digests of 31 bytes"),
        (header({"x": 4096}), "digests of 4096 bytes"),
        (header(rest=b"\1"), "is not zero"),
        (header() + event(24, 4, bytes(4)), "extends PCR 24"),
        (header() + event(1, 4, bytes(4))[:-1], "goes past the end"),
        (header({"sha1": 20}) + event(1, 4, bytes(4)), "has 2 digests, the log has 1"),
        (header() + event(1, 4, b"")[:-4] + struct.pack("<I", 0xFFFFFFFF), "claims 4294967295 bytes"),
        (header() + event(1, 4, bytes(4)).replace(b"\x0b\0", b"\x04\0", 1), "has it twice"),
        (bytes(event_log.MAX_LOG_BYTES + 1), "are not read"),
    ],
)
def test_what_is_no_log_is_refused_with_the_reason(data: bytes, message: str) -> None:
    with pytest.raises(Refused, match=message):
        parse_event_log(data)


def test_a_variable_that_is_cut_is_refused() -> None:
    log = parse_event_log(header() + event(7, EventType.EFI_VARIABLE_DRIVER_CONFIG, bytes(16) + b"\xff" * 16))
    with pytest.raises(Refused, match="goes past the end"):
        list(event_log.driver_variables(log))


def test_a_bank_that_the_log_does_not_have_is_no_empty_replay() -> None:
    with pytest.raises(KeyError):
        event_log.replay(parse_event_log(header()), "sha384")


@given(st.binary(max_size=400))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for whole in (data, header() + data, REAL[:-200] + data):
        with suppress(Refused):
            parse_event_log(whole)


@given(st.lists(st.tuples(st.integers(0, 23), st.sampled_from([1, 4, 5, 8, 0xD, 0x80000003]), st.binary(max_size=60))))
def test_any_log_that_is_written_replays_to_what_a_tpm_would_hold(rows: list[tuple[int, int, bytes]]) -> None:
    tpm: dict[int, bytes] = {}
    for pcr, _, data in rows:
        tpm[pcr] = hashlib.sha256(tpm.get(pcr, bytes(32)) + hashlib.sha256(data).digest()).digest()
    log = parse_event_log(header() + b"".join(event(*row) for row in rows))
    assert event_log.replay(log, "sha256") == tpm
    assert event_log.differences(log, "sha256", tpm) == []
    assert list(event_log.untrue_data(log)) == []
    for pcr, value in tpm.items():
        wrong = {**tpm, pcr: bytes([value[0] ^ 1]) + value[1:]}
        assert len(event_log.differences(log, "sha256", wrong)) == 1
