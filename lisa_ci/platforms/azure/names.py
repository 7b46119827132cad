"""What things are called on Azure: the same leg and attempt give the same names, within Azure's rules for them.

Rules: learn.microsoft.com, "Naming rules and restrictions for Azure resources".
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from lisa_ci.errors import DataError
from lisa_ci.model import Lease

GROUP_LIMIT: Final = 90
COMPUTER_LIMIT: Final = 63  # a host name's label; Azure allows 64
PREFIX: Final = "lisa-ci"
OWNER: Final = f"{PREFIX}-owner"
LEG: Final = f"{PREFIX}-leg"
ATTEMPT: Final = f"{PREFIX}-attempt"
DELETE_AFTER: Final = f"{PREFIX}-delete-after"
_TAG_LIMIT: Final = 256
_STAMP: Final = "%Y-%m-%dT%H:%M:%SZ"

NETWORK: Final = "network"
CONTROL: Final = "control"
CLOSED: Final = "closed"
PROXIMITY: Final = "proximity"
AVAILABILITY: Final = "availability"
IMAGE: Final = "image"
DEPLOYMENT: Final = "machines"
GATEWAY: Final = "nat"


def group(lease: Lease, *, attempt_in: str = "") -> str:
    """The resource group of a leg and attempt. ``attempt_in``: region, where another one was tried before."""
    return shortened("-".join(filter(None, (PREFIX, lease.owner, lease.leg, str(lease.attempt), attempt_in))))


def shortened(text: str, limit: int = GROUP_LIMIT) -> str:
    """A legal resource group's name; what was changed or cut is replaced by a digest, so that no two texts meet."""
    clean = re.sub(r"[^A-Za-z0-9_.-]+", "-", text).lower().strip("-.")
    if clean == text and len(clean) <= limit:
        return clean
    mark = hashlib.sha256(text.encode()).hexdigest()[:10]
    return f"{clean[: limit - len(mark) - 1].rstrip('-.')}-{mark}"


def tags(lease: Lease) -> dict[str, str]:
    """The lease, as every resource bears it. A value that is too long keeps its beginning and a digest of all."""
    return {
        OWNER: _tag(lease.owner),
        LEG: _tag(lease.leg),
        ATTEMPT: str(lease.attempt),
        DELETE_AFTER: lease.delete_after.astimezone(UTC).strftime(_STAMP),
    }


def _tag(value: str) -> str:
    if len(value) <= _TAG_LIMIT:
        return value
    return f"{value[:200]}-{hashlib.sha256(value.encode()).hexdigest()[:10]}"


def delete_after(found: Mapping[str, str]) -> datetime | None:
    """When a resource with these tags may be deleted; None where they are not ours. DataError where ours are wrong."""
    if OWNER not in found or DELETE_AFTER not in found:
        return None
    try:
        return datetime.strptime(found[DELETE_AFTER], _STAMP).replace(tzinfo=UTC)
    except ValueError as error:
        raise DataError(f"the tag {DELETE_AFTER} is {found[DELETE_AFTER]!r}, not a time like {_STAMP}") from error


def metadata(found: Mapping[str, str]) -> dict[str, str]:
    """Tags as a blob bears them: its metadata have names of letters, digits and '_', and values of ASCII."""
    return {key.replace("-", "_"): value.encode("unicode_escape").decode("ascii") for key, value in found.items()}


def from_metadata(found: Mapping[str, str]) -> dict[str, str]:
    """The tags of ours in a blob's metadata: what ``metadata`` was made of."""
    ours = {key.replace("-", "_"): key for key in (OWNER, LEG, ATTEMPT, DELETE_AFTER)}
    said = {key.lower(): value for key, value in found.items()}
    return {
        tag: said[key].encode("ascii", "replace").decode("unicode_escape", "replace")
        for key, tag in ours.items()
        if key in said
    }


# ---- inside a group ------------------------------------------------------------------------------------------------


def machine(number: int) -> str:
    """The machine with this number, from 0; also its host name."""
    return f"m{number}"


def nic(machine_number: int, nic_number: int) -> str:
    """NIC 0 is the control NIC."""
    return f"{machine(machine_number)}-nic{nic_number}"


def address(machine_number: int) -> str:
    """The public address of the control NIC."""
    return f"{machine(machine_number)}-address"


def os_disk(machine_number: int) -> str:
    return f"{machine(machine_number)}-os"


def data_disk(machine_number: int, disk_number: int) -> str:
    return f"{machine(machine_number)}-disk{disk_number}"


def link(number: int) -> str:
    """The subnet that the NICs with this number of all machines share."""
    return f"link{number}"


# ---- ids -----------------------------------------------------------------------------------------------------------


def group_id(subscription: str, name: str) -> str:
    return f"/subscriptions/{subscription}/resourceGroups/{name}"


def resource_id(group_of: str, kind: str, *names: str) -> str:
    """The id of a resource: ``kind`` is ``Microsoft.Network/virtualNetworks/subnets``, one name for each level."""
    provider, *types = kind.split("/")
    path = "/".join(f"{one}/{name}" for one, name in zip(types, names, strict=True))
    return f"{group_of}/providers/{provider}/{path}"
