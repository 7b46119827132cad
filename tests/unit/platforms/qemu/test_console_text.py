from __future__ import annotations

import base64
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from lisa_ci.platforms.qemu.console_text import end_of_boot, host_key, last_lines, read_tail, why_no_boot

KEY = base64.b64encode(b"\0\0\0\x0bssh-ed25519\0\0\0 " + bytes(range(32))).decode()
OTHER = base64.b64encode(b"\0\0\0\x0bssh-ed25519\0\0\0 " + bytes(32)).decode()


def block(*keys: str) -> bytes:
    lines = "\r\n".join(f"ssh-ed25519 {key} root@host" for key in keys)
    return f"-----BEGIN SSH HOST KEY KEYS-----\r\n{lines}\r\n-----END SSH HOST KEY KEYS-----\r\n".encode()


def test_the_host_key_is_read_from_cloud_inits_block() -> None:
    assert host_key(b"[ 12.3] noise\r\n" + block(KEY) + b"login: ") == f"ssh-ed25519 {KEY}"


def test_a_line_that_another_writer_ran_into_is_still_found() -> None:
    text = block(KEY).replace(b"ssh-ed25519", b"[   20.1] audit: ssh-ed25519", 1)
    assert host_key(text) == f"ssh-ed25519 {KEY}"


def test_the_last_block_counts() -> None:
    assert host_key(block(OTHER) + b"reboot\r\n" + block(KEY)) == f"ssh-ed25519 {KEY}"


def test_a_key_outside_of_a_whole_block_is_not_believed() -> None:
    assert host_key(f"ssh-ed25519 {KEY}\r\n".encode()) is None
    assert host_key(block(KEY).partition(b"-----END")[0]) is None


def test_a_key_of_another_length_is_not_believed() -> None:
    assert host_key(block(KEY[:-8])) is None


def test_firmware_that_gave_up_says_so() -> None:
    assert why_no_boot(b"Booting from Hard Disk...\r\nNo bootable device.\r\n") == "No bootable device"
    assert why_no_boot(b"BdsDxe: No bootable option or device was found.\r\n")
    assert why_no_boot(b"Linux version 6.1") is None


def test_a_loader_that_secure_boot_refused_is_told_where_nothing_else_booted() -> None:
    refused = b'BdsDxe: failed to load Boot0001 "UEFI Misc Device" from PciRoot(0x0)/Pci(0x2,0x0): Access Denied\r\n'
    gave_up = b"BdsDxe: No bootable option or device was found.\r\n"
    told = why_no_boot(refused + gave_up)
    assert told is not None
    assert told.startswith("Access Denied: Secure Boot")
    assert why_no_boot(refused) is None
    assert "Secure Boot" not in (why_no_boot(gave_up) or "")
    violation = refused.replace(b"load", b"start").replace(b"Access Denied", b"Security Violation")
    assert (why_no_boot(violation + gave_up) or "").startswith("Security Violation")


def test_last_lines_have_no_escape_sequences_and_no_commands_for_the_runner() -> None:
    text = b"one\r\n\x1b[0;32m  OK  \x1b[0m Started\x07 it\r\n\r\n::error::x\r\n##[error]y\r\n"
    found = last_lines(text)
    assert found[:2] == ["one", "OK   Started\ufffd it"]
    assert not any(line.startswith("::") or "##[" in line for line in found)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=500))
def test_no_console_breaks_its_readers(console: bytes) -> None:
    assert all("\x1b" not in line and len(line) <= 200 for line in last_lines(console))
    host_key(console)
    why_no_boot(console)
    end_of_boot(console)


def test_the_tail_is_bounded_and_a_missing_file_is_empty(tmp_path: Path) -> None:
    assert read_tail(tmp_path / "none") == b""
    (tmp_path / "console").write_bytes(b"x" * 100 + b"end")
    assert read_tail(tmp_path / "console", limit=3) == b"end"
