"""Files and folders that a user names: reading them within limits, and writing their paths into a plan."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from lisa_ci.errors import Location, PipelineError
from lisa_ci.pipeline.document import MAX_BYTES


def read_source(path: Path, file: str, hint: str = "", *, most: int = MAX_BYTES) -> bytes:
    """The bytes of a user's file, of one byte more than allowed at most; PipelineError where there is no such file."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a file name"
        raise PipelineError(f"cannot be read: {reason}", hint=hint, location=Location(file=file)) from error
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise PipelineError("not a regular file", hint=hint, location=Location(file=file))
        with os.fdopen(descriptor, "rb", closefd=False) as stream:
            return stream.read(most + 1)
    finally:
        os.close(descriptor)


def from_here(path: Path) -> str:
    """``path`` as a plan names it: relative to the working directory where it lies below it, else absolute."""
    absolute, here = Path(os.path.abspath(path)), Path.cwd()  # noqa: PTH100 - resolve() would follow links
    return str(absolute.relative_to(here) if absolute.is_relative_to(here) else absolute)
