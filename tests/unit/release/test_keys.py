from __future__ import annotations

import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from lisa_ci.errors import PipelineError, SigningError
from lisa_ci.events import Event, Message
from lisa_ci.model import Secret
from lisa_ci.release import keys
from tests.doubles.release import silent


def test_a_new_key_is_readable_by_its_owner_only_and_never_overwritten(tmp_path: Path) -> None:
    signer = keys.new_key(tmp_path / "key", None)
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
    assert keys.load_public(tmp_path / "key.pub").key_id == signer.key_id
    before = (tmp_path / "key").read_bytes()
    with pytest.raises(SigningError, match="exists; a key is never overwritten"):
        keys.new_key(tmp_path / "key", None)
    assert (tmp_path / "key").read_bytes() == before


def test_a_key_that_others_can_read_is_warned_of(tmp_path: Path) -> None:
    keys.new_key(tmp_path / "key", None)
    told: list[Event] = []
    keys.load_signer(tmp_path / "key", None, emit=told.append)
    assert told == []
    (tmp_path / "key").chmod(0o644)
    keys.load_signer(tmp_path / "key", None, emit=told.append)
    assert isinstance(told[0], Message)
    assert "open to others (mode 0644)" in told[0].text


def test_a_passphrase_must_be_given_and_right(tmp_path: Path) -> None:
    keys.new_key(tmp_path / "key", Secret("right"))
    with pytest.raises(SigningError, match="has a passphrase") as caught:
        keys.load_signer(tmp_path / "key", None, emit=silent)
    assert "LISA_CI_KEY_PASSPHRASE" in caught.value.hint
    with pytest.raises(SigningError, match="does not open with this passphrase"):
        keys.load_signer(tmp_path / "key", Secret("wrong"), emit=silent)
    keys.load_signer(tmp_path / "key", Secret("right"), emit=silent)


def test_a_passphrase_for_a_key_without_one_does_no_harm(tmp_path: Path) -> None:
    made = keys.new_key(tmp_path / "key", None)
    assert keys.load_signer(tmp_path / "key", Secret("any"), emit=silent).key_id == made.key_id


@pytest.mark.parametrize("content", [b"", b"hello", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"])
def test_a_file_that_is_no_key_is_told_without_its_content(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "key").write_bytes(content)
    with pytest.raises(SigningError, match="is not a private key in PEM form") as caught:
        keys.load_signer(tmp_path / "key", None, emit=silent)
    assert "AAAA" not in str(caught.value)


def test_a_missing_key_is_told_with_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(SigningError, match="cannot read the key") as caught:
        keys.load_signer(tmp_path / "none", None, emit=silent)
    assert "--new-key" in caught.value.hint


def test_a_key_of_another_kind_is_refused(tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (tmp_path / "ec").write_bytes(pem)
    (tmp_path / "ec.pub").write_bytes(
        key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    with pytest.raises(SigningError, match="is not an Ed25519 key"):
        keys.load_signer(tmp_path / "ec", None, emit=silent)
    with pytest.raises(PipelineError, match="is not an Ed25519 key"):
        keys.load_public(tmp_path / "ec.pub")


def test_public_and_private_keys_are_not_taken_for_each_other(tmp_path: Path) -> None:
    keys.new_key(tmp_path / "key", None)
    with pytest.raises(SigningError, match="is a public key"):
        keys.load_signer(tmp_path / "key.pub", None, emit=silent)
    with pytest.raises(PipelineError, match="is a private key"):
        keys.load_public(tmp_path / "key")


def test_a_public_key_that_is_none_is_told(tmp_path: Path) -> None:
    (tmp_path / "key.pub").write_bytes(b"\xff\x00")
    with pytest.raises(PipelineError, match="is not a public key in PEM form"):
        keys.load_public(tmp_path / "key.pub")
    with pytest.raises(PipelineError, match="cannot read the key"):
        keys.load_public(tmp_path)
