from __future__ import annotations

import base64
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
)
from hypothesis import given
from hypothesis import strategies as st

from lisa_ci.errors import PipelineError
from lisa_ci.ssh import make_key, parse_host_key
from lisa_ci.ssh.keys import load_key

KNOWN = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGPlzLpNTBGs7Qsb3WsQBtdr2l8sgSeTnJf9XGBN0gRe"


def test_a_new_key_is_private_and_loads_again(tmp_path: Path) -> None:
    pair = make_key(tmp_path / "new")
    assert pair.private == tmp_path / "new" / "key"
    assert pair.private.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "new").stat().st_mode & 0o077 == 0
    loaded = load_key(pair.private)
    assert pair.public == f"ssh-ed25519 {loaded.get_base64()}"
    assert (tmp_path / "new" / "key.pub").read_text() == f"{pair.public}\n"


def test_two_keys_differ_and_the_second_replaces_the_first(tmp_path: Path) -> None:
    first = make_key(tmp_path, "host")
    second = make_key(tmp_path, "host")
    assert first.public != second.public
    assert f"ssh-ed25519 {load_key(second.private).get_base64()}" == second.public


def test_a_key_is_never_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("precious")
    (tmp_path / "key").symlink_to(tmp_path / "elsewhere")
    make_key(tmp_path)
    assert (tmp_path / "elsewhere").read_text() == "precious"


def test_a_host_key_may_have_a_comment_and_blanks() -> None:
    assert str(parse_host_key(f"  {KNOWN} root@host \n")) == KNOWN


def test_only_the_pinned_type_is_negotiated_and_never_with_sha1() -> None:
    assert parse_host_key(KNOWN).algorithms == ("ssh-ed25519",)
    blob = b"\0\0\0\x07ssh-rsa" + bytes(20)
    rsa = parse_host_key(f"ssh-rsa {base64.b64encode(blob).decode()}")
    assert rsa.algorithms == ("rsa-sha2-512", "rsa-sha2-256")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no host key is pinned"),
        (" \n", "no host key is pinned"),
        ("ssh-dss AAAA", "'ssh-dss' is not supported"),
        ("AAAAC3NzaC1lZDI1NTE5", "is not supported"),
        ("ssh-ed25519", "does not hold a key"),
        ("ssh-ed25519 %%%%", "not base64"),
        ("ssh-ed25519 AAAA", "does not hold a key of type ssh-ed25519"),
        (KNOWN.replace("ssh-ed25519", "ssh-rsa"), "does not hold a key of type ssh-rsa"),
        (KNOWN + "!", "not base64"),
        (f"host {KNOWN}", "'host' is not supported"),
    ],
)
def test_a_wrong_host_key_says_what_is_wrong_and_how_to_get_one(text: str, says: str) -> None:
    with pytest.raises(PipelineError, match=says) as caught:
        parse_host_key(text, host="build.example", port=2222)
    assert "ssh-keyscan -p 2222 -t ed25519 build.example" in caught.value.hint


@given(st.text())
def test_any_text_as_host_key_is_a_key_or_our_error(text: str) -> None:
    try:
        parse_host_key(text)
    except PipelineError as error:
        assert error.hint  # noqa: PT017 - both ways are fine


def _write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def _locked() -> bytes:
    key = Ed25519PrivateKey.generate()
    return key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, BestAvailableEncryption(b"secret"))


@pytest.mark.parametrize("data", [b"", b"no key", b"\xff\xfe\x00", KNOWN.encode(), _locked()])
def test_a_private_key_that_cannot_be_used_says_so(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(PipelineError, match="cannot use the private key"):
        load_key(_write(tmp_path / "key", data))


def test_a_private_key_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match=r"cannot read the private key .*absent"):
        load_key(tmp_path / "absent")


def test_a_home_folder_of_nobody_is_no_traceback() -> None:
    with pytest.raises(PipelineError, match="cannot read the private key"):
        load_key(Path("~no-such-user-here/.ssh/id"))


@pytest.mark.parametrize("path", ["/dev/zero", "/"])
def test_a_private_key_that_is_no_small_file_is_not_read(path: str) -> None:
    with pytest.raises(PipelineError, match="not a file of at most 64 KiB"):
        load_key(Path(path))
