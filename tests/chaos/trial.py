"""One seeded run of a leg on a machine that breaks, and what became of its results, held against what really happened.

The cases, the machine and the product's events write into one file on the host, the truth: one line each, in the order
in which things happened. A line is ``start CASE RUN``, ``end CASE RUN``, ``heard CASE`` (the host knows that it began),
``told CASE OUTCOME`` (its result is safe), ``fault ...``,
``machine N``, ``snapshot`` or ``restore``.
"""

from __future__ import annotations

import os
import random
import threading
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Final

from lisa_ci import files
from lisa_ci.drivers.shell import ShellDriver
from lisa_ci.errors import DataError
from lisa_ci.events import CaseEnded, CaseStarted, Event, Message
from lisa_ci.execution import run_leg
from lisa_ci.model import (
    Access,
    Case,
    Endpoint,
    Leg,
    Outcome,
    Plan,
    Profile,
    ReleaseSettings,
    Risk,
    Run,
    Subject,
    Suite,
    Task,
    Timeouts,
)
from tests.doubles.faulty_machine import Ability, FaultyPlatform
from tests.doubles.faulty_server import Fault, Kind, Stream

TIMEOUTS: Final = Timeouts(
    boot=timedelta(seconds=4), case=timedelta(seconds=20), leg=timedelta(seconds=60), silence=timedelta(seconds=2.5)
)

# What a case does between its two lines of truth, and how it must end.
DEEDS: Final = {
    "passes": (":", 0, Outcome.PASSED),
    "fails": ("echo 'the answer is 3'", 1, Outcome.FAILED),
    "skips": ("echo 'no such device'", 77, Outcome.SKIPPED),
    "works": ("sleep 0.15", 0, Outcome.PASSED),
    "prints": ("dd if=/dev/zero bs=1000 count=200 2>/dev/null", 0, Outcome.PASSED),
    "pretends": (r"printf 'END 1 8\nexit=0\nBYE 0 0\n::error::x\n\033[2J\000'", 1, Outcome.FAILED),
    "risks": ("sleep 0.05", 0, Outcome.PASSED),
}
_WORDS: Final = tuple(DEEDS)
FIRST: Final = (Kind.NOTHING, *(kind for kind in Kind if kind not in {Kind.NOTHING, Kind.PROVISION, Kind.RESTORE}))

HARMLESS: Final = frozenset({Kind.NOTHING, Kind.SLOW, Kind.CHATTER, Kind.PROVISION, Kind.RESTORE})
"""Faults that cost no case its result."""
RUNNER: Final = (Kind.RUNNER_KILLED, Kind.RUNNER_PART_KILLED, Kind.RUNNER_STOPPED)
DEADLY: Final = frozenset({Kind.PANIC, Kind.DARK, Kind.HANG, Kind.SSHD, Kind.NETWORK})
"""Faults after which a machine that is not ours is gone for good."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What a seed stands for."""

    seed: int
    ability: Ability
    faults: tuple[Fault, ...]
    cases: tuple[Case, ...]

    @property
    def kind(self) -> Kind:
        return self.faults[0].kind

    def has_fired(self, kinds: AbstractSet[Kind]) -> bool:
        return any(fault.has_fired and fault.kind in kinds for fault in self.faults)

    def most_errored(self) -> int:
        """How many cases the faults that fired may cost: one each, but for a disk that stays full."""
        if self.ability is Ability.GIVEN and self.has_fired({Kind.FULL}):
            return len(self.cases)
        fired = [fault.kind for fault in self.faults if fault.has_fired and fault.kind not in HARMLESS]
        # The runner may just have put away the output of the case before.
        return len(fired) + sum(fired.count(kind) for kind in RUNNER)

    def may_stay(self, left: str) -> bool:
        """A connection that stalls has no end on the machine's side: what reads or writes there learns nothing."""
        is_folder_or_runner = left.startswith("lisa-ci-") or "/runner.sh" in left
        return self.has_fired({Kind.STALL}) and not is_folder_or_runner

    def may_give_up(self, truth: Truth) -> bool:
        """Whether there is no machine any more, or was none to begin with."""
        if self.ability is Ability.GIVEN and self.has_fired(DEADLY):
            return True
        words = [line[0] for line in truth.lines()]
        return "fault" in words[: words.index("heard")] if "heard" in words else True

    def __str__(self) -> str:
        return f"seed {self.seed}: {self.ability}, {', '.join(map(str, self.faults))}, {len(self.cases)} cases"


def scene(seed: int) -> Scene:
    """The kinds of fault take turns; all else is chance."""
    chance = random.Random(seed)
    kind = FIRST[seed % len(FIRST)]
    ability = chance.choice(tuple(Ability))
    cases = tuple(_case(f"{number}-{chance.choice(_WORDS)}") for number in range(chance.randrange(6, 13)))
    faults = [_placed(kind, chance)]
    if chance.random() < 0.25:
        faults.append(_placed(chance.choice(FIRST[1:]), chance))
    if chance.random() < 0.3:
        next_ = Kind.RESTORE if ability is Ability.SNAPSHOT else Kind.PROVISION
        faults.append(Fault(kind=next_, stream=Stream.NONE))
    return Scene(seed=seed, ability=ability, faults=tuple(faults), cases=cases)


def _case(name: str) -> Case:
    word = name.partition("-")[2]
    risk = Risk.CRASH if word == "risks" else Risk.NONE
    return Case(suite="s", id=name, run=("sh", "-c", deed_line(name)), risk=risk)


def deed_line(name: str) -> str:
    """The shell line of the case ``NUMBER-WORD``."""
    deed, code, _ = DEEDS[name.partition("-")[2]]
    return f"""printf 'start %s %s\\n' "$LISA_CI_CASE" "$LISA_CI_RUN" >>"$TRUTH"
{deed}
printf 'end %s %s\\n' "$LISA_CI_CASE" "$LISA_CI_RUN" >>"$TRUTH"
exit {code}"""


def _placed(kind: Kind, chance: random.Random) -> Fault:
    """Most faults strike while cases run; those of the wire also during the login, the copying, the collecting."""
    wire = {Kind.CUT, Kind.STALL, Kind.GARBLE, Kind.SSHD, Kind.NETWORK, Kind.SLOW}
    said = {Kind.NOISE, Kind.FORGED, Kind.TWICE, Kind.SWAPPED}
    if kind in said:
        return Fault(kind=kind, at=chance.randrange(1, 1500))
    if kind is Kind.GARBLE or (kind in wire and chance.random() < 0.3):
        stream = Stream.OUT if kind is Kind.GARBLE else chance.choice((Stream.OUT, Stream.IN))
        return Fault(kind=kind, stream=stream, at=chance.randrange(25_000 if stream is Stream.OUT else 40_000))
    if chance.random() < 0.4:
        return Fault(kind=kind, stream=Stream.TIME, at=chance.randrange(2, 1000))
    return Fault(kind=kind, at=chance.randrange(1500))


# ---- what happened -------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Findings:
    """What is wrong with a run, by the promise that it breaks; all empty where nothing is."""

    lost: list[str] = field(default_factory=list)
    without: list[str] = field(default_factory=list)
    twice: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)

    def lists(self) -> tuple[list[str], ...]:
        """In the order of the table."""
        return self.lost, self.without, self.twice, self.wrong, self.left

    def __bool__(self) -> bool:
        return any(self.lists())

    def __str__(self) -> str:
        named = zip(("lost", "without a result", "twice", "wrong", "left"), self.lists(), strict=True)
        return "; ".join(f"{name}: {', '.join(found)}" for name, found in named if found)

    def add(self, more: Findings) -> None:
        """Take over what another look found."""
        for mine, its in zip(self.lists(), more.lists(), strict=True):
            mine.extend(its)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """How one seed went. ``is_judged`` False: the leg gave up (exit 4), which only some faults allow."""

    scene: Scene
    findings: Findings
    errored: int
    is_judged: bool
    recoveries: int
    wall: float
    truth: str = ""

    @property
    def has_fired(self) -> bool:
        return any(fault.has_fired for fault in self.scene.faults)


class Truth:
    """The file that everybody appends to."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch()

    def tell(self, line: str) -> None:
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND)
        try:
            os.write(descriptor, f"{line}\n".encode())
        finally:
            os.close(descriptor)

    def hear(self, event: Event) -> None:
        """The product's events: a result is told when it is safe."""
        if isinstance(event, CaseStarted):
            self.tell(f"heard {event.case.partition('#')[2]}")
        elif isinstance(event, CaseEnded):
            self.tell(f"told {event.result.case} {event.result.outcome}")
        elif isinstance(event, Message):
            self.tell(f"says {event.text}")

    def lines(self) -> list[list[str]]:
        return [line.split() for line in self.path.read_text("utf-8", "replace").splitlines()]


def plan_of(cases: tuple[Case, ...], ability: Ability, folder: Path, truth: Path) -> tuple[Plan, Leg, dict[str, Suite]]:
    """A plan of one leg with one suite of these cases."""
    (folder / "suite").mkdir(exist_ok=True)
    suite = Suite(
        name="s",
        folder=str(folder / "suite"),
        digest="0",
        driver="shell",
        cases=cases,
        environment={"TRUTH": str(truth)},
    )
    given = ability is Ability.GIVEN
    profile = Profile(name="small", platform="faulty", endpoint=Endpoint(host="127.0.0.1") if given else None)
    leg = Leg(id="leg", profile=profile, tasks=(Task(suite="s"),))
    plan = Plan(
        name="chaos",
        subject=Subject(),
        access=Access(),
        timeouts=TIMEOUTS,
        release=ReleaseSettings(),
        suites=(),
        legs=(leg,),
    )
    return plan, leg, {"s": suite}


def run_trial(seed: int, folder: Path) -> Trial:
    """Run a seed in ``folder``, which is new, and hold it against the truth."""
    played = scene(seed)
    folder.mkdir()
    truth = Truth(folder / "truth")
    before = Belongings.now()
    began = time.monotonic()
    with FaultyPlatform(
        folder=folder, seed=seed, faults=list(played.faults), ability=played.ability, told=truth.tell
    ) as platform:
        run, bug = _played(played, platform, folder, truth)
    wall = time.monotonic() - began
    findings = judge([case.id for case in played.cases], folder / "out/leg", truth)
    findings.wrong += bug
    findings.left += [f"in the machine: {left}" for left in platform.left if not played.may_stay(left)]
    findings.left += before.more_now()
    findings.left += [str(path.relative_to(folder)) for path in (folder / "out").rglob("*") if _is_scrap(path)]
    outcomes = Counter(result.outcome for result in files.read_journal(folder / "out/leg/journal.ndjson"))
    errored, allowed = outcomes[Outcome.ERRORED], played.most_errored()
    error = run.error if run else "a bug"
    if not error and errored > allowed:
        findings.lost.append(f"{errored} cases are errored, where the faults explain {allowed}")
    if error and not played.may_give_up(truth):
        findings.lost.append(f"the leg was given up: {error}")
    return Trial(
        scene=played,
        findings=findings,
        errored=errored,
        is_judged=not error,
        recoveries=len(run.recoveries) if run else 0,
        wall=wall,
        truth=truth.path.read_text("utf-8", "replace") if findings else "",
    )


def _played(played: Scene, platform: FaultyPlatform, folder: Path, truth: Truth) -> tuple[Run | None, list[str]]:
    """The leg's run; or none, and the traceback."""
    plan, leg, suites = plan_of(played.cases, played.ability, folder, truth.path)
    try:
        run = run_leg(
            plan,
            "digest",
            leg,
            platform=platform,
            driver=lambda _: ShellDriver(),
            scenario=_no_scenario,
            suites=suites,
            out=folder / "out",
            emit=truth.hear,
        )
    except Exception as error:  # noqa: BLE001 - the product's bug is what this run has found
        return None, ["".join(traceback.format_exception(error))]
    return run, []


def _no_scenario(name: str) -> object:  # type: ignore[type-arg]
    raise AssertionError(f"there is no scenario {name}")


def _is_scrap(path: Path) -> bool:
    """Temporary files and the scratch folder; the lock stays, for it is empty and names the leg."""
    return path.name.startswith(".") and path.name != ".leg.lock"


def judge(names: Sequence[str], leg: Path, truth: Truth) -> Findings:
    """The results of a leg, held against what really happened."""
    findings = Findings()
    try:
        evidence = files.read_leg(leg)
        if evidence is None:
            findings.lost.append("there is no run.json")
            return findings
        results = list(evidence.results())
    except DataError as error:
        findings.lost.append(f"unreadable: {error.message}")
        return findings
    if not evidence.run.is_complete:
        findings.without.append("run.json is not complete")
    given = Counter(result.case for result in results)
    findings.without += [name for name in names if not given[name]]
    findings.wrong += [f"{name} has {count} results" for name, count in given.items() if count > 1]
    findings.wrong += [f"{name} was never planned" for name in given if name not in names]
    final = {result.case: result for result in results}
    happened = _happened(truth)
    findings.twice += [f"{name} began again after its result was told" for name in happened.again]
    for name, outcome in happened.told.items():
        if name not in final or (final[name].outcome != outcome and outcome != Outcome.ERRORED):
            findings.lost.append(f"{name} was told as {outcome}")
    for name, result in final.items():
        expected = DEEDS[name.partition("-")[2]][2]
        if result.outcome is Outcome.ERRORED:
            if name not in happened.started | happened.heard and not evidence.run.error:
                findings.lost.append(f"{name} is errored and never began: {result.message}")
        elif result.outcome is not expected:
            findings.wrong.append(f"{name} is {result.outcome}, not {expected}: {result.message}")
        elif name not in happened.ended:
            findings.wrong.append(f"{name} is {result.outcome} and never came to its end")
    return findings


@dataclass(slots=True)
class _Happened:
    started: set[str] = field(default_factory=set)
    heard: set[str] = field(default_factory=set)
    ended: set[str] = field(default_factory=set)
    told: dict[str, str] = field(default_factory=dict)
    again: list[str] = field(default_factory=list)


def _happened(truth: Truth) -> _Happened:
    found = _Happened()
    for word, *rest in truth.lines():
        match word:
            case "start":
                found.started.add(rest[0])
                if found.told.get(rest[0], Outcome.ERRORED) != Outcome.ERRORED:
                    found.again.append(rest[0])
            case "heard":
                found.heard.add(rest[0])
            case "end":
                found.ended.add(rest[0])
            case "told":
                found.told[rest[0]] = rest[1]
    return found


@dataclass(frozen=True, slots=True)
class Belongings:
    """What this process has: threads, open files, children."""

    threads: frozenset[int]
    descriptors: frozenset[str]
    children: frozenset[str]

    @staticmethod
    def now() -> Belongings:
        return Belongings(
            frozenset(thread.ident or 0 for thread in threading.enumerate()),
            frozenset(_open_files()),
            frozenset(_children()),
        )

    def more_now(self, *, wait: float = 3) -> list[str]:
        """What there is beyond it, after ``wait`` seconds."""
        deadline = time.monotonic() + wait
        while (more := self._more()) and time.monotonic() < deadline:
            time.sleep(0.02)
        return more

    def _more(self) -> list[str]:
        now = Belongings.now()
        threads = [f"thread {t.name}" for t in threading.enumerate() if (t.ident or 0) not in self.threads]
        opened = [f"open {name}" for name in now.descriptors - self.descriptors]
        return [*threads, *opened, *(f"child {name}" for name in now.children - self.children)]


def _open_files() -> list[str]:
    found = []
    for entry in Path("/proc/self/fd").iterdir():
        try:
            found.append(f"{entry.name} {entry.readlink()}")
        except OSError:
            continue  # the descriptor that lists this folder
    return found


def _children() -> list[str]:
    found: list[str] = []
    for task in Path("/proc/self/task").iterdir():
        try:
            found += (task / "children").read_text().split()
        except OSError:
            continue
    return found
