from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lisa_ci.errors import PipelineError
from lisa_ci.planning.budget import fit_parts


@pytest.mark.parametrize(
    ("wanted", "most", "parts"),
    [
        ([], 4, ()),
        ([1, 2, 1], 4, (1, 2, 1)),
        ([5], 4, (4,)),
        ([4, 4], 6, (3, 3)),
        ([4, 4], 7, (4, 3)),
        ([1, 9, 9], 8, (1, 4, 3)),
        ([1, 1, 1, 1], 4, (1, 1, 1, 1)),
        ([256, 256], 256, (128, 128)),
    ],
)
def test_those_with_the_most_parts_give_way(wanted: list[int], most: int, parts: tuple[int, ...]) -> None:
    assert fit_parts(wanted, most) == parts


def test_more_profiles_than_legs_cannot_be_packed() -> None:
    with pytest.raises(PipelineError) as caught:
        fit_parts([1] * 257)
    assert caught.value.message == "257 profiles need a leg each, and one matrix runs 256"
    assert caught.value.hint


@given(st.lists(st.integers(1, 256), max_size=256))
def test_the_budget_is_kept_and_used(wanted: list[int]) -> None:
    parts = fit_parts(wanted)
    assert len(parts) == len(wanted)
    assert sum(parts) == min(sum(wanted), 256)
    assert all(1 <= part <= want for part, want in zip(parts, wanted, strict=True))
