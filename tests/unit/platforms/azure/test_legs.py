from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lisa_ci import files
from lisa_ci.errors import PipelineError
from lisa_ci.model import Leg, Plan, Profile
from lisa_ci.platforms.azure.legs import placed, read_answers
from tests.doubles.evidence import make_plan
from tests.unit.platforms.azure.orders import profile, row

SIZES = ("Standard_D2s_v5", "Standard_D2as_v5")
REGIONS = ("westeurope", "northeurope")


def counter(name: str, limit: int) -> dict[str, Any]:
    return {"name": {"value": name, "localizedValue": name}, "currentValue": 0, "limit": limit}


def price(size: str, region: str, amount: float) -> dict[str, Any]:
    return {
        "currencyCode": "USD",
        "retailPrice": amount,
        "armRegionName": region,
        "armSkuName": size,
        "productName": "Virtual Machines",
        "skuName": size,
        "unitOfMeasure": "1 Hour",
        "type": "Consumption",
        "effectiveStartDate": "2026-10-01T00:00:00Z",
    }


def answers(folder: Path, *, cores: tuple[int, int], prices: Iterable[dict[str, Any]] = ()) -> Path:
    skus = [row(size, region=region) for size in SIZES for region in REGIONS]
    usage = {region: [counter("cores", limit)] for region, limit in zip(REGIONS, cores, strict=True)}
    (folder / "skus.json").write_text(json.dumps(skus))
    (folder / "usage.json").write_text(json.dumps(usage))
    if prices := list(prices):
        (folder / "prices.json").write_text(json.dumps({"Items": prices}))
    return folder


def plan(*profiles: Profile) -> Plan:
    start = make_plan(profiles=[f"leg-{number}" for number in range(len(profiles))])
    legs = [replace(leg, profile=replace(of, name=leg.id)) for leg, of in zip(start.legs, profiles, strict=True)]
    return replace(start, legs=tuple(legs))


def place(leg: Leg) -> tuple[str, str]:
    assert leg.profile.azure is not None
    return leg.profile.azure.sizes[0], leg.profile.azure.regions[0]


OF = profile({"sizes": SIZES, "regions": REGIONS})


def test_each_leg_gets_a_place_of_its_own_before_any_starts(tmp_path: Path) -> None:
    kept = read_answers(answers(tmp_path, cores=(4, 4)))
    found = placed(plan(OF, OF, OF, OF), kept)
    assert [place(leg)[1] for leg in found.legs] == ["westeurope", "westeurope", "northeurope", "northeurope"]
    assert found.notes == plan(OF).notes


def test_the_other_places_stay_for_when_the_first_is_full(tmp_path: Path) -> None:
    kept = read_answers(answers(tmp_path, cores=(0, 4)))
    azure = placed(plan(OF), kept).legs[0].profile.azure
    assert azure is not None
    assert azure.regions == ("northeurope", "westeurope")
    assert set(azure.sizes) == set(SIZES)


def test_the_cheapest_place_is_first_and_the_cost_is_told(tmp_path: Path) -> None:
    listed = [price(SIZES[0], "westeurope", 0.2), price(SIZES[1], "northeurope", 0.1)]
    found = placed(plan(OF), read_answers(answers(tmp_path, cores=(9, 9), prices=listed)))
    assert place(found.legs[0]) == (SIZES[1], "northeurope")
    since = "the newest in force since 2026-10-01; a hint, no bill"
    assert found.notes[-1] == f"all legs on Azure together cost 0.10 USD an hour by list prices, {since}"


def test_legs_that_have_to_wait_and_those_that_never_fit_are_told(tmp_path: Path) -> None:
    big = replace(OF, machines=8)
    found = placed(plan(OF, OF, OF, big), read_answers(answers(tmp_path, cores=(2, 2))))
    assert any(note.startswith("leg leg-3 has no room on Azure: ") for note in found.notes)
    assert "quotas on Azure hold 2 of the legs at once; leg-2 fit when others have ended" in found.notes
    assert found.legs[2].profile.azure == OF.azure


def test_other_platforms_are_left_alone(tmp_path: Path) -> None:
    plain = make_plan()
    assert placed(plain, read_answers(answers(tmp_path, cores=(1, 1)))) == plain


def test_the_same_answers_give_the_same_plan(tmp_path: Path) -> None:
    kept = answers(tmp_path, cores=(4, 4))
    one, other = (files.encode(placed(plan(OF, OF, OF), read_answers(kept))) for _ in range(2))
    assert one == other


def test_a_folder_without_answers_says_how_to_get_them(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match=r"skus\.json cannot be read") as caught:
        read_answers(tmp_path)
    assert caught.value.hint == "lisa-ci azure ask FOLDER writes it"
