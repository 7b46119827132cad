"""What one case costs beyond its own command, on the same machine, side by side.

A loopback sshd of our own is the machine; every contender runs ``true`` COUNT times through its usual door. The plain
loop in the machine's own shell is the floor, and is taken off. Contenders take turns round by round, so that a noisy
host is noisy for all; the median counts.

    python benchmarks/overhead.py [--count 500] [--rounds 5] [--peers]

--peers adds kirk, mslisa and tmt, each from PyPI in a virtual environment of its own (network needed the first time).
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks import peers
from lisa_ci.drivers.shell import ShellDriver
from lisa_ci.execution.caselist import Planned
from lisa_ci.execution.clock import Deadline
from lisa_ci.execution.dialogue import Dialogue, Surroundings
from lisa_ci.execution.install import Installed, install, new_name, remove
from lisa_ci.execution.kernel_log import KernelLog
from lisa_ci.execution.record import Record
from lisa_ci.files import LegFolder
from lisa_ci.model import Case, Command
from lisa_ci.protocols import Machine
from lisa_ci.ssh import Login, connect
from tests.doubles.openssh import sshd

HOUR = timedelta(hours=1)
LOOP = 'i=0; while [ "$i" -lt "$1" ]; do sh -c true; i=$((i + 1)); done'
TARGET_MS = 5.0


def plain_loop(machine: Machine, count: int) -> float:
    """Seconds of the same commands in plain sh in the machine, one session."""
    started = time.monotonic()
    completed = machine.run("sh", "-c", LOOP, "loop", str(count), timeout=HOUR)
    if completed.exit != 0:
        sys.exit("the plain loop failed")
    return time.monotonic() - started


def our_runner(machine: Machine, installed: Installed, count: int) -> float:
    """Seconds of the whole way: list sent, cases run with limits and accounts, results durable on this host."""
    cases = [
        Planned(
            case=Case(suite="bench", id=f"case{number}"),
            command=Command(arguments=("sh", "-c", "true")),
            timeout=timedelta(seconds=60),
            folder="/",
            environment={"LISA_CI_BENCH": "1"},
        )
        for number in range(count)
    ]
    with tempfile.TemporaryDirectory() as folder:
        started = time.monotonic()
        with Record(LegFolder(Path(folder)), "bench", lambda _: None, reproduce="{case}") as record:
            kernel_log = KernelLog((), today=datetime.now(UTC).date())
            kernel_log.follow(machine)
            around = Surroundings(
                environment={},
                driver=lambda _: ShellDriver(),
                drivers={"bench": "shell"},
                record=record,
                console=kernel_log,
                deadline=Deadline(HOUR),
                silence=timedelta(seconds=60),
                emit=lambda _: None,
            )
            Dialogue(machine, installed, cases, around).run()
            if record.count != count:
                sys.exit("cases were lost")
        return time.monotonic() - started


def one_session_per_case(machine: Machine, count: int) -> float:
    """Seconds of one exec request over the open connection for each case."""
    started = time.monotonic()
    for _ in range(count):
        if machine.run("sh", "-c", "true", timeout=HOUR).exit != 0:
            sys.exit("a session failed")
    return time.monotonic() - started


@contextmanager
def loopback() -> Iterator[Login]:
    with tempfile.TemporaryDirectory() as folder, sshd(Path(folder)) as login:
        yield login


def measure(contenders: dict[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Seconds by contender, one for each round."""
    taken: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(1, rounds + 1):
        for name, run in contenders.items():
            taken[name].append(run())
        print(
            f"round {number}: " + ", ".join(f"{name} {values[-1]:.2f} s" for name, values in taken.items()), flush=True
        )
    return taken


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=500, help="cases of a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peers", action="store_true", help="measure kirk, mslisa and tmt as well")
    options = parser.parse_args()

    with loopback() as login, closing(connect(login, timeout=timedelta(seconds=60))) as machine:
        installed = install(machine, {}, name=new_name(), timeout=HOUR)
        few = max(1, options.count // 10)  # a session for each case is slow enough for a tenth to be exact
        taken = measure(
            {
                "plain sh loop": lambda: plain_loop(machine, options.count),
                "lisa-ci": lambda: our_runner(machine, installed, options.count),
                "one session per case": lambda: one_session_per_case(machine, few),
            },
            options.rounds,
        )
        remove(machine, (installed.name,), timeout=HOUR)
        found = peers.measure_all(login) if options.peers else {}
    floors = taken["plain sh loop"]
    over = [1000 * (ours - floor) / options.count for ours, floor in zip(taken["lisa-ci"], floors, strict=True)]
    floor_ms = 1000 * statistics.median(floors) / options.count
    ours_ms = statistics.median(over)
    table: dict[str, float | str] = {
        "lisa-ci": ours_ms,
        "one session per case": 1000 * statistics.median(taken["one session per case"]) / few - floor_ms,
        **{name: value if isinstance(value, str) else 1000 * value - floor_ms for name, value in found.items()},
    }
    print(
        f"\nplain sh loop in the machine: {floor_ms:.2f} ms a case; beyond that, median of {options.rounds} rounds:\n"
    )
    print(f"{'':24} {'ms a case':>10} {'x lisa-ci':>10}")
    for name, value in table.items():
        print(f"{name:24} " + (f"{value}" if isinstance(value, str) else f"{value:10.2f} {value / ours_ms:10.1f}"))
    print(f"\nlisa-ci by round: {', '.join(f'{value:.2f}' for value in over)} ms; target: {TARGET_MS} ms")
    return 0 if ours_ms <= TARGET_MS else 1


if __name__ == "__main__":
    sys.exit(main())
