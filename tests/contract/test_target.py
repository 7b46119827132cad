"""Whatever a target is, it keeps these promises."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lisa_ci.commands._proof import judge
from lisa_ci.errors import PublishingError
from lisa_ci.protocols import Release, Target
from lisa_ci.release.folder_target import FolderTarget
from lisa_ci.release.sign import sign
from lisa_ci.release.verify import verify
from tests.doubles.memory_target import MemoryTarget
from tests.doubles.release import make_release, make_signer, silent

Make = Callable[..., Release]


@pytest.fixture(params=["folder", "memory"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Target]:
    if request.param == "memory":
        yield MemoryTarget()
        return
    made = FolderTarget(tmp_path / "target")
    with made.locked():
        yield made


@pytest.fixture
def release(tmp_path: Path) -> Make:
    def make(version: str, **changes: object) -> Release:
        root = tmp_path / "releases" / f"{version}-{len(list(tmp_path.glob('releases/*')))}"
        make_release(root, version=version, **changes)  # type: ignore[arg-type]
        sign(root, make_signer(), judge, emit=silent)
        return verify(root, make_signer().public, judge, emit=silent).release

    return make


class TestTarget:
    def test_nobody_sees_what_is_only_staged(self, target: Target, release: Make) -> None:
        one = target.promote(target.stage(release("1.0"), emit=silent), emit=silent)
        target.stage(release("2.0"), emit=silent)
        again = target.promote(target.stage(one.release, emit=silent), emit=silent)
        assert again.is_latest

    def test_a_new_release_is_visible_and_latest(self, target: Target, release: Make) -> None:
        published = target.promote(target.stage(release("1.0"), emit=silent), emit=silent)
        assert (published.is_changed, published.is_latest) == (True, True)

    def test_a_second_time_changes_nothing(self, target: Target, release: Make) -> None:
        one = release("1.0")
        target.promote(target.stage(one, emit=silent), emit=silent)
        staged = target.stage(one, emit=silent)
        assert not staged.is_new
        published = target.promote(staged, emit=silent)
        assert (published.is_changed, published.is_latest) == (False, True)

    def test_staging_twice_is_staging_once(self, target: Target, release: Make) -> None:
        one = release("1.0")
        first, second = target.stage(one, emit=silent), target.stage(one, emit=silent)
        assert first == second
        assert target.promote(second, emit=silent).is_changed

    def test_latest_follows_the_newest_version_and_never_goes_back(self, target: Target, release: Make) -> None:
        versions = [release(version) for version in ("1.9", "1.10", "1.2")]
        told = [target.promote(target.stage(one, emit=silent), emit=silent).is_latest for one in versions]
        assert told == [True, True, False]

    def test_a_public_version_never_changes(self, target: Target, release: Make) -> None:
        target.promote(target.stage(release("1.0"), emit=silent), emit=silent)
        with pytest.raises(PublishingError, match=r"version 1\.0 is published already, with other content"):
            target.stage(release("1.0", seed=b"other"), emit=silent)

    def test_another_product_is_refused(self, target: Target, release: Make) -> None:
        target.promote(target.stage(release("1.0"), emit=silent), emit=silent)
        with pytest.raises(PublishingError, match="holds example for x86_64, this is stranger for x86_64"):
            target.stage(release("2.0", name="stranger"), emit=silent)

    def test_undoing_a_stage_leaves_nothing_to_promote_twice(self, target: Target, release: Make) -> None:
        one = release("1.0")
        staged = target.stage(one, emit=silent)
        target.undo(staged, emit=silent)
        target.undo(staged, emit=silent)
        assert target.stage(one, emit=silent).is_new

    def test_undoing_a_publication_gives_the_previous_latest_back(self, target: Target, release: Make) -> None:
        one, two = release("1.0"), release("2.0")
        target.promote(target.stage(one, emit=silent), emit=silent)
        published = target.promote(target.stage(two, emit=silent), emit=silent)
        target.undo(published, emit=silent)
        target.undo(published, emit=silent)
        assert target.promote(target.stage(one, emit=silent), emit=silent).is_latest
        again = target.promote(target.stage(two, emit=silent), emit=silent)
        assert (again.is_changed, again.is_latest) == (True, True)

    def test_bytes_that_changed_after_the_proof_are_not_published(self, target: Target, release: Make) -> None:
        one = release("1.0")
        with (one.folder / "manifest.json").open("ab") as file:
            file.write(b" ")
        with pytest.raises(PublishingError, match=r"manifest\.json changed after it was verified"):
            target.stage(one, emit=silent)
        shutil.rmtree(one.folder)
