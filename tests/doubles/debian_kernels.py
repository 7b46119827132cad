"""Debian's kernels as their packages, and KUnit built for them: fetched once by apt, kept in the tests' cache."""

from __future__ import annotations

import functools
import os
import re
import subprocess
import tempfile
from pathlib import Path

SOURCE = "linux-source-6.1"
_KUNIT = ("test", "resource", "string-stream", "assert", "try-catch", "debugfs")


def cache() -> Path:
    folder = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "lisa-ci-tests" / "kernels"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def headers(flavour: str) -> Path:
    """The folder to build modules in, for the newest headers that are installed: ``cloud-amd64`` or ``amd64``."""
    found = [
        (tuple(map(int, re.findall(r"\d+", path.name))), path)
        for path in Path("/usr/src").glob(f"linux-headers-*-{flavour}")
        if re.fullmatch(rf"linux-headers-[\d.]+-\d+-{flavour}", path.name)
    ]
    assert found, f"linux-headers-{flavour} is not installed (.ci/packages.txt)"
    return max(found)[1]


@functools.cache
def package(flavour: str) -> Path:
    """The package of the kernel that ``headers(flavour)`` belongs to."""
    return _fetched(headers(flavour).name.replace("headers", "image"))


@functools.cache
def source() -> Path:
    """The package with the sources of the kernel."""
    return _fetched(SOURCE)


def _fetched(name: str) -> Path:
    there = sorted(cache().glob(f"{name}_*.deb"))
    if not there:
        with tempfile.TemporaryDirectory(dir=cache()) as place:
            command = ["apt-get", "download", "-q", "-o", "APT::Sandbox::User=root", name]
            subprocess.run(command, cwd=place, check=True, timeout=300, capture_output=True)
            [fresh] = Path(place).glob("*.deb")
            fresh.rename(cache() / fresh.name)
        there = sorted(cache().glob(f"{name}_*.deb"))
    return there[-1]


@functools.cache
def kunit(flavour: str) -> Path:
    """A folder with kunit.ko and its Module.symvers: Debian's kernels have none, so its source is built for them.

    Two things are changed, because their places in ``struct task_struct`` and ``struct module`` are not there: the
    running test is kept in a variable, and a module starts its suites itself.
    """
    folder = cache() / f"kunit-{headers(flavour).name}"
    if not (folder / "kunit.ko").is_file():
        with tempfile.TemporaryDirectory(dir=cache()) as place:
            made = Path(place) / "made"
            _build_kunit(made, headers(flavour))
            made.rename(folder)
    return folder


def _build_kunit(folder: Path, built_for: Path) -> None:
    folder.mkdir()
    taken = folder.with_name("source")
    taken.mkdir()
    package, archive, inside = source(), f"./usr/src/{SOURCE}.tar.xz", f"{SOURCE}/lib/kunit"
    unpack = f"dpkg-deb --fsys-tarfile {package} | tar -xO {archive} | tar -xJ -C {taken} {inside}"
    subprocess.run(["bash", "-o", "pipefail", "-c", unpack], check=True, timeout=300)
    for path in (taken / SOURCE / "lib/kunit").glob("*.[ch]"):
        (folder / path.name).write_text(path.read_text())
    core = folder / "test.c"
    text = core.read_text().replace("current->kunit_test", "running_test")
    text = re.sub(r"^static void kunit_module_(?:init|exit)\(.*?^}$", "", text, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"kunit_module_(?:init|exit)\(mod\);", "(void)mod;", text)
    mark = '#include "try-catch-impl.h"\n'
    assert mark in text
    core.write_text(text.replace(mark, f"{mark}static struct kunit *running_test;\n", 1))
    objects = " ".join(f"{name}.o" for name in _KUNIT)
    flags = "-DCONFIG_KUNIT_DEBUGFS=1 -DCONFIG_KUNIT_DEFAULT_ENABLED=1"
    (folder / "Kbuild").write_text(f"obj-m := kunit.o\nkunit-y := {objects}\nccflags-y := {flags}\n")
    subprocess.run(["make", "-s", "-C", built_for, f"M={folder}", "modules"], check=True, timeout=300)
