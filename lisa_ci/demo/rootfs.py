"""Runs the recipe that makes the root file system, inside namespaces, and turns what it prints into stages.

An ordinary user becomes root over the user ids that /etc/subuid gives him; root needs no user namespace. In both cases
mounts and processes are private to the build and end with it.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Final, Self

from lisa_ci import process
from lisa_ci.errors import ProvisioningError, ToolError
from lisa_ci.events import Emit, StageAdvanced, StageEnded, StageStarted

MEMORY_MIB: Final = 1200
"""What the build needs while it runs: it happens in memory."""

_TIMEOUT: Final = timedelta(minutes=20)
_PROBE_TIMEOUT: Final = timedelta(seconds=20)
_LINE_LIMIT: Final = 64 << 10
_STAGES: Final = {
    "running apt-get update": "package lists",
    "downloading packages": "download",
    "extracting archives": "unpack",
    "installing essential": "install the base",
    "installing remaining": "install the rest",
    "running --customize-hook": "set up",
    "making the file system": "file system",
}
_STEPS: Final = (b"Unpacking ", b"Setting up ")


def namespace() -> list[str]:
    """The command that runs another one as root of namespaces of its own, which end with it and with us."""
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user", "--map-auto"]
    return [*process.dies_with(os.getpid()), "unshare", *user, "--mount", "--pid", "--fork", "--kill-child"]


def problems() -> Sequence[str]:
    """Why this host cannot make the root file system although every tool is there; each says what to do."""
    found = []
    try:
        finished = process.run([*namespace(), "true"], timeout=_PROBE_TIMEOUT)
    except ToolError as error:
        return [error.message]
    if finished.exit != 0:
        said = (finished.stderr.decode(errors="replace").strip().splitlines() or ["no reason given"])[-1]
        found.append(f"namespaces cannot be made here ({said[:200]}); {_namespace_hint()}")
    memory = available_memory_mib()
    if memory < MEMORY_MIB:
        found.append(f"{memory} MiB of memory are free, the image is made in memory and takes {MEMORY_MIB} MiB")
    return found


def _namespace_hint() -> str:
    if os.geteuid() == 0:
        return "a container needs the right to mount (CAP_SYS_ADMIN) for this"
    if _read("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == "1":
        return (
            "AppArmor keeps user namespaces from ordinary users here: "
            "'sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0' allows them until the next boot"
        )
    if _read("/proc/sys/kernel/unprivileged_userns_clone") == "0":
        return "'sudo sysctl kernel.unprivileged_userns_clone=1' allows them until the next boot"
    return (
        "/etc/subuid and /etc/subgid must give this user 65536 ids: "
        "'sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 USER'"
    )


def available_memory_mib() -> int:
    """What can be used without swapping, as the kernel estimates it."""
    for line in _read("/proc/meminfo").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) // 1024
    return 0


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def make(script: Path, arguments: Sequence[str | Path], *, log: Path, place: str, emit: Emit) -> None:
    """Run the recipe's script. All it prints goes to ``log``; ProvisioningError with its last words where it fails."""
    last: deque[bytes] = deque(maxlen=20)
    output = process.stream([*namespace(), "sh", script, *arguments], timeout=_TIMEOUT)
    try:
        with closing(output), log.open("wb") as file, _Stages(place, emit) as stages:
            for line in _lines(output):
                file.write(line + b"\n")
                last.append(line)
                stages.read(line)
    except ToolError as error:
        said = [line for line in last if line.startswith((b"E:", b"dpkg:"))] or list(last)
        words = " / ".join(line.decode(errors="replace").strip()[:200] for line in said[-3:])
        raise ProvisioningError(
            f"the demo's image could not be made: {words or error.message}", hint=f"the whole log is {log}"
        ) from error


def _lines(blocks: Iterable[bytes]) -> Iterator[bytes]:
    rest = b""
    for block in blocks:
        *lines, rest = (rest + block).split(b"\n")
        yield from lines
        rest = rest[-_LINE_LIMIT:]
    if rest:
        yield rest


class _Stages:
    """Follows mmdebstrap's own headings (``I: extracting archives...``): one stage each, packages as its steps."""

    def __init__(self, place: str, emit: Emit) -> None:
        self._place = place
        self._emit = emit
        self._name = ""
        self._started = 0.0
        self._done = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._end(str(error) if error else "")

    def read(self, line: bytes) -> None:
        if line.startswith(b"I: "):
            text = line[3:].decode(errors="replace")
            name = next((name for heading, name in _STAGES.items() if text.startswith(heading)), "")
            if name and name != self._name:
                self._end("")
                self._begin(name)
        elif self._name and line.startswith(_STEPS):
            self._done += 1
            self._emit(StageAdvanced(place=self._place, stage=self._name, done=self._done))

    def _begin(self, name: str) -> None:
        self._name, self._started, self._done = name, time.monotonic(), 0
        self._emit(StageStarted(place=self._place, stage=name))

    def _end(self, error: str) -> None:
        if self._name:
            wall = timedelta(seconds=time.monotonic() - self._started)
            self._emit(StageEnded(place=self._place, stage=self._name, wall=wall, error=error))
            self._name = ""


@contextmanager
def stage(place: str, name: str, emit: Emit) -> Iterator[None]:
    """A stage around a block; its end is told on every way out."""
    started, problem = time.monotonic(), "not finished"
    emit(StageStarted(place=place, stage=name))
    try:
        yield
        problem = ""
    finally:
        wall = timedelta(seconds=time.monotonic() - started)
        emit(StageEnded(place=place, stage=name, wall=wall, error=problem))
