"""Seeded chaos on the double of Azure: nothing ever exists without a lease, and nothing is left after a sweep.

``pytest tests/chaos/test_azure_chaos.py --azure-runs 1000`` is the long run; ``--azure-runs 1 --seed SEED`` plays one
again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest
from azure.storage.blob import BlobClient

from lisa_ci.platforms.azure import blob_sweep, group, image_blob, names, sweep
from tests.chaos.azure_trial import AzureTrial, run_azure_trial

SHORT = 56
_HEAD = (
    "Fault",
    "Runs",
    "Struck",
    "Had machines",
    "Made",
    "Untagged",
    "Untold",
    "Left after sweep",
    "Foreign touched",
    "Wrong",
)


@pytest.fixture
def show(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[[str], None]]:
    def shown(text: str) -> None:
        with capsys.disabled():
            print(f"\n{text}")  # noqa: T201 - the point of it

    return shown


def _trial(seed: int, folder: Path) -> AzureTrial:
    return run_azure_trial(seed, folder / str(seed))


def test_nothing_is_ever_without_a_lease_and_nothing_is_left_after_a_sweep(
    pytestconfig: pytest.Config, tmp_path: Path, show: Callable[[str], None]
) -> None:
    first, runs = pytestconfig.getoption("--seed", 0), pytestconfig.getoption("--azure-runs", SHORT)
    seeds = range(first, first + runs)
    began = time.monotonic()
    with ProcessPoolExecutor(min(2, len(seeds))) as pool:
        trials = list(pool.map(_trial, seeds, [tmp_path] * len(seeds), chunksize=8))
    wall = time.monotonic() - began
    show(f"{_table(trials)}\n\nSeeds {seeds[0]} to {seeds[-1]}, {wall:.0f} s.")
    broken = [f"seed {one.scene.seed} ({one.scene.kind}; {one.ended}): {one.broken}" for one in trials if one.broken]
    assert not broken, "\n".join(broken[:20])
    if runs >= SHORT:
        assert all(
            any(one.struck for one in trials if one.scene.kind == kind) for kind in {t.scene.kind for t in trials}
        )
        assert any(one.ended == "passed" for one in trials)


def _table(trials: Sequence[AzureTrial]) -> str:
    kinds = sorted({one.scene.kind for one in trials})
    rows = [_row(kind, [one for one in trials if one.scene.kind == kind]) for kind in kinds]
    lines = [_HEAD, ("---", *("---:" for _ in _HEAD[1:])), *rows, _row("**all**", trials)]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def _row(kind: str, trials: Sequence[AzureTrial]) -> tuple[object, ...]:
    return (
        kind,
        len(trials),
        sum(one.struck for one in trials),
        sum(one.had_machine for one in trials),
        sum(one.made for one in trials),
        *(
            sum(len(getattr(one, name)) for one in trials)
            for name in ("untagged", "untold", "left", "touched", "wrong")
        ),
    )


def _forget_tags(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(names, "tags", lambda _lease: {})


def _sweep_everything(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(sweep, "due", lambda *_, **__: (True, "everything"))


def _claim_deletion(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(group.ResourceGroup, "begin_delete", lambda self: setattr(self, "is_deleted", True))


def _sweep_nothing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(group.ResourceGroup, "begin_delete", lambda _self: None)
    patch.setattr(sweep, "_begin", lambda _azure, _found: None)


def _make_blobs_without_a_lease(patch: pytest.MonkeyPatch) -> None:
    known = BlobClient.create_page_blob
    patch.setattr(BlobClient, "create_page_blob", lambda self, size, **_: known(self, size))


def _sweep_every_blob(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(blob_sweep, "due", lambda *_, **__: (True, "everything"))


def _tell_of_no_blob(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(image_blob.ImageBlob, "receipt", lambda _self: None)


def _sweep_no_blob(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(blob_sweep, "delete", lambda _azure, _found: ())


EVICTED, BROUGHT = 10, 206
"""Seeds of a machine that is evicted, and nothing else; in the second its image goes to an empty container."""


@pytest.mark.parametrize(
    ("spoil", "where", "seed"),
    [
        (_forget_tags, "untagged", EVICTED),
        (_sweep_everything, "touched", EVICTED),
        (_claim_deletion, "untold", EVICTED),
        (_sweep_nothing, "left", EVICTED),
        (_make_blobs_without_a_lease, "untagged", BROUGHT),
        (_sweep_every_blob, "touched", BROUGHT),
        (_tell_of_no_blob, "untold", BROUGHT),
        (_sweep_no_blob, "left", BROUGHT),
    ],
)
def test_a_product_that_is_wrong_is_found(
    spoil: Callable[[pytest.MonkeyPatch], None],
    where: str,
    seed: int,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert not run_azure_trial(seed, tmp_path / "right").broken
    spoil(monkeypatch)
    assert getattr(run_azure_trial(seed, tmp_path / "wrong"), where)
