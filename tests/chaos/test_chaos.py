"""Seeded chaos: whatever fails, and wherever, nothing is lost, nothing runs twice, nothing is left.

``pytest tests/chaos`` is the short run, ``nox -s chaos -- --runs 1000`` a long one. A failure names its seed, and
``pytest tests/chaos --runs 1 --host-runs 0 --seed SEED`` is that run again.
"""

from __future__ import annotations

import contextlib
import faulthandler
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest

from tests.chaos.conftest import Amount
from tests.chaos.host_trial import Blow, HostTrial, count_calls, host_desk, run_host_trial
from tests.chaos.qemu_trial import Harm, run_qemu_trial
from tests.chaos.table import Row, table
from tests.chaos.trial import Trial, run_trial
from tests.doubles.demo_image import demo_image_path

LONGEST = 100  # seconds for one run; whoever is longer at it hangs, and every thread's place is told

Show = Callable[[str], None]


@pytest.fixture
def show(capsys: pytest.CaptureFixture[str]) -> Iterator[Show]:
    """Print past pytest: a table that passes is worth reading, too."""

    def shown(text: str) -> None:
        with capsys.disabled():
            print(f"\n{text}")  # noqa: T201 - the point of it

    return shown


@contextlib.contextmanager
def _watched(seed: int, folder: Path) -> Iterator[None]:
    """A run that hangs ends its process, and the place of each of its threads is in a file."""
    with (folder / f"{seed}.hangs").open("w") as place:
        faulthandler.dump_traceback_later(LONGEST, exit=True, file=place)
        try:
            yield
        finally:
            faulthandler.cancel_dump_traceback_later()
    Path(place.name).unlink()


@contextlib.contextmanager
def _pool(jobs: int, folder: Path) -> Iterator[ProcessPoolExecutor]:
    try:
        with ProcessPoolExecutor(jobs) as pool:
            yield pool
    except BrokenProcessPool:
        hung = {path: path.read_text() for path in folder.rglob("*.hangs")}
        pytest.fail("\n".join(f"{path.stem} hangs or crashes:\n{text}" for path, text in hung.items() if text))


def _machine_trial(seed: int, folder: Path) -> Trial:
    with _watched(seed, folder):
        return run_trial(seed, folder / str(seed))


def test_a_machine_may_fail_at_any_moment(amount: Amount, tmp_path: Path, show: Show) -> None:
    seeds = range(amount.seed, amount.seed + amount.runs)
    with _pool(amount.jobs, tmp_path) as pool:
        trials = list(pool.map(_machine_trial, seeds, [tmp_path] * len(seeds), chunksize=1))
    rows = [
        Row(
            seed=trial.scene.seed,
            kind=trial.scene.kind,
            findings=trial.findings,
            has_struck=trial.has_fired,
            errored=trial.errored,
            gave_up=not trial.is_judged,
            wall=trial.wall,
        )
        for trial in trials
    ]
    show(table(rows))
    broken = [f"{trial.scene}\n  {trial.findings}\n{trial.truth}" for trial in trials if trial.findings]
    assert not broken, "\n".join(broken[:10])


def _host_trials(seeds: list[int], folder: Path) -> list[HostTrial]:
    """One desk serves all of them, one after the other."""
    trials = []
    with host_desk(folder) as desk:
        count_calls(desk)  # compiles Python's files, and so is no measure
        calls, longest = count_calls(desk)
        for seed in seeds:
            with _watched(seed, folder):
                trials.append(run_host_trial(seed, desk, calls=calls, longest=longest))
    return trials


def test_the_host_may_fail_at_any_moment(amount: Amount, tmp_path: Path, show: Show) -> None:
    seeds = list(range(amount.seed, amount.seed + amount.host_runs))
    jobs = min(amount.jobs, len(seeds)) or 1
    with _pool(jobs, tmp_path) as pool:
        folders = [tmp_path / str(job) for job in range(jobs)]
        parts = pool.map(_host_trials, [seeds[job::jobs] for job in range(jobs)], folders)
        trials = sorted((trial for part in parts for trial in part), key=lambda trial: trial.seed)
    if not trials:
        return
    rows = [
        Row(
            seed=trial.seed,
            kind=trial.blow,
            findings=trial.findings,
            has_struck=trial.has_struck,
            wall=trial.wall,
        )
        for trial in trials
    ]
    show(table(rows))
    broken = [f"{trial}\n  {trial.findings}\n{trial.said}" for trial in trials if trial.findings]
    assert not broken, "\n".join(broken[:10])


def test_a_real_machine_may_fail_at_any_moment(
    amount: Amount, tmp_path: Path, show: Show, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``--qemu 60``: half an hour under emulation. CI has its own tests of real machines (test_qemu_recovery.py)."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    trials = [
        run_qemu_trial(seed, demo_image_path(), tmp_path / str(seed))
        for seed in range(amount.seed, amount.seed + amount.qemu)
    ]
    if not trials:
        return
    rows = [
        Row(
            seed=trial.seed,
            kind=trial.harm,
            findings=trial.findings,
            has_struck=True,
            errored=trial.errored,
            wall=trial.wall,
        )
        for trial in trials
    ]
    show(table(rows))
    broken = [f"{trial}\n  {trial.findings}" for trial in trials if trial.findings]
    assert not broken, "\n".join(broken)


def test_every_kind_of_harm_takes_its_turn() -> None:
    assert {Harm.of(seed) for seed in range(len(Harm))} == set(Harm)


def test_every_kind_of_blow_takes_its_turn() -> None:
    assert {Blow.of(seed) for seed in range(len(Blow))} == set(Blow)
