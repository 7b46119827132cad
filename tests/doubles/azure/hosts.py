"""What is behind the double's virtual machines: Debian's sshd on loopback, with the keys that cloud-init would read."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.doubles.azure.arm import Stored
from tests.doubles.openssh import sshd_program

_OWN = () if os.geteuid() == 0 else ("--user", "--map-current-user", "--keep-caps")
# $1: the folder that stays, which may be below one of the others. The places are those where lisa-ci looks for what a
# case left, and where its runner has its scratch files.
_APART = """set -e
mount -t tmpfs none /var/tmp
mkdir /var/tmp/kept
mount --bind "$1" /var/tmp/kept
for place in /tmp /dev/shm /run; do mount -t tmpfs -o mode=1777 none "$place"; done
mkdir -p -m 755 "$1" /run/sshd
mount --move /var/tmp/kept "$1"
rmdir /var/tmp/kept
shift
exec "$@"
"""


def cloud_config(machine: Stored) -> dict[str, Any]:
    """What cloud-init in the machine would read."""
    properties = machine.properties
    text = properties.get("osProfile", {}).get("customData") or properties.get("userData") or ""
    document = base64.b64decode(text).decode()
    assert document.startswith("#cloud-config\n"), document[:80]
    value: dict[str, Any] = json.loads(document.partition("\n")[2])
    return value


@dataclass
class SshdHosts:
    """Each machine is an sshd of its own on an address of loopback; all listen on ``port``. It logs in as we are.

    ``is_apart``: the folders for temporary files are its own, and gone with it. ``silent``: names of machines that
    never answer. ``text`` is on every machine's serial console.
    """

    folder: Path
    silent: set[str] = field(default_factory=set)
    text: bytes = b"[    0.000000] Linux version 6.1.0 (double)\r\n[    1.000000] systemd[1]: Reached target\r\n"
    port: int = 0
    is_apart: bool = False
    silent_regions: set[str] = field(default_factory=set)
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.port:
            return
        with socket.create_server(("127.0.0.2", 0)) as reserved:
            self.port = reserved.getsockname()[1]

    def address(self, number: int) -> str:
        return f"127.0.{number // 250}.{number % 250 + 2}"

    def start(self, machine: Stored, address: str) -> None:
        if machine.name in self.silent or machine.body["location"] in self.silent_regions:
            return
        told = cloud_config(machine)
        home = self.folder / f"{machine.group}-{machine.name}"
        home.mkdir(parents=True, exist_ok=True)
        host, authorized = home / "host", home / "authorized"
        with os.fdopen(os.open(host, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(told["ssh_keys"]["ed25519_private"])
        authorized.write_text("\n".join(told["users"][0]["ssh_authorized_keys"]) + "\n")
        settings = home / "sshd_config"
        lines = (f"Port {self.port}", f"ListenAddress {address}", f"HostKey {host}", f"AuthorizedKeysFile {authorized}")
        more = ("PidFile none", "UsePAM no", "StrictModes no", "PermitRootLogin prohibit-password", "SetEnv SHLVL=1")
        settings.write_text("\n".join((*lines, *more, "PasswordAuthentication no", "")))
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        with (home / "sshd.log").open("wb") as log:
            self.running[machine.id] = subprocess.Popen(
                [*(_apart(home) if self.is_apart else ()), sshd_program(), "-D", "-e", "-f", str(settings)],
                stderr=log,
                start_new_session=True,
            )

    def stop(self, machine: Stored) -> None:
        process = self.running.pop(machine.id, None)
        if process is not None:
            _kill_with_sessions(process)

    def serial(self, machine: Stored) -> bytes:
        return self.text

    def close(self) -> None:
        for process in list(self.running.values()):
            _kill_with_sessions(process)
        self.running.clear()


def _apart(home: Path) -> tuple[str, ...]:
    return ("unshare", *_OWN, "--mount", "sh", "-c", _APART, "sh", str(home))


def _kill_with_sessions(process: subprocess.Popen[bytes]) -> None:
    """A machine that is gone takes its connections with it: sshd's children first."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    with contextlib.suppress(OSError):
        for child in children.read_text().split():
            with contextlib.suppress(OSError):
                os.kill(int(child), signal.SIGKILL)
    process.kill()
    process.wait(10)


@contextlib.contextmanager
def sshd_hosts(folder: Path) -> Iterator[SshdHosts]:
    hosts = SshdHosts(folder)
    try:
        yield hosts
    finally:
        hosts.close()
