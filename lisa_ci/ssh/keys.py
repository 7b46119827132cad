"""Key pairs, pinned host keys and what a login consists of."""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from paramiko import PKey, SSHException

from lisa_ci.errors import PipelineError
from lisa_ci.model import Become

# Host key type -> signature algorithms that prove it. SHA-1 ("ssh-rsa" as a signature) and DSA are not accepted.
_ALGORITHMS: Final[Mapping[str, tuple[str, ...]]] = {
    "ssh-ed25519": ("ssh-ed25519",),
    "ecdsa-sha2-nistp256": ("ecdsa-sha2-nistp256",),
    "ecdsa-sha2-nistp384": ("ecdsa-sha2-nistp384",),
    "ecdsa-sha2-nistp521": ("ecdsa-sha2-nistp521",),
    "ssh-rsa": ("rsa-sha2-512", "rsa-sha2-256"),
}

_MOST_KEY: Final = 64 * 1024  # bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyPair:
    """``private``: path of a private key in OpenSSH's format, mode 0600; ``public``: its line, ``TYPE BASE64``."""

    private: Path
    public: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HostKey:
    """A server's public key. ``blob`` is the key as SSH sends it."""

    type: str
    blob: bytes

    @property
    def algorithms(self) -> tuple[str, ...]:
        """Signature algorithms to negotiate, so that no server can prove itself with another key."""
        return _ALGORITHMS[self.type]

    @property
    def fingerprint(self) -> str:
        """As OpenSSH shows it: ``SHA256:`` and base64 without padding."""
        return fingerprint(self.blob)

    def __str__(self) -> str:
        return f"{self.type} {base64.b64encode(self.blob).decode()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """Everything needed to get in. ``host_key`` is the pinned public key, ``TYPE BASE64``; it is never optional."""

    host: str
    port: int
    user: str
    key: Path
    host_key: str
    become: Become = Become.NONE

    @property
    def address(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def make_key(folder: Path, name: str = "key") -> KeyPair:
    """A new Ed25519 key pair: ``folder/name`` (0600) and ``folder/name.pub``; replaces what was there."""
    key = Ed25519PrivateKey.generate()
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    private = folder / name
    private.unlink(missing_ok=True)
    # The mode is given at creation: between a plain open and a chmod others could read the key.
    with os.fdopen(os.open(private, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(secret)
    private.with_name(f"{name}.pub").write_text(f"{public}\n", encoding="ascii")
    return KeyPair(private=private, public=public)


def fingerprint(blob: bytes) -> str:
    """OpenSSH's fingerprint of a public key blob."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")


def parse_host_key(text: str, *, host: str = "", port: int = 22) -> HostKey:
    """The pinned key from ``TYPE BASE64 [comment]``; PipelineError says what is wrong with it and how to get one."""
    hint = f"get it over a way you trust: 'ssh-keyscan -p {port} -t ed25519 {host or 'HOST'}' prints HOST TYPE BASE64"
    if not text.strip():
        raise PipelineError("no host key is pinned: a server is never trusted blindly", hint=hint)
    kind, _, rest = text.strip().partition(" ")
    if kind not in _ALGORITHMS:
        known = ", ".join(_ALGORITHMS)
        raise PipelineError(f"host key type {kind[:64]!r} is not supported", hint=f"use one of {known}; {hint}")
    encoded = rest.split()[:1]
    try:
        blob = base64.b64decode(encoded[0] if encoded else "", validate=True)
    except (binascii.Error, ValueError) as error:
        raise PipelineError(f"host key {text[:80]!r} is not base64: {error}", hint=hint) from error
    if not blob.startswith(struct.pack(">I", len(kind)) + kind.encode()):
        raise PipelineError(f"host key {text[:80]!r} does not hold a key of type {kind}", hint=hint)
    return HostKey(type=kind, blob=blob)


def load_key(path: Path) -> PKey:
    """The private key a login uses; PipelineError when it cannot be read or asks for a passphrase."""
    try:
        path = path.expanduser()
        if path.exists() and not (path.is_file() and path.stat().st_size <= _MOST_KEY):
            raise PipelineError(f"cannot use the private key {path}: not a file of at most {_MOST_KEY >> 10} KiB")
        return PKey.from_path(path)
    except (OSError, RuntimeError) as error:
        # RuntimeError: a home folder of a user that is not there.
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise PipelineError(f"cannot read the private key {path}: {reason}") from error
    except (SSHException, UnsupportedAlgorithm, ValueError, TypeError) as error:
        # TypeError is how cryptography says "this key needs a passphrase".
        raise PipelineError(
            f"cannot use the private key {path}: {error}",
            hint="it must be an Ed25519, ECDSA or RSA key without a passphrase",
        ) from error
