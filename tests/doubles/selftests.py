"""The kernel's own selftests, built from the source of Debian's kernel: once, kept in the tests' cache."""

from __future__ import annotations

import functools
import subprocess
import tempfile
from pathlib import Path

from tests.doubles import debian_kernels

COLLECTIONS = (
    *("breakpoints", "cgroup", "clone3", "core", "cpu-hotplug", "exec", "filesystems", "filesystems/binderfs"),
    *(
        "filesystems/epoll",
        "futex",
        "ipc",
        "kcmp",
        "lib",
        "membarrier",
        "mincore",
        "mount",
        "mqueue",
        "nsfs",
        "openat2",
    ),
    *("pid_namespace", "pidfd", "prctl", "proc", "ptrace", "rlimits", "rseq", "seccomp", "sigaltstack", "size"),
    *("splice", "static_keys", "sync", "syscall_user_dispatch", "timens", "timers", "tmpfs", "user", "vDSO"),
)


@functools.cache
def selftests() -> Path:
    """A tar file of the collections as ``make install`` lays them out. What does not compile here is left out."""
    source = debian_kernels.source()
    target = debian_kernels.cache() / f"kselftest-{source.stem}.tar.gz"
    if not target.is_file():
        with tempfile.TemporaryDirectory(dir=debian_kernels.cache()) as place:
            made = Path(place) / "kselftest.tar.gz"
            _build(source, Path(place), made)
            made.rename(target)
    return target


def _build(package: Path, place: Path, target: Path) -> None:
    unpack = (
        f"dpkg-deb --fsys-tarfile {package} | tar -xO ./usr/src/{debian_kernels.SOURCE}.tar.xz | tar -xJ -C {place}"
    )
    subprocess.run(["bash", "-o", "pipefail", "-c", unpack], check=True, timeout=600)
    tree = place / debian_kernels.SOURCE
    subprocess.run(["make", "-s", "-j2", "headers"], cwd=tree, check=True, timeout=600, capture_output=True)
    words = (f"INSTALL_PATH={place / 'kselftest'}", f"TARGETS={' '.join(COLLECTIONS)}")
    make = ["make", "-s", "-k", "-j2", "-C", "tools/testing/selftests", "install", *words]
    # Programs that want a library which is not here fail to build, and are no part of the list then.
    subprocess.run(make, cwd=tree, check=False, timeout=1200, capture_output=True)
    assert (place / "kselftest/kselftest-list.txt").stat().st_size > 0
    subprocess.run(["tar", "-czSf", target, "-C", place, "kselftest"], check=True, timeout=600)
