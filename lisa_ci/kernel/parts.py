"""A kernel as it is delivered, laid out once: image, modules, config, System.map, vmlinux in a folder of the cache.

A delivery is a folder (a build tree after ``make``, or what ``make install modules_install`` fills), a tar file, a
Debian package or an RPM.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

from lisa_ci import files, host, process
from lisa_ci import image as images
from lisa_ci.errors import PipelineError, StorageError, ToolError
from lisa_ci.kernel.archives import MAX_BYTES, MAX_FILES, is_archive, unpack
from lisa_ci.kernel.identity import read_image
from lisa_ci.kernel.initramfs import read_module
from lisa_ci.kernel.modules import SUFFIXES

KEPT: Final = 4
_IN_USE: Final = timedelta(hours=1)
LAYOUT: Final = 1  # goes into the name of a cache folder: count it up where what is in one changes
_DEPMOD: Final = timedelta(minutes=5)
_INDEX: Final = ("modules.order", "modules.builtin", "modules.builtin.modinfo")
_BUILD_IMAGE: Final = "arch/x86/boot/bzImage"
_DEPTH: Final = 16
_VERMAGIC: Final = re.compile(rb"vermagic=([^\0]{1,200})")
_ONE: Final = "name one kernel: a folder or package that holds a single one"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Where a kernel's files are. ``modules`` is the folder that holds lib/modules/RELEASE; None = not delivered."""

    release: str
    image: Path
    modules: Path | None = None
    config: Path | None = None
    system_map: Path | None = None
    vmlinux: Path | None = None

    @property
    def module_folder(self) -> Path | None:
        """lib/modules/RELEASE."""
        return None if self.modules is None else self.modules / "lib/modules" / self.release


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """Files of a delivery: ``module_files`` are (path below lib/modules/RELEASE, file)."""

    release: str
    named: tuple[tuple[str, Path], ...]
    module_files: tuple[tuple[str, Path], ...]

    def all(self) -> Iterator[tuple[str, Path]]:
        yield from self.named
        yield from ((f"modules/lib/modules/{self.release}/{name}", path) for name, path in self.module_files)


def delivery_digest(source: Path, extra: Path | None = None) -> str:
    """SHA-256 (hex): of a file's bytes, or over the kernel's files in a folder, and over more modules beside it.

    PipelineError where there is no kernel, or where ``extra`` holds no module.
    """
    try:
        if not source.exists():
            raise PipelineError(
                f"kernel.from: there is no {source}", hint="build the kernel first, or correct the path"
            )
        digest = _tree_digest(_find(source).all()) if source.is_dir() else files.sha256_file(source)
        if extra is None:
            return digest
        return hashlib.sha256(f"{digest} {_tree_digest(extra_modules(extra))}".encode()).hexdigest()
    except OSError as error:
        raise PipelineError(f"kernel.from: cannot read {error.filename}: {error.strerror}") from error


def extra_modules(folder: Path) -> list[tuple[str, Path]]:
    """(file name, file) of the modules anywhere below; PipelineError for none, and for two of one name."""
    if not folder.is_dir():
        raise PipelineError(f"kernel.extra: there is no folder {folder}", hint="build the modules first")
    found: dict[str, Path] = {}
    for path in _walk(folder):
        if path.name.endswith(SUFFIXES):
            if path.name in found:
                raise PipelineError(f"kernel.extra: {found[path.name]} and {path} have one name")
            found[path.name] = path
    if not found:
        raise PipelineError(f"kernel.extra: there is no module (*.ko) in {folder}", hint="build the modules first")
    return sorted(found.items())


def lay_out(source: Path, digest: str, extra: Path | None = None) -> Parts:
    """The kernel's files in the cache, made where they are not there yet; ``digest`` is that of the delivery.

    PipelineError for a delivery without a kernel, or with two, and for modules in ``extra`` that were built for another
    one; ProvisioningError where this host cannot keep it.
    """
    folder = images.cache_folder() / "kernels" / f"{digest}-{LAYOUT}"
    if not folder.is_dir():
        _make(source, extra, folder)
    used(folder)
    return _read(folder)


def used(path: Path) -> None:
    """Keep ``path`` in the cache, and of its kind only the KEPT that were used last, and what is in use just now."""
    now = time.time()
    with suppress(OSError):  # a cache that cannot be cleared only costs space
        os.utime(path)
        others = sorted(path.parent.glob(f"*{path.suffix or f'-{LAYOUT}'}"), key=lambda one: -one.stat().st_mtime)
        for old in others[KEPT:]:
            if now - old.stat().st_mtime > _IN_USE.total_seconds():
                shutil.rmtree(old) if old.is_dir() else old.unlink()


def _make(source: Path, extra: Path | None, folder: Path) -> None:
    """The folder comes up whole or not at all, whoever makes it at the same time."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".making-") as place:
            made = Path(place) / "made"
            if extra is not None:
                # The same kernel with other modules is what a module's repository brings each time.
                kernel = lay_out(source, delivery_digest(source)).image.parent
                shutil.copytree(kernel, made, copy_function=_linked)
                _add(extra, made)
            elif source.is_dir():
                _copy(_find(source), made)
            elif is_archive(source):
                taken = Path(place) / "unpacked"
                taken.mkdir()
                unpack(source, taken)
                _copy(_find(taken, shown=source), made)
            else:
                raise PipelineError(
                    f"kernel.from: {source} is no folder, tar file, Debian package or RPM",
                    hint="a kernel alone is named by kernel.image",
                )
            _index(made)
            if not folder.is_dir():
                made.rename(folder)
    except OSError as error:
        if folder.is_dir():
            return  # another one was faster
        raise StorageError.of(error.filename or folder, error) from error


def _read(folder: Path) -> Parts:
    image = folder / "vmlinuz"
    release = read_image(image).release
    modules = folder / "modules"
    optional = {name: folder / name for name in ("config", "System.map", "vmlinux")}
    there = {name: path if path.is_file() else None for name, path in optional.items()}
    return Parts(
        release=release,
        image=image,
        modules=modules if (modules / "lib/modules" / release).is_dir() else None,
        config=there["config"],
        system_map=there["System.map"],
        vmlinux=there["vmlinux"],
    )


# ---- finding -------------------------------------------------------------------------------------------------------


def _find(source: Path, *, shown: Path | None = None) -> _Found:
    place = shown or source
    tree = next(iter(_under(source, _BUILD_IMAGE)), None)
    if tree is not None:
        return _built(tree, place)
    return _installed(source, place)


def _under(source: Path, name: str) -> list[Path]:
    """Folders that hold ``name``: the source itself, or the single folder a tar file puts around everything."""
    folders = [source, *(path for path in sorted(source.iterdir()) if path.is_dir() and not path.is_symlink())]
    return [folder for folder in folders if (folder / name).is_file()]


def _built(tree: Path, place: Path) -> _Found:
    """A build tree: modules lie beside their sources, ``modules.order`` names those of the build."""
    image = tree / _BUILD_IMAGE
    release = read_image(image).release
    named = [("vmlinuz", image), ("config", tree / ".config"), ("System.map", tree / "System.map")]
    named.append(("vmlinux", tree / "vmlinux"))
    modules = [(name, tree / name) for name in _INDEX]
    order = tree / "modules.order"
    lines = files.read_bounded(order, 16 << 20).decode(errors="replace").split() if order.is_file() else []
    for line in dict.fromkeys(lines):
        name = line.removesuffix(".o").removesuffix(".ko") + ".ko"
        if not (tree / name).is_file():  # older kernels wrote where it is installed: kernel/fs/ext4/ext4.ko
            name = name.removeprefix("kernel/")
        path = tree / name
        if ".." in Path(name).parts or name.startswith("/"):
            raise PipelineError(f"kernel.from: {place} names a module outside of its tree: {name[:200]!r}")
        if not path.is_file():
            raise PipelineError(
                f"kernel.from: {place} lacks {name}, which its modules.order names",
                hint="run 'make modules' to its end",
            )
        modules.append((f"kernel/{name}", path))
    return _checked(release, named, modules, place)


def _installed(source: Path, place: Path) -> _Found:
    """boot/ and lib/modules/, or a plain folder with a vmlinuz or bzImage in it."""
    images_found = [path for path in _walk(source) if path.name.startswith(("vmlinuz", "bzImage"))]
    by_release: dict[str, Path] = {}
    for path in images_found:
        by_release.setdefault(read_image(path).release, path)
    if not by_release:
        raise PipelineError(f"kernel.from: there is no kernel (vmlinuz, bzImage) in {place}", hint=_ONE)
    if len(by_release) > 1:
        raise PipelineError(f"kernel.from: {place} holds {len(by_release)} kernels: {', '.join(by_release)}", hint=_ONE)
    [(release, image)] = by_release.items()
    folders = [
        folder
        for top in (source, *(path for path in sorted(source.iterdir()) if path.is_dir() and not path.is_symlink()))
        for folder in (top / "lib/modules" / release, top / "usr/lib/modules" / release)
        if folder.is_dir()
    ]
    modules = []
    for folder in folders:
        for path in _walk(folder):
            name = path.relative_to(folder).as_posix()
            if name.endswith(SUFFIXES) or name in _INDEX:
                modules.append((name, path))
    nearby = (image.parent, *folders)
    named = [("vmlinuz", image)]
    for name in ("config", "System.map", "vmlinux"):
        places = (folder / word for word in (f"{name}-{release}", name, f".{name}") for folder in nearby)
        named += [(name, path) for path in places if path.is_file()][:1]
    return _checked(release, named, modules, place)


def _walk(folder: Path) -> Iterator[Path]:
    """Regular files below, links not followed (``build`` and ``source`` lead into whole trees), in their order."""
    for here, folders, names in os.walk(folder):
        folders.sort()
        if len(Path(here).relative_to(folder).parts) >= _DEPTH:
            folders.clear()
        for name in sorted(names):
            path = Path(here, name)
            if path.is_file() and not path.is_symlink():
                yield path


def _checked(
    release: str, named: Iterable[tuple[str, Path]], modules: Iterable[tuple[str, Path]], place: Path
) -> _Found:
    there = [(name, path) for name, path in named if path.is_file()]
    present = sorted({name: path for name, path in modules if path.is_file()}.items())
    total = sum(path.stat().st_size for _, path in (*there, *present))
    if len(present) > MAX_FILES or total > MAX_BYTES:
        raise PipelineError(
            f"kernel.from: {place} holds {len(present)} modules and {total >> 20} MiB", hint="INSTALL_MOD_STRIP=1"
        )
    has_drivers = any(name.endswith(SUFFIXES) for name, _ in present)
    return _Found(release=release, named=tuple(there), module_files=tuple(present) if has_drivers else ())


def _tree_digest(found: Iterable[tuple[str, Path]]) -> str:
    digest = hashlib.sha256()
    for name, path in found:
        digest.update(f"{name}\0{files.sha256_file(path)}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()


# ---- making --------------------------------------------------------------------------------------------------------


def _copy(found: _Found, target: Path) -> None:
    for name, path in found.all():
        place = target / name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, place)
    modules = target / "modules/lib/modules" / found.release
    if modules.is_dir():
        # Tests in the machine find the options of the kernel that runs where Fedora keeps them.
        for name in ("config", "System.map"):
            if (target / name).is_file():
                shutil.copyfile(target / name, modules / name)


def _linked(source: str, target: str) -> None:
    """Large files are never changed in place; what depmod writes is."""
    if source.endswith((*SUFFIXES, "vmlinuz", "vmlinux")):
        os.link(source, target)
    else:
        shutil.copyfile(source, target)


def _add(extra: Path, target: Path) -> None:
    """The modules go where ``make modules_install`` of an outside module puts them: before the kernel's own."""
    release = read_image(target / "vmlinuz").release
    place = target / "modules/lib/modules" / release / "updates"
    place.mkdir(parents=True, exist_ok=True)
    for name, path in extra_modules(extra):
        said = _VERMAGIC.search(read_module(path))
        built_for = said[1].split(b" ")[0].decode("ascii", "replace") if said else "no kernel"
        if built_for != release:
            raise PipelineError(
                f"kernel.extra: {path} was built for {built_for[:80]}, and the kernel under test is {release}",
                hint="build it against the headers of that kernel: make -C HEADERS M=$PWD modules",
            )
        shutil.copyfile(path, place / name)


def _index(folder: Path) -> None:
    """modules.dep and the like, made by the host's depmod under a limit of memory, on files alone."""
    modules = folder / "modules"
    if not modules.is_dir():
        return
    host.require("depmod")
    [release] = [path.name for path in (modules / "lib/modules").iterdir()]
    finished = process.run(images.limited("depmod", "-b", str(modules), release), timeout=_DEPMOD)
    if finished.exit != 0:
        said = finished.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["no reason given"]
        raise ToolError(f"depmod cannot index the modules of {release}: {said[0][:300]}")
