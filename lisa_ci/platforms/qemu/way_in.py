"""What we put into a machine so that it lets us in and proves who it is: as files, credentials, or a cloud-init seed.

The host key is ours and is put in with the login key, so that the first connection is already to a known host. All
ways carry the same few files; which of them an image takes, it shows by letting us in.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pycdlib

from lisa_ci.model import Become, Profile, nic_address

HOST_KEY_PATH: Final = "/etc/ssh/ssh_host_ed25519_key"
NETWORK_FOLDER: Final = "/etc/systemd/network"
_SEED_LABEL: Final = "cidata"


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestFile:
    """A file for the machine. ``owner`` is a user's name; parents are made where they are missing."""

    path: str
    content: bytes
    mode: int
    owner: str = "root"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """Who may log in, and the machine's identity.

    ``public_key`` is the line for authorized_keys, '' where the image already accepts a key. ``host_private`` is in
    OpenSSH's format, ``host_public`` is ``TYPE BASE64``. ``networks``: file name -> content for systemd-networkd.
    """

    user: str
    become: Become
    public_key: str
    host_private: str
    host_public: str
    networks: Mapping[str, str]


def network_files(profile: Profile) -> dict[str, str]:
    """DHCP on the control NIC and on NICs with a way out. Matched by MAC: names differ from image to image."""
    macs = {"05-lisa-ci-control": nic_address(0)}
    macs |= {f"05-lisa-ci-nic{n}": nic_address(n) for n, nic in enumerate(profile.nics, start=1) if nic.outbound}
    return {f"{name}.network": f"[Match]\nMACAddress={mac}\n\n[Network]\nDHCP=ipv4\n" for name, mac in macs.items()}


def identity_files(entry: Entry) -> Iterator[GuestFile]:
    """The host key and the network: what does not depend on who logs in."""
    yield GuestFile(path=HOST_KEY_PATH, content=entry.host_private.encode(), mode=0o600)
    yield GuestFile(path=f"{HOST_KEY_PATH}.pub", content=f"{entry.host_public}\n".encode(), mode=0o644)
    for name, content in entry.networks.items():
        yield GuestFile(path=f"{NETWORK_FOLDER}/{name}", content=content.encode(), mode=0o644)


def login_files(entry: Entry, home: str) -> Iterator[GuestFile]:
    """The login key, and sudo without a password where the user needs it to get root's rights."""
    if not entry.public_key:
        return
    key = f"{entry.public_key}\n".encode()
    yield GuestFile(path=f"{home}/.ssh/authorized_keys", content=key, mode=0o600, owner=entry.user)
    if entry.user != "root" and entry.become is Become.SUDO:
        rule = f"{entry.user} ALL=(ALL) NOPASSWD:ALL\n".encode()
        yield GuestFile(path="/etc/sudoers.d/90-lisa-ci", content=rule, mode=0o440)


# ---- systemd credentials -------------------------------------------------------------------------------------------


def credentials(entry: Entry) -> dict[str, bytes]:
    """systemd's credentials, name -> value. They reach existing users only: nothing here can make one."""
    told: dict[str, bytes] = {}
    files = list(identity_files(entry))
    if entry.user == "root":
        if entry.public_key:
            told["ssh.authorized_keys.root"] = f"{entry.public_key}\n".encode()
    else:
        files += login_files(entry, f"/home/{entry.user}")
    lines: list[str] = []
    for file in files:
        if file.owner != "root":
            lines.append(f"d {Path(file.path).parent} 0700 {file.owner} - -")
        value = base64.b64encode(file.content).decode()
        lines.append(f"f+~ {file.path} {file.mode:04o} {file.owner} - - {value}")
    told["tmpfiles.extra"] = ("\n".join(lines) + "\n").encode()
    return told


# ---- cloud-init NoCloud --------------------------------------------------------------------------------------------


def seed_files(entry: Entry, profile: Profile, instance: str) -> dict[str, bytes]:
    """The files of a NoCloud seed. JSON is YAML too, and needs no quoting rules."""
    told: dict[str, object] = {
        "ssh_deletekeys": False,
        "ssh_keys": {"ed25519_private": entry.host_private, "ed25519_public": entry.host_public},
        "users": [],
    }
    if entry.public_key:
        user: dict[str, object] = {"name": entry.user, "ssh_authorized_keys": [entry.public_key]}
        if entry.user != "root":
            user |= {"sudo": "ALL=(ALL) NOPASSWD:ALL", "lock_passwd": True}
        told |= {"users": [user], "disable_root": entry.user != "root"}
    return {
        "meta-data": _json({"instance-id": instance}),
        "user-data": b"#cloud-config\n" + _json(told),
        "network-config": _json({"version": 2, "ethernets": _ethernets(profile)}),
    }


def _ethernets(profile: Profile) -> dict[str, object]:
    """By MAC address: cloud-init's networkd renderer leaves a match by name without any network."""
    macs = {"control": nic_address(0)}
    macs |= {f"nic{number}": nic_address(number) for number, nic in enumerate(profile.nics, start=1) if nic.outbound}
    return {name: {"match": {"macaddress": mac}, "dhcp4": True} for name, mac in macs.items()}


def _json(value: object) -> bytes:
    return json.dumps(value, indent=1, sort_keys=True).encode() + b"\n"


def write_seed(path: Path, files: Mapping[str, bytes]) -> None:
    """An ISO 9660 image with the label that cloud-init looks for, with Joliet and Rock Ridge names."""
    iso = pycdlib.PyCdlib()
    iso.new(interchange_level=3, joliet=3, rock_ridge="1.09", vol_ident=_SEED_LABEL)
    for number, (name, content) in enumerate(files.items()):
        iso.add_fp(
            io.BytesIO(content), len(content), iso_path=f"/FILE{number}.;1", rr_name=name, joliet_path=f"/{name}"
        )
    iso.write(str(path))
    iso.close()
