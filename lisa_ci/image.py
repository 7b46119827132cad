"""The disk under test: find it, tell its container, refuse what reaches outside of its own file, name it by digest.

An image comes from outside, so no program opens it before our own look at its head, and QEMU's tools get its format
told (never probed), an address-space limit and a timeout. A container that points to other files (a backing file, an
external data file, the extents of a VMDK) is refused: it could make any file of this host part of the disk.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
import struct
import time
from collections.abc import Iterable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Final

from lisa_ci import download, files, nbd, process, sparse
from lisa_ci.errors import LisaCiError, PipelineError, ToolError
from lisa_ci.events import Emit, Event, StageAdvanced, StageEnded, StageStarted
from lisa_ci.model import Image, ImageFormat, ImageSource

MIB: Final = 1 << 20
MAX_DISK_BYTES: Final = 4 << 40
MAX_MATCHES_SHOWN: Final = 10
_STEP_BYTES: Final = 64 * MIB
_PLACE: Final = "image"
_TOOL_MEMORY_BYTES: Final = 4 << 30
_MAP_LIMIT: Final = 256 << 20
_CHECK_LEAKS: Final = 3  # space that nobody uses: harmless
_INFO_TIMEOUT: Final = timedelta(seconds=60)
_SLOWEST_BYTES_A_SECOND: Final = 20 * MIB

# QEMU's name of a container; every call of a QEMU tool passes it, so that nothing is ever probed.
QEMU_FORMAT: Final = {
    ImageFormat.RAW: "raw",
    ImageFormat.QCOW2: "qcow2",
    ImageFormat.VHD: "vpc",
    ImageFormat.VHDX: "vhdx",
    ImageFormat.VMDK: "vmdk",
}
_PACKED: Final = {
    b"\xfd7zXZ\x00": "xz",
    b"\x1f\x8b": "gzip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"BZh": "bzip2",
    b"PK\x03\x04": "zip",
    b"\x04\x22\x4d\x18": "lz4",
    b"7z\xbc\xaf\x27\x1c": "7z",
}


def ignore(event: Event) -> None:
    """Nobody looks."""


# ---- find it -------------------------------------------------------------------------------------------------------


def resolve(source: ImageSource, folder: Path, emit: Emit = ignore) -> Image:
    """The image that ``source`` names, with its disk digest. Paths and globs are relative to ``folder``.

    A disk digest is remembered for a file that has not changed (device, inode, size, times). PipelineError for
    anything that is not exactly one usable disk.
    """
    if source.url:
        path = _downloaded(source.url, source.sha256, emit)
        shown, sha256 = _url_name(source.url), source.sha256
    else:
        path = one_file(source.path, folder)
        shown, sha256 = _shown(path), source.sha256
        if sha256 and files.sha256_file(path) != sha256.lower():
            raise PipelineError(f"image {shown} does not have the sha256 {sha256} that the pipeline names")
    found = detect_format(path)
    if source.format not in (None, found):
        raise PipelineError(
            f"image {shown} is {found.value}, but the pipeline says {source.format}",
            hint=f"write 'format: {found.value}' or leave the key out",
        )
    digest, size_bytes = _remembered_digest(path, found, emit)
    return Image(
        path=shown,
        url=source.url,
        sha256=sha256,
        format=found,
        disk_digest=digest,
        size_bytes=size_bytes,
        arch=source.arch,
        firmware=source.firmware,
    )


def local_path(image: Image, emit: Emit = ignore) -> Path:
    """The image's file on this host, absolute; an image with an URL is downloaded where the cache lacks it.

    PipelineError where the file is missing or is no longer in the container that the plan names.
    """
    path = _downloaded(image.url, image.sha256, emit) if image.url else Path(image.path).absolute()
    if not path.is_file():
        raise PipelineError(f"image {image.path} is not a file here", hint="run the leg in the folder of the plan")
    if detect_format(path) is not image.format:
        raise PipelineError(f"image {image.path} is no longer {image.format.value}, as the plan says; plan again")
    return path


def one_file(pattern: str | None, folder: Path) -> Path:
    """The one regular file that a path or glob names, relative to ``folder``; PipelineError for none and for many."""
    if not pattern:
        raise PipelineError("the image has neither a path nor an url", hint="write 'path:' or 'url:' under 'image:'")
    if "\0" in pattern:
        raise PipelineError("the path of the image contains a zero byte")
    path = folder / pattern
    if not any(sign in pattern for sign in "*?[") or _is_there(path):
        return _regular(path)
    anchor, relative = (Path(path.anchor), str(path)[len(path.anchor) :]) if path.is_absolute() else (folder, pattern)
    try:
        matches = sorted(match for match in anchor.glob(relative) if match.is_file())
    except (ValueError, NotImplementedError, OSError) as error:
        raise PipelineError(f"'{pattern}' is not a usable pattern for the image: {error}") from error
    if len(matches) != 1:
        names = ", ".join(_shown(match) for match in matches[:MAX_MATCHES_SHOWN])
        more = f" and {len(matches) - MAX_MATCHES_SHOWN} more" if len(matches) > MAX_MATCHES_SHOWN else ""
        raise PipelineError(
            f"'{pattern}' must match exactly one image, it matches {len(matches)}"
            + (f": {names}{more}" if names else ""),
            hint="make the pattern narrower" if matches else "build the image first, or correct the pattern",
        )
    return _regular(matches[0])


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name that is too long for any file
        return False


def _regular(path: Path) -> Path:
    try:
        status = path.stat()
    except (OSError, ValueError) as error:
        raise PipelineError(f"there is no image {path}", hint="build it first, or correct the path") from error
    if not stat.S_ISREG(status.st_mode):
        raise PipelineError(f"image {path} is not a regular file")
    return path


def _shown(path: Path) -> str:
    """Relative to the working directory where the file lies below it, so that a plan travels between checkouts."""
    absolute, here = path.absolute(), Path.cwd()
    return str(absolute.relative_to(here) if absolute.is_relative_to(here) else absolute)


def _url_name(url: str) -> str:
    return download.file_name(url) or "image"


def _downloaded(url: str, sha256: str | None, emit: Emit) -> Path:
    if not sha256:
        raise PipelineError(f"the image {url} has no sha256", hint="write its 'sha256:'; a name alone proves nothing")
    return download.fetch(url, sha256.lower(), cache_folder() / "images", emit)


def cache_folder() -> Path:
    """``LISA_CI_CACHE``, else ``~/.cache/lisa-ci`` (or below ``XDG_CACHE_HOME``)."""
    if own := os.environ.get("LISA_CI_CACHE"):
        return Path(own).absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").absolute() / "lisa-ci"


# ---- its container -------------------------------------------------------------------------------------------------


def detect_format(path: Path) -> ImageFormat:
    """The container by its magic bytes; RAW is what has none. PipelineError for what cannot be a disk of its own.

    Reads the head and the last 512 bytes, nothing else, and starts no program.
    """
    with _regular(path).open("rb") as file:
        head = file.read(512)
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 512))
        tail = file.read(512)
    if not head:
        raise PipelineError(f"image {path} is empty")
    for magic, name in _PACKED.items():
        if head.startswith(magic):
            raise PipelineError(f"image {path} is a {name} file, not a disk", hint="unpack it first")
    match head:
        case _ if head.startswith(b"QFI\xfb"):
            _refuse_qcow2_that_reaches_out(path, head)
            return ImageFormat.QCOW2
        case _ if head.startswith(b"vhdxfile"):
            return ImageFormat.VHDX
        case _ if head.startswith(b"KDMV"):
            _refuse_vmdk_descriptor(path, head)
            return ImageFormat.VMDK
        case _ if head.startswith((b"COWD", b"# Disk Desc")) or b"# Disk DescriptorFile" in head:
            raise PipelineError(
                f"image {path} is a VMDK that names other files",
                hint="convert it to one file: qemu-img convert -O qcow2",
            )
    if head.startswith(b"conectix") or tail.startswith(b"conectix"):
        return ImageFormat.VHD
    return ImageFormat.RAW


def _refuse_qcow2_that_reaches_out(path: Path, head: bytes) -> None:
    if len(head) < 104:
        raise PipelineError(f"image {path} is a qcow2 file that ends within its own header")
    version, backing_offset = struct.unpack_from(">IQ", head, 4)
    incompatible = struct.unpack_from(">Q", head, 72)[0] if version >= 3 else 0
    if backing_offset:
        raise PipelineError(
            f"image {path} has a backing file; only a disk that is whole in one file has a digest",
            hint="flatten it: qemu-img convert -O qcow2 IMAGE FLAT",
        )
    if incompatible & 0x4:
        raise PipelineError(f"image {path} keeps its data in another file", hint="flatten it: qemu-img convert")


def _refuse_vmdk_descriptor(path: Path, head: bytes) -> None:
    if len(head) < 512 or struct.unpack_from("<Q", head, 12)[0] == 0:
        raise PipelineError(f"image {path} is a VMDK descriptor that names other files", hint="convert it to one file")


def virtual_size(path: Path, container: ImageFormat) -> int:
    """Bytes of the disk in the container, as the machine sees it before padding.

    PipelineError where the container reaches out to other files, or is damaged, or is larger than MAX_DISK_BYTES.
    """
    size = path.stat().st_size if container is ImageFormat.RAW else _inspected_size(path, container)
    if not 0 < size <= MAX_DISK_BYTES:
        raise PipelineError(f"image {path} is a disk of {size} bytes; more than 0 and at most {MAX_DISK_BYTES} work")
    return size


def _inspected_size(path: Path, container: ImageFormat) -> int:
    absolute = str(path.absolute())  # a leading slash: never taken for a protocol such as nbd: or json:
    command = limited("qemu-img", "info", "--output=json", "-f", QEMU_FORMAT[container], absolute)
    finished = process.run(command, timeout=_INFO_TIMEOUT)
    if finished.exit != 0:
        raise PipelineError(f"image {path} is not a usable {container.value}: {_last_line(finished.stderr)}")
    try:
        found = json.loads(finished.stdout)
        size = found["virtual-size"]
        specific = found.get("format-specific", {}).get("data", {})
        others = {extent.get("filename", absolute) for extent in specific.get("extents", [])} - {absolute}
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise PipelineError(f"image {path}: qemu-img cannot describe it ({error})") from error
    if found.get("backing-filename") or specific.get("data-file") or others:
        raise PipelineError(f"image {path} points to other files", hint="flatten it: qemu-img convert -O qcow2")
    if container is ImageFormat.QCOW2:
        _refuse_damage(path, absolute, int(size))
    return int(size)


def _refuse_damage(path: Path, absolute: str, size: int) -> None:
    """A qcow2 that was cut off reads as zeros where it ends, without an error; only its own tables tell."""
    command = limited("qemu-img", "check", "-q", "-f", "qcow2", absolute)
    finished = process.run(command, timeout=time_for(size))
    if finished.exit not in {0, _CHECK_LEAKS}:
        raise PipelineError(
            f"image {path} is damaged: {_last_line(finished.stderr)}", hint="get or build it again; is it complete?"
        )


def _last_line(stderr: bytes) -> str:
    lines = stderr.decode(errors="replace").strip().splitlines()
    return lines[-1][:300] if lines else "no reason given"


def limited(program: str, *arguments: str) -> list[str]:
    """A command line under an address-space limit: a hostile image must not eat the host's memory."""
    found = process.find(program)
    if found is None:
        raise ToolError(
            f"program '{program}' is not installed", hint="run 'lisa-ci doctor' to see which package has it"
        )
    return ["prlimit", f"--as={_TOOL_MEMORY_BYTES}", "--core=0", found, *arguments]


def time_for(size_bytes: int) -> timedelta:
    """How long reading or writing that many bytes may take on a slow disk."""
    return timedelta(minutes=5, seconds=size_bytes / _SLOWEST_BYTES_A_SECOND)


# ---- its name ------------------------------------------------------------------------------------------------------


def disk_digest(path: Path, container: ImageFormat, emit: Emit = ignore) -> tuple[str, int]:
    """SHA-256 (hex) over the raw disk padded with zeros to a whole MiB, and that padded size in bytes.

    Always recomputed, streaming: no raw copy is made, memory is a few MiB.
    """
    size = virtual_size(path, container)
    blocks = sparse.raw_blocks(path, size) if container is ImageFormat.RAW else _contained_blocks(path, container, size)
    return digest_of_blocks(blocks, size, str(path), emit)


def digest_of_blocks(
    blocks: Iterable[bytes | bytearray | memoryview], size: int, name: str, emit: Emit
) -> tuple[str, int]:
    """``disk_digest`` of a disk of ``size`` bytes that comes in blocks; PipelineError where they are more or fewer."""
    padded = -(-size // MIB) * MIB
    digest, done, announced = hashlib.sha256(), 0, 0
    with stage(emit, "digest", padded):
        for block in blocks:
            digest.update(block)
            done += len(block)
            if done - announced >= _STEP_BYTES:
                announced = done
                emit(StageAdvanced(place=_PLACE, stage="digest", done=done))
        if done != size:
            raise PipelineError(f"image {name} gave {done} bytes of its {size}: it is damaged, or it was changed")
        digest.update(sparse.ZEROS[: padded - size])
    return digest.hexdigest(), padded


def data_blocks(path: Path, container: ImageFormat, size: int) -> Iterator[tuple[int, bytes | bytearray | memoryview]]:
    """What a disk of ``size`` bytes holds, as (offset, block of at most 1 MiB) in order; holes are not read.

    A block is valid until the next one. PipelineError where the image cannot be read.
    """
    if container is ImageFormat.RAW:
        with path.open("rb", buffering=0) as file:
            yield from sparse.data(file.fileno(), size)
        return
    position = 0
    for block in _contained_blocks(path, container, size):
        if block is not sparse.ZEROS:
            yield position, block
        position += len(block)


def _contained_blocks(path: Path, container: ImageFormat, size: int) -> Iterator[bytes | bytearray | memoryview]:
    """The disk in a container in order; what its own map calls zero is not even asked for."""
    absolute = str(path.absolute())
    deadline = time.monotonic() + time_for(size).total_seconds()
    extents = list(_extents(absolute, container, size))
    server = limited("qemu-nbd", "--read-only", "--cache=writeback", f"--format={QEMU_FORMAT[container]}", absolute)
    try:
        with nbd.served(server) as export:
            if export.size != size:
                raise PipelineError(f"image {path} has {export.size} bytes where {size} were told; it changed")
            data = export.read(((start, length) for start, length, is_zero in extents if not is_zero), deadline)
            for _, length, is_zero in extents:
                yield from sparse.zeros(length) if is_zero else _next_bytes(data, length)
    except ToolError as error:
        raise PipelineError(f"image {path} cannot be read: {error.message}", hint=error.hint) from error


def _next_bytes(blocks: Iterator[bytearray], length: int) -> Iterator[bytes | bytearray]:
    while length > 0:
        block = next(blocks)
        length -= len(block)
        yield block


def _extents(absolute: str, container: ImageFormat, size: int) -> Iterator[tuple[int, int, bool]]:
    """(start, length, is zero) from 0 to ``size`` without a gap; one extent to be read where the map cannot be had."""
    command = limited("qemu-img", "map", "--output=json", "-f", QEMU_FORMAT[container], absolute)
    finished = process.run(command, timeout=time_for(size), limit=_MAP_LIMIT)
    position = 0
    with contextlib.suppress(ValueError, KeyError, TypeError):
        for extent in json.loads(finished.stdout):
            start, length = int(extent["start"]), int(extent["length"])
            if start != position or length <= 0 or start + length > size:
                break
            yield start, length, extent["zero"] is True
            position += length
    if position < size:
        yield position, size - position, False


def _remembered_digest(path: Path, container: ImageFormat, emit: Emit) -> tuple[str, int]:
    """For planning and running, where a file that did not change need not be read again; never for signing."""
    memory = cache_folder() / "digests" / f"{_fingerprint(path, container)}.json"
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
        found = json.loads(memory.read_bytes()[:4096])
        digest, size_bytes = found["disk_digest"], found["size_bytes"]
        if isinstance(digest, str) and len(digest) == 64 and isinstance(size_bytes, int):
            return digest, size_bytes
    before = _fingerprint(path, container)
    digest, size_bytes = disk_digest(path, container, emit)
    if _fingerprint(path, container) != before:
        raise PipelineError(f"image {path} changed while it was read")
    with contextlib.suppress(OSError):  # a cache that cannot be written only costs time
        memory.parent.mkdir(parents=True, exist_ok=True)
        files.write_atomically(memory, json.dumps({"disk_digest": digest, "size_bytes": size_bytes}).encode())
    return digest, size_bytes


def _fingerprint(path: Path, container: ImageFormat) -> str:
    status = path.stat()
    facts = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns, container.value)
    return hashlib.sha256(repr(facts).encode()).hexdigest()


@contextlib.contextmanager
def stage(emit: Emit, name: str, expected: int | None = None) -> Iterator[None]:
    """A stage with its start and, on every way out, its end."""
    started = time.monotonic()
    emit(StageStarted(place=_PLACE, stage=name, expected=expected))
    error = ""
    try:
        yield
    except LisaCiError as problem:
        error = problem.message
        raise
    finally:
        emit(StageEnded(place=_PLACE, stage=name, wall=timedelta(seconds=time.monotonic() - started), error=error))
