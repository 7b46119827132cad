"""What `plan`, `run` and `report` share: reading the results of legs, some of which may be damaged."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import click

from lisa_ci import files
from lisa_ci.errors import DataError
from lisa_ci.files import LegEvidence

PREVIOUS: Final = click.option(
    "--previous",
    type=click.Path(file_okay=False, path_type=Path),
    help="The folder with the results of earlier attempts; what they have proven for this plan is not run again.",
)


def readable(results: Path, on_error: Callable[[DataError], None]) -> Iterator[LegEvidence]:
    """The legs in ``results`` that can be read; each other one is told to ``on_error``: it must not hide the rest."""
    for folder in files.leg_folders(results):
        try:
            evidence = files.read_leg(folder)
        except DataError as error:
            on_error(error)
            continue
        if evidence is not None:
            yield evidence
