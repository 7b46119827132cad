from __future__ import annotations

import dataclasses

import pytest

from lisa_ci.model import Arch, Case, CloudImage, Disk, Endpoint, Firmware, Profile, Subject, SuiteSelection
from lisa_ci.planning.selection import Pair, pairs_of
from tests.doubles.pipelines import IMAGE, SUBJECT, pipeline, suite

SMALL = Profile(name="small")
UEFI = Profile(name="uefi", firmware=Firmware.UEFI, disks=(Disk(),))


def pair(selection: SuiteSelection, profile: Profile = SMALL, subject: Subject = SUBJECT) -> Pair:
    (found,) = pairs_of(profile, pipeline([profile], [selection]), subject)
    return found


def test_a_suite_that_asks_for_nothing_fits() -> None:
    found = pair(SuiteSelection(suite=suite("s", "a", "b")))
    assert (found.reason, found.left_out, found.runnable) == ("", {}, ("a", "b"))


def test_a_suite_that_asks_for_more_is_left_out_with_every_reason() -> None:
    found = pair(SuiteSelection(suite=suite("s", "a", requires={"cores": 4, "disks": 1})))
    assert found.reason == "needs cores >= 4, the profile gives 2; needs disks >= 1, the profile gives 0"


def test_profiles_are_selected_by_globs() -> None:
    selection = SuiteSelection(suite=suite("s", "a"), profiles=("uefi*", "big"))
    assert pair(selection).reason == "selected for uefi*, big only"
    assert pair(selection, UEFI).reason == ""


@pytest.mark.parametrize(
    ("image", "profile", "reason"),
    [
        (dataclasses.replace(IMAGE, arch=Arch.AARCH64), SMALL, "the image is for aarch64, the profile gives x86_64"),
        (
            dataclasses.replace(IMAGE, firmware=(Firmware.UEFI,)),
            SMALL,
            "the image boots with uefi, the profile gives bios",
        ),
        (dataclasses.replace(IMAGE, firmware=(Firmware.UEFI,)), UEFI, ""),
        (None, SMALL, "there is no image to boot"),
        (None, Profile(name="running", platform="ssh", endpoint=Endpoint(host="h", host_key="k")), ""),
    ],
)
def test_a_profile_must_be_able_to_boot_the_image(image: object, profile: Profile, reason: str) -> None:
    subject = Subject(image=image)  # type: ignore[arg-type]
    assert pair(SuiteSelection(suite=suite("s", "a")), profile, subject).reason == reason


def test_single_cases_are_left_out_with_the_pipelines_reason_before_that_of_the_hardware() -> None:
    cases = [
        Case(suite="s", id="plain", run=("true",)),
        Case(suite="s", id="disk", run=("true",), requires={"disks": 1}),
        Case(suite="s", id="skipped-disk", run=("true",), requires={"disks": 1}),
    ]
    found = pair(SuiteSelection(suite=suite("s", *cases), skip={"skipped-*": "not now"}))
    assert found.left_out == {"disk": "needs disks >= 1, the profile gives 0", "skipped-disk": "not now"}
    assert found.runnable == ("plain",)


def test_cases_that_matter_less_than_the_pipeline_asks_for_are_left_out() -> None:
    cases = [Case(suite="s", id=f"p{number}", run=("true",), priority=number) for number in range(5)]
    found = pair(SuiteSelection(suite=suite("s", *cases), priority=1))
    assert found.runnable == ("p0", "p1")
    assert found.left_out["p4"] == "its priority is 4, the pipeline runs 0 to 1"
    assert pair(SuiteSelection(suite=suite("s", *cases))).runnable == tuple(case.id for case in cases)


def test_only_narrows_the_cases_without_calling_the_others_left_out() -> None:
    found = pair(SuiteSelection(suite=suite("s", "net-a", "net-b", "clock"), only=("net-*",)))
    assert (found.runnable, found.left_out) == (("net-a", "net-b"), {})


@pytest.mark.parametrize(
    ("selection", "reason"),
    [
        (
            SuiteSelection(suite=suite("s", "a", "b"), skip={"*": "broken"}),
            "no case is left: broken (and 1 more)",
        ),
        (SuiteSelection(suite=suite("s", "a", "b"), only=("c",)), "no case is left: only c is selected"),
    ],
)
def test_a_suite_with_no_case_left_is_left_out_whole(selection: SuiteSelection, reason: str) -> None:
    assert pair(selection).reason == reason


def test_globs_stand_for_cases_that_only_the_machine_knows() -> None:
    found = pair(SuiteSelection(suite=suite("s", listing=("list",)), skip={"slow-*": "too slow"}, shards=7))
    assert (found.reason, found.left_out, found.runnable) == ("", {"slow-*": "too slow"}, None)
    assert found.parts(256) == 7
    assert found.parts(3) == 3


def test_no_part_of_known_cases_is_empty() -> None:
    for count in range(1, 40):
        names = [f"case-{number}" for number in range(count)]
        found = pair(SuiteSelection(suite=suite("s", *names), shards=16))
        parts = found.parts(256)
        assert 1 <= parts <= min(16, count)
        filled = {index for index in range(1, parts + 1) for name in names if _contains(name, index, parts)}
        assert filled == set(range(1, parts + 1))


def _contains(name: str, index: int, count: int) -> bool:
    from lisa_ci.model import Shard

    return Shard(index=index, count=count).contains(name)


def test_many_cases_keep_the_parts_that_are_asked_for() -> None:
    names = [f"case-{number}" for number in range(200)]
    assert pair(SuiteSelection(suite=suite("s", *names), shards=8)).parts(256) == 8


CLOUD = CloudImage(platform="azure", name="debian:debian-12:12-gen2:0.1.2", firmware=(Firmware.UEFI,))


@pytest.mark.parametrize(
    ("profile", "reason"),
    [
        (Profile(name="qemu-leg", firmware=Firmware.UEFI), "the image is one of azure, the profile is for qemu"),
        (Profile(name="az", platform="azure"), "the image boots with uefi, the profile gives bios"),
        (
            Profile(name="az", platform="azure", firmware=Firmware.UEFI, arch=Arch.AARCH64),
            "the image is for x86_64, the profile gives aarch64",
        ),
        (Profile(name="az", platform="azure", firmware=Firmware.UEFI), ""),
    ],
)
def test_an_image_of_a_cloud_is_booted_by_that_cloud_only(profile: Profile, reason: str) -> None:
    assert pair(SuiteSelection(suite=suite("s", "a")), profile, Subject(cloud=CLOUD)).reason == reason
