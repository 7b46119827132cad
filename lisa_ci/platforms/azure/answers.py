"""Azure's answers, saved in files by whoever asked."""

from __future__ import annotations

import json
from typing import Any

from lisa_ci.errors import PipelineError


def read_answer(data: bytes, place: str, hint: str) -> Any:
    """The JSON in a file; PipelineError that names ``place``."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        why = "too deep" if isinstance(error, RecursionError) else error
        raise PipelineError(f"{place} is not JSON: {why}", hint=hint) from error
