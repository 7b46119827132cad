"""Several requests at once, bounded: what has not begun is dropped when one fails."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def in_parallel(workers: int, function: Callable[[T], R], items: Iterable[T]) -> Iterator[tuple[T, R]]:
    """Each item with its result, as they come; at most twice ``workers`` results wait to be taken."""
    waiting = iter(items)
    with ThreadPoolExecutor(workers) as pool:
        under_way: dict[Future[R], T] = {}
        try:
            for item in itertools.islice(waiting, 2 * workers):
                under_way[pool.submit(function, item)] = item
            while under_way:
                done, _ = wait(under_way, return_when=FIRST_COMPLETED)
                for one in done:
                    yield under_way.pop(one), one.result()
                    for item in itertools.islice(waiting, 1):
                        under_way[pool.submit(function, item)] = item
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
