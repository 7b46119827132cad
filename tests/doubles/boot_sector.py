"""The smallest disk that boots: its first sector writes a line to the serial port and halts."""

from __future__ import annotations

from pathlib import Path

from lisa_ci import process
from lisa_ci.image import QEMU_FORMAT, time_for
from lisa_ci.model import ImageFormat

SIZE = 8 << 20


def boot_sector(text: str) -> bytes:
    """16-bit code that BIOS loads to 0x7c00."""
    code = bytes.fromhex(
        "fa"  # cli
        "31c08ed8"  # ds = 0
        "be157c"  # si = the text, right behind the code
        "ac84c07406"  # next character; 0 ends
        "baf803ee"  # to the serial port
        "ebf5"  # and on
        "f4ebfd"  # halt, for ever
    )
    assert len(code) == 0x15 + 1
    return code.replace(b"\x15\x7c", b"\x16\x7c") + text.encode() + b"\0"


def make_disk(folder: Path, text: str = "hello from the disk\r\n", kind: ImageFormat = ImageFormat.RAW) -> Path:
    """A disk of SIZE bytes in the container ``kind``; BIOS only."""
    raw = folder / "boot.raw"
    raw.write_bytes(boot_sector(text).ljust(510, b"\0") + b"\x55\xaa" + bytes(SIZE - 512))
    if kind is ImageFormat.RAW:
        return raw
    path = folder / f"boot.{kind}"
    options = ["-o", "subformat=fixed,force_size=on"] if kind is ImageFormat.VHD else []
    command = ["qemu-img", "convert", "-f", "raw", "-O", QEMU_FORMAT[kind], *options, str(raw), str(path)]
    process.check(command, timeout=time_for(SIZE))
    return path
