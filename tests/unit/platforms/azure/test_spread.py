"""500 legs over regions and quotas: never over, cheapest first, fair, the same each time, told where impossible."""

from __future__ import annotations

import random
from collections import Counter as Count
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lisa_ci.model import Azure, Profile, Spot
from lisa_ci.pipeline import azure_catalogue
from lisa_ci.platforms.azure.prices import Prices
from lisa_ci.platforms.azure.quota import Counter, Quota
from lisa_ci.platforms.azure.sizes import Offers, compare
from lisa_ci.platforms.azure.skus import Sku, shipped_skus
from lisa_ci.platforms.azure.spread import Spread, Wanted, spread
from tests.unit.platforms.azure.orders import profile, sku

TODAY = date(2026, 11, 28)
REGIONS = ("r1", "r2", "r3")


def quota(region: str, **limits: int) -> Quota:
    return Quota(region=region, counters={name.lower(): Counter(used=0, limit=limit) for name, limit in limits.items()})


def wanted(of: Profile, legs: int, offers: Offers, prices: Prices | None = None) -> list[Wanted]:
    found = compare(of, offers, prices=prices, today=TODAY, check_quota=False)
    return [Wanted(leg=f"{of.name}.{number}", profile=of, candidates=found) for number in range(legs)]


def taken(result: Spread, legs: list[Wanted]) -> Count[tuple[str, str]]:
    """Processors by (region, counter), counted anew from where the legs were put."""
    profiles = {one.leg: one.profile for one in legs}
    counts: Count[tuple[str, str]] = Count()
    for leg, candidate in result.placed.items():
        size, of = candidate.sku, profiles[leg]
        assert size is not None
        cores = size.quota_cores * of.machines
        is_spot = of.azure is not None and of.azure.spot is not None
        for name in ("lowprioritycores",) if is_spot else (size.family.lower(), "cores"):
            counts[candidate.region, name] += cores
        counts[candidate.region, "virtualmachines"] += of.machines
    return counts


def small_world(*, d: int, e: int) -> tuple[Offers, Prices, list[Quota]]:
    """Two sizes in three regions: D is cheaper, r1 is the cheapest region."""
    sizes = [("Standard_D", "dFamily", 0.10), ("Standard_E", "eFamily", 0.14)]
    skus: list[Sku] = []
    prices = {}
    for number, region in enumerate(REGIONS):
        for name, family, price in sizes:
            skus.append(sku(name, region=region, family=family))
            prices[region, name.lower()] = price + number / 100
    return Offers(skus_=tuple(skus)), Prices(kept=prices), [quota(one, dFamily=d, eFamily=e) for one in REGIONS]


PLAIN = profile({"sizes": ("Standard_E", "Standard_D"), "regions": REGIONS})


def test_the_cheapest_place_is_filled_first_and_then_the_next() -> None:
    offers, prices, quotas = small_world(d=4, e=4)
    legs = wanted(PLAIN, 12, offers, prices)
    result = spread(legs, quotas)
    order = [(one.size[-1], one.region) for one in result.placed.values()]
    assert order == [
        *[("D", "r1")] * 2,
        *[("D", "r2")] * 2,
        *[("D", "r3")] * 2,
        *[("E", "r1")] * 2,
        *[("E", "r2")] * 2,
        *[("E", "r3")] * 2,
    ]
    assert result.waiting == ()
    assert result.hourly == pytest.approx(2 * (0.10 + 0.11 + 0.12 + 0.14 + 0.15 + 0.16))


def test_legs_beyond_the_quota_wait_and_are_told() -> None:
    offers, prices, quotas = small_world(d=4, e=0)
    result = spread(wanted(PLAIN, 8, offers, prices), quotas)
    assert len(result.placed) == 6
    assert result.waiting == ("az.6", "az.7")
    assert result.never == {}


def test_a_leg_that_no_quota_holds_is_told_at_once_with_the_reason() -> None:
    offers, prices, quotas = small_world(d=1, e=0)
    result = spread(wanted(PLAIN, 1, offers, prices), quotas)
    assert result.placed == {}
    assert result.never["az.0"].startswith("Standard_D in r1: quota 'dfamily' has 1 left of 1, 2 needed (and 5 more)")


def test_a_leg_that_no_size_serves_is_told_at_once_with_the_reason() -> None:
    offers, prices, quotas = small_world(d=10, e=10)
    result = spread(wanted(profile({"sizes": ("Standard_D",), "regions": REGIONS}, gpus=1), 1, offers, prices), quotas)
    assert result.never == {"az.0": "no size serves: has 0 GPUs, not 1"}


def test_a_profile_with_many_legs_does_not_starve_another() -> None:
    offers, prices, quotas = small_world(d=20, e=0)
    many = wanted(PLAIN, 100, offers, prices)
    few = [Wanted(leg=f"few.{n}", profile=_named(PLAIN, "few"), candidates=many[0].candidates) for n in range(10)]
    result = spread([*many, *few], quotas)
    assert sum(leg.startswith("few") for leg in result.placed) == 10
    assert len(result.placed) == 30


def test_a_profile_with_one_choice_is_served_before_those_with_many() -> None:
    offers, prices, quotas = small_world(d=2, e=2)
    picky = profile({"sizes": ("Standard_D",), "regions": ("r1",)})
    legs = [*wanted(PLAIN, 5, offers, prices), *wanted(_named(picky, "picky"), 1, offers, prices)]
    result = spread(legs, quotas)
    assert result.placed["picky.0"].region == "r1"
    assert len(result.placed) == 6


def test_a_pair_fits_whole_or_not_at_all() -> None:
    offers, prices, quotas = small_world(d=2, e=0)
    pair = profile({"sizes": ("Standard_D",), "regions": REGIONS}, machines=2)
    assert "4 needed" in spread(wanted(pair, 1, offers, prices), quotas).never["az.0"]


def _named(of: Profile, name: str) -> Profile:
    return profile(
        {"sizes": (of.azure or Azure()).sizes, "regions": (of.azure or Azure()).regions}, name=name, gpus=of.gpus
    )


# ---- 500 legs ------------------------------------------------------------------------------------------------------


def five_hundred(seed: int) -> tuple[list[Wanted], list[Quota]]:
    """All profiles of the catalogue, 500 legs of them, over eight regions with quotas of chance."""
    chance = random.Random(seed)
    regions = sorted({region for of in azure_catalogue().values() if of.azure for region in of.azure.regions})
    offers = Offers(skus_=shipped_skus())
    prices = Prices(
        kept={
            (region, one.name.lower()): round(chance.uniform(0.05, 5), 3) for region in regions for one in offers.skus_
        },
        spot={
            (region, one.name.lower()): round(chance.uniform(0.01, 1), 3) for region in regions for one in offers.skus_
        },
    )
    names = list(azure_catalogue())
    counts = Count(chance.choice(names) for _ in range(500))
    legs = [
        one for name, count in sorted(counts.items()) for one in wanted(azure_catalogue()[name], count, offers, prices)
    ]
    families = {one.family for one in offers.skus_}
    quotas = [
        quota(
            region,
            cores=chance.choice([100, 350, 2000]),
            lowPriorityCores=chance.choice([0, 10, 100]),
            virtualMachines=chance.choice([20, 25000]),
            **{family: chance.choice([0, 10, 100, 1000]) for family in sorted(families)},
        )
        for region in regions
    ]
    return legs, quotas


@pytest.mark.parametrize("seed", range(10))
def test_500_legs_never_take_more_than_a_quota_has(seed: int) -> None:
    legs, quotas = five_hundred(seed)
    assert len(legs) == 500
    result = spread(legs, quotas)
    limits = {(one.region, name): counter.limit for one in quotas for name, counter in one.counters.items()}
    over = {key: count for key, count in taken(result, legs).items() if count > limits.get(key, count)}
    assert over == {}
    assert len(result.placed) + len(result.waiting) + len(result.never) == 500


@pytest.mark.parametrize("seed", range(10))
def test_500_legs_leave_no_room_that_one_of_them_could_have_used(seed: int) -> None:
    legs, quotas = five_hundred(seed)
    result = spread(legs, quotas)
    left = {one.region: one for one in quotas}
    waiting = set(result.waiting)
    for one in legs:
        if one.leg not in waiting:
            continue
        is_spot = bool(one.profile.azure and one.profile.azure.spot)
        for place in one.candidates:
            if place.serves and place.sku:
                assert left[place.region].problems(place.sku, one.profile.machines, is_spot=is_spot), (one.leg, place)


@pytest.mark.parametrize("seed", range(10))
def test_500_legs_are_placed_the_same_each_time(seed: int) -> None:
    first, second = (spread(*five_hundred(seed)) for _ in range(2))
    assert first == second


@pytest.mark.parametrize("seed", range(10))
def test_500_legs_each_take_the_cheapest_place_that_had_room_then(seed: int) -> None:
    legs, quotas = five_hundred(seed)
    result = spread(legs, quotas)
    again = {one.region: one for one in five_hundred(seed)[1]}
    by_leg = {one.leg: one for one in legs}
    for leg, chosen in result.placed.items():
        one = by_leg[leg]
        is_spot = bool(one.profile.azure and one.profile.azure.spot)
        for place in one.candidates:
            if place is chosen:
                break
            assert not place.serves or (
                place.sku and again[place.region].problems(place.sku, one.profile.machines, is_spot=is_spot)
            )
        assert chosen.sku is not None
        again[chosen.region].take(chosen.sku, one.profile.machines, is_spot=is_spot)


@pytest.mark.parametrize("seed", range(10))
def test_500_legs_are_shared_fairly_among_profiles_that_want_the_same(seed: int) -> None:
    """Of two profiles that can go to the same places only, neither has two legs less where both still wait."""
    chance = random.Random(seed)
    offers, prices, quotas = small_world(d=chance.randrange(2, 200), e=chance.randrange(2, 200))
    twins = [wanted(_named(PLAIN, name), 125, offers, prices) for name in ("a", "b", "c", "d")]
    result = spread([leg for twin in twins for leg in twin], quotas)
    served = Count(leg.partition(".")[0] for leg in result.placed)
    if result.waiting:
        assert max(served.values()) - min(served.values()) <= 1


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["a", "b", "c"]), st.booleans(), st.integers(1, 3)), max_size=25),
    st.lists(st.integers(0, 12), min_size=6, max_size=6),
)
def test_no_quota_is_ever_exceeded_whatever_is_asked(asked: list[tuple[str, bool, int]], limits: list[int]) -> None:
    offers, prices, _ = small_world(d=0, e=0)
    quotas = [
        quota(region, dFamily=limits[number], eFamily=limits[-number - 1], lowPriorityCores=limits[number - 3], cores=9)
        for number, region in enumerate(REGIONS)
    ]
    legs = []
    for number, (name, is_spot, machines) in enumerate(asked):
        of = profile(
            {"sizes": ("Standard_E", "Standard_D"), "regions": REGIONS, "spot": Spot() if is_spot else None},
            name=f"{name}{is_spot}{machines}",
            machines=machines,
        )
        found = compare(of, offers, prices=prices, today=TODAY, check_quota=False)
        legs.append(Wanted(leg=f"{of.name}.{number}", profile=of, candidates=found))
    result = spread(legs, quotas)
    known = {(one.region, name): counter.limit for one in quotas for name, counter in one.counters.items()}
    assert all(count <= known.get(key, count) for key, count in taken(result, legs).items())
    assert {*result.placed, *result.waiting, *result.never} == {one.leg for one in legs}
