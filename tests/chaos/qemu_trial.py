"""One seeded run of a leg on a real QEMU machine that fails: by a case's own doing, or by the host's."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import random
import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Final

from lisa_ci import files, image
from lisa_ci.drivers.shell import ShellDriver
from lisa_ci.events import CaseEnded, CaseStarted, Event
from lisa_ci.execution import run_leg
from lisa_ci.model import (
    Access,
    Case,
    ImageSource,
    Leg,
    Outcome,
    Plan,
    Profile,
    ReleaseSettings,
    Subject,
    Suite,
    Task,
    Timeouts,
)
from lisa_ci.platforms.qemu import QemuPlatform
from tests.chaos.trial import Findings

TIMEOUTS: Final = Timeouts(
    boot=timedelta(minutes=5), case=timedelta(minutes=2), leg=timedelta(minutes=20), silence=timedelta(seconds=20)
)


class Harm(StrEnum):
    """What happens. The first ones are done by a case, as root; the last ones by the host."""

    PANIC = "panic (sysrq c)"
    REBOOT = "reboot -f"
    POWER_OFF = "poweroff -f"
    NETWORK = "network down in the guest"
    SSHD = "sshd killed"
    RUNNER = "runner killed"
    FULL = "guest's disk full"
    CLOCK = "clock jumps by a year"
    QEMU_KILLED = "QEMU killed (kill -9)"
    QEMU_STOPPED = "QEMU stopped"
    US_KILLED = "lisa-ci killed (kill -9)"

    @staticmethod
    def of(seed: int) -> Harm:
        """They take turns."""
        return tuple(Harm)[seed % len(Harm)]


# What the case does, and how it must end.
BY_CASE: Final = {
    Harm.PANIC: ("echo 1 >/proc/sys/kernel/sysrq; echo c >/proc/sysrq-trigger; sleep 60", Outcome.ERRORED),
    Harm.REBOOT: ("reboot -f; sleep 60", Outcome.ERRORED),
    Harm.POWER_OFF: ("poweroff -f; sleep 60", Outcome.ERRORED),
    Harm.NETWORK: (
        "for link in /sys/class/net/e*; do ip link set dev ${link##*/} down; done; sleep 60",
        Outcome.ERRORED,
    ),
    Harm.SSHD: ("kill -9 $(pidof sshd sshd-session); sleep 60", Outcome.ERRORED),
    Harm.RUNNER: ("kill -9 $(pgrep -f /runner.sh); sleep 60", Outcome.ERRORED),
    Harm.FULL: ("dd if=/dev/zero of=/var/tmp/full bs=1M 2>/dev/null; exit 1", Outcome.ERRORED),
    Harm.CLOCK: ("date -s '+1 year'", Outcome.PASSED),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class QemuTrial:
    """How one seed went. ``restores`` and so on are in the run's file."""

    seed: int
    harm: Harm
    errored: int
    findings: Findings
    wall: float

    def __str__(self) -> str:
        return f"seed {self.seed}: {self.harm}"


def run_qemu_trial(seed: int, disk: Path, folder: Path) -> QemuTrial:
    """Run a seed in ``folder``, which is new, on overlays of ``disk``."""
    chance = random.Random(seed)
    harm = Harm.of(seed)
    expected = {f"{number}-{chance.choice(('passes', 'fails', 'skips'))}": Outcome.PASSED for number in range(6)}
    codes = {"passes": (0, Outcome.PASSED), "fails": (1, Outcome.FAILED), "skips": (77, Outcome.SKIPPED)}
    lines = {name: f"sleep 0.3; exit {codes[name[2:]][0]}" for name in expected}
    expected = {name: codes[name[2:]][1] for name in expected}
    if harm in BY_CASE:
        culprit = chance.choice(list(expected))
        lines[culprit], expected[culprit] = BY_CASE[harm]
    folder.mkdir()
    played = _Played(lines, disk, folder)
    began = time.monotonic()
    match harm:
        case Harm.QEMU_KILLED | Harm.QEMU_STOPPED:
            number = signal.SIGKILL if harm is Harm.QEMU_KILLED else signal.SIGSTOP
            with played.struck(number, after=chance.uniform(0, 2.5)):
                played.run()
        case Harm.US_KILLED:
            played.run_and_be_killed(after=chance.uniform(0, 3))
            played.run(resume=True)
        case _:
            played.run()
    findings, errored = played.judged(expected, may_miss=harm not in BY_CASE)
    return QemuTrial(seed=seed, harm=harm, errored=errored, findings=findings, wall=time.monotonic() - began)


class _Played:
    def __init__(self, lines: dict[str, str], disk: Path, folder: Path) -> None:
        self._folder = folder
        self._out = folder / "out"
        self._platform = QemuPlatform()
        (folder / "suite").mkdir()
        cases = tuple(Case(suite="s", id=name, run=("sh", "-c", line)) for name, line in lines.items())
        self._suite = Suite(name="s", folder=str(folder / "suite"), digest="0", driver="shell", cases=cases)
        self._leg = Leg(id="leg", profile=Profile(name="small", memory_mib=512), tasks=(Task(suite="s"),))
        self._plan = Plan(
            name="chaos",
            subject=Subject(image=image.resolve(ImageSource(path=str(disk)), Path("/"))),
            access=Access(),
            timeouts=TIMEOUTS,
            release=ReleaseSettings(),
            suites=(),
            legs=(self._leg,),
        )
        self._began = threading.Event()
        self._told: dict[str, int] = {}

    def run(self, *, resume: bool = False) -> None:
        run_leg(
            self._plan,
            "digest",
            self._leg,
            platform=self._platform,
            driver=lambda _: ShellDriver(),
            scenario=_no_scenario,
            suites={"s": self._suite},
            out=self._out,
            resume=resume,
            emit=self._hear,
        )

    def _hear(self, event: Event) -> None:
        if isinstance(event, CaseStarted):
            self._began.set()
            (self._folder / "began").touch()
        elif isinstance(event, CaseEnded):
            console = self._out / "leg/console.log"
            self._told[event.result.case] = console.stat().st_size if console.exists() else 0

    @contextlib.contextmanager
    def struck(self, number: int, *, after: float) -> Iterator[None]:
        """QEMU gets a signal, so long after the first case has begun."""

        def strike() -> None:
            self._began.wait(TIMEOUTS.leg.total_seconds())
            time.sleep(after)
            for process in machines_of(os.getpid()):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, number)

        thread = threading.Thread(target=strike)
        thread.start()
        yield
        self._began.set()
        thread.join(30)

    def run_and_be_killed(self, *, after: float) -> None:
        """In a process of its own, that is killed so long after the first case has begun."""
        process = multiprocessing.get_context("fork").Process(target=self.run)
        process.start()
        while process.is_alive() and not (self._folder / "began").exists():
            time.sleep(0.05)
        time.sleep(after)
        process.kill()
        process.join(30)

    def judged(self, expected: dict[str, Outcome], *, may_miss: bool) -> tuple[Findings, int]:
        """``may_miss``: the harm came at any time, so that it may have hit one case, or none."""
        findings = Findings()
        evidence = files.read_leg(self._out / "leg")
        results = list(evidence.results()) if evidence else []
        counts = Counter(result.case for result in results)
        final = {result.case: result.outcome for result in results}
        findings.without += [name for name in expected if not counts[name]]
        findings.wrong += [f"{name} has {count} results" for name, count in counts.items() if count > 1]
        wrong = {name: outcome for name, outcome in final.items() if outcome is not expected[name]}
        missed = [name for name, outcome in wrong.items() if outcome is Outcome.ERRORED]
        findings.wrong += [f"{name} is {final[name]}, not {expected[name]}" for name in wrong if name not in missed]
        findings.lost += missed[1 if may_miss else 0 :]
        if evidence is None or evidence.run.error or not evidence.run.is_complete:
            findings.lost.append(f"the leg was given up: {evidence.run.error if evidence else 'no run.json'}")
        findings.twice += self._begun_again()
        findings.left += [f"QEMU {process}" for process in machines_of(os.getpid())]
        findings.left += [leftover.what for leftover in self._platform.sweep(now=datetime.now(UTC))]
        findings.left += [path.name for path in self._out.iterdir() if path.name.endswith(".scratch")]
        return findings, sum(outcome is Outcome.ERRORED for outcome in final.values())

    def _begun_again(self) -> list[str]:
        """Cases whose mark is on the console behind the place where their result was told."""
        console = self._out / "leg/console.log"
        text = console.read_bytes() if console.exists() else b""
        begun = [(found.start(), found[1].decode()) for found in re.finditer(rb"lisa-ci: case s#(\S+)", text)]
        return [name for place, name in begun if place > self._told.get(name, len(text))]


def _no_scenario(name: str) -> object:  # type: ignore[type-arg]
    raise AssertionError(f"there is no scenario {name}")


def machines_of(owner: int) -> list[int]:
    """The QEMU processes below a process."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError):
            if (entry / "comm").read_text().startswith("qemu-system") and owner in _ancestors(int(entry.name)):
                found.append(int(entry.name))
    return found


def _ancestors(process: int) -> Iterator[int]:
    while process > 1:
        process = int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
        yield process
