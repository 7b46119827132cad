"""Scenario ``confidential``: the machine proves by its processor's report that its memory is closed to its host.

Its cases: ``snp-memory``, ``snp-report``, ``snp-signature``, ``tdx-memory``, ``tdx-quote``. A suite may have any. The
report is asked for with 64 random bytes of this host's and verified here, where the machine has no say. Ways to it, in
this order: the kernel's configfs (Linux 6.7), /dev/sev-guest (5.19, by Perl), Azure's virtual TPM (tpm2-tools).

``CONFIDENTIAL_CERTIFICATES`` is a PEM file of this host with VCEK or VLEK, ASK and ARK; ``CONFIDENTIAL_MEASUREMENT`` is
the expected measurement, hexadecimal. Both are variables of the suite.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from cryptography import x509

from lisa_ci.attestation import chain, hcl, roots, snp, tdx
from lisa_ci.attestation.evidence import Judged, Missing, Refused
from lisa_ci.errors import MachineLostError
from lisa_ci.events import Emit
from lisa_ci.model import Case, Outcome, Result, Suite, Timeouts
from lisa_ci.protocols import Machine, Machines

ASKED_BYTES: Final = 64
_CASES: Final = ("snp-memory", "snp-report", "snp-signature", "tdx-memory", "tdx-quote")
_MAX_PEM_BYTES: Final = 256 << 10
# Hyper-V: the low four bits of group B of the isolation's configuration (hv_isolation_type in Linux).
_ISOLATION: Final = re.compile(r"Isolation Config: Group A 0x[0-9a-f]+, Group B 0x([0-9a-f]+)", re.IGNORECASE)
_ISOLATION_TYPES: Final = {2: "sev-snp", 3: "tdx"}

# stdin: what the report is asked for. One fact a line, NAME=VALUE; the first way that gives a report ends it.
EVIDENCE: Final = r"""
PATH=$PATH:/usr/sbin:/sbin
folder=$(mktemp -d) || exit 1
entry=/sys/kernel/config/tsm/report/lisa-ci
trap 'rmdir "$entry" 2>/dev/null; rm -rf "$folder"' EXIT
cat >"$folder/asked"
pack() { base64 <"$1" | tr -d '\n'; }
dmesg | sed -n -e 's/^\[[^]]*\] *//' -e '/Memory Encryption Features active/s/^/kernel=/p' \
  -e '/Isolation Config/s/^/kernel=/p' -e '/^tdx: Guest detected/s/^/kernel=/p' | head -n 8
report() { # WAY FILE
  [ -s "$2" ] || return 1
  echo "way=$1"
  echo "report=$(pack "$2")"
  echo "end="
  exit 0
}
modprobe -q sev-guest; modprobe -q tdx_guest
[ -d /sys/kernel/config/tsm ] || mount -t configfs none /sys/kernel/config 2>/dev/null
if [ -d /sys/kernel/config/tsm/report ]; then
  rmdir "$entry" 2>/dev/null
  if mkdir "$entry" && dd if="$folder/asked" of="$entry/inblob" bs=64 count=1 2>/dev/null &&
    cat "$entry/outblob" >"$folder/report"; then
    [ ! -r "$entry/auxblob" ] || { cat "$entry/auxblob" >"$folder/table" && echo "table=$(pack "$folder/table")"; }
    report "configfs $(cat "$entry/provider")" "$folder/report"
  fi
fi
if [ -c /dev/sev-guest ] && command -v perl >/dev/null 2>&1; then
  perl -e "$1" "$folder/asked" "$folder/report" "$folder/table" /dev/sev-guest
  [ ! -s "$folder/table" ] || echo "table=$(pack "$folder/table")"
  report sev-guest "$folder/report"
fi
if command -v tpm2_nvread >/dev/null 2>&1 && tpm2_nvreadpublic 0x01400001 >/dev/null 2>&1; then
  tpm2_nvreadpublic 0x01400002 >/dev/null 2>&1 ||
    tpm2_nvdefine -C o 0x01400002 -s 64 -a 'ownerread|ownerwrite' >/dev/null 2>&1
  tpm2_nvwrite -C o 0x01400002 -i "$folder/asked" >/dev/null 2>&1
  sleep 3 # Azure's firmware makes the report anew when it sees the data
  tpm2_nvread -C o 0x01400001 >"$folder/report" 2>/dev/null
  report azure "$folder/report"
fi
echo "end="
"""

# include/uapi/linux/sev-guest.h: requests 2 (with certificates) and 0; a report begins at byte 32 of the answer.
SEV_GUEST: Final = r"""
my ($asked, $report, $table, $device) = @ARGV;
sub address { unpack "Q", pack "p", $_[0] }
sub keep { open my $out, ">:raw", $_[0] or die; print $out $_[1]; close $out }
open my $in, "<:raw", $asked or die; read $in, my $data, 64; close $in;
open my $guest, "+<", $device or die "$device: $!";
my ($answer, $certificates) = ("\0" x 4000, "\0" x 65536);
my $request = pack "a64 L x28", $data, 0;
my $extended = pack "a96 Q L x4", $request, address($certificates), length $certificates;
my $message = pack "C x7 Q Q Q", 1, address($extended), address($answer), 0;
my $done = ioctl $guest, 0xC0205302, $message;
if (!$done) {
  $certificates = "";
  $message = pack "C x7 Q Q Q", 1, address($request), address($answer), 0;
  $done = ioctl $guest, 0xC0205300, $message or die "no report: $!";
}
my ($status, $size) = unpack "L L", $answer;
die "status $status, size $size" if $status != 0 || $size > 3968;
keep($report, substr $answer, 32, $size);
keep($table, $certificates) if $certificates =~ /[^\0]/;
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What the machine told: how it came to the report ('' where to none), and what its kernel says of the memory."""

    kernel: tuple[str, ...] = ()
    way: str = ""
    report: bytes = b""
    table: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """What the report has to carry, and what is known beforehand. ``certificates`` are those of this host."""

    data: bytes
    now: datetime
    measurement: bytes
    certificates: tuple[x509.Certificate, ...]


class ConfidentialScenario:
    """``random`` gives bytes that nobody can guess, ``clock`` the time; ``amd`` and ``intel`` are trusted roots."""

    def __init__(
        self,
        *,
        random: Callable[[int], bytes] = os.urandom,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        amd: frozenset[str] = roots.AMD,
        intel: frozenset[str] = roots.INTEL,
    ) -> None:
        self._random = random
        self._clock = clock
        self._amd = amd
        self._intel = intel

    def run(self, suite: Suite, machines: Machines, *, timeouts: Timeouts, emit: Emit) -> Iterable[Result]:
        """One result for each case. MachineLostError where the machine does not answer to the end."""
        del emit
        cases = list(suite.cases or ())
        known = [case for case in cases if case.id in _CASES]
        for case in cases:
            if case not in known:
                message = f"scenario confidential has no case '{case.id}', only {', '.join(_CASES)}"
                yield _result(case, Outcome.ERRORED, message)
        if not known:
            return
        try:
            asked = _asked(suite.environment, self._random(ASKED_BYTES), self._clock())
        except Refused as refused:
            yield from (_result(case, Outcome.ERRORED, str(refused)) for case in known)
            return
        evidence = _evidence(machines.members[0], asked, timeouts)
        for case in known:
            yield self._judged(case, evidence, asked)

    def _judged(self, case: Case, evidence: Evidence | Refused, asked: _Asked) -> Result:
        try:
            if isinstance(evidence, Refused):
                raise evidence
            judged = self._judge(case.id, evidence, asked)
        except Missing as missing:
            # A host may deliver only the chip's own certificate; a quote of TDX always has its whole chain.
            outcome = Outcome.SKIPPED if case.id == "snp-signature" else Outcome.FAILED
            return _result(case, outcome, f"{missing}; CONFIDENTIAL_CERTIFICATES may give it: not proven")
        except Refused as refused:
            return _result(case, Outcome.FAILED, str(refused))
        lines = [*(f"proven: {text}" for text in judged.proven), *(f"not proven: {text}" for text in judged.open)]
        return _result(case, Outcome.PASSED, "", detail="\n".join(lines))

    def _judge(self, case_id: str, evidence: Evidence, asked: _Asked) -> Judged:
        """What holds; Refused otherwise, Missing where only a certificate is."""
        if case_id.endswith("-memory"):
            return _memory("sev-snp" if case_id.startswith("snp") else "tdx", evidence)
        if not evidence.way:
            raise Refused("the machine gives no report: no configfs-tsm, no /dev/sev-guest (with Perl), no Azure vTPM")
        if case_id == "tdx-quote":
            return self._quote(evidence, asked)
        report, data = _snp_report(evidence, asked.data)
        certificates: Sequence[x509.Certificate] = ()
        if case_id == "snp-signature":
            certificates = [*snp.parse_table(evidence.table), *asked.certificates]
            if not certificates:
                raise Missing("the host gives no certificate of the chip")
        return snp.verify_report(
            report, certificates, report_data=data, now=asked.now, trusted=self._amd, measurement=asked.measurement
        )

    def _quote(self, evidence: Evidence, asked: _Asked) -> Judged:
        if evidence.way == "azure":
            found = hcl.parse_hcl(evidence.report)
            if found.is_snp:
                raise Refused("Azure's virtual TPM has a report of SEV-SNP, not of TDX")
            _check_claims(found.claims, asked.data)
            still = ("the signature: only Azure's service makes a quote of this report",)
            return Judged(proven=("the TD report is for the claims, which carry what was asked for",), open=still)
        return tdx.verify_quote(
            evidence.report,
            report_data=asked.data,
            now=asked.now,
            trusted=self._intel,
            measurement=asked.measurement,
        )


# ---- asking --------------------------------------------------------------------------------------------------------


def _asked(environment: Mapping[str, str], data: bytes, now: datetime) -> _Asked:
    """Refused where a variable of the suite is wrong."""
    path, measurement = (
        environment.get("CONFIDENTIAL_CERTIFICATES", ""),
        environment.get("CONFIDENTIAL_MEASUREMENT", ""),
    )
    if measurement and not re.fullmatch(r"[0-9a-fA-F]{96}", measurement):
        raise Refused(f"CONFIDENTIAL_MEASUREMENT has {len(measurement)} characters, 96 hexadecimal digits are wanted")
    certificates: Sequence[x509.Certificate] = ()
    if path:
        try:
            with Path(path).open("rb") as file:
                certificates = chain.read_pem(file.read(_MAX_PEM_BYTES), f"CONFIDENTIAL_CERTIFICATES={path}")
        except OSError as error:
            raise Refused(f"CONFIDENTIAL_CERTIFICATES={path}: {error.strerror}") from error
    return _Asked(data=data, now=now, measurement=bytes.fromhex(measurement), certificates=tuple(certificates))


def _evidence(machine: Machine, asked: _Asked, timeouts: Timeouts) -> Evidence | Refused:
    completed = machine.run("sh", "-c", EVIDENCE, "evidence", SEV_GUEST, timeout=timeouts.case, stdin=asked.data)
    text = completed.output.decode("utf-8", "replace")
    if "\nend=" not in f"\n{text}":
        how = "in time" if completed.is_timed_out else f"(exit {completed.exit})"
        raise MachineLostError(f"{machine.name} did not give its evidence {how}: {text[-200:]}")
    try:
        return read_evidence(text)
    except Refused as refused:
        return refused


def read_evidence(text: str) -> Evidence:
    """What ``EVIDENCE`` printed; Refused for a report that is no base64."""
    given: dict[str, list[str]] = {}
    for line in text.split("\n"):
        name, _, value = line.partition("=")
        given.setdefault(name, []).append(value)
    last = {name: values[-1] for name, values in given.items()}
    return Evidence(
        kernel=tuple(value[:500] for value in given.get("kernel", ())[:8]),
        way=last.get("way", "").strip()[:100],
        report=_bytes(last.get("report", "")),
        table=_bytes(last.get("table", "")),
    )


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise Refused(f"the machine's answer is no base64: {error}") from error


# ---- judging -------------------------------------------------------------------------------------------------------


def _kinds(lines: Iterable[str]) -> Iterator[str]:
    """The kinds of confidential machine that the kernel says it is."""
    for line in lines:
        if found := _ISOLATION.search(line):
            yield _ISOLATION_TYPES.get(int(found[1], 16) & 0xF, "")
        elif "SEV-SNP" in line:
            yield "sev-snp"
        elif "TDX" in line or line.startswith("tdx: Guest"):
            yield "tdx"


def _memory(wanted: str, evidence: Evidence) -> Judged:
    if wanted not in _kinds(evidence.kernel):
        said = "; ".join(evidence.kernel) or "nothing of encrypted memory"
        raise Refused(f"the kernel does not say that it is a guest of {wanted}, it says: {said}")
    return Judged(proven=evidence.kernel, open=("this is the machine's own word; the report is what proves it",))


def _snp_report(evidence: Evidence, asked: bytes) -> tuple[bytes, bytes]:
    """The report, and what it has to carry: what was asked for, or the hash of claims that carry it."""
    if evidence.way != "azure":
        return evidence.report, asked
    found = hcl.parse_hcl(evidence.report)
    if not found.is_snp:
        raise Refused("Azure's virtual TPM has a report of TDX, not of SEV-SNP")
    _check_claims(found.claims, asked)
    return found.report, found.report_data


def _check_claims(claims: bytes, asked: bytes) -> None:
    given = json.loads(claims).get("user-data", "")
    if not isinstance(given, str) or given.lower() != asked.hex():
        raise Refused(f"Azure's claims carry '{str(given)[:48]}', asked was for {asked.hex()[:48]}")


def _result(case: Case, outcome: Outcome, message: str, *, detail: str = "") -> Result:
    return Result(
        suite=case.suite,
        case=case.id,
        title=case.title,
        outcome=outcome,
        message=" ".join(message.split())[:500],
        detail=detail[:16_384],
    )
