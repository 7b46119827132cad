"""Ed25519 keys in PEM files: make, load, sign, verify. Nothing else in lisa-ci sees a private key."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from lisa_ci import files
from lisa_ci.errors import DataError, PipelineError, SigningError
from lisa_ci.events import Emit, Level, Message
from lisa_ci.model import Secret
from lisa_ci.protocols import Signature

PASSPHRASE_VARIABLE: Final = "LISA_CI_KEY_PASSPHRASE"  # noqa: S105 - a name, not a value
LIMIT_BYTES: Final = 64 << 10
_OPENSSL: Final = "openssl genpkey -algorithm ed25519 -out FILE"


@dataclass(frozen=True, slots=True)
class PublicKey:
    """Who may have signed."""

    key: Ed25519PublicKey

    @property
    def key_id(self) -> str:
        """SHA-256 (hex) over the key's DER form."""
        der = self.key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        return hashlib.sha256(der).hexdigest()

    def has_signed(self, message: bytes, signature: Signature) -> bool:
        with contextlib.suppress(InvalidSignature):
            self.key.verify(signature.value, message)
            return True
        return False

    def pem(self) -> bytes:
        return self.key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


class FileSigner:
    """Signs with a private key that was read from a file."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key

    @property
    def public(self) -> PublicKey:
        return PublicKey(self._key.public_key())

    @property
    def key_id(self) -> str:
        return self.public.key_id

    def sign(self, message: bytes) -> Signature:
        return Signature(key_id=self.key_id, value=self._key.sign(message))

    def __repr__(self) -> str:
        return f"FileSigner({self.key_id[:16]})"


def passphrase_from_environment() -> Secret | None:
    value = os.environ.get(PASSPHRASE_VARIABLE)
    return Secret(value) if value else None


def load_signer(path: Path, passphrase: Secret | None, *, emit: Emit) -> FileSigner:
    """The private key in a PEM file (PKCS #8). SigningError says what is wrong with it, never what is in it."""
    try:
        data = path.read_bytes() if path.is_fifo() else files.read_bounded(path.resolve(), LIMIT_BYTES)
    except (OSError, DataError) as error:
        raise SigningError(f"cannot read the key {path}", hint=f"make one: lisa-ci sign --new-key {path}") from error
    _warn_if_open(path, emit)
    secret = passphrase.reveal().encode() if passphrase else None
    key: object
    try:
        key = serialization.load_pem_private_key(data, password=secret)
    except TypeError as error:
        if secret is None:
            raise SigningError(f"the key {path} has a passphrase", hint=f"set {PASSPHRASE_VARIABLE}") from error
        try:
            key = serialization.load_pem_private_key(data, password=None)  # a passphrase for a key that needs none
        except (ValueError, TypeError, UnsupportedAlgorithm) as cause:
            raise _no_private_key(path, data) from cause
    except (ValueError, UnsupportedAlgorithm) as error:
        if b"ENCRYPTED" in data and secret is not None:
            hint = f"is {PASSPHRASE_VARIABLE} right?"
            raise SigningError(f"the key {path} does not open with this passphrase", hint=hint) from error
        raise _no_private_key(path, data) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise SigningError(f"the key {path} is not an Ed25519 key", hint=f"make one: {_OPENSSL}")
    return FileSigner(key)


def _no_private_key(path: Path, data: bytes) -> SigningError:
    if b"PUBLIC KEY" in data:
        return SigningError(f"{path} is a public key; signing needs the private one")
    return SigningError(f"{path} is not a private key in PEM form (PKCS #8)", hint=f"make one: {_OPENSSL}")


def _warn_if_open(path: Path, emit: Emit) -> None:
    mode = path.stat().st_mode
    if stat.S_ISREG(mode) and mode & 0o077:
        text = f"the private key {path} is open to others (mode {stat.S_IMODE(mode):04o}); run: chmod 600 {path}"
        emit(Message(text=text, level=Level.WARNING))


def load_public(path: Path) -> PublicKey:
    """The public key in a PEM file. PipelineError says what is wrong with it."""
    try:
        data = files.read_bounded(path.resolve(), LIMIT_BYTES)
    except (OSError, DataError) as error:
        raise PipelineError(f"cannot read the key {path}", hint="name the signer's public key, a PEM file") from error
    return parse_public(data, place=str(path))


def parse_public(data: bytes, *, place: str) -> PublicKey:
    if b"PRIVATE KEY" in data:
        raise PipelineError(f"{place} is a private key; verifying needs the public one", hint=f"name {place}.pub")
    try:
        key = serialization.load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise PipelineError(f"{place} is not a public key in PEM form") from error
    if not isinstance(key, Ed25519PublicKey):
        raise PipelineError(f"{place} is not an Ed25519 key")
    return PublicKey(key)


def new_key(path: Path, passphrase: Secret | None) -> FileSigner:
    """Write a new private key to ``path`` (mode 0600) and its public key to ``path``.pub; both must be new names."""
    key = Ed25519PrivateKey.generate()
    lock = (
        serialization.BestAvailableEncryption(passphrase.reveal().encode())
        if passphrase
        else serialization.NoEncryption()
    )
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, lock)
    signer = FileSigner(key)
    public = path.with_name(f"{path.name}.pub")
    for target, data, mode in ((path, pem, 0o600), (public, signer.public.pem(), 0o644)):
        try:
            descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        except FileExistsError as error:
            raise SigningError(f"{target} exists; a key is never overwritten", hint="name a new file") from error
        except OSError as error:
            raise SigningError(f"cannot write {target}: {error.strerror}") from error
    return signer
