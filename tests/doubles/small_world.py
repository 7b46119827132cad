"""A machine made of Linux namespaces: processes of its own that die together at once, a small disk, a boot id.

It starts in 20 ms, runs the real programs of this host, and can crash, hang, reboot, fill up and be snapshot as a
machine can. It shares the host's kernel and files, but for /var/tmp, /tmp, /run, /dev/shm and what would reach the
host; the folder around its own is seen at the same place inside.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import threading
import time
import uuid
from collections.abc import Collection, Iterator
from pathlib import Path

_DISK = "16m"
_START = r"""
set -e
mount -t tmpfs -o size=$2,mode=1777 disk /var/tmp
mount -t tmpfs -o size=16m,mode=755 run /run
mkdir /run/shared
mount --bind "$4" /run/shared
mount -t tmpfs -o size=1m,mode=1777 tmp /tmp  # nobody else's files come and go in it
mkdir -p "$4"
mount --bind /run/shared "$4"
umount /run/shared
rmdir /run/shared
mount -t tmpfs -o size=16m,mode=1777 memory /dev/shm
mount -t tmpfs -o size=1m none /sys/fs/cgroup
[ ! -d /var/log ] || mount -t tmpfs -o size=1m none /var/log
mount --bind /dev/null /dev/kmsg
mount --bind "$1/printk" /proc/sys/kernel/printk_devkmsg
mount --bind "$1/boot_id" /proc/sys/kernel/random/boot_id
[ -z "$3" ] || cp -a "$3/." /var/tmp/
trap '' CHLD  # the kernel buries the orphans, as an init would
echo ready
exec sleep 1000
"""


class SmallWorld:
    """``folder`` is on the host, for this machine alone. Every method may be called in any state, from any thread."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "printk").write_text("on\n")
        self._process: subprocess.Popen[bytes] | None = None
        self._init = 0
        self._namespace = ""
        self._doors: list[subprocess.Popen[bytes]] = []
        self._lock = threading.RLock()
        self._is_gone = False
        self.is_frozen = False

    # ---- life ------------------------------------------------------------------------------------------------------

    def boot(self, disk: Path | None = None) -> None:
        """Power on, with the content of folder ``disk`` on its disk; nothing for a machine that was destroyed."""
        with self._lock:
            if not self._is_gone:
                self._boot(disk)

    def destroy(self) -> None:
        """Power off for ever."""
        with self._lock:
            self._is_gone = True
            self.crash()

    def _boot(self, disk: Path | None) -> None:
        self.is_frozen = False
        (self.folder / "boot_id").write_text(f"{uuid.uuid4()}\n")
        names = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
        if os.geteuid() != 0:
            names += ["--user", "--map-root-user"]
        self._process = subprocess.Popen(
            [*names, "sh", "-c", _START, "init", str(self.folder), _DISK, str(disk or ""), str(self.folder.parent)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        assert self._process.stdout is not None
        with self._process.stdout as said:
            assert said.readline() == b"ready\n", "namespaces do not work here: unshare --mount --pid"
        parent = self._process.pid
        self._init = int(Path(f"/proc/{parent}/task/{parent}/children").read_text().split()[0])
        self._namespace = str(Path(f"/proc/{self._init}/ns/pid").readlink())

    def crash(self) -> None:
        """Power off: every process ends at once, the disk's content is gone."""
        with self._lock:
            self._crash()

    def _crash(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._init, signal.SIGKILL)
        doors, self._doors = self._doors, []
        for _ in range(500):
            # nsenter stops with the command that it started; the dead in the machine wait for it to bury them.
            for door in doors:
                if door.poll() is None:
                    door.send_signal(signal.SIGCONT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.02)
                return
        raise AssertionError("the machine does not go down")

    def reboot(self, *, empty: bool = False) -> None:
        """Power off and on with the same disk, or with an empty one."""
        with self._lock:
            if self._process is None:
                return
            disk = self.save()
            if empty:
                shutil.rmtree(disk)
                disk.mkdir()
            self.crash()
            self.boot(disk)
            shutil.rmtree(disk)

    @property
    def is_up(self) -> bool:
        process = self._process
        return process is not None and process.poll() is None

    def save(self) -> Path:
        """The content of the disk, as a new folder on the host."""
        target = self.folder / f"disk-{uuid.uuid4().hex[:8]}"
        shutil.copytree(self.inside("/var/tmp"), target, symlinks=True, ignore=_no_special_files)
        return target

    # ---- what goes on inside ---------------------------------------------------------------------------------------

    def inside(self, path: str) -> Path:
        """A path of the machine, as seen from the host."""
        return Path(f"/proc/{self._init}/root{path}")

    def popen(self, line: str) -> subprocess.Popen[bytes]:
        """A command line under the machine's shell, with pipes for its streams."""
        user = ["--user", "--preserve-credentials"] if os.geteuid() != 0 else []
        door = subprocess.Popen(
            ["nsenter", f"--target={self._init}", "--mount", "--pid", *user, "--", "/bin/sh", "-c", line],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
        )
        self._doors.append(door)
        return door

    def processes(self) -> Iterator[tuple[int, bytes]]:
        """Process id on the host, and command line, of everything in the machine but its init."""
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if str((entry / "ns/pid").readlink()) != self._namespace or int(entry.name) == self._init:
                    continue
                if command := (entry / "cmdline").read_bytes():
                    yield int(entry.name), command

    def freeze(self) -> None:
        """No process of the machine does anything any more."""
        self.is_frozen = True
        for _ in range(3):  # whoever was about to be born is met in the next round
            self.signal(signal.SIGSTOP)

    def signal(self, number: int, containing: bytes = b"") -> list[int]:
        """Send a signal to every process whose command line contains this; who they were."""
        hit = []
        for process, command in list(self.processes()):
            if containing in command:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, number)
                    hit.append(process)
        return hit

    def kill_one(self, containing: bytes, chance: random.Random, *, among: Collection[int] = ()) -> None:
        """SIGKILL to one of the lasting processes with this in their command line; a fork that becomes another program
        at once is none of them. ``among`` are the process ids inside, where somebody knows them.
        """
        found = {process for process, command in self.processes() if containing in command}
        time.sleep(0.02)
        found &= {process for process, command in self.processes() if containing in command}
        if among:
            found = {process for process in found if _number_inside(process) in among}
        with contextlib.suppress(ProcessLookupError):
            if found:
                os.kill(chance.choice(sorted(found)), signal.SIGKILL)

    def fill(self, place: str = "/var/tmp") -> None:
        """No byte fits on the disk any more."""
        with contextlib.suppress(OSError), (self.inside(place) / "full").open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))

    def left(self, *, wait: float = 4) -> list[str]:
        """What lisa-ci left in the machine, after it had ``wait`` seconds to go."""
        deadline = time.monotonic() + wait
        while found := self._left():
            if time.monotonic() > deadline:
                break
            time.sleep(0.02)
        return found

    def _left(self) -> list[str]:
        folders = [path for place in ("/var/tmp", "/run", "/dev/shm") for path in self.inside(place).glob("*lisa-ci*")]
        processes = [command.replace(b"\0", b" ").decode("utf-8", "replace") for _, command in self.processes()]
        return [*(path.name for path in folders), *processes]


def _number_inside(process: int) -> int:
    """Its process id in the machine; 0 where it is gone."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return 0
    return int(status.partition("NSpid:")[2].partition("\n")[0].split()[-1])


def _no_special_files(folder: str, names: list[str]) -> set[str]:
    paths = [Path(folder, name) for name in names]
    return {path.name for path in paths if not (path.is_symlink() or path.is_file() or path.is_dir())}
