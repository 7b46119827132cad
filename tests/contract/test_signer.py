"""Whatever holds the private key, it keeps these promises."""

from __future__ import annotations

from pathlib import Path

import pytest

from lisa_ci.model import Secret
from lisa_ci.protocols import Signer
from lisa_ci.release import keys
from lisa_ci.release.keys import PublicKey
from tests.doubles.release import make_signer, silent


@pytest.fixture(params=["in memory", "from a file", "from a locked file"])
def signer(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Signer, PublicKey]:
    if request.param == "in memory":
        return make_signer(), make_signer().public
    secret = Secret("open sesame") if "locked" in request.param else None
    keys.new_key(tmp_path / "key", secret)
    return keys.load_signer(tmp_path / "key", secret, emit=silent), keys.load_public(tmp_path / "key.pub")


class TestSigner:
    def test_its_public_key_verifies_what_it_signed(self, signer: tuple[Signer, PublicKey]) -> None:
        holder, public = signer
        assert public.has_signed(b"message", holder.sign(b"message"))

    def test_a_signature_is_about_exactly_these_bytes(self, signer: tuple[Signer, PublicKey]) -> None:
        holder, public = signer
        signature = holder.sign(b"message")
        assert not public.has_signed(b"message ", signature)
        assert not public.has_signed(b"", signature)

    def test_the_signature_names_the_key(self, signer: tuple[Signer, PublicKey]) -> None:
        holder, public = signer
        assert holder.sign(b"").key_id == holder.key_id == public.key_id

    def test_the_same_message_gives_the_same_signature(self, signer: tuple[Signer, PublicKey]) -> None:
        assert signer[0].sign(b"m") == signer[0].sign(b"m")

    def test_nothing_shows_the_private_key(self, signer: tuple[Signer, PublicKey]) -> None:
        assert repr(signer[0]) == f"FileSigner({signer[0].key_id[:16]})"
