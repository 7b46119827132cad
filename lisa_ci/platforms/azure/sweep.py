"""A subscription, searched for what lisa-ci's runs have left; and the deletion of it.

Only what bears our tags is touched. A group goes when its lease has ended *and* its owner run does not live. What the
deletion meets on its way (locks, disks that are let go of late, resources that are kept after their deletion) is told.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from azure.core.exceptions import AzureError
from azure.core.rest import HttpRequest

from lisa_ci.errors import DataError, LisaCiError
from lisa_ci.events import Level
from lisa_ci.model import Leftover
from lisa_ci.platforms.azure import names, record
from lisa_ci.platforms.azure.client import RefusedError, Subscription, is_gone, refusals
from lisa_ci.platforms.azure.group import DELETE_LIMIT
from lisa_ci.platforms.azure.record import Record

_LOCKS_API: Final = "2016-09-01"
_MOST_PAGES: Final = 100
_RUN: Final = re.compile(r"(?P<repository>[A-Za-z0-9_.-]{1,100}/[A-Za-z0-9_.-]{1,100})/(?P<run>[0-9]{1,20})")
_REQUEST: Final = timedelta(minutes=3)

IsAlive = Callable[[str, str], "bool | None"]
"""Repository and run -> whether the run lives; None where nobody tells."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A group of ours. ``reason`` is why it goes, or stays; ``blocked`` what stands in the way of its deletion."""

    name: str
    region: str
    owner: str
    leg: str
    delete_after: datetime | None
    is_due: bool
    reason: str
    contents: tuple[str, ...] = ()
    blocked: tuple[str, ...] = ()

    def __str__(self) -> str:
        inside = f"{len(self.contents)} resources" if self.contents else "empty"
        held = f"; {'; '.join(self.blocked)}" if self.blocked else ""
        return f"{self.name} in {self.region} ({inside}), leg {self.leg}: {self.reason}{held}"


def search(azure: Subscription, *, now: datetime, is_alive: IsAlive) -> Sequence[Found]:
    """Every group that bears our tags. Reads only. RefusedError."""
    listing, wanted = azure.resources.resource_groups, f"tagName eq '{names.OWNER}'"
    groups = azure.asked(lambda: list(listing.list(filter=wanted)), "list resource groups")
    locks = _locks(azure)
    return [_judged(azure, group, locks, now=now, is_alive=is_alive) for group in groups if is_ours(group.tags or {})]


def is_ours(tags: Mapping[str, str]) -> bool:
    """Whether what bears these tags is a leg's, with a lease."""
    return names.OWNER in tags and names.DELETE_AFTER in tags


def _judged(azure: Subscription, group: Any, locks: Sequence[str], *, now: datetime, is_alive: IsAlive) -> Found:
    tags, name = group.tags or {}, str(group.name)
    owner = tags.get(names.OWNER, "")
    state = str(group.properties.provisioning_state if group.properties else "")
    until, why_bad = lease_end(tags)
    is_due, reason = due(owner, until, state, now=now, is_alive=is_alive, why_bad=why_bad)
    place = names.group_id(azure.id, name).lower()
    held = tuple(
        f"the lock {lock.rsplit('/', 1)[-1]} forbids it" for lock in locks if lock.lower().startswith(place + "/")
    )
    return Found(
        name=name,
        region=str(group.location),
        owner=owner,
        leg=tags.get(names.LEG, "?"),
        delete_after=until,
        is_due=is_due,
        reason=reason,
        contents=_contents(azure, name),
        blocked=held,
    )


def lease_end(tags: Mapping[str, str]) -> tuple[datetime | None, str]:
    """When the lease in these tags ends; None and why, where that cannot be read."""
    try:
        return names.delete_after(tags), ""
    except DataError as error:
        return None, error.message


def due(
    owner: str, until: datetime | None, state: str, *, now: datetime, is_alive: IsAlive, why_bad: str
) -> tuple[bool, str]:
    """Whether something of ours goes, by its lease and its owner run, and why, or why not."""
    if until is None:
        return False, f"left alone: {why_bad or 'it has no end'}"
    if state == "Deleting":
        return False, "is being deleted"
    if now < until:
        return False, f"its lease goes on until {until:%Y-%m-%d %H:%M %Z}"
    run = _RUN.fullmatch(owner)
    lives = is_alive(run["repository"], run["run"]) if run else False
    if lives:
        return False, f"its lease has ended, its run {owner} still goes on"
    known = "" if lives is False else ", and nobody tells of its run"
    return True, f"its lease ended {until:%Y-%m-%d %H:%M %Z}{known}"


def _contents(azure: Subscription, group: str) -> tuple[str, ...]:
    try:
        with refusals(f"list {group}"):
            return tuple(f"{one.type}/{one.name}" for one in azure.resources.resources.list_by_resource_group(group))
    except LisaCiError:
        return ()


def _locks(azure: Subscription) -> Sequence[str]:
    """Ids of all locks; nothing where we may not read them."""
    path = f"/subscriptions/{azure.id}/providers/Microsoft.Authorization/locks"
    try:
        return [str(one.get("id", "")) for one in pages(azure, path, _LOCKS_API)]
    except LisaCiError:
        return ()


def pages(azure: Subscription, path: str, api: str) -> Iterator[Mapping[str, Any]]:
    """The values of a list that the SDK has no method for. RefusedError."""
    url = f"{path}?api-version={api}"
    for _ in range(_MOST_PAGES):
        with refusals(f"read {path.rsplit('/', 1)[-1]}"):
            answer = azure.resources.send_request(HttpRequest("GET", url))
            answer.raise_for_status()
            body = answer.json()
        yield from (one for one in body.get("value", ()) if isinstance(one, Mapping))
        url = str(body.get("nextLink") or "")
        if not url:
            return


# ---- deleting ------------------------------------------------------------------------------------------------------


def delete(azure: Subscription, found: Iterable[Found], *, say: Callable[[str, Level], None]) -> Sequence[Leftover]:
    """Have what is due deleted, all at once, and wait for it. A group whose tags changed meanwhile is left alone."""
    begun: list[tuple[Found, Any]] = []
    left: list[Leftover] = []
    for one in found:
        if not one.is_due:
            continue
        try:
            begun.append((one, _begin(azure, one)))
        except RefusedError as error:
            left.append(Leftover(what=f"{one.name}: {error.refusal}", owner=one.owner, is_removed=is_gone(error)))
    until = azure.clock.now() + DELETE_LIMIT.total_seconds()
    return [*left, *(_ended(azure, one, poller, until=until, say=say) for one, poller in begun)]


def _begin(azure: Subscription, one: Found) -> Any:
    groups = azure.resources.resource_groups

    def begin() -> Any:
        now = groups.get(one.name)
        if (now.tags or {}).get(names.OWNER) != one.owner or not is_ours(now.tags or {}):
            return None
        return groups.begin_delete(
            one.name, force_deletion_types="Microsoft.Compute/virtualMachines", polling=azure.steps()
        )

    return azure.patiently(begin, f"delete {one.name}", until=azure.clock.now() + _REQUEST.total_seconds())


def _ended(
    azure: Subscription, one: Found, poller: Any, *, until: float, say: Callable[[str, Level], None]
) -> Leftover:
    if poller is None:
        return Leftover(what=f"{one.name}: it is another's now", owner=one.owner, is_removed=False)
    why = ""
    for is_last in (False, True):
        try:
            azure.followed(poller, f"delete {one.name}", until=until)
        except RefusedError as error:
            if is_gone(error):
                break
            why = str(error.refusal)
            say(f"{one.name}: {why}", Level.WARNING)
            if is_last:
                break
            try:  # what was let go of late goes at the second time
                poller = _begin(azure, one)
            except RefusedError as again:
                why = "" if is_gone(again) else str(again.refusal)
                break
        except (LisaCiError, AzureError) as error:
            why = str(error)
            break
        else:
            why = ""
            break
    is_removed = not why
    if is_removed:
        record.forget(one.name)
    return Leftover(
        what=f"{one.name}{f': {why}' if why else f' ({len(one.contents)} resources)'}",
        owner=one.owner,
        is_removed=is_removed,
    )


def end_recorded(azure: Subscription, found: Sequence[Record]) -> Sequence[Leftover]:
    """Delete groups that this host's own dead runs recorded, if they still bear their tags."""
    left: list[Leftover] = []
    due: list[Found] = []
    for one in found:
        try:
            with refusals(f"look for {one.group}"):
                group = azure.resources.resource_groups.get(one.group)
        except RefusedError as error:
            if is_gone(error):
                record.forget(one.group)
            else:
                left.append(Leftover(what=f"{one.group}: {error.refusal}", owner=one.owner, is_removed=False))
            continue
        tags = group.tags or {}
        if tags.get(names.OWNER) != one.owner:
            record.forget(one.group)
            continue
        contents = _contents(azure, one.group)
        due.append(
            Found(
                name=one.group,
                region=one.region,
                owner=one.owner,
                leg=one.leg,
                delete_after=one.delete_after,
                is_due=True,
                reason="its run is dead",
                contents=contents,
            )
        )
    return [*left, *delete(azure, due, say=lambda _text, _level: None)]


def soft_deleted(found: Iterable[Found]) -> Sequence[str]:
    """Kinds that Azure keeps for some time after their deletion, among what was found: none of ours are, and a group
    that somebody put more into is told of.
    """
    kept = ("Microsoft.KeyVault/vaults/", "Microsoft.RecoveryServices/vaults/")
    return sorted({f"{one.name}: {what}" for one in found for what in one.contents if what.startswith(kept)})
