"""GitHub's limits, each with its source; everything that must fit asks here.

Measured or documented in: docs.github.com "Actions limits" and "Workflow commands", actions/toolkit
docs/problem-matchers.md, and the runner's own source.
"""

from __future__ import annotations

from typing import Final

MATRIX_LEGS: Final = 256
"""Jobs that one matrix may make (Actions limits)."""

OUTPUT_BYTES: Final = 1_000_000
"""All outputs of one job, measured as UTF-16. The documented "1 MB" is taken as the smaller million."""

SUMMARY_BYTES: Final = 1_048_576
"""GITHUB_STEP_SUMMARY of one step, UTF-8. One byte more and the runner uploads nothing."""

SUMMARY_TARGET_BYTES: Final = 1_000_000
"""What we cut to: below the limit by enough for the closing lines."""

ANNOTATIONS_PER_LEVEL: Final = 10
"""Errors, warnings and notices that one step may show, each; later ones are dropped without a word."""

MESSAGE_UNITS: Final = 4096
"""UTF-16 units of an annotation's message; the runner cuts there."""

EVENT_BYTES: Final = 32 * 1_048_576
"""Our own cap on the event file. GitHub delivers 25 MB at most."""
