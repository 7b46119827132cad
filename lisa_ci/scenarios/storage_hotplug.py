"""Scenario ``storage-hotplug``: disks are taken out while they are written to, and come back.

Its cases are ``BUS-comes``, ``BUS-leaves``, ``BUS-returns`` and ``BUS-works`` with the buses virtio, nvme and scsi. A
suite may have any; the steps of a bus are done in this order, those that it does not have included.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from lisa_ci.errors import MachineLostError, ProvisioningError
from lisa_ci.events import Emit, Level, Message
from lisa_ci.model import Bus, Case, Outcome, Result, Suite, Timeouts
from lisa_ci.protocols import Machine, Machines, SupportsDiskReturn, SupportsHotPlug

BUSES: Final = (Bus.VIRTIO, Bus.NVME, Bus.SCSI)
STEPS: Final = ("comes", "leaves", "returns", "works")
DISK_MIB: Final = 64
APPEARS: Final = timedelta(seconds=40)
LEAVES: Final = timedelta(seconds=60)  # the kernel gives a person five seconds to change their mind (pciehp)
ENDS: Final = timedelta(seconds=60)
_SECTORS: Final = DISK_MIB * 2048
_SHORT: Final = timedelta(seconds=60)
_FOLDER: Final = "/var/tmp/lisa-ci-storage-hotplug"  # noqa: S108  in the machine, and removed at the end

# $1 "there" or "gone", $2 seconds, $3 serial number. Prints NAME SECTORS BUS of the disk that has it.
WATCH: Final = r"""
now() { read -r up idle </proc/uptime; up=${up%%.*}; }
serial_of() {
  said=
  for file in "$1/serial" "$1/device/serial"; do
    [ -r "$file" ] && read -r said <"$file" 2>/dev/null
    [ -z "$said" ] || break
  done
  [ -n "$said" ] || said=$(dd if="$1/device/vpd_pg80" bs=1 skip=4 2>/dev/null | tr -d '\0')
  said=$(echo $said)
}
state=$1 wanted=$3
now; end=$((up + $2))
while :; do
  found=gone
  for disk in /sys/block/*; do
    serial_of "$disk"
    [ "$said" = "$wanted" ] || continue
    name=${disk##*/} size=
    read -r size <"$disk/size" 2>/dev/null && [ "${size:-0}" -gt 0 ] && [ -b "/dev/$name" ] || continue
    found=there
    break
  done
  [ "$found" != "$state" ] || break
  now; [ "$up" -lt "$end" ] || exit 1
  sleep 1
done
[ "$state" = there ] || exit 0
place=$(cd -P "/sys/block/$name" && pwd -P)
case $place in */nvme*) bus=nvme ;; */host[0-9]*) bus=scsi ;; */virtio*) bus=virtio ;; *) bus=unknown ;; esac
echo "$name $size $bus"
"""

# $1 folder, $2 disk. 8 MiB of known data at the start of the disk, flushed; their copy stays in the folder.
KEEP: Final = r"""
set -e
mkdir -p "$1"
dd if=/dev/urandom of="$1/kept" bs=1048576 count=8 2>/dev/null
dd if="$1/kept" of="/dev/$2" bs=1048576 conv=notrunc,nocreat,fsync 2>"$1/said" || { tail -n 1 "$1/said"; exit 1; }
"""
# The page cache is dropped, so that the disk itself answers.
COMPARE: Final = r"""
blockdev --flushbufs "/dev/$2" 2>/dev/null || :
echo 1 >/proc/sys/vm/drop_caches
dd if="/dev/$2" of="$1/found" bs=1048576 count=8 2>/dev/null
cmp "$1/kept" "$1/found"
"""
# $1 folder, $2 disk. Writes behind the kept data until it fails. nocreat: once its device file is gone, a file of that
# name would be made in /dev, and all would seem well.
WRITE: Final = r"""
rm -f "$1/count" "$1/ended"
(
  trap '' HUP
  count=0
  while dd if=/dev/zero of="/dev/$2" bs=65536 seek=256 count=64 oflag=direct conv=notrunc,nocreat 2>"$1/said"; do
    count=$((count + 1))
    echo "$count" >"$1/count.new" && mv "$1/count.new" "$1/count"
  done
  tail -n 1 "$1/said" >"$1/ended.new" && grep -i 'error\|no such\|cannot\|failed' "$1/said" >"$1/ended.new"
  mv "$1/ended.new" "$1/ended"
) >/dev/null 2>&1 </dev/null &
"""
# $1 folder, $2 file in it, $3 seconds: until it is there; prints what it says.
AWAIT: Final = r"""
tries=0
until [ -e "$1/$2" ]; do [ "$((tries += 1))" -le "$3" ] || exit 1; sleep 1; done
cat "$1/$2"
"""
REMOVE: Final = r"""rm -rf "$1" """


@dataclass(frozen=True, slots=True, kw_only=True)
class _Judged:
    """How one step ended. ``message`` is empty for what passed."""

    outcome: Outcome = Outcome.PASSED
    message: str = ""
    wall: timedelta = timedelta()


class StorageHotplugScenario:
    """``stopwatch`` (seconds, monotonic) is the host's."""

    def __init__(self, *, stopwatch: Callable[[], float] = time.monotonic) -> None:
        self._stopwatch = stopwatch

    def run(self, suite: Suite, machines: Machines, *, timeouts: Timeouts, emit: Emit) -> Iterable[Result]:
        """One result for each case. MachineLostError where the machine goes away: nothing tells what did it."""
        del timeouts
        cases = {case.id: case for case in suite.cases or ()}
        known = {f"{bus.value}-{step}" for bus in BUSES for step in STEPS}
        for case_id in [case_id for case_id in cases if case_id not in known]:
            message = f"scenario storage-hotplug has no case '{case_id}', only BUS-{', BUS-'.join(STEPS)}"
            yield _result(cases.pop(case_id), _Judged(outcome=Outcome.ERRORED, message=message))
        if not (isinstance(machines, SupportsDiskReturn) and isinstance(machines, SupportsHotPlug)):
            for case in cases.values():
                yield _result(case, _Judged(outcome=Outcome.ERRORED, message="these machines give no disk back"))
            return
        for bus in BUSES:
            wanted = {step: cases[f"{bus.value}-{step}"] for step in STEPS if f"{bus.value}-{step}" in cases}
            if wanted:
                emit(Message(text=f"a disk on the {bus.value} bus comes, leaves and returns"))
                for step, judged in self._disk(machines, machines.members[0], bus, emit):
                    if step in wanted:
                        yield _result(wanted[step], judged)

    def _disk(self, group: SupportsDiskReturn, machine: Machine, bus: Bus, emit: Emit) -> Iterator[tuple[str, _Judged]]:
        trial = _Trial(group, machine, bus, emit)
        try:
            yield from self._steps(
                ("comes", trial.comes), ("leaves", trial.leaves), ("returns", trial.returns), ("works", trial.works)
            )
        finally:
            trial.end()

    def _steps(self, *steps: tuple[str, Callable[[], str]]) -> Iterator[tuple[str, _Judged]]:
        """One after the other; what comes after one that the platform or the machine failed is not judged."""
        failed = ""
        for step, act in steps:
            if failed:
                yield step, _Judged(outcome=Outcome.ERRORED, message=failed)
                continue
            began = self._stopwatch()
            try:
                message = act()
            except MachineLostError:
                raise
            except ProvisioningError as error:
                yield step, _Judged(outcome=Outcome.ERRORED, message=error.message)
                failed = f"'{step}' could not be done: {error.message}"
                continue
            wall = timedelta(seconds=self._stopwatch() - began)
            yield step, _Judged(outcome=Outcome.FAILED if message else Outcome.PASSED, message=message, wall=wall)
            failed = f"'{step}' failed: {message}" if message else ""


class _Trial:
    """One disk on its way. Each step returns what is wrong, '' for nothing."""

    def __init__(self, group: SupportsDiskReturn, machine: Machine, bus: Bus, emit: Emit) -> None:
        self._group = group
        self._machine = machine
        self._bus = bus
        self._emit = emit
        self._serial = ""
        self._name = ""

    def comes(self) -> str:
        self._serial = self._group.plug_disk(self._machine, size_mib=DISK_MIB, bus=self._bus)
        wrong = self._is_there("was plugged in")
        return wrong or self._sh(KEEP, self._name)

    def leaves(self) -> str:
        self._sh(WRITE, self._name)
        if not self._await("count", APPEARS):
            return f"{self._name} was not written to within {APPEARS.seconds} s"
        if not self._group.pull_disk(self._machine, self._serial, timeout=LEAVES):
            return f"the machine does not let go of {self._serial} within {LEAVES.seconds} s"
        if self._watch("gone") is None:
            return f"{self._serial} was taken out, and is still there for the machine"
        said = self._await("ended", ENDS)
        if said is None:
            return f"a write to {self._serial}, which was taken out, still hangs after {ENDS.seconds} s"
        return "" if said else f"writes to {self._serial}, which was taken out, ended without an error"

    def returns(self) -> str:
        self._group.return_disk(self._machine, self._serial)
        return self._is_there("was put back") or self._sh(COMPARE, self._name)

    def works(self) -> str:
        return self._sh(KEEP, self._name) or self._sh(COMPARE, self._name)

    def end(self) -> None:
        """Nothing is left of it; a machine that holds on to the disk has been told of."""
        self._sh(REMOVE)
        if self._serial and isinstance(self._group, SupportsHotPlug):
            try:
                self._group.remove_device(self._machine, self._serial, timeout=LEAVES)
            except MachineLostError:
                raise
            except ProvisioningError as error:
                self._emit(Message(text=f"{self._serial} is left plugged in: {error.message}", level=Level.WARNING))

    def _is_there(self, how: str) -> str:
        found = self._watch("there")
        if found is None:
            return f"a disk {how}, and {self._serial} is not there within {APPEARS.seconds} s"
        self._name, size, bus = ([*found.split(), "", "", ""])[:3]
        if bus != self._bus.value:
            return f"{self._serial} is on bus {bus[:20]}, not {self._bus.value}"
        return "" if size == str(_SECTORS) else f"{self._name} has {size[:20]} sectors, not {_SECTORS}"

    def _watch(self, state: str) -> str | None:
        words = ("sh", "-c", WATCH, "watch", state, str(APPEARS.seconds), self._serial)
        done = self._machine.run(*words, timeout=APPEARS + _SHORT)
        return _said(done.output) if done.exit == 0 else None

    def _await(self, file: str, limit: timedelta) -> str | None:
        """What the file says, once it is there; None where it is not in time."""
        words = ("sh", "-c", AWAIT, "await", _FOLDER, file, str(limit.seconds))
        done = self._machine.run(*words, timeout=limit + _SHORT)
        return _said(done.output) if done.exit == 0 else None

    def _sh(self, script: str, *words: str) -> str:
        """What is wrong, where it did not work."""
        done = self._machine.run("sh", "-c", script, "storage-hotplug", _FOLDER, *words, timeout=_SHORT)
        return "" if done.exit == 0 else f"{self._serial}: {_said(done.output) or f'exit {done.exit}'}"


def _said(output: bytes) -> str:
    return " ".join(output[-300:].decode("utf-8", "replace").split())


def _result(case: Case, judged: _Judged) -> Result:
    return Result(
        suite=case.suite,
        case=case.id,
        title=case.title,
        outcome=judged.outcome,
        message=" ".join(judged.message.split())[:500],
        wall=judged.wall,
    )
