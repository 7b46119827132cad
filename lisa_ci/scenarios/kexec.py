"""Scenario ``kexec``: the running kernel starts another one, without the firmware.

Its cases: ``kernel-loaded``, ``comes-back`` (a new boot, by this way and no other), ``same-kernel``, ``same-hardware``
(processors and memory), ``units`` (no unit failed that had not before). A suite may have any.
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
from lisa_ci.scenarios.steps import Judged, Step, failed, passed_unless, results_of, said, skipped

# The second kernel finds what the first one could: what it lacks was lost on the way.
MEMORY_SLACK: Final = 1 / 50
_SHORT: Final = timedelta(seconds=60)
_LOAD: Final = timedelta(minutes=2)
_SETTLES: Final = timedelta(minutes=2)
_MISSING: Final = 77

# $1 seconds to wait for the end of the boot. One fact a line.
STATE: Final = r"""
say() { printf '%s=%s\n' "$1" "$2"; }
say boot "$(cat /proc/sys/kernel/random/boot_id)"
say release "$(uname -r)"
say version "$(uname -v)"
say cmdline "$(cat /proc/cmdline)"
say processors "$(cat /sys/devices/system/cpu/online)"
while read -r name value rest; do [ "$name" != MemTotal: ] || say memory_kib "$value"; done </proc/meminfo
if [ -d /run/systemd/system ]; then
  timeout "$1" systemctl is-system-running --wait >/dev/null 2>&1
  systemctl list-units --state=failed --plain --no-legend --no-pager |
    while read -r unit rest; do say failed "$unit"; done
fi
say end yes
"""

# $1 a word for the new kernel's command line. -a: by the system call that locked-down kernels allow, else by the old.
LOAD: Final = r"""
PATH=$PATH:/usr/sbin:/sbin
command -v kexec >/dev/null 2>&1 || { echo "there is no kexec here (package kexec-tools)"; exit 77; }
release=$(uname -r)
for kernel in "/boot/vmlinuz-$release" "/lib/modules/$release/vmlinuz" "/usr/lib/modules/$release/vmlinuz" ''; do
  [ ! -f "$kernel" ] || break
done
[ "$kernel" ] || { echo "no file of the running kernel $release is in /boot or /lib/modules"; exit 1; }
set -- -l "$kernel" --command-line="$(cat /proc/cmdline) lisa-ci-kexec=$1"
for initrd in "/boot/initrd.img-$release" "/boot/initramfs-$release.img" "/boot/initrd-$release"; do
  [ ! -f "$initrd" ] || { set -- "$@" --initrd="$initrd"; break; }
done
kexec -a "$@" || exit 1
read -r loaded </sys/kernel/kexec_loaded
[ "$loaded" = 1 ] || { echo "kexec ended well, and no kernel is loaded"; exit 1; }
"""

# An init system that is there first ends what runs; where there is none, file systems are at least written.
START: Final = r"""
PATH=$PATH:/usr/sbin:/sbin
sync
if [ -d /run/systemd/system ]; then systemctl kexec; else kexec -e; fi
"""


class KexecScenario:
    """``stopwatch`` (seconds, monotonic) is the host's; ``token`` makes a word that no command line has by chance."""

    def __init__(
        self,
        *,
        stopwatch: Callable[[], float] = time.monotonic,
        token: Callable[[], str] = lambda: secrets.token_hex(8),
    ) -> None:
        self._stopwatch = stopwatch
        self._token = token

    def run(self, suite: Suite, machines: Machines, *, timeouts: Timeouts, emit: Emit) -> Iterable[Result]:
        """One result for each case. A machine that is lost before it is told to go is MachineLostError."""
        story = _Story(
            machine=machines.members[0],
            word=self._token(),
            boot=timeouts.boot,
            emit=emit,
            stopwatch=self._stopwatch,
        )
        yield from results_of(suite.cases or (), story.steps, name="kexec", stopwatch=self._stopwatch)


@dataclass(frozen=True, slots=True, kw_only=True)
class _State:
    told: Mapping[str, str]
    failed: frozenset[str]


@dataclass(slots=True, kw_only=True)
class _Story:
    machine: Machine
    word: str
    boot: timedelta
    emit: Emit
    stopwatch: Callable[[], float]
    before: _State = field(default_factory=lambda: _State(told={}, failed=frozenset()))
    after: _State = field(default_factory=lambda: _State(told={}, failed=frozenset()))

    @property
    def steps(self) -> tuple[Step, ...]:
        behind = ("comes-back",)
        return (
            Step(id="kernel-loaded", take=self.loaded),
            Step(id="comes-back", take=self.comes_back, needs=("kernel-loaded",)),
            Step(id="same-kernel", take=lambda: self.same("release", "version"), needs=behind),
            Step(id="same-hardware", take=self.same_hardware, needs=behind),
            Step(id="units", take=self.units, needs=behind),
        )

    def loaded(self) -> Judged:
        self.before = _state(self.machine)
        done = self.machine.run("sh", "-c", LOAD, "load", self.word, timeout=_LOAD)
        if done.exit == _MISSING:
            return skipped(said(done.output))
        return passed_unless("" if done.exit == 0 else f"the kernel takes no other one: {said(done.output)}")

    def comes_back(self) -> Judged:
        self.emit(Message(text=f"starting the kernel of {self.machine.name} anew by kexec"))
        deadline = self.stopwatch() + self.boot.total_seconds()
        try:
            done = self.machine.run("sh", "-c", START, timeout=_SHORT)
            if done.exit not in {0, None}:
                return failed(f"the loaded kernel is not started: {said(done.output)}")
        except MachineLostError:
            pass  # so it is meant
        reason = "it is in the same boot"
        while (left := deadline - self.stopwatch()) > 0:
            try:
                self.machine.reconnect(timeout=timedelta(seconds=max(1.0, left)))
                self.after = _state(self.machine)
                if self.after.told.get("boot") != self.before.told.get("boot"):
                    return passed_unless(self._other_way())
                self.machine.run("sleep", "1", timeout=_SHORT)
            except ProvisioningError as error:  # also where the old boot ends in the middle of a word
                reason = error.message
        return failed(f"the machine did not come back within {self.boot.total_seconds():.0f} s: {reason}")

    def _other_way(self) -> str:
        if f"lisa-ci-kexec={self.word}" in self.after.told.get("cmdline", "").split():
            return ""
        return "the machine came back by its firmware and boot loader, not by the kernel that was loaded"

    def same(self, *names: str) -> Judged:
        changed = [name for name in names if self.before.told.get(name) != self.after.told.get(name)]
        return passed_unless(
            "; ".join(
                f"{name}: {self.before.told.get(name)} before, {self.after.told.get(name)} now" for name in changed
            )
        )

    def same_hardware(self) -> Judged:
        if (judged := self.same("processors")).message:
            return judged
        before, after = (int(state.told.get("memory_kib", "0")) for state in (self.before, self.after))
        is_less = after < before * (1 - MEMORY_SLACK)
        return passed_unless(f"{after // 1024} MiB of memory, {before // 1024} MiB before" if is_less else "")

    def units(self) -> Judged:
        new = sorted(self.after.failed - self.before.failed)
        return passed_unless(f"failed since: {', '.join(new[:10])}" if new else "")


def _state(machine: Machine) -> _State:
    done = machine.run("sh", "-c", STATE, "state", str(_SETTLES.seconds), timeout=_SETTLES + _SHORT)
    told: dict[str, str] = {}
    bad = set()
    for line in done.output[: 64 << 10].decode("utf-8", "replace").splitlines():
        name, mark, value = line.partition("=")
        if name == "failed":
            bad.add(value.strip()[:200])
        elif mark:
            told[name] = value.strip()[:4096]
    if "end" not in told or not told.get("memory_kib", "").isdigit():
        raise MachineLostError(f"{machine.name} did not tell its state: {said(done.output)}")
    return _State(told=told, failed=frozenset(bad))
