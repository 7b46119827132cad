from __future__ import annotations

import json
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lisa_ci.errors import PipelineError
from lisa_ci.platforms.azure.placing import prices
from lisa_ci.platforms.azure.prices import Prices, parse_prices, read_prices
from lisa_ci.platforms.azure.quota import parse_usage, read_usage
from tests.unit.platforms.azure.orders import fixture, sku


def usage(name: str, used: int | str, limit: int | str) -> dict[str, Any]:
    return {"name": {"value": name, "localizedValue": f"{name} vCPUs"}, "currentValue": used, "limit": limit}


# ---- quota ---------------------------------------------------------------------------------------------------------


def test_a_recorded_answer_is_read() -> None:
    quota = parse_usage("eastus", fixture("usages.json")["value"])
    assert quota.left("cores") == 100
    assert quota.left("standarddsv3family") == 100
    assert quota.counters["cores"].label == "Total Regional vCPUs"


def test_family_and_total_are_both_held_and_both_told() -> None:
    quota = parse_usage("eastus", [usage("standardDSv5Family", 8, 10), usage("cores", 9, 10)])
    found = quota.problems(sku(), 2, is_spot=False)
    assert found == (
        "quota 'standardDSv5Family vCPUs' has 2 left of 10, 4 needed",
        "quota 'cores vCPUs' has 1 left of 10, 4 needed",
    )


def test_families_are_compared_without_case() -> None:
    quota = parse_usage("eastus", [usage("STANDARDdsv5FAMILY", 0, 0)])
    assert len(quota.problems(sku(), 1, is_spot=False)) == 1


def test_a_spot_machine_takes_of_low_priority_only() -> None:
    rows = [usage("standardDSv5Family", 0, 0), usage("cores", 0, 0), usage("lowPriorityCores", 0, 3)]
    quota = parse_usage("eastus", rows)
    assert quota.problems(sku(), 1, is_spot=True) == ()
    assert quota.problems(sku(), 2, is_spot=True) == ("quota 'lowPriorityCores vCPUs' has 3 left of 3, 4 needed",)


def test_what_is_taken_is_no_longer_there() -> None:
    quota = parse_usage("eastus", [usage("cores", 0, 5), usage("virtualMachines", 0, 9)])
    quota.take(sku(), 2, is_spot=False)
    assert (quota.left("cores"), quota.left("virtualmachines")) == (1, 7)
    assert quota.problems(sku(), 1, is_spot=False)


def test_a_constrained_size_is_held_against_the_quota_by_all_its_processors() -> None:
    quota = parse_usage("eastus", [usage("cores", 0, 8)])
    assert quota.problems(sku(cores=2, quota_cores=16), 1, is_spot=False)


def test_more_used_than_the_limit_leaves_nothing_and_not_less() -> None:
    assert parse_usage("eastus", [usage("cores", 12, 10)]).left("cores") == 0


def test_a_counter_that_is_not_there_limits_nothing() -> None:
    assert parse_usage("eastus", []).problems(sku(), 50, is_spot=False) == ()


def test_numbers_that_az_writes_as_text_are_read() -> None:
    assert parse_usage("eastus", [usage("cores", "3", "10")]).left("cores") == 7


def test_a_file_names_its_region_or_is_told_it() -> None:
    rows = [usage("cores", 0, 10)]
    assert read_usage(json.dumps({"EastUS": rows}).encode(), "u")[0].region == "eastus"
    assert read_usage(json.dumps({"value": rows}).encode(), "u", "eastus")[0].left("cores") == 10
    with pytest.raises(PipelineError, match="does not say of which region"):
        read_usage(json.dumps(rows).encode(), "u")


@given(st.binary(max_size=100))
def test_any_usage_file_is_read_or_refused(data: bytes) -> None:
    with suppress(PipelineError):
        assert isinstance(read_usage(data, "u", "eastus"), tuple)


# ---- prices --------------------------------------------------------------------------------------------------------
# The rows' form is that of https://learn.microsoft.com/rest/api/cost-management/retail-prices; the figures are made up.


def item(price: float, **changes: Any) -> dict[str, Any]:
    return {
        "currencyCode": "USD",
        "retailPrice": price,
        "armRegionName": "westeurope",
        "armSkuName": "Standard_D2s_v5",
        "productName": "Virtual Machines Dsv5 Series",
        "skuName": "D2s v5",
        "unitOfMeasure": "1 Hour",
        "type": "Consumption",
        "effectiveStartDate": "2026-01-01T00:00:00Z",
        **changes,
    }


def test_a_kept_and_a_spot_machine_have_prices_of_their_own() -> None:
    prices = parse_prices([item(0.115), item(0.02, skuName="D2s v5 Spot")])
    assert prices.hour("westeurope", "Standard_D2s_v5", is_spot=False) == 0.115
    assert prices.hour("westeurope", "standard_d2s_V5", is_spot=True) == 0.02
    assert prices.hour("eastus", "Standard_D2s_v5", is_spot=False) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"productName": "Virtual Machines Dsv5 Series Windows"},
        {"productName": "Dsv5 Series Cloud Services"},
        {"skuName": "D2s v5 Low Priority"},
        {"type": "Reservation"},
        {"type": "DevTestConsumption"},
        {"unitOfMeasure": "1/Month"},
        {"retailPrice": 0},
        {"retailPrice": "0.1"},
        {"retailPrice": True},
        {"retailPrice": float("nan")},
        {"retailPrice": float("inf")},
        {"armRegionName": ""},
    ],
)
def test_rows_of_other_things_are_no_prices_of_a_linux_machine(changes: dict[str, Any]) -> None:
    assert parse_prices([item(0.1, **changes)]).kept == {}


def test_the_newest_price_stands_in_whatever_order_they_come() -> None:
    old, new = item(0.2), item(0.1, effectiveStartDate="2026-09-01T00:00:00Z")
    for rows in ([old, new], [new, old]):
        prices = parse_prices(rows)
        assert prices.hour("westeurope", "Standard_D2s_v5", is_spot=False) == 0.1
        assert prices.newest == date(2026, 9, 1)


def test_two_currencies_cannot_be_compared() -> None:
    with pytest.raises(PipelineError, match="EUR and USD cannot be compared"):
        parse_prices([item(0.1), item(0.2, currencyCode="EUR", armRegionName="eastus")])


def test_pages_of_answers_are_read_together() -> None:
    pages = [{"Items": [item(0.1)]}, {"Items": [item(0.3, armRegionName="eastus")]}]
    assert len(read_prices(json.dumps(pages).encode(), "p").kept) == 2
    assert len(read_prices(json.dumps(pages[0]).encode(), "p").kept) == 1
    assert len(read_prices(json.dumps([item(0.1)]).encode(), "p").kept) == 1


def test_a_file_without_a_price_is_a_mistake() -> None:
    with pytest.raises(PipelineError, match="p holds no price of a Linux machine") as caught:
        read_prices(b"{}", "p")
    assert "prices.azure.com" in caught.value.hint


def test_prices_tell_their_day_and_their_age() -> None:
    kept = read_prices(json.dumps({"asked": "2026-11-01", "Items": [item(0.1)]}).encode(), "p")
    assert kept.told(date(2026, 11, 28)) == "list prices, asked on 2026-11-01, 27 days ago; a hint, no bill"
    assert kept.told() == "list prices, asked on 2026-11-01; a hint, no bill"
    bare = read_prices(json.dumps({"Items": [item(0.1)]}).encode(), "p")
    assert bare.told().startswith("list prices, the newest in force since 20")
    several = [{"asked": day, "Items": [item(0.1)]} for day in ("2026-11-05", "2026-10-07", "never", 7)]
    assert read_prices(json.dumps(several).encode(), "p").asked == date(2026, 10, 7)


def test_the_order_of_a_run_is_that_of_the_prices_that_the_environment_names(tmp_path: Path) -> None:
    file = tmp_path / "prices.json"
    file.write_text(json.dumps({"asked": "2026-11-01", "Items": [item(0.1)]}))
    assert prices({"AZURE_PRICES": str(file)}).hour("westeurope", "Standard_D2s_v5", is_spot=False) == 0.1
    assert prices({}) == Prices()
    with pytest.raises(PipelineError, match="cannot be read"):
        prices({"AZURE_PRICES": str(tmp_path / "none.json")})


@given(st.binary(max_size=100))
def test_any_file_of_prices_is_read_or_refused(data: bytes) -> None:
    with pytest.raises(PipelineError):
        read_prices(data, "p")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["name", "currentValue", "limit"]), JSON))
def test_any_counter_is_read_or_left_out(changes: dict[str, Any]) -> None:
    assert len(parse_usage("eastus", [{**usage("cores", 0, 10), **changes}]).counters) <= 1


@given(st.dictionaries(st.sampled_from(sorted(item(0.1))), JSON))
def test_any_row_of_prices_is_read_or_left_out(changes: dict[str, Any]) -> None:
    found = parse_prices([item(0.1, **changes)])
    assert len(found.kept) + len(found.spot) <= 1
