"""Two machines without machines: network namespaces of this host, with links between them that can be cut.

Each link is a bridge in a third namespace with a cable to either machine, so that both ends see a cable that is
pulled. Nothing of it is in the host's own network, and all of it ends with the processes that hold the namespaces.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from lisa_ci.model import nic_address
from lisa_ci.protocols import Machine
from tests.doubles.local_machine import LocalMachine

# What a machine has of its own beside its network: /run, and a view of its cards.
_HOLD = "mount -t tmpfs none /run && mount -t sysfs none /sys && ip link set lo up && echo ready && exec sleep 3600"


def enter(pid: int, *options: str) -> list[str]:
    """The words that go before a command in the namespaces of ``pid``; who is not root has all in a user's."""
    user = () if os.geteuid() == 0 else ("--user", "--preserve-credentials")
    return ["nsenter", "-t", str(pid), *user, "--net", *options]


def inside(pid: int, *command: str) -> None:
    subprocess.run([*enter(pid), *command], check=True, capture_output=True, timeout=20)


@dataclass
class PairedNamespaces:
    """Implements ``protocols.Machines`` and ``SupportsLinks``."""

    pids: Sequence[int]
    members: Sequence[Machine]
    wires: int
    hub_mtu: int = 9000
    calls: list[str] = field(default_factory=list)

    def end_command(self) -> str:
        return ""

    def links(self, machine: Machine) -> Sequence[str]:
        number = self.members.index(machine)
        return tuple(nic_address(wire, number) for wire in range(1, self.wires + 1))

    def set_link(self, machine: Machine, name: str, *, up: bool) -> None:
        number = self.members.index(machine)
        wire = self.links(machine).index(name) + 1
        self.calls.append(f"{machine.role} {wire} {'up' if up else 'down'}")
        inside(self.pids[2], "ip", "link", "set", f"hub{wire}m{number}", "up" if up else "down")

    def take_out(self, machine: Machine, name: str, *, timeout: timedelta) -> bool:
        del timeout
        wire = self.links(machine).index(name) + 1
        inside(self.pids[self.members.index(machine)], "ip", "link", "del", f"link{wire}")
        return True

    def put_back(self, machine: Machine, name: str) -> None:
        self.cable(self.members.index(machine), self.links(machine).index(name) + 1)

    def cable(self, number: int, wire: int) -> None:
        """From machine ``number`` to the bridge of the link ``wire``."""
        hub, end = self.pids[2], f"hub{wire}m{number}"
        address = nic_address(wire, number)
        ours = ("ip", "link", "add", f"link{wire}", "address", address, "type", "veth")
        inside(self.pids[number], *ours, "peer", "name", end, "netns", str(hub))
        inside(hub, "ip", "link", "set", end, "mtu", str(self.hub_mtu), "master", f"bridge{wire}", "up")


@contextlib.contextmanager
def paired_namespaces(*, wires: int = 2, hub_mtu: int = 9000) -> Iterator[PairedNamespaces]:
    with contextlib.ExitStack() as stack:
        first = _held(stack, ["unshare", *([] if os.geteuid() == 0 else ["--user", "--map-root-user"])])
        into = [] if os.geteuid() == 0 else ["nsenter", "-t", str(first), "--user", "--preserve-credentials"]
        pids = [first, *(_held(stack, [*into, "unshare"]) for _ in range(2))]
        members = [
            LocalMachine(shell=(*enter(pid, "--mount"), "sh"), name=role, role=role)  # noqa: S604  its own field
            for pid, role in zip(pids, ("client", "server"), strict=False)
        ]
        group = PairedNamespaces(pids=pids, members=members, wires=wires, hub_mtu=hub_mtu)
        for wire in range(1, wires + 1):
            inside(pids[2], "ip", "link", "add", f"bridge{wire}", "mtu", "9000", "type", "bridge")
            inside(pids[2], "ip", "link", "set", f"bridge{wire}", "up")
            for number in range(2):
                group.cable(number, wire)
        yield group


def _held(stack: contextlib.ExitStack, unshare: Sequence[str]) -> int:
    """A process that holds namespaces until the end of ``stack``."""
    command = [*unshare, "--net", "--mount", "sh", "-c", _HOLD]
    process = stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE))
    stack.callback(process.kill)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    return process.pid
