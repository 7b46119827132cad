"""All runs of an archive: the names are the truth, packs spare the reading, damage hides nothing else."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from lisa_ci.archive import catalog, layout
from lisa_ci.archive.folder_store import FolderStore
from lisa_ci.archive.layout import RunIndex, RunName, Summary, name_of
from lisa_ci.archive.query import By, Wanted, tallied
from lisa_ci.events import Event, Message
from tests.doubles.release import silent

FIRST = datetime(2026, 1, 1, tzinfo=UTC)
CASES = tuple(f"suite#case-{n}" for n in range(20))


class Counting(FolderStore):
    """A folder that counts what is read of it."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.reads = 0

    def read(self, name: str) -> Iterator[bytes] | None:
        self.reads += 1
        return super().read(name)


@pytest.fixture
def store(tmp_path: Path) -> Counting:
    return Counting(tmp_path)


def make(number: int, started: datetime | None = None, **fields: object) -> Summary:
    plain = Summary(
        id=f"{number:016x}",
        name="nightly",
        leg="small",
        profile="small",
        attempt=1,
        started=started or FIRST + timedelta(minutes=number),
        cases=CASES,
        outcomes="p" * 19 + ("f" if number % 10 == 0 else "p"),
        wall_ms=tuple(range(20)),
    )
    return dataclasses.replace(plain, **fields)  # type: ignore[arg-type]


def put(store: FolderStore, *runs: Summary) -> list[RunName]:
    for run in runs:
        data = layout.compressed(layout.encode_index(RunIndex(summary=run)))
        store.put_new(str(name_of(run)), data, len(data.getbuffer()))
    return [name_of(run) for run in runs]


def ids(store: FolderStore, **asked: date) -> list[int]:
    there = catalog.names(store, **asked)
    return sorted(int(run.id, 16) for run in catalog.summaries(store, there, workers=2, emit=silent))


def test_runs_are_found_with_and_without_packs(store: Counting) -> None:
    put(store, *(make(n, FIRST + timedelta(hours=n)) for n in range(5)))
    assert ids(store) == [0, 1, 2, 3, 4]
    assert len(catalog.pack_month(store, "2026/01", 1, workers=2, emit=silent)) == 1
    put(store, make(5, FIRST + timedelta(hours=5)))
    store.reads = 0
    assert ids(store) == [0, 1, 2, 3, 4, 5]
    assert store.reads == 2  # one pack, and the run that is in none


def test_days_choose_runs_and_what_is_read_for_them(store: Counting) -> None:
    put(store, *(make(n, FIRST + timedelta(days=31 * n)) for n in range(12)))
    assert ids(store, since=date(2026, 2, 1), until=date(2026, 4, 30)) == [1, 2, 3]
    assert ids(store, since=date(2026, 6, 1)) == [5, 6, 7, 8, 9, 10, 11]
    assert ids(store, until=date(2026, 1, 1)) == [0]


def test_a_pack_is_written_when_there_is_enough_and_the_month_before_is_closed(store: Counting) -> None:
    early = put(store, *(make(n) for n in range(catalog.PACK_LEAST - 1)))
    assert catalog.pack_months(store, early, workers=2, emit=silent) == 0
    more = put(store, make(63))
    assert catalog.pack_months(store, more, workers=2, emit=silent) == 1
    assert catalog.pack_months(store, more, workers=2, emit=silent) == 0
    put(store, *(make(n) for n in range(64, 80)))
    next_month = put(store, make(80, FIRST + timedelta(days=31)))
    assert catalog.pack_months(store, next_month, workers=2, emit=silent) == 1
    assert catalog.pack_months(store, next_month, workers=2, emit=silent) == 0
    assert [(name.month, name.count) for name in catalog.pack_names(store)] == [("2026/01", 80), ("2026/01", 64)]


def test_of_a_closed_month_one_pack_is_read(store: Counting) -> None:
    put(store, *(make(n) for n in range(40)))
    for start in range(0, 40, 2):
        catalog.write_packs(store, [make(n) for n in range(start, start + 2)])
    assert [name.count for name in catalog.close_month(store, "2026/01", workers=2, emit=silent)] == [40]
    store.reads = 0
    assert ids(store) == list(range(40))
    assert store.reads == 1


def test_packs_are_bounded_by_runs_and_by_results(store: Counting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "PACK_MOST", 3)
    monkeypatch.setattr(catalog, "PACK_CASES", 50)
    runs = [make(n, cases=(), outcomes="", wall_ms=()) for n in range(4)] + [make(n) for n in range(4, 8)]
    assert [name.count for name in catalog.write_packs(store, runs)] == [3, 3, 2]
    huge = make(9, cases=CASES * 9, outcomes="p" * 180, wall_ms=(1,) * 180)
    assert [name.count for name in catalog.write_packs(store, [make(8), huge])] == [1, 1]


def test_a_thousand_runs_are_answered_from_a_few_reads(store: Counting) -> None:
    runs = [make(n, FIRST + timedelta(hours=8 * n)) for n in range(1000)]
    put(store, *runs)
    for month in layout.months(date(2026, 1, 1), date(2026, 12, 31)):
        catalog.pack_month(store, month, 1, workers=2, emit=silent)
    store.reads = 0
    found = catalog.summaries(store, catalog.names(store), workers=4, emit=silent)
    tally = tallied(found, Wanted(cases=("suite#case-19",)), By.CASE)["suite#case-19"]
    assert (tally.runs, round(tally.failed_percent)) == (1000, 10)
    assert store.reads <= 12


def test_packs_that_overlap_or_speak_of_runs_that_are_gone_change_no_answer(store: Counting) -> None:
    runs = [make(n) for n in range(4)]
    names = put(store, *runs)
    catalog.write_packs(store, runs[:3])
    catalog.write_packs(store, runs[1:])
    entry = store.find(str(names[2]))
    assert entry is not None
    assert store.remove(entry)
    assert ids(store) == [0, 1, 3]


def test_damage_is_told_and_hides_nothing_else(store: Counting, tmp_path: Path) -> None:
    names = put(store, *(make(n) for n in range(4)))
    catalog.write_packs(store, [make(n) for n in range(3)])
    (pack,) = catalog.pack_names(store)
    (tmp_path / str(pack)).write_bytes(b"no gzip")
    (tmp_path / str(names[1])).write_bytes(layout.compressed(b'{"summary": 1}').getvalue())
    (tmp_path / "runs/2026/01/01/nightly/small/foreign.txt").write_text("somebody's")
    told: list[Event] = []
    found = catalog.summaries(store, catalog.names(store), workers=2, emit=told.append)
    assert sorted(int(run.id, 16) for run in found) == [0, 2, 3]
    assert len([event for event in told if isinstance(event, Message) and "not used" in event.text]) == 2


def test_a_leg_that_was_put_before_its_end_and_after_it_is_one_run(store: Counting) -> None:
    part = make(1, FIRST, is_complete=False, cases=CASES[:3], outcomes="ppp", wall_ms=(1, 2, 3))
    whole = make(2, FIRST, is_complete=True)
    other = make(3, FIRST + timedelta(seconds=1), is_complete=True)
    put(store, part, whole, other)
    assert ids(store) == [2, 3]
    assert len(catalog.names(store)) == 3


def test_a_folder_that_is_no_archive_has_no_runs(store: Counting) -> None:
    store.put_new("other/thing", io.BytesIO(b"x"), 1)
    assert ids(store) == []
