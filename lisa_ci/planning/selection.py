"""Which suites fit which profiles, and why the others do not."""

from __future__ import annotations

import fnmatch
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from lisa_ci.model import Case, Pipeline, Profile, Shard, Subject, SuiteSelection, unmet


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A profile and a suite. ``reason`` is why it does not run; '' when it does.

    ``left_out`` maps case ids to the reason they do not run here. Where the cases are not known before a machine
    lists them, its keys are the pipeline's globs. ``runnable`` are the case ids that run; None where not known.
    """

    profile: Profile
    selection: SuiteSelection
    reason: str = ""
    left_out: Mapping[str, str] = field(default_factory=dict)
    runnable: tuple[str, ...] | None = None

    def parts(self, most: int) -> int:
        """Into how many parts the suite is cut where ``most`` are allowed: no part that is known to be empty.

        A leg that has no case would boot for nothing, and prove nothing.
        """
        wanted = min(self.selection.shards, most)
        return wanted if self.runnable is None else _filled_parts(self.runnable, wanted)


@functools.lru_cache(maxsize=4096)
def _filled_parts(case_ids: tuple[str, ...], most: int) -> int:
    candidates = range(min(most, len(case_ids)), 1, -1)
    filled = (count for count in candidates if len({Shard.index_of(case_id, count) for case_id in case_ids}) == count)
    return next(filled, 1)


def pairs_of(profile: Profile, pipeline: Pipeline, subject: Subject) -> tuple[Pair, ...]:
    """The profile with every suite of the pipeline, in the pipeline's order."""
    whole = _image_reason(profile, subject)
    return tuple(_pair(profile, selection, whole) for selection in pipeline.suites)


def matches(name: str, globs: Sequence[str]) -> bool:
    """True when one of the globs matches the whole name."""
    return any(fnmatch.fnmatchcase(name, glob) for glob in globs)


def _image_reason(profile: Profile, subject: Subject) -> str:
    """Why the profile cannot boot the image; a machine that already runs boots nothing."""
    image = subject.image or subject.cloud
    if profile.endpoint is not None:
        return ""
    if subject.cloud is not None and subject.cloud.platform != profile.platform:
        return f"the image is one of {subject.cloud.platform}, the profile is for {profile.platform}"
    if image is None:
        return "there is no image to boot"
    if profile.arch is not image.arch:
        return f"the image is for {image.arch.value}, the profile gives {profile.arch.value}"
    if profile.firmware not in image.firmware:
        boots = " or ".join(firmware.value for firmware in image.firmware)
        return f"the image boots with {boots}, the profile gives {profile.firmware.value}"
    return ""


def _pair(profile: Profile, selection: SuiteSelection, whole: str) -> Pair:
    suite = selection.suite
    if not matches(profile.name, selection.profiles):
        return Pair(profile=profile, selection=selection, reason=f"selected for {', '.join(selection.profiles)} only")
    reasons = (whole,) if whole else unmet(suite.requires, profile.capabilities)
    if reasons:
        return Pair(profile=profile, selection=selection, reason="; ".join(reasons))
    if suite.cases is None:
        return Pair(profile=profile, selection=selection, left_out=dict(selection.skip))
    return _pair_of_known_cases(profile, selection, suite.cases)


def _pair_of_known_cases(profile: Profile, selection: SuiteSelection, cases: Sequence[Case]) -> Pair:
    chosen = [case for case in cases if not selection.only or matches(case.id, selection.only)]
    found = {case.id: _case_reason(case, profile, selection) for case in chosen}
    left_out = {case_id: reason for case_id, reason in found.items() if reason}
    runnable = tuple(case_id for case_id, reason in found.items() if not reason)
    reason = ""
    if not runnable:
        first = next(iter(left_out.values()), f"only {', '.join(selection.only)} is selected")
        reason = f"no case is left: {first}" + (f" (and {len(left_out) - 1} more)" if len(left_out) > 1 else "")
    return Pair(profile=profile, selection=selection, reason=reason, left_out=left_out, runnable=runnable)


def _case_reason(case: Case, profile: Profile, selection: SuiteSelection) -> str:
    """The pipeline's own reason comes before that of the hardware."""
    for glob, reason in selection.skip.items():
        if fnmatch.fnmatchcase(case.id, glob):
            return reason
    if case.priority > selection.priority:
        return f"its priority is {case.priority}, the pipeline runs 0 to {selection.priority}"
    return "; ".join(unmet(case.requires, profile.capabilities))
