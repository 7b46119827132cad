"""What an hour of a machine costs, from rows of Azure's Retail Prices API: a hint for the order, no bill.

https://prices.azure.com/api/retail/prices answers to anybody; ``ask`` asks it, nothing here does. List prices are
before any agreement that a subscription has.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any, Final, TypeGuard

from lisa_ci.errors import PipelineError
from lisa_ci.platforms.azure.answers import read_answer

_HINT: Final = (
    "lisa-ci azure ask FOLDER writes it; or curl -G https://prices.azure.com/api/retail/prices --data-urlencode "
    "\"$filter=serviceName eq 'Virtual Machines' and armRegionName eq 'westeurope'\" writes a page of them"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """US dollars (or ``currency``) an hour by (region, size), for machines that are kept and for spot ones.

    ``newest``: the day from which the newest of them is in force; ``asked``: the day on which the API was asked.
    """

    kept: Mapping[tuple[str, str], float] = field(default_factory=dict)
    spot: Mapping[tuple[str, str], float] = field(default_factory=dict)
    currency: str = "USD"
    newest: date | None = None
    asked: date | None = None

    def told(self, today: date | None = None) -> str:
        """What prices these are, with their day and, where ``today`` is given, their age."""
        since = f"asked on {self.asked}" if self.asked else f"the newest in force since {self.newest}"
        age = f", {(today - self.asked).days} days ago" if today and self.asked and today >= self.asked else ""
        return f"list prices, {since}{age}; a hint, no bill"

    def hour(self, region: str, size: str, *, is_spot: bool) -> float | None:
        """None where it is not known."""
        return (self.spot if is_spot else self.kept).get((region, size.lower()))


def read_prices(data: bytes, place: str) -> Prices:
    """Prices in a file: one answer of the API, or a list of answers (pages), or of their items. PipelineError.

    ``asked`` in an answer is the day that ``lisa-ci azure ask`` wrote there; of several, the oldest counts.
    """
    read = read_answer(data, place, _HINT)
    pages = read if isinstance(read, list) else [read]
    items: list[Any] = []
    for page in pages:
        inner = page.get("Items") if isinstance(page, dict) and "Items" in page else [page]
        items += inner if isinstance(inner, list) else []
    days = [_day(str(page["asked"])[:10]) for page in pages if isinstance(page, dict) and "asked" in page]
    asked = min((day for day in days if day), default=None)
    found = replace(parse_prices([item for item in items if isinstance(item, dict)]), asked=asked)
    if not found.kept and not found.spot:
        raise PipelineError(f"{place} holds no price of a Linux machine", hint=_HINT)
    return found


def parse_prices(items: Sequence[Mapping[str, Any]]) -> Prices:
    """Linux machines by the hour; of several rows for one, the newest that is in force stands."""
    tables: dict[bool, dict[tuple[str, str], tuple[str, float]]] = {False: {}, True: {}}
    currencies = set()
    for item in items:
        place, since = (str(item.get("armRegionName", "")).lower(), str(item.get("armSkuName", "")).lower()), ""
        price = item.get("retailPrice")
        if not all(place) or not is_hour_of_linux(item) or not _is_price(price):
            continue
        table = tables[str(item.get("skuName", "")).endswith(" Spot")]
        since = str(item.get("effectiveStartDate", ""))[:10]
        currencies.add(str(item.get("currencyCode", "USD")))
        if place not in table or since >= table[place][0]:
            table[place] = (since, float(price))
    if len(currencies) > 1:
        raise PipelineError(f"prices in {' and '.join(sorted(currencies))} cannot be compared", hint="use one currency")
    days = [since for table in tables.values() for since, _ in table.values() if since]
    return Prices(
        kept={place: price for place, (_, price) in tables[False].items()},
        spot={place: price for place, (_, price) in tables[True].items()},
        currency=next(iter(currencies), "USD"),
        newest=_day(max(days, default="")),
    )


def _is_price(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value > 0


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def is_hour_of_linux(item: Mapping[str, Any]) -> bool:
    """Whether a row is the price of an hour of a Linux machine.

    Rows of one size are many: Windows, reservations, "Low Priority" (of Batch), savings plans, dev/test.
    """
    return (
        item.get("type", "Consumption") == "Consumption"
        and item.get("unitOfMeasure") == "1 Hour"
        and "Windows" not in str(item.get("productName", ""))
        and "CloudServices" not in str(item.get("productName", "")).replace(" ", "")
        and not str(item.get("skuName", "")).endswith(" Low Priority")
    )
