"""The platform: what is missing for a profile on Azure, and machines of it. The SDK is loaded when it is used."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from lisa_ci.errors import LisaCiError, PipelineError, ProvisioningError
from lisa_ci.events import Emit
from lisa_ci.model import Access, Lease, Leftover, Profile, Receipt, Subject, Timeouts, WayIn
from lisa_ci.platforms.azure import containers, identity, record, runner
from lisa_ci.signals import signals_held

if TYPE_CHECKING:
    from lisa_ci.platforms.azure.client import Subscription
    from lisa_ci.platforms.azure.machines import AzureMachines
    from lisa_ci.platforms.azure.provisioning import Doors

_SDK: Final = (
    "azure.identity",
    "azure.mgmt.compute",
    "azure.mgmt.resource.resources",
    "azure.mgmt.resource.deployments",
)
_WAYS_IN: Final = (WayIn.AUTO, WayIn.CLOUD_INIT, WayIn.KEY)  # our own key goes in in any case


class AzurePlatform:
    """Implements ``protocols.Platform``. Without arguments it is whoever the environment says; tests give their own."""

    def __init__(
        self,
        connect: Callable[[], Subscription] | None = None,
        doors: Doors | None = None,
        owner: Callable[[Lease], str] = runner.owner,
    ) -> None:
        self._connect = connect
        self._doors = doors
        self._owner = owner
        self._receipts: list[Receipt] = []

    def problems(self, profile: Profile) -> Sequence[str]:
        """What this host and the profile lack; Azure itself is not asked."""
        name = profile.name
        if profile.azure is None or not profile.azure.sizes or not profile.azure.regions:
            return (f"profile {name} does not say where on Azure: it needs azure: {{sizes: [...], regions: [...]}}",)
        if self._connect is not None:
            return ()
        missing = _missing_sdk()
        if missing:
            return (f"profile {name} needs {missing[0]}; pip install 'lisa-ci[azure]'",)
        try:
            identity.found()
            _subscription()
            containers.named()
        except PipelineError as error:
            return (f"profile {name}: {error.message}; {error.hint}",)
        return ()

    @contextmanager
    def provision(
        self, profile: Profile, subject: Subject, access: Access, lease: Lease, *, timeouts: Timeouts, emit: Emit
    ) -> Iterator[AzureMachines]:
        """One resource group for each place that is tried; all of them are gone, or told of, at the end."""
        with signals_held():  # the import system drops an interrupt that meets one of its callbacks
            from lisa_ci.platforms.azure.provisioning import Provisioning  # noqa: PLC0415 - it loads the SDK

        problems = self.problems(profile)
        if problems:
            raise ProvisioningError("; ".join(problems))
        if access.way_in not in _WAYS_IN:
            raise PipelineError(f"way_in '{access.way_in}' is none on Azure", hint="use 'auto' or 'cloud-init'")
        work = Provisioning(
            azure=self._subscription(),
            doors=self._doors or _doors(),
            profile=profile,
            subject=subject,
            access=access,
            lease=replace(lease, owner=self._owner(lease)),
            timeouts=timeouts,
            emit=emit,
            receipts=self._receipts,
        )
        with work.run() as machines:
            yield machines

    def receipts(self) -> Sequence[Receipt]:
        """What was made since this platform is there, and what of it is left."""
        return tuple(self._receipts)

    def sweep(self, *, now: datetime) -> Sequence[Leftover]:
        """Groups that runs of this host made, which are dead or too late. A whole subscription: ``sweep.py``."""
        found = [one for one in record.records() if now >= one.delete_after or (one.is_orphan and not one.keep)]
        if not found:
            return ()
        if self._connect is None and _missing_sdk():
            return [
                Leftover(what=f"{one.group}: the Azure SDK is missing", owner=one.owner, is_removed=False)
                for one in found
            ]
        from lisa_ci.platforms.azure.sweep import end_recorded  # noqa: PLC0415 - it loads the SDK

        try:
            azure = self._subscription()
        except LisaCiError as error:
            told = f"nobody is logged in to Azure ({error.message})"
            return [Leftover(what=f"{one.group}: {told}", owner=one.owner, is_removed=False) for one in found]
        return end_recorded(azure, found)

    def _subscription(self) -> Subscription:
        if self._connect is not None:
            return self._connect()
        from lisa_ci.platforms.azure import client  # noqa: PLC0415 - it loads the SDK

        return client.connect()


def _missing_sdk() -> list[str]:
    missing = []
    for name in _SDK:
        try:
            if importlib.util.find_spec(name) is None:
                missing.append(name)
        except ModuleNotFoundError:
            missing.append(name)
    return [name.replace(".", "-") for name in missing]


def _subscription() -> None:
    if not os.environ.get("AZURE_SUBSCRIPTION_ID"):
        raise PipelineError("AZURE_SUBSCRIPTION_ID is not set", hint="set it to the subscription's id: it is no secret")


def _doors() -> Any:
    from lisa_ci.platforms.azure.provisioning import SSH_PORT, Doors  # noqa: PLC0415

    text = os.environ.get("AZURE_SSH_PORT", "")
    port = int(text) if text.isascii() and text.isdigit() and 0 < int(text) < 65536 else SSH_PORT
    return Doors(ssh_port=port)
