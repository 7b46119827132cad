"""Many legs over what a subscription may have: which leg goes where, before any of them asks.

Each leg alone would take the cheapest place there is, and the hundredth would find it taken. So all are placed at
once, against the same quotas.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lisa_ci.model import Profile
from lisa_ci.platforms.azure.quota import Quota
from lisa_ci.platforms.azure.sizes import Candidate


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A leg, and the places that serve it (``compare`` without the quota), the best first."""

    leg: str
    profile: Profile
    candidates: tuple[Candidate, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """``placed``: by leg. ``waiting``: legs that fit when others have ended. ``never``: legs that no quota holds, each
    with the reason.
    """

    placed: Mapping[str, Candidate]
    waiting: tuple[str, ...]
    never: Mapping[str, str]

    @property
    def hourly(self) -> float:
        """What an hour of all that is placed costs, as far as prices are known."""
        return sum(candidate.price or 0 for candidate in self.placed.values())


def spread(wanted: Sequence[Wanted], quotas: Sequence[Quota]) -> Spread:
    """Place as many legs as there is room for; the quotas are taken from.

    Turns go round the profiles, so that one with many legs does not starve the others, and within a turn the profile
    with the fewest choices is first, because nothing else serves it. The same input gives the same answer.
    """
    by_region = {quota.region: quota for quota in quotas}
    impossible = {one.leg: why for one in wanted if (why := _impossible(one, by_region))}
    placed: dict[str, Candidate] = {}
    waiting: list[str] = []
    for one in _turns([one for one in wanted if one.leg not in impossible]):
        candidate = next((place for place in one.candidates if _has_room(one, place, by_region)), None)
        if candidate is None:
            waiting.append(one.leg)
            continue
        placed[one.leg] = candidate
        if (quota := by_region.get(candidate.region)) and candidate.sku:
            quota.take(candidate.sku, one.profile.machines, is_spot=_is_spot(one.profile))
    return Spread(placed=placed, waiting=tuple(waiting), never=impossible)


def _turns(wanted: Sequence[Wanted]) -> list[Wanted]:
    rows: dict[str, list[Wanted]] = {}
    for one in wanted:
        rows.setdefault(one.profile.name, []).append(one)
    order = sorted(rows, key=lambda name: (len(_serving(rows[name][0])), name))
    longest = max(map(len, rows.values()), default=0)
    return [rows[name][turn] for turn in range(longest) for name in order if turn < len(rows[name])]


def _serving(one: Wanted) -> list[Candidate]:
    return [candidate for candidate in one.candidates if candidate.serves]


def _is_spot(profile: Profile) -> bool:
    return profile.azure is not None and profile.azure.spot is not None


def _has_room(one: Wanted, place: Candidate, by_region: Mapping[str, Quota]) -> bool:
    if not place.serves or place.sku is None:
        return False
    quota = by_region.get(place.region)
    return quota is None or not quota.problems(place.sku, one.profile.machines, is_spot=_is_spot(one.profile))


def _impossible(one: Wanted, by_region: Mapping[str, Quota]) -> str:
    """Why the leg would not fit even if it were alone; '' where it would."""
    serving = _serving(one)
    if not serving:
        why = next((candidate.reasons[0] for candidate in one.candidates if candidate.reasons), "no size is named")
        return f"no size serves: {why}"
    reasons = []
    for place in serving:
        quota = by_region.get(place.region)
        if quota is None or place.sku is None:
            return ""
        found = quota.problems(place.sku, one.profile.machines, is_spot=_is_spot(one.profile))
        if not found:
            return ""
        reasons.append(f"{place.size} in {place.region}: {found[0]}")
    return reasons[0] + (f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else "")
