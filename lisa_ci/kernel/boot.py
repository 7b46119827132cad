"""What it takes to boot an image with a foreign kernel: checks before anything starts, then the files to boot from."""

from __future__ import annotations

import dataclasses
import fcntl
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

from lisa_ci import files, host, process
from lisa_ci import image as images
from lisa_ci.errors import PipelineError, Problem, ToolError
from lisa_ci.kernel.config import Config, read_config
from lisa_ci.kernel.drivers import Situation, Weight, drivers, early_modules, lacks
from lisa_ci.kernel.identity import Identity, read_build_id, read_image
from lisa_ci.kernel.initramfs import Root, write_initramfs
from lisa_ci.kernel.modules import ModuleIndex, read_index
from lisa_ci.kernel.parts import Parts, lay_out, used
from lisa_ci.kernel.volumes import Volume, find_root, volumes
from lisa_ci.model import Access, Image, Kernel, Profile

_DISK_TIMEOUT: Final = timedelta(minutes=10)
_ROOT_WORD: Final = re.compile(r"(?:^|\s)(root|rootfstype|rootflags|init)=(\"[^\"]*\"|\S+)")
_NATIVE: Final = ("/dev/", "PARTUUID=", "PARTLABEL=")
_DISK_SPARE: Final = 1.15
_DISK_LEAST_MIB: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Boot:
    """Files and words for QEMU's own loader. ``modules_disk`` is a raw ext4 disk for the machine's /lib/modules.

    ``early`` are the names of the modules that the initramfs loads, ``tree`` has those that are copied after the login
    where there is no such disk. ``identity`` is what has to be proven once the machine runs.
    """

    image: Path
    command_line: str
    identity: Identity
    initrd: Path | None = None
    modules_disk: Path | None = None
    tree: Path | None = None
    early: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Case:
    """A kernel beside an image: what both say, read from their files."""

    kernel: Kernel
    parts: Parts
    config: Config | None
    root: Volume | None
    situation: Situation
    needs_initramfs: bool


def problems(kernel: Kernel, image: Image | None, path: Path | None, profile: Profile, access: Access) -> list[Problem]:
    """Everything known now that keeps the kernel from booting the image in a machine of the profile.

    Empty where nothing is known: a kernel without its config is checked for its root only.
    """
    try:
        case = _look(kernel, image, path, profile, access)
        if case.config is None:
            return []
        found = [lack for lack in lacks(case.config, case.situation) if lack.weight is Weight.BOOT]
        told = [Problem(message=f"the kernel cannot boot profile {profile.name}: {lack}") for lack in found]
        return told or (list(_absent(case, profile)) if case.needs_initramfs else [])
    except PipelineError as error:
        return list(error.problems)


def wishes(kernel: Kernel, profile: Profile, access: Access) -> list[str]:
    """What the kernel boots without, but the profile's hardware would not all be seen; a sentence each."""
    parts = parts_of(kernel)
    if parts.config is None:
        return [f"kernel {parts.release} comes without its config: what it needs to boot is not checked"]
    config = read_config(parts.config)
    found = [lack for lack in lacks(config, Situation(profile=profile, access=access)) if lack.weight is Weight.TEST]
    return [f"profile {profile.name}: {lack}" for lack in found]


def prepare(
    kernel: Kernel, image: Image, path: Path, profile: Profile, access: Access, *, slots: Slots, folder: Path
) -> Boot:
    """The files to boot from, in ``folder`` and the cache. PipelineError with all that keeps it from booting."""
    found = problems(kernel, image, path, profile, access)
    if found:
        raise PipelineError(found[0].message, hint=found[0].hint, problems=tuple(found))
    case = _look(kernel, image, path, profile, access)
    identity = read_image(case.parts.image)
    if case.parts.vmlinux is not None:
        identity = dataclasses.replace(identity, build_id=read_build_id(case.parts.vmlinux))
    command_line = kernel.command_line or ""
    if case.root is not None and "root" not in _words(command_line):
        command_line = f"root={case.root.address} rw {command_line}".strip()
    if not case.needs_initramfs or case.root is None:
        initrd = Path(kernel.initrd) if kernel.initrd else None
        tree = case.parts.modules
        return Boot(image=case.parts.image, command_line=command_line, identity=identity, initrd=initrd, tree=tree)
    disk = modules_disk(case.parts, kernel.delivery)
    loaded = _early(case)
    [busybox] = host.require("busybox")
    words = _words(command_line)
    root = Root(
        slot=slots.root,
        partition=case.root.number,
        kind=words.get("rootfstype", case.root.kind),
        options=words.get("rootflags", ""),
        is_writable="rw" in command_line.split(),
        init=words.get("init", ""),
    )
    initramfs = folder / "initramfs.cpio"
    write_initramfs(initramfs, busybox, root, loaded, modules_slot=slots.modules if disk else 0)
    return Boot(
        image=case.parts.image,
        command_line=command_line,
        identity=identity,
        initrd=initramfs,
        modules_disk=disk,
        early=tuple(module.name.partition(".")[0] for module in loaded),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Slots:
    """PCI slots of the root disk and of the disk with modules: names of disks depend on who comes first."""

    root: int
    modules: int


def parts_of(kernel: Kernel) -> Parts:
    """The kernel's files: those of its delivery, or those that the pipeline names one by one."""
    if kernel.source is not None:
        return lay_out(Path(kernel.source), kernel.delivery, Path(kernel.extra) if kernel.extra else None)
    image = Path(kernel.image)
    return Parts(
        release=read_image(image).release,
        image=image,
        modules=Path(kernel.modules) if kernel.modules else None,
        config=Path(kernel.config) if kernel.config else None,
        vmlinux=Path(kernel.vmlinux) if kernel.vmlinux else None,
    )


def _look(kernel: Kernel, image: Image | None, path: Path | None, profile: Profile, access: Access) -> _Case:
    parts = parts_of(kernel)
    config = read_config(parts.config) if parts.config else None
    address = _words(kernel.command_line or "").get("root", "")
    root = None
    if kernel.initrd is None and image is not None and path is not None:
        root = find_root(volumes(image, path), address)
    folder = parts.module_folder
    if parts.modules is not None and (folder is None or not folder.is_dir()):
        raise PipelineError(
            f"kernel.modules: {parts.modules} has no lib/modules/{parts.release}, which this kernel looks for",
            hint="fill it by 'make modules_install INSTALL_MOD_PATH=FOLDER' in the kernel's build",
        )
    needs_initramfs = kernel.initrd is None and (
        folder is not None or not address.startswith(_NATIVE) or bool(root and not root.number)
    )
    situation = Situation(
        profile=profile,
        access=access,
        root_kind=root.kind if root else "",
        has_initramfs=needs_initramfs or kernel.initrd is not None,
        is_ours=needs_initramfs,
        has_modules=folder is not None,
    )
    return _Case(
        kernel=kernel,
        parts=parts,
        config=config,
        root=root,
        situation=situation,
        needs_initramfs=needs_initramfs,
    )


def _words(command_line: str) -> dict[str, str]:
    return {name: value.strip('"') for name, value in _ROOT_WORD.findall(command_line)}


# ---- modules -------------------------------------------------------------------------------------------------------


def _early(case: _Case) -> Sequence[Path]:
    """The modules that the initramfs loads, in their order."""
    folder = case.parts.module_folder
    if folder is None:
        return ()
    order = _read_index(folder).load_order(early_modules(drivers(case.situation)))
    return [folder / path for path in order]


def _absent(case: _Case, profile: Profile) -> Iterator[Problem]:
    """Drivers that the config calls modules, and that nobody delivered."""
    folder, config = case.parts.module_folder, case.config or {}
    paths = _read_index(folder).paths if folder is not None else {}
    for driver in drivers(case.situation):
        are_modules = any(config.get(option) == "m" for option in driver.options)
        gone = [name for name in driver.modules if name not in paths] if driver.is_early and are_modules else []
        if len(gone) == len(driver.modules) and gone:
            yield Problem(
                message=f"the kernel cannot boot profile {profile.name}: CONFIG_{driver.options[-1]} is m, and no "
                f"module {gone[0]} was delivered: {driver.what}",
                hint="deliver lib/modules of this kernel (make modules_install), or set it to y",
            )


def _read_index(folder: Path) -> ModuleIndex:
    if not (folder / "modules.dep").is_file():
        raise PipelineError(
            f"kernel.modules: {folder} has no modules.dep", hint="run 'depmod -b FOLDER RELEASE' after modules_install"
        )
    return read_index(folder)


def modules_disk(parts: Parts, delivery: str = "") -> Path | None:
    """A raw disk with an ext4 file system that holds RELEASE/ with all modules; made once, kept in the cache.

    ``delivery`` is the digest of what they came from, where that is known: it saves reading all of them.
    """
    folder = parts.module_folder
    if parts.modules is None or folder is None:
        return None
    digest = delivery or files.tree_digest(folder)
    place = images.cache_folder() / "kernels"
    disk = place / f"modules-{digest}.ext4"
    with _alone(place):
        if not disk.is_file():
            _make_disk(parts.modules / "lib/modules", disk)
    used(disk)
    return disk


def _make_disk(folder: Path, disk: Path) -> None:
    host.require("mke2fs")
    used = sum(path.stat().st_size + 4096 for path in folder.rglob("*") if not path.is_symlink())
    size = max(_DISK_LEAST_MIB, int(used * _DISK_SPARE) >> 20) + _DISK_LEAST_MIB
    if shutil.disk_usage(disk.parent).free >> 20 < size:
        raise ToolError(f"{disk.parent} has no room for {size} MiB of the kernel's modules", hint="set LISA_CI_CACHE")
    making = disk.with_suffix(".making")
    making.unlink(missing_ok=True)
    options = ("-q", "-F", "-t", "ext4", "-L", "lisa-ci-modules", "-m", "0", "-O", "^has_journal,^metadata_csum,^64bit")
    try:
        process.check(
            ["mke2fs", *options, "-E", "root_owner=0:0,no_copy_xattrs", "-d", folder, making, f"{size}M"],
            timeout=_DISK_TIMEOUT,
        )
        making.rename(disk)
    finally:
        making.unlink(missing_ok=True)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
