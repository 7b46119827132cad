"""A disk into a page blob of a real Azurite: what arrives is the disk with its footer, and little else was sent."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from azure.storage.blob import BlobClient, BlobSasPermissions, generate_blob_sas

from lisa_ci import image, vhd
from lisa_ci.errors import ProvisioningError
from lisa_ci.model import Image, ImageFormat, Secret
from lisa_ci.platforms.azure import upload
from lisa_ci.platforms.azure.upload import upload_vhd
from tests.doubles.azurite import KEY, Azurite, azurite
from tests.doubles.cutting_proxy import CuttingProxy
from tests.doubles.release import silent

MIB = 1 << 20
SIZE = 512 * MIB
NAME = "disk.vhd"


@pytest.fixture(scope="module")
def emulator() -> Iterator[Azurite]:
    with azurite() as running:
        yield running


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """512 MiB with 24 MiB in pieces of all sizes, some of them zeros that are allocated; it ends within a MiB."""
    path = tmp_path_factory.mktemp("disk") / "disk.raw"
    noise = random.Random(0)
    with path.open("wb") as file:
        file.truncate(SIZE - MIB + 512)
        for number in range(60):
            file.seek(number * 8 * MIB + noise.randrange(256) * 4096)
            length = noise.randrange(1, 200) * 4096
            file.write(bytes(length) if number % 7 == 0 else noise.randbytes(length))
        file.seek(SIZE - MIB)
        file.write(b"\xff" * 512)
    return path


def subject(path: Path, container: ImageFormat = ImageFormat.RAW) -> Image:
    digest, size = image.disk_digest(path, container)
    return Image(path=str(path), format=container, size_bytes=size, disk_digest=digest)


def link(emulator: Azurite, *, port: int = 0, permission: str = "cw", hours: int = 1) -> tuple[Secret, BlobClient]:
    """A blob that is not there yet: its URL with a SAS, and a client with all rights."""
    container = emulator.container()
    token = generate_blob_sas(
        "devstoreaccount1",
        container,
        NAME,
        account_key=KEY,
        permission=BlobSasPermissions.from_string(permission),
        expiry=datetime.now(UTC) + timedelta(hours=hours),
        version="2025-11-05",
    )
    url = f"{emulator.url_by(port or emulator.port)}/{container}/{NAME}?{token}"
    return Secret(url), emulator.service().get_blob_client(container, NAME)


def content(blob: BlobClient) -> Iterator[tuple[int, bytes]]:
    """What the service has pages of."""
    for found in blob.list_page_ranges():
        yield found.start, blob.download_blob(found.start, found.end - found.start + 1).readall()


def holds(blob: BlobClient, path: Path, size: int) -> None:
    """The blob is the disk, byte for byte, then the footer; where it has no pages the disk has zeros."""
    assert blob.get_blob_properties().size == size + vhd.FOOTER_BYTES
    position = 0
    with path.open("rb") as file:
        for start, found in content(blob):
            file.seek(start)
            if start < size:
                here = found[: size - start]
                assert file.read(len(here)).ljust(len(here), b"\0") == here
            position = start + len(found)
    assert position == size + vhd.FOOTER_BYTES
    footer = vhd.read_footer(blob.download_blob(size, vhd.FOOTER_BYTES).readall())
    assert footer.current_bytes == size


def allocated(path: Path) -> int:
    return path.stat().st_blocks * 512


def covers(blob: BlobClient, path: Path) -> None:
    """Everything that the disk holds has its page: the other direction of ``holds``."""
    there = [(found.start, found.end) for found in blob.list_page_ranges()]
    for offset, block in image.data_blocks(path, ImageFormat.RAW, path.stat().st_size):
        first = next((at for at, byte in enumerate(bytes(block)) if byte), None)
        if first is not None:
            assert any(start <= offset + first <= end for start, end in there), offset


def test_a_raw_disk_arrives_with_its_footer_and_no_more_is_sent_than_it_holds(emulator: Azurite, disk: Path) -> None:
    url, blob = link(emulator)
    sent = upload_vhd(subject(disk), disk, url, silent, creates=True)
    holds(blob, disk, SIZE)
    covers(blob, disk)
    assert sent.sent_bytes <= allocated(disk) + vhd.FOOTER_BYTES
    assert sent.blob_bytes == SIZE + vhd.FOOTER_BYTES


def test_any_container_of_a_disk_gives_the_same_blob(emulator: Azurite, disk: Path, tmp_path: Path) -> None:
    other = tmp_path / "disk.qcow2"
    subprocess.run(["qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2", disk, other], check=True)
    found = []
    for path, container in ((disk, ImageFormat.RAW), (other, ImageFormat.QCOW2)):
        url, blob = link(emulator)
        upload_vhd(subject(path, container), path, url, silent, creates=True)
        holds(blob, disk, SIZE)
        found.append(blob.download_blob(SIZE, vhd.FOOTER_BYTES).readall())
    assert found[0] == found[1]


def test_a_connection_that_breaks_costs_a_request_and_not_the_upload(emulator: Azurite, disk: Path) -> None:
    proxy = CuttingProxy(target=emulator.port, budget=5 * MIB)
    proxy.again = lambda: 8 * MIB if proxy.cuts < 2 else 1 << 40
    with proxy.running():
        url, blob = link(emulator, port=proxy.port)
        upload_vhd(subject(disk), disk, url, silent, creates=True)
    assert proxy.cuts >= 2
    holds(blob, disk, SIZE)


@pytest.fixture(scope="module")
def sent_bytes(emulator: Azurite, disk: Path) -> int:
    """What a whole upload sends of pages."""
    url, _ = link(emulator)
    return upload_vhd(subject(disk), disk, url, silent, creates=True).sent_bytes


UPLOADER = """
import sys
from pathlib import Path
from lisa_ci import image
from lisa_ci.model import Image, ImageFormat, Secret
from lisa_ci.platforms.azure.upload import upload_vhd
path = Path(sys.argv[1])
digest, size = image.disk_digest(path, ImageFormat.RAW)
subject = Image(path=str(path), format=ImageFormat.RAW, size_bytes=size, disk_digest=digest)
upload_vhd(subject, path, Secret(sys.stdin.read()), lambda event: None)
"""


@pytest.mark.parametrize("share", [0.001, *(round(random.Random(seed).random(), 3) for seed in range(2)), 0.999])
def test_an_uploader_that_is_killed_at_any_byte_leaves_no_disk_and_the_next_one_finishes_it(
    emulator: Azurite, disk: Path, sent_bytes: int, share: float
) -> None:
    """As for a managed disk, whose bytes nobody may read back: what was sent before is sent again, and is the same."""
    proxy = CuttingProxy(target=emulator.port, budget=int(sent_bytes * share))
    with proxy.running():
        url, blob = link(emulator, port=proxy.port)
        blob.create_page_blob(size=SIZE + vhd.FOOTER_BYTES)
        uploader = subprocess.Popen([sys.executable, "-c", UPLOADER, str(disk)], stdin=subprocess.PIPE)
        proxy.on_cut = uploader.kill
        uploader.communicate(url.reveal().encode(), timeout=60)
    assert uploader.returncode == -signal.SIGKILL
    assert blob.download_blob(SIZE, vhd.FOOTER_BYTES).readall() == bytes(vhd.FOOTER_BYTES), "it is a disk already"
    direct = Secret(url.reveal().replace(f":{proxy.port}/", f":{emulator.port}/"))
    upload_vhd(subject(disk), disk, direct, silent)
    holds(blob, disk, SIZE)
    covers(blob, disk)


@pytest.mark.parametrize(("permission", "hours"), [("r", 1), ("cw", -1)])
def test_a_link_that_does_not_open_is_told_without_its_signature(
    emulator: Azurite, disk: Path, permission: str, hours: int
) -> None:
    url, blob = link(emulator, permission=permission, hours=hours)
    with pytest.raises(ProvisioningError, match="could not be uploaded: Auth") as caught:
        upload_vhd(subject(disk), disk, url, silent, creates=True)
    assert "sig=" not in f"{caught.value} {caught.value.hint}"
    assert not blob.exists()


def test_an_image_that_changes_meanwhile_gets_no_footer(
    emulator: Azurite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "disk.raw"
    path.write_bytes(b"\1" * 32 * MIB)
    taken, known = subject(path), upload.pieces

    def touched(blocks: Iterator[tuple[int, bytes]]) -> Iterator[tuple[int, bytes]]:
        yield from known(blocks)
        path.write_bytes(b"\2" * 32 * MIB)

    monkeypatch.setattr(upload, "pieces", touched)
    url, blob = link(emulator)
    with pytest.raises(ProvisioningError, match="was changed while it was uploaded"):
        upload_vhd(taken, path, url, silent, creates=True)
    assert blob.download_blob(32 * MIB, vhd.FOOTER_BYTES).readall() == bytes(vhd.FOOTER_BYTES)


def test_a_disk_that_azure_does_not_take_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    path = tmp_path / "disk.raw"
    path.write_bytes(b"\1" * MIB)
    with pytest.raises(ProvisioningError, match="1048576 bytes is none for Azure"):
        upload_vhd(subject(path), path, Secret("http://127.0.0.1:9/none"), silent)
