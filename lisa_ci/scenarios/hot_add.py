"""Scenario ``hot-add``: a processor and memory come while the machine works, are used, and leave where they can.

Its cases: ``processor-appears``, ``processor-online``, ``processor-works``, ``memory-appears``, ``memory-online``,
``memory-used``, ``memory-leaves``, ``processor-leaves``, ``load-goes-on``. A suite may have any.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from lisa_ci.events import Emit
from lisa_ci.model import Result, Suite, Timeouts
from lisa_ci.protocols import Machine, Machines, SupportsHotAdd
from lisa_ci.scenarios.steps import Judged, Step, errored, failed, passed_unless, result, results_of, said, skipped

MEMORY_MIB: Final = 256
APPEARS: Final = timedelta(seconds=30)
LEAVES: Final = timedelta(seconds=60)
_SHORT: Final = timedelta(seconds=60)
_WORK: Final = timedelta(minutes=3)
_FOLDER: Final = "/var/tmp/lisa-ci-hot-add"  # noqa: S108  in the machine, and removed at the end
_UNSUPPORTED: Final = 77

# Numbers of the processors and blocks that are there, one line each; sizes in bytes, memory in KiB.
STATE: Final = r"""
first() { value=; [ -r "$1" ] && read -r value <"$1"; :; }
list() { set -- $(for entry in $1; do [ ! -e "$entry" ] || echo "${entry##*[a-z]}"; done | sort -n); value=$*; }
say() { printf '%s=%s\n' "$1" "$value"; }
list '/sys/devices/system/cpu/cpu[0-9]*'; say cpus
first /sys/devices/system/cpu/online; say online
value=$(grep -c '^processor' /proc/cpuinfo); say listed
list '/sys/devices/system/memory/memory[0-9]*'; say blocks
first /sys/devices/system/memory/block_size_bytes; say block_hex
while read -r name kib rest; do
  case $name in MemTotal:) value=$kib; say memory_kib ;; MemAvailable:) value=$kib; say available_kib ;; esac
done </proc/meminfo
"""

# $1 a processor's number. Says whether the image's own policy brought it up or we had to.
CPU_ONLINE: Final = r"""
file=/sys/devices/system/cpu/cpu$1/online
for try in 1 2 3; do
  read -r on <"$file" && [ "$on" != 1 ] || break
  sleep 1
done
[ "$on" = 1 ] && { echo "by the image's own policy"; exit 0; }
echo 1 >"$file" || exit 1
read -r on <"$file" && [ "$on" = 1 ] && echo "by hand: the image has no policy for it"
"""

# $1 a processor's number. A process that may run nowhere else runs there, and the kernel counts its time.
CPU_WORKS: Final = r"""
command -v taskset >/dev/null || { echo "there is no taskset here"; exit 77; }
busy() { while read -r name user nice system rest; do
  [ "$name" != "cpu$cpu" ] || echo $((user + nice + system)); done </proc/stat; }
cpu=$1 before=$(busy)
[ "$before" ] || { echo "/proc/stat has no line for cpu$cpu"; exit 1; }
taskset -c "$cpu" timeout 2 sh -c 'while :; do :; done'
taskset -c "$cpu" sh -c 'cut -d " " -f 39 /proc/self/stat' >"$2" || exit 1
read -r ran <"$2"
rm -f "$2"
[ "$ran" = "$cpu" ] || { echo "a process that was pinned to cpu$cpu ran on cpu$ran"; exit 1; }
after=$(busy)
ticks=$((after - before))
[ "$ticks" -ge 50 ] || { echo "two seconds of work on cpu$cpu were counted as $ticks ticks"; exit 1; }
"""

# $1... numbers of blocks. Movable, so that the kernel puts nothing there that cannot leave again.
MEMORY_ONLINE: Final = r"""
how="by the image's own policy"
for block; do
  folder=/sys/devices/system/memory/memory$block
  read -r state <"$folder/state" || exit 1
  [ "$state" = online ] || {
    how="by hand: the image has no policy for it"
    echo online_movable >"$folder/state" || { echo "memory$block cannot be brought online"; exit 1; }
  }
  read -r state <"$folder/state" && [ "$state" = online ] || { echo "memory$block is $state"; exit 1; }
done
echo "$how"
"""

# $1 MiB that were available before, $2 a folder: more than that is written, and read back.
MEMORY_USED: Final = r"""
set -e
mib=$(($1 + 16)) # not to the brim: a machine that has to drop its programs from memory stands still
while read -r name kib rest; do [ "$name" != MemAvailable: ] || available=$((kib / 1024)); done </proc/meminfo
[ "$available" -gt "$mib" ] || { echo "$available MiB of memory are available, $1 MiB were before"; exit 1; }
mkdir "$2"
mount -t tmpfs -o "size=$((mib + 1))M" lisa-ci "$2"
trap 'umount "$2"; rmdir "$2"' EXIT
# Zeroes, because an emulated machine takes minutes to make anything else; every page of the file is one of memory.
dd if=/dev/zero of="$2/data" bs=1048576 count="$mib" 2>/dev/null || { echo "$mib MiB cannot be written"; exit 1; }
cmp -n "$((mib * 1048576))" /dev/zero "$2/data" || { echo "what was written to $mib MiB is not read from it"; exit 1; }
"""

# $1 seconds, $2... numbers of blocks.
MEMORY_OFFLINE: Final = r"""
end=$1
shift
for block; do
  tries=0
  until echo offline >"/sys/devices/system/memory/memory$block/state" 2>/dev/null; do
    [ "$((tries += 1))" -lt "$end" ] || { echo "memory$block cannot be taken offline"; exit 1; }
    sleep 1
  done
done
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
    dd if=/dev/urandom of=wanted bs=65536 count=16 2>>errors && cp wanted found && cmp wanted found >>wrong 2>&1 ||
      echo "not the same" >>wrong
    count=$((count + 1))
    echo "$count" >count.new && mv count.new count
  done
) >/dev/null 2>&1 </dev/null &
"""
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
class Shape:
    """A machine's processors and memory blocks by number, as its kernel tells them."""

    processors: tuple[int, ...] = ()
    online: int = 0
    listed: int = 0
    blocks: tuple[int, ...] = ()
    block_mib: int = 0
    memory_mib: int = 0
    available_mib: int = 0


class HotAddScenario:
    """``stopwatch`` (seconds, monotonic) is the host's."""

    def __init__(self, *, stopwatch: Callable[[], float] = time.monotonic) -> None:
        self._stopwatch = stopwatch

    def run(self, suite: Suite, machines: Machines, *, timeouts: Timeouts, emit: Emit) -> Iterable[Result]:
        """One result for each case. MachineLostError where the machine goes away: nothing tells what did it."""
        del timeouts, emit
        cases = suite.cases or ()
        if not isinstance(machines, SupportsHotAdd):
            for case in cases:
                yield result(case, errored("these machines take no processors or memory while they run"))
            return
        machine = machines.members[0]
        machine.run("sh", "-c", LOAD, "load", _FOLDER, timeout=_SHORT)
        story = _Story(machines, machine, self._stopwatch)
        try:
            yield from results_of(cases, story.steps, name="hot-add", stopwatch=self._stopwatch)
        finally:
            machine.run("sh", "-c", STOP, "stop", _FOLDER, timeout=_SHORT)


class _Story:
    def __init__(self, group: SupportsHotAdd, machine: Machine, stopwatch: Callable[[], float]) -> None:
        self._group = group
        self._machine = machine
        self._stopwatch = stopwatch
        self._before = Shape()
        self._new_blocks: tuple[str, ...] = ()
        self._processor = self._memory = ""
        self._number = -1

    @property
    def steps(self) -> tuple[Step, ...]:
        changes = (
            Step(id="processor-appears", take=self.processor_appears),
            Step(id="processor-online", take=self.processor_online, needs=("processor-appears",)),
            Step(id="processor-works", take=self.processor_works, needs=("processor-online",)),
            Step(id="memory-appears", take=self.memory_appears),
            Step(id="memory-online", take=self.memory_online, needs=("memory-appears",)),
            Step(id="memory-used", take=self.memory_used, needs=("memory-online",)),
            Step(id="memory-leaves", take=self.memory_leaves, needs=("memory-online",)),
            Step(id="processor-leaves", take=self.processor_leaves, needs=("processor-online",)),
        )
        return (*changes, Step(id="load-goes-on", take=self.load_goes_on, after=tuple(step.id for step in changes)))

    # ---- processors ------------------------------------------------------------------------------------------------

    def processor_appears(self) -> Judged:
        self._before = self._shape()
        self._processor = self._group.add_processor(self._machine)
        shape = self._wait(lambda shape: len(shape.processors) > len(self._before.processors))
        found = sorted(set(shape.processors) - set(self._before.processors))
        if len(found) != 1:
            return failed(f"{len(found)} processors appeared within {APPEARS.seconds} s of one being added")
        self._number = found[0]
        return Judged()

    def processor_online(self) -> Judged:
        done = self._run(CPU_ONLINE, str(self._number))
        if done[0] != 0:
            return failed(f"cpu{self._number} cannot be brought online: {done[1]}")
        shape = self._shape()
        if (shape.online, shape.listed) == (self._before.online + 1, self._before.listed + 1):
            return Judged(detail=f"cpu{self._number} came online {done[1]}\n")
        return failed(
            f"{self._before.online} processors were online, now {shape.online}; "
            f"/proc/cpuinfo lists {shape.listed} of them"
        )

    def processor_works(self) -> Judged:
        exit_code, text = self._run(CPU_WORKS, str(self._number), f"{_FOLDER}-cpu")
        if exit_code == _UNSUPPORTED:
            return skipped(text)
        return passed_unless("" if exit_code == 0 else text or f"work on cpu{self._number} ended with exit {exit_code}")

    def processor_leaves(self) -> Judged:
        if problem := self._group.removal_problem(self._machine, self._processor):
            return skipped(problem)
        number = self._number
        if not self._group.remove_added(self._machine, self._processor, timeout=LEAVES):
            return failed(f"the machine does not let go of cpu{number} within {LEAVES.seconds} s")
        shape = self._wait(lambda shape: number not in shape.processors)
        return passed_unless(f"cpu{number} was taken away, and is still there" if number in shape.processors else "")

    # ---- memory ----------------------------------------------------------------------------------------------------

    def memory_appears(self) -> Judged:
        self._before = self._shape()
        if not self._before.block_mib or MEMORY_MIB % self._before.block_mib:
            return skipped(f"this kernel takes memory in blocks of {self._before.block_mib} MiB, not of {MEMORY_MIB}")
        wanted = MEMORY_MIB // self._before.block_mib
        self._memory = self._group.add_memory(self._machine, size_mib=MEMORY_MIB)
        shape = self._wait(lambda shape: len(shape.blocks) >= len(self._before.blocks) + wanted)
        self._new_blocks = tuple(str(number) for number in sorted(set(shape.blocks) - set(self._before.blocks)))
        found = len(self._new_blocks) * self._before.block_mib
        return passed_unless(
            ""
            if found == MEMORY_MIB
            else f"{found} MiB of memory appeared within {APPEARS.seconds} s of {MEMORY_MIB} MiB being added"
        )

    def memory_online(self) -> Judged:
        exit_code, text = self._run(MEMORY_ONLINE, *self._new_blocks)
        if exit_code != 0:
            return failed(text or "the blocks cannot be brought online")
        grown = self._shape().memory_mib - self._before.memory_mib
        # The kernel keeps 1.6 % for the descriptions of its pages.
        if MEMORY_MIB * 0.95 <= grown <= MEMORY_MIB:
            return Judged(detail=f"{grown} MiB more, online {text}\n")
        return failed(f"MemTotal grew by {grown} MiB, {MEMORY_MIB} MiB came online")

    def memory_used(self) -> Judged:
        exit_code, text = self._run(MEMORY_USED, str(self._before.available_mib), f"{_FOLDER}-memory")
        return passed_unless("" if exit_code == 0 else text or f"memory could not be used (exit {exit_code})")

    def memory_leaves(self) -> Judged:
        if problem := self._group.removal_problem(self._machine, self._memory):
            return skipped(problem)
        exit_code, text = self._run(MEMORY_OFFLINE, str(LEAVES.seconds), *self._new_blocks)
        if exit_code != 0:
            return failed(text)
        if not self._group.remove_added(self._machine, self._memory, timeout=LEAVES):
            return failed(f"the machine does not let go of its new memory within {LEAVES.seconds} s")
        shape = self._wait(lambda shape: len(shape.blocks) == len(self._before.blocks))
        if len(shape.blocks) != len(self._before.blocks):
            return failed("the memory was taken away, and its blocks are still there")
        lost = self._before.memory_mib - shape.memory_mib
        return passed_unless(f"MemTotal has {lost:+d} MiB less than before" if abs(lost) > MEMORY_MIB // 16 else "")

    # ---- the rest --------------------------------------------------------------------------------------------------

    def load_goes_on(self) -> Judged:
        before, wrong = self._progress()
        deadline = self._stopwatch() + APPEARS.total_seconds()
        after = before
        while not wrong and after <= before and self._stopwatch() < deadline:
            self._machine.run("sleep", "1", timeout=_SHORT)
            after, wrong = self._progress()
        if wrong:
            return failed(f"data written meanwhile came back wrong: {wrong}")
        return passed_unless("" if after > before else f"writing stood still after {before} comparisons")

    def _progress(self) -> tuple[int, str]:
        done = self._machine.run("sh", "-c", PROGRESS, "progress", _FOLDER, timeout=_SHORT)
        count, _, wrong = done.output[:1000].decode("utf-8", "replace").partition("\n")
        return _number(count), " ".join(wrong.split())

    def _run(self, script: str, *words: str) -> tuple[int | None, str]:
        done = self._machine.run("sh", "-c", script, "hot-add", *words, timeout=_WORK)
        return done.exit, said(done.output)

    def _shape(self) -> Shape:
        done = self._machine.run("sh", "-c", STATE, timeout=_SHORT)
        return read_shape(done.output[: 64 << 10].decode("utf-8", "replace"))

    def _wait(self, is_so: Callable[[Shape], bool]) -> Shape:
        """The machine's shape as soon as it is so, or as it is when the time is over."""
        deadline = self._stopwatch() + APPEARS.total_seconds()
        while not is_so(shape := self._shape()) and self._stopwatch() < deadline:
            self._machine.run("sleep", "1", timeout=_SHORT)
        return shape


def read_shape(text: str) -> Shape:
    """What ``STATE`` printed, however wrong; numbers that are none are 0."""
    told = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)

    def numbers(name: str) -> tuple[int, ...]:
        return tuple(
            int(word) for word in told.get(name, "").split() if word.isascii() and word.isdigit() and len(word) < 8
        )

    size = told.get("block_hex", "")
    return Shape(
        processors=numbers("cpus"),
        online=_counted(told.get("online", "")),
        listed=_number(told.get("listed", "")),
        blocks=numbers("blocks"),
        block_mib=int(size, 16) >> 20 if size and len(size) < 16 and set(size) <= set("0123456789abcdef") else 0,
        memory_mib=_number(told.get("memory_kib", "")) >> 10,
        available_mib=_number(told.get("available_kib", "")) >> 10,
    )


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 12 else 0


def _counted(ranges: str) -> int:
    """How many numbers a list like ``0-3,8`` names."""
    total = 0
    for part in ranges.split(","):
        first, _, last = part.partition("-")
        if first.isascii() and first.isdigit() and len(first) < 8:
            total += max(0, (_number(last) if last else int(first)) - int(first) + 1)
    return total
