"""The demo's image: a small Debian made from its packages on this host, kept until it is old or its recipe changes.

Root is not needed. What is made is a plain image with systemd and sshd, bootable by BIOS and UEFI; nothing in it knows
lisa-ci, no password or key opens it.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

from lisa_ci import files, host, process
from lisa_ci.demo import disk, rootfs, sources
from lisa_ci.errors import LisaCiError, ProvisioningError
from lisa_ci.events import Emit, Level, Message

SUITE: Final = "bookworm"
PLACE: Final = "image"
MAX_AGE: Final = timedelta(days=14)
RECIPE: Final = Path(__file__).parent / "recipe"
KERNEL: Final = "linux-image-cloud-amd64"
DISK_MIB: Final = 1100
"""Free space that a build needs in its folder, beside what its disk is larger than the demo's."""

_PROGRAMS: Final = ("mmdebstrap", "unshare", "setpriv", "mke2fs", "sfdisk", "mformat", "syslinux", "qemu-img")
_BUILD_PREFIX: Final = ".lisa-ci-build-"
_APT_TIMEOUT: Final = timedelta(seconds=20)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What decides how the image comes out; ``digest`` is SHA-256 (hex) over all of it but the packages themselves."""

    suite: str
    mirror: str
    packages: tuple[str, ...]
    size_mib: int
    digest: str

    @property
    def file_name(self) -> str:
        return f"debian-{self.suite}-{self.digest[:12]}.qcow2"


def recipe(
    suite: str = SUITE,
    mirror: str = "",
    *,
    more: Sequence[str] = (),
    kernel: str = KERNEL,
    size_mib: int = disk.SIZE_MIB,
) -> Recipe:
    """The recipe of this version of lisa-ci. ``mirror`` '' = the one this host is set up to use; ``more`` packages."""
    layout = f"{size_mib} {disk.ESP_MIB} {disk.COMMAND_LINE}"
    parts = (files.tree_digest(RECIPE), suite, mirror, layout, kernel, *more)
    return Recipe(
        suite=suite,
        mirror=mirror,
        packages=(*_packages(), kernel, *more),
        size_mib=size_mib,
        digest=hashlib.sha256("\n".join(parts).encode()).hexdigest(),
    )


def cache_folder() -> Path:
    """``$LISA_CI_CACHE``, else ``lisa-ci`` in the user's cache folder."""
    if own := os.environ.get("LISA_CI_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lisa-ci"


def build_image(
    folder: Path,
    emit: Emit,
    *,
    suite: str = SUITE,
    mirror: str = "",
    max_age: timedelta = MAX_AGE,
    more: Sequence[str] = (),
    kernel: str = KERNEL,
    size_mib: int = disk.SIZE_MIB,
) -> Path:
    """The image, a qcow2 file in ``folder``: the one that is there where it is young enough, else a new one.

    ``more`` packages beside those of the recipe, another ``kernel`` package, another size of the disk: such an image
    has a name of its own.
    ProvisioningError where this host cannot make it; an old one is used, with a warning, where a new one fails.
    """
    chosen = recipe(suite, mirror, more=more, kernel=kernel, size_mib=size_mib)
    target = folder / chosen.file_name
    with _locked(folder):
        age = _age(target)
        if age is not None and age <= max_age:
            emit(Message(text=f"{target}, made {_shown(age)} ago", place=PLACE))
            return target
        try:
            _build(chosen, target, emit)
        except ProvisioningError as error:
            if age is None:
                raise
            text = f"no new image ({error.message}); using {target}, made {_shown(age)} ago"
            emit(Message(text=text, level=Level.WARNING, place=PLACE))
    return target


def _build(chosen: Recipe, target: Path, emit: Emit) -> None:
    """Make the image beside ``target``, then give it its name. Whatever happens, no scratch file stays."""
    _check_host(target.parent, chosen.size_mib)
    gptmbr, loader = host.require("gptmbr.bin", "systemd-boot")
    identity = disk.Identity.of(chosen.digest)
    work = Path(tempfile.mkdtemp(dir=target.parent, prefix=_BUILD_PREFIX))
    try:
        (work / "root").mkdir()
        (work / "sources.list").write_text(_sources(chosen))
        (work / "apt.conf").write_text(_apt_settings())
        (work / "root.uuid").write_text(str(identity.root))
        raw, log = work / "disk.raw", target.with_suffix(".log")
        disk.make_table(raw, identity, size_mib=chosen.size_mib)
        what = (chosen.suite, ",".join(chosen.packages), str(identity.root))
        where = (str(disk.ROOT_START_MIB * disk.MIB), str(disk.root_mib(chosen.size_mib) * 1024))
        rootfs.make(RECIPE / "rootfs.sh", (work, *what, *where), log=log, place=PLACE, emit=emit)
        with rootfs.stage(PLACE, "disk", emit):
            boot = disk.BootFiles(kernel=work / "vmlinuz", initrd=work / "initrd.img", gptmbr=gptmbr, loader=loader)
            disk.make_bootable(raw, identity, boot, scratch=work)
            disk.to_qcow2(raw, work / "disk.qcow2")
            (work / "disk.qcow2").replace(target)
    except OSError as error:
        raise ProvisioningError(f"the demo's image could not be made: {error}") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _check_host(folder: Path, size_mib: int) -> None:
    if platform.machine() != "x86_64":
        raise ProvisioningError(f"the demo's image is made for x86_64, and this host is {platform.machine()}")
    host.require(*_PROGRAMS, "debian-archive-keyring", *(() if os.geteuid() == 0 else ("newuidmap",)))
    free = shutil.disk_usage(folder).free >> 20
    needed = DISK_MIB + size_mib - disk.SIZE_MIB
    if free < needed:
        hint = "make room, or set LISA_CI_CACHE to a folder on another disk"
        raise ProvisioningError(f"{folder} has {free} MiB free, the image needs {needed} to be made", hint=hint)
    if found := rootfs.problems():
        raise ProvisioningError("; ".join(found), hint="'lisa-ci doctor' shows all that is missing")


def _packages() -> list[str]:
    lines = (RECIPE / "packages.txt").read_text(encoding="utf-8").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def _sources(chosen: Recipe) -> str:
    """Text of a sources.list, from what this host is set up to use."""
    found: list[sources.Source] = []
    apt = Path("/etc/apt")
    for path in (apt / "sources.list", *sorted((apt / "sources.list.d").glob("*"))):
        parse = {".list": sources.parse_list, ".sources": sources.parse_deb822}.get(path.suffix)
        if parse and path.is_file():
            found += parse(path.read_text(encoding="utf-8", errors="replace"))
    keyring = host.find("debian-archive-keyring")
    suite = sources.host_suite(platform.freedesktop_os_release())
    picked = sources.choose(
        chosen.suite, host_suite=suite, sources=found, mirror=chosen.mirror, keyring=str(keyring or "")
    )
    return sources.to_list(picked)


def _apt_settings() -> str:
    """This host's settings for reaching a mirror; '' on a host without apt's own settings."""
    if process.find("apt-config") is None:
        return ""
    finished = process.run(["apt-config", "dump", "Acquire"], timeout=_APT_TIMEOUT)
    return sources.apt_settings(finished.stdout.decode(errors="replace"))


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One build at a time in a folder; who comes second finds the image made. Clears what a killed build left."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lisa-ci-lock").open("ab")
    except OSError as error:
        raise LisaCiError(
            f"cannot use {folder}: {error.strerror}", hint="set LISA_CI_CACHE to a folder of yours"
        ) from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for stale in folder.glob(f"{_BUILD_PREFIX}*"):
            shutil.rmtree(stale, ignore_errors=True)
        yield


def _age(path: Path) -> timedelta | None:
    try:
        return timedelta(seconds=max(0.0, time.time() - path.stat().st_mtime))
    except FileNotFoundError:
        return None


def _shown(age: timedelta) -> str:
    return f"{age.days} days" if age.days > 1 else f"{max(1, int(age.total_seconds() // 3600))} h"
