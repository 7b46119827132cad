"""Scenario ``measured-boot``: what was measured into the TPM is what was logged, judged on the host.

Its cases: ``log`` (it can be read), ``sha1`` and ``sha256`` (it replays to the PCRs of the bank), ``event-data``,
``separators``, ``secure-boot`` (PCR 7 has the variables of now), ``ima-aggregate`` and ``ima-list`` (the kernel's own
measurements). A suite may have any. The machine is asked once; all of its answer is hostile input.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from lisa_ci.attestation import event_log, ima, systemd_log
from lisa_ci.attestation.event_log import EventLog
from lisa_ci.attestation.evidence import Refused, shown
from lisa_ci.attestation.systemd_log import Extension
from lisa_ci.errors import MachineLostError
from lisa_ci.events import Emit
from lisa_ci.model import Case, Outcome, Result, Suite, Timeouts
from lisa_ci.protocols import Machine, Machines

_SEPARATED: Final = range(8)
_VARIABLES: Final = ("SecureBoot", "PK", "KEK", "db", "dbx")
_MAX_VALUE_BYTES: Final = 4 << 20  # of what one line unpacks to, beside the logs

# One fact a line: NAME=VALUE. PCR 10 grows while files are opened: it is read before and after the list.
FACTS: Final = r"""
pack() { gzip -c <"$1" | base64 | tr -d '\n'; }
kernel=/sys/kernel/security
tpm=/sys/class/tpm/tpm0
[ -e "$kernel/ima" ] || [ -e "$kernel/tpm0" ] || mount -t securityfs none "$kernel" 2>/dev/null
[ ! -r "$kernel/tpm0/binary_bios_measurements" ] || echo "log=$(pack "$kernel/tpm0/binary_bios_measurements")"
[ ! -r /run/log/systemd/tpm2-measure.log ] || echo "systemd=$(pack /run/log/systemd/tpm2-measure.log)"
for file in /sys/firmware/efi/efivars/StubInfo-4a67b082-*; do [ ! -e "$file" ] || echo stub=; done
for bank in sha1 sha256; do
  for file in "$tpm/pcr-$bank"/*; do
    [ ! -r "$file" ] || echo "pcr=$bank ${file##*/} $(cat "$file")"
  done
done
for name in SecureBoot PK KEK db dbx; do
  for file in /sys/firmware/efi/efivars/"$name"-8be4df61-* /sys/firmware/efi/efivars/"$name"-d719b2cb-*; do
    [ ! -r "$file" ] || echo "variable=$name $(pack "$file")"
  done
done
list=$kernel/ima/binary_runtime_measurements
if [ -r "$list" ]; then
  folder=$(mktemp -d) || exit 1
  trap 'rm -rf "$folder"' EXIT
  for try in 1 2 3 4 5; do
    before=$(cat "$tpm"/pcr-*/10 2>/dev/null)
    cat "$list" >"$folder/list"
    [ "$before" != "$(cat "$tpm"/pcr-*/10 2>/dev/null)" ] || break
  done
  echo "ima=$(pack "$folder/list")"
  for bank in sha1 sha256; do
    [ ! -r "$tpm/pcr-$bank/10" ] || echo "pcr=$bank 10 $(cat "$tpm/pcr-$bank/10")"
  done
fi
echo "end="
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the machine told. The logs are None where it has none; a variable's value is bare.

    ``has_stub``: systemd's stub started the kernel.
    """

    log: bytes | None = None
    systemd_log: bytes | None = None
    has_stub: bool = False
    ima_list: bytes | None = None
    pcrs: Mapping[str, Mapping[int, bytes]] = field(default_factory=dict)
    variables: Mapping[str, bytes] = field(default_factory=dict)


class MeasuredBootScenario:
    def run(self, suite: Suite, machines: Machines, *, timeouts: Timeouts, emit: Emit) -> Iterable[Result]:
        """One result for each case. MachineLostError where the machine does not tell its facts to their end."""
        del emit
        facts: Facts | Refused | None = None
        for case in suite.cases or ():
            check = _CHECKS.get(case.id)
            if check is None:
                message = f"scenario measured-boot has no case '{case.id}', only {', '.join(_CHECKS)}"
                yield _result(case, Outcome.ERRORED, message)
                continue
            if facts is None:
                facts = _facts(machines.members[0], timeouts)
            yield _judged(case, check, facts)


def _facts(machine: Machine, timeouts: Timeouts) -> Facts | Refused:
    completed = machine.run("sh", "-c", FACTS, timeout=timeouts.case)
    text = completed.output.decode("utf-8", "replace")
    if "\nend=" not in f"\n{text}":
        how = "in time" if completed.is_timed_out else f"(exit {completed.exit})"
        raise MachineLostError(f"{machine.name} did not tell what it measured {how}: {text[-200:]}")
    try:
        return read_facts(text)
    except Refused as refused:
        return refused


def read_facts(text: str) -> Facts:
    """The facts in what ``FACTS`` printed; Refused for a line that cannot be unpacked."""
    log: bytes | None = None
    systemd: bytes | None = None
    has_stub = False
    ima_list: bytes | None = None
    pcrs: dict[str, dict[int, bytes]] = {}
    variables: dict[str, bytes] = {}
    for line in text.split("\n"):
        name, _, value = line.partition("=")
        match name:
            case "log":
                log = _unpacked(value, event_log.MAX_LOG_BYTES)
            case "systemd":
                systemd = _unpacked(value, systemd_log.MAX_LOG_BYTES)
            case "stub":
                has_stub = True
            case "ima":
                ima_list = _unpacked(value, ima.MAX_LIST_BYTES)
            case "pcr":
                bank, number, digits = (*value.split(), "", "", "")[:3]
                if number.isascii() and number.isdigit() and len(number) <= 2:
                    pcrs.setdefault(bank, {})[int(number)] = _digest(digits)
            case "variable":
                variable, _, packed = value.partition(" ")
                variables[variable] = _unpacked(packed, _MAX_VALUE_BYTES)[4:]  # its attributes come first
            case _:
                pass
    return Facts(log=log, systemd_log=systemd, has_stub=has_stub, ima_list=ima_list, pcrs=pcrs, variables=variables)


def _unpacked(text: str, limit: int) -> bytes:
    try:
        packed = base64.b64decode(text, validate=True)
        unpacker = zlib.decompressobj(wbits=31)
        data = unpacker.decompress(packed, limit + 1)
    except (binascii.Error, zlib.error) as error:
        raise Refused(f"the machine's answer cannot be unpacked: {error}") from error
    if not unpacker.eof or len(data) > limit:
        raise Refused(f"the machine's answer is cut, or unpacks to more than {limit} bytes")
    return data


def _digest(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError as error:
        raise Refused(f"a PCR is '{text[:80]}', no hexadecimal number") from error


# ---- the cases: what is wrong; _Skip where the machine has not what they are about ---------------------------------


class _Skip(Exception):
    """Why there is nothing to judge."""


def _log(facts: Facts) -> EventLog:
    if facts.log is None:
        raise Refused("the kernel has no event log (/sys/kernel/security/tpm0/binary_bios_measurements)")
    if not facts.log:
        raise Refused("the event log is empty")
    return event_log.parse_event_log(facts.log)


def _check_log(facts: Facts) -> list[str]:
    log = _log(facts)
    return [] if any(event.is_extended for event in log.events) else ["the event log has no event that extends a PCR"]


def _check_bank(bank: str) -> Callable[[Facts], list[str]]:
    def check(facts: Facts) -> list[str]:
        log = _log(facts)
        if not facts.pcrs:
            raise _Skip("the kernel does not tell the PCRs (Linux 5.12 does)")
        if bank not in facts.pcrs:
            if bank == "sha256":
                return ["the TPM has no bank of sha256"]
            raise _Skip(f"the TPM has no bank of {bank}")
        if bank not in log.banks:
            return [f"the log has no digests of {bank}, and the TPM has such a bank"]
        return list(event_log.differences(log, bank, facts.pcrs[bank], _later(log, bank, facts)))

    return check


def _later(log: EventLog, bank: str, facts: Facts) -> Sequence[Extension]:
    """What systemd extended since the firmware's log ended: by its own log, else as far as its phases explain it."""
    if facts.systemd_log is not None:
        found = systemd_log.parse_systemd_log(facts.systemd_log)
        if any(bank not in extension.digests for extension in found):
            raise Refused(f"systemd's log has no digests of {bank}, and the TPM has such a bank")
        return found
    if not facts.has_stub:
        return ()
    has = facts.pcrs[bank].get(systemd_log.PHASE_PCR)
    explained = (
        phases
        for phases in systemd_log.possible_phases()
        if event_log.replay(log, bank, phases).get(systemd_log.PHASE_PCR) == has
    )
    return next(explained, ())


def _check_separators(facts: Facts) -> list[str]:
    found = event_log.separators(_log(facts))
    wrong = {pcr: found.get(pcr, ()) for pcr in _SEPARATED if list(found.get(pcr, ())) != [bytes(4)]}
    return [
        f"PCR {pcr} has the separators {', '.join(map(shown, data)) or 'none'}, not one of zeroes"
        for pcr, data in wrong.items()
    ]


def _check_secure_boot(facts: Facts) -> list[str]:
    measured: dict[str, bytes] = {}
    for variable in event_log.driver_variables(_log(facts)):
        measured.setdefault(variable.name, variable.data)
    if "SecureBoot" not in measured:
        return ["PCR 7 has no measurement of the variable SecureBoot"]
    if "SecureBoot" not in facts.variables:
        return ["the firmware gives no variable SecureBoot, and one was measured"]
    return [
        f"{name} was measured as {shown(measured[name]) or 'nothing'}, now it is {shown(now) or 'nothing'}"
        for name in _VARIABLES
        if name in measured and (now := facts.variables.get(name, b"")) != measured[name]
    ]


def _ima(facts: Facts) -> bytes:
    if not facts.ima_list:
        raise _Skip("the kernel measures no files (IMA is not built in or not active)")
    return facts.ima_list


def _check_aggregate(facts: Facts) -> list[str]:
    bank, value = ima.boot_aggregate(ima.parse_measurements(_ima(facts)))
    pcrs = facts.pcrs.get(bank, {})
    if any(pcr not in pcrs for pcr in range(10)):
        raise _Skip(f"the kernel's hash is over the bank {bank[:20]}, whose PCRs are not told")
    wanted = ima.expected_aggregate(bank, pcrs)
    if value in wanted:
        return []
    return [f"the boot aggregate ({bank}) is {shown(value)}, the PCRs hash to {shown(wanted[0])}"]


def _check_list(facts: Facts) -> list[str]:
    entries = ima.parse_measurements(_ima(facts))
    told = {bank: values[ima.PCR] for bank, values in facts.pcrs.items() if ima.PCR in values}
    if not told:
        raise _Skip("the kernel does not tell PCR 10")
    return [
        f"PCR 10 ({bank}) is {shown(value)}, the list of {len(entries)} entries replays to {shown(replayed)}"
        for bank, value in told.items()
        if (replayed := ima.replay(entries, bank)) != value
    ]


_CHECKS: Final[Mapping[str, Callable[[Facts], list[str]]]] = {
    "log": _check_log,
    "sha1": _check_bank("sha1"),
    "sha256": _check_bank("sha256"),
    "event-data": lambda facts: list(event_log.untrue_data(_log(facts))),
    "separators": _check_separators,
    "secure-boot": _check_secure_boot,
    "ima-aggregate": _check_aggregate,
    "ima-list": _check_list,
}


def _judged(case: Case, check: Callable[[Facts], list[str]], facts: Facts | Refused) -> Result:
    try:
        if isinstance(facts, Refused):
            raise facts
        found = check(facts)
    except _Skip as skip:
        return _result(case, Outcome.SKIPPED, str(skip))
    except Refused as refused:
        return _result(case, Outcome.FAILED, str(refused))
    if not found:
        return _result(case, Outcome.PASSED, "")
    return _result(case, Outcome.FAILED, found[0], detail="\n".join(found))


def _result(case: Case, outcome: Outcome, message: str, *, detail: str = "") -> Result:
    return Result(
        suite=case.suite,
        case=case.id,
        title=case.title,
        outcome=outcome,
        message=" ".join(message.split())[:500],
        detail=detail[:16_384],
    )
