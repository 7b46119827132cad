"""Scenario ``kdump``: the kernel crashes on purpose, and its memory is found afterwards.

Its cases: ``memory-reserved``, ``kernel-loaded`` (what a crash needs), ``comes-back`` (the crash kernel saves, and the
machine reboots by itself), ``memory-saved`` (a vmcore is there), ``right-kernel`` (it is that of the kernel that
crashed), ``last-words`` (a line logged a moment before the crash is in it), ``ready-again``. A suite may have any.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from lisa_ci.errors import MachineLostError, ProvisioningError
from lisa_ci.events import Emit, Message
from lisa_ci.model import Result, Suite, Timeouts
from lisa_ci.protocols import Machine, Machines
from lisa_ci.scenarios.steps import Judged, Step, errored, failed, passed_unless, results_of, said
from lisa_ci.scenarios.vmcore import HEAD_BYTES, VmcoreFacts, build_id_of, read_vmcore

LOADS: Final = timedelta(minutes=3)
_SHORT: Final = timedelta(seconds=60)
_CRASH: Final = timedelta(minutes=5)
_LEAST_BYTES: Final = 1 << 20  # a kernel alone has more pages than that

# One fact a line.
STATE: Final = r"""
say() { printf '%s=%s\n' "$1" "$2"; }
first() { value=; [ -r "$1" ] && read -r value <"$1"; :; }
first /proc/sys/kernel/random/boot_id; say boot "$value"
first /sys/kernel/kexec_crash_size; say reserved "$value"
first /sys/kernel/kexec_crash_loaded; say loaded "$value"
say release "$(uname -r)"
if [ -e /proc/vmcore ]; then say crashed yes; else say crashed no; fi
say now "$(date +%s)"
"""

# $1 seconds: until the crash kernel is loaded.
WAIT: Final = r"""
tries=0
until read -r loaded </sys/kernel/kexec_crash_loaded && [ "$loaded" = 1 ]; do
  [ "$((tries += 1))" -le "$1" ] || exit 1
  sleep 1
done
"""

# $1 the words to log. What is on the disk before is older than the stamp.
CRASH: Final = r"""
: >/var/tmp/lisa-ci-kdump.stamp
sync
sleep 1
echo "<6>$1" >/dev/kmsg
echo 1 >/proc/sys/kernel/sysrq
echo c >/proc/sysrq-trigger
sleep 30
"""

# SIZE PATH of each file that is newer than the stamp, the largest first: where the systems' own kdump services are told
# to save (kexec-tools of Fedora, kdump-tools of Debian, kdump of SUSE), and /var/crash, where all do by default.
FIND: Final = r"""
stamp=/var/tmp/lisa-ci-kdump.stamp
{
  echo /var/crash
  sed -n 's/^path[[:space:]]\{1,\}//p' /etc/kdump.conf
  sed -n 's/^KDUMP_COREDIR="\{0,1\}\([^"]*\).*/\1/p' /etc/default/kdump-tools
  sed -n 's|^KDUMP_SAVEDIR="\{0,1\}file://\([^"]*\).*|\1|p' /etc/sysconfig/kdump
} 2>/dev/null | sort -u | while read -r folder; do
  case $folder in /*) find "$folder" -xdev -type f -newer "$stamp" 2>/dev/null ;; esac
done | while read -r file; do
  printf '%s %s\n' "$(wc -c <"$file")" "$file"
done | sort -rn | head -n 20
"""

# $1 the vmcore, $2 the words. The kernel's log beside it, else out of it.
LAST_WORDS: Final = r"""
folder=${1%/*}
for file in "$folder"/dmesg* "$folder"/vmcore-dmesg*; do
  [ -f "$file" ] && grep -F -e "$2" -e 'sysrq: Trigger a crash' -e 'Kernel panic' "$file" && exit 0
done
command -v makedumpfile >/dev/null || { echo "no log is beside $1, and no makedumpfile here takes it out"; exit 3; }
log=$(mktemp -u /var/tmp/lisa-ci-kdump.XXXXXX)
trap 'rm -f "$log"' EXIT
makedumpfile --dump-dmesg "$1" "$log" >/dev/null 2>&1 || { echo "makedumpfile cannot take the log out of $1"; exit 4; }
grep -F -e "$2" -e 'sysrq: Trigger a crash' -e 'Kernel panic' "$log"
"""

# $1... the files, and then their folders where nothing else is in them.
CLEAN: Final = r"""
rm -f -- /var/tmp/lisa-ci-kdump.stamp "$@"
for file; do rmdir -- "${file%/*}" 2>/dev/null; done
exit 0
"""


class KdumpScenario:
    """``stopwatch`` (seconds, monotonic) is the host's; ``token`` makes words that no log has by chance."""

    def __init__(
        self,
        *,
        stopwatch: Callable[[], float] = time.monotonic,
        token: Callable[[], str] = lambda: secrets.token_hex(8),
    ) -> None:
        self._stopwatch = stopwatch
        self._token = token

    def run(self, suite: Suite, machines: Machines, *, timeouts: Timeouts, emit: Emit) -> Iterable[Result]:
        """One result for each case. A machine that is lost before the crash is MachineLostError."""
        story = _Story(
            machine=machines.members[0],
            words=f"lisa-ci-kdump {self._token()}",
            boot=timeouts.boot,
            emit=emit,
            stopwatch=self._stopwatch,
        )
        yield from results_of(suite.cases or (), story.steps, name="kdump", stopwatch=self._stopwatch)
        story.clean()


@dataclass(slots=True, kw_only=True)
class _Story:
    machine: Machine
    words: str
    boot: timedelta
    emit: Emit
    stopwatch: Callable[[], float]
    before: Mapping[str, str] = field(default_factory=dict)
    build_id: str = ""
    vmcore: str = ""
    files: tuple[str, ...] = ()
    all_well: bool = True

    @property
    def steps(self) -> tuple[Step, ...]:
        return (
            Step(id="memory-reserved", take=self._noted(self.reserved)),
            Step(id="kernel-loaded", take=self._noted(self.loaded), needs=("memory-reserved",)),
            Step(id="comes-back", take=self._noted(self.comes_back), needs=("kernel-loaded",)),
            Step(id="memory-saved", take=self._noted(self.saved), needs=("comes-back",)),
            Step(id="right-kernel", take=self._noted(self.right_kernel), needs=("memory-saved",)),
            Step(id="last-words", take=self._noted(self.last_words), needs=("memory-saved",)),
            Step(id="ready-again", take=self._noted(self.ready_again), needs=("comes-back",)),
        )

    def _noted(self, take: Callable[[], Judged]) -> Callable[[], Judged]:
        def noted() -> Judged:
            judged = take()
            self.all_well &= not judged.message
            return judged

        return noted

    def reserved(self) -> Judged:
        self.before = _state(self.machine)
        size = self.before.get("reserved", "")
        if not (size.isascii() and size.isdigit()):
            return failed("this kernel knows no crash kernel (no /sys/kernel/kexec_crash_size)")
        return passed_unless(
            "" if int(size) else "no memory is set aside: the command line has no crashkernel= that fits"
        )

    def loaded(self) -> Judged:
        waited = self.machine.run("sh", "-c", WAIT, "wait", str(LOADS.seconds), timeout=LOADS + _SHORT)
        if waited.exit != 0:
            return failed(f"no crash kernel is loaded within {LOADS.seconds} s of the boot")
        notes = self.machine.run("cat", "/sys/kernel/notes", timeout=_SHORT)
        self.build_id = build_id_of(notes.output) if notes.exit == 0 else ""
        # At a login the platform learns that a crash is not the end of this machine.
        self.machine.reconnect(timeout=_SHORT)
        return Judged()

    def comes_back(self) -> Judged:
        self.emit(Message(text=f"crashing the kernel of {self.machine.name}"))
        began = self.stopwatch()
        try:
            done = self.machine.run("sh", "-c", CRASH, "crash", self.words, timeout=_CRASH)
        except MachineLostError as error:
            self.emit(Message(text=f"{self.machine.name}: {error.message}"))
        else:
            return failed(f"the kernel was told to crash and goes on: {said(done.output) or 'it says nothing'}")
        return passed_unless(self._back(began + 2 * self.boot.total_seconds()))

    def _back(self, deadline: float) -> str:
        """Waits for the boot behind the crash kernel's own; why it does not come."""
        reason = ""
        while (left := deadline - self.stopwatch()) > 0:
            try:
                self.machine.reconnect(timeout=timedelta(seconds=max(1.0, left)))
                state = _state(self.machine)
                if state.get("crashed") == "no" and state.get("boot") not in {"", None, self.before.get("boot")}:
                    return ""
                reason = "it stays in its crash kernel" if state.get("crashed") == "yes" else "it is in the same boot"
                self.machine.run("sleep", "1", timeout=_SHORT)
            except ProvisioningError as error:  # also where it is lost again
                reason = error.message
        return f"the machine did not come back within {2 * self.boot.total_seconds():.0f} s of the crash: {reason}"

    def saved(self) -> Judged:
        done = self.machine.run("sh", "-c", FIND, timeout=_SHORT)
        found = [line.split(" ", 1) for line in done.output.decode("utf-8", "replace").splitlines() if " " in line]
        # The service's own state changes as well (Debian's kexec_cmd, kdump_lock), and is not of the crash.
        self.files = tuple(path for _, path in found if _is_vmcore(path) or "dmesg" in path.rpartition("/")[2])
        named = [(size, path) for size, path in found if _is_vmcore(path)]
        if not named:
            there = ", ".join(path for _, path in found)[:300] or "nothing new"
            return failed(f"the machine rebooted after its crash and saved no vmcore; in /var/crash is {there}")
        size, self.vmcore = named[0]
        if "incomplete" in self.vmcore:
            return failed(f"{self.vmcore} was not finished")
        return passed_unless("" if int(size) >= _LEAST_BYTES else f"{self.vmcore} has only {size} bytes")

    def right_kernel(self) -> Judged:
        head = self.machine.run("head", "-c", str(HEAD_BYTES), self.vmcore, timeout=_SHORT)
        facts = read_vmcore(head.output)
        if facts is None:
            return failed(f"{self.vmcore} is no vmcore: it begins with {head.output[:8]!r}")
        return passed_unless(self._stranger(facts), detail=f"{facts}\n")

    def _stranger(self, facts: VmcoreFacts) -> str:
        release = self.before.get("release", "")
        if facts.release != release:
            return f"{self.vmcore} is of the kernel '{facts.release}', {release} crashed"
        if facts.build_id and self.build_id and facts.build_id != self.build_id:
            return f"{self.vmcore} has the build id {facts.build_id}, the kernel that crashed has {self.build_id}"
        if facts.crashed and facts.crashed < int(self.before.get("now", "0")) - 1:
            return f"{self.vmcore} is of an earlier crash"
        return ""

    def last_words(self) -> Judged:
        done = self.machine.run("sh", "-c", LAST_WORDS, "words", self.vmcore, self.words, timeout=_CRASH)
        text = done.output.decode("utf-8", "replace")
        if done.exit in {3, 4}:
            return (errored if done.exit == 3 else failed)(said(done.output))
        if self.words not in text:
            return failed("what was logged a moment before the crash is not in the saved log", detail=text[:2000])
        has_reason = "Trigger a crash" in text or "Kernel panic" in text
        return passed_unless("" if has_reason else "the saved log ends before the crash", detail=text[:2000])

    def ready_again(self) -> Judged:
        waited = self.machine.run("sh", "-c", WAIT, "wait", str(LOADS.seconds), timeout=LOADS + _SHORT)
        return passed_unless(
            "" if waited.exit == 0 else f"no crash kernel is loaded within {LOADS.seconds} s after the crash"
        )

    def clean(self) -> None:
        """What the crash left is evidence where a case did not pass."""
        if self.files and self.all_well:
            self.machine.run("sh", "-c", CLEAN, "clean", *self.files, timeout=_SHORT)


def _state(machine: Machine) -> dict[str, str]:
    done = machine.run("sh", "-c", STATE, timeout=_SHORT)
    lines = done.output[:4096].decode("utf-8", "replace").splitlines()
    return {name: value.strip()[:200] for name, mark, value in (line.partition("=") for line in lines) if mark}


def _is_vmcore(path: str) -> bool:
    name = path.rpartition("/")[2]
    return name.startswith(("vmcore", "dump")) and "dmesg" not in name
