"""The signed statement: in-toto Statement v1 with a test-result predicate, in a DSSE envelope.

The reader accepts exactly one form of the bytes, the writer's: no second base64 alphabet, no unknown member, no
spare space. So no byte of the file can change without being noticed, also where a signature does not cover it.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from lisa_ci.errors import DataError
from lisa_ci.protocols import Signature

PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE: Final = "https://in-toto.dev/attestation/test-result/v0.1"
DISK: Final = "disk"
PLAN: Final = "plan.json"
LIMIT_BYTES: Final = 64 << 20
_MAX_SUBJECTS: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """What the signer says: these subjects (name -> SHA-256 hex) passed these tests, planned by that plan.

    ``warned`` are tests that failed as the baseline knows, where the plan lets a release have such. ``failed`` is there
    because the predicate has it; we never sign a statement that has any.
    """

    subjects: Mapping[str, str]
    plan_digest: str
    passed: tuple[str, ...]
    warned: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()

    def encode(self) -> bytes:
        """Canonical JSON: the payload of the envelope."""
        return _canonical(
            {
                "_type": STATEMENT_TYPE,
                "subject": [
                    {"name": name, "digest": {"sha256": self.subjects[name]}} for name in sorted(self.subjects)
                ],
                "predicateType": PREDICATE_TYPE,
                "predicate": {
                    "result": "FAILED" if self.failed else "WARNED" if self.warned else "PASSED",
                    "configuration": [{"name": PLAN, "digest": {"sha256": self.plan_digest}}],
                    "passedTests": list(self.passed),
                    "warnedTests": list(self.warned),
                    "failedTests": list(self.failed),
                },
            }
        )


def message(payload: bytes) -> bytes:
    """What is really signed: the type and the payload with their lengths (DSSE's pre-authentication encoding)."""
    kind = PAYLOAD_TYPE.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def seal(payload: bytes, signature: Signature) -> bytes:
    """The envelope's file."""
    entry = {"keyid": signature.key_id, "sig": _base64(signature.value)}
    return _canonical({"payload": _base64(payload), "payloadType": PAYLOAD_TYPE, "signatures": [entry]})


def unseal(data: bytes, *, place: str) -> tuple[bytes, Signature]:
    """Payload and signature of an envelope, nothing verified yet. DataError for any but the writer's own form."""
    envelope = _object(data, place=place)
    try:
        payload = base64.b64decode(envelope["payload"], validate=True)
        (entry,) = envelope["signatures"]
        signature = Signature(key_id=str(entry["keyid"]), value=base64.b64decode(entry["sig"], validate=True))
    except (KeyError, TypeError, ValueError, binascii.Error) as error:
        raise DataError(f"{place} is not an envelope with one signature") from error
    if seal(payload, signature) != data:
        raise DataError(f"{place} is not written as an envelope of ours: it was changed after signing")
    return payload, signature


def open_statement(payload: bytes, *, place: str) -> Statement:
    """The statement in a payload whose signature is right. DataError for anything that we would not have signed."""
    found = _object(payload, place=place)
    try:
        subjects = {str(one["name"]): str(one["digest"]["sha256"]) for one in _listed(found["subject"])[:_MAX_SUBJECTS]}
        predicate = found["predicate"]
        (configuration,) = predicate["configuration"]
        statement = Statement(
            subjects=subjects,
            plan_digest=str(configuration["digest"]["sha256"]),
            passed=tuple(str(name) for name in _listed(predicate["passedTests"])),
            warned=tuple(str(name) for name in _listed(predicate["warnedTests"])),
            failed=tuple(str(name) for name in _listed(predicate["failedTests"])),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{place} is not a test-result statement") from error
    if statement.encode() != payload:
        raise DataError(f"{place} says more, or says it otherwise, than a test-result statement of ours does")
    return statement


def _listed(value: object) -> Sequence[Any]:
    if not isinstance(value, list):
        raise TypeError(f"a list was expected, not {type(value).__name__}")
    return value


def _object(data: bytes, *, place: str) -> dict[str, Any]:
    if len(data) > LIMIT_BYTES:
        raise DataError(f"{place} is larger than {LIMIT_BYTES >> 20} MiB")
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{place} is not JSON") from error
    if not isinstance(value, dict):
        raise DataError(f"{place} is not a JSON object")
    return value


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _canonical(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode() + b"\n"
