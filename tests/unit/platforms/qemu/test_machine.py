from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from lisa_ci.model import Arch, Firmware, Nic, Profile
from lisa_ci.platforms.qemu import QemuPlatform, platform, storage
from lisa_ci.platforms.qemu.command_line import TPM_SOCKET
from lisa_ci.platforms.qemu.machine import forwarded_port, start_hint
from lisa_ci.platforms.qemu.platform import available_mib
from lisa_ci.platforms.qemu.storage import find_firmware
from lisa_ci.platforms.qemu.tpm import beside
from lisa_ci.process import Finished

USERNET = """Hub -1 (control):
  Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ
  TCP[HOST_FORWARD]  16       127.0.0.1 34567       10.0.2.15    22     0     0
"""


def test_the_port_is_the_one_that_qemu_tells() -> None:
    assert forwarded_port(USERNET) == 34567
    assert forwarded_port("Hub -1 (control):\n") is None
    assert forwarded_port(USERNET.replace("127.0.0.1", "0.0.0.0  ")) is None


@pytest.mark.parametrize(
    ("stderr", "hint"),
    [
        ('Failed to get shared "write" lock', "writes to the image"),
        ("cannot set up guest memory 'pc.ram': Cannot allocate memory", "less memory_mib"),
        ("'igb' is not a valid device model name", "too old"),
        ("Could not open '/x': Permission denied", "who may read"),
        ("something else", "doctor"),
    ],
)
def test_a_qemu_that_does_not_start_comes_with_a_hint(stderr: str, hint: str) -> None:
    assert hint in start_hint(stderr)


@pytest.mark.parametrize(
    ("code", "variables", "kind"),
    [
        ("usr/share/OVMF/OVMF_CODE_4M.fd", "usr/share/OVMF/OVMF_VARS_4M.fd", "raw"),
        ("usr/share/edk2/ovmf/OVMF_CODE_4M.qcow2", "usr/share/edk2/ovmf/OVMF_VARS_4M.qcow2", "qcow2"),
        ("usr/share/edk2/x64/OVMF_CODE.4m.fd", "usr/share/edk2/x64/OVMF_VARS.4m.fd", "raw"),
    ],
)
def test_firmware_is_found_where_distributions_put_it(tmp_path: Path, code: str, variables: str, kind: str) -> None:
    for name in (code, variables):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = find_firmware(tmp_path)
    assert found
    assert [(file.path, file.format) for file in found] == [(tmp_path / code, kind), (tmp_path / variables, kind)]


def test_code_without_its_variables_is_no_firmware(tmp_path: Path) -> None:
    (tmp_path / "usr/share/OVMF").mkdir(parents=True)
    (tmp_path / "usr/share/OVMF/OVMF_CODE_4M.fd").touch()
    assert find_firmware(tmp_path) is None


def test_what_the_host_lacks_is_told_with_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform.host, "find", lambda _: None)
    monkeypatch.setattr(storage, "find_firmware", lambda **_: None)
    [problem] = QemuPlatform().problems(Profile(name="uefi", firmware=Firmware.UEFI, memory_mib=1))
    assert re.search("lacks qemu-system-x86_64, qemu-img, setpriv, ovmf; .*doctor", problem)


def test_a_tpm_needs_its_program_and_secure_boot_its_firmware(monkeypatch: pytest.MonkeyPatch) -> None:
    find = platform.host.find
    monkeypatch.setattr(platform.host, "find", lambda name: None if name == "swtpm" else find(name) or Path("/there"))
    monkeypatch.setattr(storage, "find_firmware", lambda *, is_secure, **_: None if is_secure else (1, 2))
    plain = Profile(name="uefi", firmware=Firmware.UEFI, memory_mib=1)
    assert QemuPlatform().problems(plain) == []
    for profile, missing in (
        (dataclasses.replace(plain, tpm=True), "this host lacks swtpm; "),
        (dataclasses.replace(plain, secure_boot=True), "this host lacks ovmf; "),
    ):
        [problem] = QemuPlatform().problems(profile)
        assert problem.startswith(missing)


def test_a_host_that_gives_no_tap_says_so_and_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform.host, "find", lambda _: Path("/there"))
    tried: list[list[str]] = []

    def run(command: Sequence[str], **_: object) -> Finished:
        tried.append(list(command))
        return Finished(exit=1, stdout=b"", stderr=b"no tap device: [Errno 13] Permission denied: '/dev/net/tun'\n")

    monkeypatch.setattr(platform.process, "run", run)
    assert QemuPlatform().problems(Profile(name="one", memory_mib=1, nics=(Nic(),))) == []
    assert tried == []
    [problem] = QemuPlatform().problems(Profile(name="many", memory_mib=1, nics=(Nic(), Nic(queues=2))))
    assert tried[0][-3:] == ["nic2=2", "--", "true"]
    assert "many has a NIC with several queues, which needs a tap device: no tap device: [Errno 13]" in problem
    assert "/dev/net/tun has to be open" in problem


def test_secure_boot_takes_code_and_keys_that_belong_together(tmp_path: Path) -> None:
    folder = tmp_path / "usr/share/OVMF"
    folder.mkdir(parents=True)
    for name in ("OVMF_CODE_4M.fd", "OVMF_VARS_4M.fd", "OVMF_CODE_4M.secboot.fd"):
        (folder / name).touch()
    assert find_firmware(tmp_path) is not None
    assert find_firmware(tmp_path, is_secure=True) is None
    (folder / "OVMF_VARS_4M.ms.fd").touch()
    found = find_firmware(tmp_path, is_secure=True)
    assert found is not None
    assert [file.path.name for file in found] == ["OVMF_CODE_4M.secboot.fd", "OVMF_VARS_4M.ms.fd"]


def test_a_tpm_is_started_beside_qemu_in_whatever_folder(tmp_path: Path) -> None:
    script = beside(tmp_path / "it's a folder")
    assert script.endswith("done\n")
    assert "'\"'\"'s a folder'/tpm" in script
    assert f"path={TPM_SOCKET} --terminate 4<&- &\n" in script


def test_a_profile_larger_than_the_host_is_told() -> None:
    [problem] = QemuPlatform().problems(Profile(name="huge", memory_mib=1 << 40))
    assert "memory" in problem


def test_available_memory_is_read_from_the_kernel() -> None:
    assert available_mib("MemTotal: 100 kB\nMemAvailable:   2097152 kB\n") == 2048
    assert available_mib("MemTotal: 100 kB\n") is None


def test_a_machine_for_aarch64_has_firmware_of_its_own(tmp_path: Path) -> None:
    folder = tmp_path / "usr/share/AAVMF"
    folder.mkdir(parents=True)
    for name in ("AAVMF_CODE.fd", "AAVMF_VARS.fd"):
        (folder / name).touch()
    assert find_firmware(tmp_path) is None
    found = find_firmware(tmp_path, arch=Arch.AARCH64)
    assert found is not None
    assert [file.path.name for file in found] == ["AAVMF_CODE.fd", "AAVMF_VARS.fd"]


def test_what_the_host_lacks_for_aarch64_is_told_with_its_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform.host, "find", lambda _: None)
    monkeypatch.setattr(storage, "find_firmware", lambda **_: None)
    [problem] = QemuPlatform().problems(Profile(name="arm", arch=Arch.AARCH64, firmware=Firmware.UEFI, memory_mib=1))
    assert "lacks qemu-system-aarch64, qemu-img, setpriv, aavmf; " in problem
