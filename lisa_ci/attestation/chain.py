"""X.509 chains from the key that signed a report to a root that is known beforehand."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.utils import CryptographyDeprecationWarning

from lisa_ci.attestation.evidence import Missing, Refused

MAX_CERTIFICATES: Final = 16
MAX_CERTIFICATE_BYTES: Final = 16 << 10
_MAX_STEPS: Final = 5
_BROKEN: Final = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)


def read_der(data: bytes, what: str) -> x509.Certificate:
    """One certificate in DER form."""
    if len(data) > MAX_CERTIFICATE_BYTES:
        raise Refused(f"{what} has {len(data)} bytes, more than {MAX_CERTIFICATE_BYTES} are not read")
    try:
        with warnings.catch_warnings():
            # AMD gives every VLEK the serial number 0, which RFC 5280 does not allow.
            warnings.simplefilter("ignore", CryptographyDeprecationWarning)
            return _whole(x509.load_der_x509_certificate(data))
    except _BROKEN as error:
        raise Refused(f"{what} is no certificate: {error}") from error


def read_pem(data: bytes, what: str) -> Sequence[x509.Certificate]:
    """All certificates of a text, in its order; Refused where there is none."""
    if len(data) > MAX_CERTIFICATES * MAX_CERTIFICATE_BYTES:
        raise Refused(f"{what} has {len(data)} bytes of certificates")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", CryptographyDeprecationWarning)
            certificates = [_whole(one) for one in x509.load_pem_x509_certificates(data)]
    except _BROKEN as error:
        raise Refused(f"{what} has no certificates: {error}") from error
    if len(certificates) > MAX_CERTIFICATES:
        raise Refused(f"{what} has {len(certificates)} certificates")
    return certificates


def _whole(certificate: x509.Certificate) -> x509.Certificate:
    """The same, with every part read that is used later: the library reads them when they are asked for."""
    parts = (certificate.subject, certificate.issuer, certificate.extensions, certificate.public_key())
    dates = (certificate.not_valid_before_utc, certificate.not_valid_after_utc, certificate.signature_algorithm_oid)
    del parts, dates
    return certificate


def fingerprint(certificate: x509.Certificate) -> str:
    """SHA-256 (hex) over its DER form."""
    return certificate.fingerprint(SHA256()).hex()


def common_name(certificate: x509.Certificate) -> str:
    """Of its subject; '' where it has none."""
    names = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return str(names[0].value) if names else ""


def trace(
    leaf: x509.Certificate, others: Sequence[x509.Certificate], *, roots: frozenset[str], now: datetime
) -> Sequence[x509.Certificate]:
    """The path from ``leaf`` to one of the ``roots`` (fingerprints), both included.

    Every signature on it is checked, that issuers may issue, and that all are valid at ``now``. Refused otherwise.
    """
    path = [leaf]
    for certificate in path:
        _check_dates(certificate, now)
        if fingerprint(certificate) in roots:
            return path
        if len(path) > _MAX_STEPS:
            raise Refused(f"the chain of {common_name(leaf)} is longer than {_MAX_STEPS} certificates")
        path.append(_issuer(certificate, [other for other in others if other not in path]))
    raise AssertionError("the path ends inside")


def _issuer(certificate: x509.Certificate, others: Sequence[x509.Certificate]) -> x509.Certificate:
    named = [other for other in others if other.subject == certificate.issuer]
    if not named:
        if certificate.subject == certificate.issuer:
            raise Refused(f"the root '{common_name(certificate)}' ({fingerprint(certificate)[:16]}...) is not trusted")
        issuer = certificate.issuer.rfc4514_string()
        raise Missing(f"the issuer of '{common_name(certificate)}' is not there: {issuer[:120]}")
    for other in named:
        try:
            certificate.verify_directly_issued_by(other)
        except (InvalidSignature, ValueError, TypeError):
            continue
        _check_may_issue(other)
        return other
    raise Refused(f"'{common_name(certificate)}' is not signed by '{common_name(named[0])}'")


def _check_may_issue(certificate: x509.Certificate) -> None:
    name = common_name(certificate)
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except (x509.ExtensionNotFound, ValueError) as error:
        raise Refused(f"'{name}' does not say that it may issue certificates") from error
    if not constraints.ca or not usage.key_cert_sign:
        raise Refused(f"'{name}' may not issue certificates")


def _check_dates(certificate: x509.Certificate, now: datetime) -> None:
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if not begin <= now <= end:
        raise Refused(
            f"'{common_name(certificate)}' is valid from {begin:%Y-%m-%d} to {end:%Y-%m-%d}, not {now:%Y-%m-%d}"
        )
