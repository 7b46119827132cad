"""A container of a storage account, as a user names it. Nothing is asked here."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Final

from lisa_ci.errors import PipelineError

FORM: Final = "https://ACCOUNT.blob.core.windows.net/CONTAINER[/PREFIX]"

_URL: Final = re.compile(
    r"(?P<scheme>https?)://(?P<host>[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?)(?P<port>:[1-9][0-9]{0,4})?(?P<path>/[^\s]*)?"
)
_CONTAINER: Final = re.compile(r"[a-z0-9](?:-?[a-z0-9]){2,62}")
_PREFIX_PART: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,126}[A-Za-z0-9])?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """``account_url`` has no slash at its end; ``prefix`` is '' or ends with one."""

    account: str
    account_url: str
    container: str
    prefix: str

    @property
    def url(self) -> str:
        return f"{self.account_url}/{self.container}"

    @property
    def name(self) -> str:
        """For people: ACCOUNT/CONTAINER."""
        return f"{self.account}/{self.container}"


def parse_container(url: str, *, of: str, instead: str, form: str = FORM) -> Container:
    """The container that ``url`` names. PipelineError for a URL that we do not take, never with a secret in it.

    ``of`` is what is kept there ("archive"), ``instead`` where a signature belongs that stands in the URL.
    """
    if set("?#@") & set(url):
        hint = f"name it as {FORM}, and {instead}"
        raise PipelineError(f"the {of}'s URL carries a query or a password, which would end up in logs", hint=hint)
    found = _URL.fullmatch(url)
    if found is None or (found["scheme"] == "http" and not _is_loopback(found["host"])):
        raise PipelineError(f"'{url}' is not an {of}'s place", hint=form)
    scheme, host, port = found["scheme"], found["host"].lower(), found["port"] or ""
    segments = [segment for segment in (found["path"] or "").split("/") if segment]
    account_url = f"{scheme}://{host}{port}"
    account = host.partition(".")[0]
    if _is_address(host) or host == "localhost":  # an emulator: the account is the first part of the path
        account = segments.pop(0) if segments else ""
        account_url = f"{account_url}/{account}"
    if not segments or not account:
        raise PipelineError(f"'{url}' names no container", hint=FORM)
    container, *prefix = segments
    if _CONTAINER.fullmatch(container) is None:
        hint = "3 to 63 of a-z, 0-9 and single '-'"
        raise PipelineError(f"'{container}' is not a container's name", hint=hint)
    wrong = next((part for part in prefix if _PREFIX_PART.fullmatch(part) is None), None)
    if wrong is not None:
        raise PipelineError(f"'{wrong}' cannot be part of a prefix", hint="letters, digits, '.', '_' and '-'")
    return Container(
        account=account, account_url=account_url, container=container, prefix="".join(f"{part}/" for part in prefix)
    )


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _is_loopback(host: str) -> bool:
    return host == "localhost" or (_is_address(host) and ipaddress.ip_address(host).is_loopback)
