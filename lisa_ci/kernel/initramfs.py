"""A small initramfs of our own: the host's busybox, the modules that find the root disk, and init.sh.

The archive is cpio in its "newc" form, not compressed: every kernel reads it, and nothing has to be built in for that
(Documentation/driver-api/early-userspace/buffer-format.rst).
"""

from __future__ import annotations

import gzip
import io
import lzma
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Final

import zstandard

from lisa_ci.errors import PipelineError, ProvisioningError

MODULE_LIMIT: Final = 256 << 20
BUSYBOX_LIMIT: Final = 16 << 20
_PT_INTERP: Final = 3
_FOLDER, _FILE, _LINK = 0o040755, 0o100644, 0o120777
_EXECUTABLE: Final = 0o100755
_ALIGNMENT: Final = 4
_INIT: Final = Path(__file__).with_name("init.sh")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A file (or, with ``is_link``, a symbolic link to ``data``) in the archive."""

    name: str
    data: bytes
    mode: int = _FILE


def write_cpio(file: BinaryIO, entries: Iterable[Entry]) -> None:
    """An archive of ``entries``; the folders they lie in come before them. The same entries give the same bytes."""
    made: dict[str, None] = {}
    number = 1
    for entry in entries:
        for folder in reversed([str(place) for place in PurePosixPath(entry.name).parents if place.name]):
            if folder not in made:
                made[folder] = None
                _write(file, number, Entry(name=folder, data=b"", mode=_FOLDER))
                number += 1
        _write(file, number, entry)
        number += 1
    _write(file, 0, Entry(name="TRAILER!!!", data=b"", mode=0))


def _write(file: BinaryIO, number: int, entry: Entry) -> None:
    name = entry.name.encode()
    fields = (number, entry.mode, 0, 0, 1, 0, len(entry.data), 0, 0, 0, 0, len(name) + 1, 0)
    head = b"070701" + b"".join(b"%08X" % field for field in fields) + name + b"\0"
    file.write(head + bytes(-len(head) % _ALIGNMENT))
    file.write(entry.data + bytes(-len(entry.data) % _ALIGNMENT))


@dataclass(frozen=True, slots=True, kw_only=True)
class Root:
    """Where the root file system is, told by the place of its disk: names of disks depend on who comes first.

    ``slot`` is the PCI slot of the disk, ``partition`` counts from 1, 0 is the whole disk. ``kind`` is a file system's
    name, '' lets mount find out.
    """

    slot: int
    partition: int
    kind: str = ""
    options: str = ""
    is_writable: bool = True
    init: str = ""


def write_initramfs(path: Path, busybox: Path, root: Root, modules: Iterable[Path], *, modules_slot: int) -> None:
    """``modules`` are loaded in their order. ``modules_slot``: the PCI slot of the disk with all modules, 0 for none.

    PipelineError for a module that cannot be unpacked; ProvisioningError where busybox needs libraries.
    """
    with path.open("wb") as file:
        write_cpio(file, _entries(busybox, root, modules, modules_slot))


def _entries(busybox: Path, root: Root, modules: Iterable[Path], modules_slot: int) -> Iterator[Entry]:
    yield Entry(name="bin/busybox", data=read_busybox(busybox), mode=_EXECUTABLE)
    yield Entry(name="bin/sh", data=b"busybox", mode=_LINK)
    yield Entry(name="init", data=_INIT.read_bytes(), mode=_EXECUTABLE)
    for place in ("dev", "proc", "sys", "run", "sysroot"):
        yield Entry(name=place, data=b"", mode=_FOLDER)
    values = (
        f"{root.slot:02x}",  # as names in /sys/bus/pci have it
        root.partition,
        root.kind or "auto",
        ",".join(filter(None, ("rw" if root.is_writable else "ro", root.options))),
        root.init or "/sbin/init",
        f"{modules_slot:02x}",
    )
    yield Entry(name="root", data="".join(f"{value}\n" for value in values).encode())
    names = []
    for number, module in enumerate(modules):
        name = f"{number:03d}-{module.name.partition('.')[0]}.ko"
        names.append(name)
        yield Entry(name=f"modules/{name}", data=read_module(module))
    yield Entry(name="load", data="".join(f"{name}\n" for name in names).encode())


def read_module(path: Path) -> bytes:
    """A module's bytes, unpacked. PipelineError where they are damaged or more than MODULE_LIMIT."""
    try:
        with path.open("rb") as file:
            data = _unpacked(path, file).read(MODULE_LIMIT + 1)
    except (OSError, EOFError, lzma.LZMAError, zstandard.ZstdError) as error:
        raise PipelineError(f"module {path} cannot be read: {error}") from error
    if len(data) > MODULE_LIMIT:
        raise PipelineError(
            f"module {path} is larger than {MODULE_LIMIT >> 20} MiB", hint="strip it: INSTALL_MOD_STRIP=1"
        )
    return data


def _unpacked(path: Path, file: BinaryIO) -> io.BufferedIOBase | BinaryIO:
    match path.suffix:
        case ".gz":
            return gzip.GzipFile(fileobj=file)
        case ".xz":
            return lzma.LZMAFile(file)
        case ".zst":
            return io.BufferedReader(zstandard.ZstdDecompressor(max_window_size=1 << 27).stream_reader(file))
    return file


def read_busybox(path: Path) -> bytes:
    """The program's bytes. ProvisioningError where it is not linked statically: nothing else is there to help it."""
    data = path.read_bytes()[: BUSYBOX_LIMIT + 1]
    if data[:5] != b"\x7fELF\x02" or len(data) < 64 or len(data) > BUSYBOX_LIMIT:
        raise ProvisioningError(f"{path} is no 64-bit program", hint="install busybox-static")
    table, entry_bytes, count = struct.unpack_from("<Q", data, 32)[0], *struct.unpack_from("<HH", data, 54)
    for start in range(table, table + entry_bytes * count, entry_bytes or 1):
        if start + 4 > len(data) or struct.unpack_from("<I", data, start)[0] == _PT_INTERP:
            raise ProvisioningError(
                f"{path} needs libraries that an initramfs does not have", hint="install the package busybox-static"
            )
    return data
