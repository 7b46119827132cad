"""What integration tests share. They use the real things; a tool that is missing is a failure, never a skip."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.doubles.demo_image import demo_image_path


@pytest.fixture(scope="session")
def demo_image() -> Path:
    """A small Debian disk that boots by BIOS and by UEFI and takes systemd credentials; never written to."""
    return demo_image_path()
