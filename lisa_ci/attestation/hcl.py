"""The report that Azure keeps in the virtual TPM of a confidential machine, at the NV index 0x01400001.

Format: learn.microsoft.com, "Azure confidential VMs guest attestation design": a header, the hardware's report (of
SEV-SNP, or a TD report of TDX, from which only Azure's service makes a quote), and a text of claims (JSON) with the
TPM's attestation key. The hardware's report carries a hash of the claims, which ties the TPM to the machine.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Final

from lisa_ci.attestation import snp
from lisa_ci.attestation.evidence import Reader, Refused, must_be_zero, shown

MAX_BYTES: Final = 64 << 10
_SIGNATURE: Final = b"HCLA"
_RUNTIME: Final = 2  # type of request
_SNP: Final = 2
_TDX: Final = 4
_HASHES: Final = {1: "sha256", 2: "sha384", 3: "sha512"}
_TD_REPORT_BYTES: Final = 1024
_TD_REPORT_DATA: Final = slice(0x80, 0xC0)  # REPORTMACSTRUCT.REPORTDATA (Intel TDX module ABI)


@dataclass(frozen=True, slots=True, kw_only=True)
class HclReport:
    """``report`` is the hardware's; ``report_data`` what it must carry: the hash of ``claims``, which is JSON."""

    is_snp: bool
    report: bytes
    report_data: bytes
    claims: bytes


def parse_hcl(data: bytes) -> HclReport:
    """The parts; Refused where the hardware's report is not for the claims that come with it."""
    if len(data) > MAX_BYTES:
        raise Refused(f"Azure's report has {len(data)} bytes, more than {MAX_BYTES} are not read")
    reader = Reader(data, "Azure's report")
    signature = reader.take(4, "signature")
    if signature != _SIGNATURE:
        raise Refused(f"Azure's report begins with {shown(signature)}, not with HCLA")
    reader.take(4, "version")
    reader.take(4, "size")
    reader.take(20, "type and reserved")
    report = reader.take(snp.REPORT_BYTES, "hardware's report")
    reader.take(4, "size of the claims' block")
    reader.take(4, "version of the claims")
    kind, digest = reader.number(4, "type of report"), reader.number(4, "type of hash")
    if kind not in {_SNP, _TDX} or digest not in _HASHES:
        raise Refused(f"Azure's report is of type {kind} with the hash {digest}, known are 2 and 4 with {_HASHES}")
    claims = reader.take(reader.number(4, "size of the claims"), "claims")
    must_be_zero(reader.take(reader.left, "rest"), "what follows the claims")
    try:
        if not isinstance(json.loads(claims), dict):
            raise Refused("Azure's claims are no JSON object")
    except (ValueError, RecursionError) as error:
        raise Refused(f"Azure's claims are no JSON: {error}") from error
    wanted = hashlib.new(_HASHES[digest], claims).digest().ljust(64, b"\0")
    has = report[0x50:0x90] if kind == _SNP else report[_TD_REPORT_DATA]
    if has != wanted:
        raise Refused(f"the hardware's report is for {shown(has)}, the claims hash to {shown(wanted)}")
    report = report if kind == _SNP else report[:_TD_REPORT_BYTES]
    return HclReport(is_snp=kind == _SNP, report=report, report_data=wanted, claims=claims)
