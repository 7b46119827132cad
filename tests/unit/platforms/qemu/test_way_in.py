from __future__ import annotations

import base64
import io
import json
from pathlib import Path

import pycdlib
import pytest

from lisa_ci.model import Become, Nic, Profile
from lisa_ci.platforms.qemu.way_in import (
    HOST_KEY_PATH,
    Entry,
    credentials,
    identity_files,
    login_files,
    network_files,
    seed_files,
    write_seed,
)

PROFILE = Profile(name="two", nics=(Nic(), Nic(outbound=True)))


def entry(user: str = "root", become: Become = Become.NONE, public_key: str = "ssh-ed25519 LOGIN") -> Entry:
    return Entry(
        user=user,
        become=become,
        public_key=public_key,
        host_private="-----BEGIN OPENSSH PRIVATE KEY-----\nHOST\n-----END OPENSSH PRIVATE KEY-----\n",
        host_public="ssh-ed25519 HOST",
        networks=network_files(PROFILE),
    )


def lines(value: bytes) -> dict[str, tuple[list[str], bytes]]:
    """tmpfiles.d lines by path: the fields before the content, and the content."""
    split = [line.split(" ") for line in value.decode().splitlines()]
    return {
        words[1]: (words[:1] + words[2:5], base64.b64decode(words[6]) if len(words) > 6 else b"") for words in split
    }


def user_data(files: dict[str, bytes]) -> dict[str, object]:
    head, _, rest = files["user-data"].partition(b"\n")
    assert head == b"#cloud-config"
    found: dict[str, object] = json.loads(rest)
    return found


def test_the_network_is_for_the_control_nic_and_for_nics_with_a_way_out() -> None:
    found = network_files(PROFILE)
    assert list(found) == ["05-lisa-ci-control.network", "05-lisa-ci-nic2.network"]
    assert "MACAddress=52:54:00:6c:63:00\n" in found["05-lisa-ci-control.network"]
    assert "MACAddress=52:54:00:6c:63:02\n" in found["05-lisa-ci-nic2.network"]


def test_credentials_carry_login_key_host_key_and_network() -> None:
    told = credentials(entry())
    assert told["ssh.authorized_keys.root"] == b"ssh-ed25519 LOGIN\n"
    files = lines(told["tmpfiles.extra"])
    assert files[HOST_KEY_PATH] == (["f+~", "0600", "root", "-"], entry().host_private.encode())
    assert files[f"{HOST_KEY_PATH}.pub"][1] == b"ssh-ed25519 HOST\n"
    assert "/etc/systemd/network/05-lisa-ci-control.network" in files


def test_credentials_for_a_user_write_into_the_home_of_that_user() -> None:
    told = credentials(entry("admin", Become.SUDO))
    assert "ssh.authorized_keys.root" not in told
    files = lines(told["tmpfiles.extra"])
    assert files["/home/admin/.ssh"][0] == ["d", "0700", "admin", "-"]
    assert files["/home/admin/.ssh/authorized_keys"] == (["f+~", "0600", "admin", "-"], b"ssh-ed25519 LOGIN\n")
    assert files["/etc/sudoers.d/90-lisa-ci"] == (["f+~", "0440", "root", "-"], b"admin ALL=(ALL) NOPASSWD:ALL\n")


def test_with_a_key_of_the_user_only_identity_and_network_are_put_in() -> None:
    known = entry(public_key="")
    assert set(credentials(known)) == {"tmpfiles.extra"}
    assert b"authorized_keys" not in credentials(known)["tmpfiles.extra"]
    assert user_data(seed_files(known, PROFILE, "i"))["users"] == []
    assert not list(login_files(known, "/root"))


def test_cloud_init_makes_the_user_with_sudo() -> None:
    told = user_data(seed_files(entry("admin"), PROFILE, "i"))
    assert told["users"] == [
        {
            "name": "admin",
            "ssh_authorized_keys": ["ssh-ed25519 LOGIN"],
            "sudo": "ALL=(ALL) NOPASSWD:ALL",
            "lock_passwd": True,
        }
    ]
    assert told["ssh_deletekeys"] is False
    assert told["ssh_keys"] == {"ed25519_private": entry().host_private, "ed25519_public": "ssh-ed25519 HOST"}


def test_cloud_init_lets_root_in_only_where_root_logs_in() -> None:
    assert user_data(seed_files(entry(), PROFILE, "i"))["disable_root"] is False
    assert user_data(seed_files(entry("admin"), PROFILE, "i"))["disable_root"] is True


def test_cloud_init_matches_nics_by_address() -> None:
    told = json.loads(seed_files(entry(), PROFILE, "i")["network-config"])
    assert told["ethernets"] == {
        "control": {"match": {"macaddress": "52:54:00:6c:63:00"}, "dhcp4": True},
        "nic2": {"match": {"macaddress": "52:54:00:6c:63:02"}, "dhcp4": True},
    }


def test_the_seed_is_an_iso_with_the_label_and_the_names_of_nocloud(tmp_path: Path) -> None:
    files = seed_files(entry(), PROFILE, "instance-7")
    write_seed(tmp_path / "seed.iso", files)
    iso = pycdlib.PyCdlib()
    iso.open(str(tmp_path / "seed.iso"))
    assert iso.pvd.volume_identifier.strip() == b"cidata"
    for name, content in files.items():
        for place in ({"rr_path": f"/{name}"}, {"joliet_path": f"/{name}"}):
            out = io.BytesIO()
            iso.get_file_from_iso_fp(out, **place)
            assert out.getvalue() == content
    iso.close()


@pytest.mark.parametrize("user", ["root", "admin"])
def test_no_secret_is_readable_by_others(user: str) -> None:
    one = entry(user, Become.SUDO)
    for file in [*identity_files(one), *login_files(one, "/home/x")]:
        if b"PRIVATE" in file.content or "authorized_keys" in file.path:
            assert file.mode == 0o600
