"""A kernel's ``.config``: what it was built with."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from lisa_ci import files

LIMIT: Final = 4 << 20
_LINE: Final = re.compile(r"CONFIG_(?P<name>[A-Za-z0-9_]{1,100})=(?P<value>.{0,4000})", re.ASCII)

Config = Mapping[str, str]
"""Option, without ``CONFIG_``, -> its value as written; what is not set is not in it."""


def parse_config(text: str) -> Config:
    """The options that are set. Whatever is no such line is left out; of an option given twice the last one counts."""
    found = (_LINE.fullmatch(line.strip()) for line in text.splitlines())
    return {line["name"]: line["value"] for line in found if line}


def read_config(path: Path) -> Config:
    """The options in a file; DataError where it is no regular file of a config's size."""
    return parse_config(files.read_bounded(path, LIMIT).decode(errors="replace"))
