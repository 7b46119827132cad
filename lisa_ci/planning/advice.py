"""What is allowed in a pipeline, and probably not meant."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator
from datetime import timedelta
from typing import Final

from lisa_ci.github.matrix import MARGIN
from lisa_ci.model import Pipeline
from lisa_ci.pipeline.kinds import duration_text

HOSTED_JOB: Final = timedelta(hours=6)
"""A job on GitHub's own runners ends then (docs.github.com, "Actions limits")."""
_HOSTED_LABELS: Final = ("ubuntu-", "windows-", "macos-")


def advice(pipeline: Pipeline) -> Iterator[str]:
    """A sentence for each."""
    yield from _timeouts(pipeline)
    yield from _subject(pipeline)
    for selection in pipeline.suites:
        cases = selection.suite.cases
        for glob in selection.skip if cases is not None else ():
            if not any(fnmatch.fnmatchcase(case.id, glob) for case in cases or ()):
                yield f"suite {selection.suite.name}: skip '{glob}' matches no case"


def _timeouts(pipeline: Pipeline) -> Iterator[str]:
    times = pipeline.timeouts
    is_hosted = any(profile.runs_on.startswith(_HOSTED_LABELS) for profile in pipeline.profiles)
    if is_hosted and times.leg + MARGIN > HOSTED_JOB:
        most = duration_text(HOSTED_JOB - MARGIN)
        yield (
            f"timeouts.leg is {duration_text(times.leg)}, but GitHub's own runners end a job after 6h, set-up and all: "
            f"use at most {most}, more shards, or a runner of your own"
        )
    for name, value in (("boot", times.boot), ("case", times.case)):
        if value > times.leg:
            yield f"timeouts.{name} ({duration_text(value)}) is longer than timeouts.leg ({duration_text(times.leg)})"


def _subject(pipeline: Pipeline) -> Iterator[str]:
    running = [profile.name for profile in pipeline.profiles if profile.endpoint is not None]
    if pipeline.image and running and len(running) == len(pipeline.profiles):
        yield "no profile boots the image: every one is a machine that already runs, so the image is not judged"
    elif pipeline.image and running:
        yield f"{', '.join(running[:5])}: a machine that already runs is not proven to run the image"
    if pipeline.kernel and running:
        yield f"{', '.join(running[:5])}: a machine that already runs does not boot the kernel of this file"
