"""How many legs each profile gets, so that all of them fit into one matrix."""

from __future__ import annotations

from collections.abc import Sequence

from lisa_ci.errors import PipelineError
from lisa_ci.github.limits import MATRIX_LEGS


def fit_parts(wanted: Sequence[int], most: int = MATRIX_LEGS) -> tuple[int, ...]:
    """Parts for each profile, ``most`` in sum: those with the most parts give way first, ties to the earlier profile.

    PipelineError where one part for each profile is too much already.
    """
    if sum(wanted) <= most:
        return tuple(wanted)
    if len(wanted) > most:
        raise PipelineError(
            f"{len(wanted)} profiles need a leg each, and one matrix runs {most}",
            hint="split the profiles over several pipeline files, or narrow the suites' 'profiles'",
        )
    cap = max(cap for cap in range(1, most + 1) if sum(min(parts, cap) for parts in wanted) <= most)
    spare = most - sum(min(parts, cap) for parts in wanted)
    fitted = []
    for parts in wanted:
        extra = 1 if parts > cap and spare > 0 else 0
        spare -= extra
        fitted.append(min(parts, cap) + extra)
    return tuple(fitted)
