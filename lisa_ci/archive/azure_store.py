"""An archive in a container of Azure Blob Storage. The one module that imports the storage SDK.

The service does the hard parts: ``If-None-Match: *`` makes a name be written once, ``If-Match`` makes a removal lose
against a refresh, and Content-MD5 refuses a body that changed on its way. A large blob is staged in blocks that are
named by their content: whoever goes on, from any host, stages only what is missing.
"""

from __future__ import annotations

import base64
import hashlib
import logging
import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import IO, Any, Final

import requests
from azure.core import MatchConditions
from azure.core.credentials import AzureNamedKeyCredential, AzureSasCredential, TokenCredential
from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    HttpResponseError,
    ResourceExistsError,
    ResourceModifiedError,
    ResourceNotFoundError,
)
from azure.core.pipeline.transport import RequestsTransport
from azure.storage.blob import (
    BlobBlock,
    BlobClient,
    ContainerClient,
    ContentSettings,
    ExponentialRetry,
    StandardBlobTier,
)
from requests.adapters import HTTPAdapter

from lisa_ci.archive.store import Entry, Tier, is_name
from lisa_ci.errors import DataError, LisaCiError, PipelineError, PublishingError, StorageError
from lisa_ci.model import Secret
from lisa_ci.scrub import scrub_text

API_VERSION: Final = "2025-11-05"  # the service keeps old ones; Azurite 3.35 knows no newer one
SMALL_BYTES: Final = 4 << 20  # in one request; beyond it, in blocks of this size
_RETRIES: Final = 5
_CONNECTIONS: Final = 64
_BLOCKS_AT_ONCE: Final = 4
_TIERS: Final = {Tier.HOT: StandardBlobTier.HOT, Tier.COOL: StandardBlobTier.COOL, Tier.COLD: StandardBlobTier.COLD}
_SCOPE: Final = "https://storage.azure.com/.default"
_REFUSED: Final = frozenset({401, 403})

_QUERY: Final = re.compile(r"\?[^\s'\")]*")
_SYSTEM: Final = re.compile(r"\[Errno -?[0-9]+\] ([^'\")]+)")

for _name in ("azure", "urllib3", "msal"):
    logging.getLogger(_name).addHandler(
        logging.NullHandler()
    )  # else their warnings go to stderr; what counts is raised

Credential = TokenCredential | AzureSasCredential | AzureNamedKeyCredential


def sas(token: Secret) -> AzureSasCredential:
    return AzureSasCredential(token.reveal().lstrip("?"))


def account_key(account: str, key: Secret) -> AzureNamedKeyCredential:
    return AzureNamedKeyCredential(account, key.reveal())


def identity() -> TokenCredential:
    """Whoever we are here: workload or managed identity, or the login of az. PipelineError where we are nobody."""
    try:
        from azure.identity import DefaultAzureCredential  # noqa: PLC0415 - a SAS needs none
    except ImportError as error:
        raise PipelineError(
            "the package azure-identity is not installed", hint="pip install 'lisa-ci[azure]'"
        ) from error
    found = DefaultAzureCredential(exclude_interactive_browser_credential=True)
    try:
        found.get_token(_SCOPE)  # once, here: each request would try it anew for a minute
    except ClientAuthenticationError as error:
        hint = "log in ('az login', the action azure/login, a managed identity), or set AZURE_STORAGE_SAS_TOKEN"
        raise PipelineError(f"no identity for Azure: {_why(error).rstrip('.')}", hint=hint) from error
    return found


class AzureStore:
    """``url`` is that of the container; ``prefix`` is '' or ends with a slash."""

    def __init__(
        self,
        *,
        url: str,
        prefix: str,
        credential: Credential | None,
        timeout: timedelta = timedelta(seconds=60),
        retries: int = _RETRIES,
    ) -> None:
        session = requests.Session()
        adapter = HTTPAdapter(pool_connections=4, pool_maxsize=_CONNECTIONS, max_retries=0)
        session.mount("https://", adapter)
        session.mount("http://", adapter)
        seconds = max(1, round(timeout.total_seconds()))
        self._transport = RequestsTransport(
            session=session, session_owner=True, connection_timeout=min(seconds, 20), read_timeout=seconds
        )
        self._prefix = prefix
        self._place = f"{url}/{prefix}".rstrip("/")
        self._clock = _Clock()
        self._container = ContainerClient.from_container_url(
            url,
            credential=credential,
            api_version=API_VERSION,
            transport=self._transport,
            retry_policy=ExponentialRetry(
                initial_backoff=1, increment_base=2, retry_total=retries, random_jitter_range=1
            ),
            raw_response_hook=self._clock.see,
        )

    @property
    def place(self) -> str:
        return self._place

    def _blob(self, name: str) -> BlobClient:
        return self._container.get_blob_client(self._prefix + name)

    # ---- writing ----

    def put_new(self, name: str, data: IO[bytes], size_bytes: int, *, tier: Tier = Tier.HOT) -> bool:
        blob = self._blob(name)
        settings = ContentSettings(content_type="application/gzip")
        with _told(self._place, name, PublishingError):
            if size_bytes > SMALL_BYTES:
                return self._put_blocks(blob, data, size_bytes, settings, tier)
            content = data.read(SMALL_BYTES + 1)
            if len(content) != size_bytes:
                raise PublishingError(f"{name} has {len(content):,} bytes, not {size_bytes:,}; nothing was written")
            return _is_new(
                lambda: blob.upload_blob(
                    content,
                    overwrite=False,
                    validate_content="md5",
                    content_settings=settings,
                    standard_blob_tier=_TIERS[tier],
                )
            )

    def _put_blocks(
        self, blob: BlobClient, data: IO[bytes], size_bytes: int, settings: ContentSettings, tier: Tier
    ) -> bool:
        staged = _staged(blob)
        ids: list[str] = []
        total = 0
        with ThreadPoolExecutor(_BLOCKS_AT_ONCE) as workers:
            under_way: list[Future[Any]] = []
            try:
                while block := data.read(SMALL_BYTES):
                    total += len(block)
                    ids.append(_block_id(block))
                    if ids[-1] in staged:
                        continue
                    staged.add(ids[-1])
                    under_way.append(workers.submit(blob.stage_block, ids[-1], block, validate_content="md5"))
                    if len(under_way) > _BLOCKS_AT_ONCE:
                        under_way.pop(0).result()
                for one in under_way:
                    one.result()
            finally:
                workers.shutdown(cancel_futures=True)
        if total != size_bytes:
            raise PublishingError(f"{blob.blob_name} has {total:,} bytes, not {size_bytes:,}; nothing was written")
        return _is_new(
            lambda: blob.commit_block_list(
                [BlobBlock(one) for one in ids],
                content_settings=settings,
                standard_blob_tier=_TIERS[tier],
                match_condition=MatchConditions.IfMissing,
            )
        )

    def refresh(self, name: str) -> bool:
        with _told(self._place, name, PublishingError):
            try:
                self._blob(name).set_blob_metadata({})  # sets Last-Modified and ETag, and costs nothing else
            except ResourceNotFoundError as error:
                return _blob_is_missing(error)
        return True

    def remove(self, entry: Entry) -> bool:
        with _told(self._place, entry.name, PublishingError):
            try:
                self._blob(entry.name).delete_blob(
                    etag=entry.version, match_condition=MatchConditions.IfNotModified, delete_snapshots="include"
                )
            except ResourceModifiedError:
                return False
            except ResourceNotFoundError as error:
                return _blob_is_missing(error)
        return True

    # ---- reading ----

    def find(self, name: str) -> Entry | None:
        with _told(self._place, name, StorageError):
            try:
                found = self._blob(name).get_blob_properties()
            except ResourceNotFoundError as error:
                _blob_is_missing(error)
                return None
        return _entry(name, found)

    def read(self, name: str) -> Iterator[bytes] | None:
        with _told(self._place, name, StorageError):
            try:
                found = self._blob(name).download_blob(max_concurrency=1)
            except ResourceNotFoundError as error:
                _blob_is_missing(error)
                return None
        return self._blocks(name, found.chunks())

    def _blocks(self, name: str, chunks: Iterator[bytes]) -> Iterator[bytes]:
        with _told(self._place, name, StorageError):
            yield from chunks

    def names(self, prefix: str) -> Iterator[str]:
        with _told(self._place, prefix, StorageError):
            for full in self._container.list_blob_names(name_starts_with=self._prefix + prefix):
                name = full.removeprefix(self._prefix)
                if is_name(name):
                    yield name

    def entries(self, prefix: str) -> Iterator[Entry]:
        with _told(self._place, prefix, StorageError):
            for found in self._container.list_blobs(name_starts_with=self._prefix + prefix):
                name = found.name.removeprefix(self._prefix)
                if is_name(name):
                    yield _entry(name, found)

    def now(self) -> datetime:
        """By the Date of the service's last answer; this host's clock where there was none yet."""
        return self._clock.now()

    def close(self) -> None:
        self._container.close()
        self._transport.close()


class _Clock:
    """How far this host's clock is from the service's."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ahead = timedelta()

    def see(self, response: Any) -> None:
        said = response.http_response.headers.get("Date", "")
        try:
            there = parsedate_to_datetime(said)
        except ValueError:
            return
        with self._lock:
            self._ahead = datetime.now(UTC) - there

    def now(self) -> datetime:
        with self._lock:
            return datetime.now(UTC) - self._ahead


def _entry(name: str, found: Any) -> Entry:
    """The service quotes an ETag in a header, and does not in a listing."""
    etag = f'"{found.etag.strip(chr(34))}"'
    return Entry(name=name, size_bytes=found.size, modified=found.last_modified, version=etag)


def _block_id(block: bytes) -> str:
    return base64.b64encode(hashlib.sha256(block).digest()).decode()


def _staged(blob: BlobClient) -> set[str]:
    """Blocks that an earlier, unfinished put left with the service (which forgets them after a week)."""
    try:
        _, uncommitted = blob.get_block_list("uncommitted")
    except ResourceNotFoundError as error:
        _blob_is_missing(error)
        return set()
    return {block.id for block in uncommitted}


def _is_new(write: Callable[[], object]) -> bool:
    try:
        write()
    except ResourceExistsError as error:
        if _code(error) == "BlobAlreadyExists":
            return False
        raise  # 409 is said of much more
    except ResourceModifiedError:  # a block list says 412 where a blob says 409
        return False
    return True


def _blob_is_missing(error: ResourceNotFoundError) -> bool:
    """False; raises where it is not the blob that is missing but its container."""
    if _code(error) == "ContainerNotFound":
        raise error
    return False


@contextmanager
def _told(place: str, name: str, kind: type[LisaCiError]) -> Iterator[None]:
    """The SDK's errors as ours."""
    try:
        yield
    except AzureError as error:
        raise _as_ours(error, f"{place}: {name}", kind) from error
    except UnicodeDecodeError as error:
        raise DataError(f"{place}: {name}: the service's answer is not text") from error


def _as_ours(error: AzureError, where: str, kind: type[LisaCiError]) -> LisaCiError:
    status = error.status_code if isinstance(error, HttpResponseError) else None
    code = _code(error)
    said = _why(error)
    if code == "ContainerNotFound":
        return PipelineError(f"{where}: there is no such container", hint="create it first; archive creates none")
    if isinstance(error, ClientAuthenticationError) or status in _REFUSED:
        why = code or (f"status {status}" if status else said)
        hint = (
            "give the identity the role 'Storage Blob Data Contributor' ('... Reader' to read) on the container, "
            "or set AZURE_STORAGE_SAS_TOKEN; a new role takes minutes to count"
        )
        return kind(f"{where}: the service refused us: {why}", hint=hint)
    hint = "run it again: it goes on where it stopped" if kind is PublishingError else "try again"
    return kind(f"{where}: {f'{code}: ' if code else ''}{said}", hint=hint)


def _code(error: AzureError) -> str:
    """The service's own word for it; '' where it said none. The SDK gives words that it knows as an enum."""
    said = getattr(error, "error_code", None)
    return str(getattr(said, "value", said) or "")


def _why(error: AzureError) -> str:
    """The first line of what was said, without the query of any URL in it: a signature is in there.

    What the system said of a connection that failed is enough by itself.
    """
    lines = str(error.message or error).strip().splitlines() or [type(error).__name__]
    said = _QUERY.sub("", lines[0])
    found = _SYSTEM.search(said)
    return scrub_text(found[1] if found else said)[:300]
