"""From an image to a release folder: containers of one and the same disk, a manifest, the evidence, and the sums.

The folder is built beside its place and gets its name at the end, so that a half-made release is never seen. The same
image, evidence and tools give the same bytes.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

from lisa_ci import __version__, files, image, process, vhd
from lisa_ci.errors import LisaCiError, PipelineError, ToolError, VerificationError
from lisa_ci.events import Emit, Level, Message
from lisa_ci.files import LegFolder
from lisa_ci.model import Arch, Firmware, ImageFormat, is_id
from lisa_ci.release import folder, sums
from lisa_ci.release.manifest import Container, Manifest

MAKES: Final = (ImageFormat.VHD, ImageFormat.QCOW2, ImageFormat.RAW)
_SPARE_BYTES: Final = 64 << 20
_QCOW2_OPTIONS: Final = "compat=1.1,cluster_size=65536,lazy_refcounts=off"


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What to pack. ``plan`` and ``results`` are the evidence; either both or none are set."""

    image: Path
    name: str
    version: str
    arch: Arch
    firmware: tuple[Firmware, ...]
    formats: tuple[ImageFormat, ...]
    plan: Path | None = None
    results: Path | None = None
    expected_digest: str | None = None


def pack(order: Order, out: Path, *, emit: Emit) -> Manifest:
    """Build the release in ``out``, which must not exist or be empty.

    VerificationError where the image is not the disk that the plan names, or a container does not give back its disk.
    """
    _refuse_bad_order(order, out)
    container = image.detect_format(order.image)
    disk_digest, disk_bytes = image.disk_digest(order.image, container, emit)
    if order.expected_digest not in (None, disk_digest):
        raise VerificationError(
            f"the plan is about the disk {order.expected_digest}, {order.image} is {disk_digest}",
            hint="pack exactly the image that was tested, or plan and run again",
        )
    _refuse_full_disk(order, out, container, disk_bytes)
    with _new_folder(out) as stage:
        bench = _Bench(order=order, stage=stage, disk_digest=disk_digest, disk_bytes=disk_bytes, emit=emit)
        containers = bench.make(container)
        plan_digest = _copy_evidence(order.plan, order.results, stage) if order.plan and order.results else None
        manifest = Manifest(
            name=order.name,
            version=order.version,
            arch=order.arch,
            firmware=order.firmware,
            disk_digest=disk_digest,
            disk_bytes=disk_bytes,
            containers=containers,
            plan_digest=plan_digest,
            tools={"lisa-ci": __version__, "qemu-img": qemu_version()},
        )
        files.write_atomically(stage / folder.MANIFEST, files.encode(manifest))
        _write_sums(stage, containers)
    return manifest


def _refuse_bad_order(order: Order, out: Path) -> None:
    if os.path.lexists(out) and (out.is_symlink() or not out.is_dir() or any(out.iterdir())):
        raise PipelineError(
            f"{out} exists and is not an empty folder", hint="name a new folder; nothing is overwritten"
        )
    wrong = [kind.value for kind in order.formats if kind not in MAKES]
    if wrong or not order.formats:
        raise PipelineError(
            f"pack does not make {', '.join(wrong) or 'a release without containers'}",
            hint=f"it makes {', '.join(kind.value for kind in MAKES)}",
        )


# ---- containers ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Bench:
    """Where the containers are made and proven."""

    order: Order
    stage: Path
    disk_digest: str
    disk_bytes: int
    emit: Emit

    def make(self, source: ImageFormat) -> tuple[Container, ...]:
        """One raw disk first; qcow2 is made from it, and it becomes the VHD itself by its footer."""
        raw = self.stage / f".{self.title}.raw"
        with image.stage(self.emit, "unpack"):
            self._convert(self.order.image, source, raw, ImageFormat.RAW, "-S", "4k")
            with raw.open("r+b") as file:
                file.truncate(self.disk_bytes)
        wanted = dict.fromkeys(self.order.formats)
        made = []
        if ImageFormat.QCOW2 in wanted:
            made.append(self._qcow2(raw))
        if ImageFormat.RAW in wanted:
            made.append(self._raw(raw, keep=ImageFormat.VHD in wanted))
        if ImageFormat.VHD in wanted:
            made.append(self._vhd(raw))
        raw.unlink(missing_ok=True)
        return tuple(sorted(made, key=lambda container: container.file))

    @property
    def title(self) -> str:
        return f"{self.order.name}-{self.order.version}-{self.order.arch.value}"

    def _qcow2(self, raw: Path) -> Container:
        target = self.stage / f"{self.title}.qcow2"
        with image.stage(self.emit, "pack qcow2"):
            # One coroutine: clusters are allocated in the order of the disk, so the file is the same every time.
            self._convert(raw, ImageFormat.RAW, target, ImageFormat.QCOW2, "-m", "1", "-o", _QCOW2_OPTIONS)
        return self._proven(target, ImageFormat.QCOW2)

    def _raw(self, raw: Path, *, keep: bool) -> Container:
        target = self.stage / f"{self.title}.raw"
        if keep:
            self._convert(raw, ImageFormat.RAW, target, ImageFormat.RAW, "-S", "4k")
        else:
            raw.rename(target)
        return self._proven(target, ImageFormat.RAW)

    def _vhd(self, raw: Path) -> Container:
        target = self.stage / f"{self.title}.vhd"
        with image.stage(self.emit, "pack vhd"):
            timestamp = vhd.timestamp_from_environment()
            vhd.append_footer(raw, self.disk_bytes, disk_digest=self.disk_digest, timestamp=timestamp)
            raw.rename(target)
        if flaws := list(vhd.flaws(target)):
            raise VerificationError(f"the packed {target.name} {'; '.join(flaws)}")
        if vhd.is_too_small_for_azure(self.disk_bytes):
            text = f"the disk has {self.disk_bytes} bytes; Azure takes a VHD of at least {vhd.AZURE_LEAST_BYTES}"
            self.emit(Message(text=text, level=Level.WARNING))
        return self._proven(target, ImageFormat.VHD)

    def _convert(self, source: Path, given: ImageFormat, target: Path, wanted: ImageFormat, *options: str) -> None:
        names = image.QEMU_FORMAT
        flags = ("-f", names[given], "-O", names[wanted], *options)
        command = image.limited("qemu-img", "convert", *flags, str(source.absolute()), str(target.absolute()))
        try:
            process.check(command, timeout=image.time_for(self.disk_bytes))
        except ToolError as error:
            raise ToolError(f"cannot make {target.name}: {error.message}", hint="is there space left?") from error

    def _proven(self, path: Path, kind: ImageFormat) -> Container:
        """Read the container back through QEMU: it must give the disk that was tested, nothing else."""
        found, size = image.disk_digest(path, kind, self.emit)
        if (found, size) != (self.disk_digest, self.disk_bytes):
            raise VerificationError(f"the packed {path.name} gives the disk {found}, not {self.disk_digest}")
        path.chmod(0o644)
        return Container(
            file=path.name, format=kind, size_bytes=path.stat().st_size, sha256=folder.sha256_of(self.stage, path.name)
        )


def qemu_version() -> str:
    """The version of qemu-img, which decides the bytes of a qcow2."""
    said = process.check(["qemu-img", "--version"], timeout=timedelta(seconds=30)).decode(errors="replace")
    match = re.search(r"version (\d+(?:\.\d+)*)", said)
    return match[1] if match else "unknown"


def _refuse_full_disk(order: Order, out: Path, container: ImageFormat, disk_bytes: int) -> None:
    """Every container holds what is allocated in the image; a compressed one may hold the whole disk."""
    status = order.image.stat()
    each = min(disk_bytes, status.st_blocks * 512 if container is ImageFormat.RAW else _allocated(order, container))
    needed = each * (len(set(order.formats)) + (ImageFormat.VHD not in order.formats)) + _SPARE_BYTES
    place = next(parent for parent in (out.absolute(), *out.absolute().parents) if parent.is_dir())
    free = shutil.disk_usage(place).free
    if needed > free:
        raise LisaCiError(
            f"packing needs up to {needed >> 20} MiB, {place} has {free >> 20} MiB free", hint="free some space first"
        )


def _allocated(order: Order, container: ImageFormat) -> int:
    """Bytes of the disk that are allocated in the container, by its own map: what a sparse file of it can take."""
    flags = ("--output=json", "-O", "qcow2", "-f", image.QEMU_FORMAT[container])
    command = image.limited("qemu-img", "measure", *flags, str(order.image.absolute()))
    said = process.check(command, timeout=timedelta(minutes=2)).decode(errors="replace")
    match = re.search(r'"required": (\d+)', said)
    return int(match[1]) if match else image.MAX_DISK_BYTES


# ---- evidence, sums, and the folder --------------------------------------------------------------------------------


def _copy_evidence(plan: Path, results: Path, stage: Path) -> str:
    """The plan, and of every leg what the verdict is made from; consoles and logs stay behind. The plan's digest."""
    _, digest = files.read_plan(plan)
    _copy(plan, stage / folder.PLAN, files.PLAN_LIMIT)
    legs = [leg for leg in _legs(results) if files.read_leg(leg) is not None]
    if not legs:
        raise PipelineError(f"there are no results in {results}", hint="name the folder that the legs wrote")
    for leg in legs:
        source, target = LegFolder(leg), LegFolder(stage / folder.RESULTS / leg.name)
        for wanted, place, limit in (
            (source.run, target.run, files.RUN_LIMIT),
            (source.inventory, target.inventory, files.INVENTORY_LIMIT),
            (source.journal, target.journal, None),
        ):
            if os.path.lexists(wanted):
                _copy(wanted, place, limit)
    return digest


def _legs(results: Path) -> Sequence[Path]:
    if not results.is_dir():
        raise PipelineError(f"there is no folder {results}")
    return [leg for leg in sorted(results.iterdir()) if is_id(leg.name) and leg.is_dir() and not leg.is_symlink()]


def _copy(source: Path, target: Path, limit: int | None) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if limit is not None:
        target.write_bytes(files.read_bounded(source, limit))
        return
    descriptor = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as given, target.open("wb") as file:
        shutil.copyfileobj(given, file, 1 << 20)


def _write_sums(stage: Path, containers: Iterable[Container]) -> None:
    known = {container.file: container.sha256 for container in containers}
    found = folder.listing(stage)
    if found.flaws:
        raise VerificationError(f"the release would hold what no release may: {'; '.join(found.flaws)}")
    digests = {name: known.get(name) or folder.sha256_of(stage, name) for name in found.files}
    files.write_atomically(stage / sums.FILE_NAME, sums.write(digests))


@contextmanager
def _new_folder(out: Path) -> Iterator[Path]:
    """A hidden folder beside ``out`` that becomes ``out`` when the block ends well, and is gone when it does not."""
    stage: Path | None = None
    try:
        out.absolute().parent.mkdir(parents=True, exist_ok=True)
        stage = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.absolute().parent))
        stage.chmod(0o755)
        yield stage
        stage.rename(out.absolute())  # an empty folder of that name is replaced; anything else is an error
        files.sync_folder(out.absolute().parent)
        stage = None
    except OSError as error:
        raise LisaCiError(
            f"cannot write {out}: {error.strerror or error}", hint="check the folder and the space"
        ) from error
    finally:
        if stage is not None:
            shutil.rmtree(stage, ignore_errors=True)
