"""A local disk into a page blob, as the fixed VHD that Azure takes: streamed, and only what the disk holds.

The blob, or the managed disk that waits for its upload, reads as zeros where nothing was written, so holes and runs of
zeros are never sent, and no VHD is ever made on this host: its footer is the last page written. Rules and limits:
https://learn.microsoft.com/rest/api/storageservices/put-page
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import requests
from azure.core.exceptions import AzureError, HttpResponseError
from azure.core.pipeline.transport import RequestsTransport
from azure.storage.blob import BlobClient, ExponentialRetry
from requests.adapters import HTTPAdapter

from lisa_ci import image, sparse, vhd
from lisa_ci.errors import ProvisioningError
from lisa_ci.events import Emit, StageAdvanced
from lisa_ci.model import Image, Secret
from lisa_ci.scrub import scrub_text

API_VERSION: Final = "2025-11-05"  # the service keeps old ones; Azurite 3.35 knows no newer one
PAGE_BYTES: Final = 512
MOST_BYTES: Final = 4 << 20  # of one request
GRAIN_BYTES: Final = 64 << 10  # zeros of this size and alignment are left out
AT_ONCE: Final = 8
_RETRIES: Final = 6  # as the clients of the API have
_CONNECT, _READ = timedelta(seconds=20), timedelta(seconds=120)
_PLACE: Final = "image"
STAGE: Final = "upload"
_ZERO_GRAIN: Final = bytes(GRAIN_BYTES)

Block = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True, kw_only=True)
class Uploaded:
    """What was sent. ``sent_bytes`` are of pages, the footer's included; ``digest`` (SHA-256, hex) is over offset and
    content of every request in order, so that two uploads of one disk have the same.
    """

    sent_bytes: int
    requests: int
    blob_bytes: int
    wall: timedelta
    digest: str


def blob_size(subject: Image) -> int:
    """Bytes of the blob, which is also what a managed disk is created for: the disk and its footer."""
    return subject.size_bytes + vhd.FOOTER_BYTES


def upload_vhd(subject: Image, path: Path, url: Secret, emit: Emit, *, creates: bool = False) -> Uploaded:
    """Write the disk in ``path`` to the page blob at ``url`` (with its SAS), which must be empty.

    ``creates``: the blob is made first; a managed disk's is there already. Sent again, the same pages give the same
    blob. ProvisioningError, which never shows the SAS; also where the image changed meanwhile.
    """
    check_size(subject)
    with _client(url) as blob, image.stage(emit, STAGE, subject.size_bytes):
        try:
            if creates:
                blob.create_page_blob(size=blob_size(subject))
            return send_vhd(blob, subject, path, emit)
        except AzureError as error:
            raise _as_ours(error) from error


def check_size(subject: Image) -> None:
    """ProvisioningError for a disk that Azure does not take."""
    if subject.size_bytes % vhd.MIB or vhd.is_too_small_for_azure(subject.size_bytes):
        raise ProvisioningError(
            f"a disk of {subject.size_bytes} bytes is none for Azure",
            hint=f"it takes whole MiB, at least {vhd.AZURE_LEAST_BYTES >> 20} of them",
        )


def send_vhd(blob: BlobClient, subject: Image, path: Path, emit: Emit, **options: Any) -> Uploaded:
    """Write the disk into ``blob``, which is there and empty. ``options`` go with each request: ``lease``.

    ProvisioningError where the image changed meanwhile; AzureError as it comes.
    """
    began, before = time.monotonic(), _state(path)
    sender = _Sender(blob, emit, options)
    size = image.virtual_size(path, subject.format)
    sender.send(pieces(image.data_blocks(path, subject.format, size)))
    if _state(path) != before:
        raise ProvisioningError(f"image {path} was changed while it was uploaded", hint="plan and run again")
    footer = vhd.footer_for(subject.size_bytes, unique_id=vhd.id_from_digest(subject.disk_digest))
    sender.send([(subject.size_bytes, footer.pack())])  # last: a blob without it is no disk
    return Uploaded(
        sent_bytes=sender.sent_bytes,
        requests=sender.requests,
        blob_bytes=blob_size(subject),
        wall=timedelta(seconds=time.monotonic() - began),
        digest=sender.digest.hexdigest(),
    )


def pieces(blocks: Iterable[tuple[int, Block]]) -> Iterator[tuple[int, bytes]]:
    """(offset, content) of each request: whole pages in order, at most MOST_BYTES, without the grains of zeros.

    ``blocks`` come in order and do not overlap; a last page that is not whole is filled with zeros.
    """
    start, held = 0, bytearray()
    for offset, grain in _grains(blocks):
        if held and (offset != start + len(held) or len(held) + len(grain) > MOST_BYTES):
            yield start, _whole(held)
            held = bytearray()
        if not held:
            start = offset
        held += grain
    if held:
        yield start, _whole(held)


def _grains(blocks: Iterable[tuple[int, Block]]) -> Iterator[tuple[int, Block]]:
    """Cut where a grain ends on the disk; those that hold nothing are left out."""
    for offset, block in blocks:
        if sparse.is_zeros(block):
            continue
        view = memoryview(block)
        at = 0
        while at < len(view):
            length = min(GRAIN_BYTES - (offset + at) % GRAIN_BYTES, len(view) - at)
            grain = view[at : at + length]
            if grain != _ZERO_GRAIN[:length]:
                yield offset + at, grain
            at += length


def _whole(held: bytearray) -> bytes:
    return bytes(held) + bytes(-len(held) % PAGE_BYTES)


class _Sender:
    """Several requests under way at a time, so many and no more: the memory that they hold is bounded."""

    def __init__(self, blob: BlobClient, emit: Emit, options: Mapping[str, Any]) -> None:
        self._blob = blob
        self._options = options
        self._emit = emit
        self.sent_bytes = 0
        self.requests = 0
        self.digest = hashlib.sha256()

    def send(self, what: Iterable[tuple[int, bytes]]) -> None:
        """All of it is there when this returns. AzureError of the first request that failed for good."""
        under_way: set[Future[None]] = set()
        announced = self.sent_bytes
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="lisa-ci-upload") as workers:
            try:
                for offset, content in what:
                    self.digest.update(offset.to_bytes(8, "big"))
                    self.digest.update(content)
                    under_way.add(workers.submit(self._put, offset, content))
                    self.sent_bytes += len(content)
                    self.requests += 1
                    if len(under_way) > AT_ONCE:
                        under_way = _drained(under_way)
                    if self.sent_bytes - announced >= 16 * MOST_BYTES:
                        announced = self.sent_bytes
                        self._emit(StageAdvanced(place=_PLACE, stage=STAGE, done=offset))
                while under_way:
                    under_way = _drained(under_way)
            finally:
                workers.shutdown(cancel_futures=True)

    def _put(self, offset: int, content: bytes) -> None:
        self._blob.upload_page(content, offset=offset, length=len(content), validate_content="md5", **self._options)


def _drained(under_way: set[Future[None]]) -> set[Future[None]]:
    """Those that are still under way when at least one has ended; raises what it raised."""
    done, left = wait(under_way, return_when=FIRST_COMPLETED)
    for one in done:
        one.result()
    return left


def _client(url: Secret) -> BlobClient:
    return BlobClient.from_blob_url(url.reveal(), **blob_options())


def blob_options() -> dict[str, Any]:
    """What every client of blobs here is made with: connections, patience, the version of the API."""
    session = requests.Session()
    adapter = HTTPAdapter(pool_connections=1, pool_maxsize=AT_ONCE, max_retries=0)
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    return {
        "api_version": API_VERSION,
        "transport": RequestsTransport(
            session=session,
            session_owner=True,
            connection_timeout=_CONNECT.total_seconds(),
            read_timeout=_READ.total_seconds(),
        ),
        "retry_policy": ExponentialRetry(initial_backoff=1, increment_base=2, retry_total=_RETRIES),
    }


def _state(path: Path) -> tuple[int, ...]:
    try:
        found = path.stat()
    except OSError as error:
        raise ProvisioningError(f"image {path} cannot be read: {error.strerror}") from error
    return found.st_ino, found.st_size, found.st_mtime_ns


def code_of(error: AzureError) -> str:
    """The service's own word for it; '' where it said none. The SDK gives words that it knows as an enum."""
    said = getattr(error, "error_code", None)
    return str(getattr(said, "value", said) or "")


def reason(error: AzureError) -> str:
    """Code or first line of what was said, never with a signature in it."""
    said = (str(error.message or error).strip().splitlines() or [type(error).__name__])[0].partition("?")[0]
    return code_of(error) or scrub_text(said)[:300]


def _as_ours(error: AzureError) -> ProvisioningError:
    status = error.status_code if isinstance(error, HttpResponseError) else None
    hint = "the link to the disk has run out, or is of another disk" if status == 403 else "a new attempt may help"
    return ProvisioningError(f"the disk could not be uploaded: {reason(error)}", hint=hint)
