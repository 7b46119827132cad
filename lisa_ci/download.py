"""One file from the network into a cache folder: only what has the expected SHA-256 ever gets its final name.

https anywhere, http only to this host itself; a redirect must obey the same. Size and time are bounded.
"""

from __future__ import annotations

import hashlib
import http.client
import ipaddress
import os
import re
import shutil
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from datetime import timedelta
from http.client import HTTPMessage
from pathlib import Path
from typing import IO, Final
from urllib.parse import unquote, urlsplit

from lisa_ci.errors import LisaCiError, PipelineError, ProvisioningError
from lisa_ci.events import Emit, StageAdvanced, StageEnded, StageStarted

MAX_BYTES: Final = 256 << 30
TIMEOUT: Final = timedelta(hours=1)
_SILENCE_SECONDS: Final = 30.0
_BLOCK: Final = 1 << 20
_STEP_BYTES: Final = 16 << 20
_SPARE_BYTES: Final = 256 << 20
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


def file_name(url: str) -> str:
    """The last part of the URL's path, reduced to harmless characters; '' where there is none."""
    name = unquote(urlsplit(url).path.rsplit("/", 1)[-1])
    return re.sub(r"[^A-Za-z0-9._+-]", "_", name).lstrip(".")[:120]


def problem(url: str) -> str:
    """Why this URL is not fetched; '' when it may be."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        return f"it is not a URL ({error})"
    if re.search(r"[\x00-\x20\x7f]", url) or not parts.hostname or port == 0:
        return "it is not a URL"
    if parts.username is not None or parts.password is not None:
        return "it carries a user name or password, which would end up in logs"
    if parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(parts.hostname)):
        return ""
    return "only https is fetched (http only from this host itself)"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def fetch(
    url: str,
    sha256: str,
    folder: Path,
    emit: Emit,
    *,
    what: str = "image",
    limit: int = MAX_BYTES,
    timeout: timedelta = TIMEOUT,
) -> Path:
    """The file with this SHA-256 (lower case hex), from ``folder`` where it is there already, else downloaded.

    ``what`` names it in events and messages.

    A file in the cache is hashed again before it is used. PipelineError for a wrong URL or wrong bytes,
    ProvisioningError for a network that fails.
    """
    if not _SHA256.fullmatch(sha256):
        raise PipelineError(f"'{sha256}' is not a sha256", hint="64 hexadecimal digits")
    if why := problem(url):
        raise PipelineError(f"the {what} cannot be fetched from '{url}': {why}")
    target = folder / sha256
    if target.is_file() and not target.is_symlink() and _sha256_of(target) == sha256:
        return target
    started = time.monotonic()
    error = ""

    def advance(done: int) -> None:
        emit(StageAdvanced(place=what, stage="download", done=done))

    emit(StageStarted(place=what, stage="download"))
    try:
        _download(url, sha256, target, advance, limit=limit, deadline=started + timeout.total_seconds())
    except LisaCiError as cause:
        error = cause.message
        raise
    finally:
        wall = timedelta(seconds=time.monotonic() - started)
        emit(StageEnded(place=what, stage="download", wall=wall, error=error))
    return target


def _sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> urllib.request.Request | None:
        if why := problem(newurl):
            raise PipelineError(f"'{req.full_url}' sends us on to '{newurl}': {why}")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _download(
    url: str, sha256: str, target: Path, advance: Callable[[int], None], *, limit: int, deadline: float
) -> None:
    """Stream into a hidden file beside the target; it gets the target's name only when the digest is right."""
    opener = urllib.request.build_opener(_SafeRedirects)
    request = urllib.request.Request(url, headers={"User-Agent": "lisa-ci", "Accept-Encoding": "identity"})  # noqa: S310 - problem() allows https and loopback only
    descriptor, name = -1, ""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with opener.open(request, timeout=_SILENCE_SECONDS) as response:
            _refuse_what_does_not_fit(url, response.headers, target.parent, limit)
            descriptor, name = tempfile.mkstemp(prefix=".download-", dir=target.parent)
            with os.fdopen(descriptor, "wb") as file:
                found = _copy(response, file, url, advance, limit=limit, deadline=deadline)
                file.flush()
                os.fsync(file.fileno())
        if found != sha256:
            raise PipelineError(
                f"what '{url}' gave has the sha256 {found}, not {sha256}",
                hint="the file there changed, or the pipeline names another one; correct 'sha256:' only after looking",
            )
        Path(name).replace(target)
        name = ""
    except urllib.error.HTTPError as error:
        raise ProvisioningError(f"'{url}' answered {error.code} {error.reason}") from error
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise ProvisioningError(
            f"cannot fetch '{url}': {reason}", hint="is the network up? a retry may help"
        ) from error
    finally:
        if name:
            Path(name).unlink(missing_ok=True)


def _refuse_what_does_not_fit(url: str, headers: Mapping[str, str], folder: Path, limit: int) -> None:
    said = headers.get("Content-Length") or ""
    length = int(said) if said.isascii() and said.isdigit() and len(said) < 20 else 0
    if length > limit:
        raise PipelineError(f"'{url}' has {length} bytes, the limit is {limit}")
    free = shutil.disk_usage(folder).free
    if length + _SPARE_BYTES > free:
        raise ProvisioningError(f"'{url}' has {length} bytes, {folder} has only {free} bytes free")


def _copy(
    response: IO[bytes], file: IO[bytes], url: str, advance: Callable[[int], None], *, limit: int, deadline: float
) -> str:
    """Copy to the end; the SHA-256 of what came."""
    digest, done, announced = hashlib.sha256(), 0, 0
    while block := response.read(_BLOCK):
        done += len(block)
        if done > limit:
            raise PipelineError(f"'{url}' has more than {limit} bytes")
        if time.monotonic() > deadline:
            raise ProvisioningError(f"'{url}' did not come in time", hint="a retry may help")
        digest.update(block)
        file.write(block)
        if done - announced >= _STEP_BYTES:
            announced = done
            advance(done)
    return digest.hexdigest()
