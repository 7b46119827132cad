"""Every body that can be sent: all profiles of the catalogue, every security type, every kind of image."""

from __future__ import annotations

import dataclasses
import itertools
from datetime import date
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lisa_ci.model import (
    Bus,
    Confidential,
    Controller,
    Disk,
    DiskEncryption,
    Nic,
    Outbound,
    Placement,
    Profile,
    SecurityType,
    Spot,
    Storage,
    azure_contradictions,
)
from lisa_ci.pipeline import azure_catalogue
from lisa_ci.platforms.azure import bodies, static
from lisa_ci.platforms.azure.shape import GroupPlan
from lisa_ci.platforms.azure.template import plan_group
from tests.unit.platforms.azure.orders import fixture, of_type, order, profile

SECURITY: dict[str, dict[str, Any]] = {
    "standard": {},
    "trusted launch": {"tpm": True, "secure_boot": True},
    "SNP": {"confidential": Confidential.SEV_SNP, "tpm": True, "secure_boot": True},
    "TDX": {"confidential": Confidential.TDX, "tpm": True, "secure_boot": True},
}
SCHEMA = jsonschema.Draft4Validator(fixture("deployment-template.schema.json"))


def secured(plain: Profile, name: str) -> Profile:
    changes: dict[str, Any] = {"confidential": Confidential.NONE, "tpm": False, "secure_boot": False, **SECURITY[name]}
    azure = dataclasses.replace(plain.azure, security_type=SecurityType.AUTO) if plain.azure else None
    if azure and changes["confidential"] is Confidential.NONE:
        azure = dataclasses.replace(azure, disk_encryption=DiskEncryption.STATE)
    return dataclasses.replace(plain, **changes, azure=azure)


PAIRS = [
    (name, security)
    for name, security in itertools.product(azure_catalogue(), SECURITY)
    if not list(azure_contradictions(secured(azure_catalogue()[name], security)))
]


def test_most_profiles_are_checked_with_every_security_type() -> None:
    bios = {"azure-bios", "azure-fpga"}
    assert len(PAIRS) == (len(azure_catalogue()) - len(bios)) * len(SECURITY) + len(bios)


@pytest.mark.parametrize(("name", "security"), PAIRS)
def test_every_body_of_every_profile_is_what_azures_api_takes(name: str, security: str) -> None:
    assert static.profile_problems(secured(azure_catalogue()[name], security)) == ()


@pytest.mark.parametrize("name", azure_catalogue())
def test_every_template_of_every_profile_fits_the_schema_of_templates(name: str) -> None:
    of = azure_catalogue()[name]
    plans = [plan_group(one) for _, one in static.orders(of, Controller.SCSI)]
    assert plans
    for plan in plans:
        assert list(SCHEMA.iter_errors(plan.deployment.body["properties"]["template"])) == []


@pytest.mark.parametrize(
    "azure",
    [
        {"spot": Spot(max_price="1.5")},
        {"outbound": Outbound.NAT, "zones": ("1",)},
        {"outbound": Outbound.NONE, "boot_diagnostics": False},
        {"os_placement": Placement.NVME},
        {"user_data": "x" * 1000},
        {"os_storage": Storage.STANDARD_HDD, "accelerated_networking": (False,)},
        {"data_storage": (Storage.ULTRA, Storage.PREMIUM_V2)},
    ],
    ids=lambda azure: next(iter(azure)),
)
def test_what_no_profile_of_the_catalogue_asks_for_is_taken_as_well(azure: dict[str, Any]) -> None:
    disks = (Disk(bus=Bus.SCSI),) * len(azure.get("data_storage", ()))
    asked = profile(azure, disks=disks)
    assert list(azure_contradictions(asked)) == []
    assert static.profile_problems(asked) == ()


def test_every_kind_of_image_is_tried_for_the_plain_profile() -> None:
    tried = [name for name, _ in static.orders(profile(), Controller.SCSI)]
    assert tried == [*static.IMAGES, "disk that keeps its users"]


def test_no_size_of_the_catalogue_is_known_to_be_too_small_for_its_profile() -> None:
    today = date(2026, 11, 28)
    assert [(name, *one) for name, of in azure_catalogue().items() for one in static.size_problems(of, today)] == []


# ---- the check finds what is wrong ---------------------------------------------------------------------------------


def broken(plan: GroupPlan, kind: str, **changes: Any) -> GroupPlan:
    resources = tuple(dataclasses.replace(one, **changes) if one.type == kind else one for one in plan.resources)
    return dataclasses.replace(plan, resources=resources)


PLAN = plan_group(order())
MACHINE = of_type(PLAN, bodies.MACHINE)[0]


@pytest.mark.parametrize(
    ("plan", "problem"),
    [
        (broken(PLAN, bodies.MACHINE, name="m_0"), "'m_0' is no legal name"),
        (broken(PLAN, bodies.MACHINE, depends_on=()), "and does not wait for it"),
        (broken(PLAN, bodies.MACHINE, depends_on=("/gone",)), "depends on what is not made before: /gone"),
        (broken(PLAN, bodies.MACHINE, body={**MACHINE.body, "tags": {}}), "does not bear the lease"),
        (broken(PLAN, bodies.MACHINE, body={**MACHINE.body, "sise": 1}), "/sise: no such property"),
        (broken(PLAN, bodies.MACHINE, api_version="2019-01-01"), "no such type is known"),
        (dataclasses.replace(PLAN, resources=(*PLAN.resources, PLAN.resources[0])), "is there twice"),
        (dataclasses.replace(PLAN, group=dataclasses.replace(PLAN.group, name="x.")), "'x.' is no legal name"),
        (
            dataclasses.replace(PLAN, group=dataclasses.replace(PLAN.group, body={"location": "x", "tags": {}})),
            "the group bears no lease",
        ),
    ],
)
def test_a_plan_that_azure_would_refuse_is_refused_here(plan: GroupPlan, problem: str) -> None:
    assert any(problem in one for one in static.plan_problems(plan))


def test_an_expression_in_a_template_is_found() -> None:
    template = {"resources": [{"name": "[uniqueString('x')]"}]}
    body = {**PLAN.deployment.body, "properties": {"mode": "Incremental", "template": template}}
    plan = dataclasses.replace(PLAN, deployment=dataclasses.replace(PLAN.deployment, body=body))
    assert "the template has the expression \"[uniqueString('x')]\"" in static.plan_problems(plan)


# ---- any shape -----------------------------------------------------------------------------------------------------


@st.composite
def shapes(draw: st.DrawFn) -> Profile:
    """Any profile that contradicts nothing."""
    bus = draw(st.sampled_from([Bus.SCSI, Bus.NVME]))
    disks = tuple(Disk(size_mib=draw(st.integers(1, 1 << 20)), bus=bus) for _ in range(draw(st.integers(0, 4))))
    machines = draw(st.integers(1, 3))
    outbound = draw(st.sampled_from(Outbound))
    kinds = [Nic(), *([Nic(link=True)] if machines > 1 else []), *([Nic(outbound=True)] if outbound == "nat" else [])]
    nics = tuple(draw(st.lists(st.sampled_from(kinds), max_size=4)))
    has_group = machines > 1 and draw(st.booleans())
    azure: dict[str, Any] = {
        "outbound": outbound,
        "zones": () if has_group else draw(st.sampled_from([(), ("1",), ("3", "2")])),
        "spot": None if has_group else draw(st.sampled_from([None, Spot(), Spot(max_price="0.00001")])),
        "availability_set": has_group,
        "proximity": machines > 1 and draw(st.booleans()),
        "boot_diagnostics": draw(st.booleans()),
        "user_data": draw(st.text(max_size=30)),
        "os_placement": draw(st.sampled_from(Placement)),
        "accelerated_networking": draw(
            st.sampled_from([(), tuple(number % 2 == 0 for number in range(1 + len(nics)))])
        ),
        "data_storage": draw(st.sampled_from([(), (Storage.STANDARD_SSD,) * len(disks)])),
    }
    secure = draw(st.sampled_from(sorted(SECURITY)))
    return profile(azure, disks=disks, machines=machines, nics=nics, **SECURITY[secure])


@settings(max_examples=40, deadline=None)
@given(shapes())
def test_any_shape_that_contradicts_nothing_is_what_azures_api_takes(shape: Profile) -> None:
    assert list(azure_contradictions(shape)) == []
    assert static.profile_problems(shape) == ()
