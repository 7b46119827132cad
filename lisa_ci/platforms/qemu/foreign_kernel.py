"""A foreign kernel in the machine that runs it: it is the one that was meant, and its modules are where it looks."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path, PurePosixPath
from typing import Final

from lisa_ci.errors import PipelineError, ProvisioningError
from lisa_ci.kernel import Identity, build_id
from lisa_ci.protocols import Machine

_RELEASE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+~-]{0,127}")
_SHORT: Final = timedelta(seconds=60)

_WHO: Final = "uname -r; uname -v; od -An -v -tx1 /sys/kernel/notes | tr -d ' \\n'; echo"

# $1 kernel release. The index is made where the folder came without one. Then every device is announced again: its
# driver may be among what was just copied. A machine without udev loads by hand.
_TAKE_INTO_USE: Final = r"""
cd "/lib/modules/$1" || exit 1
[ -e modules.dep ] || depmod "$1" || exit 1
command -v udevadm >/dev/null || exit 0
udevadm trigger --type=devices --action=add && udevadm settle --timeout=30 || :
"""


def prove(machine: Machine, expected: Identity) -> None:
    """ProvisioningError where another kernel runs: its release, its version or its build id is not the expected one."""
    told = machine.run("sh", "-c", _WHO, timeout=_SHORT).output.decode("ascii", "replace").splitlines()
    release, version, notes = (*(line.strip() for line in told[:3]), "", "", "")[:3]
    wrong = [
        f"{what} {found[:200]!r}, not {wanted!r}"
        for what, found, wanted in (
            ("its release is", release, expected.release),
            ("its version is", version, expected.version),
            ("its build id is", _build_id(notes), expected.build_id),
        )
        if wanted and found != wanted
    ]
    if wrong:
        raise ProvisioningError(
            f"another kernel was booted: {'; '.join(wrong)}",
            hint="image and vmlinux have to come from one build; something in the image may start another kernel",
        )


def _build_id(notes: str) -> str:
    try:
        return build_id(bytes.fromhex(notes))
    except ValueError:
        return ""


def install_modules(machine: Machine, folder: Path, *, timeout: timedelta) -> None:
    """Put ``folder``/lib/modules/RELEASE where the running kernel looks for its modules.

    They go into the overlay, after the login: what mounts the root disk must be in the kernel or in its initrd.
    PipelineError where the folder has no modules of the kernel that runs.
    """
    release = machine.run("uname", "-r", timeout=_SHORT).output.decode("ascii", "replace").strip()
    source = folder / "lib/modules" / release
    if not _RELEASE.fullmatch(release) or not source.is_dir():
        known = sorted(path.name for path in (folder / "lib/modules").glob("*"))
        there = f"there is {', '.join(known[:5])}" if known else "there is no lib/modules/VERSION in it"
        raise PipelineError(
            f"kernel.modules: {folder} has no modules of the kernel that runs, {release[:128]!r}; {there}",
            hint="fill it by 'make modules_install INSTALL_MOD_PATH=FOLDER' in the kernel's build",
        )
    target = f"/lib/modules/{release}"
    machine.run("rm", "-rf", target, timeout=timeout)  # of another build with the same name
    machine.put_tree(source, PurePosixPath(target))
    taken = machine.run("sh", "-c", _TAKE_INTO_USE, "modules", release, timeout=timeout)
    if taken.exit != 0:
        said = " ".join(taken.output.decode(errors="replace").split())[-200:]
        raise ProvisioningError(f"the kernel's modules in {target} cannot be taken into use: {said}")
