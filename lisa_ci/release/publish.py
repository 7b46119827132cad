"""Publish a release that verifies, under a key that the target, or whoever publishes, trusts."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final, Protocol

from lisa_ci.errors import PublishingError
from lisa_ci.events import Emit
from lisa_ci.protocols import Published, Target
from lisa_ci.release.evidence import Judge
from lisa_ci.release.keys import PublicKey, parse_public
from lisa_ci.release.verify import verify

KEY_VARIABLE: Final = "LISA_CI_TRUSTED_KEY"


class PinnedTarget(Target, Protocol):
    """A target that remembers whose releases it takes."""

    def locked(self) -> AbstractContextManager[None]: ...
    def trusted_key(self) -> bytes | None: ...
    def pin(self, pem: bytes) -> None: ...


def apply(root: Path, target: PinnedTarget, given: PublicKey | None, judge: Judge, *, emit: Emit) -> Published:
    """Verify ``root`` (the disks included), copy, make it public, move `latest`. A second time changes nothing.

    VerificationError where the release is not proven, PublishingError where the target does not take it. The first
    release pins its key to the target; from then on no other key is taken.
    """
    key = trusted(given, target.trusted_key())
    release = verify(root, key, judge, emit=emit).release
    with target.locked():
        pinned = target.trusted_key()
        trusted(key, pinned)  # another publisher may have pinned its own while we verified
        staged = target.stage(release, emit=emit)
        if pinned is None:
            target.pin(key.pem())
        return target.promote(staged, emit=emit)


def trusted(given: PublicKey | None, pinned: bytes | None) -> PublicKey:
    """The key a release must be signed with; PublishingError where there is none, or where two say different things."""
    own = parse_public(pinned, place="the target's trusted-key.pub") if pinned is not None else None
    key = own or given
    if key is None:
        raise PublishingError(
            "nobody says whose releases may be published here",
            hint=f"name the signer's public key by --key FILE or {KEY_VARIABLE}; the target remembers it from then on",
        )
    if given is not None and given.key_id != key.key_id:
        raise PublishingError(
            f"the target takes releases of the key {key.key_id}, not of {given.key_id}",
            hint="if the signer has a new key, replace the target's trusted-key.pub by hand",
        )
    return key
