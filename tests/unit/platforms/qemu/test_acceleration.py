from __future__ import annotations

import errno
import json
import struct
from pathlib import Path

import pytest

from lisa_ci import process
from lisa_ci.errors import ToolError
from lisa_ci.events import Event, Level, Message
from lisa_ci.platforms.qemu import acceleration
from lisa_ci.platforms.qemu.acceleration import Accelerator, Trial, find_acceleration, judge_open, judge_trial
from lisa_ci.platforms.qemu.payload import PASSED, payload

ABORTED = process.Finished(exit=-6, stdout=b"", stderr=b"error: failed to set MSR\nAssertion failed.\n")
GOOD = process.Finished(exit=PASSED, stdout=b"", stderr=b"")


class Host:
    """A host on which programs end as told."""

    def __init__(self, *trials: process.Finished | None) -> None:
        self.trials = list(trials)

    def run(self, command: list[str], **_options: object) -> process.Finished:
        assert "-kernel" in command
        ended = self.trials.pop(0)
        if ended is None:
            raise ToolError("it did not end")
        return ended


@pytest.fixture
def kvm(tmp_path: Path) -> Path:
    device = tmp_path / "kvm"
    device.touch()
    return device


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LISA_CI_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(acceleration, "version", lambda _: "QEMU emulator version 7.2")


def put(monkeypatch: pytest.MonkeyPatch, *trials: process.Finished | None) -> Host:
    host = Host(*trials)
    monkeypatch.setattr(process, "run", host.run)
    return host


def test_absent_forbidden_and_broken_are_three_different_messages() -> None:
    absent, forbidden = judge_open(errno.ENOENT), judge_open(errno.EACCES)
    hangs, aborts = judge_trial(Trial(exit=None)), judge_trial(Trial(exit=-6, last_line="Assertion failed"))
    assert absent
    assert forbidden
    assert len({absent.reason, forbidden.reason, hangs.reason, aborts.reason}) == 4
    assert "no /dev/kvm" in absent.reason
    assert "may not open" in forbidden.reason
    assert "udev rule" in forbidden.hint
    assert "group kvm" in forbidden.hint
    assert "hangs" in hangs.reason
    assert "aborts (signal 6): Assertion failed" in aborts.reason


@pytest.mark.parametrize("number", [errno.ENOENT, errno.EACCES, errno.EBUSY, errno.EIO])
def test_whatever_keeps_kvm_from_opening_means_emulation(number: int) -> None:
    found = judge_open(number)
    assert found is not None
    assert found.accelerator is Accelerator.TCG
    assert found.cpu == "max"


@pytest.mark.parametrize("exit_code", [0, 1, 32, 34, 134, -6, -11, None])
def test_only_the_exit_code_that_the_guest_wrote_proves_kvm(exit_code: int | None) -> None:
    assert judge_trial(Trial(exit=exit_code)).accelerator is Accelerator.TCG
    assert judge_trial(Trial(exit=PASSED)).accelerator is Accelerator.KVM


def test_a_broken_kvm_falls_back_with_a_warning(kvm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(monkeypatch, ABORTED)
    told: list[Event] = []
    assert find_acceleration("qemu", told.append, device=kvm).accelerator is Accelerator.TCG
    assert [event.level for event in told if isinstance(event, Message)] == [Level.WARNING]


def test_a_good_kvm_is_used_without_a_word(kvm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(monkeypatch, GOOD)
    told: list[Event] = []
    assert find_acceleration("qemu", told.append, device=kvm).accelerator is Accelerator.KVM
    assert not told


def test_the_verdict_is_remembered(kvm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(monkeypatch, ABORTED)
    first = find_acceleration("qemu", lambda _: None, device=kvm)
    assert find_acceleration("qemu", lambda _: None, device=kvm) == first


def test_a_new_qemu_is_tried_again(kvm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(monkeypatch, ABORTED, GOOD)
    find_acceleration("qemu", lambda _: None, device=kvm)
    monkeypatch.setattr(acceleration, "version", lambda _: "QEMU emulator version 9")
    assert find_acceleration("qemu", lambda _: None, device=kvm).accelerator is Accelerator.KVM


def test_a_host_that_is_only_busy_gets_a_second_try(kvm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(monkeypatch, None, GOOD)
    assert find_acceleration("qemu", lambda _: None, device=kvm).accelerator is Accelerator.KVM


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b'{"key": 1}', b"\xff\xfe", b"null"])
def test_a_damaged_memory_is_tried_again(content: bytes, kvm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = acceleration.image.cache_folder() / "acceleration.json"
    memory.parent.mkdir(parents=True)
    memory.write_bytes(content)
    put(monkeypatch, GOOD)
    assert find_acceleration("qemu", lambda _: None, device=kvm).accelerator is Accelerator.KVM
    assert json.loads(memory.read_bytes())["exit"] == PASSED


def test_a_missing_device_starts_no_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host = put(monkeypatch, GOOD)
    assert find_acceleration("qemu", lambda _: None, device=tmp_path / "none").accelerator is Accelerator.TCG
    assert host.trials


def test_the_payload_is_a_multiboot_file_that_starts_within_itself() -> None:
    data = payload()
    magic, flags, checksum, header, start, end, bss_end, entry = struct.unpack_from("<8I", data)
    assert (magic + flags + checksum) % 2**32 == 0
    assert magic == 0x1BADB002
    assert header == start
    assert end - start == len(data)
    assert start < entry < end < bss_end
    assert len(data) < 512
