"""Which of a profile's sizes serves, in which region and zone, and why each of the others does not.

Sizes are exact names: nothing that is merely like one ever takes its place. Nothing here asks Azure; a ``Source`` does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final, Protocol

from lisa_ci.model import (
    Azure,
    Bus,
    Confidential,
    Controller,
    Placement,
    Profile,
    SecurityType,
    Storage,
    security_type,
)
from lisa_ci.platforms.azure.images_ref import ImageFacts
from lisa_ci.platforms.azure.prices import Prices
from lisa_ci.platforms.azure.quota import Quota
from lisa_ci.platforms.azure.retirement import warning
from lisa_ci.platforms.azure.shape import Place
from lisa_ci.platforms.azure.skus import ANYWHERE, Sku

_PREMIUM: Final = frozenset({Storage.PREMIUM_SSD, Storage.PREMIUM_V2, Storage.ULTRA})


class Source(Protocol):
    """Who knows what there is in a region."""

    def skus(self, region: str) -> Sequence[Sku]:
        """All sizes of the region. May raise what asking raises."""

    def quota(self, region: str) -> Quota | None:
        """What may still be taken there; None where that is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offers:
    """A source that was filled before: by files, or by what is shipped. ``skus_`` of ANYWHERE are in every region."""

    skus_: tuple[Sku, ...]
    quotas: tuple[Quota, ...] = ()

    def skus(self, region: str) -> Sequence[Sku]:
        return [sku for sku in self.skus_ if sku.region in {region, ANYWHERE}]

    def quota(self, region: str) -> Quota | None:
        return next((quota for quota in self.quotas if quota.region == region), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A size in a place. ``reasons``: why it does not serve, none where it does. ``price``: of an hour, all machines.

    ``sku`` None: there is no such size there. ``warning``: what should be known of it all the same.
    """

    size: str
    region: str
    zone: str = ""
    sku: Sku | None = None
    controller: Controller = Controller.AUTO
    price: float | None = None
    reasons: tuple[str, ...] = ()
    warning: str = ""

    @property
    def serves(self) -> bool:
        return not self.reasons

    def place(self, subscription: str) -> Place:
        """Where to make the machines. Only of one that serves."""
        if self.sku is None or self.reasons:
            raise ValueError(f"{self.size} in {self.region} does not serve: {'; '.join(self.reasons)}")
        return Place(
            subscription=subscription,
            region=self.region,
            size=self.size,
            zone=self.zone,
            controller=self.controller,
            accelerated_networking=self.sku.accelerated_networking,
        )


def compare(
    profile: Profile,
    source: Source,
    *,
    facts: ImageFacts | None = None,
    prices: Prices | None = None,
    today: date,
    check_quota: bool = True,
) -> tuple[Candidate, ...]:
    """Every size of the profile in every one of its places: first those that serve, the cheapest of them first.

    Where no price is known, and among equal ones, the profile's own order stands: sizes before regions before zones.
    """
    azure = profile.azure or Azure()
    regions = {region: (source.skus(region), source.quota(region)) for region in azure.regions}
    found = [
        _candidate(profile, size, region, zone, regions[region], facts, prices or Prices(), today, check_quota)
        for size in azure.sizes
        for region in azure.regions
        for zone in (azure.zones or ("",))
    ]
    return tuple(sorted(found, key=_order))


def _order(candidate: Candidate) -> tuple[bool, bool, float]:
    """``sorted`` keeps the profile's order among equals."""
    return not candidate.serves, candidate.price is None, candidate.price or 0


def _candidate(
    profile: Profile,
    size: str,
    region: str,
    zone: str,
    offered: tuple[Sequence[Sku], Quota | None],
    facts: ImageFacts | None,
    prices: Prices,
    today: date,
    check_quota: bool,
) -> Candidate:
    skus, quota = offered
    azure = profile.azure or Azure()
    is_spot = azure.spot is not None
    sku = next((one for one in skus if one.name.lower() == size.lower()), None)
    hour = prices.hour(region, size, is_spot=is_spot)
    price = None if hour is None else hour * profile.machines
    if sku is None:
        return Candidate(size=size, region=region, zone=zone, price=price, reasons=("not offered in this region",))
    reasons = [*unfit(profile, sku, today), *_refused(sku, zone)]
    reasons += image_problems(profile, sku, facts) if facts else ()
    reasons += quota.problems(sku, profile.machines, is_spot=is_spot) if quota and check_quota else ()
    reasons += _too_dear(azure, hour)
    return Candidate(
        size=sku.name,
        region=region,
        zone=zone,
        sku=sku,
        controller=sku.controller(wanted_controller(profile)),
        price=price,
        reasons=tuple(reasons),
        warning=warning(sku.name, today, sku.retires),
    )


def _too_dear(azure: Azure, hour: float | None) -> Iterator[str]:
    if azure.spot and azure.spot.max_price and hour is not None and hour > float(azure.spot.max_price):
        yield f"a spot machine costs {hour:g} an hour, more than 'max_price' {azure.spot.max_price}"


def _refused(sku: Sku, zone: str) -> Iterator[str]:
    if sku.refused:
        yield sku.refused
    if zone and sku.region != ANYWHERE:
        if zone not in sku.zones:
            yield f"not in zone {zone}"
        elif zone in sku.refused_zones:
            yield f"zone {zone}: {sku.refused_zones[zone]}"


# ---- the size and the profile --------------------------------------------------------------------------------------


def wanted_controller(profile: Profile) -> Controller:
    """What the disks' bus, or the profile, asks for."""
    if any(disk.bus is Bus.NVME for disk in profile.disks):
        return Controller.NVME
    if any(disk.bus is Bus.SCSI for disk in profile.disks):
        return Controller.SCSI
    return profile.azure.controller if profile.azure else Controller.AUTO


def unfit(profile: Profile, sku: Sku, today: date) -> tuple[str, ...]:
    """Why no machine of the size is what the profile promises; a sentence each."""
    azure = profile.azure or Azure()
    found = [why for rule in (_amounts, _kind, _security, _disks, _network) for why in rule(profile, azure, sku)]
    if sku.retires and sku.retires < today:
        found.append(f"retired since {sku.retires}")
    return tuple(found)


def _amounts(profile: Profile, azure: Azure, sku: Sku) -> Iterator[str]:
    for word, has, wants in (
        ("processors", sku.cores, profile.cores),
        ("MiB of memory", sku.memory_mib, profile.memory_mib),
        ("GPUs", sku.gpus, profile.gpus),
        ("FPGAs", sku.fpgas, profile.fpgas),
        ("NICs", sku.nics, 1 + len(profile.nics)),
        ("data disks", sku.data_disks, len(profile.disks)),
        ("local NVMe disks", sku.local_nvme, azure.local_nvme),
    ):
        if has < wants:
            yield f"has {has} {word}, not {wants}"


def _kind(profile: Profile, azure: Azure, sku: Sku) -> Iterator[str]:
    if sku.arch is not profile.arch:
        yield f"is {sku.arch.value}, not {profile.arch.value}"
    if profile.firmware not in sku.firmware:
        yield f"boots by {' or '.join(sorted(one.value for one in sku.firmware))}, not {profile.firmware.value}"
    if profile.rdma and not sku.rdma:
        yield "has no InfiniBand"
    if azure.spot and not sku.spot:
        yield "is not sold as a spot machine"


def _security(profile: Profile, azure: Azure, sku: Sku) -> Iterator[str]:
    del azure
    match security_type(profile):
        case SecurityType.CONFIDENTIAL:
            if sku.confidential is not profile.confidential:
                has = "not confidential" if sku.confidential is Confidential.NONE else sku.confidential.value
                yield f"is {has}, not {profile.confidential.value}"
        case SecurityType.TRUSTED_LAUNCH if not sku.trusted_launch:
            yield "has no Trusted Launch"
        case SecurityType.STANDARD if sku.confidential is not Confidential.NONE:
            yield f"makes confidential machines only ({sku.confidential.value})"


def _disks(profile: Profile, azure: Azure, sku: Sku) -> Iterator[str]:
    wanted = wanted_controller(profile)
    if sku.controller(wanted) is Controller.AUTO:
        yield f"has no {wanted.value} controller"
    storages = set(azure.data_storage) | ({azure.os_storage} if azure.os_placement is Placement.MANAGED else set())
    if storages & _PREMIUM and not sku.premium:
        yield "takes no premium disks"
    if Storage.ULTRA in storages and sku.region != ANYWHERE:
        here = [zone for zone in azure.zones if zone in sku.ultra_zones] if azure.zones else sku.ultra_zones
        if not here:
            yield "takes no ultra disks there"
    if azure.os_placement is not Placement.MANAGED and azure.os_placement not in sku.os_room_gib:
        yield f"has no room for the image's disk ({azure.os_placement.value})"


def _network(profile: Profile, azure: Azure, sku: Sku) -> Iterator[str]:
    del profile
    if any(azure.accelerated_networking) and not sku.accelerated_networking:
        yield "has no accelerated networking"


# ---- the size and the image ----------------------------------------------------------------------------------------


def image_problems(profile: Profile, sku: Sku, facts: ImageFacts) -> tuple[str, ...]:
    """Why the image does not boot there, or not as the profile promises; a sentence each."""
    azure = profile.azure or Azure()
    kind, controller = security_type(profile), sku.controller(wanted_controller(profile))
    room = sku.os_room_gib.get(azure.os_placement, 0)
    checks: tuple[tuple[bool, Callable[[], str]], ...] = (
        (facts.arch is not sku.arch, lambda: f"the image is for {facts.arch.value}"),
        (facts.firmware is not profile.firmware, lambda: f"the image boots by {facts.firmware.value}"),
        (kind not in facts.security, lambda: f"the image is not marked for {kind.value}"),
        (
            controller not in facts.controllers and controller is not Controller.AUTO,
            lambda: f"the image is not marked for the {controller.value} controller",
        ),
        (
            any(azure.accelerated_networking) and not facts.accelerated_networking,
            lambda: "the image is not marked for accelerated networking",
        ),
        (
            bool(room) and facts.size_gib > room,
            lambda: f"the image has {facts.size_gib} GiB, and there is room for {room} ({azure.os_placement.value})",
        ),
    )
    return tuple(say() for is_wrong, say in checks if is_wrong)
