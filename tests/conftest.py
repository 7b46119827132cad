"""For all tests: hypothesis judges no times, and tries the same examples on every run of CI."""

from __future__ import annotations

import os

from hypothesis import settings

settings.register_profile("lisa-ci", deadline=None, derandomize=os.environ.get("CI") == "true")
settings.load_profile("lisa-ci")
