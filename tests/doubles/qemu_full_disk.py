"""A machine whose scratch folder is on a file system that becomes full under it; prints how it was lost, as JSON.

usage: qemu_full_disk.py IMAGE FOLDER      (in a mount namespace of its own, with the right to mount)
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from lisa_ci import image
from lisa_ci.errors import MachineLostError, ProvisioningError
from lisa_ci.model import Access, ImageSource, Lease, Profile, Subject, Timeouts
from lisa_ci.platforms.qemu import QemuPlatform

SIZE_MIB = 1200
LEFT_MIB = 40
WRITE = "dd if=/dev/zero of=/big bs=1M count=200 conv=fsync; sleep 60"


def main(path: str, folder: Path) -> None:
    scratch = folder / "scratch"
    scratch.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE_MIB}m", "tmpfs", scratch], check=True)
    lease = Lease(
        owner="test",
        leg="full",
        attempt=1,
        delete_after=datetime.now(UTC) + timedelta(minutes=10),
        evidence=folder / "evidence",
        scratch=scratch,
    )
    subject = Subject(image=image.resolve(ImageSource(path=path), Path("/")))
    timeouts = Timeouts(boot=timedelta(minutes=5))
    told: dict[str, object] = {}
    profile = Profile(name="full", memory_mib=256)
    with QemuPlatform().provision(
        profile, subject, Access(), lease, timeouts=timeouts, emit=lambda _: None
    ) as machines:
        facts = os.statvfs(scratch)
        with (scratch / "filling").open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, facts.f_bavail * facts.f_bsize - (LEFT_MIB << 20))
        try:
            machines.snapshot()
        except ProvisioningError as error:
            told["snapshot"] = error.message
        started = time.monotonic()
        try:
            machines.members[0].run("sh", "-c", WRITE, timeout=timedelta(seconds=50))
        except MachineLostError as error:
            told |= {"loss": error.loss, "message": error.message, "seconds": time.monotonic() - started}
        (scratch / "filling").unlink()
    told["left"] = [str(entry) for entry in scratch.iterdir()]
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
