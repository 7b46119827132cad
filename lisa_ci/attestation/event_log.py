"""The TPM event log of firmware and boot loaders, parsed and replayed against the PCRs.

Format: TCG PC Client Platform Firmware Profile, revision 1.05, chapter 10: the crypto-agile log, which Linux gives as
``/sys/kernel/security/tpm0/binary_bios_measurements``.

A replay proves the order and the digests of all that was extended, because a PCR keeps a hash over them. It says
nothing about an event's type and text. For the types whose digest is that of the text (``_HASHES_ITS_DATA``) the text
is proven as well; other texts, such as the file name of a loader, are a remark.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from lisa_ci.attestation.evidence import Reader, Refused, must_be_zero, shown
from lisa_ci.attestation.systemd_log import Extension

MAX_LOG_BYTES: Final = 16 << 20
MAX_EVENTS: Final = 65_536
MAX_EVENT_BYTES: Final = 4 << 20
PCRS: Final = 24
_MAX_BANKS: Final = 8
_SPEC_ID: Final = b"Spec ID Event03\0"
_LOCALITY: Final = b"StartupLocality\0"
_SHA1_BYTES: Final = 20

ALGORITHMS: Final[Mapping[int, str]] = {0x04: "sha1", 0x0B: "sha256", 0x0C: "sha384", 0x0D: "sha512"}
"""TCG's algorithm ids, of those that ``hashlib`` has."""


class EventType(IntEnum):
    """Those that are looked at; a log may have others."""

    NO_ACTION = 0x3
    SEPARATOR = 0x4
    ACTION = 0x5
    CRTM_VERSION = 0x8
    EFI_VARIABLE_DRIVER_CONFIG = 0x8000_0001
    EFI_GPT = 0x8000_0006
    EFI_ACTION = 0x8000_0007


_HASHES_ITS_DATA: Final = frozenset(EventType) - {EventType.NO_ACTION}
_SEPARATORS: Final = (bytes(4), b"\xff" * 4)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """``digests`` maps the name of a hash to what went into that bank; ``data`` tells what was measured."""

    number: int
    pcr: int
    kind: int
    digests: Mapping[str, bytes]
    data: bytes

    @property
    def is_extended(self) -> bool:
        """Events of type no-action are notes, which touch no PCR."""
        return self.kind != EventType.NO_ACTION


@dataclass(frozen=True, slots=True, kw_only=True)
class EventLog:
    """``banks`` are the hashes that every event has; ``locality`` is where PCR 0 began (0, 3 or 4)."""

    banks: tuple[str, ...]
    locality: int
    events: tuple[Event, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Variable:
    """A UEFI variable as it was measured."""

    name: str
    data: bytes


def parse_event_log(data: bytes) -> EventLog:
    """The log, whole; Refused for what is cut, too large, or not in this format."""
    if len(data) > MAX_LOG_BYTES:
        raise Refused(f"the event log has {len(data)} bytes, more than {MAX_LOG_BYTES} are not read")
    reader = Reader(data, "event log")
    sizes = _read_header(reader)
    events: list[Event] = []
    locality = 0
    while reader.left:
        if len(events) >= MAX_EVENTS:
            raise Refused(f"the event log has more than {MAX_EVENTS} events")
        event = _read_event(reader, len(events) + 1, sizes)
        if event.kind == EventType.NO_ACTION and event.data.startswith(_LOCALITY):
            locality = _read_locality(event, is_late=any(earlier.is_extended for earlier in events))
        events.append(event)
    return EventLog(banks=tuple(sizes), locality=locality, events=tuple(events))


def replay(log: EventLog, bank: str, later: Sequence[Extension] = ()) -> Mapping[int, bytes]:
    """Each PCR that the log extends, and ``later`` what ran after it, as it must be by now.

    KeyError where the log, or one of the later ones, has no such bank.
    """
    if bank not in log.banks:
        raise KeyError(bank)
    size = hashlib.new(bank).digest_size
    values: dict[int, bytes] = {0: bytes(size - 1) + bytes([log.locality])} if log.locality else {}
    logged = [Extension(pcr=event.pcr, digests=event.digests) for event in log.events if event.is_extended]
    for extension in (*logged, *later):
        before = values.get(extension.pcr, bytes(size))
        values[extension.pcr] = hashlib.new(bank, before + extension.digests[bank]).digest()
    return values


def differences(log: EventLog, bank: str, pcrs: Mapping[int, bytes], later: Sequence[Extension] = ()) -> Sequence[str]:
    """One sentence for each PCR that is extended and has another value; ``pcrs`` are the TPM's own."""
    found = []
    for pcr, value in sorted(replay(log, bank, later).items()):
        has = pcrs.get(pcr)
        if has != value:
            said = "is not told" if has is None else f"is {shown(has)}"
            found.append(f"PCR {pcr} ({bank}) {said}, the log replays to {shown(value)}")
    return found


def untrue_data(log: EventLog) -> Iterator[str]:
    """One sentence for each event whose digest must be that of its data and is not."""
    for event in log.events:
        if event.kind not in _HASHES_ITS_DATA or event.data in _SEPARATORS[1:]:
            continue
        for bank, digest in event.digests.items():
            wanted = hashlib.new(bank, event.data).digest()
            if digest != wanted:
                kind = EventType(event.kind).name
                yield f"event {event.number} ({kind}) has the {bank} digest {shown(digest)}, its data {shown(wanted)}"
                break


def separators(log: EventLog) -> Mapping[int, Sequence[bytes]]:
    """PCR -> the data of its separators. Each of 0 to 7 has one of zeroes; ones tell of an error in the firmware."""
    found: dict[int, list[bytes]] = {}
    for event in log.events:
        if event.kind == EventType.SEPARATOR:
            found.setdefault(event.pcr, []).append(event.data)
    return found


def driver_variables(log: EventLog) -> Iterator[Variable]:
    """The variables of Secure Boot (SecureBoot, PK, KEK, db, dbx) as PCR 7 has them; Refused for one that is broken."""
    for event in log.events:
        if event.kind == EventType.EFI_VARIABLE_DRIVER_CONFIG and event.pcr == 7:
            reader = Reader(event.data, f"variable of event {event.number}")
            reader.take(16, "vendor")
            name_characters = reader.number(8, "length of the name")
            data_bytes = reader.number(8, "length of the data")
            name = reader.take(name_characters * 2, "name").decode("utf-16-le", "replace")
            yield Variable(name=name, data=reader.take(data_bytes, "data"))


# ---- reading -------------------------------------------------------------------------------------------------------


def _read_header(reader: Reader) -> Mapping[str, int]:
    """The first event, in the old form: hash -> bytes of its digest."""
    pcr, kind = reader.number(4, "PCR"), reader.number(4, "event type")
    digest = reader.take(_SHA1_BYTES, "digest")
    size = reader.number(4, "event size")
    if size > MAX_EVENT_BYTES:
        raise Refused(f"the first event claims {size} bytes")
    inside = Reader(reader.take(size, "event"), "first event")
    if pcr != 0 or kind != EventType.NO_ACTION or inside.take(min(16, inside.left), "signature") != _SPEC_ID:
        raise Refused("the event log does not begin with 'Spec ID Event03': only the crypto-agile form is read")
    must_be_zero(digest, "the digest of the first event")
    inside.take(8, "platform class and version")
    count = inside.number(4, "number of hashes")
    if not 1 <= count <= _MAX_BANKS:
        raise Refused(f"the event log claims {count} hashes, 1 to {_MAX_BANKS} are possible")
    sizes: dict[str, int] = {}
    for _ in range(count):
        identifier, digest_bytes = inside.number(2, "hash"), inside.number(2, "size of its digest")
        name = ALGORITHMS.get(identifier, f"0x{identifier:04x}")
        if name in sizes:
            raise Refused(f"the event log names the hash {name} twice")
        if identifier in ALGORITHMS and hashlib.new(name).digest_size != digest_bytes:
            raise Refused(f"the event log gives {name} digests of {digest_bytes} bytes")
        if identifier not in ALGORITHMS and digest_bytes > 128:
            raise Refused(f"the event log gives the hash {name} digests of {digest_bytes} bytes")
        sizes[name] = digest_bytes
    inside.take(inside.number(1, "size of the vendor's data"), "vendor's data")
    must_be_zero(inside.take(inside.left, "rest"), "what follows the vendor's data of the first event")
    return sizes


def _read_event(reader: Reader, number: int, sizes: Mapping[str, int]) -> Event:
    pcr, kind = reader.number(4, "PCR"), reader.number(4, "event type")
    if pcr >= PCRS and kind != EventType.NO_ACTION:
        raise Refused(f"event {number} extends PCR {pcr}, a TPM has {PCRS}")
    count = reader.number(4, "number of digests")
    if count != len(sizes):
        raise Refused(f"event {number} has {count} digests, the log has {len(sizes)} hashes")
    digests: dict[str, bytes] = {}
    for _ in range(count):
        identifier = reader.number(2, "hash")
        name = ALGORITHMS.get(identifier, f"0x{identifier:04x}")
        if name not in sizes or name in digests:
            raise Refused(f"event {number} has a digest of {name}, which the log does not name, or has it twice")
        digests[name] = reader.take(sizes[name], "digest")
    size = reader.number(4, "event size")
    if size > MAX_EVENT_BYTES:
        raise Refused(f"event {number} claims {size} bytes of data, {MAX_EVENT_BYTES} are possible")
    return Event(number=number, pcr=pcr, kind=kind, digests=digests, data=reader.take(size, "event data"))


def _read_locality(event: Event, *, is_late: bool) -> int:
    locality = event.data[len(_LOCALITY) : len(_LOCALITY) + 1]
    if is_late or locality not in (b"\x00", b"\x03", b"\x04"):
        raise Refused(f"event {event.number} gives PCR 0 the start {shown(locality) or 'nothing'}, where none can be")
    return locality[0]
