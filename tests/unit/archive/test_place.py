"""What may be called an archive's place, and which secret goes where."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from lisa_ci.archive import place
from lisa_ci.archive.place import parse
from lisa_ci.blobs import Container
from lisa_ci.errors import PipelineError

URL = "https://acc.blob.core.windows.net/logs"


@pytest.mark.parametrize("text", ["archive", "/srv/archive", "./a:b", "C:"])
def test_what_is_no_url_is_a_folder(text: str) -> None:
    assert parse(text) == Path(text)


def test_a_container_with_a_prefix() -> None:
    assert parse(f"{URL}/lisa/Nightly/") == Container(
        account="acc",
        account_url="https://acc.blob.core.windows.net",
        container="logs",
        prefix="lisa/Nightly/",
    )


def test_an_emulator_has_its_account_in_the_path() -> None:
    found = parse("http://127.0.0.1:10000/devstoreaccount1/logs")
    assert isinstance(found, Container)
    assert (found.account, found.url) == ("devstoreaccount1", "http://127.0.0.1:10000/devstoreaccount1/logs")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("http://acc.blob.core.windows.net/logs", "not an archive's place"),
        ("ftp://127.0.0.1/a/logs", "not an archive's place"),
        ("https://acc.blob.core.windows.net", "names no container"),
        ("https://acc.blob.core.windows.net/Logs", "not a container's name"),
        ("https://acc.blob.core.windows.net/lo--gs", "not a container's name"),
        (f"{URL}/../x", r"'\.\.' cannot be part of a prefix"),
        (f"{URL}/a%2fb", "cannot be part of a prefix"),
        ("https://[::1/logs", "not an archive's place"),
        ("https://acc.blob.core.windows.net:0/logs", "not an archive's place"),
        ("http://127.0.0.1:1/devstoreaccount1", "names no container"),
        ("http://127.0.0.1.example.com/a/logs", "not an archive's place"),
        ("https://acc.blob.core.windows.net/lo gs", "not an archive's place"),
    ],
)
def test_other_urls_are_refused(text: str, why: str) -> None:
    with pytest.raises(PipelineError, match=why):
        parse(text)


@pytest.mark.parametrize(
    "text", [f"{URL}?sv=2025&sig=abcdefSECRET", "https://me:SECRET@acc.blob.core.windows.net/logs"]
)
def test_a_secret_in_the_url_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(PipelineError) as caught:
        parse(text)
    assert "SECRET" not in caught.value.message + caught.value.hint


class Azure:
    """What place asks of azure_store, without the SDK."""

    @staticmethod
    def sas(token: object) -> tuple[str, str]:
        return "sas", token.reveal()  # type: ignore[attr-defined, no-any-return]

    @staticmethod
    def account_key(account: str, key: object) -> tuple[str, str, str]:
        return "key", account, key.reveal()  # type: ignore[attr-defined, no-any-return]

    @staticmethod
    def identity() -> str:
        return "identity"


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, "identity"),
        ({"AZURE_STORAGE_SAS_TOKEN": "sig=1"}, ("sas", "sig=1")),
        ({"AZURE_STORAGE_KEY": "a2V5"}, ("key", "acc", "a2V5")),
        ({"AZURE_STORAGE_CONNECTION_STRING": "AccountName=acc;AccountKey=a2V5=="}, ("key", "acc", "a2V5==")),
        (
            {
                "AZURE_STORAGE_CONNECTION_STRING": "BlobEndpoint=https://acc.blob.core.windows.net/;"
                "SharedAccessSignature=sv=1&sig=2"
            },
            ("sas", "sv=1&sig=2"),
        ),
    ],
)
def test_the_environment_decides_who_we_are(environment: Mapping[str, str], expected: object) -> None:
    container = parse(URL)
    assert isinstance(container, Container)
    assert place._credential(Azure, container, environment) == expected


def test_a_key_goes_to_its_own_account_only() -> None:
    container = parse(URL)
    assert isinstance(container, Container)
    environment = {"AZURE_STORAGE_CONNECTION_STRING": "AccountName=other;AccountKey=c2VjcmV0"}
    with pytest.raises(PipelineError, match="not for the account") as caught:
        place._credential(Azure, container, environment)
    assert "c2VjcmV0" not in str(caught.value.problems[0])


def test_a_connection_string_without_a_secret_is_told() -> None:
    container = parse(URL)
    assert isinstance(container, Container)
    with pytest.raises(PipelineError, match="neither a key nor a signature"):
        place._credential(Azure, container, {"AZURE_STORAGE_CONNECTION_STRING": "AccountName=acc"})
