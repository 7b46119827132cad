"""A plan as the matrix of a GitHub job: names only, because everything else is in the plan's file."""

from __future__ import annotations

import json
import math
from collections.abc import Container
from datetime import timedelta
from typing import Final

from lisa_ci.errors import PipelineError
from lisa_ci.github.limits import MATRIX_LEGS, OUTPUT_BYTES
from lisa_ci.model import Leg, Plan

MARGIN: Final = timedelta(minutes=15)
"""What a job needs beside its leg: checkout, install, the artifact of the image, upload. The leg's own timeout is the
inner one, so that it ends with evidence; GitHub's is only for a lisa-ci that hangs."""

_TITLE_CHARACTERS: Final = 100
# Other outputs (the plan's digest, counts) share the same limit.
_OTHER_OUTPUTS_BYTES: Final = 10_000


def matrix_json(plan: Plan, *, without: Container[str] = ()) -> str:
    """``{"include": [{leg, title, runs-on, timeout-minutes}]}`` in one line; PipelineError when GitHub cannot take it.

    ``without`` are ids of legs that need not run. With no leg left, ``include`` is empty, which GitHub calls an error:
    the workflow must guard on the count of legs.
    """
    if len(plan.legs) > MATRIX_LEGS:
        raise PipelineError(
            f"the plan has {len(plan.legs)} legs, and GitHub runs {MATRIX_LEGS} in one matrix",
            hint="use fewer shards or profiles: suites on the same profile share a leg",
        )
    minutes = math.ceil((plan.timeouts.leg + MARGIN) / timedelta(minutes=1))
    include = [
        {"leg": leg.id, "title": _title(leg), "runs-on": leg.profile.runs_on, "timeout-minutes": minutes}
        for leg in plan.legs
        if leg.id not in without
    ]
    text = json.dumps({"include": include}, separators=(",", ":"))
    size = len(text.encode("utf-16-le"))
    if size > OUTPUT_BYTES - _OTHER_OUTPUTS_BYTES:
        raise PipelineError(
            f"the matrix has {size:,} bytes (UTF-16), and a job's outputs may have {OUTPUT_BYTES:,}",
            hint="use fewer legs, or shorter names of profiles and runner labels",
        )
    return text


def _title(leg: Leg) -> str:
    """What people read as the job's name: the leg, then its suites as far as they fit."""
    suites = ", ".join(dict.fromkeys(task.suite for task in leg.tasks))
    title = f"{leg.id} ({suites})" if suites else leg.id
    return title if len(title) <= _TITLE_CHARACTERS else f"{title[: _TITLE_CHARACTERS - 1]}…"
