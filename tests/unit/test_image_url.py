from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lisa_ci import download
from lisa_ci.errors import PipelineError
from tests.doubles.release import silent


@pytest.mark.parametrize(
    "url",
    [
        "https://example.org/a.img",
        "https://[2001:db8::1]/a",
        "http://127.0.0.1:8080/a",
        "http://[::1]/a",
        "http://localhost/a",
    ],
)
def test_https_is_fetched_and_http_only_from_this_host(url: str) -> None:
    assert download.problem(url) == ""


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org/a",
        "http://127.0.0.1.example.org/a",
        "http://0x7f.1/a",
        "ftp://example.org/a",
        "file:///etc/passwd",
        "https:///a",
        "https://u:p@example.org/a",
        "https://example.org:port/a",
        "https://example.org/a b",
        "https://example.org/a\r\nX: y",
        "https://[::1/a",
        "nothing",
        "",
    ],
)
def test_every_other_url_is_refused_before_a_connection_is_opened(tmp_path: Path, url: str) -> None:
    with pytest.raises(PipelineError, match="cannot be fetched"):
        download.fetch(url, "0" * 64, tmp_path, silent)


@given(st.text(max_size=60))
def test_no_url_gives_a_traceback(text: str) -> None:
    assert download.problem(f"ftp://{text}") != ""
    assert "/" not in download.file_name(f"https://h/{text}")


@pytest.mark.parametrize("sha256", ["", "x" * 64, "A" * 64, "0" * 63, "../../../../etc/passwd"])
def test_what_is_no_sha256_is_refused(tmp_path: Path, sha256: str) -> None:
    with pytest.raises(PipelineError, match="is not a sha256"):
        download.fetch("https://example.org/a", sha256, tmp_path, silent)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://example.org/a/disk.qcow2?x=/y", "disk.qcow2"),
        ("https://example.org/%2e%2e%2fetc", "_etc"),
        ("https://example.org/", ""),
        ("https://example.org/..", ""),
        ("https://example.org/a%00b", "a_b"),
    ],
)
def test_the_name_of_an_image_holds_only_harmless_characters(url: str, name: str) -> None:
    assert download.file_name(url) == name
