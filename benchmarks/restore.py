"""Snapshot restored to the first command, against power-on to the first command of the same machine, in one run.

    python benchmarks/restore.py IMAGE [MACHINES] [RESTORES]

Each machine is booted, its snapshot taken, and restored from the states that a leg leaves it in: running and changed,
panicked, hung. Clock, entropy and login are part of each restore; a first command that answers ends it.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from lisa_ci import image
from lisa_ci.errors import MachineLostError
from lisa_ci.model import Access, ImageSource, Lease, Profile, Subject, Timeouts
from lisa_ci.platforms.qemu import QemuPlatform
from lisa_ci.protocols import Machine

LIMIT = timedelta(minutes=5)
SHORT = timedelta(seconds=3)
STATES = {
    "running": "touch /changed",
    "panicked": "echo c >/proc/sysrq-trigger; sleep 60",
    "hung": "sysctl -qw kernel.sched_rt_runtime_us=-1; for i in 1 2; do chrt -f 99 sh -c 'while :; do :; done' & done",
}


def main() -> None:
    path = Path(sys.argv[1]).resolve()
    machines = int(sys.argv[2]) if len(sys.argv) > 2 else 3
    restores = int(sys.argv[3]) if len(sys.argv) > 3 else 6
    subject = Subject(image=image.resolve(ImageSource(path=str(path)), path.parent))
    ratios, boots, times = [], [], []
    for number in range(1, machines + 1):
        with tempfile.TemporaryDirectory(prefix="lisa-ci-restore-") as folder:
            boot, taken, restored = measure(subject, Path(folder), restores)
        boots.append(boot)
        times += restored
        ratios.append(statistics.median(restored) / boot)
        each = " ".join(f"{seconds:.2f}" for seconds in restored)
        print(f"machine {number}: boot {boot:.1f} s, snapshot {taken:.2f} s, restores {each} s", flush=True)
    medians = f"boot {statistics.median(boots):.1f} s, restore {statistics.median(times):.2f} s"
    print(f"to the first command, medians: {medians}")
    print(f"median ratio of {machines} machines: {statistics.median(ratios):.3f} (asked: at most 0.15)")


def measure(subject: Subject, folder: Path, restores: int) -> tuple[float, float, list[float]]:
    """Seconds of one boot, of its snapshot, and of each restore."""
    lease = Lease(
        owner="benchmark",
        leg="restore",
        attempt=1,
        delete_after=datetime.now(UTC) + timedelta(hours=1),
        evidence=folder / "evidence",
        scratch=folder / "scratch",
    )
    started = time.monotonic()
    with QemuPlatform().provision(
        Profile(name="small"), subject, Access(), lease, timeouts=Timeouts(boot=LIMIT), emit=lambda _: None
    ) as group:
        [machine] = group.members
        answer(machine)
        boot = time.monotonic() - started
        started = time.monotonic()
        group.snapshot()
        taken = time.monotonic() - started
        restored = []
        for number in range(restores):
            with suppress(MachineLostError):
                machine.run("sh", "-c", list(STATES.values())[number % len(STATES)], timeout=SHORT)
            started = time.monotonic()
            group.restore(timeout=LIMIT)
            answer(machine)
            restored.append(time.monotonic() - started)
        return boot, taken, restored


def answer(machine: Machine) -> None:
    if machine.run("true", timeout=LIMIT).exit != 0:
        sys.exit("the machine does not run a command")


if __name__ == "__main__":
    main()
