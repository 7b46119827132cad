"""The demo's folder is cleared by the demo, and by nobody's files."""

from __future__ import annotations

from pathlib import Path

import pytest

from lisa_ci import registry
from lisa_ci.demo import crash
from lisa_ci.demo.folder import DemoFolder, Scenario
from lisa_ci.errors import LisaCiError, PipelineError
from lisa_ci.model import Firmware
from lisa_ci.pipeline import load_pipeline


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "cache" / "debian.qcow2"
    path.parent.mkdir()
    path.write_bytes(b"disk")
    return path


def test_a_new_folder_holds_the_pipeline_and_the_image(tmp_path: Path, image: Path) -> None:
    folder = DemoFolder(root=tmp_path / "deep" / "out")
    folder.begin(image)
    assert folder.image.read_bytes() == b"disk"
    assert "bios-disk" in folder.pipeline.read_text()


def test_the_demo_s_pipeline_is_right_and_covers_both_kinds_of_firmware(tmp_path: Path, image: Path) -> None:
    folder = DemoFolder(root=tmp_path / "out")
    folder.begin(image)
    pipeline = load_pipeline(folder.pipeline, registry.known())
    assert [profile.firmware for profile in pipeline.profiles] == [Firmware.BIOS, Firmware.UEFI]
    assert [len(profile.disks) for profile in pipeline.profiles] == [1, 3]
    assert {selection.suite.name for selection in pipeline.suites} == {"boot", "userland", "reboot"}


def test_the_crash_scenario_has_a_suite_whose_cases_are_those_it_is_judged_by(tmp_path: Path, image: Path) -> None:
    folder = DemoFolder(root=tmp_path / "out")
    folder.begin(image, Scenario.CRASH)
    pipeline = load_pipeline(folder.pipeline, registry.known())
    assert [profile.name for profile in pipeline.profiles] == [crash.LEG]
    (selection,) = pipeline.suites
    assert [case.id for case in selection.suite.cases or ()] == list(crash.EXPECTED)
    folder.begin(image)
    assert not folder.suite.exists()


def test_a_second_run_clears_the_first_and_keeps_what_others_put_there(tmp_path: Path, image: Path) -> None:
    folder = DemoFolder(root=tmp_path / "out")
    folder.begin(image)
    for made in (folder.results, folder.release, folder.published):
        (made / "deep").mkdir(parents=True)
    for made in (folder.plan, folder.key, folder.public_key):
        made.write_text("old")
    mine = folder.root / "notes.txt"
    mine.write_text("mine")
    folder.begin(image)
    assert {path.name for path in folder.root.iterdir()} == {
        ".lisa-ci-demo",
        "lisa-ci.yml",
        "debian.qcow2",
        "notes.txt",
    }
    assert image.read_bytes() == b"disk"


def test_a_folder_of_someone_else_is_refused_untouched(tmp_path: Path, image: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "plan.json").write_text("precious")
    with pytest.raises(PipelineError, match="holds files that are not the demo's") as caught:
        DemoFolder(root=tmp_path / "out").begin(image)
    assert "--out" in caught.value.hint
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["plan.json"]


def test_a_link_in_the_place_of_a_folder_is_removed_and_not_followed(tmp_path: Path, image: Path) -> None:
    folder = DemoFolder(root=tmp_path / "out")
    folder.begin(image)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "file").write_text("mine")
    folder.results.symlink_to(elsewhere)
    folder.begin(image)
    assert (elsewhere / "file").read_text() == "mine"
    assert not folder.results.exists()


def test_a_file_in_the_place_of_the_folder_is_a_clear_error(tmp_path: Path, image: Path) -> None:
    (tmp_path / "out").write_text("x")
    with pytest.raises(PipelineError, match="is not a folder"):
        DemoFolder(root=tmp_path / "out").begin(image)


def test_a_place_that_cannot_be_written_is_a_clear_error(tmp_path: Path, image: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(LisaCiError):
        DemoFolder(root=tmp_path / "file" / "out").begin(image)


def test_the_private_key_can_be_forgotten_twice(tmp_path: Path) -> None:
    folder = DemoFolder(root=tmp_path)
    folder.key.write_text("secret")
    folder.forget_key()
    folder.forget_key()
    assert not folder.key.exists()
