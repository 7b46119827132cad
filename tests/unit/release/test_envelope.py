from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from securesystemslib.dsse import Envelope
from securesystemslib.signer import SSlibKey

from lisa_ci.errors import DataError
from lisa_ci.protocols import Signature
from lisa_ci.release import envelope
from lisa_ci.release.envelope import Statement
from tests.doubles.release import make_signer

STATEMENT = Statement(
    subjects={"disk": "0" * 64, "SHA256SUMS": "1" * 64}, plan_digest="2" * 64, passed=("leg/suite#a", "leg/suite#ü")
)


def sealed(payload: bytes) -> bytes:
    return envelope.seal(payload, make_signer().sign(envelope.message(payload)))


def test_the_statement_is_an_in_toto_test_result() -> None:
    told = json.loads(STATEMENT.encode())
    assert told["_type"] == "https://in-toto.io/Statement/v1"
    assert told["predicateType"] == "https://in-toto.dev/attestation/test-result/v0.1"
    assert told["subject"][0] == {"name": "SHA256SUMS", "digest": {"sha256": "1" * 64}}
    assert told["predicate"] == {
        "result": "PASSED",
        "configuration": [{"name": "plan.json", "digest": {"sha256": "2" * 64}}],
        "passedTests": ["leg/suite#a", "leg/suite#ü"],
        "warnedTests": [],
        "failedTests": [],
    }


def test_the_encoding_that_is_signed_is_that_of_the_dsse_protocol() -> None:
    assert envelope.message(b"hello") == b"DSSEv1 28 application/vnd.in-toto+json 5 hello"


def test_another_implementation_of_dsse_verifies_our_envelope() -> None:
    signer = make_signer()
    theirs = Envelope.from_dict(json.loads(sealed(STATEMENT.encode())))
    key = SSlibKey.from_crypto(signer.public.key, keyid=signer.key_id)
    assert theirs.verify([key], 1) == {signer.key_id: key}
    assert theirs.payload == STATEMENT.encode()


def test_payload_and_signature_are_read_back() -> None:
    payload, signature = envelope.unseal(sealed(STATEMENT.encode()), place="s")
    assert make_signer().public.has_signed(envelope.message(payload), signature)
    assert envelope.open_statement(payload, place="s") == STATEMENT


@given(st.data())
def test_no_changed_byte_of_an_envelope_goes_unnoticed(data: st.DataObject) -> None:
    content = bytearray(sealed(STATEMENT.encode()))
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= data.draw(st.integers(1, 255))
    key = make_signer().public
    try:
        payload, signature = envelope.unseal(bytes(content), place="s")
    except DataError:
        return
    assert not key.has_signed(envelope.message(payload), signature) or signature.key_id != key.key_id


@given(st.binary(max_size=200) | st.recursive(st.none() | st.text(), st.lists).map(lambda v: json.dumps(v).encode()))
def test_any_bytes_are_an_envelope_or_an_error(data: bytes) -> None:
    with pytest.raises(DataError):
        envelope.unseal(data, place="s")


@pytest.mark.parametrize(
    "change",
    [
        {"signatures": []},
        {"signatures": [{"keyid": "k", "sig": "AA=="}, {"keyid": "k", "sig": "AA=="}]},
        {"signatures": {"keyid": "k", "sig": "AA=="}},
        {"payload": 5},
        {"payload": "*"},
        {"payloadType": "text/plain"},
        {"extra": True},
    ],
)
def test_an_envelope_of_another_shape_is_refused(change: dict[str, object]) -> None:
    whole = {"payload": "AA==", "payloadType": envelope.PAYLOAD_TYPE, "signatures": [{"keyid": "k", "sig": "AA=="}]}
    with pytest.raises(DataError):
        envelope.unseal(json.dumps({**whole, **change}).encode(), place="s")


def test_a_second_way_to_write_the_same_base64_is_refused() -> None:
    good = envelope.seal(b"x", Signature(key_id="k", value=b"s"))
    assert base64.b64decode("eB==") == b"x"
    with pytest.raises(DataError, match="changed after signing"):
        envelope.unseal(good.replace(b"eA==", b"eB=="), place="s")


def test_deep_and_huge_documents_are_refused() -> None:
    for data in (b"[" * 200_000, b'{"payload":' * 100_000, b" " * (envelope.LIMIT_BYTES + 1)):
        with pytest.raises(DataError):
            envelope.unseal(data, place="s")


@pytest.mark.parametrize(
    "change",
    [
        {"predicateType": "https://slsa.dev/provenance/v1"},
        {"subject": "disk"},
        {"subject": [{"name": "disk", "digest": {"md5": "0"}}]},
        {"predicate": {"result": "PASSED"}},
        {"also": 1},
    ],
)
def test_a_signed_payload_that_is_not_our_statement_is_refused(change: dict[str, object]) -> None:
    payload = json.dumps({**json.loads(STATEMENT.encode()), **change}).encode()
    with pytest.raises(DataError):
        envelope.open_statement(payload, place="s")
