"""Disks and NICs that come and go while the machine runs, in the free ports of a profile with ``hotplug``."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

from lisa_ci.errors import MachineLostError, ProvisioningError
from lisa_ci.model import Profile, nic_address
from lisa_ci.platforms.qemu import storage
from lisa_ci.platforms.qemu.command_line import HOT_PORTS, file_node
from lisa_ci.platforms.qemu.qmp import Qmp

HOT_SERIAL: Final = "lisa-ci-hot-{}"
_FIRST_ADDRESS: Final = 0x80  # behind those of the profile's NICs
_POLL_SECONDS: Final = 0.05
_RELEASE_SECONDS: Final = 10.0
_PERIPHERALS: Final = "/machine/peripheral"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plugged:
    port: int
    device: str
    forget: Callable[[], None]


class HotPlug:
    """The free ports of one machine. A device is named by what the guest knows of it: serial number or address."""

    def __init__(self, qmp: Qmp, profile: Profile, folder: Path) -> None:
        self._qmp = qmp
        self._folder = folder
        self._free = list(range(HOT_PORTS)) if profile.hotplug else []
        self._made = 0
        self._plugged: dict[str, _Plugged] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """What is plugged in now."""
        return tuple(self._plugged)

    def add_disk(self, size_mib: int) -> str:
        """The serial number of a new, empty virtio disk. ProvisioningError where there is no port or QEMU refuses."""
        port, number = self._take()
        node, serial = f"hot-disk{number}", HOT_SERIAL.format(number)
        path = self._folder / f"{node}.qcow2"
        storage.make_overlay(path, size_mib << 20)
        self._qmp.execute("blockdev-add", file_node(node, path, "qcow2"))

        def forget() -> None:
            self._release("blockdev-del", {"node-name": node})
            path.unlink()

        self._plug(serial, port, forget, driver="virtio-blk-pci", drive=node, serial=serial)
        return serial

    def add_nic(self) -> str:
        """The address of a new virtio NIC in a network of its own, which leads nowhere. ProvisioningError."""
        port, number = self._take()
        network, address = f"hot-net{number}", nic_address(_FIRST_ADDRESS + number % 0x80)
        net = f"10.0.{150 + number % 100}.0/24"
        self._qmp.execute("netdev_add", {"type": "user", "id": network, "restrict": True, "ipv6": False, "net": net})

        def forget() -> None:
            self._release("netdev_del", {"id": network})

        self._plug(address, port, forget, driver="virtio-net-pci", netdev=network, mac=address, romfile="")
        return address

    def remove(self, name: str, timeout: timedelta) -> bool:
        """Ask for its removal; False where the machine does not let go of it in time. ProvisioningError."""
        plugged = self._plugged.get(name)
        if plugged is None:
            raise ProvisioningError(f"nothing called {name} was plugged in")
        deadline = time.monotonic() + timeout.total_seconds()
        self._qmp.execute("device_del", {"id": plugged.device})
        while self._is_there(plugged.device):
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL_SECONDS)
        del self._plugged[name]
        plugged.forget()
        self._free.append(plugged.port)
        return True

    def _take(self) -> tuple[int, int]:
        if not self._free:
            raise ProvisioningError(
                f"the machine has no free port ({len(self._plugged)} are taken)",
                hint="its profile needs 'hotplug: true'",
            )
        self._made += 1
        return self._free[0], self._made

    def _plug(self, name: str, port: int, forget: Callable[[], None], **device: str) -> None:
        identity = f"hot-device{self._made}"
        try:
            self._qmp.execute("device_add", {**device, "id": identity, "bus": f"hot{port}"})
        except ProvisioningError:
            with suppress(ProvisioningError):
                forget()
            raise
        self._free.remove(port)
        self._plugged[name] = _Plugged(port=port, device=identity, forget=forget)

    def _release(self, command: str, arguments: Mapping[str, object]) -> None:
        """A device is gone for the guest a moment before QEMU has let go of what is behind it."""
        deadline = time.monotonic() + _RELEASE_SECONDS
        while True:
            try:
                self._qmp.execute(command, arguments)
            except MachineLostError:
                raise
            except ProvisioningError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(_POLL_SECONDS)
            else:
                return

    def _is_there(self, device: str) -> bool:
        """DEVICE_DELETED tells the same, but only to who listens at that moment."""
        return any(entry["name"] == device for entry in self._qmp.execute("qom-list", {"path": _PERIPHERALS}))
