"""Prices asked of the Retail Prices API: whatever it answers, what is kept are prices, and nobody else is asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import requests

from lisa_ci.errors import ProvisioningError
from lisa_ci.platforms.azure import ask
from tests.doubles.azure.wire import Answer, InProcess, Request

ROW = {
    "currencyCode": "USD",
    "retailPrice": 0.1,
    "armRegionName": "westeurope",
    "armSkuName": "Standard_D2s_v5",
    "productName": "Virtual Machines Dsv5 Series",
    "skuName": "D2s v5",
    "unitOfMeasure": "1 Hour",
    "type": "Consumption",
    "effectiveStartDate": "2026-10-01T00:00:00Z",
}


def web(serve: Callable[[Request], Answer]) -> requests.Session:
    session = requests.Session()
    session.mount("https://", InProcess(serve))
    return session


def asked(serve: Callable[[Request], Answer], pauses: list[float] | None = None) -> list[Any]:
    kept = pauses if pauses is not None else []
    return ask.price_rows("westeurope", web(serve), kept.append)


def test_all_pages_are_read_and_rows_of_windows_left_there() -> None:
    pages = [
        [ROW],
        [{**ROW, "productName": "Virtual Machines Dsv5 Series Windows"}],
        [{**ROW, "skuName": "D2s v5 Spot"}],
    ]
    seen = []

    def serve(request: Request) -> Answer:
        number = int(request.query.get("$skip", "0"))
        seen.append(request.query["$filter"])
        link = f"https://prices.azure.com:443/api/retail/prices?$filter=x&$skip={number + 1}"
        return Answer(status=200, body={"Items": pages[number], "NextPageLink": link if number < 2 else None})

    assert [one["skuName"] for one in asked(serve)] == ["D2s v5", "D2s v5 Spot"]
    assert "armRegionName eq 'westeurope'" in seen[0]


@pytest.mark.parametrize(
    "link",
    [
        "https://prices.example.com/api/retail/prices",
        "http://prices.azure.com/api/retail/prices",
        "https://prices.azure.com/elsewhere",
        "https://me@prices.azure.com/api/retail/prices",
        "file:///etc/passwd",
        7,
    ],
)
def test_a_next_page_is_followed_nowhere_else(link: object) -> None:
    with pytest.raises(ProvisioningError, match="sends us elsewhere"):
        asked(lambda _: Answer(status=200, body={"Items": [ROW], "NextPageLink": link}))


def test_pages_without_end_end() -> None:
    link = "https://prices.azure.com/api/retail/prices?$skip=1"
    with pytest.raises(ProvisioningError, match="more than 400 pages"):
        asked(lambda _: Answer(status=200, body={"Items": [ROW], "NextPageLink": link}))


def test_a_page_without_limits_is_not_read_to_its_end() -> None:
    with pytest.raises(ProvisioningError, match="a page of prices has more than 16 MiB"):
        asked(lambda _: Answer(status=200, body=b" " * (17 << 20)))


@pytest.mark.parametrize(
    ("answer", "why", "tries"),
    [
        (Answer(status=429), "HTTP status 429", 4),
        (Answer(status=503), "HTTP status 503", 4),
        (Answer(status=403), "HTTP status 403", 1),
        (Answer(status=302, headers={"Location": "https://prices.example.com/"}), "HTTP status 302", 1),
        (Answer(status=200, body=b"<html>"), "JSONDecodeError", 4),
        (Answer(status=200, body=b"[" * 200_000), "RecursionError", 4),
        (Answer(status=200, body=[1]), "no object", 4),
    ],
)
def test_what_is_no_answer_is_asked_for_again_only_where_that_may_help(answer: Answer, why: str, tries: int) -> None:
    seen: list[str] = []

    def serve(request: Request) -> Answer:
        seen.append(request.path)
        return answer

    pauses: list[float] = []
    with pytest.raises(ProvisioningError, match=why):
        asked(serve, pauses)
    assert len(seen) == tries
    assert len(pauses) == tries - 1


def test_an_answer_without_a_list_is_no_answer() -> None:
    with pytest.raises(ProvisioningError, match="no list 'Items'"):
        asked(lambda _: Answer(status=200, body={"Items": {}}))
