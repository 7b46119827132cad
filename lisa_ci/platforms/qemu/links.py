"""The private links between the machines of a group: a pair of connected sockets each, which QEMU inherits.

Nothing of a link is on the host's disk or network: no port, no bridge, no name. It ends with the processes at its ends.
"""

from __future__ import annotations

import fcntl
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from typing import Final

from lisa_ci.errors import ProvisioningError
from lisa_ci.model import Profile, nic_address
from lisa_ci.platforms.qemu.command_line import LINK_DEVICE, LINKED_MACHINES, link_device
from lisa_ci.platforms.qemu.qmp import Qmp

_FIRST_FD: Final = 100  # clear of those that QEMU is given by number (see taps.py and guard.sh)
_POLL_SECONDS: Final = 0.05
_PERIPHERALS: Final = "/machine/peripheral"


@contextmanager
def sockets(profile: Profile) -> Iterator[Sequence[tuple[socket.socket, ...]]]:
    """For each machine its ends of the links, in the order of the profile's NICs. Whoever inherits them goes on."""
    count = sum(nic.link for nic in profile.nics)
    with ExitStack() as ours:
        pairs = [_pair(ours) for _ in range(count)]
        yield [tuple(pair[number] for pair in pairs) for number in range(LINKED_MACHINES if count else 1)]


def _pair(owner: ExitStack) -> tuple[socket.socket, socket.socket]:
    """Datagrams: each is a packet, and what does not fit is refused as a whole."""
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with one, other:
        moved = [socket.socket(fileno=fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, _FIRST_FD)) for end in (one, other)]
    return owner.enter_context(moved[0]), owner.enter_context(moved[1])


class LinkCards:
    """The NICs of one machine that are on links, by address."""

    def __init__(self, qmp: Qmp, profile: Profile, machine: int) -> None:
        self._qmp = qmp
        self._profile = profile
        self._machine = machine
        numbers = [number for number, nic in enumerate(profile.nics, start=1) if nic.link]
        self._numbers = {nic_address(number, machine): number for number in numbers}
        self._out: set[str] = set()

    @property
    def addresses(self) -> Sequence[str]:
        return tuple(self._numbers)

    @property
    def taken_out(self) -> Sequence[str]:
        """The addresses of those that are not in the machine now."""
        return sorted(self._out)

    def set_carrier(self, address: str, *, on: bool) -> None:
        """Plug the cable in or out, as the machine sees it. ProvisioningError for a NIC that is not there."""
        self._qmp.execute("set_link", {"name": self._device(address), "up": on})

    def mend(self) -> None:
        """Every cable is in again."""
        for address in self._numbers:
            if address not in self._out:
                self.set_carrier(address, on=True)

    def take_out(self, address: str, timeout: timedelta) -> bool:
        """Remove the NIC; its link stays. False where the machine does not let go of it in time."""
        self._check_port()
        device = self._device(address)
        deadline = time.monotonic() + timeout.total_seconds()
        self._qmp.execute("device_del", {"id": device})
        while self._is_there(device):
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL_SECONDS)
        self._out.add(address)
        return True

    def put_back(self, address: str) -> None:
        """The same NIC at the same place. ProvisioningError where it was not taken out."""
        self._check_port()
        if address not in self._out:
            raise ProvisioningError(f"the NIC {address} was not taken out")
        self._qmp.execute("device_add", dict(link_device(self._profile, self._numbers[address], self._machine)))
        self._out.discard(address)

    def _device(self, address: str) -> str:
        if address not in self._numbers or address in self._out:
            raise ProvisioningError(f"the machine has no NIC {address} on a link")
        return LINK_DEVICE.format(self._numbers[address])

    def _check_port(self) -> None:
        if not self._profile.hotplug:
            raise ProvisioningError(
                "the machine's NICs cannot be taken out while it runs", hint="its profile needs 'hotplug: true'"
            )

    def _is_there(self, device: str) -> bool:
        return any(entry["name"] == device for entry in self._qmp.execute("qom-list", {"path": _PERIPHERALS}))
