"""What Azure knows of a machine from outside: its serial console, whether it runs, its screen, and a last way in.

The serial log is a blob that Azure writes now and then; it is copied to the leg's console while the leg runs, so that
the watch over the console reads it like any other. Links to blobs hold a signature: they are shown nowhere.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import requests
from azure.core.exceptions import AzureError

from lisa_ci import files
from lisa_ci.errors import LisaCiError, Loss
from lisa_ci.events import Level
from lisa_ci.model import Death
from lisa_ci.platforms.azure.client import RefusedError, Say, Subscription, is_gone, refusals

POLL: Final = timedelta(seconds=15)
MOST_CONSOLE_BYTES: Final = 64 << 20
FOLDER: Final = "azure"
_MOST_AT_ONCE: Final = 8 << 20
_OVERLAP: Final = 256
_TIMEOUT: Final = (10, 30)
_COMMAND_LIMIT: Final = timedelta(minutes=3)
_ASKED: Final = (
    "uptime; cat /proc/loadavg /proc/meminfo; ip address; ip route; systemctl --failed --no-pager; "
    "ps -eo pid,stat,wchan:32,comm --sort=stat | head -n 80; dmesg | tail -n 200"
)

Fetch = Callable[[str, int], "Fetched | None"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """Bytes of a blob from where they were asked; ``is_end``: it is not that long (any more)."""

    data: bytes = b""
    is_end: bool = False


def fetch(url: str, start: int) -> Fetched | None:
    """A blob from byte ``start`` on, 8 MiB at most; None where it cannot be read now."""
    try:
        with requests.get(url, headers={"Range": f"bytes={start}-"}, timeout=_TIMEOUT, stream=True) as answer:
            if answer.status_code == requests.codes.requested_range_not_satisfiable:
                return Fetched(is_end=True)
            if answer.status_code not in {requests.codes.ok, requests.codes.partial_content}:
                return None
            data = bytearray()
            for block in answer.iter_content(256 << 10):
                data += block[: _MOST_AT_ONCE - len(data)]
                if len(data) >= _MOST_AT_ONCE:
                    break
            skipped = start if answer.status_code == requests.codes.ok else 0
            return Fetched(data=bytes(data[skipped:]), is_end=skipped > len(data))
    except requests.RequestException:
        return None


@dataclass(slots=True)
class Outside:
    """One machine, seen from outside. ``look`` is called by a thread of its own; the rest from any.

    ``console`` is appended to. ``is_expected_off``: we ourselves have it stopped, so that nothing is read from that.
    """

    azure: Subscription
    group: str
    name: str
    console: Path
    evidence: Path
    say: Say
    fetch: Fetch = fetch
    is_spot: bool = False
    is_expected_off: bool = False
    _death: Death | None = None
    _read: int = 0
    _tail: bytes = b""
    _written: int = 0
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    # ---- following -------------------------------------------------------------------------------------------------

    def follow(self, every: timedelta = POLL) -> None:
        """From now on, until ``close``."""
        self._thread = threading.Thread(target=self._run, args=(every.total_seconds(),), daemon=True)
        self._thread.start()

    def _run(self, seconds: float) -> None:
        while not self._stop.wait(seconds):
            self.look()

    def stop(self) -> None:
        """Nothing is followed any more; returns at once."""
        self._stop.set()

    def close(self) -> None:
        """The last words are read; nothing is followed any more. Never raises."""
        self.stop()
        if self._thread is not None:
            self._thread.join(sum(_TIMEOUT))
        self.look(has_power=False)

    def look(self, *, has_power: bool = True) -> None:
        """Power and console, once. Never raises."""
        with self._lock:
            if has_power and not self.is_expected_off:
                self._death = self._power()
            self._copy_console()

    def death(self) -> Death | None:
        """Why it is dead, as of the last look."""
        return None if self.is_expected_off else self._death

    def _power(self) -> Death | None:
        try:
            view = self.instance_view()
        except RefusedError as error:
            if is_gone(error):
                why = "Azure has evicted it" if self.is_spot else "it is not there any more"
                return Death(loss=Loss.DESTROYED, why=why)
            return self._death
        except LisaCiError:
            return self._death
        return death_of(power_of(view), is_spot=self.is_spot)

    def instance_view(self) -> dict[str, Any]:
        """As Azure tells it, in wire form. RefusedError."""
        with refusals(f"tell the state of {self.name}"):
            found = self.azure.compute.virtual_machines.instance_view(self.group, self.name)
            told: dict[str, Any] = found.as_dict()
        return told

    # ---- the serial console ----------------------------------------------------------------------------------------

    def _copy_console(self) -> None:
        url = self._link("serial_console_log_blob_uri")
        found = self.fetch(url, max(0, self._read - len(self._tail))) if url else None
        if found is None:
            return
        if found.is_end or not found.data.startswith(self._tail):  # a new log, as after a redeployment
            found, self._read, self._tail = self.fetch(url, 0), 0, b""
            if found is None:
                return
            self._append(b"\n")
        new = found.data[len(self._tail) :]
        self._append(new)
        self._read += len(new)
        self._tail = (self._tail + new)[-_OVERLAP:]

    def _append(self, data: bytes) -> None:
        data = data[: max(0, MOST_CONSOLE_BYTES - self._written)]
        if not data:
            return
        self._written += len(data)
        try:
            with self.console.open("ab") as file:
                file.write(data)
        except OSError as error:
            self.say(f"the console cannot be written: {error.strerror}", Level.WARNING)

    def _link(self, which: str) -> str:
        try:
            with refusals(f"give the console of {self.name}"):
                told = self.azure.compute.virtual_machines.retrieve_boot_diagnostics_data(self.group, self.name)
        except LisaCiError:
            return ""
        return str(getattr(told, which, "") or "")

    # ---- when something is wrong -----------------------------------------------------------------------------------

    def keep_evidence(self) -> tuple[str, ...]:
        """Screen and instance view as files of the leg; their names. Never raises."""
        kept = []
        shot = self.fetch(url, 0) if (url := self._link("console_screenshot_blob_uri")) else None
        if shot is not None and shot.data:
            suffix = "png" if shot.data.startswith(b"\x89PNG") else "bmp"
            kept += self._keep(f"screenshot-{self.name}.{suffix}", shot.data)
        try:
            view = json.dumps(self.instance_view(), indent=1, sort_keys=True, default=str).encode() + b"\n"
        except LisaCiError as error:
            view = f"{error.message}\n".encode()
        return (*kept, *self._keep(f"instance-view-{self.name}.json", view))

    def run_command(self) -> str:
        """Ask the machine through Azure's agent what it is doing; '' where that gives nothing. Never raises."""
        doing = f"run a command in {self.name}"
        body: Any = {"commandId": "RunShellScript", "script": [_ASKED]}
        try:
            with refusals(doing):
                poller = self.azure.compute.virtual_machines.begin_run_command(
                    self.group, self.name, body, polling=self.azure.steps(final_state_via="location")
                )
            until = self.azure.clock.now() + _COMMAND_LIMIT.total_seconds()
            found = self.azure.followed(poller, doing, until=until)
        except (LisaCiError, AzureError):
            return ""
        said = "\n".join(str(status.message or "") for status in (found.value if found else None) or ())
        if said.strip():
            self._keep(f"run-command-{self.name}.txt", said.encode())
        return said.strip()

    def _keep(self, name: str, data: bytes) -> list[str]:
        path = self.evidence / FOLDER / name
        try:
            files.write_atomically(path, data)
        except LisaCiError as error:
            self.say(error.message, Level.WARNING)
            return []
        return [f"{FOLDER}/{name}"]


def power_of(view: dict[str, Any]) -> str:
    """``running``, ``stopped``, ``deallocated`` ...; '' where it is not told."""
    codes = [str(one.get("code", "")) for one in view.get("statuses", ()) if isinstance(one, dict)]
    return next((code.partition("/")[2] for code in codes if code.startswith("PowerState/")), "")


def death_of(power: str, *, is_spot: bool) -> Death | None:
    """What a power state says of a machine that should run."""
    match power:
        case "deallocated" | "deallocating":
            why = "Azure has evicted it" if is_spot else f"Azure says that it is {power}"
            return Death(loss=Loss.DESTROYED, why=why)
        case "stopped" | "stopping":
            return Death(loss=Loss.POWER_OFF, why="it switched itself off")
    return None
