"""What a user calls an archive's place, and the store behind it. The Azure SDK is loaded for an Azure place only."""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

from lisa_ci.archive.folder_store import FolderStore
from lisa_ci.archive.store import Store
from lisa_ci.blobs import FORM, Container, parse_container
from lisa_ci.errors import PipelineError
from lisa_ci.model import Secret

if TYPE_CHECKING:
    from lisa_ci.archive.azure_store import Credential

CONNECTION_STRING: Final = "AZURE_STORAGE_CONNECTION_STRING"
SAS_TOKEN: Final = "AZURE_STORAGE_SAS_TOKEN"  # noqa: S105 - a variable's name
ACCOUNT_KEY: Final = "AZURE_STORAGE_KEY"


def parse(place: str) -> Container | Path:
    """A container for a URL, else the folder. PipelineError for a URL that we do not take."""
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", place) is None:
        return Path(place)
    instead = f"put the signature into the environment as {SAS_TOKEN}"
    return parse_container(place, of="archive", instead=instead, form=f"a folder, or {FORM}")


@contextmanager
def opened(
    place: str, *, timeout: timedelta, environment: Mapping[str, str] | None = None, create: bool = False
) -> Iterator[Store]:
    """The store of a place. ``create``: a folder that is not there is made. PipelineError where it cannot be."""
    found = parse(place)
    if isinstance(found, Path):
        store: Store = FolderStore(_folder(found, create=create))
    else:
        store = _azure(found, timeout, os.environ if environment is None else environment)
    try:
        yield store
    finally:
        store.close()


def _folder(path: Path, *, create: bool) -> Path:
    if create:
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise PipelineError(f"cannot make the folder {path}: {error.strerror}") from error
    if not path.is_dir():
        raise PipelineError(f"there is no archive at {path}: it is not a folder", hint="'archive put' makes one")
    return path


def _azure(place: Container, timeout: timedelta, environment: Mapping[str, str]) -> Store:
    try:
        azure = importlib.import_module("lisa_ci.archive.azure_store")
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in {"azure", "requests"}:
            raise
        raise PipelineError(
            "an archive in Azure needs the package azure-storage-blob", hint="pip install 'lisa-ci[azure]'"
        ) from error
    credential = _credential(azure, place, environment)
    store = azure.AzureStore(url=place.url, prefix=place.prefix, credential=credential, timeout=timeout)
    return cast("Store", store)


def _credential(azure: object, place: Container, environment: Mapping[str, str]) -> Credential:
    """A secret of the environment where there is one, by the names that az itself reads; else who we are."""
    if said := environment.get(CONNECTION_STRING, ""):
        account, key, token = _connection(said, place)
    else:
        account, key, token = place.account, environment.get(ACCOUNT_KEY, ""), environment.get(SAS_TOKEN, "")
    if token:
        return azure.sas(Secret(token))  # type: ignore[attr-defined, no-any-return]
    if key:
        return azure.account_key(account, Secret(key))  # type: ignore[attr-defined, no-any-return]
    return azure.identity()  # type: ignore[attr-defined, no-any-return]


def _connection(said: str, place: Container) -> tuple[str, str, str]:
    """Account, key and signature; PipelineError where it is for another account: its key goes nowhere else."""
    fields = {}
    for part in said.split(";"):
        name, _, value = part.partition("=")
        fields[name.strip().lower()] = value.strip()
    account = fields.get("accountname", "")
    endpoint = fields.get("blobendpoint", "").rstrip("/")
    if not endpoint:
        scheme, suffix = (
            fields.get("defaultendpointsprotocol", "https"),
            fields.get("endpointsuffix", "core.windows.net"),
        )
        endpoint = f"{scheme}://{account}.blob.{suffix}"
    if endpoint.lower() != place.account_url.lower():
        hint = "name the container of that account, or unset it"
        raise PipelineError(f"{CONNECTION_STRING} is not for the account of {place.account_url}", hint=hint)
    key, token = fields.get("accountkey", ""), fields.get("sharedaccesssignature", "")
    if not key and not token:
        raise PipelineError(f"{CONNECTION_STRING} holds neither a key nor a signature")
    return account or place.account, key, token
