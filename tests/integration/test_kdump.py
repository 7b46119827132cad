"""A kernel that really crashes and saves its memory, and one that really starts itself anew: one machine for all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from lisa_ci import files, image
from lisa_ci.events import Event, Message
from lisa_ci.model import Access, ImageSource, Lease, Outcome, Profile, Result, Subject, Suite, Timeouts
from lisa_ci.pipeline.known import Known
from lisa_ci.pipeline.suites import load_suite
from lisa_ci.platforms.qemu import QemuPlatform
from lisa_ci.platforms.qemu.platform import QemuMachines
from lisa_ci.scenarios.kdump import KdumpScenario
from lisa_ci.scenarios.kexec import KexecScenario
from tests.doubles.kdump_image import kdump_image

SOON = timedelta(seconds=60)
BOOT = Timeouts(boot=timedelta(minutes=6))


def suite_of(name: str) -> Suite:
    known = Known(platforms=frozenset(), drivers=frozenset(), scenarios=frozenset({name}))
    return load_suite(files.shipped("suites") / name, known)


@dataclass
class Guest:
    machines: QemuMachines

    def sh(self, line: str) -> str:
        done = self.machines.members[0].run("sh", "-c", line, timeout=SOON)
        assert done.exit == 0, done.output
        return done.output.decode().strip()

    def judge(self, scenario: KdumpScenario | KexecScenario, suite: Suite) -> tuple[dict[str, Result], list[str]]:
        events: list[Event] = []
        results = list(scenario.run(suite, self.machines, timeouts=BOOT, emit=events.append))
        return {result.case: result for result in results}, [
            event.text for event in events if isinstance(event, Message)
        ]


@contextmanager
def crashable(folder: Path) -> Iterator[Guest]:
    """A machine of the image that saves its memory."""
    subject = Subject(image=image.resolve(ImageSource(path=str(kdump_image(folder))), Path("/")))
    lease = Lease(
        owner="test",
        leg="leg",
        attempt=1,
        delete_after=datetime.now(UTC) + timedelta(minutes=30),
        evidence=folder / "evidence",
        scratch=folder / "scratch",
    )
    with QemuPlatform().provision(
        Profile(name="crash", memory_mib=768), subject, Access(), lease, timeouts=BOOT, emit=lambda _: None
    ) as machines:
        yield Guest(machines=machines)


@pytest.fixture(scope="module")
def guest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guest]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        with crashable(tmp_path_factory.mktemp("kdump")) as guest:
            yield guest


def test_a_crash_is_saved_and_not_cut_short(guest: Guest) -> None:
    suite = suite_of("kdump")
    results, told = guest.judge(KdumpScenario(), suite)
    assert {case: (result.outcome, result.message) for case, result in results.items()} == {
        case.id: (Outcome.PASSED, "") for case in suite.cases or ()
    }
    assert any("its kernel panicked, and it rebooted" in text for text in told), "the crash kernel had its time"
    assert "form='flattened kdump'" in results["right-kernel"].detail
    assert "sysrq: Trigger a crash" in results["last-words"].detail
    assert guest.sh("find /var/crash -name 'dump*' -o -name 'dmesg*'; ls /var/tmp/lisa-ci-* 2>/dev/null || :") == ""


def test_a_kernel_that_starts_itself_anew_comes_back(guest: Guest) -> None:
    suite = suite_of("kexec")
    results, _ = guest.judge(KexecScenario(), suite)
    assert {case: (result.outcome, result.message) for case, result in results.items()} == {
        case.id: (Outcome.PASSED, "") for case in suite.cases or ()
    }
    assert "lisa-ci-kexec=" in guest.sh("cat /proc/cmdline")
