"""Scenario ``reboot``: a machine is rebooted twice, and must come back as it was.

Its cases: ``warm`` (a new boot, in time), ``state`` (no unit has failed that had not before), ``disks`` (the same disks
and file systems), ``clock`` (the clock did not jump), ``repeat`` (all of that a second time). A suite may have any.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from lisa_ci.errors import MachineLostError
from lisa_ci.events import Emit, Message
from lisa_ci.model import Case, Outcome, Result, Suite, Timeouts
from lisa_ci.protocols import Machine, Machines

CLOCK_TOLERANCE: Final = timedelta(seconds=5)
_UPTIME_SLACK_S: Final = 5
_TEXT_LIMIT: Final = 64 * 1024  # bytes of a machine's facts that are read
_GOOD_STATES: Final = ("running", "degraded")  # what failed in a degraded system is compared unit by unit

# One fact a line. The clock comes first: waiting for the end of the boot must not count.
FACTS: Final = """\
echo "now=$(date +%s)"
read -r up rest </proc/uptime
echo "uptime=${up%%.*}"
echo "boot=$(cat /proc/sys/kernel/random/boot_id)"
if [ -d /run/systemd/system ]; then
  timeout "$1" systemctl is-system-running --wait >/dev/null 2>&1
  echo "state=$(systemctl is-system-running 2>/dev/null)"
  systemctl list-units --state=failed --plain --no-legend --no-pager |
    while read -r unit rest; do echo "failed=$unit"; done
fi
for disk in /sys/block/*; do
  name=${disk##*/}
  case $name in loop* | ram* | zram* | sr* | fd* | dm-* | md*) continue ;; esac
  serial=$(cat "$disk/serial" "$disk/device/serial" 2>/dev/null)
  [ -n "$serial" ] || serial=$(dd if="$disk/device/vpd_pg80" bs=1 skip=4 2>/dev/null | tr -d '\\0')
  echo "disk=${serial:-without a serial number}, $(cat "$disk/size") sectors"
done
for link in /dev/disk/by-uuid/*; do
  [ -e "$link" ] && echo "disk=file system ${link##*/}"
done
echo "end="
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a machine says about itself at one moment. ``offset_s``: its clock minus the host's."""

    boot: str
    uptime_s: int
    offset_s: float
    state: str
    failed: frozenset[str]
    disks: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reboot:
    """One reboot: how it was before and after, and how long the machine was away."""

    before: Facts
    after: Facts
    away: timedelta


class RebootScenario:
    """``clock`` (seconds since 1970) and ``stopwatch`` (seconds, monotonic) are the host's."""

    def __init__(
        self, *, clock: Callable[[], float] = time.time, stopwatch: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._stopwatch = stopwatch

    def run(self, suite: Suite, machines: Machines, *, timeouts: Timeouts, emit: Emit) -> Iterable[Result]:
        """One result for each case. What the machine's death leaves open is ERRORED, its not coming back is FAILED."""
        open_cases = {case.id: case for case in suite.cases or ()}
        for case_id in [case_id for case_id in open_cases if case_id not in _CHECKS]:
            known = ", ".join(_CHECKS)
            yield _result(
                open_cases.pop(case_id), Outcome.ERRORED, f"scenario reboot has no case '{case_id}', only {known}"
            )
        if not open_cases:
            return
        machine = machines.members[0]
        try:
            before = self._facts(machine, timeouts)
        except MachineLostError as error:
            yield from _rest(open_cases, f"the machine was lost before the first reboot: {error.message}")
            return
        for number, ids in enumerate((_FIRST, _SECOND), 1):
            if not any(case_id in open_cases for case_id in (*ids, *_SECOND)):
                return
            emit(Message(text=f"reboot {number} of {machine.name}", place=suite.name))
            said = f"did not come back within {timeouts.boot.total_seconds():.0f} s"
            started = self._stopwatch()
            try:
                machine.reboot(timeout=timeouts.boot)
                away = timedelta(seconds=self._stopwatch() - started)
                said = f"came back after {away.total_seconds():.0f} s and was lost again"
                reboot = _Reboot(before=before, after=self._facts(machine, timeouts), away=away)
            except MachineLostError as error:
                yield from _lost(open_cases, ids[0], said, error)
                return
            for case_id in ids:
                if case_id in open_cases:
                    yield _judged(open_cases.pop(case_id), reboot, _CHECKS[case_id](reboot))
            before = reboot.after

    def _facts(self, machine: Machine, timeouts: Timeouts) -> Facts:
        wait = max(1, min(120, int(timeouts.case.total_seconds()) - 10))
        host = self._clock()
        completed = machine.run("sh", "-c", FACTS, "facts", str(wait), timeout=timeouts.case)
        text = completed.output[:_TEXT_LIMIT].decode("utf-8", "replace")
        if completed.exit != 0 or "\nend=" not in f"\n{text}":
            how = "in time" if completed.is_timed_out else f"(exit {completed.exit})"
            raise MachineLostError(f"{machine.name} did not tell its state {how}: {' '.join(text.split())[-200:]}")
        return read_facts(text, host)


def read_facts(text: str, host_time: float) -> Facts:
    """The facts in what ``FACTS`` printed, however wrong; numbers that are none are 0."""
    given: dict[str, list[str]] = {}
    for line in text.split("\n"):
        name, _, value = line.partition("=")
        given.setdefault(name, []).append(value.strip()[:200])
    return Facts(
        boot=given.get("boot", [""])[0],
        uptime_s=_number(given.get("uptime", [""])[0]),
        offset_s=_number(given.get("now", [""])[0]) - host_time,
        state=given.get("state", [""])[0],
        failed=frozenset(given.get("failed", ())),
        disks=tuple(sorted(given.get("disk", ()))),
    )


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 12 else 0


# ---- the cases: what is wrong after a reboot ------------------------------------------------------------------------


def _check_boot(reboot: _Reboot) -> Iterator[str]:
    if not reboot.after.boot or reboot.after.boot == reboot.before.boot:
        yield "the machine answers and is still in the same boot"
    elif reboot.after.uptime_s > reboot.away.total_seconds() + _UPTIME_SLACK_S:
        yield f"up for {reboot.after.uptime_s} s, although the reboot was only {reboot.away.total_seconds():.0f} s ago"


def _check_state(reboot: _Reboot) -> Iterator[str]:
    if new := sorted(reboot.after.failed - reboot.before.failed):
        yield f"failed since the reboot: {', '.join(new[:10])}"
    if reboot.after.state != reboot.before.state and reboot.after.state not in _GOOD_STATES:
        yield f"the system was {reboot.before.state or 'without systemd'}, now it is {reboot.after.state or 'without'}"


def _check_disks(reboot: _Reboot) -> Iterator[str]:
    before, after = set(reboot.before.disks), set(reboot.after.disks)
    for what, these in (("gone", before - after), ("new", after - before)):
        if these:
            yield f"{what}: {'; '.join(sorted(these)[:5])}"
    if before == after and len(reboot.before.disks) != len(reboot.after.disks):
        yield f"{len(reboot.before.disks)} disks and file systems before, {len(reboot.after.disks)} after"
    if not reboot.before.disks:
        yield "the machine shows no disk"


def _check_clock(reboot: _Reboot) -> Iterator[str]:
    jump = reboot.after.offset_s - reboot.before.offset_s
    if abs(jump) > CLOCK_TOLERANCE.total_seconds():
        yield f"the clock jumped by {jump:+.0f} s against the host's"


def _check_all(reboot: _Reboot) -> Iterator[str]:
    for check in (_check_boot, _check_state, _check_disks, _check_clock):
        yield from check(reboot)


_FIRST: Final = ("warm", "state", "disks", "clock")
_SECOND: Final = ("repeat",)
_CHECKS: Final[dict[str, Callable[[_Reboot], Iterator[str]]]] = {
    "warm": _check_boot,
    "state": _check_state,
    "disks": _check_disks,
    "clock": _check_clock,
    "repeat": _check_all,
}


# ---- results -------------------------------------------------------------------------------------------------------


def _judged(case: Case, reboot: _Reboot, problems: Iterable[str]) -> Result:
    found = list(problems)
    wall = reboot.away if case.id in {"warm", "repeat"} else timedelta()
    if not found:
        return _result(case, Outcome.PASSED, "", wall=wall)
    detail = f"before: {reboot.before}\nafter {reboot.away.total_seconds():.1f} s: {reboot.after}\n"
    return _result(case, Outcome.FAILED, "; ".join(found), wall=wall, detail=detail)


def _lost(cases: dict[str, Case], judging: str, said: str, error: MachineLostError) -> Iterator[Result]:
    """The image was judged by the case that is about coming back; for all others nothing is known."""
    if judging in cases:
        yield _result(cases.pop(judging), Outcome.FAILED, f"{said}: {error.message}", detail=error.hint)
    yield from _rest(cases, f"the machine {said}: {error.message}")


def _rest(cases: dict[str, Case], message: str) -> Iterator[Result]:
    for case in cases.values():
        yield _result(case, Outcome.ERRORED, message)


def _result(case: Case, outcome: Outcome, message: str, *, wall: timedelta = timedelta(), detail: str = "") -> Result:
    return Result(
        suite=case.suite,
        case=case.id,
        title=case.title,
        outcome=outcome,
        message=" ".join(message.split())[:500],
        detail=detail,
        wall=wall,
    )
