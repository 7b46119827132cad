"""Everything that can be said of a profile's machines on Azure without asking Azure: would what we send be accepted.

A made-up lease, subscription and image stand in for what only a run knows; nothing is sent.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Final

from lisa_ci.model import (
    AZURE,
    Access,
    Azure,
    Become,
    Controller,
    Lease,
    Placement,
    Profile,
    SecurityType,
    security_type,
)
from lisa_ci.platforms.azure import bodies, names, typed
from lisa_ci.platforms.azure.images_ref import (
    Blob,
    CommunityGallery,
    ImageFacts,
    ManagedDisk,
    ManagedImage,
    Marketplace,
    NamedImage,
    OwnGallery,
    Purchase,
    SharedGallery,
)
from lisa_ci.platforms.azure.shape import Entry, GroupPlan, Order, Place, Resource
from lisa_ci.platforms.azure.sizes import unfit, wanted_controller
from lisa_ci.platforms.azure.skus import Sku, shipped_skus
from lisa_ci.platforms.azure.template import plan_group

_SUBSCRIPTION: Final = "00000000-0000-0000-0000-000000000000"
_GROUP: Final = "images"
IMAGES: Final[Mapping[str, NamedImage]] = {
    "marketplace": Marketplace(publisher="debian", offer="debian-12", sku="12-gen2", version="0.20261101.1"),
    "marketplace with a plan": Marketplace(
        publisher="almalinux",
        offer="almalinux-x86_64",
        sku="9-gen2",
        version="9.4.2024050902",
        purchase=Purchase(publisher="almalinux", product="almalinux-x86_64", name="9-gen2"),
    ),
    "gallery": OwnGallery(
        subscription=_SUBSCRIPTION, group=_GROUP, gallery="builds", definition="distro", version="1.2.3"
    ),
    "shared gallery": SharedGallery(gallery="builds-0123", definition="distro", version="1.2.3"),
    "community gallery": CommunityGallery(gallery="builds-0123", definition="distro", version="1.2.3"),
    "managed image": ManagedImage(subscription=_SUBSCRIPTION, group=_GROUP, name="distro"),
    "disk": ManagedDisk(subscription=_SUBSCRIPTION, group=_GROUP, name="distro"),
    "blob": Blob(url="https://builds.blob.core.windows.net/images/distro.vhd"),
}
_GALLERIES: Final = (Marketplace, OwnGallery, SharedGallery, CommunityGallery)

# Azure's limits on names: learn.microsoft.com, "Naming rules and restrictions for Azure resources".
_NAMES: Final[Mapping[str, str]] = {
    bodies.GROUP: r"[\w().-]{0,89}[\w()-]",
    bodies.DEPLOYMENT: r"[\w().-]{1,64}",
    bodies.MACHINE: r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,62}[A-Za-z0-9])?",
    bodies.DISK: r"\w[\w-]{0,79}",
    bodies.NETWORK: r"[A-Za-z0-9][\w.-]{0,62}\w",
}
_NAME: Final = r"[A-Za-z0-9](?:[\w.-]{0,78}\w)?"
_EXPRESSION: Final = re.compile(r"^\[(?!\[)")
_MOST_TEMPLATE: Final = 4 << 20  # bytes of a template, learn.microsoft.com, "Template limits"
_MOST_CUSTOM_DATA: Final = 87380  # characters of base64
_WRITES: Final = 4


def orders(profile: Profile, controller: Controller) -> Iterator[tuple[str, Order]]:
    """An order for each kind of image that the profile's machines can be made of, with what it is called."""
    is_special = security_type(profile) is SecurityType.TRUSTED_LAUNCH or controller is Controller.NVME
    is_confidential = security_type(profile) is SecurityType.CONFIDENTIAL
    azure = profile.azure or Azure()
    can_attach = azure.os_placement is Placement.MANAGED and not azure.user_data
    for name, image in IMAGES.items():
        if is_confidential and not isinstance(image, _GALLERIES):
            continue
        if is_special and isinstance(image, ManagedImage):
            continue
        if is_special and not can_attach and isinstance(image, ManagedDisk | Blob):
            continue
        yield name, _order(profile, image, controller)
    if can_attach and not is_confidential:
        keeps = replace(_order(profile, IMAGES["disk"], controller), facts=ImageFacts(is_generalized=False))
        yield "disk that keeps its users", keeps


def _order(profile: Profile, image: NamedImage, controller: Controller) -> Order:
    azure = profile.azure
    entry = Entry(
        public_key="ssh-ed25519 " + "A" * 68,
        host_private="-----BEGIN OPENSSH PRIVATE KEY-----\n"
        + ("A" * 70 + "\n") * 5
        + "-----END OPENSSH PRIVATE KEY-----\n",
        host_public="ssh-ed25519 " + "A" * 68,
    )
    lease = Lease(
        owner="runner",
        leg=profile.name,
        attempt=1,
        delete_after=datetime(2030, 1, 1, tzinfo=UTC),
        evidence=Path("evidence"),
        scratch=Path("scratch"),
    )
    place = Place(
        subscription=_SUBSCRIPTION,
        region=azure.regions[0] if azure and azure.regions else "westeurope",
        size=azure.sizes[0] if azure and azure.sizes else "Standard_D2s_v5",
        zone=azure.zones[0] if azure and azure.zones else "",
        controller=controller,
    )
    return Order(
        profile=profile,
        image=image,
        facts=ImageFacts(),
        access=Access(user="root", become=Become.NONE),
        lease=lease,
        place=place,
        runner=("192.0.2.1", "198.51.100.0/24"),
        entries=(entry,) * profile.machines,
    )


def profile_problems(profile: Profile) -> tuple[str, ...]:
    """What is wrong with what would be sent for a profile; a sentence each, none where all is well."""
    if profile.platform != AZURE:
        return ()
    wanted = wanted_controller(profile)
    controllers = [Controller.SCSI, Controller.NVME] if wanted is Controller.AUTO else [wanted]
    found = [
        f"{name}, {controller.value}: {problem}"
        for controller in controllers
        for name, order in orders(profile, controller)
        for problem in plan_problems(plan_group(order))
    ]
    return tuple(dict.fromkeys(found))


def size_problems(profile: Profile, today: date) -> Iterator[tuple[str, str]]:
    """Sizes of the profile that cannot be what it promises, with the reason; as far as is shipped what they are."""
    known: Mapping[str, Sku] = {sku.name: sku for sku in shipped_skus()}
    for size in profile.azure.sizes if profile.azure else ():
        if size in known:
            yield from ((size, why) for why in unfit(profile, known[size], today))


# ---- one plan ------------------------------------------------------------------------------------------------------


def plan_problems(plan: GroupPlan) -> tuple[str, ...]:
    """Bodies against their types, names against the rules, the order of what depends on what, leases, limits."""
    found = [f"{one.type}{problem}" for one in (*plan.writes, *plan.resources) for problem in _types(one)]
    found += [problem for one in (*plan.writes, *plan.resources) for problem in _name(one)]
    found += _dependencies(plan)
    found += _leases(plan)
    found += _limits(plan)
    return tuple(found)


def _types(one: Resource) -> tuple[str, ...]:
    return typed.mistakes(one.type, one.api_version, one.body)


def _name(one: Resource) -> Iterator[str]:
    if re.fullmatch(_NAMES.get(one.type, _NAME), one.name) is None:
        yield f"{one.type}: {one.name!r} is no legal name"


def _dependencies(plan: GroupPlan) -> Iterator[str]:
    made: set[str] = set()
    for one in plan.resources:
        if one.id in made:
            yield f"{one.id} is there twice"
        if late := [need for need in one.depends_on if need not in made]:
            yield f"{one.id} depends on what is not made before: {', '.join(late)}"
        used = {text for text in _texts(one.body) if text.startswith(plan.group.id)}
        waits = set(one.depends_on)
        for text in sorted(used):
            parent = "/".join(text.split("/")[:9])  # a subnet is made with its network
            if parent != one.id and parent not in waits:
                yield f"{one.id} names {text}, and does not wait for it"
        made.add(one.id)


def _leases(plan: GroupPlan) -> Iterator[str]:
    tags = plan.group.body.get("tags", {})
    if names.delete_after(tags) is None:
        yield "the group bears no lease"
    yield from (
        f"{one.id} does not bear the lease" for one in (*plan.resources, plan.deployment) if one.body["tags"] != tags
    )


def _limits(plan: GroupPlan) -> Iterator[str]:
    template = plan.deployment.body["properties"]["template"]
    if len(plan.writes) > _WRITES:
        yield f"{len(plan.writes)} write requests"
    if len(repr(template)) > _MOST_TEMPLATE:
        yield "the template is larger than 4 MiB"
    yield from (
        f"the template has the expression {text[:80]!r}" for text in _texts(template) if _EXPRESSION.match(text)
    )
    for one in plan.resources:
        data = one.body.get("properties", {}).get("osProfile", {}).get("customData", "")
        if len(data) > _MOST_CUSTOM_DATA:
            yield f"{one.name}: {len(data)} characters of custom data"


def _texts(value: Any) -> Iterator[str]:
    match value:
        case str():
            yield value
        case Mapping():
            for item in value.values():
                yield from _texts(item)
        case list() | tuple():
            for item in value:
                yield from _texts(item)
