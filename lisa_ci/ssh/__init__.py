"""SSH: keys, pinned logins and machines behind them. Nothing else in lisa-ci knows SSH or paramiko.

The other side is hostile: everything it sends is bounded in memory and in time, and its host key is always pinned.
"""

from __future__ import annotations

from lisa_ci.ssh.keys import HostKey, KeyPair, Login, make_key, parse_host_key
from lisa_ci.ssh.machine import SshMachine, WrongHostKeyError, connect
from lisa_ci.ssh.vitals import Alive, Vitals

__all__ = [
    "Alive",
    "HostKey",
    "KeyPair",
    "Login",
    "SshMachine",
    "Vitals",
    "WrongHostKeyError",
    "connect",
    "make_key",
    "parse_host_key",
]
