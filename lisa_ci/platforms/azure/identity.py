"""Who we are at Azure, without any stored secret, and what to enter there so that it knows us.

On GitHub each token request is proved by a new assertion of the job (its own tokens live five minutes), so that a leg
of six hours, and its clean-up, keep working. Elsewhere: workload identity, managed identity, the login of the CLI.
"""

from __future__ import annotations

import base64
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from lisa_ci.errors import PipelineError, ProvisioningError
from lisa_ci.github.commands import add_mask
from lisa_ci.model import Secret

AUDIENCE: Final = "api://AzureADTokenExchange"
ISSUER: Final = "https://token.actions.githubusercontent.com"
SCOPE: Final = "https://management.azure.com/.default"
_ASSERTION_SECONDS: Final = 20
_MOST_ASSERTION: Final = 64 << 10
_STORED: Final = ("AZURE_CLIENT_SECRET", "AZURE_CLIENT_CERTIFICATE_PATH", "AZURE_USERNAME", "AZURE_PASSWORD")


class Kind(StrEnum):
    """How we prove who we are."""

    GITHUB = "GitHub OIDC"
    WORKLOAD = "workload identity"
    MANAGED = "managed identity"
    CLI = "login of az"


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """``client`` and ``tenant`` are '' where the kind needs none. ``authority`` is '' for Azure's public cloud."""

    kind: Kind
    client: str = ""
    tenant: str = ""
    authority: str = ""
    token_file: str = ""


def found(environment: Mapping[str, str] | None = None) -> Identity:
    """The identity that this host gives us. PipelineError where a part of it is missing."""
    said = os.environ if environment is None else environment
    client, tenant = said.get("AZURE_CLIENT_ID", ""), said.get("AZURE_TENANT_ID", "")
    authority = said.get("AZURE_AUTHORITY_HOST", "")
    if said.get("ACTIONS_ID_TOKEN_REQUEST_URL") and client:
        if not tenant:
            raise PipelineError("AZURE_CLIENT_ID is set, AZURE_TENANT_ID is not", hint="set it: it is no secret")
        return Identity(kind=Kind.GITHUB, client=client, tenant=tenant, authority=authority)
    if said.get("AZURE_FEDERATED_TOKEN_FILE") and client and tenant:
        file = said["AZURE_FEDERATED_TOKEN_FILE"]
        return Identity(kind=Kind.WORKLOAD, client=client, tenant=tenant, authority=authority, token_file=file)
    if said.get("IDENTITY_ENDPOINT") or said.get("LISA_CI_AZURE_MANAGED_IDENTITY"):
        return Identity(kind=Kind.MANAGED, client=client)
    if said.get("GITHUB_ACTIONS") == "true" and client:
        raise PipelineError(
            "this job may not ask GitHub for an identity token",
            hint="give the job 'permissions: {id-token: write, contents: read}'; pull requests of forks get none",
        )
    stored = [name for name in _STORED if said.get(name)]
    if stored:
        raise PipelineError(
            f"{stored[0]} is set, and lisa-ci uses no stored secret",
            hint="enter a federated credential instead: lisa-ci doctor azure prints it",
        )
    return Identity(kind=Kind.CLI, tenant=tenant)


def credential(identity: Identity, environment: Mapping[str, str] | None = None) -> Any:
    """The SDK's credential for an identity: nothing is asked before the first token. PipelineError without the SDK."""
    try:
        from azure import identity as sdk  # noqa: PLC0415 - loaded where Azure is used
    except ImportError as error:
        raise PipelineError("the Azure SDK is not installed", hint="pip install 'lisa-ci[azure]'") from error
    said = dict(os.environ if environment is None else environment)
    where: dict[str, Any] = {}
    if identity.authority:
        where = {"authority": identity.authority, "disable_instance_discovery": True}
    match identity.kind:
        case Kind.GITHUB:
            return sdk.ClientAssertionCredential(
                identity.tenant, identity.client, lambda: assertion(said).reveal(), **where
            )
        case Kind.WORKLOAD:
            return sdk.WorkloadIdentityCredential(
                tenant_id=identity.tenant, client_id=identity.client, token_file_path=identity.token_file, **where
            )
        case Kind.MANAGED:
            return sdk.ManagedIdentityCredential(client_id=identity.client or None)
    return sdk.AzureCliCredential(tenant_id=identity.tenant)


def assertion(environment: Mapping[str, str]) -> Secret:
    """A new identity token of this job for Entra; masked in the job's log before anything can print it.

    ProvisioningError where GitHub gives none.
    """
    import requests  # noqa: PLC0415 - comes with the SDK

    url, key = (
        environment.get("ACTIONS_ID_TOKEN_REQUEST_URL", ""),
        environment.get("ACTIONS_ID_TOKEN_REQUEST_TOKEN", ""),
    )
    try:
        answer = requests.get(
            url,
            params={"audience": AUDIENCE},
            headers={"Authorization": f"bearer {key}", "Accept": "application/json"},
            timeout=_ASSERTION_SECONDS,
        )
        answer.raise_for_status()
        value = json.loads(answer.content[:_MOST_ASSERTION])["value"]
    except (requests.RequestException, ValueError, KeyError, TypeError) as error:
        status = getattr(getattr(error, "response", None), "status_code", None)
        why = f"status {status}" if status else type(error).__name__
        raise ProvisioningError(f"GitHub gives this job no identity token: {why}") from error
    if not isinstance(value, str) or value.count(".") != 2:
        raise ProvisioningError("GitHub gives this job no identity token: the answer holds none")
    _mask(value, environment)
    return Secret(value)


def _mask(value: str, environment: Mapping[str, str]) -> None:
    if environment.get("GITHUB_ACTIONS") == "true":
        for line in add_mask(value):
            sys.stderr.write(f"{line}\n")
        sys.stderr.flush()


# ---- what to enter at Azure ----------------------------------------------------------------------------------------


def claims(token: Secret) -> Mapping[str, Any]:
    """What a token says of its holder, unverified: for people to compare. Empty where it cannot be read."""
    try:
        part = token.reveal().split(".")[1]
        value = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (ValueError, IndexError):
        return {}
    return value if isinstance(value, dict) else {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A subject of a federated credential; ``when`` is which jobs have it."""

    text: str
    when: str


def subjects(environment: Mapping[str, str] | None = None, *, environment_name: str = "") -> tuple[Subject, ...]:
    """The subjects that jobs of this repository have, by name and by number.

    Repositories made or renamed since 2026-07-15 have the form with numbers: GitHub refuses the other one there.
    """
    said = os.environ if environment is None else environment
    repository = said.get("GITHUB_REPOSITORY", "") or "OWNER/REPO"
    owner, _, name = repository.partition("/")
    numbers = (said.get("GITHUB_REPOSITORY_OWNER_ID") or "OWNER_ID", said.get("GITHUB_REPOSITORY_ID") or "REPO_ID")
    ref = said.get("GITHUB_REF") or "refs/heads/main"
    if ref.startswith("refs/pull/"):
        ref = "refs/heads/main"
    place = environment_name or "ENVIRONMENT"
    forms = {
        "by name": f"repo:{owner}/{name}",
        "by number": f"repo:{owner}@{numbers[0]}/{name}@{numbers[1]}",
    }
    return tuple(
        Subject(text=f"{form}:{tail}", when=f"{when} ({how})")
        for how, form in forms.items()
        for tail, when in (
            (f"ref:{ref}", f"jobs of {ref} without an environment"),
            (f"environment:{place}", "jobs with 'environment:'"),
            ("pull_request", "jobs of pull requests from this repository"),
        )
    )
