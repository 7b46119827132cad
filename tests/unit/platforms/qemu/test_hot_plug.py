"""The free ports of a machine, against a QEMU that remembers what it was told."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from lisa_ci.errors import ProvisioningError
from lisa_ci.model import Bus, Profile
from lisa_ci.platforms.qemu import storage
from lisa_ci.platforms.qemu.command_line import HOT_PORTS
from lisa_ci.platforms.qemu.hot_plug import HotPlug

AT_ONCE = timedelta()


class Qmp:
    """``holds``: the guest lets go of nothing. ``refuses``: this command fails. ``busy``: so often what is behind a
    device is still in use.
    """

    def __init__(self) -> None:
        self.nodes: set[str] = set()
        self.devices: dict[str, dict[str, Any]] = {}
        self.holds = False
        self.refuses = ""
        self.busy = 0

    def execute(self, command: str, arguments: Mapping[str, Any] | None = None) -> Any:
        told = dict(arguments or {})
        if command == self.refuses:
            raise ProvisioningError(f"QEMU refuses {command}")
        match command:
            case "blockdev-add" | "netdev_add":
                self.nodes.add(told.get("node-name") or told["id"])
            case "blockdev-del" | "netdev_del":
                name = told.get("node-name") or told["id"]
                if self.busy > 0:
                    self.busy -= 1
                    raise ProvisioningError(f"QEMU refuses {command}: {name} is in use")
                assert not any(name in device.values() for device in self.devices.values()), "still in use"
                self.nodes.remove(name)
            case "device_add":
                assert not any(device["bus"] == told["bus"] for device in self.devices.values())
                self.devices[told["id"]] = told
            case "device_del":
                if not self.holds:
                    del self.devices[told["id"]]
            case "qom-list":
                return [{"name": "hot0"}, *({"name": name} for name in self.devices)]
        return {}


@pytest.fixture
def qmp(monkeypatch: pytest.MonkeyPatch) -> Qmp:
    monkeypatch.setattr(time, "sleep", lambda _: None)
    monkeypatch.setattr(storage, "make_overlay", lambda path, size: path.write_text(str(size)))
    return Qmp()


def ports(qmp: Qmp, folder: Path, *, hotplug: bool = True) -> HotPlug:
    return HotPlug(qmp, Profile(name="p", hotplug=hotplug), folder)  # type: ignore[arg-type]


def test_a_disk_comes_with_a_serial_number_of_its_own_and_leaves_nothing(qmp: Qmp, tmp_path: Path) -> None:
    hot = ports(qmp, tmp_path)
    first, second = hot.add_disk(64), hot.add_disk(32)
    assert [device["serial"] for device in qmp.devices.values()] == [first, second]
    assert hot.names == (first, second)
    assert sorted(path.read_text() for path in tmp_path.iterdir()) == sorted([str(64 << 20), str(32 << 20)])
    assert hot.remove(first, AT_ONCE)
    assert hot.remove(second, AT_ONCE)
    assert not any((hot.names, qmp.nodes, qmp.devices, list(tmp_path.iterdir())))


def test_a_nic_comes_with_an_address_of_its_own_and_a_network_that_leads_nowhere(qmp: Qmp, tmp_path: Path) -> None:
    hot = ports(qmp, tmp_path)
    addresses = []
    for _ in range(3):
        addresses.append(hot.add_nic())
        assert [device["mac"] for device in qmp.devices.values()] == addresses[-1:]
        assert hot.remove(addresses[-1], AT_ONCE)
    assert len(set(addresses)) == 3
    assert not qmp.nodes


def test_a_port_is_free_again_when_the_machine_has_let_go(qmp: Qmp, tmp_path: Path) -> None:
    hot = ports(qmp, tmp_path)
    names = [hot.add_disk(1) for _ in range(HOT_PORTS)]
    with pytest.raises(ProvisioningError, match="no free port"):
        hot.add_nic()
    qmp.holds = True
    assert not hot.remove(names[0], AT_ONCE)
    with pytest.raises(ProvisioningError, match="no free port"):
        hot.add_nic()
    qmp.holds = False
    assert hot.remove(names[0], AT_ONCE)
    assert hot.add_nic()


def test_what_qemu_refuses_takes_no_port_and_leaves_nothing(qmp: Qmp, tmp_path: Path) -> None:
    hot = ports(qmp, tmp_path)
    qmp.refuses = "device_add"
    with pytest.raises(ProvisioningError, match="refuses device_add"):
        hot.add_disk(1)
    with pytest.raises(ProvisioningError, match="refuses device_add"):
        hot.add_nic()
    assert not any((hot.names, qmp.nodes, list(tmp_path.iterdir())))
    qmp.refuses = ""
    assert len([hot.add_disk(1) for _ in range(HOT_PORTS)]) == HOT_PORTS


def test_a_profile_without_hotplug_has_no_port_and_only_what_was_added_is_removed(qmp: Qmp, tmp_path: Path) -> None:
    with pytest.raises(ProvisioningError, match="no free port") as caught:
        ports(qmp, tmp_path, hotplug=False).add_disk(1)
    assert "hotplug: true" in caught.value.hint
    with pytest.raises(ProvisioningError, match="nothing called lisa-ci-0"):
        ports(qmp, tmp_path).remove("lisa-ci-0", AT_ONCE)


def test_qemu_may_let_go_a_moment_after_the_guest(qmp: Qmp, tmp_path: Path) -> None:
    hot = ports(qmp, tmp_path)
    for name in (hot.add_disk(1), hot.add_nic()):
        qmp.busy = 3
        assert hot.remove(name, AT_ONCE)
    assert not qmp.nodes
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("bus", "driver"), [(Bus.VIRTIO, "virtio-blk-pci"), (Bus.NVME, "nvme"), (Bus.SCSI, "scsi-hd")])
def test_a_disk_that_is_pulled_comes_back_as_it_was_and_leaves_nothing_in_the_end(
    qmp: Qmp, tmp_path: Path, bus: Bus, driver: str
) -> None:
    hot = ports(qmp, tmp_path)
    name = hot.plug_disk(64, bus)
    [described] = [device for device in qmp.devices.values() if device["driver"] == driver]
    assert described["serial"] == name
    assert hot.pull(name, AT_ONCE)
    assert described["id"] not in qmp.devices
    assert described["drive"] in qmp.nodes, "what it holds is kept"
    assert hot.names == (name,), "its port stays taken"
    hot.put_back(name)
    assert qmp.devices[described["id"]] == described
    assert hot.remove(name, AT_ONCE)
    assert not any((hot.names, qmp.nodes, qmp.devices, list(tmp_path.iterdir())))


def test_a_disk_that_is_out_can_be_forgotten_and_its_port_used_again(qmp: Qmp, tmp_path: Path) -> None:
    hot = ports(qmp, tmp_path)
    for _ in range(2 * HOT_PORTS):
        name = hot.plug_disk(64, Bus.SCSI)
        assert hot.pull(name, AT_ONCE)
        assert hot.remove(name, AT_ONCE)
    assert not any((qmp.nodes, qmp.devices, list(tmp_path.iterdir())))


def test_a_guest_that_holds_a_pulled_disk_keeps_it_plugged_in(qmp: Qmp, tmp_path: Path) -> None:
    hot = ports(qmp, tmp_path)
    name = hot.plug_disk(64, Bus.NVME)
    qmp.holds = True
    assert not hot.pull(name, AT_ONCE)
    qmp.holds = False
    assert hot.remove(name, AT_ONCE)
    with pytest.raises(ProvisioningError, match="nothing called"):
        hot.put_back(name)
    with pytest.raises(ProvisioningError, match="sata bus"):
        hot.plug_disk(64, Bus.SATA)
