"""Scenario ``hotplug``: a disk and a NIC come and go while the machine writes and verifies data.

Its cases: ``disk-appears``, ``disk-keeps-data``, ``disk-leaves``, ``nic-appears``, ``nic-leaves`` (one round),
``load-goes-on`` (what ran meanwhile), ``repeat`` (two rounds more). A suite may have any.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from lisa_ci.errors import MachineLostError, ProvisioningError
from lisa_ci.events import Emit, Message
from lisa_ci.model import Case, Outcome, Result, Suite, Timeouts
from lisa_ci.protocols import Machine, Machines, SupportsHotPlug

DISK_MIB: Final = 64
APPEARS: Final = timedelta(seconds=30)
LEAVES: Final = timedelta(seconds=30)
_SECTORS: Final = DISK_MIB * 2048
_SHORT: Final = timedelta(seconds=60)
_FOLDER: Final = "/var/tmp/lisa-ci-hotplug"  # noqa: S108  in the machine, and removed at the end
_ROUND: Final = ("disk-appears", "disk-keeps-data", "disk-leaves", "nic-appears", "nic-leaves")
_CASES: Final = (*_ROUND, "load-goes-on", "repeat")

# $1 "there" or "gone", $2 seconds to wait, $3 serial number or address. Prints NAME VALUE of what is there: the value
# is the size in sectors of a disk, the state of a NIC.
WATCH: Final = r"""
now() { read -r up rest </proc/uptime; up=${up%%.*}; }
look() { # FILE...: the one that says $wanted
  for file; do
    said=
    read -r said <"$file" 2>/dev/null || :
    [ "$said" != "$wanted" ] || { place=${file%/*}; return 0; }
  done
  return 1
}
state=$1 wanted=$3 value=
now; end=$((up + $2))
while :; do
  if look /sys/block/*/serial; then read -r value <"$place/size"; found=there
  elif look /sys/class/net/*/address; then read -r value <"$place/operstate"; found=there
  else place=- found=gone; fi
  [ "$found" != "$state" ] || { echo "${place##*/} $value"; exit 0; }
  now; [ "$up" -lt "$end" ] || exit 1
  sleep 1
done
"""

# $1 the disk's name. The page cache is dropped in between, so that the disk itself answers.
VERIFY: Final = r"""
set -e
folder=$(mktemp -d /var/tmp/lisa-ci-hot.XXXXXX)
trap 'rm -rf "$folder"' EXIT
dd if=/dev/urandom of="$folder/wanted" bs=1048576 count=8 2>/dev/null
dd if="$folder/wanted" of="/dev/$1" bs=1048576 2>&1 | tail -n 1
sync
echo 1 >/proc/sys/vm/drop_caches
dd if="/dev/$1" of="$folder/found" bs=1048576 count=8 2>/dev/null
cmp "$folder/wanted" "$folder/found"
"""

# $1 the address. udev renames a new card, and cannot once it is up.
BRING_UP: Final = r"""
PATH=$PATH:/usr/sbin:/sbin
! command -v udevadm >/dev/null 2>&1 || udevadm settle --timeout=20
for try in 1 2 3 4 5 6 7 8 9 10; do
  for file in /sys/class/net/*/address; do
    said=
    read -r said <"$file" 2>/dev/null || :
    [ "$said" = "$1" ] || continue
    name=${file%/*}
    ip link set "${name##*/}" up && exit 0
  done
  sleep 1
done
exit 1
"""

# $1 its folder. It runs until the folder is gone, and tells how often it compared, and what was wrong.
LOAD: Final = r"""
rm -rf "$1"
mkdir "$1" || exit 1
(
  trap '' HUP
  count=0
  cd "$1" || exit 1
  while [ -e "$1" ]; do
    dd if=/dev/urandom of=wanted bs=65536 count=16 2>>errors && cp wanted found && sync &&
      echo 1 >/proc/sys/vm/drop_caches && cmp wanted found >>wrong 2>&1 || echo "not the same" >>wrong
    count=$((count + 1))
    echo "$count" >count.new && mv count.new count
  done
) >/dev/null 2>&1 </dev/null &
"""
# The folder is moved away first, so that what still runs in it ends.
STOP: Final = r"""
mv "$1" "$1.gone"
tries=0
until rm -rf "$1.gone" 2>/dev/null && [ ! -e "$1.gone" ]; do
  [ "$((tries += 1))" -lt 30 ] || exit 1
  sleep 1
done
"""
PROGRESS: Final = r"""read -r count <"$1/count"; echo "${count:-0}"; [ ! -s "$1/wrong" ] || head -n 3 "$1/wrong" """


@dataclass(frozen=True, slots=True, kw_only=True)
class _Judged:
    """How one step ended. ``message`` is empty for what passed."""

    outcome: Outcome = Outcome.PASSED
    message: str = ""
    wall: timedelta = timedelta()


class HotplugScenario:
    """``stopwatch`` (seconds, monotonic) is the host's."""

    def __init__(self, *, stopwatch: Callable[[], float] = time.monotonic) -> None:
        self._stopwatch = stopwatch

    def run(self, suite: Suite, machines: Machines, *, timeouts: Timeouts, emit: Emit) -> Iterable[Result]:
        """One result for each case. MachineLostError where the machine goes away: nothing tells what did it."""
        del timeouts
        cases = {case.id: case for case in suite.cases or ()}
        for case_id in [case_id for case_id in cases if case_id not in _CASES]:
            message = f"scenario hotplug has no case '{case_id}', only {', '.join(_CASES)}"
            yield _result(cases.pop(case_id), _errored(message))
        if not isinstance(machines, SupportsHotPlug):
            for case in cases.values():
                yield _result(case, _errored("these machines take no hardware while they run"))
            return
        if cases:
            yield from self._with_load(cases, machines, emit)

    def _with_load(self, cases: Mapping[str, Case], group: Machines, emit: Emit) -> Iterator[Result]:
        machine = group.members[0]
        machine.run("sh", "-c", LOAD, "load", _FOLDER, timeout=_SHORT)
        try:
            for case_id, judged in self._judge(cases, group, machine, emit):
                if case_id in cases:
                    yield _result(cases[case_id], judged)
            if "load-goes-on" in cases:
                yield _result(cases["load-goes-on"], self._load(machine))
        finally:
            machine.run("sh", "-c", STOP, "stop", _FOLDER, timeout=_SHORT)

    def _judge(
        self, cases: Mapping[str, Case], group: Machines, machine: Machine, emit: Emit
    ) -> Iterator[tuple[str, _Judged]]:
        """The first round case by case, and two more as one."""
        if any(case_id in cases for case_id in (*_ROUND, "load-goes-on")):
            yield from self._round(group, machine)
        if "repeat" not in cases:
            return
        began = self._stopwatch()
        for number in (2, 3):
            emit(Message(text=f"round {number} of plugging {machine.name}"))
            bad = [(case_id, judged) for case_id, judged in self._round(group, machine) if judged.message]
            if bad:
                case_id, judged = bad[0]
                yield "repeat", _Judged(outcome=judged.outcome, message=f"round {number}, {case_id}: {judged.message}")
                return
        yield "repeat", _Judged(wall=timedelta(seconds=self._stopwatch() - began))

    def _round(self, group: Machines, machine: Machine) -> Iterator[tuple[str, _Judged]]:
        assert isinstance(group, SupportsHotPlug)  # noqa: S101  checked by who calls
        yield from self._disk(group, machine)
        yield from self._nic(group, machine)

    def _disk(self, group: SupportsHotPlug, machine: Machine) -> Iterator[tuple[str, _Judged]]:
        serial = ""

        def appears() -> str:
            nonlocal serial
            serial = group.add_disk(machine, size_mib=DISK_MIB)
            name, size = _watch(machine, "there", serial)
            if not name:
                return f"a disk was plugged in, and {serial} is not there within {APPEARS.seconds} s"
            return "" if size == str(_SECTORS) else f"{name} has {size[:20]} sectors, not {_SECTORS}"

        def keeps_data() -> str:
            name, _ = _watch(machine, "there", serial)
            done = machine.run("sh", "-c", VERIFY, "verify", name, timeout=_SHORT)
            return "" if done.exit == 0 else f"{name}: {_said(done.output) or f'exit {done.exit}'}"

        yield from self._steps(
            ("disk-appears", appears),
            ("disk-keeps-data", keeps_data),
            ("disk-leaves", lambda: _leaves(group, machine, serial)),
        )

    def _nic(self, group: SupportsHotPlug, machine: Machine) -> Iterator[tuple[str, _Judged]]:
        address = ""

        def appears() -> str:
            nonlocal address
            address = group.add_nic(machine)
            name, _ = _watch(machine, "there", address)
            if not name:
                return f"a NIC was plugged in, and {address} is not there within {APPEARS.seconds} s"
            done = machine.run("sh", "-c", BRING_UP, "bring-up", address, timeout=_SHORT)
            return "" if done.exit == 0 else f"{name} cannot be brought up: {_said(done.output)}"

        yield from self._steps(("nic-appears", appears), ("nic-leaves", lambda: _leaves(group, machine, address)))

    def _steps(self, *steps: tuple[str, Callable[[], str]]) -> Iterator[tuple[str, _Judged]]:
        """One after the other; what comes after one that the platform or the machine failed is not judged."""
        failed = ""
        for case_id, step in steps:
            if failed and case_id != steps[-1][0]:
                yield case_id, _errored(failed)
                continue
            began = self._stopwatch()
            try:
                message = step()
            except MachineLostError:
                raise
            except ProvisioningError as error:
                yield case_id, _errored(error.message)
                failed = failed or f"{case_id} could not be done: {error.message}"
                continue
            wall = timedelta(seconds=self._stopwatch() - began)
            yield case_id, _Judged(outcome=Outcome.FAILED if message else Outcome.PASSED, message=message, wall=wall)
            failed = failed or (f"{case_id} failed" if message else "")

    def _load(self, machine: Machine) -> _Judged:
        before, wrong = _progress(machine)
        deadline = self._stopwatch() + APPEARS.total_seconds()
        after = before
        while not wrong and after <= before and self._stopwatch() < deadline:
            machine.run("sleep", "1", timeout=_SHORT)
            after, wrong = _progress(machine)
        if wrong:
            return _Judged(outcome=Outcome.FAILED, message=f"data written meanwhile came back wrong: {wrong}")
        if after <= before:
            return _Judged(outcome=Outcome.FAILED, message=f"writing stood still after {before} comparisons")
        return _Judged()


def _watch(machine: Machine, state: str, name: str) -> tuple[str, str]:
    """Name and value of the device in the machine; two empty words where it is not so in time."""
    limit = APPEARS if state == "there" else LEAVES
    words = ("sh", "-c", WATCH, "watch", state, str(limit.seconds), name)
    done = machine.run(*words, timeout=limit + _SHORT)
    if done.exit != 0:
        return "", ""
    found, _, value = done.output[:200].decode("utf-8", "replace").strip().partition(" ")
    return found, value


def _leaves(group: SupportsHotPlug, machine: Machine, name: str) -> str:
    if not name:
        raise ProvisioningError("nothing was plugged in")
    if not group.remove_device(machine, name, timeout=LEAVES):
        return f"the machine does not let go of {name} within {LEAVES.seconds} s"
    return "" if _watch(machine, "gone", name)[0] else f"{name} was taken out, and is still there for the machine"


def _progress(machine: Machine) -> tuple[int, str]:
    """How often it was compared, and the first thing that was wrong."""
    done = machine.run("sh", "-c", PROGRESS, "progress", _FOLDER, timeout=_SHORT)
    count, _, wrong = done.output[:1000].decode("utf-8", "replace").partition("\n")
    return int(count) if count.isascii() and count.isdigit() and len(count) < 12 else 0, " ".join(wrong.split())


def _said(output: bytes) -> str:
    return " ".join(output[-300:].decode("utf-8", "replace").split())


def _errored(message: str) -> _Judged:
    return _Judged(outcome=Outcome.ERRORED, message=message)


def _result(case: Case, judged: _Judged) -> Result:
    return Result(
        suite=case.suite,
        case=case.id,
        title=case.title,
        outcome=judged.outcome,
        message=" ".join(judged.message.split())[:500],
        wall=judged.wall,
    )
