"""When the image is made, and when the one in the cache is used."""

from __future__ import annotations

import os
import re
import time
from datetime import timedelta
from pathlib import Path

import pytest

from lisa_ci.demo import disk, image
from lisa_ci.errors import LisaCiError, ProvisioningError
from lisa_ci.events import Event, Level, Message

DAY = 24 * 3600


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """A build that writes a file, and the list of what it built."""
    made: list[Path] = []

    def build(_recipe: object, target: Path, _emit: object) -> None:
        target.write_bytes(b"new")
        made.append(target)

    monkeypatch.setattr(image, "_build", build)
    return made


def ignore(_event: Event) -> None:
    """Nobody looks."""


def test_an_image_is_built_once(tmp_path: Path, built: list[Path]) -> None:
    first = image.build_image(tmp_path / "cache", ignore)
    assert image.build_image(tmp_path / "cache", ignore) == first
    assert built == [first]


def test_an_old_image_is_built_anew(tmp_path: Path, built: list[Path]) -> None:
    path = image.build_image(tmp_path, ignore)
    os.utime(path, (time.time() - 15 * DAY,) * 2)
    image.build_image(tmp_path, ignore)
    assert len(built) == 2


def test_an_image_of_no_age_is_wanted_on_request(tmp_path: Path, built: list[Path]) -> None:
    image.build_image(tmp_path, ignore)
    image.build_image(tmp_path, ignore, max_age=timedelta(0))
    assert len(built) == 2


def test_an_old_image_is_better_than_none(tmp_path: Path, built: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    path = image.build_image(tmp_path, ignore)
    os.utime(path, (time.time() - 30 * DAY,) * 2)

    def fail(*_arguments: object) -> None:
        raise ProvisioningError("no network")

    monkeypatch.setattr(image, "_build", fail)
    events: list[Event] = []
    assert image.build_image(tmp_path, events.append) == path
    (warning,) = [event for event in events if isinstance(event, Message) and event.level is Level.WARNING]
    assert "no network" in warning.text
    assert "30 days" in warning.text


def test_without_an_old_image_the_failure_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_arguments: object) -> None:
        raise ProvisioningError("no network")

    monkeypatch.setattr(image, "_build", fail)
    with pytest.raises(ProvisioningError, match="no network"):
        image.build_image(tmp_path, ignore)


def test_what_a_killed_build_left_is_cleared(tmp_path: Path, built: list[Path]) -> None:
    stale = tmp_path / f"{image._BUILD_PREFIX}dead"
    (stale / "root").mkdir(parents=True)
    (tmp_path / "mine").mkdir()
    image.build_image(tmp_path, ignore)
    assert not stale.exists()
    assert (tmp_path / "mine").is_dir()


def test_suite_and_mirror_give_images_of_their_own() -> None:
    names = {image.recipe(*words).file_name for words in [("bookworm", ""), ("trixie", ""), ("bookworm", "http://m")]}
    assert len(names) == 3
    assert image.recipe() == image.recipe()


def test_a_cache_that_cannot_be_made_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(LisaCiError, match="cannot use") as caught:
        image.build_image(tmp_path / "file" / "cache", ignore)
    assert "LISA_CI_CACHE" in caught.value.hint


def test_the_cache_folder_is_the_user_s_or_the_one_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LISA_CI_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert image.cache_folder() == Path("/x/lisa-ci")
    monkeypatch.setenv("LISA_CI_CACHE", "/y")
    assert image.cache_folder() == Path("/y")


def test_the_recipe_names_its_packages_once_each() -> None:
    packages = image.recipe().packages
    assert len(packages) == len(set(packages))
    assert {"linux-image-cloud-amd64", "openssh-server", "systemd-sysv"} <= set(packages)
    assert all(re.fullmatch(r"[a-z0-9][a-z0-9+.-]+", name) for name in packages)


def test_another_architecture_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    with pytest.raises(ProvisioningError, match="x86_64, and this host is aarch64"):
        image.build_image(tmp_path, ignore)


def test_the_ids_of_a_disk_follow_from_its_recipe() -> None:
    one, other = disk.Identity.of("a"), disk.Identity.of("b")
    assert one == disk.Identity.of("a")
    assert len({one.disk, one.esp, one.part, one.root, other.disk, other.esp, other.part, other.root}) == 8


def test_the_partitions_fill_the_disk_in_whole_mebibytes() -> None:
    assert disk.ESP_START_MIB + disk.ESP_MIB == disk.ROOT_START_MIB
    assert disk.ROOT_START_MIB + disk.root_mib(disk.SIZE_MIB) + 1 == disk.SIZE_MIB
