"""Which pages are sent of a disk: all that hold something, whole, in order, and no others."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lisa_ci.platforms.azure.upload import GRAIN_BYTES, MOST_BYTES, PAGE_BYTES, pieces

BLOCK = 1 << 20


@st.composite
def disks(draw: st.DrawFn) -> list[tuple[int, bytes]]:
    """Blocks as a reader gives them: in order, apart or side by side, holding zeros or not."""
    found, position = [], 0
    for _ in range(draw(st.integers(0, 12))):
        position += draw(st.sampled_from([0, 0, PAGE_BYTES, 4096, GRAIN_BYTES, 3 * GRAIN_BYTES + 4096, BLOCK]))
        length = draw(st.sampled_from([PAGE_BYTES, 4096, GRAIN_BYTES, GRAIN_BYTES + 4096, BLOCK]))
        block = bytearray(length)
        for at in draw(st.lists(st.integers(0, length - 1), max_size=4)):
            block[at] = 0xA5
        found.append((position, bytes(block)))
        position += length
    return found


@given(disks())
def test_what_is_sent_gives_the_disk_again(blocks: list[tuple[int, bytes]]) -> None:
    size = max((offset + len(block) for offset, block in blocks), default=0)
    wanted, sent = bytearray(size), bytearray(size)
    for offset, block in blocks:
        wanted[offset : offset + len(block)] = block
    end = 0
    for offset, content in pieces(blocks):
        assert offset >= end
        assert offset % PAGE_BYTES == 0
        assert len(content) % PAGE_BYTES == 0
        assert 0 < len(content) <= MOST_BYTES
        sent[offset : offset + len(content)] = content
        end = offset + len(content)
    assert sent == wanted


@given(disks())
def test_no_more_is_sent_than_the_disk_holds(blocks: list[tuple[int, bytes]]) -> None:
    assert sum(len(content) for _, content in pieces(blocks)) <= sum(len(block) for _, block in blocks)


def test_zeros_cost_nothing_and_neighbours_go_together() -> None:
    something = b"\1" * BLOCK
    assert list(pieces([(0, bytes(BLOCK)), (BLOCK, bytes(BLOCK))])) == []
    sent = list(pieces([(n * BLOCK, something) for n in range(9)]))
    assert [(offset >> 20, len(content) >> 20) for offset, content in sent] == [(0, 4), (4, 4), (8, 1)]
    apart = list(pieces([(0, something), (2 * BLOCK, something)]))
    assert [offset >> 20 for offset, _ in apart] == [0, 2]


@pytest.mark.parametrize("length", [1, 511, 513, 4097])
def test_a_last_page_that_is_not_whole_is_filled_with_zeros(length: int) -> None:
    ((offset, content),) = pieces([(GRAIN_BYTES, b"\7" * length)])
    assert offset == GRAIN_BYTES
    assert content == b"\7" * length + bytes(-length % PAGE_BYTES)
