"""A subscription, reached through Azure's own SDK. With ``lro``, ``evidence`` and ``upload`` the only users of it.

Bodies are dicts in wire form, so that they do not change with the SDK's models, and are the ones that were checked.
"""

from __future__ import annotations

import http.client
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    HttpResponseError,
    ServiceRequestError,
    ServiceResponseError,
)
from azure.core.polling import LROPoller
from azure.mgmt.compute import ComputeManagementClient
from azure.mgmt.resource.deployments import DeploymentsMgmtClient
from azure.mgmt.resource.resources import ResourceManagementClient

from lisa_ci.errors import LisaCiError, PipelineError, ProvisioningError
from lisa_ci.events import Level
from lisa_ci.platforms.azure import errors, identity
from lisa_ci.platforms.azure.errors import Cause, Refusal, Way
from lisa_ci.platforms.azure.lro import Clock, OperationTimeoutError, Steps, follow

T = TypeVar("T")
Say = Callable[[str, Level], None]

ENDPOINT: Final = "https://management.azure.com"
_TRIES: Final = 6
_PAUSE: Final = 5.0  # seconds after the first answer that says "later"; it doubles
_MOST_PAUSE: Final = 120.0
_QUESTION: Final = 180.0
_PASSING: Final = frozenset({http.client.REQUEST_TIMEOUT, http.client.TOO_MANY_REQUESTS})
_SDK: Final[Mapping[str, Any]] = {
    "connection_timeout": 20,
    "read_timeout": 60,
    "retry_total": 6,
    "retry_status": 6,
    "retry_backoff_factor": 0.8,
    "retry_backoff_max": 30,
    "logging_enable": False,
}

for _name in ("azure", "urllib3", "msal"):
    logging.getLogger(_name).addHandler(logging.NullHandler())  # what counts is raised; the rest may hold tokens


class RefusedError(ProvisioningError):
    """Azure said no: ``refusal`` has every cause and what it means for a leg."""

    def __init__(self, doing: str, refusal: Refusal) -> None:
        super().__init__(f"Azure refuses to {doing}: {refusal}", hint=refusal.hint)
        self.refusal = refusal


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """The SDK's clients of one subscription. ``clock`` is the one that all of them wait by.

    ``credential`` is whoever we are, also where blobs are kept; ``storage`` are options of that door's clients.
    """

    id: str
    compute: ComputeManagementClient
    resources: ResourceManagementClient
    deployments: DeploymentsMgmtClient
    credential: Any = None
    storage: Mapping[str, Any] = field(default_factory=dict)
    clock: Clock = field(default_factory=Clock)
    pause: float = 5.0

    def steps(self, **options: str) -> Steps:
        """For ``polling=``; ``options`` as ``final_state_via``."""
        return Steps(pause=self.pause, options={key.replace("_", "-"): value for key, value in options.items()})

    def followed(self, poller: LROPoller[T], doing: str, *, until: float, beat: Callable[[], None] | None = None) -> T:
        """The result of an operation. RefusedError where it fails; ProvisioningError where it takes too long.

        A question that is not answered for a while is no end of the operation: it is asked again.
        """
        while True:
            try:
                with refusals(doing):
                    return follow(poller, until=until, clock=self.clock, beat=beat)
            except RefusedError as error:
                is_over = poller.status() in {"Failed", "Canceled", "Succeeded"}
                if is_over or not _is_passing(error.__cause__) or self.clock.now() + _PAUSE > until:
                    raise
                self.clock.sleep(max(error.refusal.retry_after or 0.0, _PAUSE))
            except OperationTimeoutError:
                raise ProvisioningError(
                    f"Azure did not {doing} in time; it goes on there",
                    hint="raise timeouts.boot, or try another region",
                ) from None

    def asked(self, request: Callable[[], T], doing: str) -> T:
        """The answer to a question that changes nothing; three minutes of patience. RefusedError."""
        return self.patiently(request, doing, until=self.clock.now() + _QUESTION)

    def patiently(self, request: Callable[[], T], doing: str, *, until: float, say: Say | None = None) -> T:
        """Send a request again where Azure says "later". RefusedError for anything else, and when it stays so."""
        pause = _PAUSE
        for number in range(1, _TRIES + 1):
            try:
                with refusals(doing):
                    return request()
            except RefusedError as error:
                wait = min(max(error.refusal.retry_after or 0.0, pause), _MOST_PAUSE)
                is_last = number == _TRIES or self.clock.now() + wait > until
                if error.refusal.way is not Way.WAIT or is_last:
                    raise
                if say is not None:
                    say(f"Azure says later ({error.refusal.causes[0].code}): once more in {wait:.0f} s", Level.INFO)
                self.clock.sleep(wait)
                pause *= 2
        raise AssertionError("unreachable")


def subscription_id(environment: Mapping[str, str] | None = None) -> str:
    """PipelineError where none is named."""
    said = os.environ if environment is None else environment
    found = said.get("AZURE_SUBSCRIPTION_ID", "")
    if not found:
        raise PipelineError("AZURE_SUBSCRIPTION_ID is not set", hint="set it to the subscription's id: it is no secret")
    return found


def connect(environment: Mapping[str, str] | None = None) -> Subscription:
    """The subscription that the environment names, as whoever we are. Nothing is asked yet. PipelineError.

    ``AZURE_RESOURCE_MANAGER_ENDPOINT`` names another cloud's API.
    """
    said = os.environ if environment is None else environment
    who = identity.credential(identity.found(said), said)
    endpoint = said.get("AZURE_RESOURCE_MANAGER_ENDPOINT", "") or ENDPOINT
    scopes = [identity.SCOPE if endpoint == ENDPOINT else said.get("AZURE_RESOURCE_MANAGER_SCOPE", identity.SCOPE)]
    return made(subscription_id(said), who, endpoint=endpoint, credential_scopes=scopes)


def made(
    subscription: str,
    credential: Any,
    *,
    endpoint: str = ENDPOINT,
    clock: Clock | None = None,
    pause: float = 5.0,
    storage: Mapping[str, Any] | None = None,
    **options: Any,
) -> Subscription:
    """``options`` go to the SDK's clients: ``transport``, ``credential_scopes``; ``storage`` to those of blobs."""
    told = {**_SDK, **options, "base_url": endpoint}
    return Subscription(
        id=subscription,
        compute=ComputeManagementClient(credential, subscription, **told),
        resources=ResourceManagementClient(credential, subscription, **told),
        deployments=DeploymentsMgmtClient(credential, subscription, **told),
        credential=credential,
        storage=storage or {},
        clock=clock or Clock(),
        pause=pause,
    )


# ---- the SDK's errors become ours ----------------------------------------------------------------------------------


@contextmanager
def refusals(doing: str) -> Iterator[None]:
    """An error of the SDK becomes a RefusedError that tells all causes; ours pass."""
    try:
        yield
    except LisaCiError:
        raise
    except AzureError as error:
        raise RefusedError(doing, understood(error)) from error


def understood(error: AzureError) -> Refusal:
    """What an error of the SDK means."""
    if isinstance(error, ClientAuthenticationError) and (not _body(error) or "AADSTS" in str(error)):
        text = " ".join(str(error).split())[:600]
        return Refusal(
            way=Way.STOP,
            causes=(Cause(code="NoToken", message=text),),
            hint=errors.identity_hint(text) or "lisa-ci doctor azure tells who we are there",
        )
    if isinstance(error, HttpResponseError):
        body = _body(error)
        return errors.understand(body, status=error.status_code, retry_after=_retry_after(error))
    name = "NoConnection" if isinstance(error, ServiceRequestError | ServiceResponseError) else type(error).__name__
    text = " ".join(str(error).split())[:300]
    way = Way.WAIT if name == "NoConnection" else Way.STOP
    return Refusal(way=way, causes=(Cause(code=name, message=text),))


def _body(error: HttpResponseError) -> object:
    """The answer as sent; '' where there is none, or where it was never read."""
    response = error.response
    if response is None:
        return ""
    try:
        return str(response.text())
    except (ValueError, AttributeError, AzureError):
        return ""


def _retry_after(error: HttpResponseError) -> float | None:
    headers = getattr(error.response, "headers", None) or {}
    text = str(headers.get("Retry-After", ""))
    return float(text) if text.isascii() and text.isdigit() and len(text) < 6 else None


def _is_passing(error: BaseException | None) -> bool:
    """Whether a question was not answered, by whatever is in between; an operation that failed may come as 409."""
    if isinstance(error, HttpResponseError):
        status = error.status_code or 0
        return status in _PASSING or status >= http.client.INTERNAL_SERVER_ERROR
    return isinstance(error, ServiceRequestError | ServiceResponseError)


def is_gone(error: RefusedError) -> bool:
    """Whether what was asked for is not there (any more)."""
    codes = {cause.code for cause in error.refusal.causes}
    return bool(codes & {"ResourceGroupNotFound", "ResourceNotFound", "NotFound", "DeploymentNotFound"})
