"""What Azure says when it says no: every cause of an answer, deepest first, and what it means for a leg.

Decided by ``error.code``, never by the status of the answer: a size that is sold out and a quota that is used up come
as 409, which the SDK calls "exists already"; an allocation that failed comes with 200, inside the long-running
operation. A deployment wraps the cause in messages that are themselves JSON. Bodies come from outside: depth, number
and length of what is looked at are bounded. Sources of the codes: docs/azure-live.md.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from lisa_ci.errors import PipelineError, ProvisioningError

_DEPTH: Final = 12
_MOST_CAUSES: Final = 64
_MESSAGE: Final = 600
_MOST_BODY: Final = 1 << 20


class Way(StrEnum):
    """What to do next: another size or region, the same again after a while, or tell a person."""

    ELSEWHERE = "elsewhere"
    WAIT = "wait"
    STOP = "stop"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """One ``error`` of an answer; ``target`` is what it is about, '' where nothing is said of that."""

    code: str
    message: str
    target: str = ""

    def __str__(self) -> str:
        return f"{self.code}: {self.message}" if self.message else self.code


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """An answer that was understood. ``causes`` are deepest first and never empty. ``retry_after`` is in seconds."""

    way: Way
    causes: tuple[Cause, ...]
    hint: str = ""
    retry_after: float | None = None

    def __str__(self) -> str:
        return " <- ".join(dict.fromkeys(str(cause) for cause in self.causes))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """``code`` as Azure writes it; ``words`` narrow it down where one code means several things."""

    code: str
    way: Way
    hint: str = ""
    words: str = ""


_QUOTA: Final = "ask for more in the portal (Quotas), or give the profile other sizes or regions"
_ROLE: Final = "lisa-ci doctor azure tells which right is missing; the least role is in templates/azure/role.json"
_TERMS: Final = "accept the image's terms once: az vm image terms accept --urn URN"
_TABLE: Final = (
    # ---- capacity and quota: the same request may do elsewhere
    _Row(code="SkuNotAvailable", way=Way.ELSEWHERE),
    _Row(code="AllocationFailed", way=Way.ELSEWHERE),
    _Row(code="ZonalAllocationFailed", way=Way.ELSEWHERE),
    _Row(code="OverconstrainedAllocationRequest", way=Way.ELSEWHERE),
    _Row(code="OverconstrainedZonalAllocationRequest", way=Way.ELSEWHERE),
    _Row(code="QuotaExceeded", way=Way.ELSEWHERE, hint=_QUOTA),
    _Row(code="OperationNotAllowed", way=Way.ELSEWHERE, hint=_QUOTA, words=r"quota|Cores? limit|exceed"),
    _Row(code="PublicIPCountLimitReached", way=Way.ELSEWHERE, hint=_QUOTA),
    _Row(code="NotAvailableForSubscription", way=Way.ELSEWHERE),
    _Row(code="LocationNotAvailableForResourceType", way=Way.ELSEWHERE),
    _Row(code="InvalidParameter", way=Way.ELSEWHERE, words=r"requested VM size|VM size .*not (valid|available)"),
    _Row(code="BadRequest", way=Way.ELSEWHERE, words=r"cannot boot Hypervisor Generation"),
    # ---- passing: the same again, later
    _Row(code="ResourceCollectionRequestsThrottled", way=Way.WAIT),
    _Row(code="SubscriptionRequestsThrottled", way=Way.WAIT),
    _Row(code="TooManyRequests", way=Way.WAIT),
    _Row(code="AnotherOperationInProgress", way=Way.WAIT),
    _Row(code="RetryableError", way=Way.WAIT),
    _Row(code="RetryableErrorDueToAnotherOperation", way=Way.WAIT),
    _Row(code="ReferencedResourceNotProvisioned", way=Way.WAIT),
    _Row(code="InUseSubnetCannotBeDeleted", way=Way.WAIT),
    _Row(code="PublicIPAddressCannotBeDeleted", way=Way.WAIT),
    _Row(code="CannotDeleteResource", way=Way.WAIT),
    _Row(code="ResourceGroupBeingDeleted", way=Way.WAIT),
    _Row(code="DeploymentActive", way=Way.WAIT),
    _Row(code="OperationPreempted", way=Way.WAIT),
    _Row(code="OperationNotAllowed", way=Way.WAIT, words=r"being (deleted|deallocated|updated)|in progress"),
    _Row(code="InternalServerError", way=Way.WAIT),
    _Row(code="InternalExecutionError", way=Way.WAIT),
    _Row(code="InternalError", way=Way.WAIT),
    _Row(code="ServerTimeout", way=Way.WAIT),
    _Row(code="GatewayTimeout", way=Way.WAIT),
    _Row(code="ServiceUnavailable", way=Way.WAIT),
    _Row(code="NetworkingInternalOperationError", way=Way.WAIT),
    _Row(code="StorageFailure", way=Way.WAIT),
    # ---- a person is needed
    _Row(code="AuthorizationFailed", way=Way.STOP, hint=_ROLE),
    _Row(code="LinkedAuthorizationFailed", way=Way.STOP, hint=_ROLE),
    _Row(code="InvalidAuthenticationToken", way=Way.STOP, hint="lisa-ci doctor azure tells who we are there"),
    _Row(code="ExpiredAuthenticationToken", way=Way.WAIT),
    _Row(code="InvalidAuthenticationTokenTenant", way=Way.STOP, hint="AZURE_TENANT_ID is not the subscription's"),
    _Row(code="SubscriptionNotFound", way=Way.STOP, hint="check AZURE_SUBSCRIPTION_ID, and that we may read it"),
    _Row(code="ReadOnlyDisabledSubscription", way=Way.STOP, hint="the subscription is disabled: see its billing"),
    _Row(code="MissingSubscriptionRegistration", way=Way.STOP, hint="az provider register --namespace NAMESPACE"),
    _Row(code="RequestDisallowedByPolicy", way=Way.STOP, hint="a policy of the subscription forbids it: see its owner"),
    _Row(code="ScopeLocked", way=Way.STOP, hint="a lock of the subscription forbids it; lisa-ci sweep tells of locks"),
    _Row(code="MarketplacePurchaseEligibilityFailed", way=Way.STOP, hint=_TERMS),
    _Row(code="ResourcePurchaseValidationFailed", way=Way.STOP, hint=_TERMS),
    _Row(code="ImageNotFound", way=Way.STOP, hint="check the image's name and version"),
    _Row(code="PlatformImageNotFound", way=Way.STOP, hint="check the image's name and version"),
    _Row(code="GalleryImageNotFound", way=Way.STOP, hint="check the image's name, version and replicas"),
    _Row(
        code="OSProvisioningTimedOut",
        way=Way.STOP,
        hint="the image did not report ready: its agent or cloud-init is missing, or its boot hangs; see console.log",
    ),
    _Row(code="OSProvisioningClientError", way=Way.STOP, hint="the image's agent reported an error; see console.log"),
    _Row(code="VMStartTimedOut", way=Way.STOP, hint="the image did not start; see console.log"),
)
_WRAPPERS: Final = frozenset(
    {
        "DeploymentFailed",
        "InvalidTemplateDeployment",
        "MultipleErrorsOccurred",
        "ResourceDeploymentFailure",
        "PreflightValidationCheckFailed",
        "ResourceOperationFailure",
    }
)
_STATUS: Final = {429: "TooManyRequests", 500: "InternalServerError", 502: "GatewayTimeout", 503: "ServiceUnavailable"}
_STATUS_BY_RANGE: Final = {504: "GatewayTimeout", 408: "ServerTimeout"}
_AADSTS: Final = re.compile(r"AADSTS(\d{2,8})")
_IDENTITY: Final = {
    "700024": "the assertion is not within its time: check this host's clock",
    "700213": "no federated credential has this subject: lisa-ci doctor azure prints the one to enter",
    "70021": "no federated credential has this subject: lisa-ci doctor azure prints the one to enter",
    "700016": "there is no application AZURE_CLIENT_ID in the tenant AZURE_TENANT_ID",
    "90002": "there is no tenant AZURE_TENANT_ID",
    "7000215": "lisa-ci uses no secret: remove AZURE_CLIENT_SECRET and enter a federated credential",
}


def causes(body: object) -> tuple[Cause, ...]:
    """Every error in an answer, deepest first: of one level, in their order. Nothing where there is none."""
    found = [cause for _, cause in sorted(_walk(body, 0), key=lambda pair: -pair[0])]
    return tuple(dict.fromkeys(found))[:_MOST_CAUSES]


def _walk(node: object, depth: int) -> Iterator[tuple[int, Cause]]:
    if depth > _DEPTH:
        return
    if isinstance(node, str):
        node = _parsed(node)
    if isinstance(node, list):
        for item in node[:_MOST_CAUSES]:
            yield from _walk(item, depth)
        return
    if not isinstance(node, Mapping):
        return
    code, message = node.get("code"), node.get("message")
    inside = _parsed(message) if isinstance(message, str) else None
    if isinstance(code, str) and code:
        target = node.get("target")
        text = "" if inside is not None else _short(message)
        yield depth, Cause(code=code[:80], message=text, target=target[:200] if isinstance(target, str) else "")
    for key in ("error", "details", "properties", "statusMessage", "innererror"):
        yield from _walk(node.get(key), depth + 1)
    if inside is not None:
        yield from _walk(inside, depth + 1)


def _parsed(text: str) -> object:
    """What a message that is itself JSON holds; None for words."""
    if not text.lstrip().startswith(("{", "[")) or len(text) > _MOST_BODY:
        return None
    try:
        value: object = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value


def _short(message: object) -> str:
    text = " ".join(message.split()) if isinstance(message, str) else ""
    return text if len(text) <= _MESSAGE else f"{text[:_MESSAGE]}..."


def understand(body: object, *, status: int | None = None, retry_after: float | None = None) -> Refusal:
    """What an answer means. A status counts only where no code is given."""
    found = causes(body)
    if not found:
        code = (_STATUS | _STATUS_BY_RANGE).get(status or 0, "NoCode")
        found = (Cause(code=code, message=f"the answer has status {status} and no error code"),)
    rows = [row for cause in found if cause.code not in _WRAPPERS for row in [_row(cause)] if row is not None]
    for way in (Way.STOP, Way.ELSEWHERE, Way.WAIT):
        for row in rows:
            if row.way is way:
                return Refusal(way=way, causes=found, hint=row.hint, retry_after=retry_after)
    return Refusal(way=Way.STOP, causes=found, retry_after=retry_after)


def _row(cause: Cause) -> _Row | None:
    of_code = [row for row in _TABLE if row.code == cause.code]
    return next((row for row in of_code if not row.words or re.search(row.words, cause.message, re.IGNORECASE)), None)


def known_codes() -> frozenset[str]:
    """The codes that mean something to us."""
    return frozenset(row.code for row in _TABLE)


def identity_hint(message: str) -> str:
    """What to do about a login that was refused, from the number in Entra's answer; '' for one that is not known."""
    return next((_IDENTITY[number] for number in _AADSTS.findall(message) if number in _IDENTITY), "")


def refusal(refused: Refusal, doing: str) -> ProvisioningError | PipelineError:
    """The error to raise; what a person has to set right is told with what to do."""
    return ProvisioningError(f"Azure refuses to {doing}: {refused}", hint=refused.hint)
