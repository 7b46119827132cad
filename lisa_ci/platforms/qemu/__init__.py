"""Machines made by QEMU on this host: the platform that every pipeline has without an account anywhere."""

from __future__ import annotations

from lisa_ci.platforms.qemu.platform import QemuPlatform

__all__ = ["QemuPlatform"]
