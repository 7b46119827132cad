"""The gate: from the plan and what the legs left, may this image be released, and if not, every reason.

It starts from the plan, never from the results: what was planned and is not proven is a reason. Every kind of reason
is explained in docs/report.md.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

from lisa_ci.files import LegEvidence
from lisa_ci.model import Leg, Outcome, Plan, Reason, Result, Shard, Verdict
from lisa_ci.reporting.chosen import LegRun, choose
from lisa_ci.reporting.judging import Counts, Watch, judge
from lisa_ci.reporting.known import Baseline
from lisa_ci.reporting.reasons import Kind, Reasons, named, reason

_WHYS: Final = 3
_Groups = Mapping[tuple[str, str], list[tuple[Leg, Shard]]]


def decide(
    plan: Plan,
    plan_digest: str,
    evidence: Iterable[LegEvidence],
    *,
    broken: Iterable[Reason] = (),
    watch: Watch | None = None,
    begin: Callable[[LegRun], None] | None = None,
    latest: int | None = None,
) -> Verdict:
    """The verdict over all evidence; results are read once, as a stream, and shown to ``watch`` on the way.

    ``begin`` is shown each leg before its results.

    ``broken`` are reasons found before (a leg's folder that could not be read). ``latest`` is the attempt that asks,
    where that is known: evidence of a later one cannot be true. The verdict holds no time and no path:
    the same plan and results give the same bytes.
    """
    chosen = choose(plan, plan_digest, evidence, latest=latest)
    groups = _groups(plan)
    reasons = Reasons()
    baseline = Baseline(plan.baseline)
    reasons.add(*broken, *chosen.reasons, *_repeated_legs(plan), *_incomplete_shards(groups))
    counts: dict[str, Counts] = {}
    for leg in plan.legs:
        run = chosen.runs.get(leg.id)
        if run is None:
            reasons.add(reason(Kind.MISSING_LEG, "the leg was planned and left no results", leg=leg))
        else:
            if begin is not None:
                begin(run)
            counts[leg.id] = judge(plan, run, reasons, watch or _nobody, baseline)
    reasons.add(*_different_inventories(groups, chosen.runs))
    reasons.add(*_nothing_run(plan, groups, chosen.runs, counts))
    total = _total(counts.values())
    is_proven = _is_proven(total)
    # A machine that already runs was not booted from the image: what it proves is not about the image.
    booted = _total(counts[leg.id] for leg in plan.legs if leg.id in counts and leg.profile.endpoint is None)
    if not plan.legs and not plan.allow_empty:
        reasons.add(reason(Kind.EMPTY_PLAN, f"the plan has no legs: {_why_empty(plan)}"))
    elif plan.legs and not is_proven and not reasons:
        reasons.add(reason(Kind.NOTHING_RUN, f"no case ran on any leg; {total[Outcome.SKIPPED]} were skipped"))
    blocks = tuple(
        _release_blocks(plan, is_proven=is_proven, is_image_proven=_is_proven(booted), known=len(baseline.excused))
    )
    return Verdict(
        name=plan.name,
        plan_digest=plan_digest,
        subject_digest=plan.subject.digest,
        passed=not reasons,
        releasable=not reasons and not blocks,
        reasons=reasons.sorted(),
        counts=_shown(total),
        legs={leg.id: _shown(counts[leg.id].total if leg.id in counts else Counter()) for leg in plan.legs},
        blocks=blocks,
        known=baseline.excused,
        notes=(*([] if plan.legs else [f"the plan is empty: {_why_empty(plan)}"]), *baseline.notes()),
    )


def _nobody(_run: LegRun, _result: Result) -> None:
    return


def _total(counts: Iterable[Counts]) -> Counter[Outcome]:
    return sum((one.total for one in counts), Counter())


def _is_proven(counts: Counter[Outcome]) -> bool:
    return counts[Outcome.PASSED] + counts[Outcome.FAILED] > 0


def _shown(counts: Counter[Outcome]) -> dict[str, int]:
    return {outcome.value: counts[outcome] for outcome in Outcome}


def _groups(plan: Plan) -> _Groups:
    """(profile, suite) -> the legs that share its cases, with their shards."""
    groups: dict[tuple[str, str], list[tuple[Leg, Shard]]] = defaultdict(list)
    for leg in plan.legs:
        for task in leg.tasks:
            groups[leg.profile.name, task.suite].append((leg, task.shard))
    return groups


def _repeated_legs(plan: Plan) -> Iterator[Reason]:
    """Legs are found by their id: of two with one id, the second would pass on the results of the first."""
    for leg, number in Counter(leg.id for leg in plan.legs).items():
        if number > 1:
            yield reason(Kind.DUPLICATE_LEG, f"the plan has {number} legs of this id", leg=leg)


def _incomplete_shards(groups: _Groups) -> Iterator[Reason]:
    """With one leg for each shard 1..n, a case that is in its own shard's leg is in exactly one leg."""
    for (profile, suite), members in groups.items():
        count = members[0][1].count
        if sorted((shard.count, shard.index) for _, shard in members) != [(count, n + 1) for n in range(count)]:
            told = named([f"{shard.index} of {shard.count}" for _, shard in members])
            message = f"the shards of suite {suite} on profile {profile} do not add up: {told}"
            yield reason(Kind.INCOMPLETE_SHARDS, message)


def _different_inventories(groups: _Groups, runs: Mapping[str, LegRun]) -> Iterator[Reason]:
    for (_profile, suite), members in groups.items():
        known = [(leg, ids) for leg, _ in members if (ids := _inventory(runs.get(leg.id), suite)) is not None]
        for leg, ids in known[1:]:
            first, expected = known[0]
            if ids is not expected and ids != expected:
                odd = sorted(set(ids).symmetric_difference(expected))
                told = f"suite {suite} has other cases here than in {first.id}: {named(odd)}"
                yield reason(Kind.DIFFERENT_INVENTORY, told, leg=leg)


def _inventory(run: LegRun | None, suite: str) -> tuple[str, ...] | None:
    return None if run is None or run.inventory is None else run.inventory.get(suite)


def _nothing_run(
    plan: Plan, groups: _Groups, runs: Mapping[str, LegRun], counts: Mapping[str, Counts]
) -> Iterator[Reason]:
    """Required suites of which no case was run on a profile, though every leg of it came to its end."""
    required = [suite.name for suite in plan.suites if suite.required]
    for name in required if plan.legs else ():
        profiles = [profile for profile, suite in groups if suite == name]
        if not profiles:
            whys = [f"{one.profile}: {one.reason}" for one in plan.left_out if one.suite == name and one.case is None]
            told = f"required suite {name} is on no leg; {'; '.join(whys[:_WHYS]) or 'nothing says why'}"
            yield reason(Kind.NOTHING_RUN, told)
        for profile in profiles:
            legs = [leg.id for leg, _ in groups[profile, name]]
            if not all(leg in runs and runs[leg].is_judged and not runs[leg].run.only for leg in legs):
                continue
            total = sum((counts[leg].suites.get(name, Counter()) for leg in legs), Counter[Outcome]())
            if total[Outcome.SKIPPED] == total.total():
                skips = total[Outcome.SKIPPED]
                what = f"all {skips} cases were skipped" if skips else "there was no case to run"
                yield reason(Kind.NOTHING_RUN, f"required suite {name} proved nothing on profile {profile}: {what}")


def _release_blocks(plan: Plan, *, is_proven: bool, is_image_proven: bool, known: int) -> Iterator[str]:
    """Why a green verdict would still not do for a release."""
    if plan.subject.cloud is not None:
        yield f"the image is named, not held: {plan.subject.cloud.identity}"
    elif plan.subject.image is None:
        yield "no image was tested, only a machine that already runs"
    if plan.subject.kernel is not None:
        yield "the image was booted with a kernel that is not its own"
    if not is_proven:
        yield "no case was run"
    elif plan.subject.image is not None and not is_image_proven:
        yield "no case was run on a machine that was booted from the image"
    if known and not plan.release.allow_known_failures:
        yield f"not every case passed, {known} failed as the baseline knows"


def _why_empty(plan: Plan) -> str:
    whys = [*plan.notes, *(f"{one.suite} on {one.profile}: {one.reason}" for one in plan.left_out)]
    return named(whys) or "nothing says why"
