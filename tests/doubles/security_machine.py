"""A machine in which cases of the suite ``security`` run one by one, in the world as it is or in a wrong one, and the
host's scenarios beside them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from lisa_ci import files, image, registry
from lisa_ci.model import Access, ImageSource, Lease, Outcome, Profile, Result, Subject, Timeouts
from lisa_ci.pipeline.suites import load_suite
from lisa_ci.platforms.qemu import QemuPlatform
from tests.doubles.storage_machine import StorageMachine

BOOT = Timeouts(boot=timedelta(minutes=8), case=timedelta(minutes=3))
SOON = timedelta(minutes=2)


@dataclass(frozen=True, slots=True, kw_only=True)
class SecurityMachine(StorageMachine):
    """``case("security", ID, *prelude)`` is that of every machine of ours."""

    def sh(self, line: str) -> str:
        """What a command prints; it must work."""
        done = self.machine.run("sh", "-c", line, timeout=SOON)
        assert done.exit == 0, done.output.decode(errors="replace")
        return done.output.decode().strip()

    def scenario(self, name: str) -> dict[str, Result]:
        """The results of the suite of this name, which is a scenario of this name."""
        suite = load_suite(files.shipped("suites") / name, registry.known())
        assert self.machines is not None
        found = registry.scenario(name).run(suite, self.machines, timeouts=BOOT, emit=lambda _: None)
        return {result.case: result for result in found}

    def not_passed(self, name: str) -> dict[str, Outcome]:
        return {case: one.outcome for case, one in self.scenario(name).items() if one.outcome is not Outcome.PASSED}


@contextmanager
def security_machine(folder: Path, profile: Profile, disk: Path) -> Iterator[SecurityMachine]:
    subject = Subject(image=image.resolve(ImageSource(path=str(disk)), Path("/")))
    lease = Lease(
        owner="test",
        leg="leg",
        attempt=1,
        delete_after=datetime.now(UTC) + timedelta(minutes=60),
        evidence=folder / "evidence",
        scratch=folder / "scratch",
    )
    with QemuPlatform().provision(profile, subject, Access(), lease, timeouts=BOOT, emit=lambda _: None) as machines:
        found = SecurityMachine(machines=machines, machine=machines.members[0], profile=profile)
        found.install("security")
        yield found
