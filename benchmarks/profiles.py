"""How long each profile of the catalogue takes from QEMU's start to the login, whether it is what it claims, and
whether it can be snapshot: the figures in lisa_ci/pipeline/profiles.yaml.

usage: python benchmarks/profiles.py IMAGE [PROFILE...]
"""

from __future__ import annotations

import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from lisa_ci import image
from lisa_ci.errors import ProvisioningError
from lisa_ci.execution import claims
from lisa_ci.model import Access, ImageSource, Lease, Profile, Subject, Timeouts
from lisa_ci.pipeline import catalogue
from lisa_ci.platforms.qemu import QemuPlatform

BOOT = Timeouts(boot=timedelta(minutes=10))


def measure(profile: Profile, subject: Subject, folder: Path) -> str:
    lease = Lease(
        owner="benchmark",
        leg=profile.name,
        attempt=1,
        delete_after=datetime.now(UTC) + timedelta(minutes=30),
        evidence=folder / "evidence",
        scratch=folder / "scratch",
    )
    started = time.monotonic()
    try:
        with QemuPlatform().provision(
            profile, subject, Access(), lease, timeouts=BOOT, emit=lambda _: None
        ) as machines:
            seconds = time.monotonic() - started
            first, *others = machines.members
            false = claims.ask(first, profile, others=others, timeout=timedelta(minutes=1))
            problem = machines.snapshot_problem() or "yes"
    except ProvisioningError as error:
        return f"{error.message[:200]} after {time.monotonic() - started:.0f} s"
    return f"{seconds:.0f} s; snapshot: {problem}; false claims: {'; '.join(false.values()) or 'none'}"


def main() -> None:
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    subject = Subject(image=image.resolve(ImageSource(path=sys.argv[1]), Path.cwd()))
    for name in sys.argv[2:] or catalogue():
        with tempfile.TemporaryDirectory() as folder:
            print(f"{name}: {measure(catalogue()[name], subject, Path(folder))}", flush=True)


if __name__ == "__main__":
    main()
