"""What the sampler costs the machine, beside what people run for the same numbers.

All contenders sample once a second, at the same time, for SECONDS: ours in awk and, as on a machine that has none, in
each shell, asked as the host asks; a shell loop that runs ``cat`` over the same files and ``sleep 1``; ``vmstat 1``, a
C program that tells of less. The time is user and system time of a contender and of every process it made, from the
kernel's accounts (wait4). In the end ours once more as a leg has it, over SSH: there the time of sshd's process for the
connection counts as well; with --image, in a QEMU machine of that image, too.

    python benchmarks/sampler.py [--seconds 60] [--image IMAGE]
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from lisa_ci import image
from lisa_ci.execution.sampler import FILE, SAMPLER, Sampler, read_samples, script
from lisa_ci.model import Access, ImageSource, Lease, Profile, Subject, Timeouts
from lisa_ci.platforms.qemu import QemuPlatform
from lisa_ci.protocols import Machine
from lisa_ci.ssh import connect
from tests.doubles.openssh import sshd

FILES = "uptime stat meminfo diskstats net/dev pressure/cpu pressure/io pressure/memory loadavg"
PEERS = {
    "cat loop, one cat for each file": "while :; do for f in $FILES; do cat /proc/$f; done; sleep 1; done",
    "cat loop, one cat for all": "cd /proc; while :; do cat $FILES; sleep 1; done",
    "vmstat 1": "exec vmstat -n 1",
}
SHELLS = {"dash": ("dash",), "bash": ("bash", "--posix"), "busybox (has its own awk)": ("busybox", "ash")}
WITHOUT_AWK = "PATH=/nonexistent\n"
TARGET_PERCENT = 1.0
OWNER = "lisa-ci-0123456789ab"
MINUTE = timedelta(minutes=1)
# User and system time of the sampler in hundredths of a second, then the seconds since the machine's start.
LOOK = f"""for place in $(grep -lsa '^{SAMPLER}$' /proc/[0-9]*/cmdline; grep -lsa '{SAMPLER} ' /proc/[0-9]*/cmdline); do
  [ "${{place%/cmdline}}" = /proc/$$ ] || cat "${{place%/cmdline}}/stat"
done | sort -u
cat /proc/uptime"""


def start(*command: str) -> subprocess.Popen[bytes]:
    with Path(os.devnull).open("wb") as nothing:
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=nothing,
            stderr=nothing,
            bufsize=0,
            env={**os.environ, "FILES": FILES},
        )


def end(process: subprocess.Popen[bytes]) -> float:
    """Seconds of processor time that it and what it made took."""
    process.terminate()
    _, _, usage = os.wait4(process.pid, 0)
    process.returncode = 0
    return usage.ru_utime + usage.ru_stime


def side_by_side(seconds: int) -> dict[str, float]:
    """Percent of one processor, by contender."""
    ours = {f"lisa-ci, {name}": start(*shell, "-c", WITHOUT_AWK + script(OWNER), "s") for name, shell in SHELLS.items()}
    ours["lisa-ci, awk"] = start("sh", "-c", script(OWNER), "s")
    peers = {name: start("dash", "-c", line) for name, line in PEERS.items()}
    began = time.monotonic()
    for number in range(seconds):
        for process in ours.values():
            if process.stdin:
                process.stdin.write(b"one\n" if number % 10 else b"all\n")
        time.sleep(max(0.0, began + number + 1 - time.monotonic()))
    wall = time.monotonic() - began
    return {name: 100 * end(process) / wall for name, process in (ours | peers).items()}


def over_ssh(seconds: int) -> tuple[float, int]:
    """The same for the sampler of a leg with its share of sshd, and the samples that came."""
    with tempfile.TemporaryDirectory() as name, sshd(Path(name)) as login:
        with contextlib.closing(connect(login, timeout=timedelta(minutes=1))) as machine:
            sampler = Sampler(machine, Path(name) / "telemetry", OWNER, emit=print)
            with sampler:
                time.sleep(2)
                family = list(relatives(name))
                before, began = sum(map(spent, family)), time.monotonic()
                time.sleep(seconds)
                took, wall = sum(map(spent, family)) - before, time.monotonic() - began
        return 100 * took / wall, len(list(read_samples(Path(name) / "telemetry" / FILE)))


def in_qemu(path: Path, seconds: int) -> float:
    """Percent of one of the machine's processors, by the machine's own accounts."""
    subject = Subject(image=image.resolve(ImageSource(path=str(path)), path.parent))
    with tempfile.TemporaryDirectory(prefix="lisa-ci-sampler-") as name:
        lease = Lease(
            owner="benchmark",
            leg="sampler",
            attempt=1,
            delete_after=datetime.now(UTC) + timedelta(hours=1),
            evidence=Path(name) / "evidence",
            scratch=Path(name) / "scratch",
        )
        timeouts = Timeouts(boot=timedelta(minutes=5))
        profile = Profile(name="small")
        with QemuPlatform().provision(
            profile, subject, Access(), lease, timeouts=timeouts, emit=lambda _: None
        ) as group:
            [machine] = group.members
            with Sampler(machine, Path(name) / "telemetry", OWNER, emit=print):
                time.sleep(10)
                before, began = told(machine)
                time.sleep(seconds)
                after, ended = told(machine)
    return 100 * (after - before) / (ended - began)


def told(machine: Machine) -> tuple[float, float]:
    """Seconds of processor time that the sampler took, and those since the machine's start."""
    *processes, uptime = machine.run("sh", "-c", LOOK, timeout=MINUTE).output.decode().splitlines()
    if not processes:
        sys.exit("the sampler is not found in the machine")
    ticks = sum(sum(map(int, line.rpartition(")")[2].split()[11:13])) for line in processes)
    return ticks / 100, float(uptime.split()[0])


def relatives(folder: str) -> Iterator[int]:
    """The processes below the sshd that was started for ``folder``."""
    parents: dict[int, int] = {}
    found: set[int] = set()
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            if folder.encode() in (entry / "cmdline").read_bytes() and b"sshd" in (entry / "cmdline").read_bytes():
                found.add(int(entry.name))
    while more := {process for process, parent in parents.items() if parent in found} - found:
        found |= more
    yield from found


def spent(process: int) -> float:
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{process}/schedstat").read_text().split()[0]) / 1e9
    return 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--image", type=Path, help="an image for a QEMU machine")
    options = parser.parse_args()
    seconds = options.seconds
    missing = [name for name in ("dash", "bash", "busybox", "vmstat") if not shutil.which(name)]
    if missing:
        sys.exit(f"missing: {', '.join(missing)}")
    costs = side_by_side(seconds)
    peer = costs["cat loop, one cat for each file"]
    for name, percent in costs.items():
        print(f"{name:34} {percent:6.3f} % of one processor   {percent / peer:5.2f} of the cat loop")
    percent, count = over_ssh(seconds)
    print(
        f"{'lisa-ci over ssh, sshd included':34} {percent:6.3f} % of one processor   {count} samples in {seconds + 2} s"
    )
    measured = [percent]
    if options.image:
        measured.append(in_qemu(options.image.resolve(), seconds))
        print(f"{'lisa-ci in a QEMU machine':34} {measured[-1]:6.3f} % of one of its processors")
    worst = max(*measured, 0.0, *(cost for name, cost in costs.items() if name.startswith("lisa-ci")))
    kept = "kept" if worst <= TARGET_PERCENT else "BROKEN"
    print(f"worst of ours {worst:.3f} %, asked at most {TARGET_PERCENT:g} %: {kept}")


if __name__ == "__main__":
    main()
