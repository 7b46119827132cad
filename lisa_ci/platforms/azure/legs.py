"""The legs of a plan, each put where there is room for it: before any of them starts, and against one set of quotas."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Final

from lisa_ci.errors import PipelineError
from lisa_ci.model import AZURE, Azure, Leg, Plan
from lisa_ci.platforms.azure.prices import Prices, read_prices
from lisa_ci.platforms.azure.quota import read_usage
from lisa_ci.platforms.azure.sizes import Candidate, Offers, compare
from lisa_ci.platforms.azure.skus import read_skus
from lisa_ci.platforms.azure.spread import Spread, Wanted, spread

SKUS: Final = "skus.json"
USAGE: Final = "usage.json"
PRICES: Final = "prices.json"
_LIMIT: Final = 256 << 20  # Azure's list of all sizes in all regions has some 60 MiB
_NAMED: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What Azure said, kept in a folder by ``lisa-ci azure ask``; the same folder gives the same plan."""

    offers: Offers
    prices: Prices


def read_answers(folder: Path) -> Answers:
    """``skus.json`` and ``usage.json``; ``prices.json`` where there is one. PipelineError."""
    prices = folder / PRICES
    return Answers(
        offers=Offers(
            skus_=read_skus(_read(folder / SKUS), str(folder / SKUS)),
            quotas=read_usage(_read(folder / USAGE), str(folder / USAGE)),
        ),
        prices=read_price_file(prices) if prices.is_file() else Prices(),
    )


def read_price_file(path: Path) -> Prices:
    """PipelineError where it is not there, or holds no price."""
    return read_prices(_read(path), str(path))


def _read(path: Path) -> bytes:
    hint = "lisa-ci azure ask FOLDER writes it"
    try:
        if path.stat().st_size > _LIMIT:
            raise PipelineError(f"{path} has more than {_LIMIT >> 20} MiB", hint=hint)
        return path.read_bytes()
    except OSError as error:
        raise PipelineError(f"{path} cannot be read: {error.strerror}", hint=hint) from error


def placed(plan: Plan, answers: Answers) -> Plan:
    """The plan with every Azure leg's own place first in its profile, the others after it for when that one is full.

    What has no room is a note of the plan, with the reason; such a leg keeps its profile as it is.
    """
    wanted = [_wanted(leg, answers) for leg in plan.legs if leg.profile.platform == AZURE]
    if not wanted:
        return plan
    found = spread(wanted, answers.offers.quotas)
    serving = {one.leg: one.candidates for one in wanted}
    legs = tuple(
        _at(leg, found.placed[leg.id], serving[leg.id]) if leg.id in found.placed else leg for leg in plan.legs
    )
    return replace(plan, legs=legs, notes=(*plan.notes, *_notes(found, answers.prices)))


def _wanted(leg: Leg, answers: Answers) -> Wanted:
    # No date: a size that is gone is not in Azure's answer, and the same answers give the same plan on every day.
    found = compare(leg.profile, answers.offers, prices=answers.prices, today=date.min, check_quota=False)
    return Wanted(leg=leg.id, profile=leg.profile, candidates=found)


def _at(leg: Leg, chosen: Candidate, candidates: Sequence[Candidate]) -> Leg:
    """The leg with sizes, regions and zones in this order: where it is put, what else serves, the rest."""
    order = [chosen, *(one for one in candidates if one.serves)]
    azure = leg.profile.azure or Azure()
    names = {size.lower(): size for size in azure.sizes}
    moved = replace(
        azure,
        sizes=tuple(dict.fromkeys([*(names[one.size.lower()] for one in order), *azure.sizes])),
        regions=tuple(dict.fromkeys([*(one.region for one in order), *azure.regions])),
        zones=tuple(dict.fromkeys([*(one.zone for one in order if one.zone), *azure.zones])),
    )
    return replace(leg, profile=replace(leg.profile, azure=moved))


def _notes(found: Spread, prices: Prices) -> Iterator[str]:
    for leg, why in found.never.items():
        yield f"leg {leg} has no room on Azure: {why}"
    if found.waiting:
        names = ", ".join(found.waiting[:_NAMED])
        more = f" and {len(found.waiting) - _NAMED} more" if len(found.waiting) > _NAMED else ""
        yield f"quotas on Azure hold {len(found.placed)} of the legs at once; {names}{more} fit when others have ended"
    if (prices.kept or prices.spot) and found.placed:
        cost = f"{found.hourly:.2f} {prices.currency} an hour"
        yield f"all legs on Azure together cost {cost} by {prices.told()}"
