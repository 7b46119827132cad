"""Images from a server on the loopback interface: good, lying, endless, slow, and one that sends us elsewhere."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from lisa_ci import download, image
from lisa_ci.errors import LisaCiError, PipelineError, ProvisioningError
from lisa_ci.events import Event, StageEnded
from lisa_ci.model import ImageFormat, ImageSource
from tests.doubles.release import silent

DISK = b"disk" * 100_000
SHA256 = hashlib.sha256(DISK).hexdigest()


class Handler(BaseHTTPRequestHandler):
    requests: list[str]

    def do_GET(self) -> None:
        type(self).requests.append(self.path)
        match self.path:
            case "/disk.img":
                self.answer(200, DISK)
            case "/other.img":
                self.answer(200, b"other")
            case "/short.img":
                self.send_response(200)
                self.send_header("Content-Length", str(len(DISK)))
                self.end_headers()
                self.wfile.write(DISK[:1000])
            case "/huge.img":
                self.send_response(200)
                self.send_header("Content-Length", str(1 << 60))
                self.end_headers()
            case "/endless.img":
                self.send_response(200)
                self.end_headers()
                for _ in range(200):
                    self.wfile.write(bytes(1 << 16))
            case "/away.img":
                self.redirect("http://192.0.2.1/disk.img")
            case "/file.img":
                self.redirect("file:///etc/passwd")
            case "/near.img":
                self.redirect("/disk.img")
            case _:
                self.answer(404, b"")

    def answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def redirect(self, to: str) -> None:
        self.send_response(302)
        self.send_header("Location", to)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_arguments: object) -> None:
        """Quiet."""


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("LISA_CI_CACHE", str(tmp_path / "cache"))
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    Handler.requests = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever, args=(0.02,))
        thread.start()
        yield f"http://127.0.0.1:{listening.server_address[1]}"
        listening.shutdown()
        thread.join()


def fetch(url: str, folder: Path, sha256: str = SHA256, **options: object) -> Path:
    return download.fetch(url, sha256, folder, silent, **options)  # type: ignore[arg-type]


def test_an_image_is_fetched_once_and_hashed_again_before_each_use(server: str, tmp_path: Path) -> None:
    source = ImageSource(url=f"{server}/disk.img", sha256=SHA256)
    found = image.resolve(source, tmp_path)
    assert (found.path, found.url, found.sha256, found.format) == ("disk.img", source.url, SHA256, ImageFormat.RAW)
    path = image.local_path(found)
    assert path.read_bytes() == DISK
    assert Handler.requests == ["/disk.img"]
    path.write_bytes(b"spoilt")
    assert image.local_path(found).read_bytes() == DISK
    assert Handler.requests == ["/disk.img"] * 2


def test_a_redirect_to_the_same_host_is_followed(server: str, tmp_path: Path) -> None:
    assert fetch(f"{server}/near.img", tmp_path).read_bytes() == DISK


@pytest.mark.parametrize(
    ("name", "kind", "told"),
    [
        ("other.img", PipelineError, "has the sha256"),
        ("huge.img", PipelineError, "the limit is"),
        ("away.img", PipelineError, "only https is fetched"),
        ("file.img", ProvisioningError, "is not allowed"),
        ("none.img", ProvisioningError, "answered 404"),
        ("short.img", LisaCiError, r"has the sha256|cannot fetch"),
    ],
)
def test_what_is_wrong_is_told_and_nothing_stays_in_the_cache(
    server: str, tmp_path: Path, name: str, kind: type[LisaCiError], told: str
) -> None:
    with pytest.raises(kind, match=told):
        fetch(f"{server}/{name}", tmp_path / "images")
    assert not list((tmp_path / "images").iterdir())


def test_an_endless_answer_is_cut_off(server: str, tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match="has more than 1048576 bytes"):
        fetch(f"{server}/endless.img", tmp_path / "images", limit=1 << 20)
    with pytest.raises(ProvisioningError, match="did not come in time"):
        fetch(f"{server}/endless.img", tmp_path / "images", timeout=timedelta())
    assert not list((tmp_path / "images").iterdir())


def test_a_server_that_is_not_there_is_infrastructure_and_ends_the_stage(tmp_path: Path) -> None:
    told: list[Event] = []
    with pytest.raises(ProvisioningError, match="cannot fetch"):
        download.fetch("http://127.0.0.1:1/disk.img", SHA256, tmp_path, told.append)
    assert isinstance(told[-1], StageEnded)
    assert "cannot fetch" in told[-1].error


def test_a_link_in_place_of_the_cached_file_is_not_followed(server: str, tmp_path: Path) -> None:
    (tmp_path / "theirs").write_bytes(DISK)
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / SHA256).symlink_to(tmp_path / "theirs")
    fetch(f"{server}/disk.img", tmp_path / "images")
    assert not (tmp_path / "images" / SHA256).is_symlink()
