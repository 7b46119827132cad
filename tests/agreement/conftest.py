"""``--out FOLDER`` keeps what docs/kernel-gate.md shows of these runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--out", type=Path, default=None, metavar="FOLDER", help="keep the tables of these runs there")


@pytest.fixture(scope="session")
def keep(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Keeps a page under a name where ``--out`` says so."""
    folder: Path | None = request.config.getoption("--out")

    def kept(name: str, text: str) -> None:
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)

    return kept
