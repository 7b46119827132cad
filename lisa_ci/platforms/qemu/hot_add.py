"""Processors and memory that come while the machine runs, within the room that a profile with ``hotplug`` has."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from lisa_ci.errors import ProvisioningError
from lisa_ci.model import Profile
from lisa_ci.platforms.qemu.acceleration import Accelerator
from lisa_ci.platforms.qemu.qmp import Qmp

_POLL_SECONDS: Final = 0.05
_ROOM_POLL_SECONDS, _ROOM_POLLS = 0.2, 300
_PERIPHERALS: Final = "/machine/peripheral"
_HINT: Final = "its profile needs 'hotplug: true'"
# "gen code size USED/ROOM", of x-query-jit (since QEMU 6.2).
_CODE: Final = re.compile(r"^gen code size\s+(\d+)/(\d+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Added:
    is_processor: bool
    backend: str = ""


class HotAdd:
    """The room of one machine. What was added is named by QEMU's own name for it."""

    def __init__(self, qmp: Qmp, profile: Profile, accelerator: Accelerator) -> None:
        self._qmp = qmp
        self._has_room = profile.hotplug
        self._accelerator = accelerator
        self._made = 0
        self._added: dict[str, _Added] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """What is there beside the profile's own now."""
        return tuple(self._added)

    def add_processor(self) -> str:
        """One thread more, in the first free place. ProvisioningError where there is none.

        An emulated machine may have to work for a while first (see ``_is_code_room_full``); it has a minute.
        """
        places: list[dict[str, Any]] = self._qmp.execute("query-hotpluggable-cpus") if self._has_room else []
        free = [place for place in places if "qom-path" not in place]
        if not free:
            raise ProvisioningError("the machine has no room for a processor", hint=_HINT)
        if self._accelerator is Accelerator.TCG:
            self._await_code_room()
        place = min(free, key=lambda place: sorted(place["props"].items()))
        name = self._next("processor")
        self._qmp.execute("device_add", {"driver": place["type"], "id": name, **place["props"]})
        self._added[name] = _Added(is_processor=True)
        return name

    def add_memory(self, size_mib: int) -> str:
        """A memory module more. ProvisioningError where there is no slot, or not that much room."""
        if not self._has_room:
            raise ProvisioningError("the machine has no slot for memory", hint=_HINT)
        name = self._next("memory")
        backend = f"{name}-backend"
        self._qmp.execute("object-add", {"qom-type": "memory-backend-ram", "id": backend, "size": size_mib << 20})
        try:
            self._qmp.execute("device_add", {"driver": "pc-dimm", "id": name, "memdev": backend})
        except ProvisioningError:
            self._qmp.execute("object-del", {"id": backend})
            raise
        self._added[name] = _Added(is_processor=False, backend=backend)
        return name

    def removal_problem(self, name: str) -> str:
        """Why it must not be asked for; '' where it may."""
        is_processor = self._named(name).is_processor
        if self._accelerator is not Accelerator.TCG:
            return ""
        # Seen with 7.2: the thread's translation blocks are freed twice ("double free or corruption").
        if is_processor:
            return "QEMU aborts when an emulated processor is taken away"
        return "an emulated machine fell silent when its new memory was taken offline"

    def remove(self, name: str, timeout: timedelta) -> bool:
        """Ask for its removal; False where the machine does not let go of it in time. ProvisioningError."""
        if problem := self.removal_problem(name):
            raise ProvisioningError(f"{name} stays: {problem}")
        deadline = time.monotonic() + timeout.total_seconds()
        self._qmp.execute("device_del", {"id": name})
        while any(entry["name"] == name for entry in self._qmp.execute("qom-list", {"path": _PERIPHERALS})):
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL_SECONDS)
        added = self._added.pop(name)
        if added.backend:
            self._qmp.execute("object-del", {"id": added.backend})
        return True

    def _await_code_room(self) -> None:
        """QEMU empties the room when it is full, which a machine that works brings about within seconds."""
        for _ in range(_ROOM_POLLS):
            if not self._is_code_room_full():
                return
            time.sleep(_ROOM_POLL_SECONDS)
        raise ProvisioningError(
            "a processor added now could end QEMU: its room for translated code is nearly full, and stayed so for "
            f"{_ROOM_POLLS * _ROOM_POLL_SECONDS:g} s",
            hint="add processors while the machine works; a restore empties the room as well",
        )

    def _is_code_room_full(self) -> bool:
        """A new emulated processor may find no place for its code, at which QEMU aborts (tcg_region_initial_alloc).

        The room has eight parts for each processor that may ever be, and each that is there holds one (tcg/region.c);
        seen with 7.2 after six minutes of storage tests.
        """
        try:
            told = _CODE.search(self._qmp.execute("x-query-jit")["human-readable-text"])
        except (ProvisioningError, KeyError, TypeError):
            return False
        return told is not None and int(told[1]) * 8 >= int(told[2]) * 7

    def _next(self, kind: str) -> str:
        self._made += 1
        return f"hot-{kind}{self._made}"

    def _named(self, name: str) -> _Added:
        if name not in self._added:
            raise ProvisioningError(f"nothing called {name} was added")
        return self._added[name]
