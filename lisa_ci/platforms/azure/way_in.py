"""What lets us into a machine: what Azure provisions, and what cloud-init reads.

The host key is ours and goes in with the login key, so that the first connection is already to a known host.
"""

from __future__ import annotations

import base64
import json
import re
from typing import Any, Final

from lisa_ci.model import Become
from lisa_ci.platforms.azure.shape import Entry

_STAND_IN: Final = "lisaci"
_REFUSED_USERS: Final = re.compile(
    "1|123|a|actuser|adm|admin[12]?|administrator|aspnet|backup|console|david|guest|john|owner|root|server|sql|support|"
    "sys|test[123]?|user[1-5]?"
)
"""User names that Azure refuses (learn.microsoft.com, "FAQ about Linux virtual machines")."""

Json = dict[str, Any]


def admin(user: str) -> str:
    """The user that Azure makes: its own agents cannot make root, nor some names that are guessed too often."""
    return _STAND_IN if _REFUSED_USERS.fullmatch(user.lower()) else user


def os_profile(name: str, user: str, become: Become, entry: Entry) -> Json:
    """What the image's agent, cloud-init or another, sets up at the first start: user, key, the machine's identity."""
    who = admin(user)
    key = {"path": f"/home/{who}/.ssh/authorized_keys", "keyData": entry.public_key}
    return {
        "computerName": name,
        "adminUsername": who,
        "linuxConfiguration": {
            "disablePasswordAuthentication": True,
            "provisionVMAgent": True,
            "ssh": {"publicKeys": [key]},
        },
        "customData": encoded(cloud_config(user, become, entry)),
    }


def cloud_config(user: str, become: Become, entry: Entry) -> str:
    """For cloud-init: the host key is ours, so that the first connection is already to a known host. JSON is YAML."""
    told: Json = {"name": user, "ssh_authorized_keys": [entry.public_key]}
    if user != "root":
        told |= {"lock_passwd": True}
        told |= {"sudo": "ALL=(ALL) NOPASSWD:ALL"} if become is Become.SUDO else {}
    document = {
        "disable_root": user != "root",
        "ssh_deletekeys": False,
        "ssh_keys": {"ed25519_private": entry.host_private, "ed25519_public": entry.host_public},
        "users": [told],
    }
    return "#cloud-config\n" + json.dumps(document, indent=1, sort_keys=True) + "\n"


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
