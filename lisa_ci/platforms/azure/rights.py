"""What lisa-ci needs to be allowed to do in a subscription, and which of it we are: asked, never tried by creating."""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from lisa_ci import files
from lisa_ci.errors import LisaCiError
from lisa_ci.platforms.azure.client import Subscription, refusals
from lisa_ci.platforms.azure.sweep import pages

ROLE: Final = Path("azure") / "role.json"
_PERMISSIONS_API: Final = "2022-04-01"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One thing that was tried. ``is_note``: it cannot be tried without creating something, or is not needed."""

    name: str
    text: str
    is_ok: bool
    is_note: bool = False


def role() -> Mapping[str, Any]:
    """The least-privilege role, as ``az role definition create`` takes it."""
    read: Mapping[str, Any] = json.loads((files.shipped("templates") / ROLE).read_bytes())
    return read


def is_allowed(action: str, permissions: Sequence[Mapping[str, Any]]) -> bool:
    """Whether one of the role assignments gives the action: by a wildcard, and not taken back by itself."""
    return any(
        _matches(action, one.get("actions") or ()) and not _matches(action, one.get("notActions") or ())
        for one in permissions
    )


def _matches(action: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(action.lower(), str(pattern).lower()) for pattern in patterns)


def examine(azure: Subscription, region: str) -> Iterator[Answer]:
    """Read-only: a token, the subscription, each action of the role, sizes and quota of a region."""
    yield _tried("subscription", "is read", lambda: list(azure.resources.resource_groups.list(top=1)))
    path = f"/subscriptions/{azure.id}/providers/Microsoft.Authorization/permissions"
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
