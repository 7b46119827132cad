from __future__ import annotations

import dataclasses
from datetime import date
from typing import Any

import pytest

from lisa_ci.model import (
    Arch,
    Bus,
    Confidential,
    Controller,
    Disk,
    Firmware,
    Nic,
    Placement,
    Profile,
    SecurityType,
    Spot,
    Storage,
)
from lisa_ci.platforms.azure.images_ref import ImageFacts
from lisa_ci.platforms.azure.prices import Prices
from lisa_ci.platforms.azure.quota import Counter, Quota
from lisa_ci.platforms.azure.retirement import retires, warning, warnings
from lisa_ci.platforms.azure.sizes import Candidate, Offers, compare, image_problems, unfit
from lisa_ci.platforms.azure.skus import ANYWHERE, Sku
from tests.unit.platforms.azure.orders import SUBSCRIPTION, profile, sku

TODAY = date(2026, 11, 28)
TDX = {"confidential": Confidential.TDX, "tpm": True}


def compared(of: Profile, *skus: Sku, **more: Any) -> tuple[Candidate, ...]:
    quotas = more.pop("quotas", ())
    return compare(of, Offers(skus_=skus, quotas=quotas), today=TODAY, **more)


def quota(region: str, **left: int) -> Quota:
    return Quota(region=region, counters={name.lower(): Counter(used=0, limit=limit) for name, limit in left.items()})


# ---- the size and the profile --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "size", "reason"),
    [
        ({"cores": 4}, {}, "has 2 processors, not 4"),
        ({"memory_mib": 16384}, {}, "has 8192 MiB of memory, not 16384"),
        ({"gpus": 2}, {"gpus": 1}, "has 1 GPUs, not 2"),
        ({"fpgas": 1}, {}, "has 0 FPGAs, not 1"),
        ({"nics": (Nic(), Nic())}, {}, "has 2 NICs, not 3"),
        ({"disks": (Disk(bus=Bus.SCSI),) * 5}, {}, "has 4 data disks, not 5"),
        ({"azure": {"local_nvme": 2}}, {"local_nvme": 1}, "has 1 local NVMe disks, not 2"),
        ({"arch": Arch.AARCH64}, {}, "is x86_64, not aarch64"),
        ({}, {"firmware": frozenset({Firmware.BIOS})}, "boots by bios, not uefi"),
        ({"rdma": True}, {}, "has no InfiniBand"),
        ({"azure": {"spot": Spot()}}, {"spot": False}, "is not sold as a spot machine"),
        ({"tpm": True}, {"trusted_launch": False}, "has no Trusted Launch"),
        (TDX, {}, "is not confidential, not tdx"),
        (
            {"confidential": Confidential.TDX, "tpm": True},
            {"confidential": Confidential.SEV_SNP},
            "is sev-snp, not tdx",
        ),
        ({}, {"confidential": Confidential.TDX}, "makes confidential machines only (tdx)"),
        ({"disks": (Disk(bus=Bus.NVME),)}, {}, "has no nvme controller"),
        (
            {"azure": {"controller": Controller.SCSI}},
            {"controllers": frozenset({Controller.NVME})},
            "has no scsi contr",
        ),
        ({}, {"premium": False}, "takes no premium disks"),
        (
            {"disks": (Disk(bus=Bus.SCSI),), "azure": {"data_storage": (Storage.ULTRA,)}},
            {},
            "takes no ultra disks there",
        ),
        ({"azure": {"os_placement": Placement.NVME}}, {}, "has no room for the image's disk (nvme)"),
        ({"azure": {"accelerated_networking": (True,)}}, {"accelerated_networking": False}, "has no accelerated netw"),
        ({}, {"retires": date(2026, 11, 27)}, "retired since 2026-11-27"),
    ],
)
def test_a_size_that_cannot_be_what_the_profile_promises_says_why(
    asked: dict[str, Any], size: dict[str, Any], reason: str
) -> None:
    of = profile(**asked)
    plain = unfit(of, sku(**size), TODAY)
    assert len(plain) == 1, plain
    assert reason in plain[0]


def test_a_size_that_has_all_of_it_fits() -> None:
    assert unfit(profile(), sku(), TODAY) == ()
    assert unfit(profile({"os_storage": Storage.STANDARD_SSD}), sku(premium=False), TODAY) == ()


def test_every_reason_is_told_and_not_only_the_first() -> None:
    assert len(unfit(profile(cores=8, gpus=1, rdma=True), sku(), TODAY)) == 3


# ---- names and places ----------------------------------------------------------------------------------------------


def test_only_the_exact_size_is_ever_taken() -> None:
    bigger = sku("Standard_D2s_v5_Promo"), sku("Standard_D32s_v5"), sku("Standard_D2s_v50")
    assert [one.reasons for one in compared(profile(), *bigger)] == [("not offered in this region",)]


def test_case_does_not_matter_and_azures_spelling_is_used() -> None:
    found = compared(profile({"sizes": ("standard_d2S_V5",)}), sku())
    assert found[0].size == "Standard_D2s_v5"
    assert found[0].serves


def test_without_prices_the_profiles_order_stands_sizes_before_regions() -> None:
    of = profile({"sizes": ("Standard_B", "Standard_A"), "regions": ("r2", "r1")})
    skus = [sku(name, region=region) for name in ("Standard_A", "Standard_B") for region in ("r1", "r2")]
    assert [(one.size, one.region) for one in compared(of, *skus)] == [
        ("Standard_B", "r2"),
        ("Standard_B", "r1"),
        ("Standard_A", "r2"),
        ("Standard_A", "r1"),
    ]


def test_the_cheapest_that_serves_is_first_and_unknown_prices_come_after_known_ones() -> None:
    of = profile({"sizes": ("Standard_A", "Standard_B", "Standard_C"), "regions": ("r1", "r2")})
    skus = [sku(f"Standard_{name}", region=region) for name in "ABC" for region in ("r1", "r2")]
    prices = Prices(kept={("r1", "standard_a"): 0.3, ("r1", "standard_b"): 0.1, ("r2", "standard_b"): 0.2})
    found = compared(of, *skus, prices=prices)
    assert [(one.size[-1], one.region, one.price) for one in found] == [
        ("B", "r1", 0.1),
        ("B", "r2", 0.2),
        ("A", "r1", 0.3),
        ("A", "r2", None),
        ("C", "r1", None),
        ("C", "r2", None),
    ]


def test_a_cheap_size_that_does_not_serve_is_last() -> None:
    of = profile({"sizes": ("Standard_A", "Standard_B")}, cores=4)
    prices = Prices(kept={("westeurope", "standard_a"): 0.01, ("westeurope", "standard_b"): 1})
    found = compared(of, sku("Standard_A"), sku("Standard_B", cores=4), prices=prices)
    assert [(one.size, one.serves) for one in found] == [("Standard_B", True), ("Standard_A", False)]


def test_a_price_is_that_of_all_machines() -> None:
    prices = Prices(kept={("westeurope", "standard_d2s_v5"): 0.25})
    assert compared(profile(machines=2), sku(), prices=prices)[0].price == 0.5


def test_a_spot_machine_that_costs_more_than_its_limit_does_not_serve() -> None:
    prices = Prices(spot={("westeurope", "standard_d2s_v5"): 0.05})
    for limit, serves in (("0.04", False), ("0.06", True), ("", True)):
        found = compared(profile({"spot": Spot(max_price=limit)}), sku(), prices=prices)
        assert found[0].serves is serves, limit


def test_a_restriction_is_a_reason() -> None:
    assert compared(profile(), sku(refused="not offered to this subscription"))[0].reasons == (
        "not offered to this subscription",
    )


def test_zones_are_places_of_their_own() -> None:
    found = compared(
        profile({"zones": ("3", "2", "1")}),
        sku(zones=frozenset("12"), refused_zones={"2": "not offered to this subscription"}),
    )
    assert [(one.zone, one.reasons) for one in found] == [
        ("1", ()),
        ("3", ("not in zone 3",)),
        ("2", ("zone 2: not offered to this subscription",)),
    ]


def test_what_is_shipped_is_believed_in_every_region_and_zone() -> None:
    found = compared(profile({"regions": ("r1", "r2"), "zones": ("1",)}), sku(region=ANYWHERE, zones=frozenset()))
    assert [one.serves for one in found] == [True, True]


def test_a_quota_that_is_full_sends_the_leg_to_another_region() -> None:
    of = profile({"regions": ("r1", "r2")})
    found = compared(of, sku(region="r1"), sku(region="r2"), quotas=(quota("r1", cores=1), quota("r2", cores=2)))
    assert [(one.region, one.serves) for one in found] == [("r2", True), ("r1", False)]
    assert "1 left of 1, 2 needed" in found[1].reasons[0]


def test_a_candidate_becomes_a_place_with_what_the_size_has() -> None:
    of = profile({"zones": ("1",)}, disks=(Disk(bus=Bus.NVME),))
    size = sku(controllers=frozenset({Controller.SCSI, Controller.NVME}), accelerated_networking=False)
    place = compared(of, size)[0].place(SUBSCRIPTION)
    assert (place.size, place.region, place.zone) == ("Standard_D2s_v5", "westeurope", "1")
    assert place.controller is Controller.NVME
    assert not place.accelerated_networking


def test_a_candidate_that_does_not_serve_is_no_place() -> None:
    with pytest.raises(ValueError, match="does not serve"):
        compared(profile())[0].place(SUBSCRIPTION)


@pytest.mark.parametrize(
    ("bus", "asked", "has", "gets"),
    [
        (None, Controller.AUTO, (Controller.SCSI, Controller.NVME), Controller.SCSI),
        (None, Controller.AUTO, (Controller.NVME,), Controller.NVME),
        (None, Controller.NVME, (Controller.SCSI, Controller.NVME), Controller.NVME),
        (Bus.SCSI, Controller.AUTO, (Controller.SCSI, Controller.NVME), Controller.SCSI),
        (Bus.NVME, Controller.AUTO, (Controller.SCSI, Controller.NVME), Controller.NVME),
        (Bus.SCSI, Controller.AUTO, (Controller.NVME,), Controller.AUTO),
    ],
)
def test_the_controller_is_that_of_the_disks_else_that_of_the_profile_else_scsi(
    bus: Bus | None, asked: Controller, has: tuple[Controller, ...], gets: Controller
) -> None:
    of = profile({"controller": asked}, disks=() if bus is None else (Disk(bus=bus),))
    found = compared(of, sku(controllers=frozenset(has)))[0]
    assert found.controller is gets
    assert found.serves == (gets is not Controller.AUTO)


# ---- the size and the image ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("facts", "asked", "size", "reason"),
    [
        ({"arch": Arch.AARCH64}, {}, {}, "the image is for aarch64"),
        ({"firmware": Firmware.BIOS}, {}, {}, "the image boots by bios"),
        ({}, {"tpm": True}, {}, "the image is not marked for trusted-launch"),
        ({"security": frozenset({SecurityType.CONFIDENTIAL})}, {}, {}, "the image is not marked for standard"),
        ({}, {}, {"controllers": frozenset({Controller.NVME})}, "the image is not marked for the nvme controller"),
        (
            {"accelerated_networking": False},
            {"azure": {"accelerated_networking": (True,)}},
            {},
            "the image is not marked for accelerated networking",
        ),
        (
            {"size_gib": 64},
            {"azure": {"os_placement": Placement.CACHE}},
            {"os_room_gib": {Placement.CACHE: 50}},
            "the image has 64 GiB, and there is room for 50 (cache)",
        ),
    ],
)
def test_an_image_that_does_not_fit_the_size_says_why(
    facts: dict[str, Any], asked: dict[str, Any], size: dict[str, Any], reason: str
) -> None:
    of, image = profile(**asked), ImageFacts(**facts)
    assert image_problems(of, sku(**size), image) == (reason,)
    assert reason in compared(of, sku(**size), facts=image)[0].reasons


def test_a_plain_image_fits_a_plain_size() -> None:
    assert image_problems(profile(), sku(), ImageFacts(size_gib=30)) == ()


# ---- retirement ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "day"),
    [
        ("Standard_NP10s", date(2027, 5, 31)),
        ("Standard_HC44-16rs", date(2027, 5, 31)),
        ("Standard_NC6s_v3", date(2025, 9, 30)),
        ("Standard_NV12s_v3", date(2026, 9, 30)),
        ("Standard_D2_v2", date(2028, 5, 1)),
        ("Standard_DS12-1_v2", date(2028, 5, 1)),
        ("Standard_B2ms", date(2028, 11, 15)),
        ("Standard_F16s_v2", date(2028, 11, 15)),
        ("Standard_L8s_v2", date(2028, 11, 15)),
        ("Standard_D2s_v3", None),
        ("Standard_D2s_v5", None),
        ("Standard_NC4as_T4_v3", None),
        ("Standard_L8s_v3", None),
        ("Standard_B2s_v2", None),
        ("Standard_FX4mds", None),
        ("Standard_HB120rs_v3", None),
        ("Standard_DC2as_v5", None),
    ],
)
def test_sizes_that_azure_takes_away_are_known(size: str, day: date | None) -> None:
    assert retires(size) == day


def test_a_size_is_warned_of_within_a_year_and_told_when_it_is_gone() -> None:
    assert warning("Standard_NP10s", date(2026, 5, 30)) == ""
    assert warning("Standard_NP10s", date(2026, 6, 1)) == "Standard_NP10s retires on 2027-05-31"
    assert warning("Standard_NP10s", date(2027, 6, 1)) == "Standard_NP10s has been retired since 2027-05-31"


def test_each_size_of_a_profile_that_retires_is_named_with_it() -> None:
    of = dataclasses.replace(profile({"sizes": ("Standard_NP10s", "Standard_D2s_v5", "Standard_NP20s")}), name="fpga")
    assert list(warnings(of, TODAY)) == [
        "profile fpga: Standard_NP10s retires on 2027-05-31",
        "profile fpga: Standard_NP20s retires on 2027-05-31",
    ]


def test_a_size_that_retires_soon_serves_with_a_warning() -> None:
    found = compared(profile(), sku(retires=date(2027, 1, 1)))[0]
    assert found.serves
    assert found.warning == "Standard_D2s_v5 retires on 2027-01-01"
