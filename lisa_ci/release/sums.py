"""``SHA256SUMS``: the digest of every file of a release, in the form that ``sha256sum --check`` reads.

One line a file, ``DIGEST  NAME``, sorted by name. The parser takes exactly what the writer writes: two readers must
never see different things in the same bytes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from lisa_ci.errors import DataError

FILE_NAME: Final = "SHA256SUMS"
LIMIT_BYTES: Final = 4 << 20
MAX_DEPTH: Final = 4
_PART: Final = r"[A-Za-z0-9][A-Za-z0-9._+-]{0,199}"
_NAME: Final = re.compile(rf"{_PART}(?:/{_PART}){{0,{MAX_DEPTH - 1}}}")
_LINE: Final = re.compile(rf"([0-9a-f]{{64}})  ({_NAME.pattern})")


def is_name(name: str) -> bool:
    """True for a path that a release may contain: relative, harmless characters, never upwards."""
    return _NAME.fullmatch(name) is not None and ".." not in name


def write(digests: Mapping[str, str]) -> bytes:
    """The file for ``digests`` (name -> SHA-256 hex). ValueError for a name that no release may contain."""
    for name in digests:
        if not is_name(name):
            raise ValueError(f"{name!r} is not a name for a file of a release")
    return "".join(f"{digests[name]}  {name}\n" for name in sorted(digests)).encode()


def parse(data: bytes, *, place: str = FILE_NAME) -> dict[str, str]:
    """name -> SHA-256 hex. DataError with the line's number for anything that ``write`` would not have written."""
    if len(data) > LIMIT_BYTES:
        raise DataError(f"{place} is larger than {LIMIT_BYTES >> 20} MiB")
    if not data.isascii() or not data.endswith(b"\n"):
        raise DataError(f"{place} must be ASCII and end with a newline")
    digests: dict[str, str] = {}
    last = ""
    for number, line in enumerate(data.decode().removesuffix("\n").split("\n"), start=1):
        match = _LINE.fullmatch(line)
        if match is None or not is_name(match[2]):
            raise DataError(f"{place}:{number}: not 'DIGEST  NAME': {line[:120]!r}")
        digest, name = match.groups()
        if name <= last:
            raise DataError(f"{place}:{number}: '{name}' is repeated or out of order")
        digests[name], last = digest, name
    return digests
