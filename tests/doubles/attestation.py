"""Makers of attestation reports of our own: an AMD and an Intel whose roots nobody trusts but the tests."""

from __future__ import annotations

import base64
import functools
import gzip
import hashlib
import json
import struct
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils
from cryptography.x509.oid import NameOID, ObjectIdentifier

from lisa_ci.attestation.chain import fingerprint, read_pem

CASES = Path(__file__).parent.parent / "cases" / "attestation"
NOW = datetime(2026, 6, 1, tzinfo=UTC)
ASKED = bytes(range(64))
CHIP = bytes(range(100, 164))
TCB = bytes([3, 0, 0, 0, 0, 0, 10, 200])
_AMD = "1.3.6.1.4.1.3704.1"
_BEGIN, _END = datetime(2020, 1, 1, tzinfo=UTC), datetime(2045, 1, 1, tzinfo=UTC)
Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


def captured(name: str) -> bytes:
    """A file of tests/cases/attestation, out of its hexadecimal, base64 or gzip."""
    text = (CASES / name).read_text()
    if name.endswith(".hex"):
        return bytes.fromhex(text)
    data = base64.b64decode(text)
    return gzip.decompress(data) if ".gz." in name else data


def captured_pem(*names: str) -> list[x509.Certificate]:
    return [certificate for name in names for certificate in read_pem((CASES / name).read_bytes(), name)]


def captured_pcrs() -> dict[str, dict[int, bytes]]:
    banks: dict[str, dict[int, bytes]] = {}
    for line in (CASES / "pcrs-secure-boot.txt").read_text().splitlines():
        bank, number, value = line.split()
        banks.setdefault(bank, {})[int(number)] = bytes.fromhex(value)
    return banks


def certificate(
    name: str,
    key: Key,
    issuer: tuple[str, Key],
    *,
    is_ca: bool = True,
    extensions: Mapping[str, bytes] | None = None,
    end: datetime = _END,
) -> x509.Certificate:
    names = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, each)]) for each in (name, issuer[0])]
    builder = x509.CertificateBuilder(names[1], names[0], key.public_key(), 7, _BEGIN, end)
    if is_ca:
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        usage = dict.fromkeys(x509.KeyUsage.__init__.__code__.co_varnames[1:10], False) | {"key_cert_sign": True}
        builder = builder.add_extension(x509.KeyUsage(**usage), critical=True)
    for oid, value in (extensions or {}).items():
        builder = builder.add_extension(x509.UnrecognizedExtension(ObjectIdentifier(oid), value), critical=False)
    if isinstance(issuer[1], rsa.RSAPrivateKey):
        pss = padding.PSS(padding.MGF1(hashes.SHA384()), 48)
        return builder.sign(issuer[1], hashes.SHA384(), rsa_padding=pss)
    return builder.sign(issuer[1], hashes.SHA256())


def _integer(value: int) -> bytes:
    return b"\x02\x01" + bytes([value]) if value < 0x80 else b"\x02\x02\x00" + bytes([value])


@dataclass(frozen=True, kw_only=True)
class Amd:
    """A chip and the keys above it."""

    vcek_key: ec.EllipticCurvePrivateKey
    vcek: x509.Certificate
    ask_key: rsa.RSAPrivateKey
    ask: x509.Certificate
    ark: x509.Certificate

    @property
    def chain(self) -> list[x509.Certificate]:
        return [self.vcek, self.ask, self.ark]

    @property
    def trusted(self) -> frozenset[str]:
        return frozenset({fingerprint(self.ark)})

    def sign(self, report: bytes) -> bytes:
        """The report with a signature of the chip in the place of its own."""
        r, s = utils.decode_dss_signature(self.vcek_key.sign(report[:0x2A0], ec.ECDSA(hashes.SHA384())))
        return report[:0x2A0] + r.to_bytes(72, "little") + s.to_bytes(72, "little") + bytes(368)

    def report(self, **changes: bytes) -> bytes:
        """A signed report; ``changes``: ``at_OFFSET`` (hexadecimal) -> bytes that go there first."""
        data = bytearray(0x4A0)
        places = {0: b"\x03", 0x0A: b"\x03", 0x34: b"\x01", 0x50: ASKED, 0x90: b"m" * 48, 0x188: b"\x19\x11\x01"}
        places |= {0x180: TCB, 0x1A0: CHIP} | {int(name[3:], 16): value for name, value in changes.items()}
        for place, value in places.items():
            data[place : place + len(value)] = value
        return self.sign(bytes(data))


def vcek_extensions(chip: bytes = CHIP, tcb: bytes = TCB) -> dict[str, bytes]:
    levels = {"1": tcb[0], "2": tcb[1], "3": tcb[6], "8": tcb[7]}
    return {f"{_AMD}.3.{name}": _integer(level) for name, level in levels.items()} | {f"{_AMD}.4": chip}


@functools.cache
def amd() -> Amd:
    ark_key, ask_key = (rsa.generate_private_key(public_exponent=65537, key_size=2048) for _ in range(2))
    vcek_key = ec.generate_private_key(ec.SECP384R1())
    return Amd(
        vcek_key=vcek_key,
        vcek=certificate("SEV-VCEK", vcek_key, ("SEV-Test", ask_key), is_ca=False, extensions=vcek_extensions()),
        ask_key=ask_key,
        ask=certificate("SEV-Test", ask_key, ("ARK-Test", ark_key)),
        ark=certificate("ARK-Test", ark_key, ("ARK-Test", ark_key)),
    )


GUIDS = (
    "63da758d-e664-4564-adc5-f4b93be8accd",
    "4ab7b379-bbac-4fe4-a02f-05aef327c782",
    "c0b406a4-a803-4952-9743-3fb6014cd0ae",
)


def table(count: int = 3) -> bytes:
    """The first certificates of the chain, as a host delivers them beside an extended report."""
    head, body, start = b"", b"", 24 * (count + 1)
    for name, certificate in list(zip(GUIDS, amd().chain, strict=True))[:count]:
        der = certificate.public_bytes(serialization.Encoding.DER)
        head += uuid.UUID(name).bytes + struct.pack("<II", start + len(body), len(der))
        body += der
    return head + bytes(24) + body


def azure(claims: dict[str, object], *, kind: int = 2) -> bytes:
    """What Azure's virtual TPM holds: of SEV-SNP (kind 2) or TDX (4), for these claims."""
    text = json.dumps(claims).encode()
    bound = hashlib.sha256(text).digest() + bytes(32)
    report = amd().report(at_50=bound) if kind == 2 else bytes(0x80) + bound + bytes(0x4A0 - 0xC0)
    block = struct.pack("<IIIII", len(text) + 20, 1, kind, 1, len(text)) + text
    return b"HCLA" + bytes(28) + report + block + bytes(64)


@dataclass(frozen=True, kw_only=True)
class Intel:
    """A platform and the keys above it."""

    pck_key: ec.EllipticCurvePrivateKey
    attestation_key: ec.EllipticCurvePrivateKey
    chain: tuple[x509.Certificate, ...]

    @property
    def trusted(self) -> frozenset[str]:
        return frozenset({fingerprint(self.chain[-1])})

    def quote(self, version: int = 4, *, body_type: int = 2, **changes: bytes) -> bytes:
        """``changes``: ``body_OFFSET`` and ``enclave_OFFSET`` (hexadecimal) -> bytes that go there before signing."""
        body, enclave = bytearray({2: 584, 3: 648}[body_type]), bytearray(384)
        numbers = self.attestation_key.public_key().public_numbers()
        key, data = numbers.x.to_bytes(32, "big") + numbers.y.to_bytes(32, "big"), bytes(range(32))
        signer = "dc9e2a7c6f948f17474e34a7fc43ed030f7c1563f1babddf6340c82e0e54a8c5"
        places = {"body_88": b"t" * 48, "body_208": ASKED, "enclave_80": bytes.fromhex(signer), "enclave_100": b"\2"}
        places["enclave_140"] = hashlib.sha256(key + data).digest()
        for name, value in (places | changes).items():
            part, _, place = name.partition("_")
            start = int(place, 16)
            (body if part == "body" else enclave)[start : start + len(value)] = value
        header = version.to_bytes(2, "little") + b"\2\0\x81\0\0\0" + bytes(4)
        header += bytes.fromhex("939a7233f79c4ca9940a0db3957f0607") + bytes(20)
        if version == 5:
            header += body_type.to_bytes(2, "little") + len(body).to_bytes(4, "little")
        pem = b"".join(each.public_bytes(serialization.Encoding.PEM) for each in self.chain) + b"\0"
        inner = bytes(enclave) + _raw(self.pck_key, bytes(enclave)) + len(data).to_bytes(2, "little") + data
        inner += b"\5\0" + len(pem).to_bytes(4, "little") + pem
        signed = header + bytes(body)
        outer = _raw(self.attestation_key, signed) + key + b"\6\0" + len(inner).to_bytes(4, "little") + inner
        return signed + len(outer).to_bytes(4, "little") + outer


def _raw(key: ec.EllipticCurvePrivateKey, data: bytes) -> bytes:
    r, s = utils.decode_dss_signature(key.sign(data, ec.ECDSA(hashes.SHA256())))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


@functools.cache
def intel() -> Intel:
    root_key, ca_key, pck_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(4))
    return Intel(
        pck_key=pck_key,
        attestation_key=key,
        chain=(
            certificate("Test PCK", pck_key, ("Test CA", ca_key), is_ca=False),
            certificate("Test CA", ca_key, ("Test Root", root_key)),
            certificate("Test Root", root_key, ("Test Root", root_key)),
        ),
    )
