"""What a machine tells about itself on its serial console: its host keys (cloud-init prints them), and why it fails.

The console is ours: nobody on a network can write there. Other writers run into the lines, so they are searched for,
never split.
"""

from __future__ import annotations

import base64
import binascii
import re
from pathlib import Path
from typing import Final

from lisa_ci.github.commands import neutral

TAIL_BYTES: Final = 64 << 10
_BLOCK: Final = re.compile(rb"-----BEGIN SSH HOST KEY KEYS-----(.*?)-----END SSH HOST KEY KEYS-----", re.DOTALL)
_ED25519: Final = re.compile(rb"ssh-ed25519 (AAAAC3NzaC1lZDI1NTE5[A-Za-z0-9+/]{48})")
_ESCAPE: Final = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b.")
# A kernel says so where it stays there; one that will reboot by itself does not.
_PANIC_END: Final = re.compile(rb"---\[ end Kernel panic - not syncing: ([^\r\n]{0,200}?)\s*\]---")
_LINES_LOOKED_AT: Final = 200
_NO_BOOT: Final = (b"No bootable device", b"No bootable option or device was found")
_REFUSED: Final = re.compile(rb"failed to (?:load|start) Boot[^\r\n]{0,400}: (Access Denied|Security Violation)")


def host_key(console: bytes) -> str | None:
    """The Ed25519 host key of the last complete block that cloud-init printed, ``TYPE BASE64``."""
    for block in reversed(_BLOCK.findall(console)):
        for encoded in _ED25519.findall(block):
            try:
                base64.b64decode(encoded, validate=True)
            except binascii.Error:
                continue
            return f"ssh-ed25519 {encoded.decode()}"
    return None


def why_no_boot(console: bytes) -> str | None:
    """Firmware that gave up says so; there is no need to wait for the timeout then."""
    found = next((mark.decode() for mark in _NO_BOOT if mark in console), None)
    refused = _REFUSED.search(console)
    if found is None or refused is None:
        return found
    return f"{refused[1].decode()}: Secure Boot, and the boot loader is not signed by a key it trusts"


def end_of_boot(console: bytes) -> str | None:
    """The message of a kernel that panicked and stays there; None where there is none."""
    found = _PANIC_END.search(console)
    return " ".join(neutral(found[1].decode(errors="replace")).split()) if found else None


def last_lines(console: bytes, count: int = 5) -> list[str]:
    """The last lines with something to read, without control characters, at most 200 characters each."""
    text = _ESCAPE.sub("", console.decode(errors="replace").replace("\r", "\n"))
    lines = [neutral(line).strip() for line in text.splitlines()[-_LINES_LOOKED_AT:]]
    return [line[:200] for line in lines if line][-count:]


def read_tail(path: Path, limit: int = TAIL_BYTES) -> bytes:
    """The end of the console's file; b"" where there is none yet."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - limit))
            return file.read(limit)
    except FileNotFoundError:
        return b""
