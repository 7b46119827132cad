"""A disk that fails at a chosen call, by a small library that is preloaded into a program; see bad_disk.c."""

from __future__ import annotations

import functools
import subprocess
import tempfile
from pathlib import Path


@functools.cache
def _library() -> Path:
    """Compiled once a session; the folder goes with the process' temporary files."""
    source = Path(__file__).with_suffix(".c")
    target = Path(tempfile.mkdtemp(prefix="bad-disk-")) / "bad_disk.so"
    subprocess.run(
        ["cc", "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", target, source, "-ldl", "-lpthread"],
        check=True,
        timeout=60,
    )
    return target


def bad_disk(under: Path, *, at: int = 0, how: str = "", count: Path | None = None) -> dict[str, str]:
    """The environment of a program whose call number ``at`` that changes files below ``under`` goes wrong: ``how`` is
    EIO, ENOSPC, KILL or TORN. ``count`` is a file that gets the number of those calls.
    """
    return {
        "LD_PRELOAD": str(_library()),
        "BAD_DISK_UNDER": str(under),
        "BAD_DISK_AT": str(at),
        "BAD_DISK_HOW": how,
        **({"BAD_DISK_COUNT": str(count)} if count else {}),
    }
