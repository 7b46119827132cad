"""One resource group, from its lease to its end: the lease is in the first request, and the end is started on every
way out.

Whatever is created lies in the group and bears its tags, so that one request deletes all of it, and nothing can exist
without saying until when.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Final

from azure.core.exceptions import AzureError
from azure.core.polling import LROPoller

from lisa_ci.errors import LisaCiError, ProvisioningError
from lisa_ci.events import Level
from lisa_ci.model import Lease, Receipt
from lisa_ci.platforms.azure import record
from lisa_ci.platforms.azure.client import RefusedError, Say, Subscription, is_gone, refusals
from lisa_ci.platforms.azure.record import Record
from lisa_ci.platforms.azure.shape import GroupPlan

DELETE_LIMIT: Final = timedelta(minutes=20)
_REQUEST_LIMIT: Final = timedelta(minutes=3)
_FORCED: Final = "Microsoft.Compute/virtualMachines"
"""Deleted without waiting for the guest to shut down: it is thrown away."""


@dataclass(slots=True)
class ResourceGroup:
    """``made`` are the resources that were seen in it, as ``TYPE/NAME``; they are kept for the receipt."""

    azure: Subscription
    name: str
    region: str
    lease: Lease
    tags: dict[str, str]
    say: Say
    made: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    exists: bool = False
    is_deleted: bool = False
    is_asked: bool = False
    _deletion: LROPoller[None] | None = field(default=None, init=False)

    # ---- from nothing to machines ----------------------------------------------------------------------------------

    def create(self) -> None:
        """The first request of all, with the lease. RefusedError."""
        self.exists = True  # from here on it has to be looked for, whatever the answer was
        record.write(self._record())
        body: Any = {"location": self.region, "tags": self.tags}
        self.azure.patiently(
            lambda: self.azure.resources.resource_groups.create_or_update(self.name, body),
            f"create the resource group {self.name}",
            until=self._within(_REQUEST_LIMIT),
            say=self.say,
        )

    def deploy(self, plan: GroupPlan, *, until: float, beat: Callable[[], None] | None = None) -> None:
        """Make everything in the plan. RefusedError, ProvisioningError; what was made until then stays in the group."""
        digest = plan_digest(plan)
        doing = f"make the machines of {self.name} ({self.region})"
        name, body = plan.deployment.name, _wire(plan.deployment.body)
        poller = self.azure.patiently(
            lambda: self.azure.deployments.deployments.begin_create_or_update(
                self.name, name, body, polling=self.azure.steps()
            ),
            doing,
            until=until,
            say=self.say,
        )
        record.write(replace(self._record(), token=poller.continuation_token(), plan=digest))
        try:
            self.azure.followed(poller, doing, until=until, beat=beat)
        finally:
            self.look()

    def resume(self, plan: GroupPlan, *, until: float) -> bool:
        """Go on with a deployment that a run of before began and did not live to see; False where there is none.

        It has to be of the same plan, which keys and host keys are part of.
        """
        before = record.read(self.name)
        if before is None or not before.token or before.plan != plan_digest(plan):
            return False
        self.exists = True
        record.write(replace(self._record(), token=before.token, plan=before.plan))
        try:
            with refusals(f"go on with the deployment in {self.name}"):
                poller = self.azure.deployments.deployments.begin_create_or_update(
                    self.name,
                    plan.deployment.name,
                    _wire({}),
                    polling=self.azure.steps(),
                    continuation_token=before.token,
                )
            self.azure.followed(poller, f"make the machines of {self.name}", until=until)
        except (LisaCiError, ValueError) as error:  # ValueError: a token of another version of the SDK
            self.say(f"the deployment of before is of no use: {error}", Level.WARNING)
            return False
        self.look()
        self.say(f"went on with the deployment in {self.name} that an earlier run began", Level.INFO)
        return True

    def look(self) -> tuple[str, ...]:
        """What is in the group now; told in the receipt. Never raises."""
        try:
            listing = self.azure.resources.resources
            found = self.azure.asked(lambda: list(listing.list_by_resource_group(self.name)), f"list {self.name}")
            here = tuple(sorted(f"{one.type}/{one.name}" for one in found))
        except LisaCiError as error:
            self.say(f"{self.name}: {error.message}", Level.WARNING)
            return self.made
        self.made = tuple(dict.fromkeys([*self.made, *here]))
        return here

    # ---- and back --------------------------------------------------------------------------------------------------

    def begin_delete(self) -> None:
        """Have all of it deleted; returns when Azure has taken the order. Never raises."""
        if not self.exists or self.is_deleted or self._deletion is not None:
            return
        self.is_asked = False
        try:
            self._deletion = self.azure.patiently(
                lambda: self.azure.resources.resource_groups.begin_delete(
                    self.name, force_deletion_types=_FORCED, polling=self.azure.steps()
                ),
                f"delete {self.name}",
                until=self._within(_REQUEST_LIMIT),
                say=self.say,
            )
        except RefusedError as error:
            if is_gone(error):
                self._gone()
            else:
                self._not_deleted(error)
        except (LisaCiError, AzureError) as error:
            self._not_deleted(error)
        self.is_asked = True

    def wait_deleted(self) -> None:
        """Until nothing of it is left, 20 minutes at most; what is left is told. Never raises."""
        for _ in range(2):  # a disk that was detached late holds the group back once
            if self._deletion is None:
                return
            try:
                self.azure.followed(self._deletion, f"delete {self.name}", until=self._within(DELETE_LIMIT))
            except RefusedError as error:
                if is_gone(error):
                    break
                self._deletion = None
                self._not_deleted(error)
                self.begin_delete()
            except (LisaCiError, AzureError) as error:
                self._not_deleted(error)
                return
            else:
                break
        if self._deletion is not None and not self._is_there():
            self._gone()

    def _is_there(self) -> bool:
        try:
            groups = self.azure.resources.resource_groups
            is_there = self.azure.asked(lambda: groups.check_existence(self.name), f"look for {self.name}")
        except LisaCiError:
            is_there = True
        if is_there:
            self.left = self.look() or (self.name,)
        return bool(is_there)

    def _gone(self) -> None:
        self.is_deleted, self.left = True, ()
        record.forget(self.name)

    def _not_deleted(self, error: Exception) -> None:
        self.left = self.made or (self.name,)
        until = f"{self.lease.delete_after:%Y-%m-%d %H:%M %Z}"
        self.say(f"{self.name} is not deleted yet ({error}); lisa-ci sweep takes it after {until}", Level.WARNING)

    def receipt(self) -> Receipt:
        """What was made here, and what of it is left."""
        left = () if self.is_deleted else self.left or self.made or (self.name,)
        gone = tuple(one for one in self.made if one not in left)
        return Receipt(
            place=f"azure {self.region} {self.name}",
            created=self.made,
            deleted=gone,
            left=left if self.exists else (),
            delete_after=self.lease.delete_after,
        )

    # ---- inside ----------------------------------------------------------------------------------------------------

    def _within(self, limit: timedelta) -> float:
        return self.azure.clock.now() + limit.total_seconds()

    def _record(self) -> Record:
        return Record(
            subscription=self.azure.id,
            group=self.name,
            region=self.region,
            owner=self.lease.owner,
            leg=self.lease.leg,
            attempt=self.lease.attempt,
            delete_after=self.lease.delete_after,
            keep=self.lease.keep,
            owner_process=record.me(),
        )


def _wire(body: Mapping[str, Any]) -> Any:
    """A body in wire form: the SDK takes it, its types do not say so."""
    return dict(body)


def plan_digest(plan: GroupPlan) -> str:
    """Names what is deployed, all bodies included."""
    body = {**plan.deployment.body, "tags": None}  # the lease of another run has another end
    resources = [{**one.body, "tags": None} for one in plan.resources]
    told = [body["properties"]["mode"], [one.id for one in plan.resources], resources]
    return hashlib.sha256(json.dumps(told, sort_keys=True, default=dict).encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Existing:
    """A group that is there already."""

    state: str
    tags: Mapping[str, str]


def existing(azure: Subscription, name: str) -> Existing | None:
    """The group with this name; None where there is none. RefusedError."""
    try:
        found = azure.asked(lambda: azure.resources.resource_groups.get(name), f"look for {name}")
    except RefusedError as error:
        if is_gone(error):
            return None
        raise
    state = str(found.properties.provisioning_state or "") if found.properties else ""
    return Existing(state=state, tags=dict(found.tags or {}))


def no_machine(group: ResourceGroup, error: LisaCiError) -> ProvisioningError:
    """The error of a leg that got no machine, with where it was tried."""
    return ProvisioningError(f"{error.message} [{group.region}]", hint=error.hint)
