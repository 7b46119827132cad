"""What a release folder claims, held against what it contains: the part that signing and verifying share.

Every problem is collected, none ends the look early unless the next look would stand on it. Nothing here knows a key.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from lisa_ci import files, image, sparse, vhd
from lisa_ci.errors import DataError, LisaCiError, PipelineError, Problem, VerificationError
from lisa_ci.events import Emit
from lisa_ci.model import ImageFormat
from lisa_ci.release import evidence, folder, manifest, sums
from lisa_ci.release.envelope import DISK
from lisa_ci.release.evidence import Judge, Proof
from lisa_ci.release.manifest import Container, Manifest

MAX_PROBLEMS: Final = 200


@dataclass(slots=True, kw_only=True)
class Inspection:
    """``digests`` are those of SHA256SUMS, ``sums_digest`` is over its bytes; both empty where it cannot be read."""

    root: Path
    problems: list[str] = field(default_factory=list)
    listing: folder.Listing
    digests: dict[str, str] = field(default_factory=dict)
    sums_digest: str = ""
    manifest: Manifest | None = None
    proof: Proof | None = None

    @property
    def subjects(self) -> dict[str, str]:
        """What a statement about this folder must be about: its containers, the disk in them, and all its files."""
        containers = self.manifest.containers if self.manifest else ()
        disk = self.manifest.disk_digest if self.manifest else ""
        return {
            **{container.file: container.sha256 for container in containers},
            DISK: disk,
            sums.FILE_NAME: self.sums_digest,
        }

    def raise_problems(self, message: str, *, hint: str = "") -> None:
        """VerificationError with every problem, when there is one."""
        if not self.problems:
            return
        shown = [Problem(message=text) for text in self.problems[:MAX_PROBLEMS]]
        if len(self.problems) > MAX_PROBLEMS:
            shown.append(Problem(message=f"and {len(self.problems) - MAX_PROBLEMS} more problems"))
        shown.append(Problem(message=message, hint=hint))
        raise VerificationError(f"{message}: {self.problems[0]}", hint=hint, problems=tuple(shown))


def refuse_key_inside(root: Path, key: Path) -> None:
    """A key that travels with what it proves proves nothing."""
    if key.resolve().is_relative_to(root.resolve()):
        raise VerificationError(
            f"the key {key} lies in the release folder {root}",
            hint="take the key from a place that whoever sent the release cannot write to",
        )


def inspect(root: Path, judge: Judge, *, with_disks: bool, emit: Emit) -> Inspection:
    """Everything that can be said of ``root`` without a key. ``with_disks`` recomputes the disk in every container."""
    root = root.resolve()  # 'latest' may move to another release while we look
    look = Inspection(root=root, listing=folder.listing(root))
    look.problems += look.listing.flaws
    with image.stage(emit, "compare files"):
        _look_at_sums(look)
    _look_at_manifest(look)
    if look.manifest is not None:
        _look_at_containers(look, look.manifest, with_disks=with_disks, emit=emit)
        _look_at_evidence(look, look.manifest, judge)
    return look


def _look_at_sums(look: Inspection) -> None:
    if sums.FILE_NAME not in look.listing.files:
        look.problems.append(f"{sums.FILE_NAME} is missing")
        return
    try:
        data = files.read_bounded(look.root / sums.FILE_NAME, sums.LIMIT_BYTES)
        look.sums_digest = hashlib.sha256(data).hexdigest()
        look.digests = sums.parse(data)
    except DataError as error:
        look.problems.append(error.message)
        return
    look.problems += folder.compare(look.root, look.listing, look.digests)


def _look_at_manifest(look: Inspection) -> None:
    if folder.MANIFEST not in look.listing.files:
        if folder.MANIFEST not in look.digests:  # else it is named as missing already
            look.problems.append(f"{folder.MANIFEST} is missing")
        return
    try:
        look.manifest = manifest.read(look.root)
    except DataError as error:
        look.problems.append(error.message)


def _look_at_containers(look: Inspection, claimed: Manifest, *, with_disks: bool, emit: Emit) -> None:
    names = {container.file for container in claimed.containers}
    for name in sorted(look.digests.keys() - names - {folder.MANIFEST}):
        if not name.startswith(f"{folder.EVIDENCE}/"):
            look.problems.append(f"{name} is no part of a release: {folder.MANIFEST} does not name it")
    for container in claimed.containers:
        if container.file not in look.listing.files:
            if container.file not in look.digests:
                look.problems.append(f"{container.file} is missing, {folder.MANIFEST} names it")
        elif look.digests.get(container.file) != container.sha256:
            look.problems.append(f"{container.file}: {folder.MANIFEST} and {sums.FILE_NAME} name different digests")
        else:
            look.problems += _flaws_of_container(look.root, container, claimed, with_disks=with_disks, emit=emit)


def _flaws_of_container(
    root: Path, container: Container, claimed: Manifest, *, with_disks: bool, emit: Emit
) -> Iterator[str]:
    path = root / container.file
    if path.stat().st_size != container.size_bytes:
        yield f"{container.file} has {path.stat().st_size} bytes, {folder.MANIFEST} says {container.size_bytes}"
    try:
        kind = image.detect_format(path)
        if kind is not container.format:
            yield f"{container.file} is {kind.value}, {folder.MANIFEST} says {container.format.value}"
            return
        if kind is ImageFormat.VHD and (flaws := [f"{container.file} {flaw}" for flaw in vhd.flaws(path)]):
            yield from flaws
            return
        if with_disks and disk_of(path, kind, emit) != (claimed.disk_digest, claimed.disk_bytes):
            yield f"{container.file} holds another disk than {folder.MANIFEST} says"
    except PipelineError as error:
        yield f"{container.file}: {error.message}"


def disk_of(path: Path, kind: ImageFormat, emit: Emit) -> tuple[str, int]:
    """Disk digest and size of a container of a release. A fixed VHD without flaws is its raw disk plus the footer."""
    if kind is not ImageFormat.VHD:
        return image.disk_digest(path, kind, emit)
    size = path.stat().st_size - vhd.FOOTER_BYTES
    return image.digest_of_blocks(sparse.raw_blocks(path, size), size, str(path), emit)


def _look_at_evidence(look: Inspection, claimed: Manifest, judge: Judge) -> None:
    if claimed.plan_digest is None:
        look.problems.append("there is no evidence: the image was packed without its plan and results")
        return
    if folder.PLAN not in look.listing.files:
        if folder.PLAN not in look.digests:
            look.problems.append(f"{folder.PLAN} is missing")
        return
    try:
        proof = look.proof = evidence.read(look.root, judge)
    except LisaCiError as error:
        look.problems.append(f"the evidence cannot be judged: {error.message}")
        return
    if proof.plan_digest != claimed.plan_digest:
        look.problems.append(f"{folder.PLAN} has the digest {proof.plan_digest}, {folder.MANIFEST} names another")
    if proof.verdict.subject_digest != claimed.disk_digest:
        look.problems.append(
            f"the evidence is about {proof.verdict.subject_digest or 'no disk'}, the release is {claimed.disk_digest}"
        )
    if not proof.verdict.releasable:
        look.problems += _reasons(proof)


def _reasons(proof: Proof) -> Iterator[str]:
    """Why the verdict is not 'releasable': its reasons, or, where the gate is green, what blocks a release."""
    for reason in proof.verdict.reasons:
        place = "/".join(part for part in (reason.leg, reason.case) if part)
        yield f"not releasable: {place + ': ' if place else ''}{reason.message}"
    if not proof.verdict.reasons:
        yield from (f"not releasable: {block}" for block in proof.verdict.blocks or ("the verdict does not say why",))
