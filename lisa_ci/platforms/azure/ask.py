"""Azure asked what it offers, word for word, to be kept: reads only."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

import requests

from lisa_ci.errors import ProvisioningError
from lisa_ci.platforms.azure.client import Subscription, refusals
from lisa_ci.platforms.azure.prices import is_hour_of_linux

PRICES_URL: Final = "https://prices.azure.com/api/retail/prices"
_NEXT: Final = re.compile(r"https://prices\.azure\.com(:443)?/api/retail/prices\?[\x20-\x7e]+")
_MACHINES: Final = "virtualMachines"
_MOST_PAGES: Final = 400  # a region has some 4,000 rows of machines, a page 100 or 1,000 of them
_MOST_BYTES: Final = 16 << 20  # of a page
_BLOCK: Final = 64 << 10
_SECONDS: Final = (10, 60)
_TRIES: Final = 4
_LONGEST_PAUSE: Final = 30.0


def sku_rows(azure: Subscription, region: str) -> list[dict[str, Any]]:
    """Rows of machines' sizes in a region, in wire form. RefusedError."""
    with refusals(f"list the sizes in {region}"):
        found = [one.as_dict() for one in azure.compute.resource_skus.list(filter=f"location eq '{region}'")]
    return [one for one in found if one.get("resourceType") == _MACHINES]


def usage_rows(azure: Subscription, region: str) -> list[dict[str, Any]]:
    """Counters of a region, in wire form. RefusedError."""
    with refusals(f"tell the quota in {region}"):
        return [one.as_dict() for one in azure.compute.usage.list(region)]


def session() -> requests.Session:
    return requests.Session()


def price_rows(region: str, web: requests.Session, pause: Callable[[float], None] = time.sleep) -> list[Any]:
    """Rows of Linux machines by the hour in a region, of the Retail Prices API, which wants no login.

    It says where its next page is; that is followed to nowhere else. ProvisioningError.
    """
    machines = f"serviceName eq 'Virtual Machines' and armRegionName eq '{region}' and priceType eq 'Consumption'"
    url, rows = str(requests.Request("GET", PRICES_URL, params={"$filter": machines}).prepare().url), []
    for _ in range(_MOST_PAGES):
        page = _page(url, web, pause)
        items = page.get("Items")
        if not isinstance(items, list):
            raise ProvisioningError("an answer of the Retail Prices API has no list 'Items'")
        rows += [one for one in items if isinstance(one, dict) and is_hour_of_linux(one)]
        following = page.get("NextPageLink")
        if not following or not items:
            return rows
        url = _checked(following)
    raise ProvisioningError(f"prices of {region} have more than {_MOST_PAGES} pages")


def _checked(link: object) -> str:
    if not isinstance(link, str) or not _NEXT.fullmatch(link):
        raise ProvisioningError(f"the Retail Prices API sends us elsewhere: {str(link)[:120]!r}")
    return link


def _page(url: str, web: requests.Session, pause: Callable[[float], None]) -> dict[str, Any]:
    why = ""
    for number in range(_TRIES):
        if number:
            pause(min(2.0**number, _LONGEST_PAUSE))
        try:
            with web.get(url, timeout=_SECONDS, stream=True, allow_redirects=False) as answer:
                why = f"HTTP status {answer.status_code}"
                if answer.status_code == requests.codes.ok:
                    page = json.loads(b"".join(_bounded(answer)))
                    if isinstance(page, dict):
                        return page
                    why = "no object"
                elif answer.status_code != requests.codes.too_many_requests and answer.status_code < 500:
                    break
        except (requests.RequestException, ValueError, RecursionError) as error:
            why = type(error).__name__
    raise ProvisioningError(f"{PRICES_URL} gives no prices: {why}", hint="ask again later, or with --no-prices")


def _bounded(answer: requests.Response) -> Iterator[bytes]:
    size = 0
    for block in answer.iter_content(_BLOCK):
        size += len(block)
        if size > _MOST_BYTES:
            raise ProvisioningError(f"a page of prices has more than {_MOST_BYTES >> 20} MiB")
        yield block
