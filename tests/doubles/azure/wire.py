"""Requests and answers between the SDK and the doubles, with or without a network."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import requests
from azure.core.pipeline.transport import RequestsTransport
from requests.adapters import BaseAdapter
from urllib3 import HTTPResponse


@dataclass(frozen=True, kw_only=True)
class Request:
    """``path`` is as sent; ``base`` is ``https://HOST:PORT``."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes = b""
    base: str = "https://management.azure.com"

    def json(self) -> Any:
        return json.loads(self.body) if self.body else None


@dataclass(frozen=True, kw_only=True)
class Answer:
    status: int
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def content(self) -> bytes:
        if self.body is None:
            return b""
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


class CutError(Exception):
    """The connection breaks here: before the request was read, or after it was done."""


Serve = Callable[[Request], Answer]


def request_of(method: str, url: str, headers: Mapping[str, str], body: bytes, base: str = "") -> Request:
    parts = urlsplit(url)
    return Request(
        method=method,
        path=re.sub(r"/{2,}", "/", parts.path),
        query=dict(parse_qsl(parts.query)),
        headers={key.lower(): value for key, value in headers.items()},
        body=body,
        base=base or f"{parts.scheme}://{parts.netloc}",
    )


class InProcess(BaseAdapter):
    """Answers for requests' sessions, without a socket."""

    def __init__(self, serve: Serve) -> None:
        super().__init__()
        self._serve = serve

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        body: Any = request.body or b""
        body = body.read() if hasattr(body, "read") else body
        asked = request_of(
            str(request.method),
            str(request.url),
            dict(request.headers),
            body.encode() if isinstance(body, str) else body,
        )
        try:
            answer = self._serve(asked)
        except CutError as error:
            raise requests.ConnectionError("Connection aborted.", ConnectionResetError(104, str(error))) from error
        content = answer.content()
        headers = {"Content-Type": "application/json; charset=utf-8", **answer.headers}
        response = requests.Response()
        response.status_code = answer.status
        response.headers.update(headers)
        response.url = str(request.url)
        response.request = request
        response.raw = HTTPResponse(
            body=io.BytesIO(content),
            status=answer.status,
            headers=headers,
            preload_content=False,
            request_method=request.method,
        )
        return response

    def close(self) -> None:
        pass


class InProcessTransport(RequestsTransport):
    """The SDK's own transport, without a network, and with a clock of the test."""

    def __init__(self, serve: Serve, sleep: Callable[[float], None]) -> None:
        session = requests.Session()
        session.mount("https://", InProcess(serve))
        session.trust_env = False
        super().__init__(session=session, session_owner=False)
        self._pause = sleep

    def sleep(self, duration: float) -> None:
        self._pause(duration)
