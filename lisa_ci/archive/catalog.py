"""All runs of an archive without reading them: the list of their names is the truth, packs spare the reading.

A pack holds the summaries of many runs of a month. Whoever puts a run writes one when enough runs are in none; packs
are named by their content, may overlap, and may name runs that are gone. So writers need no lock, and nothing that
becomes of a pack makes an answer wrong: a run that is in none is read itself.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from datetime import date
from typing import Final

from lisa_ci.archive import layout
from lisa_ci.archive.layout import PackName, RunIndex, RunName, Summary
from lisa_ci.archive.parallel import in_parallel
from lisa_ci.archive.store import Store
from lisa_ci.errors import DataError
from lisa_ci.events import Emit, Level, Message

RUNS_MOST: Final = 1_000_000
PACK_LEAST: Final = 64  # runs of a month that are in no pack before one is written
PACK_MOST: Final = 1000
PACK_CASES: Final = 1_000_000  # some 10 MiB of JSON
_MONTHS_ONE_BY_ONE: Final = 6  # beyond it, one listing of everything is cheaper


def names(store: Store, *, since: date | None = None, until: date | None = None) -> list[RunName]:
    """The runs that are there, whole, in order; ``until`` is the last day."""
    found = []
    for prefix in _prefixes("runs", since, until):
        for text in store.names(prefix):
            name = layout.parse_run_name(text)
            if name is not None and (since is None or name.day >= since) and (until is None or name.day <= until):
                found.append(name)
                if len(found) > RUNS_MOST:
                    hint = "ask for fewer days, or keep archives apart by prefixes"
                    raise DataError(f"{store.place} has more than {RUNS_MOST:,} runs", hint=hint)
    return sorted(found)


def _prefixes(top: str, since: date | None, until: date | None) -> list[str]:
    if since is not None and until is not None:
        few = list(itertools.islice(layout.months(since, until), _MONTHS_ONE_BY_ONE + 1))
        if len(few) <= _MONTHS_ONE_BY_ONE:
            return [f"{top}/{month}/" for month in few]
    return [f"{top}/"]


def summaries(store: Store, wanted: Collection[RunName], *, workers: int, emit: Emit) -> Iterator[Summary]:
    """The summary of each of these runs, in no order. What is damaged is told and left out; what is gone is left out.

    Runs that say the same thing twice (a leg that was put before its end, and again after it) are given once.
    """
    double = _DoublesOf(wanted)
    for summary in every(store, wanted, workers=workers, emit=emit):
        if not double.holds(summary):
            yield summary
    yield from double.chosen()


def every(store: Store, wanted: Collection[RunName], *, workers: int, emit: Emit) -> Iterator[Summary]:
    """As ``summaries``, and each of those that say the same thing."""
    left = set(wanted)
    open_in = Counter(name.month for name in left)
    packs = _packs(store, left)
    largest = {name.month: name for name in reversed(packs)}
    for part in (list(largest.values()), [name for name in packs if largest[name.month] != name]):
        asked = [name for name in part if open_in[name.month]]
        for _, found in in_parallel(workers, lambda name: pack_or_none(store, name, emit), asked):
            for summary in found or ():
                name = layout.name_of(summary)
                if name in left:
                    left.discard(name)
                    open_in[name.month] -= 1
                    yield summary
    for _, index in in_parallel(workers, lambda name: _index_or_none(store, name, emit), sorted(left)):
        if index is not None:
            yield index.summary


def _packs(store: Store, wanted: Iterable[RunName]) -> list[PackName]:
    days = [name.day for name in wanted]
    if not days:
        return []
    asked = {f"{day:%Y/%m}" for day in days}
    return [name for name in pack_names(store, since=min(days), until=max(days)) if name.month in asked]


def pack_names(store: Store, *, since: date | None = None, until: date | None = None) -> list[PackName]:
    found = (
        layout.parse_pack_name(text) for prefix in _prefixes("packs", since, until) for text in store.names(prefix)
    )
    return sorted((name for name in found if name is not None), key=lambda name: (-name.count, name))


def pack_or_none(store: Store, name: PackName, emit: Emit) -> list[Summary] | None:
    """None where it is gone, or damaged, which is told: it must not hide the rest."""
    try:
        return read_pack(store, name)
    except DataError as error:
        emit(Message(text=f"not used: {error.message}", level=Level.WARNING))
        return None


def _index_or_none(store: Store, name: RunName, emit: Emit) -> RunIndex | None:
    try:
        return read_index(store, name)
    except DataError as error:
        emit(Message(text=f"not used: {error.message}", level=Level.WARNING))
        return None


def read_index(store: Store, name: RunName) -> RunIndex | None:
    """None where the run is gone; DataError."""
    data = _content(store, str(name), layout.INDEX_LIMIT)
    return None if data is None else layout.decode_index(data, name)


def read_pack(store: Store, name: PackName) -> list[Summary] | None:
    data = _content(store, str(name), layout.PACK_LIMIT)
    return None if data is None else layout.decode_pack(data, name)


def _content(store: Store, name: str, limit: int) -> bytes | None:
    blocks = store.read(name)
    return None if blocks is None else b"".join(layout.unpacked(blocks, limit, place=f"{store.place}: {name}"))


# ---- packs ---------------------------------------------------------------------------------------------------------


def pack_months(store: Store, put: Iterable[RunName], *, workers: int, emit: Emit) -> int:
    """Write packs where these new runs have made enough of them, and close the month before; how many were written."""
    touched = {name.month for name in put}
    before = {layout.month_before(month) for month in touched} - touched
    return sum(
        len(pack(store, month, workers=workers, emit=emit))
        for pack, months in ((pack_month, touched), (close_month, before))
        for month in sorted(months)
    )


def pack_month(store: Store, month: str, least: int = PACK_LEAST, *, workers: int, emit: Emit) -> list[PackName]:
    """Pack the runs of a month that are in no pack, where there are ``least`` of them."""
    there, packs = _month(store, month)
    if len(there) - sum(pack.count for pack in packs) < least:
        return []
    left = set(there)
    for _, found in in_parallel(workers, lambda name: pack_or_none(store, name, emit), packs):
        left -= {layout.name_of(summary) for summary in found or ()}
    if len(left) < least:
        return []
    read = in_parallel(workers, lambda name: _index_or_none(store, name, emit), sorted(left))
    return write_packs(store, (index.summary for _, index in read if index is not None))


def close_month(store: Store, month: str, *, workers: int, emit: Emit) -> list[PackName]:
    """One large pack in front of the many small ones of a month that is over: then a query reads no other."""
    there, packs = _month(store, month)
    largest = sorted((pack.count for pack in packs), reverse=True)[: -(-len(there) // PACK_MOST)]
    if len(there) - sum(largest) <= len(there) // 10:
        return []
    return write_packs(store, every(store, there, workers=workers, emit=emit))


def _month(store: Store, month: str) -> tuple[set[RunName], list[PackName]]:
    runs = {name for text in store.names(f"runs/{month}/") if (name := layout.parse_run_name(text))}
    packs = [pack for text in store.names(f"packs/{month}/") if (pack := layout.parse_pack_name(text))]
    return runs, packs


def write_packs(store: Store, found: Iterable[Summary]) -> list[PackName]:
    """Packs of these runs of one month: at most PACK_MOST runs and PACK_CASES results in each."""
    packs: list[PackName] = []
    waiting: list[Summary] = []
    count = 0
    for summary in sorted(found, key=layout.name_of):
        if waiting and (len(waiting) >= PACK_MOST or count + len(summary.cases) > PACK_CASES):
            packs.append(_write_pack(store, waiting))
            waiting, count = [], 0
        waiting.append(summary)
        count += len(summary.cases)
    return [*packs, _write_pack(store, waiting)] if waiting else packs


def _write_pack(store: Store, found: Iterable[Summary]) -> PackName:
    name, data = layout.encode_pack(found)
    content = layout.compressed(data)
    store.put_new(str(name), content, len(content.getbuffer()))
    return name


class _DoublesOf:
    """Holds back those runs of which there may be two, to give the one that says more."""

    def __init__(self, wanted: Iterable[RunName]) -> None:
        seen: set[tuple[date, str, str, int]] = set()
        self._keys: set[tuple[date, str, str, int]] = set()
        for name in wanted:
            key = (name.day, name.name, name.leg, name.attempt)
            (self._keys if key in seen else seen).add(key)
        self._held: dict[tuple[object, ...], Summary] = {}

    def holds(self, summary: Summary) -> bool:
        if (summary.day, summary.name, summary.leg, summary.attempt) not in self._keys:
            return False
        key = (summary.name, summary.leg, summary.attempt, summary.plan, summary.started)
        other = self._held.get(key)
        if other is None or _weight(summary) > _weight(other):
            self._held[key] = summary
        return True

    def chosen(self) -> Iterable[Summary]:
        return self._held.values()


def _weight(summary: Summary) -> tuple[bool, int, int, str]:
    return summary.is_complete, len(summary.cases), summary.files, summary.id
