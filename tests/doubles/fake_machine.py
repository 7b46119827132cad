"""A machine of files: /sys, /proc, /dev and programs as a check finds them, in a mount namespace of its own."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

from lisa_ci import files, process
from lisa_ci.drivers.shell import ShellDriver
from lisa_ci.model import Case, Completed, Result

_TIMEOUT = timedelta(seconds=60)
_CPU = "/sys/devices/system/cpu"
_NODE = "/sys/devices/system/node"


@dataclass(frozen=True)
class FakeMachine:
    """``files`` are absolute paths below /sys, /proc, /dev, /usr/share/zoneinfo and their content; one that ends with
    ``/`` is a folder, and content that begins with ``->`` is where a link leads. ``programs`` come first
    in PATH. ``facts`` are what the profile says.
    """

    files: Mapping[str, str] = field(default_factory=dict)
    programs: Mapping[str, str] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)

    def told(self, **facts: str) -> FakeMachine:
        """With other facts of its profile."""
        return replace(self, facts={**self.facts, **facts})

    def answering(self, **programs: str) -> FakeMachine:
        """With other programs; ``_`` in a name is ``-``."""
        return replace(self, programs={**self.programs, **{k.replace("_", "-"): v for k, v in programs.items()}})

    def having(self, changes: Mapping[str, str | None]) -> FakeMachine:
        """With other content in files that are there or new; None takes a file, or all below a folder, away."""
        kept = dict(self.files)
        for path, content in changes.items():
            if content is None:
                gone = [name for name in kept if name == path or name.startswith(f"{path}/")]
                assert gone, f"{path} is not there"
                for name in gone:
                    del kept[name]
            else:
                kept[path] = content
        return replace(self, files=kept)

    def run(self, suite: str, case: str, folder: Path) -> Result:
        """The check's result in this machine; ``folder`` is empty and ours."""
        for path, content in self.files.items():
            place = folder / path.lstrip("/")
            place.parent.mkdir(parents=True, exist_ok=True)
            if content.startswith("->"):
                place.symlink_to(content[2:])
            elif path.endswith("/"):
                place.mkdir()
            else:
                place.write_text(content)
        for top in ("sys", "proc", "bin"):
            (folder / top).mkdir(exist_ok=True)
        for name, script in self.programs.items():
            program = folder / "bin" / name
            program.write_text(f"#!/bin/sh\n{script}\n")
            program.chmod(0o755)
        return self._judge(suite, case, folder)

    def _judge(self, suite: str, case: str, folder: Path) -> Result:
        home = files.shipped("suites") / suite
        exports = {"PATH": f"{folder}/bin:{os.environ['PATH']}"}
        exports |= {f"LISA_CI_{name}": value for name, value in self.facts.items()}
        lines = [
            "set -e",
            f"mount --bind {shlex.quote(str(folder / 'sys'))} /sys",
            *(
                f"mount --bind {shlex.quote(str(folder / name))} /{name}"
                for name in ("usr/share/zoneinfo",)
                if (folder / name).is_dir() and Path(f"/{name}").is_dir()
            ),
            f"cd {shlex.quote(str(home))}",
            # Last: what mounts reads /proc.
            f"mount --bind {shlex.quote(str(folder / 'proc'))} /proc",
            f"exec ./{case}",
        ]
        inside = ["unshare", "--mount", *(["--map-root-user"] if os.geteuid() else []), "sh", "-c", "\n".join(lines)]
        finished = process.run(inside, timeout=_TIMEOUT, environment=exports)
        completed = Completed(exit=finished.exit, output=finished.stdout + finished.stderr)
        return ShellDriver().interpret(Case(suite=suite, id=case), completed)


def two_sockets() -> FakeMachine:
    """Two sockets with two cores of one thread, each a NUMA node with 1 GiB, memory in blocks of 128 MiB."""
    told: dict[str, str] = {
        f"{_CPU}/present": "0-3\n",
        f"{_CPU}/online": "0-3\n",
        f"{_CPU}/smt/control": "notsupported\n",
        f"{_CPU}/smt/active": "0\n",
        f"{_NODE}/online": "0-1\n",
        "/sys/devices/system/memory/block_size_bytes": "8000000\n",
        "/sys/kernel/mm/transparent_hugepage/enabled": "always [madvise] never\n",
        "/proc/meminfo": "MemTotal:        2000000 kB\nMemAvailable:    1900000 kB\nHugepagesize:       2048 kB\n",
        "/proc/cmdline": "root=LABEL=x\n",
    }
    for cpu in range(4):
        told |= _processor(cpu)
    for node in range(2):
        told |= {
            f"{_NODE}/node{node}/cpulist": f"{2 * node}-{2 * node + 1}\n",
            f"{_NODE}/node{node}/distance": "10 20\n" if node == 0 else "20 10\n",
            f"{_NODE}/node{node}/meminfo": f"Node {node} MemTotal:       1000000 kB\nNode {node} MemFree: 1 kB\n",
        }
    told |= {f"/sys/devices/system/memory/memory{number}/state": "online\n" for number in range(16)}
    processors = "".join(
        f"processor\t: {cpu}\nvendor_id\t: GenuineIntel\nmodel\t\t: 85\nstepping\t: 4\nflags\t\t: fpu sse2 avx2\n\n"
        for cpu in range(4)
    )
    stat = "cpu  1 2 3 4\n" + "".join(f"cpu{cpu} 1 2 3 4\n" for cpu in range(4))
    caches = "case $1 in LEVEL1_DCACHE_SIZE) echo 32768 ;; LEVEL2_CACHE_SIZE) echo 524288 ;;"
    caches += " *NPROC*) echo 4 ;; *) echo 0 ;; esac"
    return FakeMachine(
        files={**told, "/proc/cpuinfo": processors, "/proc/stat": stat},
        programs={"getconf": caches},
        facts={"NUMA_NODES": "2", "CORES": "4"},
    )


def _processor(cpu: int) -> dict[str, str]:
    socket = cpu // 2
    both = f"{2 * socket}-{2 * socket + 1}\n"
    topology, cache = f"{_CPU}/cpu{cpu}/topology", f"{_CPU}/cpu{cpu}/cache"
    told = {
        f"{topology}/physical_package_id": f"{socket}\n",
        f"{topology}/core_id": f"{cpu % 2}\n",
        f"{topology}/thread_siblings_list": f"{cpu}\n",
        f"{topology}/core_siblings_list": both,
    }
    for index, (level, kind, size, shared) in enumerate(
        (("1", "Data", "32K", f"{cpu}\n"), ("2", "Unified", "512K", f"{cpu}\n"), ("3", "Unified", "16384K", both))
    ):
        folder = f"{cache}/index{index}"
        told |= {
            f"{folder}/level": level,
            f"{folder}/type": kind,
            f"{folder}/size": size,
            f"{folder}/shared_cpu_list": shared,
        }
    return told


def pci(address: str, *, kind: str, vendor: str, driver: str = "", **more: str) -> dict[str, str]:
    """A device on the PCI bus, as files of a ``FakeMachine``."""
    folder = f"/sys/bus/pci/devices/{address}"
    told = {f"{folder}/class": f"{kind}\n", f"{folder}/vendor": f"{vendor}\n"}
    told |= {f"{folder}/{name}": content for name, content in more.items()}
    if driver:
        told |= {f"/sys/bus/pci/drivers/{driver}/": "", f"{folder}/driver": f"->../../drivers/{driver}"}
    return told
