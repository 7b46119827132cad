"""Start of QEMU to the first case: ``lisa-ci run`` against the same QEMU command by hand, in interleaved pairs.

    python benchmarks/start.py IMAGE [PAIRS]

By hand means: the overlay and the credentials are there, QEMU is started with the very command that lisa-ci used (a
QMP socket instead of the inherited one, a fixed port), and ``ssh ... true`` is tried again every 0.2 s until it works.
Both clocks run from the start of the QEMU process.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

LISA_CI = Path(sys.executable).with_name("lisa-ci")
PIPELINE = "name: start\nimage: {path: IMAGE}\nprofiles: [bios]\nsuites: [{suite: boot, only: [cores]}]\n"
LIMIT_SECONDS = 300


def main() -> None:
    image = Path(sys.argv[1]).resolve()
    pairs = int(sys.argv[2]) if len(sys.argv) > 2 else 3
    with tempfile.TemporaryDirectory(prefix="lisa-ci-start-") as folder:
        bench = Bench(Path(folder), image)
        ours, by_hand = [], []
        for number in range(1, pairs + 1):
            ours.append(bench.run_lisa_ci())
            by_hand.append(bench.run_by_hand())
            print(f"pair {number}: lisa-ci {ours[-1]:.1f} s, by hand {by_hand[-1]:.1f} s", flush=True)
    ratio = statistics.median(one / other for one, other in zip(ours, by_hand, strict=True))
    medians = f"lisa-ci {statistics.median(ours):.1f} s, by hand {statistics.median(by_hand):.1f} s"
    print(f"QEMU start to first case, medians: {medians}")
    print(f"median ratio of {pairs} pairs: {ratio:.3f} (asked: at most 1.10)")


class Bench:
    def __init__(self, folder: Path, image: Path) -> None:
        self._folder = folder
        self._image = image
        self._kept = folder / "kept"
        self._command: list[str] = []
        (folder / "lisa-ci.yml").write_text(PIPELINE.replace("IMAGE", json.dumps(str(image))))
        subprocess.run([LISA_CI, "--log", "plain", "plan", "--out", "plan.json"], cwd=folder, check=True)

    def run_lisa_ci(self) -> float:
        """Seconds from the start of QEMU to the event of the first case."""
        arguments = [LISA_CI, "--log", "json", "run", "bios", "--plan", "plan.json", "--out", "results"]
        watcher = threading.Thread(target=self._watch, daemon=True)
        self._qemu_started = 0.0
        watcher.start()
        first = 0.0
        with subprocess.Popen(arguments, cwd=self._folder, stderr=subprocess.PIPE, text=True) as process:
            for line in process.stderr or ():
                with suppress(ValueError):
                    event = json.loads(line)
                    if event["event"] == "CaseStarted" and not first:
                        first = event["time"]
        watcher.join()
        if process.returncode or not first or not self._qemu_started:
            sys.exit(f"lisa-ci run did not come to a case (exit {process.returncode})")
        return first - self._qemu_started

    def _watch(self) -> None:
        """Find the QEMU of this run, remember when it started, and keep its command and its small files."""
        deadline = time.monotonic() + LIMIT_SECONDS
        while time.monotonic() < deadline:
            for pid, command in processes():
                if Path(command[0]).name.startswith("qemu-system") and str(self._folder) in "\0".join(command):
                    self._qemu_started = started_at(pid)
                    if not self._command:
                        self._keep(command)
                    return
            time.sleep(0.02)

    def _keep(self, command: list[str]) -> None:
        scratch = next(path.parent for path in (self._folder / "results").glob(".*/*/root.qcow2"))
        shutil.copytree(scratch, self._kept, ignore=shutil.ignore_patterns("root.qcow2"))
        self._command = [word.replace(str(scratch), str(self._kept)) for word in command]

    def run_by_hand(self) -> float:
        """Seconds from the start of QEMU to the first command that ssh could run."""
        port = free_port()
        root = self._kept / "root.qcow2"
        root.unlink(missing_ok=True)
        make = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", self._image, root]
        subprocess.run(make, check=True)
        words = [
            word.replace("127.0.0.1:0-:22", f"127.0.0.1:{port}-:22").replace("console.log", "by-hand.log")
            for word in self._command
        ]
        place = next(number for number, word in enumerate(words) if "id=qmp" in word)
        words[place] = f"socket,id=qmp,path={self._kept}/qmp,server=on,wait=off"
        key = next((self._kept / "login-key").glob("*[!b]"))
        ssh = ["ssh", "-F", "none", "-i", key, "-p", str(port), "-o", "StrictHostKeyChecking=no", "-o", "BatchMode=yes"]
        ssh += [
            "-o",
            "UserKnownHostsFile=/dev/null",
            "-o",
            "LogLevel=ERROR",
            "-o",
            "ConnectTimeout=5",
            "root@127.0.0.1",
        ]
        with subprocess.Popen(words, stdin=subprocess.DEVNULL, start_new_session=True) as qemu:
            try:
                start = time.time()
                while subprocess.run([*ssh, "true"], capture_output=True, check=False).returncode:
                    if time.time() - start > LIMIT_SECONDS or qemu.poll() is not None:
                        sys.exit("the machine started by hand did not come up")
                    time.sleep(0.2)
                return time.time() - start
            finally:
                qemu.kill()


def processes() -> Iterator[tuple[int, list[str]]]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
                if words:
                    yield int(entry.name), words


def started_at(pid: int) -> float:
    """When a process started, as time.time() tells it."""
    ticks = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    uptime = float(Path("/proc/uptime").read_text().split()[0])
    return time.time() - uptime + ticks / os.sysconf("SC_CLK_TCK")


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


if __name__ == "__main__":
    main()
