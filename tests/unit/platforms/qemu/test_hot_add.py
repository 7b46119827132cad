"""Room for processors and memory, against a QEMU that remembers what it was told."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest

from lisa_ci.errors import ProvisioningError
from lisa_ci.model import Profile
from lisa_ci.platforms.qemu.acceleration import Accelerator
from lisa_ci.platforms.qemu.hot_add import HotAdd

AT_ONCE = timedelta()


class Qmp:
    """Two processors, and room for two more. ``holds``: the guest lets go of nothing."""

    def __init__(self) -> None:
        self.devices: dict[str, dict[str, Any]] = {}
        self.backends: dict[str, int] = {}
        self.holds = False
        self.jit: Any = {
            "human-readable-text": "Translation buffer state:\ngen code size       0/1073577984\nTB count 0\n"
        }
        self.refuses = ""

    def execute(self, command: str, arguments: Mapping[str, Any] | None = None) -> Any:
        told = dict(arguments or {})
        if command == self.refuses:
            raise ProvisioningError(f"QEMU refuses {command}")
        match command:
            case "query-hotpluggable-cpus":
                used = {device["socket-id"] for device in self.devices.values() if "socket-id" in device} | {0, 1}
                places = [{"type": "max-cpu", "props": {"core-id": 0, "socket-id": n}} for n in (3, 2, 1, 0)]
                return [
                    {**place, **({"qom-path": "/x"} if place["props"]["socket-id"] in used else {})}  # type: ignore[index]
                    for place in places
                ]
            case "x-query-jit":
                return self.jit
            case "object-add":
                self.backends[told["id"]] = told["size"]
            case "object-del":
                assert not any(device.get("memdev") == told["id"] for device in self.devices.values()), "in use"
                del self.backends[told["id"]]
            case "device_add":
                self.devices[told["id"]] = told
            case "device_del" if not self.holds:
                del self.devices[told["id"]]
            case "qom-list":
                return [{"name": name} for name in self.devices]
        return {}


@pytest.fixture
def qmp(monkeypatch: pytest.MonkeyPatch) -> Qmp:
    monkeypatch.setattr(time, "sleep", lambda _: None)
    return Qmp()


def room(qmp: Qmp, *, hotplug: bool = True, accelerator: Accelerator = Accelerator.KVM) -> HotAdd:
    return HotAdd(qmp, Profile(name="p", hotplug=hotplug), accelerator)  # type: ignore[arg-type]


def test_processors_take_the_first_free_places_until_there_is_none(qmp: Qmp) -> None:
    hot = room(qmp)
    names = [hot.add_processor(), hot.add_processor()]
    assert [qmp.devices[name]["socket-id"] for name in names] == [2, 3]
    assert hot.names == tuple(names)
    with pytest.raises(ProvisioningError, match="no room for a processor"):
        hot.add_processor()


@pytest.mark.parametrize(
    ("told", "is_added"),
    [
        ({"human-readable-text": "state:\ngen code size       939380735/1073577984\nTB count 1"}, True),
        ({"human-readable-text": "state:\ngen code size       939380736/1073577984\nTB count 1"}, False),
        ({"human-readable-text": "gen code size much"}, True),
        ({}, True),
        (None, True),
    ],
)
def test_an_emulated_processor_is_added_while_qemu_has_room_for_its_code(
    qmp: Qmp, told: Any, *, is_added: bool
) -> None:
    qmp.jit = told
    assert room(qmp, accelerator=Accelerator.KVM).add_processor()
    hot = room(qmp, accelerator=Accelerator.TCG)
    if is_added:
        assert hot.add_processor()
    else:
        with pytest.raises(ProvisioningError, match=r"room for translated code is nearly full.*for 60 s") as refused:
            hot.add_processor()
        assert "while the machine works" in refused.value.hint


def test_an_emulated_processor_waits_until_qemu_has_emptied_its_room(qmp: Qmp, monkeypatch: pytest.MonkeyPatch) -> None:
    qmp.jit = {"human-readable-text": "gen code size       250/256"}
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            qmp.jit = {"human-readable-text": "gen code size       1/256"}

    monkeypatch.setattr(time, "sleep", sleep)
    name = room(qmp, accelerator=Accelerator.TCG).add_processor()
    assert (len(waits), list(qmp.devices)) == (3, [name])


def test_a_qemu_that_tells_nothing_of_its_code_is_given_the_processor(qmp: Qmp) -> None:
    qmp.refuses = "x-query-jit"
    assert room(qmp, accelerator=Accelerator.TCG).add_processor()


def test_memory_comes_with_a_backend_and_leaves_nothing(qmp: Qmp) -> None:
    hot = room(qmp)
    name = hot.add_memory(256)
    assert list(qmp.backends.values()) == [256 << 20]
    assert hot.remove(name, AT_ONCE)
    assert not any((qmp.backends, qmp.devices, hot.names))


def test_memory_that_is_refused_leaves_nothing(qmp: Qmp) -> None:
    qmp.refuses = "device_add"
    with pytest.raises(ProvisioningError, match="refuses device_add"):
        room(qmp).add_memory(256)
    assert not qmp.backends


def test_what_the_machine_holds_on_to_stays(qmp: Qmp) -> None:
    hot = room(qmp)
    name = hot.add_memory(256)
    qmp.holds = True
    assert not hot.remove(name, AT_ONCE)
    assert hot.names == (name,)
    assert qmp.backends


def test_nothing_is_taken_away_from_an_emulated_machine(qmp: Qmp) -> None:
    hot = room(qmp, accelerator=Accelerator.TCG)
    name = hot.add_processor()
    assert "aborts" in hot.removal_problem(name)
    with pytest.raises(ProvisioningError, match="stays: QEMU aborts"):
        hot.remove(name, AT_ONCE)
    assert name in qmp.devices
    assert "fell silent" in hot.removal_problem(hot.add_memory(256))
    with_kvm = room(Qmp())
    assert with_kvm.removal_problem(with_kvm.add_memory(256)) == ""


def test_a_profile_without_hotplug_has_no_room(qmp: Qmp) -> None:
    hot = room(qmp, hotplug=False)
    with pytest.raises(ProvisioningError, match="no room"):
        hot.add_processor()
    with pytest.raises(ProvisioningError, match="no slot"):
        hot.add_memory(256)
    with pytest.raises(ProvisioningError, match="nothing called x"):
        hot.remove("x", AT_ONCE)
    assert not qmp.devices
