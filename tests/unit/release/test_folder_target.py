"""A folder as a target, stopped at every single system call that changes something."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from lisa_ci.commands._proof import judge
from lisa_ci.errors import PublishingError
from lisa_ci.protocols import Published, Release
from lisa_ci.release import folder
from lisa_ci.release.folder_target import LATEST, FolderTarget, is_older
from lisa_ci.release.journal import Journal, Step
from lisa_ci.release.publish import apply, trusted
from lisa_ci.release.sign import sign
from lisa_ci.release.verify import verify
from tests.doubles.memory_target import MemoryTarget
from tests.doubles.release import make_release, make_signer, silent

CHANGES = ("mkdir", "open", "write", "pwrite", "rename", "replace", "symlink", "unlink", "fsync", "ftruncate", "rmdir")


class Killed(BaseException):
    """Stands for SIGKILL: nobody catches it, nobody cleans up after it."""


@pytest.fixture(scope="module")
def releases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Release]:
    made = {}
    for version in ("1.0", "2.0"):
        root = make_release(tmp_path_factory.mktemp("releases") / version, version=version, seed=version.encode())
        sign(root, make_signer(), judge, emit=silent)
        made[version] = verify(root, make_signer().public, judge, emit=silent).release
    return made


def publish(root: Path, release: Release) -> Published:
    target = FolderTarget(root)
    with target.locked():
        return target.promote(target.stage(release, emit=silent), emit=silent)


@contextmanager
def stopped_at(number: int, error: Callable[[], BaseException]) -> Iterator[Callable[[], bool]]:
    """The ``number``-th call from here that changes the disk raises instead; says whether it was reached."""
    count = 0

    def wrap(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal count
            is_read = original is real["open"] and not arguments[1] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            if not is_read:
                count += 1
                if count == number:
                    raise error()
            return original(*arguments, **options)

        return call

    real = {name: getattr(os, name) for name in CHANGES}
    with pytest.MonkeyPatch.context() as patch:
        for name, original in real.items():
            patch.setattr(os, name, wrap(original))
        yield lambda: count >= number


def seen(root: Path) -> tuple[str | None, frozenset[str]]:
    """What consumers see: what latest is, and which versions there are. Each must be whole."""
    target = FolderTarget(root)
    versions = frozenset(path.name for path in root.glob("[0-9]*"))
    latest = target.latest()
    assert latest is None or latest in versions
    return latest, versions


def assert_whole(root: Path, release: Release) -> None:
    public = root / release.version
    assert folder.listing(public).files == release.files.keys()
    for name, file in release.files.items():
        assert folder.sha256_of(public, name) == file.sha256


def every_stop(
    tmp_path: Path, releases: dict[str, Release], error: Callable[[], BaseException]
) -> Iterator[tuple[Path, BaseException]]:
    """A target with 1.0, where publishing 2.0 was stopped at its first, second, ... change."""
    publish(tmp_path / "before", releases["1.0"])
    for number in range(1, 400):
        root = tmp_path / f"stopped{number}"
        shutil.copytree(tmp_path / "before", root, symlinks=True)
        caught: BaseException | None = None
        with stopped_at(number, error) as is_reached:
            try:
                publish(root, releases["2.0"])
            except (Killed, PublishingError) as stop:
                caught = stop
        if not is_reached():
            assert number > 25
            return
        if caught is not None:
            yield root, caught
        shutil.rmtree(root)
    pytest.fail("publishing never ends")


def test_killed_at_any_change_the_target_is_whole_and_a_second_apply_ends_the_job(
    tmp_path: Path, releases: dict[str, Release]
) -> None:
    states = set()
    for root, _ in every_stop(tmp_path, releases, Killed):
        latest, versions = seen(root)
        states.add((latest, versions))
        assert_whole(root, releases["1.0"])
        if "2.0" in versions:
            assert_whole(root, releases["2.0"])
        assert publish(root, releases["2.0"]).is_latest
        assert seen(root) == ("2.0", {"1.0", "2.0"})
        assert_whole(root, releases["2.0"])
        assert not list((root / ".lisa-ci" / "staging").iterdir())
        steps = [entry.step for entry in Journal(root / ".lisa-ci" / "journal.ndjson").steps(releases["2.0"].digest)]
        assert steps == [Step.STAGING, Step.STAGED, Step.PUBLISHING, Step.PUBLISHED, Step.LATEST, Step.DONE]
    assert states == {
        ("1.0", frozenset({"1.0"})),
        ("1.0", frozenset({"1.0", "2.0"})),
        ("2.0", frozenset({"1.0", "2.0"})),
    }


def test_a_full_disk_at_any_change_puts_the_target_back_and_a_second_apply_ends_the_job(
    tmp_path: Path, releases: dict[str, Release]
) -> None:
    stops = 0
    for root, stop in every_stop(tmp_path, releases, lambda: OSError(errno.ENOSPC, "No space left on device")):
        stops += 1
        assert isinstance(stop, PublishingError)
        assert_whole(root, releases["1.0"])
        assert seen(root) == ("1.0", {"1.0"})
        publish(root, releases["2.0"])
        assert seen(root) == ("2.0", {"1.0", "2.0"})
        assert_whole(root, releases["2.0"])
    assert stops > 15


def test_what_was_staged_before_a_crash_is_not_copied_again(tmp_path: Path, releases: dict[str, Release]) -> None:
    target = FolderTarget(tmp_path / "target")
    with target.locked():
        staged = Path(target.stage(releases["1.0"], emit=silent).place)
    before = {path: path.stat().st_ino for path in staged.rglob("*") if path.is_file()}
    damaged = staged / folder.MANIFEST
    damaged.write_bytes(b"half")
    with target.locked():
        target.stage(releases["1.0"], emit=silent)
    assert {path: path.stat().st_ino for path in before} == before
    assert folder.sha256_of(staged, folder.MANIFEST) == releases["1.0"].files[folder.MANIFEST].sha256


def test_foreign_things_in_the_staging_folder_are_never_published(tmp_path: Path, releases: dict[str, Release]) -> None:
    root = tmp_path / "target"
    target = FolderTarget(root)
    with target.locked():
        staged = Path(target.stage(releases["1.0"], emit=silent).place)
    (staged / "backdoor").write_text("x")
    (staged / "link").symlink_to("/etc/passwd")
    (staged.parent / "older").mkdir()
    publish(root, releases["1.0"])
    assert_whole(root, releases["1.0"])
    assert not list((root / ".lisa-ci" / "staging").iterdir())


def test_a_published_version_that_somebody_changed_is_an_error(tmp_path: Path, releases: dict[str, Release]) -> None:
    for change in (
        lambda public: (public / "extra").write_text("x"),
        lambda public: (public / folder.STATEMENT).write_text("x"),
        lambda public: (public / folder.MANIFEST).unlink(),
    ):
        root = tmp_path / "target"
        publish(root, releases["1.0"])
        change(root / "1.0")
        with pytest.raises(PublishingError, match="was changed after it was published"):
            publish(root, releases["1.0"])
        shutil.rmtree(root)


def test_a_latest_that_is_not_ours_is_left_alone(tmp_path: Path, releases: dict[str, Release]) -> None:
    root = tmp_path / "target"
    (root / LATEST).mkdir(parents=True)
    with pytest.raises(PublishingError, match="is not a link to a version"):
        publish(root, releases["1.0"])
    (root / LATEST).rmdir()
    (root / LATEST).symlink_to("../../etc")
    with pytest.raises(PublishingError, match="is not a link to a version"):
        publish(root, releases["1.0"])


def test_a_disk_without_enough_space_is_refused_before_anything_is_copied(
    tmp_path: Path, releases: dict[str, Release], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: type("Usage", (), {"free": 1 << 20})())
    with pytest.raises(PublishingError, match="has 1 MiB free, the release needs"):
        publish(tmp_path / "target", releases["1.0"])
    assert not (tmp_path / "target" / "1.0").exists()


def test_holes_stay_holes_in_the_published_copy(tmp_path: Path, releases: dict[str, Release]) -> None:
    publish(tmp_path / "target", releases["1.0"])
    copied = tmp_path / "target" / "1.0" / "example-1.0-x86_64.vhd"
    assert copied.stat().st_size == (2 << 20) + 512
    assert copied.stat().st_blocks * 512 <= 3 << 20


def test_undo_takes_latest_back_or_away(tmp_path: Path, releases: dict[str, Release]) -> None:
    root = tmp_path / "target"
    target = FolderTarget(root)
    first = publish(root, releases["1.0"])
    second = publish(root, releases["2.0"])
    with target.locked():
        target.undo(second, emit=silent)
        assert seen(root) == ("1.0", {"1.0"})
        target.undo(first, emit=silent)
    assert seen(root) == (None, frozenset())
    publish(root, releases["2.0"])
    assert seen(root) == ("2.0", {"2.0"})


def test_an_undo_that_was_killed_anywhere_does_not_confuse_the_next_apply(
    tmp_path: Path, releases: dict[str, Release]
) -> None:
    for number in range(1, 60):
        root = tmp_path / f"target{number}"
        publish(root, releases["1.0"])
        second = publish(root, releases["2.0"])
        target = FolderTarget(root)
        with target.locked(), stopped_at(number, Killed) as is_reached, suppress(Killed):
            target.undo(second, emit=silent)
        publish(root, releases["2.0"])
        latest, versions = seen(root)
        assert versions == {"1.0", "2.0"}
        assert latest in {"1.0", "2.0"}
        assert_whole(root, releases["2.0"])
        if not is_reached():
            return
    pytest.fail("undoing never ends")


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ("1.9", "1.10"),
        ("1.0", "1.0.1"),
        ("1.0rc1", "1.0"),
        ("1.0-beta", "1.0"),
        ("20251231", "20260101"),
        ("1.0-alpha", "1.0-beta"),
        ("9", "10"),
    ],
)
def test_versions_are_ordered_by_their_numbers(older: str, newer: str) -> None:
    assert is_older(older, newer)
    assert not is_older(newer, older)
    assert not is_older(newer, newer)


# ---- whose releases are taken ----


def test_without_any_key_nothing_is_published(releases: dict[str, Release]) -> None:
    with pytest.raises(PublishingError, match="nobody says whose releases") as caught:
        apply(releases["1.0"].folder, MemoryTarget(), None, judge, emit=silent)
    assert "LISA_CI_TRUSTED_KEY" in caught.value.hint


def test_the_first_release_pins_its_key_and_no_other_key_is_taken(releases: dict[str, Release]) -> None:
    target = MemoryTarget()
    apply(releases["1.0"].folder, target, make_signer().public, judge, emit=silent)
    assert target.pinned == make_signer().public.pem()
    assert apply(releases["2.0"].folder, target, None, judge, emit=silent).is_latest
    with pytest.raises(PublishingError, match="the target takes releases of the key"):
        apply(releases["1.0"].folder, target, make_signer("other").public, judge, emit=silent)


def test_the_target_and_the_publisher_must_name_the_same_key() -> None:
    mine, other = make_signer().public, make_signer("other").public
    assert trusted(mine, None) == mine
    assert trusted(None, mine.pem()).key_id == mine.key_id
    assert trusted(mine, mine.pem()).key_id == mine.key_id
    with pytest.raises(PublishingError, match="the target takes releases of") as caught:
        trusted(other, mine.pem())
    assert other.key_id in str(caught.value)
