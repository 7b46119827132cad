"""What is tested, and how to get into it: images, kernels, ways in; and what all values share."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Final

SCHEMA: Final = 1
ID_PATTERN: Final = r"[a-z0-9](?:[a-z0-9._-]{0,126}[a-z0-9])?"
_ID: Final = re.compile(ID_PATTERN)

Capability = int | str | bool


def is_id(text: str) -> bool:
    """True for a legal profile, suite, case or leg id: also a legal folder, artifact and check name."""
    return _ID.fullmatch(text) is not None and ".." not in text


class Secret:
    """A value that never shows itself: ``str`` and ``repr`` are ``***``; ``reveal()`` is the only way to it."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return "***"

    __str__ = __repr__


# ---- what is tested ------------------------------------------------------------------------------------------------


class ImageFormat(StrEnum):
    """Containers of a disk. ``vhd`` is QEMU's ``vpc``."""

    RAW = "raw"
    QCOW2 = "qcow2"
    VHD = "vhd"
    VHDX = "vhdx"
    VMDK = "vmdk"


class Firmware(StrEnum):
    BIOS = "bios"
    UEFI = "uefi"


class Arch(StrEnum):
    X86_64 = "x86_64"
    AARCH64 = "aarch64"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSource:
    """The image as the pipeline names it: a path, a glob that matches one file, an URL with its sha256, or the name by
    which Azure has it (``azure``).
    """

    path: str | None = None
    url: str | None = None
    sha256: str | None = None
    azure: str | None = None
    format: ImageFormat | None = None
    arch: Arch = Arch.X86_64
    firmware: tuple[Firmware, ...] = (Firmware.BIOS, Firmware.UEFI)


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """The disk under test.

    ``disk_digest`` is the SHA-256 (hex) over the bytes the machine sees: the raw disk, padded with zeros to a whole
    MiB, whatever the container. ``size_bytes`` is that padded size. ``path`` is relative to the working directory
    where the file lies below it; ``url`` and ``sha256`` (of the file) are set where the image is downloaded, and then
    ``path`` is only its file name.
    """

    path: str
    url: str | None = None
    sha256: str | None = None
    format: ImageFormat
    disk_digest: str
    size_bytes: int
    arch: Arch = Arch.X86_64
    firmware: tuple[Firmware, ...] = (Firmware.BIOS, Firmware.UEFI)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """A foreign kernel to boot the image with. Paths on the host; ``digest`` is SHA-256 (hex) over all its parts.

    ``source`` is where it was delivered (a folder, an archive, a package), ``extra`` a folder with more modules for it,
    and ``delivery`` SHA-256 (hex) of both; without ``source``, ``image`` is set.
    """

    image: str = ""
    source: str | None = None
    extra: str | None = None
    delivery: str = ""
    modules: str | None = None
    config: str | None = None
    initrd: str | None = None
    command_line: str | None = None
    vmlinux: str | None = None
    digest: str = ""

    @property
    def path(self) -> str:
        """What people know it by."""
        return self.source or self.image


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudImage:
    """An image that a cloud holds and we only name: it can be gated on, and is never signed by us.

    ``name`` is exact, with its version: the cloud promises that it gives the same bytes. ``platform`` makes machines
    of it, no other can.
    """

    platform: str
    name: str
    arch: Arch = Arch.X86_64
    firmware: tuple[Firmware, ...] = (Firmware.BIOS, Firmware.UEFI)

    @property
    def identity(self) -> str:
        return f"{self.platform}:{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What a run judges: the disk, plus a foreign kernel where one is booted; or a cloud's image.

    None of them = a machine that already runs.
    """

    image: Image | None = None
    kernel: Kernel | None = None
    cloud: CloudImage | None = None

    @property
    def digest(self) -> str:
        """Names the subject in runs: the disk digest, joined with the kernel's where there is one; '' for neither.

        That of a cloud's image is its name, which no disk digest ever equals.
        """
        if self.cloud is not None:
            return self.cloud.identity
        parts = [part for part in (self.image and self.image.disk_digest, self.kernel and self.kernel.digest) if part]
        return "+".join(parts)


# ---- how to get into a machine -------------------------------------------------------------------------------------


class Become(StrEnum):
    """How the login gets root's rights: it is root, or ``sudo -n`` is allowed."""

    NONE = "none"
    SUDO = "sudo"


class WayIn(StrEnum):
    """How our key gets into an image that knows nothing of us. AUTO offers cloud-init and credentials together."""

    AUTO = "auto"
    CLOUD_INIT = "cloud-init"
    CREDENTIALS = "credentials"
    OFFLINE = "offline"
    KEY = "key"


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Who logs in, and how. ``key`` is the path of a private key that the machine already accepts (way in KEY)."""

    user: str = "root"
    become: Become = Become.NONE
    way_in: WayIn = WayIn.AUTO
    key: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """``boot``: power-on to login; ``case``: one case without a timeout of its own; ``leg``: the whole leg.

    ``silence``: how long a machine may give no sign of life before it is taken for hung.
    """

    boot: timedelta = timedelta(minutes=5)
    case: timedelta = timedelta(minutes=5)
    leg: timedelta = timedelta(minutes=60)
    silence: timedelta = timedelta(seconds=60)
