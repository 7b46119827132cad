"""One leg of a plan: from the machine to everything that it leaves on disk."""

from __future__ import annotations

from lisa_ci.execution.leg import run_leg

__all__ = ["run_leg"]
