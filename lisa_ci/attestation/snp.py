"""The attestation report of an AMD SEV-SNP machine, and the chain of keys behind it.

Format: AMD 56860, SEV Secure Nested Paging Firmware ABI, revision 1.55 to 1.58, table 23 (report versions 2 to 5);
certificates: AMD 57230, VCEK Certificate and KDS Interface; the table of certificates beside an extended report: AMD
56421, GHCB Standardization, 4.1.8.1.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.hashes import SHA384

from lisa_ci.attestation import chain, roots
from lisa_ci.attestation.evidence import Judged, Reader, Refused, must_be_zero, number_at, shown

REPORT_BYTES: Final = 0x4A0
MAX_TABLE_BYTES: Final = 64 << 10
_SIGNED_BYTES: Final = 0x2A0
_ECDSA_P384_SHA384: Final = 1
_PART_BYTES: Final = 72  # of R and of S, little-endian
_VERSIONS: Final = range(2, 6)
_POLICY_RESERVED_ONE: Final = 1 << 17
_POLICY_MIGRATION: Final = 1 << 18
_POLICY_DEBUG: Final = 1 << 19
_POLICY_KNOWN: Final = (1 << 26) - 1
_TURIN_FAMILY: Final = 0x1A
_PREFIX: Final = "1.3.6.1.4.1.3704.1"  # AMD's extensions of a VCEK and a VLEK
_NAMES: Final = {"SEV-VCEK": 0, "SEV-VLEK": 1}

TABLE_KEYS: Final[Mapping[uuid.UUID, str]] = {
    uuid.UUID("63da758d-e664-4564-adc5-f4b93be8accd"): "VCEK",
    uuid.UUID("a8074bc2-a25a-483e-aae6-39c045a0b8a1"): "VLEK",
    uuid.UUID("4ab7b379-bbac-4fe4-a02f-05aef327c782"): "ASK",
    uuid.UUID("c0b406a4-a803-4952-9743-3fb6014cd0ae"): "ARK",
}


class SigningKey(IntEnum):
    """Which key signed: the chip's own (VCEK) or one that its owner loaded (VLEK)."""

    VCEK = 0
    VLEK = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The fields that are judged. ``tcb`` is what the chip reports of its firmware, 8 bytes."""

    version: int
    policy: int
    vmpl: int
    key: SigningKey
    is_chip_masked: bool
    report_data: bytes
    measurement: bytes
    host_data: bytes
    chip_id: bytes
    tcb: bytes
    family: int

    @property
    def tcb_parts(self) -> Mapping[str, int]:
        """Extension of a certificate (below 1.3) -> the level that the report gives for it."""
        if self.family >= _TURIN_FAMILY:
            places = {"9": 0, "1": 1, "2": 2, "3": 3, "8": 7}
        else:
            places = {"1": 0, "2": 1, "3": 6, "8": 7}
        return {name: self.tcb[place] for name, place in places.items()}


def parse_report(data: bytes) -> Report:
    """The report; Refused where a field has what no report of a known version can have."""
    if len(data) != REPORT_BYTES:
        raise Refused(f"the report has {len(data)} bytes, one of SEV-SNP has {REPORT_BYTES}")
    version = number_at(data, 0, "I")
    if version not in _VERSIONS:
        raise Refused(f"the report has version {version}, known are {_VERSIONS.start} to {_VERSIONS.stop - 1}")
    algorithm = number_at(data, 0x34, "I")
    if algorithm != _ECDSA_P384_SHA384:
        raise Refused(f"the report is signed by algorithm {algorithm}, not by ECDSA P-384 (1)")
    policy, flags = number_at(data, 0x08, "Q"), number_at(data, 0x48, "I")
    if not policy & _POLICY_RESERVED_ONE or policy & ~_POLICY_KNOWN:
        raise Refused(f"the policy 0x{policy:x} has reserved bits that are not as they must be")
    if flags >> 5 or (flags >> 2) & 7 not in set(SigningKey):
        raise Refused(f"the flags 0x{flags:x} name no key that signs reports")
    must_be_zero(data[0x4C:0x50], "the report's reserved field at 0x4c")
    must_be_zero(data[0x18B:0x1A0], "the report's reserved field at 0x18b")
    must_be_zero(data[_SIGNED_BYTES + 2 * _PART_BYTES :], "the rest of the signature")
    return Report(
        version=version,
        policy=policy,
        vmpl=number_at(data, 0x30, "I"),
        key=SigningKey((flags >> 2) & 7),
        is_chip_masked=bool(flags & 2),
        report_data=data[0x50:0x90],
        measurement=data[0x90:0xC0],
        host_data=data[0xC0:0xE0],
        chip_id=data[0x1A0:0x1E0],
        tcb=data[0x180:0x188],
        family=data[0x188],
    )


def parse_table(data: bytes) -> Sequence[x509.Certificate]:
    """The certificates that the host delivers with an extended report; empty where it delivers none."""
    if len(data) > MAX_TABLE_BYTES:
        raise Refused(f"the table of certificates has {len(data)} bytes, more than {MAX_TABLE_BYTES} are not read")
    reader = Reader(data, "table of certificates")
    found: list[x509.Certificate] = []
    while reader.left:
        identifier = uuid.UUID(bytes=reader.take(16, "name"))
        offset, size = reader.number(4, "offset"), reader.number(4, "length")
        if identifier.int == 0:
            break
        if len(found) >= chain.MAX_CERTIFICATES:
            raise Refused("the table of certificates has too many entries")
        if offset + size > len(data):
            raise Refused(f"a certificate at byte {offset} of {size} bytes goes past the end of the table")
        if identifier in TABLE_KEYS:
            found.append(chain.read_der(data[offset : offset + size], f"the {TABLE_KEYS[identifier]} of the table"))
    return found


def verify_report(
    data: bytes,
    certificates: Sequence[x509.Certificate],
    *,
    report_data: bytes,
    now: datetime,
    trusted: frozenset[str] = roots.AMD,
    measurement: bytes = b"",
) -> Judged:
    """What the report proves; Refused for what contradicts it.

    ``report_data`` (64 bytes) is what the machine was asked to put in: it makes the report one of now. ``measurement``
    (48 bytes) of the machine's first memory, where it is known. Without the certificate of the signing key the
    signature stays open.
    """
    report = parse_report(data)
    if report.report_data != report_data:
        raise Refused(f"the report is for {shown(report.report_data)}, it was asked for {shown(report_data)}")
    if report.policy & _POLICY_DEBUG:
        raise Refused("the policy allows debugging: the host can read the machine's memory")
    if measurement and report.measurement != measurement:
        raise Refused(f"the measurement is {shown(report.measurement)}, expected is {shown(measurement)}")
    proven = ["the report carries the data that it was asked for", "its policy allows no debugging"]
    still = [] if measurement else [f"the measurement {shown(report.measurement)} is compared with none"]
    if report.policy & _POLICY_MIGRATION:
        still.append("a migration agent may move the machine")
    if measurement:
        proven.append("the measurement is the expected one")
    leaf = _leaf(certificates, report.key)
    if leaf is None:
        return Judged(proven=tuple(proven), open=(f"no {report.key.name} certificate: the signature", *still))
    _check_signature(data, leaf)
    _check_names(report, leaf)
    path = chain.trace(leaf, certificates, roots=trusted, now=now)
    names = " <- ".join(chain.common_name(certificate) for certificate in path)
    proven += [f"it is signed by {names}", "the certificate is for this firmware"]
    if report.key is SigningKey.VCEK and not report.is_chip_masked:
        proven.append(f"the chip is {shown(report.chip_id)}")
    return Judged(proven=tuple(proven), open=(*still, "whether AMD revoked a key of the chain"))


def _leaf(certificates: Sequence[x509.Certificate], key: SigningKey) -> x509.Certificate | None:
    """The certificate of the key that the report names; Refused where there are only others."""
    kinds = {_NAMES.get(chain.common_name(certificate)): certificate for certificate in certificates}
    found = kinds.get(key.value)
    other = kinds.get(1 - key.value)
    if found is None and other is not None:
        raise Refused(f"the report says that a {key.name} signed it, the certificate is of {chain.common_name(other)}")
    return found


def _check_signature(data: bytes, leaf: x509.Certificate) -> None:
    key = leaf.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP384R1):
        raise Refused(f"the key of '{chain.common_name(leaf)}' is none of the curve P-384")
    r, s = (
        int.from_bytes(data[start : start + _PART_BYTES], "little")
        for start in (_SIGNED_BYTES, _SIGNED_BYTES + _PART_BYTES)
    )
    try:
        key.verify(utils.encode_dss_signature(r, s), data[:_SIGNED_BYTES], ec.ECDSA(SHA384()))
    except InvalidSignature as error:
        raise Refused(f"the report is not signed by the key of '{chain.common_name(leaf)}'") from error


def _check_names(report: Report, leaf: x509.Certificate) -> None:
    """The certificate is of the firmware, and of the chip, that the report names."""
    values = {
        extension.oid.dotted_string: extension.value.value
        for extension in leaf.extensions
        if isinstance(extension.value, x509.UnrecognizedExtension)
    }
    for name, level in report.tcb_parts.items():
        given = values.get(f"{_PREFIX}.3.{name}", b"")
        if given != _der_integer(level):
            raise Refused(
                f"the certificate is for the firmware level {name} of {shown(given) or 'none'}, the report says {level}"
            )
    hardware = values.get(f"{_PREFIX}.4")
    if report.key is SigningKey.VCEK and not report.is_chip_masked and not _is_chip(hardware or b"", report.chip_id):
        raise Refused(
            f"the certificate is for the chip {shown(hardware or b'')}, the report is of {shown(report.chip_id)}"
        )


def _is_chip(hardware: bytes, chip_id: bytes) -> bool:
    """Turin names chips by 8 bytes, the rest of the report's is zero; a certificate has them bare or as a string."""
    bare = hardware.removeprefix(b"\x04" + bytes([len(hardware) - 2])) if len(hardware) in {10, 66} else hardware
    return len(bare) in {8, 64} and bare.ljust(len(chip_id), b"\0") == chip_id


def _der_integer(value: int) -> bytes:
    """Of 0 to 255."""
    return b"\x02\x01" + bytes([value]) if value < 0x80 else b"\x02\x02\x00" + bytes([value])
