"""Wherever an archive lies, its store keeps these promises."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest

from lisa_ci.archive.place import opened
from lisa_ci.archive.store import Entry, Store, Tier
from lisa_ci.errors import PublishingError
from tests.doubles.azurite import Azurite, azurite

LARGE = os.urandom(9 << 20)


@pytest.fixture(scope="module")
def emulator() -> Iterator[Azurite]:
    with azurite() as running:
        yield running


@pytest.fixture(params=["folder", "azurite", "azurite-prefix"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    environment = {}
    place = str(tmp_path / "archive")
    if request.param != "folder":
        emulator = request.getfixturevalue("emulator")
        environment = {"AZURE_STORAGE_CONNECTION_STRING": emulator.connection_string}
        place = f"{emulator.url}/{emulator.container()}"
        place += "/deep/Down" if request.param == "azurite-prefix" else ""
    with opened(place, timeout=timedelta(seconds=30), environment=environment, create=True) as made:
        yield made


def put(store: Store, name: str, data: bytes, tier: Tier = Tier.HOT) -> bool:
    return store.put_new(name, io.BytesIO(data), len(data), tier=tier)


def read(store: Store, name: str) -> bytes | None:
    blocks = store.read(name)
    return None if blocks is None else b"".join(blocks)


def found(store: Store, name: str) -> Entry:
    entry = store.find(name)
    assert entry is not None
    return entry


class TestStore:
    @pytest.mark.parametrize("data", [b"", b"small", LARGE], ids=["empty", "small", "large"])
    def test_what_was_written_is_read(self, store: Store, data: bytes) -> None:
        assert put(store, "blobs/ab/cd.gz", data)
        assert read(store, "blobs/ab/cd.gz") == data
        assert found(store, "blobs/ab/cd.gz").size_bytes == len(data)

    @pytest.mark.parametrize("data", [b"first", LARGE], ids=["small", "large"])
    def test_a_name_is_written_once(self, store: Store, data: bytes) -> None:
        assert put(store, "runs/a", data)
        assert not put(store, "runs/a", b"second" * (1 if len(data) < 10 else 2 << 20))
        assert read(store, "runs/a") == data

    def test_of_many_writers_of_one_name_one_wins(self, store: Store) -> None:
        contents = [bytes([number]) * 1000 for number in range(8)]
        with ThreadPoolExecutor(8) as writers:
            won = list(writers.map(lambda content: put(store, "runs/a", content), contents))
        assert won.count(True) == 1
        assert read(store, "runs/a") == contents[won.index(True)]

    @pytest.mark.parametrize("size", [3, 5 << 20])
    def test_a_body_of_another_size_than_was_said_is_not_there(self, store: Store, size: int) -> None:
        with pytest.raises(PublishingError, match="nothing was written"):
            store.put_new("runs/a", io.BytesIO(bytes(size - 1)), size)
        assert store.find("runs/a") is None

    def test_what_is_not_there_is_none(self, store: Store) -> None:
        assert store.find("blobs/no") is None
        assert store.read("blobs/no") is None
        assert not store.refresh("blobs/no")
        assert list(store.names("blobs/")) == []
        assert list(store.entries("blobs/")) == []

    def test_names_are_listed_in_order_and_by_their_beginning(self, store: Store) -> None:
        for name in ("runs/2026/02/x", "runs/2026/01/b", "runs/2026/01/a/c", "packs/2026/01/a"):
            put(store, name, name.encode())
        assert list(store.names("runs/2026/01/")) == ["runs/2026/01/a/c", "runs/2026/01/b"]
        assert list(store.names("runs/")) == ["runs/2026/01/a/c", "runs/2026/01/b", "runs/2026/02/x"]
        assert [entry.name for entry in store.entries("packs/")] == ["packs/2026/01/a"]

    def test_a_listed_blob_is_the_blob_that_is_found(self, store: Store) -> None:
        put(store, "blobs/aa", b"123")
        (listed,) = store.entries("blobs/")
        assert listed == found(store, "blobs/aa")
        assert abs(store.now() - listed.modified) < timedelta(minutes=1)

    def test_a_blob_is_removed_once(self, store: Store) -> None:
        put(store, "blobs/aa", b"123")
        entry = found(store, "blobs/aa")
        assert store.remove(entry)
        assert store.find("blobs/aa") is None
        assert not store.remove(entry)

    def test_a_removal_loses_against_a_refresh(self, store: Store) -> None:
        put(store, "blobs/aa", b"123")
        (listed,) = store.entries("blobs/")
        assert store.refresh("blobs/aa")
        assert not store.remove(listed)
        assert read(store, "blobs/aa") == b"123"
        assert store.remove(found(store, "blobs/aa"))

    @pytest.mark.parametrize("tier", list(Tier))
    @pytest.mark.parametrize("data", [b"x", LARGE], ids=["small", "large"])
    def test_every_tier_can_be_written_and_read(self, store: Store, tier: Tier, data: bytes) -> None:
        assert put(store, "blobs/aa", data, tier)
        assert read(store, "blobs/aa") == data
        assert store.refresh("blobs/aa")

    def test_a_place_shows_no_secret(self, store: Store) -> None:
        assert "Eby8" not in store.place
