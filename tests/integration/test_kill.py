"""Killed, cancelled, out of disk or out of power: ``run --resume`` gives the results of an undisturbed run."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lisa_ci import files
from lisa_ci.model import Outcome
from tests.chaos.host_trial import EXPECTED, Blow, cancelled, count_calls, host_desk, run_host_trial
from tests.doubles.bad_disk import bad_disk
from tests.doubles.far_desk import FarDesk

pytestmark = pytest.mark.alone

MOMENTS = 20


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FarDesk]:
    with host_desk(tmp_path_factory.mktemp("kill")) as desk:
        yield desk


def test_killed_at_any_of_twenty_moments_a_resumed_run_has_the_same_results(desk: FarDesk) -> None:
    count_calls(desk)  # compiles Python's files, and so is no measure
    calls, longest = count_calls(desk)
    kinds = tuple(Blow)
    seeds = [len(kinds) * moment + kinds.index(Blow.KILL) for moment in range(MOMENTS)]
    broken = []
    for seed in seeds:
        trial = run_host_trial(seed, desk, calls=calls, longest=longest)
        if trial.findings:
            broken.append(f"{trial}: {trial.findings}")
    assert not broken, broken


@pytest.mark.parametrize("blow", [blow for blow in Blow if blow is not Blow.KILL])
def test_whatever_else_befalls_the_host_a_resumed_run_has_the_same_results(desk: FarDesk, blow: Blow) -> None:
    calls, longest = count_calls(desk)
    kinds = tuple(Blow)
    for moment in range(2):
        trial = run_host_trial(len(kinds) * moment + kinds.index(blow), desk, calls=calls, longest=longest)
        assert not trial.findings, f"{trial}: {trial.findings}\n{trial.said}"


def test_a_job_that_is_cancelled_while_its_machine_hangs_ends_within_githubs_ten_seconds(tmp_path: Path) -> None:
    reached = tmp_path / "reached"
    cases = {"a": "true", "b": f"touch {reached}; sleep 60", "c": "true"}
    with FarDesk(tmp_path, cases, told=lambda _: None) as desk:
        process = desk.start()
        deadline = time.monotonic() + 60
        while not reached.exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        desk.world.freeze()
        began = time.monotonic()
        code = cancelled(process)
        assert time.monotonic() - began < 10
        assert code in {130, 143, -signal.SIGINT}
        outcomes = {result.case: result.outcome for result in desk.results()}
        assert outcomes == {"a": Outcome.PASSED, "b": Outcome.ERRORED, "c": Outcome.ERRORED}
        assert not [path for path in (tmp_path / "results").iterdir() if path.name.endswith(".scratch")]


def test_a_full_disk_is_told_once_with_exit_4_and_what_is_on_it_can_be_read(desk: FarDesk, tmp_path: Path) -> None:
    """A real one: a small file system in a mount namespace of its own, read before it goes."""
    kept = tmp_path / "kept"
    line = (
        'mount -t tmpfs -o size=40k small "$1" && shift && { "$@"; code=$?; } ; '
        f'cp -a "{desk.folder}/results/desk" "{kept}"; exit $code'
    )
    results = desk.folder / "results"
    results.mkdir(exist_ok=True)
    unshare = ["unshare", "--map-root-user", "--mount", "sh", "-c", line, "sh", str(results), *desk.run_command]
    finished = subprocess.run(
        unshare, cwd=desk.folder, capture_output=True, text=True, errors="replace", timeout=120, check=False
    )
    assert finished.returncode == 4, finished.stderr
    assert "No space left on device" in finished.stderr
    assert "Traceback" not in finished.stderr
    assert list(files.read_journal(kept / "journal.ndjson"))


def test_nothing_is_written_but_through_calls_that_the_double_can_break(desk: FarDesk, tmp_path: Path) -> None:
    counted = tmp_path / "count"
    finished = desk.call(desk.run_command, bad_disk(desk.folder / "results", count=counted))
    assert finished.returncode == 0
    assert int(counted.read_text()) > 30
    assert {result.case: result.outcome for result in desk.results()} == EXPECTED
