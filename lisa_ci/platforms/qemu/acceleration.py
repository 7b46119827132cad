"""Can this host run guests with KVM? Told by running one, because opening ``/dev/kvm`` proves nothing.

Three things go wrong, each with a message of its own: there is no ``/dev/kvm``; we may not open it; it opens, and then
a guest hangs or QEMU aborts. In all three the machine is emulated: right, but slower.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import platform
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Final

from lisa_ci import files, image, process
from lisa_ci.errors import LisaCiError, ToolError
from lisa_ci.events import Emit, Level, Message
from lisa_ci.model import Arch
from lisa_ci.platforms.qemu.architecture import board, is_native
from lisa_ci.platforms.qemu.payload import EXIT_PORT, PASSED, payload

DEVICE: Final = Path("/dev/kvm")
MACHINE: Final = "q35"
TRIAL_LIMIT: Final = timedelta(seconds=1.5)  # a good host needs 0.1 s; a broken one 3 s, or for ever
_VERSION_LIMIT: Final = timedelta(seconds=20)
_CACHE_LIMIT_BYTES: Final = 4096
_SLOWER: Final = "the machine is emulated, which is about ten times slower"


class Accelerator(StrEnum):
    KVM = "kvm"
    TCG = "tcg"


@dataclass(frozen=True, slots=True, kw_only=True)
class Acceleration:
    """How machines run here. ``reason`` says why KVM is not used, ``hint`` what to do about it."""

    accelerator: Accelerator
    reason: str = ""
    hint: str = ""

    @property
    def cpu(self) -> str:
        """The CPU model of every machine, also of the trial: a broken KVM may pass with a smaller one."""
        return "host" if self.accelerator is Accelerator.KVM else "max"

    @property
    def arguments(self) -> tuple[str, ...]:
        """A large translation buffer saves a tenth of the boot time; only what is used is ever allocated."""
        return ("-accel", "kvm") if self.accelerator is Accelerator.KVM else ("-accel", "tcg,tb-size=256")


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """How the trial guest ended. ``exit`` None: it did not, within TRIAL_LIMIT."""

    exit: int | None
    last_line: str = ""


KVM: Final = Acceleration(accelerator=Accelerator.KVM)


def acceleration_of(arch: Arch, emit: Emit) -> Acceleration:
    """The acceleration for a machine of ``arch``, with a warning where it is emulation.

    The trial guest is a program for x86_64; on another host that opens ``/dev/kvm`` KVM is taken to work.
    """
    if arch is Arch.X86_64 and is_native(arch):
        return find_acceleration(board(arch).emulator, emit)
    if is_native(arch):
        found = judge_open(_open_error(DEVICE)) or KVM
    else:
        reason = f"this host is {platform.machine()}, the machine {arch}"
        found = Acceleration(accelerator=Accelerator.TCG, reason=reason)
    if found.accelerator is Accelerator.TCG:
        emit(Message(text=f"{found.reason}; {_SLOWER}", level=Level.WARNING, place="qemu"))
    return found


def find_acceleration(emulator: str, emit: Emit, *, device: Path = DEVICE) -> Acceleration:
    """The acceleration for this host, with a warning where it is emulation.

    Permissions are looked at each time; the trial's verdict is remembered until the host boots, or QEMU or the trial
    changes.
    """
    found = judge_open(_open_error(device)) or _remembered_trial(emulator)
    if found.accelerator is Accelerator.TCG:
        hint = f" ({found.hint})" if found.hint else ""
        emit(Message(text=f"{found.reason}; {_SLOWER}{hint}", level=Level.WARNING, place="qemu"))
    return found


def judge_open(number: int | None) -> Acceleration | None:
    """What an errno of opening ``/dev/kvm`` means; None: it opens, so a trial must tell."""
    match number:
        case None:
            return None
        case errno.ENOENT | errno.ENODEV | errno.ENXIO:
            reason = "this host has no /dev/kvm"
            hint = "enable virtualisation in its firmware, or nested virtualisation in its hypervisor"
        case errno.EACCES | errno.EPERM:
            reason = "/dev/kvm is here, but this user may not open it"
            hint = (
                'add the user to group kvm, or a udev rule: echo \'KERNEL=="kvm", GROUP="kvm", MODE="0666"\' '
                "| sudo tee /etc/udev/rules.d/99-kvm.rules, then sudo udevadm control --reload "
                "and sudo udevadm trigger --name-match=kvm"
            )
        case _:
            reason = f"/dev/kvm cannot be opened: {os.strerror(number)}"
            hint = "another hypervisor may hold it" if number == errno.EBUSY else ""
    return Acceleration(accelerator=Accelerator.TCG, reason=reason, hint=hint)


def judge_trial(trial: Trial) -> Acceleration:
    """KVM only where the trial guest ended itself as written, in time."""
    if trial.exit == PASSED:
        return KVM
    if trial.exit is None:
        how = f"a guest hangs (no answer in {TRIAL_LIMIT.total_seconds():g} s)"
    elif trial.exit < 0:
        how = f"QEMU aborts (signal {-trial.exit})"
    else:
        how = f"QEMU fails (exit code {trial.exit})"
    detail = f": {trial.last_line}" if trial.last_line else ""
    return Acceleration(
        accelerator=Accelerator.TCG,
        reason=f"/dev/kvm opens, but then {how}{detail}",
        hint="nested virtualisation of this host is broken or incomplete; only its operator can repair that",
    )


def try_guest(emulator: str, accelerator: Accelerator = Accelerator.KVM) -> Trial:
    """Run the trial guest, with the machine and the CPU that real machines get."""
    chosen = Acceleration(accelerator=accelerator)
    with tempfile.TemporaryDirectory(prefix="lisa-ci-trial-") as folder:
        file = Path(folder) / "guest"
        file.write_bytes(payload())
        command = [emulator, "-machine", MACHINE, *chosen.arguments, "-cpu", chosen.cpu, "-m", "64"]
        command += ["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]
        command += ["-device", f"isa-debug-exit,iobase={EXIT_PORT:#x},iosize=4", "-kernel", str(file)]
        try:
            finished = process.run(command, timeout=TRIAL_LIMIT, limit=1 << 16)
        except ToolError:
            return Trial(exit=None)
    lines = finished.stderr.decode(errors="replace").strip().splitlines()
    return Trial(exit=finished.exit, last_line=lines[-1][:200] if lines else "")


def _open_error(device: Path) -> int | None:
    try:
        os.close(os.open(device, os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        return error.errno or errno.EIO
    return None


def _remembered_trial(emulator: str) -> Acceleration:
    guest = hashlib.sha256(payload()).hexdigest()[:16]
    key = f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()} {version(emulator)} {guest}"
    memory = image.cache_folder() / "acceleration.json"
    with suppress(OSError, ValueError, TypeError, KeyError):
        found = json.loads(memory.read_bytes()[:_CACHE_LIMIT_BYTES])
        if isinstance(found, dict) and found.get("key") == key:
            return judge_trial(Trial(exit=found["exit"], last_line=str(found["last_line"])))
    trial = try_guest(emulator)
    if trial.exit is None:  # a host that is only busy for a moment must not be called broken until its next boot
        trial = try_guest(emulator)
    with suppress(OSError, LisaCiError):  # a cache that cannot be written costs the trial each time, nothing else
        told = {"key": key, "exit": trial.exit, "last_line": trial.last_line}
        files.write_atomically(memory, json.dumps(told).encode())
    return judge_trial(trial)


def version(emulator: str) -> str:
    """The first line of ``--version``."""
    lines = process.check([emulator, "--version"], timeout=_VERSION_LIMIT).decode(errors="replace").splitlines()
    return lines[0].strip() if lines else ""
