"""Runs whose time is over, then the blobs that no run needs.

Safe beside puts without a lock: a put refreshes every old blob that it uses (``put.REFRESH_AFTER``) and ends within
``put.LONGEST``; nothing younger than ``GRACE`` is removed here, and a removal loses against a refresh.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

from lisa_ci.archive import catalog, layout
from lisa_ci.archive.layout import PackName, RunName
from lisa_ci.archive.parallel import in_parallel
from lisa_ci.archive.store import Entry, Store
from lisa_ci.errors import DataError
from lisa_ci.events import Emit, Level, Message

GRACE: Final = timedelta(hours=24)
_PACKS_MOST: Final = 8  # of a month


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruning:
    """What goes; ``months`` (YYYY/MM) are those whose packs are written anew; ``kept`` and ``unread`` count runs."""

    runs: tuple[RunName, ...]
    blobs: tuple[Entry, ...]
    months: tuple[str, ...]
    kept: int
    unread: int

    @property
    def size_bytes(self) -> int:
        """Of the blobs, as they are stored."""
        return sum(entry.size_bytes for entry in self.blobs)


def plan_pruning(store: Store, *, today: date | None = None, workers: int = 8, emit: Emit) -> Pruning:
    """What ``prune`` would remove. Where a run cannot be read, nobody knows which blobs it needs: then none go."""
    there = catalog.names(store)
    now = store.now()
    last = today or now.date()
    over = set()
    for summary in catalog.every(store, there, workers=workers, emit=emit):
        if summary.delete_after is not None and summary.delete_after < last:
            over.add(layout.name_of(summary))
    kept = [name for name in there if name not in over]
    needed, unread = _needed(store, kept, workers, emit)
    blobs: tuple[Entry, ...] = ()
    if not unread:
        young = now - GRACE
        blobs = tuple(entry for entry in store.entries("blobs/") if entry.name not in needed and entry.modified < young)
    months = tuple(_months_to_pack(store, frozenset(kept), workers, emit))
    return Pruning(runs=tuple(sorted(over)), blobs=blobs, months=months, kept=len(kept), unread=unread)


def prune(store: Store, planned: Pruning, *, workers: int = 8, emit: Emit) -> tuple[int, int]:
    """Remove what was planned; how many runs and how many blobs went. Runs go first: a run that is seen is whole."""
    runs = sum(gone for _, gone in in_parallel(workers, lambda name: _drop(store, str(name)), planned.runs))
    blobs = sum(gone for _, gone in in_parallel(workers, store.remove, planned.blobs))
    for month in planned.months:
        _pack_anew(store, month, workers, emit)
    return runs, blobs


def _needed(store: Store, kept: Collection[RunName], workers: int, emit: Emit) -> tuple[set[str], int]:
    """The names of the blobs that these runs need, and how many runs could not be read."""
    needed: set[str] = set()
    unread = 0

    def blobs_of(name: RunName) -> tuple[str, ...] | None:
        try:
            index = catalog.read_index(store, name)
        except DataError as error:
            emit(Message(text=f"cannot tell what it needs: {error.message}", level=Level.WARNING))
            return None
        return () if index is None else tuple(index.blobs)

    for _, blobs in in_parallel(workers, blobs_of, kept):
        if blobs is None:
            unread += 1
        else:
            needed.update(layout.blob_name(sha256) for sha256 in blobs)
    return needed, unread


def _drop(store: Store, name: str) -> bool:
    entry = store.find(name)
    return entry is not None and store.remove(entry)


# ---- packs ---------------------------------------------------------------------------------------------------------


def _months_to_pack(store: Store, kept: Collection[RunName], workers: int, emit: Emit) -> Iterator[str]:
    """Months whose packs speak of runs that are gone, say things twice, are damaged, or are many."""
    by_month: dict[str, list[PackName]] = defaultdict(list)
    for name in catalog.pack_names(store):
        by_month[name.month].append(name)
    for month, packs in sorted(by_month.items()):
        seen: set[RunName] = set()
        count = 0
        for _, found in in_parallel(workers, lambda name: catalog.pack_or_none(store, name, emit), packs):
            names = [layout.name_of(summary) for summary in found or ()]
            count += len(names) or len(kept) + 1
            seen.update(names)
        is_many = len(packs) > _PACKS_MOST + count // catalog.PACK_MOST
        if is_many or count != len(seen) or not seen <= set(kept):
            yield month


def _pack_anew(store: Store, month: str, workers: int, emit: Emit) -> None:
    """New packs first, then the old ones go: a query between sees both, and takes each run once."""
    old = list(store.entries(f"packs/{month}/"))
    there = [name for text in store.names(f"runs/{month}/") if (name := layout.parse_run_name(text))]
    fresh = {str(name) for name in catalog.write_packs(store, catalog.every(store, there, workers=workers, emit=emit))}
    for entry in old:
        if entry.name not in fresh:
            store.remove(entry)
