"""With the user's own key: whose word counts for the machine's host key."""

from __future__ import annotations

import base64
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lisa_ci.errors import ProvisioningError
from lisa_ci.model import Access, Timeouts, WayIn
from lisa_ci.platforms.qemu import machine
from lisa_ci.platforms.qemu.builder import Seat
from lisa_ci.ssh.link import WrongKeyError

INJECTED = "ssh-ed25519 INJECTED"
OWN = "ssh-ed25519 " + base64.b64encode(b"\0\0\0\x0bssh-ed25519\0\0\0 " + bytes(32)).decode()
BLOCK = f"-----BEGIN SSH HOST KEY KEYS-----\r\n{OWN} root@host\r\n-----END SSH HOST KEY KEYS-----\r\n"
TIMEOUTS = Timeouts(boot=timedelta(0))


class Host:
    """A machine that shows one host key to whoever connects."""

    def __init__(self, host_key: str) -> None:
        self.host_key = host_key
        self.tried: list[str] = []

    def connect(self, login: Any, **_: object) -> str:
        self.tried.append(login.host_key)
        if login.host_key == self.host_key:
            return "in"
        refusal = ProvisioningError("not the machine it should be")
        refusal.__context__ = WrongKeyError("SHA256:other")
        raise refusal


def log_in(host: Host, console: Path, way_in: WayIn, monkeypatch: pytest.MonkeyPatch) -> object:
    monkeypatch.setattr(machine.ssh, "connect", host.connect)
    access = Access(way_in=way_in, key="key")
    builder: Any = SimpleNamespace(
        access=access,
        leg="leg",
        name="leg",
        seat=Seat(),
        key=Path("key"),
        known_hosts=Path("k"),
        host_key=SimpleNamespace(public=INJECTED),
    )
    life: Any = SimpleNamespace(
        console=console,
        death=lambda: None,
        comes_up=None,
        opening=None,
        logged_in=None,
        grace=None,
    )
    return machine._log_in(builder, 22, life, timeouts=TIMEOUTS, emit=lambda _: None)


def test_a_host_key_that_we_put_in_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host(INJECTED)
    assert log_in(host, tmp_path / "none", WayIn.KEY, monkeypatch) == "in"
    assert host.tried == [INJECTED]


def test_else_the_one_that_cloud_init_printed_on_the_console(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "console").write_text(BLOCK)
    host = Host(OWN)
    assert log_in(host, tmp_path / "console", WayIn.KEY, monkeypatch) == "in"
    assert host.tried == [INJECTED, OWN]


def test_a_host_key_that_nothing_vouches_for_is_never_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "console").write_text("login: ")
    host = Host(OWN)
    with pytest.raises(ProvisioningError, match=r"which nothing vouches for.*last on its console: login:") as caught:
        log_in(host, tmp_path / "console", WayIn.KEY, monkeypatch)
    assert "offline" in caught.value.hint
    assert host.tried == [INJECTED]


def test_a_console_that_names_another_key_does_not_help(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "console").write_text(BLOCK)
    with pytest.raises(ProvisioningError, match="not the machine it should be"):
        log_in(Host("ssh-ed25519 THIRD"), tmp_path / "console", WayIn.KEY, monkeypatch)


@pytest.mark.parametrize("way_in", [WayIn.AUTO, WayIn.CREDENTIALS, WayIn.CLOUD_INIT, WayIn.OFFLINE])
def test_where_we_put_the_key_in_no_other_counts(
    way_in: WayIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "console").write_text(BLOCK)
    host = Host(OWN)
    with pytest.raises(ProvisioningError, match="not the machine it should be"):
        log_in(host, tmp_path / "console", way_in, monkeypatch)
    assert host.tried == [INJECTED]
