"""What lisa-ci needs to be allowed to do in a subscription, and which of it we are: asked, never tried by creating."""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from lisa_ci import files
from lisa_ci.blobs import Container
from lisa_ci.errors import LisaCiError
from lisa_ci.platforms.azure.client import Subscription, refusals
from lisa_ci.platforms.azure.image_blob import DATA_ROLE, ImageContainer, located, opened
from lisa_ci.platforms.azure.sweep import pages

ROLE: Final = Path("azure") / "role.json"
IMAGES_ROLE: Final = Path("azure") / "images-role.json"
LIST_KEYS: Final = "Microsoft.Storage/storageAccounts/listKeys/action"
_PERMISSIONS: Final = "providers/Microsoft.Authorization/permissions"
_PERMISSIONS_API: Final = "2022-04-01"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One thing that was tried. ``is_note``: it cannot be tried without creating something, or is not needed."""

    name: str
    text: str
    is_ok: bool
    is_note: bool = False


def role(file: Path = ROLE) -> Mapping[str, Any]:
    """A least-privilege role, as ``az role definition create`` takes it."""
    read: Mapping[str, Any] = json.loads((files.shipped("templates") / file).read_bytes())
    return read


def is_allowed(
    action: str, permissions: Sequence[Mapping[str, Any]], given: str = "actions", taken: str = "notActions"
) -> bool:
    """Whether one of the role assignments gives the action: by a wildcard, and not taken back by itself."""
    return any(
        _matches(action, one.get(given) or ()) and not _matches(action, one.get(taken) or ()) for one in permissions
    )


def _matches(action: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(action.lower(), str(pattern).lower()) for pattern in patterns)


def examine(azure: Subscription, region: str) -> Iterator[Answer]:
    """Read-only: a token, the subscription, each action of the role, sizes and quota of a region."""
    yield _tried("subscription", "is read", lambda: list(azure.resources.resource_groups.list(top=1)))
    path = f"/subscriptions/{azure.id}/{_PERMISSIONS}"
    try:
        permissions = list(pages(azure, path, _PERMISSIONS_API))
    except LisaCiError as error:
        yield Answer(name="rights", text=f"they cannot be asked for: {error.message}", is_ok=False, is_note=True)
    else:
        yield from _actions(permissions)
    yield _tried("sizes", f"of {region} are listed", lambda: next(iter(_skus(azure, region)), None))
    yield _tried("quota", f"of {region} is told", lambda: next(iter(azure.compute.usage.list(region)), None))
    told = "policies, locks and free capacity show only when something is created: nothing was"
    yield Answer(name="not tried", text=told, is_ok=False, is_note=True)


def examine_containers(azure: Subscription, places: Sequence[Container]) -> Iterator[Answer]:
    """Read-only: the accounts of the containers that images are brought to, and what we may do there."""
    try:
        found = located(azure, places)
    except LisaCiError as error:
        yield Answer(name="images", text=f"{error.message}; {error.hint}", is_ok=False)
        return
    for one in found:
        yield from _container(azure, one)


def _container(azure: Subscription, where: ImageContainer) -> Iterator[Answer]:
    name, container = where.place.name, where.place.container
    yield _tried("images", f"in {name} ({where.region}) are listed", lambda: _listed(azure, where.place))
    try:
        path = f"{where.account_id}/blobServices/default/containers/{container}/{_PERMISSIONS}"
        permissions = list(pages(azure, path, _PERMISSIONS_API))
    except LisaCiError as error:
        yield Answer(name="images", text=f"rights cannot be asked for: {error.message}", is_ok=False, is_note=True)
        return
    wanted = [str(action) for action in role(IMAGES_ROLE)["DataActions"]]
    missing = [one for one in wanted if not is_allowed(one, permissions, "dataActions", "notDataActions")]
    for action in missing:
        text = f"{action} is missing: give the role '{DATA_ROLE}' on the container {name}"
        yield Answer(name="right", text=text, is_ok=False)
    count = f"{len(wanted) - len(missing)} of {len(wanted)}"
    yield Answer(name="images", text=f"{count} rights on blobs of {name}", is_ok=not missing)
    if not is_allowed(LIST_KEYS, permissions):
        text = f"{LIST_KEYS} is missing on {where.place.account}: Azure wants it of whoever makes an image of a blob"
        yield Answer(name="right", text=text, is_ok=False, is_note=True)


def _listed(azure: Subscription, place: Container) -> None:
    with opened(azure, place) as container:
        next(iter(container.list_blobs(name_starts_with=place.prefix, results_per_page=1)), None)


def _skus(azure: Subscription, region: str) -> Any:
    return azure.compute.resource_skus.list(filter=f"location eq '{region}'")


def _actions(permissions: Sequence[Mapping[str, Any]]) -> Iterator[Answer]:
    wanted = [str(action) for action in role()["Actions"]]
    missing = [action for action in wanted if not is_allowed(action.replace("*", "x"), permissions)]
    for action in missing:
        yield Answer(name="right", text=f"{action} is missing", is_ok=False)
    yield Answer(name="rights", text=f"{len(wanted) - len(missing)} of {len(wanted)} are there", is_ok=not missing)
    extra = [one for one in permissions if {"*"} & set(one.get("actions") or ())]
    if extra:
        text = "more than needed: this identity may do everything; templates/azure/role.json is enough"
        yield Answer(name="rights", text=text, is_ok=False, is_note=True)


def _tried(name: str, works: str, ask: Any) -> Answer:
    try:
        with refusals(f"show {name}"):
            ask()
    except LisaCiError as error:
        hint = f"; {error.hint}" if error.hint else ""
        return Answer(name=name, text=f"{error.message}{hint}", is_ok=False)
    return Answer(name=name, text=works, is_ok=True)
