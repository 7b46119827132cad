"""``lisa-ci doctor azure``: who we are at Azure, what to enter there, and whether it is enough. Nothing is created."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from itertools import chain

import click

from lisa_ci.blobs import Container
from lisa_ci.console import Console
from lisa_ci.errors import LisaCiError, PipelineError, ProvisioningError
from lisa_ci.platforms.azure import containers, identity
from lisa_ci.platforms.azure.identity import AUDIENCE, ISSUER, Identity, Kind

_REGION = "westeurope"


def azure(console: Console, *, environment_name: str, region: str) -> None:
    """Print what to enter, then try what may be tried. ProvisioningError where something is missing."""
    places = containers.named()
    for line in told(environment_name, places):
        click.echo(line)
    try:
        from lisa_ci.platforms.azure import client, rights  # noqa: PLC0415 - they load Azure's SDK
    except ImportError as error:
        raise PipelineError("the Azure SDK is not installed", hint="pip install 'lisa-ci[azure]'") from error
    who = identity.found()
    click.echo(f"\nidentity: {who.kind}{f', application {who.client}' if who.client else ''}")
    if who.kind is Kind.GITHUB:
        _show_own_subject(who)
    bad = []
    subscription = client.connect()
    answers = chain(rights.examine(subscription, region or _REGION), rights.examine_containers(subscription, places))
    for answer in answers:
        mark = "ok     " if answer.is_ok else "note   " if answer.is_note else "MISSING"
        click.echo(f"{mark} {answer.name:<12}  {answer.text}")
        bad += [] if answer.is_ok or answer.is_note else [answer]
    if bad:
        hint = "az role definition create --role-definition role.json, then assign it: see docs/azure-live.md"
        raise ProvisioningError(f"{len(bad)} of what lisa-ci needs at Azure is missing: {bad[0].text}", hint=hint)
    console.say("everything that can be tried without creating something works")


def told(environment_name: str, places: Sequence[Container] = ()) -> Iterator[str]:
    """The federated credential in each form that GitHub sends, and the roles."""
    yield "federated credential of the application (Entra: Certificates & secrets, Federated credentials):"
    yield f"  issuer    {ISSUER}"
    yield f"  audience  {AUDIENCE}"
    for one in identity.subjects(environment_name=environment_name):
        yield f"  subject   {one.text}  - {one.when}"
    yield "  a repository made or renamed since 2026-07-15 has the subjects by number"
    yield "role: templates/azure/role.json (az role definition create --role-definition FILE)"
    for place in places:
        yield f"role for images in {place.name}: templates/azure/images-role.json on the account {place.account}, or"
        yield f"  'Storage Blob Data Contributor' on the container {place.container} and listKeys on the account"


def _show_own_subject(who: Identity) -> None:
    """What GitHub really says of this job: the one subject that counts."""
    try:
        claims = identity.claims(identity.assertion(os.environ))
    except LisaCiError as error:
        click.echo(f"MISSING assertion     {error.message}")
        return
    click.echo(f"this job's subject: {claims.get('sub', '?')} (audience {claims.get('aud', '?')})")
    click.echo(f"tenant: {who.tenant}")
