"""The containers of the user's that images are brought to, as the environment names them. No SDK, nothing is asked."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final

from lisa_ci.blobs import Container, parse_container
from lisa_ci.errors import PipelineError

VARIABLE: Final = "AZURE_IMAGE_CONTAINERS"


def named(environment: Mapping[str, str] | None = None) -> tuple[Container, ...]:
    """Those of ``AZURE_IMAGE_CONTAINERS``: URLs with commas between them, one for each region. PipelineError."""
    said = (os.environ if environment is None else environment).get(VARIABLE, "")
    return tuple(_container(text.strip()) for text in said.split(",") if text.strip())


def _container(text: str) -> Container:
    instead = "drop the signature: whoever lisa-ci is at Azure is who writes there"
    try:
        found = parse_container(text, of="image", instead=instead)
    except PipelineError as error:
        raise PipelineError(f"{VARIABLE}: {error.message}", hint=error.hint) from error
    if not found.account_url.startswith("https://"):
        raise PipelineError(f"{VARIABLE}: '{text}' is not encrypted", hint="a token goes by https:// only")
    return found
