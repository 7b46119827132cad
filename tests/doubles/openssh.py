"""Debian's real sshd on loopback: its own configuration, keys and unprivileged port; not a service of the host."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

from lisa_ci.model import Become
from lisa_ci.ssh import Login, make_key


def sshd_program() -> str:
    """sshd must be called by its full path; it is often outside PATH."""
    found = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    assert found, "sshd is missing: apt-get install openssh-server"
    return found


@contextlib.contextmanager
def sshd(folder: Path, *, become: Become = Become.NONE, options: tuple[str, ...] = ()) -> Iterator[Login]:
    """A running server, and the login it accepts. ``options`` are lines for its configuration."""
    host, client = make_key(folder, "host"), make_key(folder, "client")
    authorized = folder / "authorized"
    authorized.write_text(f"{client.public}\n")
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        port = reserved.getsockname()[1]
    configuration = folder / "sshd_config"
    configuration.write_text(
        "\n".join(
            (
                f"Port {port}",
                "ListenAddress 127.0.0.1",
                f"HostKey {host.private}",
                f"AuthorizedKeysFile {authorized}",
                "PidFile none",
                "UsePAM no",
                "StrictModes no",
                "PermitRootLogin prohibit-password",
                "PasswordAuthentication no",
                # bash reads ~/.bashrc under sshd at level 1 only; the tests do not depend on what is in there.
                "SetEnv SHLVL=1",
                *options,
                "",
            )
        )
    )
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(
            mode=0o755, exist_ok=True
        )  # sshd as root wants an empty folder for its unprivileged half
    with (folder / "sshd.log").open("wb") as log:
        process = subprocess.Popen([sshd_program(), "-D", "-e", "-f", str(configuration)], stderr=log)
    try:
        yield Login(
            host="127.0.0.1",
            port=port,
            user=getpass.getuser(),
            key=client.private,
            host_key=host.public,
            become=become,
        )
    finally:
        process.terminate()
        process.wait(10)
