from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import pytest

from lisa_ci.commands._cloud import find_cloud_image
from lisa_ci.errors import PipelineError
from lisa_ci.events import Event, Message
from lisa_ci.model import Bus, CloudImage, Disk, Endpoint, Firmware, ImageFormat, ImageSource, Kernel, Pipeline, Profile
from lisa_ci.pipeline import azure_catalogue
from lisa_ci.pipeline.subject import find_subject, kernel_now
from tests.doubles.pipelines import pipeline
from tests.unit.kernel.kernels import bzimage
from tests.unit.kernel.test_drivers import GENERIC
from tests.unit.kernel.test_volumes import gpt


def ignore(_event: object) -> None:
    return


@pytest.fixture
def given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    """A pipeline in repo/, seen from the folder above it, with an image of one MiB."""
    monkeypatch.setenv("LISA_CI_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "repo").mkdir()
    (tmp_path / "repo/disk.raw").write_bytes(b"\1" * (1 << 20))
    source = ImageSource(path="*.raw")
    return pipeline([Profile(name="bios")], [], folder="repo", image=source)


def test_the_image_is_found_from_the_folder_of_the_pipeline(given: Pipeline) -> None:
    image = find_subject(given, ignore).image
    assert image is not None
    assert (image.path, image.format) == ("repo/disk.raw", ImageFormat.RAW)
    assert image.disk_digest == hashlib.sha256(b"\1" * (1 << 20)).hexdigest()


def test_an_image_on_the_command_line_takes_the_place_of_the_one_in_the_file(given: Pipeline) -> None:
    Path("built [1].raw").write_bytes(b"\2" * (1 << 20))
    url = ImageSource(url="https://images.example.org/x", sha256="a" * 64)
    for source in (given.image, url, None):
        image = find_subject(dataclasses.replace(given, image=source), ignore, image=Path("built [1].raw")).image
        assert image is not None
        assert (image.path, image.url, image.sha256) == ("built [1].raw", None, None)
        assert image.disk_digest == hashlib.sha256(b"\2" * (1 << 20)).hexdigest()


def test_machines_that_already_run_have_no_subject(given: Pipeline) -> None:
    running = Profile(name="r", platform="ssh", endpoint=Endpoint(host="h", host_key="k"))
    found = find_subject(dataclasses.replace(given, profiles=(running,), kernel=Kernel(image="gone")), ignore)
    assert (found.image, found.kernel, found.digest) == (None, None, "")


def kernel_digest(given: Pipeline, **values: str) -> str:
    kernel = Kernel(**{"image": "bzImage", "modules": "modules", "initrd": "initrd", **values})
    found = find_subject(dataclasses.replace(given, kernel=kernel), ignore).kernel
    assert found is not None
    assert found.image == "repo/bzImage"
    assert found.modules == "repo/modules"
    return found.digest


def test_the_digest_of_a_foreign_kernel_covers_all_its_parts(given: Pipeline) -> None:
    for name in ("bzImage", "initrd", "vmlinux"):
        (Path("repo") / name).write_text(name)
    module = Path("repo/modules/lib/modules/6.1/a.ko")
    module.parent.mkdir(parents=True)
    module.write_text("module")
    digests = [
        kernel_digest(given),
        kernel_digest(given, command_line="quiet"),
        kernel_digest(given, command_line="quiet splash"),
        kernel_digest(given, vmlinux="vmlinux"),
    ]
    for path in (Path("repo/bzImage"), Path("repo/initrd"), module):
        path.write_text("changed")
        digests.append(kernel_digest(given))
    assert len(set(digests)) == len(digests)
    assert kernel_digest(given) == digests[-1]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"image": "gone"}, "kernel.image: there is no file repo/gone"),
        ({"image": "folder"}, "kernel.image: there is no file repo/folder"),
        ({"image": "disk.raw", "modules": "disk.raw"}, "kernel.modules: there is no folder repo/disk.raw"),
        ({"image": "disk.raw", "initrd": "gone"}, "kernel.initrd: there is no file repo/gone"),
    ],
)
def test_a_part_of_the_kernel_that_is_not_there_is_told(given: Pipeline, values: dict[str, str], message: str) -> None:
    Path("repo/folder").mkdir()
    with pytest.raises(PipelineError) as caught:
        find_subject(dataclasses.replace(given, kernel=Kernel(**values)), ignore)
    assert caught.value.message == message


# ---- a kernel as it was delivered ----------------------------------------------------------------------------------


@pytest.fixture
def delivered(given: Pipeline) -> Pipeline:
    """The same with a kernel that has all drivers built in, and a disk with a root file system."""
    Path("repo/disk.raw").write_bytes(gpt())
    boot = Path("repo/kernel/boot")
    boot.mkdir(parents=True)
    (boot / "vmlinuz").write_bytes(bzimage())
    (boot / "config").write_text(GENERIC.replace("=m\n", "=y\n"))
    return dataclasses.replace(given, kernel=Kernel(source="kernel"))


def test_a_delivered_kernel_is_named_by_its_place_and_by_the_digest_of_its_files(delivered: Pipeline) -> None:
    first = find_subject(delivered, ignore).kernel
    assert first is not None
    assert (first.source, first.image, first.path) == ("repo/kernel", "", "repo/kernel")
    assert kernel_now(first) == first, "a leg finds the same in another working tree"
    Path("repo/kernel/boot/vmlinuz").write_bytes(bzimage("6.9.2 (x) #1 y"))
    assert kernel_now(first).digest != first.digest


def test_what_keeps_a_delivered_kernel_from_booting_is_told_for_every_profile_before_anything_runs(
    delivered: Pipeline,
) -> None:
    config = Path("repo/kernel/boot/config")
    config.write_text(config.read_text().replace("CONFIG_TMPFS=y\n", "").replace("CONFIG_EFI_STUB=y\n", ""))
    uefi = Profile(name="uefi", firmware=Firmware.UEFI)
    with pytest.raises(PipelineError) as raised:
        find_subject(dataclasses.replace(delivered, profiles=(*delivered.profiles, uefi)), ignore)
    assert [problem.message.rpartition("profile ")[2] for problem in raised.value.problems] == [
        "bios: CONFIG_TMPFS is not set, set it to y: /dev",
        "uefi: CONFIG_TMPFS is not set, set it to y: /dev",
        "uefi: CONFIG_EFI_STUB is not set, set it to y: a start by UEFI",
    ]


def test_hardware_that_a_delivered_kernel_will_not_see_is_a_warning(delivered: Pipeline) -> None:
    config = Path("repo/kernel/boot/config")
    config.write_text(config.read_text().replace("CONFIG_BLK_DEV_NVME=y\n", ""))
    profile = Profile(name="bios", disks=(Disk(bus=Bus.NVME),))
    told: list[Event] = []
    find_subject(dataclasses.replace(delivered, profiles=(profile,)), told.append)
    texts = [event.text for event in told if isinstance(event, Message)]
    assert texts == ["profile bios: CONFIG_BLK_DEV_NVME is not set, set it to y or m: data disks on NVMe"]


# ---- an image that a cloud has -------------------------------------------------------------------------------------

NAMED = ImageSource(azure="debian:debian-12:12-gen2:0.1.2", firmware=(Firmware.UEFI,))
ON_AZURE = azure_catalogue()["azure-intel"]


def test_an_image_that_is_named_is_its_name_and_no_disk(given: Pipeline) -> None:
    found = find_subject(dataclasses.replace(given, image=NAMED, profiles=(ON_AZURE,)), ignore, cloud=find_cloud_image)
    assert (found.image, found.kernel) == (None, None)
    assert found.cloud == CloudImage(platform="azure", name=str(NAMED.azure), firmware=(Firmware.UEFI,))
    assert found.digest == "azure:debian:debian-12:12-gen2:0.1.2"


def test_a_file_on_the_command_line_takes_the_place_of_a_name(given: Pipeline) -> None:
    found = find_subject(
        dataclasses.replace(given, image=NAMED), ignore, image=Path("repo/disk.raw"), cloud=find_cloud_image
    )
    assert found.image is not None
    assert found.cloud is None


def test_a_foreign_kernel_does_not_boot_an_image_that_is_only_named(given: Pipeline) -> None:
    named = dataclasses.replace(given, image=NAMED, profiles=(ON_AZURE,), kernel=Kernel(image="bzImage"))
    with pytest.raises(PipelineError, match="a foreign kernel boots an image that we hold"):
        find_subject(named, ignore, cloud=find_cloud_image)


def test_a_name_without_a_profile_that_boots_it_is_a_mistake(given: Pipeline) -> None:
    with pytest.raises(PipelineError, match=r"no profile can boot debian:debian-12:12-gen2:0\.1\.2"):
        find_subject(dataclasses.replace(given, image=NAMED), ignore, cloud=find_cloud_image)


def test_what_is_no_name_is_told_with_the_forms_there_are(given: Pipeline) -> None:
    wrong = ImageSource(azure="/some/path")
    with pytest.raises(PipelineError, match="names no image of Azure"):
        find_subject(dataclasses.replace(given, image=wrong, profiles=(ON_AZURE,)), ignore, cloud=find_cloud_image)
