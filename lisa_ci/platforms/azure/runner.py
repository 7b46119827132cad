"""Who we are to the rest of the world: the addresses that may log in, and the run that owns what is made."""

from __future__ import annotations

import hashlib
import ipaddress
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from lisa_ci.errors import PipelineError, ProvisioningError
from lisa_ci.github import event
from lisa_ci.model import Lease

_ASKED: Final = ("https://checkip.amazonaws.com", "https://api.ipify.org")
_SECONDS: Final = 10


def addresses(environment: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """``AZURE_RUNNER_ADDRESSES`` (addresses or blocks, with commas), or what others see of us. ProvisioningError."""
    said = os.environ if environment is None else environment
    given = said.get("AZURE_RUNNER_ADDRESSES", "")
    if given:
        return tuple(_checked(one.strip()) for one in given.split(","))
    import requests  # noqa: PLC0415 - comes with the SDK

    for url in _ASKED:
        try:
            answer = requests.get(url, timeout=_SECONDS)
            return (str(ipaddress.ip_address(answer.text[:64].strip())),)
        except (requests.RequestException, ValueError):
            continue
    raise ProvisioningError(
        "nobody tells this host's public address", hint="set AZURE_RUNNER_ADDRESSES to it: no port is opened to all"
    )


def _checked(text: str) -> str:
    try:
        found = ipaddress.ip_network(text, strict=False)
    except ValueError as error:
        raise PipelineError(f"AZURE_RUNNER_ADDRESSES: {text!r} is no address") from error
    if found.prefixlen == 0:
        raise PipelineError(f"AZURE_RUNNER_ADDRESSES: {text} is everybody", hint="name the runner's own addresses")
    return text


def owner(lease: Lease, environment: Mapping[str, str] | None = None) -> str:
    """``OWNER/REPO/RUN`` on GitHub, which a sweep can ask about; elsewhere user, host and the results' folder."""
    said = os.environ if environment is None else environment
    run = event.run_id(said)
    if run and said.get("GITHUB_REPOSITORY"):
        return f"{said['GITHUB_REPOSITORY']}/{run}"
    mark = hashlib.sha256(str(Path(lease.evidence).absolute()).encode()).hexdigest()[:8]
    return f"{lease.owner}@{platform.node()[:40]}-{mark}"
