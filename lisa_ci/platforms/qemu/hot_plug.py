"""Disks and NICs that come and go while the machine runs, in the free ports of a profile with ``hotplug``."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Final

from lisa_ci.errors import MachineLostError, ProvisioningError
from lisa_ci.model import Bus, Profile, nic_address
from lisa_ci.platforms.qemu import storage
from lisa_ci.platforms.qemu.command_line import HOT_PORTS, file_node
from lisa_ci.platforms.qemu.qmp import Qmp

HOT_SERIAL: Final = "lisa-ci-hot-{}"
_FIRST_ADDRESS: Final = 0x80  # behind those of the profile's NICs
_POLL_SECONDS: Final = 0.05
_RELEASE_SECONDS: Final = 10.0
_PERIPHERALS: Final = "/machine/peripheral"
_DISKS: Final[Mapping[Bus, str]] = {Bus.VIRTIO: "virtio-blk-pci", Bus.NVME: "nvme", Bus.SCSI: "scsi-hd"}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plugged:
    """``described`` is the device as ``device_add`` takes it. ``is_out``: it left, and may come back."""

    port: int
    described: Mapping[str, str]
    forget: Callable[[], None]
    is_out: bool = False


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
        return self.plug_disk(size_mib, Bus.VIRTIO)

    def plug_disk(self, size_mib: int, bus: Bus) -> str:
        """As ``add_disk``, on a bus; one on the SCSI bus gets a controller of its own, which fills the port."""
        if bus not in _DISKS:
            raise ProvisioningError(f"a disk on the {bus.value} bus cannot come while the machine runs")
        port, number = self._take()
        node, serial = f"hot-disk{number}", HOT_SERIAL.format(number)
        path = self._folder / f"{node}.qcow2"
        storage.make_overlay(path, size_mib << 20)
        self._qmp.execute("blockdev-add", file_node(node, path, "qcow2"))
        place = f"hot{port}"

        def forget() -> None:
            if bus is Bus.SCSI and self._is_there(f"hot-scsi{number}"):
                self._qmp.execute("device_del", {"id": f"hot-scsi{number}"})
                self._await_gone(f"hot-scsi{number}", timedelta(seconds=_RELEASE_SECONDS))
            self._release("blockdev-del", {"node-name": node})
            path.unlink()

        if bus is Bus.SCSI:
            self._qmp.execute("device_add", {"driver": "virtio-scsi-pci", "id": f"hot-scsi{number}", "bus": place})
            place = f"hot-scsi{number}.0"
        self._plug(serial, port, forget, driver=_DISKS[bus], drive=node, serial=serial, bus=place)
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
        plugged = self._known(name)
        if not plugged.is_out and not self._leave(plugged, timeout):
            return False
        del self._plugged[name]
        plugged.forget()
        self._free.append(plugged.port)
        return True

    def pull(self, name: str, timeout: timedelta) -> bool:
        """As ``remove``, and it keeps its port and what it holds, for ``put_back``."""
        plugged = self._known(name)
        if not self._leave(plugged, timeout):
            return False
        self._plugged[name] = replace(plugged, is_out=True)
        return True

    def put_back(self, name: str) -> None:
        """The device that ``pull`` took, where it was. ProvisioningError."""
        plugged = self._known(name)
        self._qmp.execute("device_add", plugged.described)
        self._plugged[name] = replace(plugged, is_out=False)

    def _known(self, name: str) -> _Plugged:
        if name not in self._plugged:
            raise ProvisioningError(f"nothing called {name} was plugged in")
        return self._plugged[name]

    def _leave(self, plugged: _Plugged, timeout: timedelta) -> bool:
        self._qmp.execute("device_del", {"id": plugged.described["id"]})
        return self._await_gone(plugged.described["id"], timeout)

    def _await_gone(self, device: str, timeout: timedelta) -> bool:
        deadline = time.monotonic() + timeout.total_seconds()
        while self._is_there(device):
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL_SECONDS)
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
        described = {"bus": f"hot{port}", **device, "id": f"hot-device{self._made}"}
        try:
            self._qmp.execute("device_add", described)
        except ProvisioningError:
            with suppress(ProvisioningError):
                forget()
            raise
        self._free.remove(port)
        self._plugged[name] = _Plugged(port=port, described=described, forget=forget)

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
