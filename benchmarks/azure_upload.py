"""A sparse disk into a page blob of Azurite: lisa-ci beside azcopy and the SDK's own upload, in one run.

    python benchmarks/azure_upload.py [--data-mib 1536] [--disk-gib 30] [--no-sdk]

The disk's data lies in pieces of 64 KiB to 6 MiB all over it. The peers need a VHD on disk, which is made for them and
not counted. azcopy is taken from npm (@azure-tools/azcopy-linux) into a folder that is thrown away; it needs libsecret
(apt install libsecret-1-0). Bytes are those of the pages that the service was given.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from azure.storage.blob import BlobSasPermissions, generate_blob_sas

from lisa_ci import vhd
from lisa_ci.model import Image, ImageFormat, Secret
from lisa_ci.platforms.azure.upload import upload_vhd
from tests.doubles.azurite import KEY, Azurite, azurite

AZCOPY = "@azure-tools/azcopy-linux@10.32.2"
DIGEST = "5a" * 32  # names the disk in the footer; to compute it is the business of the plan
MOST_BYTES, MOST_TIME = 1.02, 1 / 3


def make_disk(path: Path, size: int, data: int) -> None:
    dice, left = random.Random(0), data  # noqa: S311 - no secret
    with path.open("wb") as file:
        file.truncate(size)
        pieces = []
        while left > 0:
            pieces.append(min(left, dice.randrange(16, 1536) << 12))
            left -= pieces[-1]
        room = size // len(pieces)
        for number, length in enumerate(pieces):
            file.seek(number * room + (dice.randrange(max(1, room - length)) >> 12 << 12))
            file.write(dice.randbytes(length))


def azcopy(folder: Path) -> Path | None:
    (folder / "package.json").write_text('{"private":true}')
    done = subprocess.run(["npm", "install", "--prefix", folder, "--no-audit", "--no-fund", AZCOPY], check=False)
    found = list(folder.rglob("azcopy_linux_*"))
    if done.returncode != 0 or not found:
        return None
    found[0].chmod(0o755)
    return found[0]


def link(emulator: Azurite, container: str) -> str:
    token = generate_blob_sas(
        "devstoreaccount1",
        container,
        "disk.vhd",
        account_key=KEY,
        permission=BlobSasPermissions(read=True, create=True, write=True),
        expiry=datetime.now(UTC) + timedelta(hours=2),
        version="2025-11-05",
    )
    return f"{emulator.url}/{container}/disk.vhd?{token}"


def measured(upload: Callable[[str], object]) -> tuple[float, int]:
    """Seconds, and bytes of pages; on an emulator of its own, which keeps all in memory."""
    with azurite() as emulator:
        container = emulator.container()
        before = time.monotonic()
        upload(link(emulator, container))
        seconds = time.monotonic() - before
        blob = emulator.service().get_blob_client(container, "disk.vhd")
        return seconds, sum(found.end - found.start + 1 for found in blob.list_page_ranges())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data-mib", type=int, default=1536)
    parser.add_argument("--disk-gib", type=int, default=30)
    parser.add_argument("--no-sdk", action="store_true", help="leave out the SDK's own upload, which is the slowest")
    given = parser.parse_args()
    size = given.disk_gib << 30
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        folder = Path(name)
        disk, copy = folder / "disk.raw", folder / "disk.vhd"
        make_disk(disk, size, given.data_mib << 20)
        allocated = disk.stat().st_blocks * 512
        subprocess.run(["cp", "--sparse=always", disk, copy], check=True)
        vhd.append_footer(copy, size, disk_digest=DIGEST)
        subject = Image(path=str(disk), format=ImageFormat.RAW, disk_digest=DIGEST, size_bytes=size)
        program = azcopy(folder / "npm") if shutil.which("npm") and not (folder / "npm").mkdir() else None

        def by_azcopy(url: str) -> None:
            environment = {**os.environ, "AZCOPY_LOG_LOCATION": name, "AZCOPY_JOB_PLAN_LOCATION": name}
            words = ["copy", str(copy), url, "--blob-type=PageBlob", "--from-to=LocalBlob", "--output-level=quiet"]
            subprocess.run([str(program), *words], env=environment, check=True)

        def by_sdk(url: str) -> None:
            from azure.storage.blob import BlobClient  # noqa: PLC0415

            with BlobClient.from_blob_url(url, api_version="2025-11-05") as blob, copy.open("rb") as file:
                blob.upload_blob(file, blob_type="PageBlob", length=size + vhd.FOOTER_BYTES, max_concurrency=8)

        peers: dict[str, Callable[[str], object]] = {
            "lisa-ci": lambda url: upload_vhd(subject, disk, Secret(url), lambda _: None, creates=True)
        }
        if program:
            peers["azcopy"] = by_azcopy
        if not given.no_sdk:
            peers["azure-storage-blob"] = by_sdk
        print(f"{allocated >> 20} MiB allocated of {given.disk_gib} GiB, load {os.getloadavg()[0]:.1f}", flush=True)
        found = {}
        for peer, upload in peers.items():
            found[peer] = seconds, sent = measured(upload)
            print(f"{peer:20} {seconds:7.1f} s  {sent >> 20:6} MiB  {sent / allocated:.3f} of allocated", flush=True)
    ours, sent = found["lisa-ci"]
    print(f"bytes {sent / allocated:.4f} (asked: at most {MOST_BYTES})")
    if "azcopy" not in found:
        print("azcopy could not be installed: no ratio")
        return
    print(f"time {ours / found['azcopy'][0]:.3f} of azcopy's (asked: at most {MOST_TIME:.2f})")


if __name__ == "__main__":
    main()
