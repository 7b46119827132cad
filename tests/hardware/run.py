"""Every suite about hardware on real machines, and the page that tells of it.

``nox -s hardware -- [--out FOLDER] [--jobs 2] [--write]``: plans hardware.yml and crash.yml of this folder, runs their
legs a few at a time, judges them by the gate, and prints the tables of docs/full-run.md; ``--write`` puts them there.
Exit 0: both gates are green. The images are made where the cache has none.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from lisa_ci import files, process
from lisa_ci.model import Plan
from lisa_ci.platforms.qemu.acceleration import Accelerator, find_acceleration
from tests.doubles.kdump_image import kdump_image
from tests.doubles.secure_boot_image import secure_boot_image
from tests.hardware import page

HERE: Final = Path(__file__).parent
LISA_CI: Final = (sys.executable, "-m", "lisa_ci.cli")
IMAGES: Final[Mapping[str, Callable[[Path], Path]]] = {"crash": kdump_image, "hardware": secure_boot_image}
"""Of each pipeline of this folder, by its name: what makes its image in a folder."""

LONGEST_FIRST: Final = ("pair", "disks", "cards", "crash", "nodes", "secure-boot", "nvme-sriov")
"""As docs/full-run.md has them: so that none of them goes on alone at the end. One that is not named here is first."""

QEMU: Final = "qemu-system-x86_64"
_SHORT: Final = timedelta(minutes=5)
_ENDS: Final = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A pipeline of this folder, planned into ``folder``."""

    name: str
    folder: Path
    plan: Plan

    @property
    def plan_file(self) -> Path:
        return self.folder / "plan.json"

    @property
    def results(self) -> Path:
        return self.folder / "results"

    def legs(self) -> Iterator[Leg]:
        return (Leg(part=self, id=leg.id) for leg in self.plan.legs)

    def is_green(self) -> bool:
        """By the gate, which says why it is not."""
        judge = ("report", "--plan", self.plan_file, "--results", self.results, "--out", self.folder / "report")
        finished = process.run([*LISA_CI, *judge], timeout=_SHORT)
        tell(f"{self.name}: {finished.stdout.decode().strip()}")
        return finished.exit == 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Leg:
    part: Part
    id: str

    def start(self) -> process.Child:
        run = ("run", self.id, "--plan", self.part.plan_file, "--out", self.part.results)
        return process.spawn([*LISA_CI, *run], stdout=self.part.folder / f"{self.id}.log")


def longest_first(legs: Iterable[Leg]) -> list[Leg]:
    places = {name: place for place, name in enumerate(LONGEST_FIRST)}
    return sorted(legs, key=lambda leg: places.get(leg.id, -1))


def tell(text: str) -> None:
    sys.stdout.write(f"{datetime.now(UTC):%H:%M:%S} {text}\n")
    sys.stdout.flush()


def make_part(name: str, out: Path) -> Part:
    """Its image and its plan."""
    folder = out / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    image = IMAGES[name](folder)
    plan_file = folder / "plan.json"
    plan = ("plan", "-f", HERE / f"{name}.yml", "--image", image, "--out", plan_file)
    process.check([*LISA_CI, *plan], timeout=_SHORT)
    return Part(name=name, folder=folder, plan=files.read_plan(plan_file)[0])


def run_legs(legs: Sequence[Leg], jobs: int, *, pause: Callable[[float], None] = time.sleep) -> None:
    """All of them, ``jobs`` at a time, in this order. Whatever ends us ends them, and they their machines."""
    waiting = deque(legs)
    running: dict[str, process.Child] = {}
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                leg = waiting.popleft()
                running[leg.id] = leg.start()
                tell(f"{leg.id} starts")
            pause(0.5)
            for name in [name for name, child in running.items() if child.poll() is not None]:
                tell(f"{name} ended with exit code {running.pop(name).returncode}")
    finally:
        for child in running.values():
            child.terminate()
        for child in running.values():
            child.wait(timeout=_ENDS)


def head(wall: timedelta, jobs: int) -> str:
    version = process.check([QEMU, "--version"], timeout=_SHORT).decode().splitlines()[0]
    is_native = find_acceleration(QEMU, lambda _: None).accelerator is Accelerator.KVM
    minutes, seconds = divmod(round(wall.total_seconds()), 60)
    return (
        f"{datetime.now(UTC):%Y-%m-%d}: the whole command took **{minutes} min {seconds} s**, {jobs} legs at a time, "
        f"on {os.cpu_count()} processors ({version}, {'KVM' if is_native else 'no KVM'}). All times are in seconds."
    )


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="nox -s hardware --", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("build/hardware"), help="where plans and results go")
    parser.add_argument("--jobs", type=int, default=2, help="legs at a time")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/full-run.md")
    return parser.parse_args()


def main() -> int:
    chosen = arguments()
    began = time.monotonic()
    parts = [make_part(name, chosen.out.absolute()) for name in IMAGES]
    run_legs(longest_first(leg for part in parts for leg in part.legs()), chosen.jobs)
    wall = timedelta(seconds=time.monotonic() - began)
    told = [(part.plan, list(page.read(part.plan, part.results))) for part in parts]
    generated = page.markdown(told, head=head(wall, chosen.jobs))
    (chosen.out / "full-run.md").write_text(generated)
    sys.stdout.write(f"\n{generated}\n")
    for case, seconds in page.slowest((ran for _, legs in told for ran in legs), 20):
        tell(f"{seconds:5} s {case}")
    if chosen.write:
        page.PAGE.write_text(page.page_with(page.PAGE.read_text(), generated))
    judged = [part.is_green() for part in parts]
    return 0 if all(judged) else 1


if __name__ == "__main__":
    sys.exit(main())
