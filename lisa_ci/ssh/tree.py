"""A folder as one stream of tar, made while it is sent: nothing is written to the disk, little is held in memory."""

from __future__ import annotations

import io
import stat
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from lisa_ci.errors import PipelineError

_BLOCK: Final = 256 * 1024


def content(folder: Path) -> Sequence[Path]:
    """Everything below ``folder``, sorted; links are not followed. PipelineError for what cannot be copied."""
    if not folder.is_dir():
        raise PipelineError(f"cannot copy {folder}: it is not a folder")
    paths = sorted(folder.rglob("*"))
    for path in paths:
        if not (path.is_symlink() or path.is_file() or path.is_dir()):
            raise PipelineError(f"cannot copy {path}: it is not a file, a folder or a link")
    return paths


def pack(folder: Path, paths: Sequence[Path], send: Callable[[bytes], None]) -> None:
    """Send ``paths``, which are below ``folder``, as tar."""
    with tarfile.open(fileobj=_Pipe(send), mode="w|", bufsize=_BLOCK, format=tarfile.GNU_FORMAT) as tar:
        for path in paths:
            tar.add(path, arcname=path.relative_to(folder).as_posix(), recursive=False, filter=_anonymous)


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Nothing of the host travels along: owner, time, odd modes."""
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mtime = 0
    if not member.issym():
        member.mode = 0o755 if member.isdir() or member.mode & stat.S_IXUSR else 0o644
    return member


class _Pipe(io.RawIOBase):
    """A file for tarfile to write to."""

    def __init__(self, send: Callable[[bytes], None]) -> None:
        super().__init__()
        self._send = send

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        block = bytes(data)  # type: ignore[call-overload]
        self._send(block)
        return len(block)
