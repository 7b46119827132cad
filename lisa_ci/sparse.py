"""Files with holes: read in blocks without reading the holes, and written with them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

BLOCK: Final = 1 << 20
ZEROS: Final = bytes(BLOCK)


def raw_blocks(path: Path, size: int) -> Iterator[bytes | memoryview]:
    """The first ``size`` bytes of a file in blocks of at most 1 MiB; holes are not read."""
    with path.open("rb", buffering=0) as file:
        yield from blocks(file.fileno(), size)


def blocks(descriptor: int, size: int) -> Iterator[bytes | memoryview]:
    """The same of an open file. A block is valid until the next one is asked for."""
    buffer = memoryview(bytearray(BLOCK))
    position = 0
    while position < size:
        data = _seek(descriptor, position, os.SEEK_DATA, size)
        yield from zeros(data - position)
        position, hole = data, _seek(descriptor, data, os.SEEK_HOLE, size) if data < size else data
        while position < hole:
            count = os.preadv(descriptor, [buffer[: min(BLOCK, hole - position)]], position)
            if count == 0:
                return  # the file shrank under us; the caller counts
            position += count
            yield buffer[:count]


def data(descriptor: int, size: int) -> Iterator[tuple[int, memoryview]]:
    """What an open file holds, without its holes: (offset, block) in order. A block is valid until the next one."""
    buffer = memoryview(bytearray(BLOCK))
    hole = 0
    while (position := _seek(descriptor, hole, os.SEEK_DATA, size)) < size:
        hole = _seek(descriptor, position, os.SEEK_HOLE, size)
        while position < hole:
            count = os.preadv(descriptor, [buffer[: min(BLOCK, hole - position)]], position)
            if count == 0:
                return  # the file shrank under us; the caller looks
            yield position, buffer[:count]
            position += count


def is_zeros(block: bytes | bytearray | memoryview) -> bool:
    """True for a block of ``raw_blocks`` that holds nothing."""
    return block is ZEROS or bytes(block) == ZEROS[: len(block)]


def _seek(descriptor: int, position: int, whence: int, size: int) -> int:
    try:
        return min(size, os.lseek(descriptor, position, whence))
    except OSError:  # ENXIO: no data up to the end
        return size


def zeros(count: int) -> Iterator[bytes | memoryview]:
    whole, rest = divmod(count, BLOCK)
    for _ in range(whole):
        yield ZEROS
    if rest:
        yield memoryview(ZEROS)[:rest]
