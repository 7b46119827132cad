"""The last way in: write our files into the root file system before it boots, with debugfs, as an ordinary user.

Works for ext2/3/4 on a GPT, MBR or unpartitioned disk, on a raw copy that we own. What debugfs did is read back,
because it prints its errors and exits with 0.
"""

from __future__ import annotations

import struct
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Final

from lisa_ci import process
from lisa_ci.errors import ProvisioningError
from lisa_ci.platforms.qemu.way_in import Entry, GuestFile, identity_files, login_files

_SECTOR: Final = 512
_GPT_ROOT_X86_64: Final = uuid.UUID("4f68bce3-e8cd-4db1-96e7-fbcaf984b709")
_MAX_ENTRIES: Final = 1024
_PROTECTIVE: Final = 0xEE
_SUPERBLOCK, _EXT_MAGIC, _NEEDS_RECOVERY = 1024, 0xEF53, 0x4
_LIMIT: Final = timedelta(seconds=60)
_WANTS: Final = PurePosixPath("/etc/systemd/system/multi-user.target.wants/systemd-networkd.service")
_NETWORKD: Final = ("/usr/lib/systemd/system/systemd-networkd.service", "/lib/systemd/system/systemd-networkd.service")
_HINT: Final = "use way_in: cloud-init, credentials or key for this image"


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition:
    """Where a partition is, in bytes; ``is_root`` where its GPT type says that it is the root file system."""

    offset: int
    size: int
    is_root: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A line of the machine's /etc/passwd."""

    name: str
    uid: int
    gid: int
    home: str


def edit(disk: Path, entry: Entry, scratch: Path) -> None:
    """Put login key, host key and network into the raw file ``disk``. ProvisioningError where it cannot be done."""
    with disk.open("rb") as file:
        root = find_root(file, disk.stat().st_size)
    system = _FileSystem(disk, root.offset, scratch)
    user = find_user(system.read("/etc/passwd") or b"", entry.user)
    files = [*identity_files(entry), *login_files(entry, user.home)]
    owners = {"root": User(name="root", uid=0, gid=0, home="/root"), user.name: user}
    for guest_file in files:
        if guest_file.path.endswith("/authorized_keys"):
            system.make_folder(str(PurePosixPath(guest_file.path).parent), user, 0o700)
            system.write(_appended(guest_file, system.read(guest_file.path) or b""), user)
        else:
            system.make_folder(str(PurePosixPath(guest_file.path).parent), owners["root"], 0o755)
            system.write(guest_file, owners[guest_file.owner])
    system.enable_networkd()


def _appended(file: GuestFile, before: bytes) -> GuestFile:
    gap = b"" if before.endswith(b"\n") or not before else b"\n"
    return GuestFile(path=file.path, content=before + gap + file.content, mode=file.mode, owner=file.owner)


# ---- finding the root file system ----------------------------------------------------------------------------------


def find_root(disk: BinaryIO, size: int) -> Partition:
    """The root file system: the one whose type says so, else the largest ext file system."""
    whole = Partition(offset=0, size=size)
    found = [part for part in (whole, *partitions(disk, size)) if _is_ext(disk, part.offset)]
    if not found:
        raise ProvisioningError("the image has no ext2/3/4 file system that could be edited offline", hint=_HINT)
    root = next((part for part in found if part.is_root), max(found, key=lambda part: part.size))
    disk.seek(root.offset + _SUPERBLOCK + 0x60)
    if struct.unpack("<I", disk.read(4))[0] & _NEEDS_RECOVERY:
        raise ProvisioningError(
            "the image's root file system was not unmounted: its journal must be replayed before an offline edit",
            hint=f"shut the image down cleanly when it is built, or {_HINT}",
        )
    return root


def partitions(disk: BinaryIO, size: int) -> Iterator[Partition]:
    """The partitions of a GPT, else the primary ones of an MBR, that lie within ``size`` bytes."""
    disk.seek(0)
    sectors = disk.read(2 * _SECTOR).ljust(2 * _SECTOR, b"\0")
    if sectors[510:512] != b"\x55\xaa":
        return
    kinds = [sectors[446 + 16 * number + 4] for number in range(4)]
    if _PROTECTIVE in kinds and sectors[512:520] == b"EFI PART":
        yield from _gpt(disk, sectors[512:], size)
        return
    for number, kind in enumerate(kinds):
        start, count = struct.unpack_from("<II", sectors, 446 + 16 * number + 8)
        if kind and count and (start + count) * _SECTOR <= size:
            yield Partition(offset=start * _SECTOR, size=count * _SECTOR)


def _gpt(disk: BinaryIO, header: bytes, size: int) -> Iterator[Partition]:
    first_entry, count, entry_bytes = struct.unpack_from("<QII", header, 72)
    if not 128 <= entry_bytes <= 4096:
        return
    for number in range(min(count, _MAX_ENTRIES)):
        place = first_entry * _SECTOR + number * entry_bytes
        if place + entry_bytes > size:
            return
        disk.seek(place)
        entry = disk.read(48)
        first, last = struct.unpack_from("<QQ", entry, 32)
        kind = uuid.UUID(bytes_le=entry[:16])
        if kind.int and first <= last and (last + 1) * _SECTOR <= size:
            is_root = kind == _GPT_ROOT_X86_64
            yield Partition(offset=first * _SECTOR, size=(last + 1 - first) * _SECTOR, is_root=is_root)


def _is_ext(disk: BinaryIO, offset: int) -> bool:
    disk.seek(offset + _SUPERBLOCK + 0x38)
    return disk.read(2) == struct.pack("<H", _EXT_MAGIC)


def find_user(passwd: bytes, name: str) -> User:
    """The user's line of /etc/passwd. ProvisioningError: an offline edit makes no users."""
    for line in passwd.decode(errors="replace").splitlines():
        fields = line.split(":")
        if len(fields) >= 7 and fields[0] == name and fields[2].isdecimal() and fields[3].isdecimal():
            home = fields[5]
            if _is_plain(home) and home.startswith("/"):
                return User(name=name, uid=int(fields[2]), gid=int(fields[3]), home=home.rstrip("/") or "/")
    raise ProvisioningError(f"the image has no user '{name}' with a home folder", hint="use user: root, or cloud-init")


# ---- debugfs -------------------------------------------------------------------------------------------------------


class _FileSystem:
    """One ext file system inside a raw file. Paths are ours, or were checked to be plain."""

    def __init__(self, disk: Path, offset: int, scratch: Path) -> None:
        self._device = f"{disk}?offset={offset}"
        self._scratch = scratch

    def read(self, path: str) -> bytes | None:
        """The file's bytes, 1 MiB at most; None where there is none."""
        finished = self._ask(f"cat {path}")
        is_missing = b"not found" in finished.stderr or b"File not found" in finished.stderr
        return None if is_missing else finished.stdout

    def exists(self, path: str) -> bool:
        return b"Inode:" in self._ask(f"stat {path}").stdout

    def make_folder(self, path: str, owner: User, mode: int) -> None:
        """The folder and its parents; one that is there keeps its owner and mode."""
        for folder in [*reversed(PurePosixPath(path).parents), PurePosixPath(path)][1:]:
            if not self.exists(str(folder)):
                self._run([f"mkdir {folder}", *_set(str(folder), owner, 0o040000 | mode)])

    def write(self, file: GuestFile, owner: User) -> None:
        """The file, replaced where it is there, and read back."""
        source = self._scratch / "offline.file"
        source.write_bytes(file.content)
        path = PurePosixPath(file.path)
        commands = [f"cd {path.parent}"] + ([f"rm {path.name}"] if self.exists(file.path) else [])
        commands += [f"write {source} {path.name}", *_set(path.name, owner, 0o100000 | file.mode)]
        told = self._run(commands).stderr
        source.unlink()
        if self.read(file.path) != file.content:
            reason = told.decode(errors="replace").strip().splitlines()[-1:] or ["no reason given"]
            raise ProvisioningError(
                f"debugfs could not write {file.path} into the image: {reason[0][:300]}", hint=_HINT
            )

    def enable_networkd(self) -> None:
        """Where the image has networkd and does not start it."""
        unit = next((unit for unit in _NETWORKD if self.exists(unit)), None)
        if unit and not self.exists(str(_WANTS)):
            self.make_folder(str(_WANTS.parent), User(name="root", uid=0, gid=0, home="/root"), 0o755)
            self._run([f"cd {_WANTS.parent}", f"symlink {_WANTS.name} {unit}"])

    def _ask(self, command: str) -> process.Finished:
        """One command that changes nothing. Not by a script: debugfs would print the script's lines as well."""
        return process.run(["debugfs", "-R", command, self._device], timeout=_LIMIT)

    def _run(self, commands: Sequence[str]) -> process.Finished:
        file = self._scratch / "offline.commands"
        file.write_text("".join(f"{command}\n" for command in commands))
        return process.run(["debugfs", "-w", "-f", file, self._device], timeout=_LIMIT)


def _set(path: str, owner: User, mode: int) -> list[str]:
    """New files belong to whoever runs debugfs: owner and mode are always set."""
    return [f"sif {path} uid {owner.uid}", f"sif {path} gid {owner.gid}", f"sif {path} mode 0{mode:o}"]


def _is_plain(path: str) -> bool:
    """No character that debugfs would take for the end of a word or of a line."""
    return all(sign.isalnum() or sign in "/._-" for sign in path) and ".." not in path
