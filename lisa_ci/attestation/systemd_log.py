"""What systemd measures while it runs, which is in no log of the firmware's: phases in PCR 11, identities in PCR 15.

It does so only where its stub started the kernel (a unified kernel image). Newer versions keep a log of their own,
/run/log/systemd/tpm2-measure.log: a JSON text sequence (RFC 7464) of records as TCG's Canonical Event Log has them
(systemd's page "TPM2 PCR Measurements Made by systemd"). Older ones keep none; of them the phases are known, since what
is extended is the hash of the phase's name (systemd-pcrphase.service(8)).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from lisa_ci.attestation.evidence import Refused

MAX_LOG_BYTES: Final = 4 << 20
PHASE_PCR: Final = 11
_PCRS: Final = range(24)
_PHASES: Final = ("enter-initrd", "leave-initrd", "sysinit", "ready")
_STARTS: Final = (0, 2)  # an initrd without systemd has no phases


@dataclass(frozen=True, slots=True, kw_only=True)
class Extension:
    """``digests`` maps the name of a hash to what went into that bank."""

    pcr: int
    digests: Mapping[str, bytes]


def parse_systemd_log(data: bytes) -> Sequence[Extension]:
    """The log's records about PCRs, without those about a TPM's NV indexes; Refused for what is not in this form."""
    if len(data) > MAX_LOG_BYTES:
        raise Refused(f"systemd's log has {len(data)} bytes, more than {MAX_LOG_BYTES} are not read")
    found = []
    for number, text in enumerate(filter(bytes.strip, data.split(b"\x1e")), start=1):
        try:
            record = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise Refused(f"record {number} of systemd's log is no JSON: {error}") from error
        if not isinstance(record, dict):
            raise Refused(f"record {number} of systemd's log is no object")
        if "pcr" in record:
            found.append(_extension(record, number))
    return found


def _extension(record: Mapping[str, Any], number: int) -> Extension:
    pcr, digests = record["pcr"], record.get("digests")
    if not isinstance(pcr, int) or pcr not in _PCRS or not isinstance(digests, list):
        raise Refused(f"record {number} of systemd's log has the PCR {str(pcr)[:20]!r}, or no digests")
    try:
        return Extension(pcr=pcr, digests={str(one["hashAlg"]): bytes.fromhex(one["digest"]) for one in digests})
    except (KeyError, TypeError, ValueError) as error:
        raise Refused(f"record {number} of systemd's log has a digest that cannot be read") from error


def possible_phases() -> Iterator[Sequence[Extension]]:
    """What a systemd without a log may have extended by now, from nothing to all phases of a start."""
    for start in _STARTS:
        for end in range(start, len(_PHASES) + 1):
            yield [_phase(name) for name in _PHASES[start:end]]


def _phase(name: str) -> Extension:
    banks = ("sha1", "sha256")
    return Extension(pcr=PHASE_PCR, digests={bank: hashlib.new(bank, name.encode()).digest() for bank in banks})
