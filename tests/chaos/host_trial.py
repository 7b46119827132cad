"""One seeded run of ``lisa-ci run`` whose host lets it down (killed, cancelled, out of disk), then ``--resume``."""

from __future__ import annotations

import contextlib
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from lisa_ci import files
from lisa_ci.errors import DataError
from lisa_ci.model import Outcome, Result
from tests.chaos.trial import DEEDS, Findings, Truth, deed_line, judge
from tests.doubles.bad_disk import bad_disk
from tests.doubles.far_desk import FarDesk

NAMES: Final = ("0-passes", "1-fails", "2-works", "3-pretends", "4-works", "5-skips", "6-works", "7-passes")
EXPECTED: Final = {name: DEEDS[name.partition("-")[2]][2] for name in NAMES}
_UNTIL_TERM, _UNTIL_KILL = 7.5, 2.5  # seconds, as a cancelled job on GitHub


class Blow(StrEnum):
    """What happens to the program or to its disk."""

    KILL = "lisa-ci killed (kill -9)"
    CANCEL = "job cancelled (SIGINT, SIGTERM)"
    POWER = "host dies between two writes"
    TORN = "host dies in the middle of a write"
    ENOSPC = "host's disk full"
    EIO = "host's disk fails once"

    @staticmethod
    def of(seed: int) -> Blow:
        """They take turns."""
        return tuple(Blow)[seed % len(Blow)]


BY_DISK: Final = {Blow.POWER: "KILL", Blow.TORN: "TORN", Blow.ENOSPC: "ENOSPC", Blow.EIO: "EIO"}


@dataclass(frozen=True, slots=True, kw_only=True)
class HostTrial:
    """How one seed went. ``at`` is in seconds, or the number of a call that changes files."""

    seed: int
    blow: Blow
    at: float
    has_struck: bool
    exit: int
    findings: Findings
    wall: float
    said: str = ""

    def __str__(self) -> str:
        return f"seed {self.seed}: {self.blow} at {self.at:g}, exit {self.exit}"


@contextlib.contextmanager
def host_desk(folder: Path) -> Iterator[FarDesk]:
    """A desk whose one machine serves any number of trials."""
    folder.mkdir(exist_ok=True)
    truth = Truth(folder / "truth")
    with FarDesk(folder, {name: deed_line(name) for name in NAMES}, told=truth.tell) as desk:
        yield desk


def count_calls(desk: FarDesk) -> tuple[int, float]:
    """How many calls of an undisturbed run change files below its results, and the seconds that it takes."""
    began = time.monotonic()
    counted = desk.folder / "calls"
    finished = desk.call(desk.run_command, bad_disk(desk.folder / "results", count=counted))
    assert finished.returncode == 0, finished.stderr
    return int(counted.read_text()), time.monotonic() - began


def run_host_trial(seed: int, desk: FarDesk, *, calls: int, longest: float) -> HostTrial:
    """``calls`` and ``longest`` are what ``count_calls`` found."""
    blow = Blow.of(seed)
    chance = random.Random(seed)
    results, truth = desk.folder / "results", Truth(desk.folder / "truth")
    shutil.rmtree(results, ignore_errors=True)
    truth.path.write_text("")
    began = time.monotonic()
    at = float(chance.randrange(1, calls + 1)) if blow in BY_DISK else chance.uniform(0.3, 0.7 * longest)
    if blow in BY_DISK:
        how = bad_disk(results, at=int(at), how=BY_DISK[blow])
        finished = desk.call(desk.run_command, how)
        code, said = finished.returncode, finished.stderr
    else:
        code = _struck(desk, blow, at)
        said = (desk.folder / "stderr").read_text(errors="replace")
    findings = _after_the_blow(desk, blow, code, said, truth)
    again = desk.lisa_ci("run", "desk", "--plan", "plan.json", "--out", "results", "--resume")
    if again.returncode != 0:
        findings.lost.append(f"--resume ended with {again.returncode}: {again.stderr[-300:]}")
    final = judge(NAMES, desk.leg, truth)
    findings.add(final)
    if {result.case: result.outcome for result in _results(desk)} != EXPECTED:
        findings.wrong.append("the final results are not those of an undisturbed run")
    findings.left += [f"on the host: {path.name}" for path in results.rglob(".*") if path.name != ".desk.lock"]
    findings.left += [f"in the machine: {left}" for left in desk.world.left()]
    if findings.left:
        desk.world.reboot(empty=True)  # the next trial shall not pay for this one
    return HostTrial(
        seed=seed,
        blow=blow,
        at=at,
        has_struck=code != 0,
        exit=code,
        findings=findings,
        wall=time.monotonic() - began,
        said=said[-2000:],
    )


def _struck(desk: FarDesk, blow: Blow, after: float) -> int:
    process = desk.start()
    with contextlib.suppress(subprocess.TimeoutExpired):
        return process.wait(after)
    if blow is Blow.KILL:
        process.kill()
        return process.wait(10)
    return cancelled(process)


def cancelled(process: subprocess.Popen[bytes]) -> int:
    """As GitHub cancels a job: SIGINT, 7.5 s, SIGTERM, 2.5 s, SIGKILL."""
    for number, patience in ((signal.SIGINT, _UNTIL_TERM), (signal.SIGTERM, _UNTIL_KILL)):
        process.send_signal(number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.wait(patience)
    process.kill()
    return process.wait(10)


def _after_the_blow(desk: FarDesk, blow: Blow, code: int, said: str, truth: Truth) -> Findings:
    """What must hold before anybody resumes; tells the truth which results are safe."""
    findings = Findings()
    died = {Blow.KILL, Blow.POWER, Blow.TORN}
    if blow in {Blow.ENOSPC, Blow.EIO} and code not in {0, 4}:
        findings.wrong.append(f"exit {code} for a disk that failed: {said.strip().splitlines()[-1:]}")
    if blow is Blow.CANCEL and code not in {0, 130, 143, -signal.SIGINT}:
        findings.left.append(f"exit {code} for a job that was cancelled")
    if "Traceback" in said:
        findings.wrong.append(f"a traceback for {blow}")
    try:
        results = _results(desk)
    except DataError as error:
        findings.lost.append(f"unreadable after {blow}: {error.message}")
        return findings
    for result in results:
        truth.tell(f"told {result.case} {result.outcome}")
    if blow is Blow.CANCEL and (desk.leg / "run.json").exists() and len(results) != len(NAMES):
        findings.without.append(f"{len(results)} of {len(NAMES)} results after the job was cancelled")
    if code == 0 and blow not in died and any(result.outcome is Outcome.ERRORED for result in results):
        findings.wrong.append("exit 0 with errored results")
    return findings


def _results(desk: FarDesk) -> list[Result]:
    return list(files.read_journal(desk.leg / "journal.ndjson"))
