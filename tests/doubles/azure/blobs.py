"""Page blobs in memory, on a clock of the test: what a leg and a sweep ask of Azure Blob Storage, and nothing else.

For runs that need no socket and whose time only waiting moves. Everything else uses Azurite, and this one answers as
it does (tests/contract/test_page_blobs.py).
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any, Final
from urllib.parse import unquote
from xml.sax.saxutils import escape

from tests.doubles.azure.wire import Answer, Request

PAGE: Final = 512
_META: Final = "x-ms-meta-"


@dataclass
class PageBlob:
    """``leased_until`` is by the clock; ``lease`` the last lease's id, '' where it was given back."""

    size: int
    metadata: dict[str, str]
    etag: str
    pages: dict[int, bytes] = field(default_factory=dict)
    lease: str = ""
    leased_until: float = 0.0
    duration: float = 0.0


class Refused(Exception):
    def __init__(self, status: int, code: str) -> None:
        super().__init__(code)
        body = f'<?xml version="1.0" encoding="utf-8"?><Error><Code>{code}</Code><Message>{code}</Message></Error>'
        headers = {"x-ms-error-code": code, "Content-Type": "application/xml"}
        self.answer = Answer(status=status, body=body.encode(), headers=headers)


@dataclass
class Blobs:
    """One account with any number of containers. ``blobs`` by CONTAINER/NAME; ``ever``: all metadata that one had."""

    now: Callable[[], float]
    containers: set[str] = field(default_factory=set)
    blobs: dict[str, PageBlob] = field(default_factory=dict)
    ever: list[tuple[str, Mapping[str, str]]] = field(default_factory=list)
    _versions: Any = field(default_factory=lambda: itertools.count(0x8DE000000000000))

    def serve(self, request: Request) -> Answer:
        try:
            return self._served(request)
        except Refused as refused:
            if request.method == "HEAD":
                return Answer(status=refused.answer.status, headers=refused.answer.headers)
            return refused.answer

    def _served(self, request: Request) -> Answer:
        container, _, name = unquote(request.path).lstrip("/").partition("/")
        if container not in self.containers:
            raise Refused(404, "ContainerNotFound")
        key, comp = f"{container}/{name}", request.query.get("comp", "")
        if not name and (request.method, comp) == ("GET", "list"):
            return self._list(container, request)
        if (request.method, comp) == ("PUT", ""):
            return self._put(key, request)
        blob = self.blobs.get(key)
        if blob is None:
            raise Refused(404, "BlobNotFound")
        match request.method, comp:
            case "PUT", "page":
                return self._page(blob, request)
            case "PUT", "metadata":
                return self._metadata(key, blob, request)
            case "PUT", "lease":
                return self._lease(blob, request)
            case "HEAD", "":
                return self._head(blob)
            case "DELETE", "":
                self._check(blob, request)
                del self.blobs[key]
                return Answer(status=202)
        raise Refused(400, "InvalidUri")

    # ---- blobs -----------------------------------------------------------------------------------------------------

    def put(self, key: str, size: int, metadata: Mapping[str, str], *, lease_seconds: float = 0) -> PageBlob:
        """As if somebody had made it, and has it leased for that time."""
        blob = PageBlob(size=size, metadata=dict(metadata), etag=self._version())
        if lease_seconds:
            blob.lease, blob.leased_until = "another", self.now() + lease_seconds
        self.blobs[key] = blob
        return blob

    def _put(self, key: str, request: Request) -> Answer:
        known = self.blobs.get(key)
        if known is not None and request.headers.get("if-none-match") == "*":
            raise Refused(409, "BlobAlreadyExists")
        if known is not None:
            self._check(known, request)
        size = int(request.headers["x-ms-blob-content-length"])
        if request.headers.get("x-ms-blob-type") != "PageBlob" or size % PAGE:
            raise Refused(400, "InvalidHeaderValue")
        made = self.put(key, size, _metadata(request))
        if known is not None:
            made.lease, made.leased_until, made.duration = known.lease, known.leased_until, known.duration
        self.ever.append((key, deepcopy(made.metadata)))
        return Answer(status=201, headers=self._headers(made))

    def _page(self, blob: PageBlob, request: Request) -> Answer:
        self._check(blob, request)
        found = re.fullmatch(r"bytes=(\d+)-(\d+)", request.headers.get("x-ms-range") or request.headers["range"])
        assert found is not None
        first, last = int(found[1]), int(found[2])
        if first % PAGE or (last + 1) % PAGE or last - first + 1 != len(request.body):
            raise Refused(400, "InvalidHeaderValue")
        if last >= blob.size:
            raise Refused(416, "InvalidPageRange")
        blob.pages |= {at: request.body[at - first : at - first + PAGE] for at in range(first, last + 1, PAGE)}
        blob.etag = self._version()
        return Answer(status=201, headers=self._headers(blob))

    def _metadata(self, key: str, blob: PageBlob, request: Request) -> Answer:
        self._check(blob, request)
        blob.metadata, blob.etag = _metadata(request), self._version()
        self.ever.append((key, deepcopy(blob.metadata)))
        return Answer(status=200, headers=self._headers(blob))

    def _head(self, blob: PageBlob) -> Answer:
        told = {f"{_META}{key}": value for key, value in blob.metadata.items()}
        told |= {"x-ms-blob-type": "PageBlob", "Content-Length": str(blob.size)}
        return Answer(status=200, headers={**self._headers(blob), **told})

    def _list(self, container: str, request: Request) -> Answer:
        prefix = f"{container}/{request.query.get('prefix', '')}"
        rows = "".join(
            f"<Blob><Name>{escape(key.partition('/')[2])}</Name><Properties><Etag>{blob.etag.strip(chr(34))}</Etag>"
            f"<Content-Length>{blob.size}</Content-Length><BlobType>PageBlob</BlobType></Properties>"
            f"<Metadata>{''.join(f'<{k}>{escape(v)}</{k}>' for k, v in blob.metadata.items())}</Metadata></Blob>"
            for key, blob in sorted(self.blobs.items())
            if key.startswith(prefix)
        )
        body = f'<?xml version="1.0" encoding="utf-8"?><EnumerationResults><Blobs>{rows}</Blobs><NextMarker/>'
        return Answer(
            status=200, body=f"{body}</EnumerationResults>".encode(), headers={"Content-Type": "application/xml"}
        )

    # ---- conditions and leases -------------------------------------------------------------------------------------

    def _is_leased(self, blob: PageBlob) -> bool:
        return bool(blob.lease) and self.now() < blob.leased_until

    def _check(self, blob: PageBlob, request: Request) -> None:
        """A write: by whoever holds the lease, and to the version that was meant."""
        given = request.headers.get("x-ms-lease-id", "")
        if self._is_leased(blob) and not given:
            raise Refused(412, "LeaseIdMissing")
        if self._is_leased(blob) and given != blob.lease:
            raise Refused(412, "LeaseIdMismatchWithBlobOperation")
        if given and not self._is_leased(blob):
            raise Refused(412, "LeaseLost" if given == blob.lease else "LeaseNotPresentWithBlobOperation")
        if request.headers.get("if-match") not in {None, "*", blob.etag}:
            raise Refused(412, "ConditionNotMet")

    def _lease(self, blob: PageBlob, request: Request) -> Answer:
        given = request.headers.get("x-ms-lease-id", "")
        match request.headers["x-ms-lease-action"]:
            case "acquire":
                proposed = request.headers["x-ms-proposed-lease-id"]
                if self._is_leased(blob) and proposed != blob.lease:
                    raise Refused(409, "LeaseAlreadyPresent")
                blob.lease, blob.duration = proposed, float(request.headers["x-ms-lease-duration"])
            case _ if given != blob.lease:
                raise Refused(409, "LeaseIdMismatchWithLeaseOperation")
            case "release":
                blob.lease, blob.duration = "", 0.0
                return Answer(status=200, headers=self._headers(blob))
            case action:
                assert action == "renew", action
        blob.leased_until = self.now() + blob.duration
        status = 201 if request.headers["x-ms-lease-action"] == "acquire" else 200
        return Answer(status=status, headers={**self._headers(blob), "x-ms-lease-id": blob.lease})

    def _version(self) -> str:
        return f'"0x{next(self._versions):X}"'

    def _headers(self, blob: PageBlob) -> dict[str, str]:
        then = format_datetime(datetime.fromtimestamp(self.now(), UTC), usegmt=True)
        return {"ETag": blob.etag, "Last-Modified": then, "Date": then}


def _metadata(request: Request) -> dict[str, str]:
    return {key.removeprefix(_META): value for key, value in request.headers.items() if key.startswith(_META)}
