"""Comparing text with a file that people review. ``LISA_CI_WRITE_GOLDEN=1 pytest tests/golden`` writes them anew."""

from __future__ import annotations

import os
from pathlib import Path


def check_golden(path: Path, text: str) -> None:
    if os.environ.get("LISA_CI_WRITE_GOLDEN") == "1":
        path.write_text(text)
    assert text == path.read_text(), f"{path.name} differs; read the diff, then write it anew if it is meant"
