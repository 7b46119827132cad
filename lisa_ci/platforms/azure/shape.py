"""What is asked of Azure for one leg, and what is to be created: plain values between planner and client."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lisa_ci.model import Access, Controller, Lease, Profile
from lisa_ci.platforms.azure.images_ref import ImageFacts, NamedImage

Body = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where, and of which size. ``zone`` '' is none. ``controller`` SCSI or NVMe, as the size has it (never AUTO).

    ``accelerated_networking``: whether the size can.
    """

    subscription: str
    region: str
    size: str
    zone: str = ""
    controller: Controller = Controller.SCSI
    accelerated_networking: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """Who may log in to one machine, and the machine's identity.

    ``public_key`` is the line for authorized_keys; ``host_private`` is in OpenSSH's format, ``host_public`` is
    ``TYPE BASE64``.
    """

    public_key: str
    host_private: str
    host_public: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One leg's machines. ``image`` has an exact version. ``runner``: addresses or CIDR blocks that may log in.

    ``entries``: one for each machine of the profile.
    """

    profile: Profile
    image: NamedImage
    facts: ImageFacts
    access: Access
    lease: Lease
    place: Place
    runner: tuple[str, ...]
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """One resource, literally. ``body`` is that of its PUT; ``depends_on`` are full ids."""

    id: str
    type: str
    api_version: str
    name: str
    body: Body
    depends_on: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedMachine:
    """Ids of what one machine consists of. ``nic_ids``: the control NIC first. ``disk_ids``: by number, LUN = number.

    ``user`` logs in.
    """

    role: str
    name: str
    id: str
    nic_ids: tuple[str, ...]
    address_id: str
    os_disk_id: str
    disk_ids: tuple[str, ...]
    user: str
    host_public: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupPlan:
    """All writes for a leg: ``group`` first, which bears the lease, then ``deployment``, which makes all the rest.

    ``resources`` are those of the deployment's template, each after what it depends on.
    """

    group: Resource
    deployment: Resource
    resources: tuple[Resource, ...]
    machines: tuple[PlannedMachine, ...]

    @property
    def writes(self) -> tuple[Resource, ...]:
        """The write requests, in order."""
        return (self.group, self.deployment)
