"""What a kernel is delivered in: tar files, Debian packages, RPMs. Read as a stream, bounded, never trusted.

Only regular files come out, under names that lie below the archive's own top; links, devices and everything that no
kernel needs are left out. Formats: ar(5), deb(5), "newc" cpio, and RPM version 4 (lead, two headers, payload).
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import re
import struct
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Final, Protocol, cast

import zstandard

from lisa_ci.errors import PipelineError

MAX_BYTES: Final = 16 << 30
MAX_FILES: Final = 300_000
MAX_NAME: Final = 1024
_BLOCK: Final = 1 << 20
_DECODER_MEMORY: Final = 256 << 20
_WINDOW: Final = 128 << 20
_EXTENSION_LIMIT: Final = 1 << 20
_HEADER_LIMIT: Final = 64 << 20
_AR: Final = b"!<arch>\n"
_RPM: Final = b"\xed\xab\xee\xdb"
_RPM_HEADER: Final = b"\x8e\xad\xe8\x01"
_CPIO: Final = (b"070701", b"070702")
_CPIO_END: Final = "TRAILER!!!"
_REGULAR, _TYPE = 0o100000, 0o170000
_ERRORS: Final = (OSError, EOFError, ValueError, lzma.LZMAError, zstandard.ZstdError, tarfile.TarError, struct.error)

WANTED: Final = re.compile(
    r"(?:.*/)?(?:bzImage|vmlinu[xz](?:-[^/]+)?|\.config|config(?:-[^/]+)?|System\.map(?:-[^/]+)?|kernel\.release"
    r"|modules\.(?:order|builtin|builtin\.modinfo)|[^/]+\.ko(?:\.gz|\.xz|\.zst)?)"
)


class Stream(Protocol):
    """What can be read in order."""

    def read(self, size: int, /) -> bytes:
        """At most ``size`` bytes; b"" at the end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A regular file in an archive; ``content`` is read before the next member is asked for, or not at all."""

    name: str
    size: int
    content: Stream


def is_archive(path: Path) -> bool:
    """True where the first bytes are those of something ``members`` reads."""
    with path.open("rb") as file:
        head = file.read(512)
    return head.startswith((_AR, _RPM, *_COMPRESSED)) or head[257:262] == b"ustar"


def unpack(path: Path, target: Path) -> None:
    """The files of a kernel that are in the archive, below ``target``, a folder that is empty.

    PipelineError for an archive that is damaged, holds too much, or tries to write elsewhere.
    """
    count = total = 0
    try:
        with path.open("rb") as file:
            for member in members(file):
                count += 1
                if count > MAX_FILES:
                    raise PipelineError(f"{path} holds more than {MAX_FILES} files")
                name = _safe(member.name, path)
                if not WANTED.fullmatch(name):
                    continue
                total += member.size
                if total > MAX_BYTES:
                    raise PipelineError(f"{path} holds more than {MAX_BYTES >> 30} GiB of kernel")
                _write(member, target / name, path)
    except _ERRORS as error:
        raise PipelineError(
            f"{path} cannot be unpacked: {error}", hint="is it complete? build or get it again"
        ) from error


def _safe(name: str, path: Path) -> str:
    parts = PurePosixPath(name.lstrip("/")).parts
    if ".." in parts or "\0" in name or len(name) > MAX_NAME:
        raise PipelineError(f"{path} holds a file that wants to lie elsewhere: {name[:200]!r}")
    return "/".join(parts)


def _write(member: Member, place: Path, path: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    left = member.size
    try:
        with place.open("xb") as file:
            while left and (block := member.content.read(min(left, _BLOCK))):
                file.write(block)
                left -= len(block)
    except (FileExistsError, NotADirectoryError) as error:
        raise PipelineError(f"{path} holds {member.name[:200]!r} twice") from error
    if left:
        raise EOFError(f"it ends within {member.name[:200]}")


# ---- containers ----------------------------------------------------------------------------------------------------


def members(file: BinaryIO) -> Iterator[Member]:
    """Every regular file of a tar file (packed or not), a Debian package or an RPM, in its order."""
    head = file.read(8)
    file.seek(0)
    if head.startswith(_AR):
        yield from _deb(file)
    elif head.startswith(_RPM):
        yield from _rpm(file)
    else:
        yield from _tar(unpacked(file))


class _BoundedTarInfo(tarfile.TarInfo):
    """Headers in front of a member (long names, pax records) are read into memory: refused where they are large."""

    _IN_MEMORY: Final = (tarfile.XHDTYPE, tarfile.XGLTYPE, b"X", tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)

    def _proc_member(self, tar: tarfile.TarFile) -> tarfile.TarInfo:
        if self.type in self._IN_MEMORY and self.size > _EXTENSION_LIMIT:
            raise tarfile.ReadError(f"a header of {self.size} bytes")
        return super()._proc_member(tar)  # type: ignore[misc,no-any-return]


def _tar(stream: Stream) -> Iterator[Member]:
    with tarfile.open(fileobj=cast("Any", stream), mode="r|", tarinfo=_BoundedTarInfo) as tar:
        for info in tar:
            content = tar.extractfile(info) if info.isreg() else None
            if content is not None:
                yield Member(name=info.name, size=info.size, content=content)
            cast("Any", tar).members = []  # it keeps every header otherwise


def _deb(file: BinaryIO) -> Iterator[Member]:
    """The members of ``data.tar*`` in an ar file (60 bytes of header each, at even places)."""
    file.seek(len(_AR))
    while header := file.read(60):
        if len(header) < 60 or header[58:60] != b"`\n":
            raise ValueError("no Debian package: its ar file is damaged")
        name, size = header[:16].decode("ascii", "replace").strip().rstrip("/"), int(header[48:58])
        if size < 0:
            raise ValueError("no Debian package: a part of it has a negative size")
        start = file.tell()
        if name.startswith("data.tar"):
            yield from _tar(unpacked(_Part(file, size)))
            return
        file.seek(start + size + size % 2)
    raise ValueError("no Debian package: it has no data.tar")


def _rpm(file: BinaryIO) -> Iterator[Member]:
    file.seek(96)
    signature_bytes = _skip_rpm_header(file)
    file.read(-signature_bytes % 8)
    _skip_rpm_header(file)
    yield from _cpio(unpacked(file))


def _skip_rpm_header(file: BinaryIO) -> int:
    """Its length in bytes: 16, then 16 for each index entry, then the store."""
    head = file.read(16)
    if head[:4] != _RPM_HEADER or len(head) < 16:
        raise ValueError("no RPM: its header is damaged")
    entries, store = struct.unpack(">II", head[8:16])
    length = 16 * int(entries) + int(store)
    if length > _HEADER_LIMIT:
        raise ValueError(f"no RPM: a header of {length} bytes")
    if len(file.read(length)) < length:
        raise EOFError("it ends within its header")
    return 16 + length


def _cpio(stream: Stream) -> Iterator[Member]:
    while True:
        head = _exactly(stream, 110)
        if head[:6] not in _CPIO:
            raise ValueError("the RPM's payload is no 'newc' cpio archive")
        fields = [int(head[start : start + 8], 16) for start in range(6, 110, 8)]
        mode, size, name_bytes = fields[1], fields[6], fields[11]
        if not 1 < name_bytes <= MAX_NAME + 1:
            raise ValueError(f"a name of {name_bytes} bytes")
        name = _exactly(stream, name_bytes)[:-1].decode(errors="surrogateescape")
        _exactly(stream, -(110 + name_bytes) % 4)
        if name == _CPIO_END:
            return
        content = _Part(stream, size)
        if mode & _TYPE == _REGULAR:
            yield Member(name=name.removeprefix("./"), size=size, content=content)
        while content.read(_BLOCK):
            pass
        if content.left:
            raise EOFError(f"it ends within {name[:200]}")
        _exactly(stream, -size % 4)


def _exactly(stream: Stream, size: int) -> bytes:
    data = b""
    while len(data) < size:
        block = stream.read(size - len(data))
        if not block:
            raise EOFError("it ends too early")
        data += block
    return data


class _Part:
    """The next ``left`` bytes of a stream."""

    def __init__(self, stream: Stream, size: int) -> None:
        self._stream = stream
        self.left = size

    def read(self, size: int, /) -> bytes:
        data = self._stream.read(min(size, self.left)) if self.left and size > 0 else b""
        self.left -= len(data)
        return data


# ---- compression ---------------------------------------------------------------------------------------------------


class _Decoder(Protocol):
    """``bz2`` and ``lzma`` have the same."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


_COMPRESSED: Final = {
    b"\x1f\x8b": "gzip",
    b"\xfd7zXZ\x00": "xz",
    b"\x5d\x00\x00": "lzma",
    b"BZh": "bz2",
    b"\x28\xb5\x2f\xfd": "zstd",
}


def unpacked(stream: Stream) -> Stream:
    """The stream without its compression, known by its first bytes; one without any stays as it is."""
    peeked = _Peeked(stream)
    kind = next((kind for magic, kind in _COMPRESSED.items() if peeked.head.startswith(magic)), "")
    match kind:
        case "gzip":
            return gzip.GzipFile(fileobj=cast("Any", peeked))
        case "xz" | "lzma":
            return _Decoded(peeked, lambda: lzma.LZMADecompressor(memlimit=_DECODER_MEMORY))
        case "bz2":
            return _Decoded(peeked, bz2.BZ2Decompressor)
        case "zstd":
            decoder = zstandard.ZstdDecompressor(max_window_size=_WINDOW)
            return cast("Stream", decoder.stream_reader(cast("Any", peeked), read_across_frames=True))
    return peeked


class _Peeked:
    """A stream whose first bytes are known."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self.head = self._rest = stream.read(8)

    def read(self, size: int, /) -> bytes:
        if self._rest:
            data, self._rest = self._rest[:size], self._rest[size:]
            return data
        return self._stream.read(size)


class _Decoded:
    """What a decoder makes of a stream; several packed streams behind each other are one."""

    def __init__(self, stream: Stream, make: Callable[[], _Decoder]) -> None:
        self._stream = stream
        self._make = make
        self._decoder = make()

    def read(self, size: int, /) -> bytes:
        while True:
            if self._decoder.eof:
                data = self._decoder.unused_data or self._stream.read(_BLOCK)
                if not data.strip(b"\0"):  # padding between streams, and the end
                    return b""
                self._decoder = self._make()
            elif self._decoder.needs_input:
                data = self._stream.read(_BLOCK)
                if not data:
                    raise EOFError("it ends too early")
            else:
                data = b""
            if found := self._decoder.decompress(data, size):
                return found
