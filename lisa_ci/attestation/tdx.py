"""The quote of an Intel TDX machine: from its own report to Intel's root.

Format: Intel TDX DCAP Quote Generation Library and Quote Verification Library, appendix A.3 (version 4) and A.4
(version 5). A quoting enclave signs the machine's report with an attestation key; that key stands in the enclave's own
report, which a PCK signs; the PCK's certificate goes back to Intel.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.hashes import SHA256

from lisa_ci.attestation import chain, roots
from lisa_ci.attestation.evidence import Judged, Reader, Refused, must_be_zero, shown

MAX_QUOTE_BYTES: Final = 64 << 10
_HEADER_BYTES: Final = 48
_BODY_BYTES: Final = {2: 584, 3: 648}  # by the type that version 5 gives: TDX 1.0, TDX 1.5
_ENCLAVE_BYTES: Final = 384
_TEE_TDX: Final = 0x81
_ECDSA_P256: Final = 2
_PCK_CHAIN: Final = 5
_ENCLAVE_REPORT: Final = 6
_INTEL_VENDOR: Final = bytes.fromhex("939a7233f79c4ca9940a0db3957f0607")
# Of the quoting enclave that Intel signs (TDQE); a PCK would certify any other enclave as well.
_QUOTING_SIGNER: Final = bytes.fromhex("dc9e2a7c6f948f17474e34a7fc43ed030f7c1563f1babddf6340c82e0e54a8c5")
_QUOTING_PRODUCT: Final = 2
_DEBUG_BITS: Final = 0xFF  # the whole group TUD: a machine with any of them is not to be trusted
_ENCLAVE_DEBUG: Final = 0x02


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """``signed`` is what the attestation key signed; ``enclave`` the quoting enclave's report, which a PCK signed."""

    version: int
    attributes: int
    measurement: bytes
    runtime_measurements: tuple[bytes, ...]
    report_data: bytes
    signed: bytes
    signature: bytes
    key: bytes
    enclave: bytes
    enclave_signature: bytes
    enclave_data: bytes
    certificates: tuple[x509.Certificate, ...]


def parse_quote(data: bytes) -> Quote:
    """The quote; Refused for what is cut, of another kind of machine, or comes without a chain of certificates."""
    if len(data) > MAX_QUOTE_BYTES:
        raise Refused(f"the quote has {len(data)} bytes, more than {MAX_QUOTE_BYTES} are not read")
    reader = Reader(data, "quote")
    version = reader.number(2, "version")
    if version not in {4, 5}:
        raise Refused(f"the quote has version {version}, known are 4 and 5")
    kind, tee = reader.number(2, "type of key"), reader.number(4, "type of machine")
    if tee != _TEE_TDX:
        raise Refused(f"the quote is of a machine of type 0x{tee:x}, TDX is 0x{_TEE_TDX:x}")
    if kind != _ECDSA_P256:
        raise Refused(f"the quote is signed by a key of type {kind}, not by ECDSA P-256 (2)")
    reader.take(4, "reserved")
    vendor = reader.take(16, "vendor")
    if vendor != _INTEL_VENDOR:
        raise Refused(f"the quoting enclave is of the vendor {shown(vendor)}, not of Intel")
    reader.take(20, "user data")
    body = _read_body(reader, version)
    signed = data[: reader.place]
    inside = Reader(reader.take(reader.number(4, "size of the signature"), "signature"), "signature")
    must_be_zero(reader.take(reader.left, "rest"), "what follows the quote")
    signature, key = inside.take(64, "signature"), inside.take(64, "attestation key")
    certification = _read_certification(inside, _ENCLAVE_REPORT, "certification")
    enclave, enclave_signature = certification.take(_ENCLAVE_BYTES, "report"), certification.take(64, "its signature")
    enclave_data = certification.take(certification.number(2, "size of its data"), "its data")
    pem = _read_certification(certification, _PCK_CHAIN, "chain")
    text = pem.take(pem.left, "certificates")
    return Quote(
        version=version,
        attributes=int.from_bytes(body[0x78:0x80], "little"),
        measurement=body[0x88:0xB8],
        runtime_measurements=tuple(body[start : start + 48] for start in range(0x148, 0x208, 48)),
        report_data=body[0x208:0x248],
        signed=signed,
        signature=signature,
        key=key,
        enclave=enclave,
        enclave_signature=enclave_signature,
        enclave_data=enclave_data,
        certificates=tuple(chain.read_pem(text.removesuffix(b"\0"), "the quote")),
    )


def verify_quote(
    data: bytes,
    *,
    report_data: bytes,
    now: datetime,
    trusted: frozenset[str] = roots.INTEL,
    measurement: bytes = b"",
) -> Judged:
    """What the quote proves; Refused for what contradicts it.

    ``report_data`` (64 bytes) is what the machine was asked to put in. ``measurement`` (48 bytes, MRTD) of the
    machine's first memory, where it is known.
    """
    quote = parse_quote(data)
    if quote.report_data != report_data:
        raise Refused(f"the quote is for {shown(quote.report_data)}, it was asked for {shown(report_data)}")
    if quote.attributes & _DEBUG_BITS:
        raise Refused(f"the attributes 0x{quote.attributes:x} allow debugging: the host can read the machine's memory")
    if measurement and quote.measurement != measurement:
        raise Refused(f"the measurement is {shown(quote.measurement)}, expected is {shown(measurement)}")
    _check_signature(_public_key(quote.key), quote.signature, quote.signed, "the quote", "its attestation key")
    _check_enclave(quote)
    leaf = quote.certificates[0]
    path = chain.trace(leaf, quote.certificates[1:], roots=trusted, now=now)
    key = leaf.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise Refused(f"the key of '{chain.common_name(leaf)}' is none of the curve P-256")
    name = chain.common_name(leaf)
    _check_signature(key, quote.enclave_signature, quote.enclave, "the quoting enclave's report", f"'{name}'")
    names = " <- ".join(chain.common_name(certificate) for certificate in path)
    proven = ["the quote carries the data that it was asked for", "its attributes allow no debugging"]
    proven += [f"it is signed by Intel's quoting enclave, certified by {names}"]
    proven += ["the measurement is the expected one"] if measurement else []
    still = [] if measurement else [f"the measurement {shown(quote.measurement)} is compared with none"]
    still += ["whether the platform's firmware is up to date (TCB info)", "whether Intel revoked a key of the chain"]
    return Judged(proven=tuple(proven), open=tuple(still))


# ---- reading and checking ------------------------------------------------------------------------------------------


def _read_body(reader: Reader, version: int) -> bytes:
    if version == 4:
        return reader.take(_BODY_BYTES[2], "report of the machine")
    kind, size = reader.number(2, "type of the report"), reader.number(4, "size of the report")
    if _BODY_BYTES.get(kind) != size:
        raise Refused(f"the machine's report is of type {kind} and has {size} bytes, known are {_BODY_BYTES}")
    return reader.take(size, "report of the machine")


def _read_certification(reader: Reader, wanted: int, what: str) -> Reader:
    """The rest of ``reader``, which has to be data of the type ``wanted``."""
    kind, size = reader.number(2, f"type of the {what}"), reader.number(4, f"size of the {what}")
    if kind != wanted:
        raise Refused(f"the quote's {what} is of type {kind}, only {wanted} can be verified without Intel's service")
    inside = Reader(reader.take(size, what), what)
    must_be_zero(reader.take(reader.left, "rest"), f"what follows the quote's {what}")
    return inside


def _public_key(raw: bytes) -> ec.EllipticCurvePublicKey:
    x, y = int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big")
    try:
        return ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
    except ValueError as error:
        raise Refused("the attestation key is no point of the curve P-256") from error


def _check_signature(key: ec.EllipticCurvePublicKey, raw: bytes, data: bytes, what: str, by: str) -> None:
    r, s = int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big")
    try:
        key.verify(utils.encode_dss_signature(r, s), data, ec.ECDSA(SHA256()))
    except InvalidSignature as error:
        raise Refused(f"{what} is not signed by {by}") from error


def _check_enclave(quote: Quote) -> None:
    """It is Intel's quoting enclave, not in debug mode, and its report holds the attestation key."""
    signer, product = quote.enclave[0x80:0xA0], int.from_bytes(quote.enclave[0x100:0x102], "little")
    if signer != _QUOTING_SIGNER or product != _QUOTING_PRODUCT:
        raise Refused(f"the enclave that made the quote is {shown(signer)} product {product}, not Intel's for TDX")
    if quote.enclave[0x30] & _ENCLAVE_DEBUG:
        raise Refused("the enclave that made the quote can be debugged")
    bound = hashlib.sha256(quote.key + quote.enclave_data).digest().ljust(64, b"\0")
    if quote.enclave[0x140:0x180] != bound:
        raise Refused("the enclave's report is not for the attestation key that signed the quote")


def measurements(quote: Quote) -> Sequence[str]:
    """MRTD and the four RTMRs, hexadecimal, for a log."""
    return [quote.measurement.hex(), *(value.hex() for value in quote.runtime_measurements)]
