"""The image that tests boot: the demo's own, built once from the distribution's mirror and kept in a cache."""

from __future__ import annotations

import functools
import os
from pathlib import Path

from lisa_ci.demo.image import build_image, cache_folder


@functools.cache
def demo_image_path() -> Path:
    """The image's file in ``$LISA_CI_TEST_CACHE``, else where the demo keeps it; no test may write to it."""
    own = os.environ.get("LISA_CI_TEST_CACHE")
    return build_image(Path(own) if own else cache_folder(), lambda _: None)
