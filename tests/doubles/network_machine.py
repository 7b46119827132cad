"""A machine with two network cards beside the control card, one of them with two queues, in which cases of the suites
``network`` and ``performance`` run one by one, in the world as it is or in one that something is wrong with.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from lisa_ci import image
from lisa_ci.model import Access, ImageSource, Lease, Nic, Profile, Subject, Timeouts
from lisa_ci.platforms.qemu import QemuPlatform
from tests.doubles.demo_image import field_image_path
from tests.doubles.storage_machine import StorageMachine

TWO_CARDS = Profile(name="two-cards", cores=2, memory_mib=1024, nics=(Nic(queues=2), Nic(model="e1000e")))
_BOOT = Timeouts(boot=timedelta(minutes=8))


@contextmanager
def network_machine(folder: Path, profile: Profile = TWO_CARDS) -> Iterator[StorageMachine]:
    subject = Subject(image=image.resolve(ImageSource(path=str(field_image_path())), Path("/")))
    lease = Lease(
        owner="test",
        leg="leg",
        attempt=1,
        delete_after=datetime.now(UTC) + timedelta(minutes=90),
        evidence=folder / "evidence",
        scratch=folder / "scratch",
    )
    with QemuPlatform().provision(profile, subject, Access(), lease, timeouts=_BOOT, emit=lambda _: None) as machines:
        found = StorageMachine(machines=machines, machine=machines.members[0], profile=profile)
        found.install("network", "performance")
        yield found
