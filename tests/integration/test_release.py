"""From an image to a published folder with the real tools: qemu-img, qemu-nbd, nbdcopy, sha256sum, a killed process."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from lisa_ci import files, image, vhd
from lisa_ci.errors import PipelineError
from lisa_ci.model import ImageFormat
from lisa_ci.release import folder
from lisa_ci.release.folder_target import FolderTarget
from lisa_ci.release.journal import Journal, Step
from tests.doubles.release import MIB, make_disk, make_evidence

DISK_BYTES = 24 * MIB


def cli(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "lisa_ci.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, "GITHUB_ACTIONS": "", **environment},
    )


def done(*arguments: str | Path, **environment: str) -> str:
    finished = cli(*arguments, **environment)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def qemu_img(*arguments: str | Path) -> None:
    subprocess.run(["qemu-img", *map(str, arguments)], check=True, capture_output=True, timeout=60)


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A raw disk that does not end on a whole MiB."""
    path = tmp_path_factory.mktemp("disk") / "disk.raw"
    make_disk(path, size=DISK_BYTES - 1536)
    return path


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("keys") / "signer"
    done("sign", "--new-key", path)
    return path


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory, disk: Path, key: Path) -> Path:
    root = tmp_path_factory.mktemp("release")
    _, plan, results = make_evidence(root, image.disk_digest(disk, ImageFormat.RAW)[0])
    done("pack", disk, "--out", root / "release", "--plan", plan, "--results", results)
    done("sign", root / "release", "--key", key)
    return root / "release"


def public(key: Path) -> Path:
    return key.with_name(f"{key.name}.pub")


def copy(signed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(signed, tmp_path / "release"))


# ---- the disk in its container ----


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("qcow2", ()),
        ("qcow2", ("-c",)),
        ("vhdx", ()),
        ("vmdk", ("-o", "subformat=streamOptimized")),
        ("vpc", ("-o", "subformat=dynamic,force_size=on")),
        ("vpc", ("-o", "subformat=fixed,force_size=on")),
    ],
)
def test_the_same_disk_has_one_digest_in_every_container(
    disk: Path, tmp_path: Path, kind: str, options: Sequence[str]
) -> None:
    padded = tmp_path / "padded.raw"
    shutil.copy(disk, padded)
    os.truncate(padded, DISK_BYTES)
    target = tmp_path / "image"
    qemu_img("convert", "-f", "raw", "-O", kind, *options, padded, target)
    expected = hashlib.sha256(padded.read_bytes()).hexdigest()
    assert image.disk_digest(target, image.detect_format(target)) == (expected, DISK_BYTES)
    assert image.disk_digest(disk, ImageFormat.RAW) == (expected, DISK_BYTES)


def test_an_image_that_reaches_out_of_its_file_is_refused(disk: Path, tmp_path: Path) -> None:
    qemu_img("create", "-f", "qcow2", "-b", disk, "-F", "raw", tmp_path / "backing")
    qemu_img("create", "-f", "qcow2", "-o", f"data_file={tmp_path / 'd'}", tmp_path / "data", "1M")
    qemu_img("create", "-f", "vmdk", "-o", "subformat=monolithicFlat", tmp_path / "flat", "1M")
    (tmp_path / "shadow").write_text('# Disk DescriptorFile\nversion=1\nRW 8 FLAT "/etc/shadow" 0\n')
    for name in ("backing", "data", "flat", "shadow"):
        with pytest.raises(PipelineError, match=r"backing file|another file|other files"):
            image.disk_digest(tmp_path / name, image.detect_format(tmp_path / name))


def test_an_embedded_descriptor_that_names_another_file_is_refused(tmp_path: Path) -> None:
    """The head is that of an ordinary VMDK, the descriptor inside of it was rewritten."""
    secret = tmp_path / "secret"
    secret.write_bytes(b"root:x" * 1000)
    path = tmp_path / "image.vmdk"
    qemu_img("create", "-f", "vmdk", path, "1M")
    data = path.read_bytes()
    start = data.index(b"# Disk DescriptorFile")
    end = data.index(b"\0", start)
    hostile = data[start:end].replace(b"parentCID=ffffffff", b"parentCID=00000001")
    hostile += f'parentFileNameHint="{secret}"\n'.encode()
    path.write_bytes(data[:start] + hostile + data[start + len(hostile) :])
    with pytest.raises(PipelineError, match=r"other files|cannot be read|not a usable"):
        image.disk_digest(path, image.detect_format(path))


def test_a_damaged_qcow2_is_an_error_not_a_digest(disk: Path, tmp_path: Path) -> None:
    qemu_img("convert", "-f", "raw", "-O", "qcow2", disk, tmp_path / "image")
    whole = (tmp_path / "image").read_bytes()
    (tmp_path / "image").write_bytes(whole[: len(whole) // 4])
    with pytest.raises(PipelineError, match="is damaged"):
        image.disk_digest(tmp_path / "image", ImageFormat.QCOW2)


# ---- pack ----


def test_the_packed_vhd_is_what_qemu_and_azure_want(signed: Path, disk: Path) -> None:
    path = signed / "example-1.0-x86_64.vhd"
    assert path.stat().st_size == DISK_BYTES + 512
    assert path.stat().st_blocks * 512 < 2 * MIB
    assert not list(vhd.flaws(path))
    assert image.disk_digest(path, ImageFormat.VHD) == image.disk_digest(disk, ImageFormat.RAW)


def test_the_same_image_gives_the_same_bytes_whatever_container_it_came_in(
    signed: Path, disk: Path, tmp_path: Path
) -> None:
    qemu_img("convert", "-f", "raw", "-O", "qcow2", "-c", disk, tmp_path / "image.qcow2")
    dense = tmp_path / "dense.raw"
    dense.write_bytes(disk.read_bytes())
    _, plan, results = make_evidence(tmp_path, image.disk_digest(disk, ImageFormat.RAW)[0])
    for number, source in enumerate((tmp_path / "image.qcow2", dense)):
        out = tmp_path / f"again{number}"
        done("pack", source, "--out", out, "--plan", plan, "--results", results)
        assert (out / "SHA256SUMS").read_bytes() == (signed / "SHA256SUMS").read_bytes()


def test_sha256sum_agrees(signed: Path) -> None:
    subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=signed, check=True, capture_output=True)


def test_a_folder_that_is_not_empty_is_left_alone(disk: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("precious")
    finished = cli("pack", disk, "--out", tmp_path / "out")
    assert finished.returncode == 2
    assert "is not an empty folder" in finished.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_packing_another_disk_than_the_plan_names_is_refused(disk: Path, tmp_path: Path) -> None:
    _, plan, results = make_evidence(tmp_path, "0" * 64)
    finished = cli("pack", disk, "--out", tmp_path / "out", "--plan", plan, "--results", results)
    assert finished.returncode == 5
    assert "the plan is about the disk 0000" in finished.stderr
    assert not (tmp_path / "out").exists()


# ---- sign and verify ----


def test_what_was_tested_verifies_offline_and_says_what_is_proven(signed: Path, key: Path) -> None:
    told = done("verify", signed, "--key", public(key))
    assert "none changed, missing or extra" in told
    assert f"disk {image.disk_digest(signed / 'example-1.0-x86_64.vhd', ImageFormat.VHD)[0]}" in told
    assert "3 passed" in told


def test_signing_twice_gives_the_same_bytes(signed: Path, key: Path, tmp_path: Path) -> None:
    again = copy(signed, tmp_path)
    done("sign", again, "--key", key)
    assert (again / folder.STATEMENT).read_bytes() == (signed / folder.STATEMENT).read_bytes()


def test_another_key_is_named(signed: Path, tmp_path: Path) -> None:
    done("sign", "--new-key", tmp_path / "other")
    finished = cli("verify", signed, "--key", tmp_path / "other.pub")
    assert finished.returncode == 5
    assert "is signed by another key" in finished.stderr


def test_every_flipped_byte_is_noticed_and_its_file_named(signed: Path, key: Path, tmp_path: Path) -> None:
    """Each file at its first, last and some random bytes; nothing is changed back by verifying."""
    root = copy(signed, tmp_path)
    chance = random.Random(7)
    from lisa_ci.commands._proof import judge
    from lisa_ci.errors import VerificationError
    from lisa_ci.release.keys import load_public
    from lisa_ci.release.verify import verify
    from tests.doubles.release import silent

    trusted = load_public(public(key))
    verify(root, trusted, judge, quick=True, emit=silent)
    for name in sorted(folder.listing(root).files):
        path = root / name
        size = path.stat().st_size
        for place in {0, size - 1, *(chance.randrange(size) for _ in range(3))}:
            with path.open("r+b") as file:
                file.seek(place)
                before = file.read(1)
                file.seek(place)
                file.write(bytes([before[0] ^ 1 << chance.randrange(5)]))
                file.flush()
                with pytest.raises(VerificationError) as caught:
                    verify(root, trusted, judge, quick=True, emit=silent)
                assert any(name in problem.message for problem in caught.value.problems), (name, place)
                file.seek(place)
                file.write(before)
    verify(root, trusted, judge, quick=True, emit=silent)


# ---- publish ----


def test_a_release_is_published_once_and_latest_points_to_it(signed: Path, key: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    told = done("publish", "apply", signed, "--to", target, "--key", public(key))
    assert told.strip() == str(target / "1.0")
    assert (target / "latest").readlink() == Path("1.0")
    assert (target / "latest" / "example-1.0-x86_64.vhd").stat().st_blocks * 512 < 2 * MIB
    before = snapshot(target)
    again = cli("publish", "apply", signed, "--to", target)
    assert (again.returncode, again.stdout) == (0, told)
    assert "nothing changed" in again.stderr
    assert snapshot(target) == before
    done("verify", target / "latest", "--key", public(key))


def test_nobody_publishes_without_a_key_from_outside(signed: Path, tmp_path: Path) -> None:
    finished = cli("publish", "apply", signed, "--to", tmp_path / "target")
    assert finished.returncode == 7
    assert "nobody says whose releases" in finished.stderr
    assert "--key FILE" in finished.stderr


def test_what_does_not_verify_does_not_touch_the_target(signed: Path, key: Path, tmp_path: Path) -> None:
    root = copy(signed, tmp_path)
    (root / "extra").write_text("x")
    finished = cli("publish", "apply", root, "--to", tmp_path / "target", "--key", public(key))
    assert finished.returncode == 5
    assert "extra is extra" in finished.stderr
    assert not (tmp_path / "target").exists()


def test_a_publisher_killed_at_any_point_is_finished_by_the_next(signed: Path, key: Path, tmp_path: Path) -> None:
    """SIGKILL at growing delays: what consumers see is nothing or everything, and a repeated apply ends the job."""
    command = [sys.executable, "-m", "lisa_ci.cli", "publish", "apply", signed, "--key", public(key), "--to"]
    started = time.monotonic()
    done(*command[3:], tmp_path / "whole")
    whole = time.monotonic() - started
    killed = 0
    for number in range(5):
        target = tmp_path / f"target{number}"
        process = subprocess.Popen([*command, target], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(whole * (0.5 + 0.1 * number))
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            killed += 1
        process.wait()
        if (target / "latest").exists():
            assert folder.listing(target / "1.0").files == folder.listing(signed).files
        done(*command[3:], target)
        assert folder.listing(target / "1.0").files == folder.listing(signed).files
        assert (target / "latest").readlink() == Path("1.0")
        assert not list((target / ".lisa-ci" / "staging").iterdir())
        assert [entry.step for entry in Journal(target / ".lisa-ci" / "journal.ndjson").entries()][-1] is Step.DONE
    assert killed > 0


def test_two_publishers_do_not_work_at_once(signed: Path, key: Path, tmp_path: Path) -> None:
    with FolderTarget(tmp_path / "target").locked():
        finished = cli("publish", "apply", signed, "--to", tmp_path / "target", "--key", public(key))
    assert finished.returncode == 7
    assert "another publish works" in finished.stderr


def snapshot(root: Path) -> list[tuple[str, int, str]]:
    return [
        (str(path.relative_to(root)), path.lstat().st_mtime_ns, files.sha256_file(path) if path.is_file() else "")
        for path in sorted(root.rglob("*"))
        if path.name != "lock"
    ]
