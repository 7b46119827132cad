from __future__ import annotations

import json
from contextlib import suppress
from datetime import date
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lisa_ci.errors import PipelineError
from lisa_ci.model import Arch, Confidential, Controller, Firmware, Placement
from lisa_ci.platforms.azure.skus import ANYWHERE, parse_rows, read_skus, shipped_skus
from tests.unit.platforms.azure.orders import fixture, row

REAL = {sku.name: sku for sku in parse_rows(fixture("resource-skus.json")["value"])}
BOTH = {Firmware.BIOS, Firmware.UEFI}


def test_every_row_that_azure_gave_is_read() -> None:
    assert len(REAL) == len(fixture("resource-skus.json")["value"]) == 29


def test_a_plain_row_is_told_in_our_words() -> None:
    sku = REAL["Standard_D2s_v3"]
    assert (sku.cores, sku.memory_mib, sku.arch, sku.firmware) == (2, 8192, Arch.X86_64, BOTH)
    assert (sku.nics, sku.data_disks, sku.premium, sku.spot) == (2, 4, True, True)
    assert sku.controllers == {Controller.SCSI}
    assert sku.os_room_gib == {Placement.TEMPORARY: 16, Placement.CACHE: 50}
    assert sku.trusted_launch
    assert sku.accelerated_networking


def test_a_constrained_size_has_fewer_processors_than_it_takes_of_the_quota() -> None:
    sku = REAL["Standard_M8-2ms"]
    assert (sku.cores, sku.quota_cores) == (2, 8)
    assert sku.memory_mib == 224000
    assert not sku.trusted_launch


def test_a_size_that_has_nvme_only_says_so() -> None:
    sku = REAL["Standard_D128ds_v6"]
    assert sku.controllers == {Controller.NVME}
    assert sku.controller(Controller.AUTO) is Controller.NVME
    assert sku.controller(Controller.SCSI) is Controller.AUTO
    assert sku.local_nvme == 4
    assert sku.os_room_gib == {Placement.NVME: 1760}
    assert sku.zones == {"1", "2", "3"}


def test_arm64_gpus_and_bios_are_told() -> None:
    assert REAL["Standard_D16plds_v5"].arch is Arch.AARCH64
    assert not REAL["Standard_D16plds_v5"].trusted_launch
    assert REAL["Standard_NV48s_v3"].gpus == 4
    assert REAL["Standard_D2_v2"].firmware == {Firmware.BIOS}
    assert not REAL["Standard_D2_v2"].trusted_launch


def test_a_row_that_leaves_out_a_name_has_the_least_that_it_can_mean() -> None:
    sku = REAL["Standard_D8a_v3"]  # neither accelerated networking, nor NICs, nor a processor is told
    assert not sku.accelerated_networking
    assert sku.nics == 1
    assert sku.arch is Arch.X86_64
    assert sku.gpus == 0
    assert not sku.rdma


def test_old_rows_that_have_room_and_do_not_say_where_mean_the_cache() -> None:
    assert set(REAL["Standard_DS1_v2"].os_room_gib) == {Placement.CACHE}


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({"ConfidentialComputingType": "SNP"}, Confidential.SEV_SNP),
        ({"ConfidentialComputingType": "TDX"}, Confidential.TDX),
    ],
)
def test_a_confidential_size_is_no_size_for_trusted_launch(told: dict[str, str], expected: Confidential) -> None:
    sku = parse_rows([row(HyperVGenerations="V2", **told)])[0]
    assert sku.confidential is expected
    assert not sku.trusted_launch


def test_a_part_of_a_gpu_is_a_gpu() -> None:
    assert parse_rows([row(GPUs="0.1667")])[0].gpus == 1


def test_an_fpga_is_known_by_the_size_alone() -> None:
    assert [parse_rows([row(name)])[0].fpgas for name in ("Standard_NP10s", "Standard_NP40s", "Standard_D2s_v5")] == [
        1,
        4,
        0,
    ]


def restricted(kind: str, region: str, reason: str, *zones: str) -> dict[str, Any]:
    info = {"locations": [region], "zones": list(zones)}
    return {"type": kind, "reasonCode": reason, "restrictionInfo": info, "values": [region]}


def test_a_restricted_region_is_refused_with_the_reason() -> None:
    told = {**row(), "restrictions": [restricted("Location", "WestEurope", "NotAvailableForSubscription")]}
    assert parse_rows([told])[0].refused == "not offered to this subscription"


def test_a_restricted_zone_leaves_the_others() -> None:
    told = {**row(), "restrictions": [restricted("Zone", "westeurope", "QuotaId", "1")]}
    sku = parse_rows([told])[0]
    assert sku.refused == ""
    assert sku.refused_zones == {"1": "not offered to subscriptions of this kind"}


def test_a_restriction_of_another_region_is_not_ours() -> None:
    told = {**row(), "restrictions": [restricted("Location", "eastus", "QuotaId")]}
    assert parse_rows([told])[0].refused == ""


def test_a_row_of_several_regions_is_a_size_in_each() -> None:
    told = {**row(), "locations": ["WestEurope", "eastus"]}
    assert [sku.region for sku in parse_rows([told])] == ["westeurope", "eastus"]


def test_ultra_disks_are_known_by_zone() -> None:
    told = row()
    detail = {"name": ["2"], "capabilities": [{"name": "UltraSSDAvailable", "value": "True"}]}
    told["locationInfo"][0]["zoneDetails"] = [detail]
    assert parse_rows([told])[0].ultra_zones == {"2"}


def test_azures_own_date_of_retirement_comes_before_ours() -> None:
    told = parse_rows([row("Standard_NP10s", RetirementDateUtc="2027-04-30T00:00:00Z"), row("Standard_NP10s")])
    assert [sku.retires for sku in told] == [date(2027, 4, 30), date(2027, 5, 31)]


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"resourceType": "disks"},
        {"name": None},
        {"capabilities": None},
        {"capabilities": [{"name": "vCPUs"}]},
        {"capabilities": [{"name": "vCPUs", "value": "many"}, {"name": "MemoryGB", "value": "8"}]},
        {"capabilities": [{"name": "vCPUs", "value": "nan"}, {"name": "MemoryGB", "value": "inf"}]},
    ],
)
def test_a_row_that_is_no_machine_is_left_out(wrong: dict[str, Any]) -> None:
    told = {**row(), **wrong} if wrong else {}
    assert parse_rows([told]) == ()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


PLACES = st.lists(
    st.dictionaries(
        st.sampled_from(["location", "zones", "zoneDetails", "type", "reasonCode", "restrictionInfo", "values"]),
        JSON | st.dictionaries(st.sampled_from(["locations", "zones", "name", "capabilities"]), JSON),
    ),
    max_size=3,
)


@example(changes={"locations": 1}, places=[], limits=[])
@example(changes={"locationInfo": 1}, places=[], limits=[])
@given(st.dictionaries(st.sampled_from(sorted(row())), JSON), PLACES, PLACES)
def test_any_row_is_read_or_left_out(changes: dict[str, Any], places: list[Any], limits: list[Any]) -> None:
    parse_rows([{**row(), "locationInfo": places, "restrictions": limits, **changes}])


@given(st.binary(max_size=200))
def test_any_file_is_read_or_refused(data: bytes) -> None:
    with suppress(PipelineError):
        assert isinstance(read_skus(data, "skus.json"), tuple)


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b"[" * 100_000, b"3", b'{"value": {}}'])
def test_a_file_that_holds_no_sizes_is_named_with_the_way_to_get_one(data: bytes) -> None:
    with pytest.raises(PipelineError, match=r"skus\.json (is not JSON|holds no list)") as caught:
        read_skus(data, "skus.json")
    assert "az vm list-skus" in caught.value.hint


def test_both_forms_of_azures_answer_are_read() -> None:
    rows = [row()]
    assert read_skus(json.dumps(rows).encode(), "x") == read_skus(json.dumps({"value": rows}).encode(), "x")


def test_what_is_shipped_is_true_in_every_region_and_says_nothing_of_any() -> None:
    shipped = shipped_skus()
    assert len(shipped) >= 40
    assert {sku.region for sku in shipped} == {ANYWHERE}
    real = {name: sku for name, sku in REAL.items() if name in {one.name for one in shipped}}
    assert len(real) >= 5
    for sku in shipped:
        if sku.name in real:
            one = real[sku.name]
            assert (sku.cores, sku.memory_mib, sku.firmware, sku.nics) == (
                one.cores,
                one.memory_mib,
                one.firmware,
                one.nics,
            )
