"""Questions to an archive of many runs, in a folder and on Azurite: wall time and memory.

    python benchmarks/archive.py [--runs 10000] [--cases 300]

The runs are synthetic: four profiles, one run an hour, one case in a hundred fails. The same question is asked with
packs, and without them by reading every run, which is what packs spare.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from lisa_ci.archive import catalog, layout
from lisa_ci.archive.layout import RunIndex, Summary, name_of
from lisa_ci.archive.place import opened
from lisa_ci.archive.store import Store
from tests.doubles.azurite import azurite

FIRST = datetime(2025, 1, 1, tzinfo=UTC)


def runs_of(count: int, cases: int) -> Iterator[Summary]:
    dice = random.Random(0)  # noqa: S311 - no secret
    lists = [tuple(f"ltp-syscalls#{profile}-case-{n:04}" for n in range(cases)) for profile in range(4)]
    for number in range(count):
        yield Summary(
            id=f"{number:016x}",
            name="nightly",
            leg=f"profile-{number % 4}",
            profile=f"profile-{number % 4}",
            attempt=1,
            started=FIRST + timedelta(hours=number),
            wall_seconds=600,
            is_complete=True,
            subject=f"{number // 4:064x}",
            plan="ab" * 32,
            facts={"kernel": "6.12.0-1-amd64"},
            cases=lists[number % 4],
            outcomes="".join("f" if dice.random() < 0.01 else "p" for _ in range(cases)),
            wall_ms=tuple(dice.randrange(10_000) for _ in range(cases)),
        )


def fill(store: Store, runs: list[Summary]) -> None:
    def put(run: Summary) -> None:
        data = layout.compressed(layout.encode_index(RunIndex(summary=run)))
        store.put_new(str(name_of(run)), data, len(data.getbuffer()))

    with ThreadPoolExecutor(8) as writers:
        list(writers.map(put, runs))


def pack(store: Store, runs: list[Summary]) -> None:
    """As puts do it: a pack for each PACK_LEAST runs of a month, and a large one when the month is over."""
    months = {month: list(found) for month, found in itertools.groupby(runs, lambda run: name_of(run).month)}
    for month, found in months.items():
        for start in range(0, len(found), catalog.PACK_LEAST):
            catalog.write_packs(store, found[start : start + catalog.PACK_LEAST])
        if month != max(months):
            catalog.close_month(store, month, workers=8, emit=lambda _: None)


_METER = (
    "import resource, subprocess, sys; code = subprocess.call(sys.argv[1:]); "
    "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr); sys.exit(code)"
)


def asked(place: str, environment: dict[str, str], *arguments: str) -> tuple[float, int, int]:
    """Seconds, MiB of memory at most, and lines of the answer."""
    before = time.monotonic()
    command = [Path(sys.executable).with_name("lisa-ci"), "archive", *arguments, "--from", place]
    finished = subprocess.run(
        [sys.executable, "-c", _METER, *command],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    memory = int(finished.stderr.split()[-1]) >> 10
    return time.monotonic() - before, memory, finished.stdout.count("\n")


QUESTIONS = {
    "ls of the last 30 days": lambda last: ("ls", "--since", str(last - timedelta(days=30))),
    "every failure of one case": lambda _: ("query", "--case", "*-case-0007", "--outcome", "failed"),
    "cases by failures, all runs": lambda _: ("query", "--by", "case"),
}


def measure(kind: str, place: str, environment: dict[str, str], last: date) -> None:
    for question, arguments in QUESTIONS.items():
        seconds, memory, count = asked(place, environment, *arguments(last))
        print(f"{kind:28} {question:30} {seconds:6.1f} s  {memory:4} MiB  {count} lines", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--cases", type=int, default=300)
    parser.add_argument("--without-packs", action="store_true", help="ask an archive that has none as well")
    given = parser.parse_args()
    runs = list(runs_of(given.runs, given.cases))
    last = runs[-1].started.date()
    print(f"{given.runs} runs of {given.cases} cases, {json.dumps(os.getloadavg())} load")
    with azurite() as emulator, tempfile.TemporaryDirectory() as folder:
        environment = {"AZURE_STORAGE_CONNECTION_STRING": emulator.connection_string}
        places = {"folder": folder, "azurite": f"{emulator.url}/{emulator.container()}"}
        for kind, place in places.items():
            with opened(place, timeout=timedelta(minutes=1), environment=environment) as store:
                begun = time.monotonic()
                fill(store, runs)
                print(f"{kind:28} {'filled in':30} {time.monotonic() - begun:6.1f} s", flush=True)
                if given.without_packs:
                    measure(f"{kind}, without packs", place, environment, last)
                pack(store, runs)
            measure(kind, place, environment, last)


if __name__ == "__main__":
    main()
