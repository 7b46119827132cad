"""A machine in which cases of the suite ``security`` run one by one, in the world as it is or in a wrong one, and the
host's scenarios beside them.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath

from lisa_ci import files, image, registry
from lisa_ci.drivers.shell import ShellDriver
from lisa_ci.execution.caselist import environment
from lisa_ci.model import Access, Case, ImageSource, Lease, Leg, Outcome, Profile, Result, Subject, Timeouts
from lisa_ci.pipeline.suites import load_suite
from lisa_ci.platforms.qemu import QemuPlatform
from lisa_ci.platforms.qemu.platform import QemuMachines
from lisa_ci.protocols import Machine

BOOT = Timeouts(boot=timedelta(minutes=12), case=timedelta(minutes=3))
SOON = timedelta(minutes=2)
LIMIT = timedelta(minutes=5)
FOLDER = PurePosixPath("/var/tmp/lisa-ci-suites/security")

# "program NAME BODY" puts a program before the system's, in which "real" is the system's. Mounts are the world's own.
# Not in /run, where nothing can be executed.
WORDS = r"""
world=$(mktemp -d /var/tmp/lisa-ci-world.XXXXXX)
trap 'rm -rf "$world"' EXIT
mkdir "$world/bin"
PATH=$PATH:/usr/sbin:/sbin
program() {
  found=$(command -v "$1")
  printf '#!/bin/sh\nreal=%s\n%s\n' "$found" "$2" >"$world/bin/$1"
  chmod +x "$world/bin/$1"
}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class SecurityMachine:
    machines: QemuMachines
    machine: Machine
    profile: Profile

    def case(self, case_id: str, *prelude: str, facts: Mapping[str, str] | None = None) -> Result:
        """Its result after the lines of ``prelude`` made the world a wrong one; ``facts`` replace what it is told."""
        suite = load_suite(files.shipped("suites") / "security", registry.known())
        case = next(case for case in suite.cases or () if case.id == case_id)
        leg = Leg(id="leg", profile=self.profile, tasks=())
        told = {**environment(leg), **suite.environment, **(facts or {})}
        lines = [
            WORDS,
            *(f"export {name}={shlex.quote(value)}" for name, value in told.items()),
            f"cd {FOLDER} || exit 99",
            *prelude,
            "PATH=$world/bin:$PATH",
            shlex.join(case.run),
        ]
        done = self.machine.run("unshare", "--mount", "sh", "-c", "\n".join(lines), timeout=LIMIT)
        return ShellDriver().interpret(Case(suite="security", id=case_id), done)

    def sh(self, line: str) -> str:
        """What a command prints; it must work."""
        done = self.machine.run("sh", "-c", line, timeout=SOON)
        assert done.exit == 0, done.output.decode(errors="replace")
        return done.output.decode().strip()

    def not_passed(self, name: str) -> dict[str, Outcome]:
        """Of the suite of this name, which is a scenario of this name: case -> outcome."""
        suite = load_suite(files.shipped("suites") / name, registry.known())
        found = registry.scenario(name).run(suite, self.machines, timeouts=BOOT, emit=lambda _: None)
        return {result.case: result.outcome for result in found if result.outcome is not Outcome.PASSED}


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
        found.machine.put_tree(files.shipped("suites") / "security", FOLDER)
        yield found
