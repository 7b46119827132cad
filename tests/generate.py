"""Files that are made from the program: ``python -m tests.generate`` says which are stale, ``... write`` makes them."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from lisa_ci.pipeline.reference import pages, schema_json
from tests.console_page import console_page

ROOT: Final = Path(__file__).parent.parent


def generated() -> Mapping[str, str]:
    """Every generated file: path in the repository -> text."""
    return {
        **pages(),
        "docs/console.md": console_page(),
        "docs/schema/lisa-ci.schema.json": schema_json("pipeline"),
        "docs/schema/suite.schema.json": schema_json("suite"),
    }


def stale() -> list[str]:
    """The names of generated files that are not what the program says now."""
    return [name for name, text in generated().items() if _text(ROOT / name) != text]


def main() -> None:
    names = stale()
    if "write" in sys.argv[1:]:
        for name in names:
            (ROOT / name).parent.mkdir(parents=True, exist_ok=True)
            (ROOT / name).write_text(generated()[name])
        return
    if names:
        sys.exit(f"stale: {', '.join(names)}; run 'nox -s generated -- write'")


def _text(path: Path) -> str:
    return path.read_text() if path.is_file() else ""


if __name__ == "__main__":
    main()
