"""Which steps of a story are taken, and what becomes of those behind one that went wrong."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from lisa_ci.model import Case, Outcome
from lisa_ci.scenarios.steps import Judged, Step, failed, results_of, skipped


def story(taken: list[str], **ends: Judged) -> list[Step]:
    def step(name: str, *, needs: tuple[str, ...] = (), after: tuple[str, ...] = ()) -> Step:
        def take() -> Judged:
            taken.append(name)
            return ends.get(name, Judged())

        return Step(id=name, take=take, needs=needs, after=after)

    return [
        step("begin"),
        step("middle", needs=("begin",)),
        step("apart"),
        step("end", needs=("middle",)),
        step("last", after=("begin", "apart")),
    ]


def outcomes(steps: Iterable[Step], *asked: str) -> dict[str, tuple[Outcome, str]]:
    cases = [Case(suite="s", id=name) for name in asked]
    found = results_of(cases, list(steps), name="story", stopwatch=lambda: 0.0)
    return {result.case: (result.outcome, result.message) for result in found}


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (("end",), ["begin", "middle", "end"]),
        (("apart",), ["apart"]),
        (("end", "apart"), ["begin", "middle", "apart", "end"]),
        (("last",), ["begin", "apart", "last"]),
        ((), []),
    ],
)
def test_what_is_asked_for_and_what_it_builds_on_is_taken_in_order(asked: tuple[str, ...], expected: list[str]) -> None:
    taken: list[str] = []
    assert set(outcomes(story(taken), *asked)) == set(asked)
    assert taken == expected


def test_a_step_behind_one_that_went_wrong_is_not_judged_and_one_that_only_comes_after_is() -> None:
    taken: list[str] = []
    found = outcomes(story(taken, begin=failed("no luck")), "end", "last")
    assert found["end"] == (Outcome.ERRORED, "not judged, middle errored: not judged, begin failed: no luck")
    assert found["last"] == (Outcome.PASSED, "")
    assert taken == ["begin", "apart", "last"]


def test_a_step_behind_one_that_was_skipped_is_skipped_for_its_reason() -> None:
    assert outcomes(story([], begin=skipped("no tool")), "middle")["middle"] == (
        Outcome.SKIPPED,
        "begin skipped: no tool",
    )


def test_a_case_that_the_story_has_not_is_told() -> None:
    [(outcome, message)] = outcomes(story([]), "other").values()
    assert outcome is Outcome.ERRORED
    assert message == "scenario story has no case 'other', only begin, middle, apart, end, last"
