"""What a file of worlds needs of this host. A tool that is missing is one clear failure, never a skip."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping
from types import ModuleType
from typing import Final

import pytest

_MACHINE: Final = {"qemu-system-x86_64": "qemu-system-x86", "qemu-img": "qemu-utils", "mmdebstrap": "mmdebstrap"}
_AS_ROOT: Final = {"test_security"}  # it binds files over those of the system
# File -> program -> Debian's package of it. docs/mutation.md has it as the list of what to install.
NEEDS: Final[Mapping[str, Mapping[str, str]]] = {
    "test_network": _MACHINE,
    "test_network_pair": {
        "ip": "iproute2",
        "ping": "iputils-ping",
        "iperf3": "iperf3",
        "socat": "socat",
        "nsenter": "util-linux",
        "sysctl": "procps",
    },
    "test_security": {**_MACHINE, "swtpm": "swtpm", "unshare": "util-linux", "chattr": "e2fsprogs", "modinfo": "kmod"},
    "test_storage": _MACHINE,
    "test_topology": {"unshare": "util-linux", "getconf": "libc-bin"},
}


def packages_missing(programs: Mapping[str, str]) -> Iterable[str]:
    """The packages of those programs that are not here, each once."""
    return sorted({package for program, package in programs.items() if not shutil.which(program, path=_path())})


def _path() -> str:
    return f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin"


@pytest.fixture(scope="module", autouse=True)
def _host_has_what_the_worlds_are_made_of(request: pytest.FixtureRequest) -> None:
    module = request.module
    assert isinstance(module, ModuleType)
    name = module.__name__.rpartition(".")[2]
    if missing := packages_missing(NEEDS[name]):
        pytest.fail(f"apt-get install --no-install-recommends {' '.join(missing)}", pytrace=False)
    if name in _AS_ROOT and os.geteuid() != 0:
        pytest.fail("some worlds are made in a mount namespace of this host's root: run it as root", pytrace=False)
