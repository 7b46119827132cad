"""Linux's own measurements (IMA): the list of files that it measured, replayed against PCR 10.

Format: ``binary_runtime_measurements`` as Documentation/security/IMA-templates.rst of Linux has it; its numbers are in
the machine's byte order, little-endian on every architecture that lisa-ci boots. ``boot_aggregate``, the first entry,
ties the list to the PCRs of the firmware.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from lisa_ci.attestation.evidence import Reader, Refused, shown

PCR: Final = 10
MAX_LIST_BYTES: Final = 32 << 20
MAX_ENTRIES: Final = 262_144
_MAX_TEXT_BYTES: Final = 1 << 20
_SHA1_BYTES: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """``digest`` (SHA-1 over ``data``) is zero for a violation: a file that was written while it was measured."""

    number: int
    pcr: int
    template: str
    digest: bytes
    data: bytes

    @property
    def fields(self) -> tuple[bytes, ...]:
        """The parts of a template whose parts have lengths; Refused where they do not add up."""
        reader = Reader(self.data, f"entry {self.number}")
        parts = []
        while reader.left:
            parts.append(reader.take(reader.number(4, "length of a field"), "field"))
        return tuple(parts)


def parse_measurements(data: bytes) -> Sequence[Entry]:
    """The list, whole; Refused for what is cut, too large or of the old template without lengths."""
    if len(data) > MAX_LIST_BYTES:
        raise Refused(f"the list of measurements has {len(data)} bytes, more than {MAX_LIST_BYTES} are not read")
    reader = Reader(data, "list of measurements")
    entries: list[Entry] = []
    while reader.left:
        if len(entries) >= MAX_ENTRIES:
            raise Refused(f"the list of measurements has more than {MAX_ENTRIES} entries")
        number = len(entries) + 1
        pcr, digest = reader.number(4, "PCR"), reader.take(_SHA1_BYTES, "digest")
        template = reader.take(_bounded(reader.number(4, "length of the template"), number), "template")
        if template == b"ima":
            raise Refused("the list has entries of the template 'ima', which is read by nobody since Linux 3.13")
        text = reader.take(_bounded(reader.number(4, "length of the data"), number), "data")
        name = template.decode("ascii", "replace")
        entries.append(Entry(number=number, pcr=pcr, template=name, digest=digest, data=text))
    return entries


def replay(entries: Sequence[Entry], bank: str) -> bytes:
    """What PCR 10 must be after these entries; Refused where an entry's digest is not that of its data."""
    value = bytes(hashlib.new(bank).digest_size)
    for entry in entries:
        if entry.pcr != PCR:
            raise Refused(f"entry {entry.number} was measured into PCR {entry.pcr}, not {PCR}")
        is_violation = not any(entry.digest)
        if not is_violation and hashlib.sha1(entry.data, usedforsecurity=False).digest() != entry.digest:
            raise Refused(
                f"entry {entry.number} ({entry.template}) has the digest {shown(entry.digest)}, not its data's"
            )
        extended = b"\xff" * len(value) if is_violation else hashlib.new(bank, entry.data).digest()
        value = hashlib.new(bank, value + extended).digest()
    return value


def boot_aggregate(entries: Sequence[Entry]) -> tuple[str, bytes]:
    """The hash and the value of the first entry; Refused where that is not the boot aggregate."""
    fields = entries[0].fields if entries else ()
    if len(fields) < 2 or fields[1].rstrip(b"\0") != b"boot_aggregate":
        raise Refused("the list does not begin with the boot aggregate")
    bank, separator, digest = fields[0].partition(b":\0")
    if not separator:
        return "sha1", fields[0]
    return bank.decode("ascii", "replace"), digest


def expected_aggregate(bank: str, pcrs: Mapping[int, bytes]) -> Sequence[bytes]:
    """Over the firmware's PCRs: 0 to 9, and 0 to 7 as kernels before 5.8 did. KeyError where one is missing."""
    return [hashlib.new(bank, b"".join(pcrs[pcr] for pcr in range(last + 1))).digest() for last in (9, 7)]


def _bounded(size: int, number: int) -> int:
    if size > _MAX_TEXT_BYTES:
        raise Refused(f"entry {number} claims {size} bytes, {_MAX_TEXT_BYTES} are possible")
    return size
