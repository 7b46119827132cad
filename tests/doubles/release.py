"""A small release for tests: a real disk image, real evidence about it, packed without QEMU where that matters."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from lisa_ci import files, image, vhd
from lisa_ci.events import Event
from lisa_ci.model import Arch, Firmware, ImageFormat, Outcome, Plan
from lisa_ci.release import folder, sums
from lisa_ci.release.keys import FileSigner
from lisa_ci.release.manifest import Container, Manifest
from tests.doubles.evidence import make_plan, make_plan_file, results_of, write_leg

MIB = 1 << 20


def silent(_event: Event) -> None:
    """Nobody looks."""


def make_disk(path: Path, *, size: int = 2 * MIB, seed: bytes = b"disk") -> str:
    """A sparse raw disk with some content at its start and its end; its disk digest."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(seed * 1000)
        file.truncate(size)
        file.seek(size - 4096)
        file.write(seed * 10)
    return image.disk_digest(path, ImageFormat.RAW)[0]


def make_evidence(
    root: Path,
    disk_digest: str,
    outcome: Outcome = Outcome.PASSED,
    *,
    change: Callable[[Plan], Plan] = lambda plan: plan,
) -> tuple[Plan, Path, Path]:
    """A plan about that disk and results of its only leg, as `plan` and `run` leave them: plan, its file, results."""
    plan = change(make_plan(disk_digest=disk_digest))
    make_plan_file(root / "plan.json", plan)
    for leg in plan.legs:
        write_leg(root / "results", plan, leg.id, results_of(plan, leg.id, {"boot#b": outcome}))
    return plan, root / "plan.json", root / "results"


def make_release(
    root: Path,
    *,
    name: str = "example",
    version: str = "1.0",
    seed: bytes = b"disk",
    outcome: Outcome = Outcome.PASSED,
    change: Callable[[Plan], Plan] = lambda plan: plan,
) -> Path:
    """An unsigned release folder with one VHD (written without QEMU), as `pack` lays it out."""
    root.mkdir(parents=True)
    container = root / f"{name}-{version}-x86_64.vhd"
    disk_digest = make_disk(container, seed=seed)
    size = container.stat().st_size
    vhd.append_footer(container, size, disk_digest=disk_digest)
    make_evidence(root / folder.EVIDENCE, disk_digest, outcome, change=change)
    manifest = Manifest(
        name=name,
        version=version,
        arch=Arch.X86_64,
        firmware=(Firmware.BIOS,),
        disk_digest=disk_digest,
        disk_bytes=size,
        containers=(
            Container(
                file=container.name,
                format=ImageFormat.VHD,
                size_bytes=container.stat().st_size,
                sha256=files.sha256_file(container),
            ),
        ),
        plan_digest=files.sha256_file(root / folder.PLAN),
        tools={},
    )
    (root / folder.MANIFEST).write_bytes(files.encode(manifest))
    write_sums(root)
    return root


def write_sums(root: Path) -> None:
    """SHA256SUMS over what is there now, as someone who changes a release would write it anew."""
    names = folder.listing(root).files - folder.UNLISTED
    (root / sums.FILE_NAME).write_bytes(sums.write({name: files.sha256_file(root / name) for name in names}))


def make_signer(seed: str = "signer") -> FileSigner:
    """The same key for the same seed."""
    return FileSigner(Ed25519PrivateKey.from_private_bytes(hashlib.sha256(seed.encode()).digest()))
