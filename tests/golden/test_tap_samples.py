"""Streams as real tools print them, and what the driver makes of each. ``UPDATE_GOLDEN=1`` writes the ``.txt`` anew."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from lisa_ci.drivers.tap import TapDriver
from lisa_ci.model import Case, Completed, SubResult

SAMPLES = sorted((Path(__file__).parent / "tap").glob("*.tap"))


def lines(children: tuple[SubResult, ...], depth: int) -> Iterator[str]:
    for child in children:
        yield f"{'  ' * depth}{child.outcome.value}: {child.name}" + (f" -- {child.message}" if child.message else "")
        yield from lines(child.children, depth + 1)


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.stem)
def test_a_stream_gives_the_results_that_were_reviewed(sample: Path) -> None:
    status = int(sample.stem.rpartition("-exit")[2])
    result = TapDriver().interpret(Case(suite="s", id="c"), Completed(exit=status, output=sample.read_bytes()))
    head = f"case {result.outcome.value}" + (f" -- {result.message}" if result.message else "")
    text = "\n".join([head, *lines(result.children, 1)]) + "\n"
    expected = sample.with_suffix(".txt")
    if os.environ.get("UPDATE_GOLDEN"):
        expected.write_text(text)
    assert text == expected.read_text()


def test_there_are_samples() -> None:
    assert len(SAMPLES) >= 4
