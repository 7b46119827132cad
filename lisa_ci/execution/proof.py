"""Before a machine is made: what this leg is about to test is what was planned."""

from __future__ import annotations

from lisa_ci import image as images
from lisa_ci.errors import VerificationError
from lisa_ci.events import Emit
from lisa_ci.model import Image, Kernel, Subject
from lisa_ci.pipeline.subject import kernel_now

_AGAIN = "plan again with the files as they are now"


def check_plan_digest(found: str, expected: str | None) -> None:
    """VerificationError where the plan's file is another one than the workflow's plan job wrote."""
    if expected is not None and found != expected.lower():
        raise VerificationError(
            f"the plan has digest {found}, not {expected}",
            hint="take the plan and the digest from the same workflow run",
        )


def check_subject(subject: Subject, emit: Emit) -> None:
    """Hash the disk and the kernel; VerificationError where one of them is not the planned one."""
    if subject.image is not None:
        _check_image(subject.image, emit)
    if subject.kernel is not None:
        _check_kernel(subject.kernel)


def _check_image(image: Image, emit: Emit) -> None:
    path = images.local_path(image, emit)
    digest, size = images.disk_digest(path, image.format, emit)
    if (digest, size) != (image.disk_digest, image.size_bytes):
        raise VerificationError(
            f"image {image.path} has disk digest {digest}, the plan says {image.disk_digest}", hint=_AGAIN
        )


def _check_kernel(kernel: Kernel) -> None:
    digest = kernel_now(kernel).digest
    if digest != kernel.digest:
        raise VerificationError(
            f"the kernel {kernel.path} has digest {digest}, the plan says {kernel.digest}", hint=_AGAIN
        )
