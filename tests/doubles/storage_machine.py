"""A machine with a disk on every bus, in which cases of the suites ``storage`` and ``sriov`` run one by one, in the
world as it is or in one that something is wrong with.
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
from lisa_ci.model import (
    Access,
    Bus,
    Case,
    Completed,
    Disk,
    ImageSource,
    Lease,
    Leg,
    Profile,
    Result,
    Subject,
    Timeouts,
)
from lisa_ci.pipeline.suites import load_suite
from lisa_ci.platforms.qemu import QemuPlatform
from lisa_ci.platforms.qemu.platform import QemuMachines
from lisa_ci.protocols import Machine
from tests.doubles.demo_image import field_image_path

EVERY_BUS = Profile(
    name="every-bus",
    cores=2,
    memory_mib=1024,
    hotplug=True,
    disks=(
        Disk(size_mib=512),
        Disk(size_mib=512, bus=Bus.NVME, namespaces=2, queues=2),
        Disk(size_mib=1024, bus=Bus.SCSI, queues=2),
        Disk(size_mib=512, bus=Bus.SATA),
    ),
)
_BOOT = Timeouts(boot=timedelta(minutes=5))
_FOLDER = "/var/tmp/lisa-ci-suites"
_LIMIT = timedelta(minutes=8)

# What a world is written in. "program NAME BODY" puts a program before the system's, in which "real" is the system's.
# Mounts are the world's own; the suite is a copy that may be changed.
_WORDS = r"""
world=$(mktemp -d /var/tmp/lisa-ci-world.XXXXXX) # /run takes no programs where systemd mounted it
trap 'rm -rf "$world"' EXIT
mkdir "$world/bin"
program() {
  found=$(command -v "$1")
  printf '#!/bin/sh\nreal=%s\n%s\n' "$found" "$2" >"$world/bin/$1"
  chmod +x "$world/bin/$1"
}
PATH=$PATH:/usr/sbin:/sbin
"""

# What a case could not undo, because its world kept it from it. Mounts went with the world's namespace.
_CLEAN = r"""
PATH=$PATH:/usr/sbin:/sbin
left() { dmsetup info -c --noheadings -o name 2>/dev/null | grep '^lisa-'; } # of LVM's too: lisa--ci--
udevadm settle --timeout=20
for array in /sys/block/md*/md; do
  [ ! -e "$array" ] || { array=${array%/md} && mdadm --stop "/dev/${array##*/}"; }
done
for again in 1 2 3 4; do # what lies on another goes first
  for name in $(left); do dmsetup remove --force "$name" >/dev/null 2>&1; done
done
udevadm settle --timeout=20
! left && ! grep '^md' /proc/mdstat 2>/dev/null
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageMachine:
    machines: QemuMachines | None
    machine: Machine
    profile: Profile

    def case(self, suite: str, case_id: str, *prelude: str, facts: Mapping[str, str] | None = None) -> Result:
        """Its result after the lines of ``prelude`` made the world what it is not; ``facts`` replace the profile's."""
        cases = {case.id: case for case in load_suite(files.shipped("suites") / suite, registry.known()).cases or ()}
        told = {**environment(Leg(id="leg", profile=self.profile, tasks=())), **(facts or {})}
        lines = [
            _WORDS,
            *(f"export {name}={shlex.quote(value)}" for name, value in told.items()),
            f'cp -a {_FOLDER}/{suite} "$world/suite" && cd "$world/suite" || exit 99',
            *prelude,
            "PATH=$world/bin:$PATH",
            f"{shlex.join(cases[case_id].run)}",
        ]
        done = self.machine.run("unshare", "--mount", "sh", "-c", "\n".join(lines), timeout=_LIMIT)
        return interpreted(suite, case_id, done)

    def clean(self) -> None:
        """Take away what the last world made its case leave behind: the next one's disks are nobody's."""
        done = self.machine.run("sh", "-c", _CLEAN, timeout=_LIMIT)
        assert done.exit == 0, done.output.decode(errors="replace")

    def install(self, *suites: str) -> None:
        """Bring the suites there and do what they do before their first case."""
        for suite in suites:
            folder = files.shipped("suites") / suite
            self.machine.put_tree(folder, PurePosixPath(_FOLDER) / suite)
            if (folder / "prepare").exists():
                self.machine.run("sh", "-c", f"cd {_FOLDER}/{suite} && ./prepare", timeout=_LIMIT)


def interpreted(suite: str, case_id: str, done: Completed) -> Result:
    return ShellDriver().interpret(Case(suite=suite, id=case_id), done)


@contextmanager
def storage_machine(folder: Path, profile: Profile = EVERY_BUS) -> Iterator[StorageMachine]:
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
        found.install("storage", "sriov")
        yield found
