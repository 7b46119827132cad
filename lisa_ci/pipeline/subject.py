"""What a pipeline tests, found on this host: the image with its disk digest, a foreign kernel with its own."""

from __future__ import annotations

import dataclasses
import glob
import hashlib
from collections.abc import Callable
from pathlib import Path

from lisa_ci import files
from lisa_ci import kernel as kernels
from lisa_ci.errors import PipelineError
from lisa_ci.events import Emit, Level, Message
from lisa_ci.image import local_path, resolve
from lisa_ci.model import CloudImage, Image, ImageSource, Kernel, Pipeline, Subject
from lisa_ci.pipeline.places import from_here

FindCloud = Callable[[ImageSource, Pipeline], CloudImage]


def find_subject(
    pipeline: Pipeline, emit: Emit, *, image: Path | None = None, cloud: FindCloud | None = None
) -> Subject:
    """The subject of a pipeline; ``image`` is a file that takes the place of the one in the pipeline file.

    ``cloud`` gives the exact image behind a name that a cloud knows.

    Where every profile already runs, nothing is booted: then there is neither image nor kernel to judge.
    PipelineError where a file is missing or is not what the pipeline says, or where a foreign kernel cannot boot.
    """
    if all(profile.endpoint is not None for profile in pipeline.profiles):
        return Subject()
    if pipeline.image is not None and pipeline.image.azure is not None and image is None:
        return _named(pipeline, pipeline.image, cloud)
    kernel = None if pipeline.kernel is None else _found_kernel(pipeline.kernel, Path(pipeline.folder))
    subject = Subject(image=_image(pipeline, emit, image), kernel=kernel)
    if kernel is not None and (kernel.source or kernel.config):
        _check_boots(pipeline, subject, kernel, emit)
    return subject


def _named(pipeline: Pipeline, source: ImageSource, cloud: FindCloud | None) -> Subject:
    if pipeline.kernel is not None:
        raise PipelineError(
            f"a foreign kernel boots an image that we hold, and {source.azure} is only named",
            hint="name a file by 'path' or 'url', or leave 'kernel:' out",
        )
    if cloud is None:
        raise PipelineError(f"{source.azure} is no file", hint="give --image FILE")
    return Subject(cloud=cloud(source, pipeline))


def _check_boots(pipeline: Pipeline, subject: Subject, kernel: Kernel, emit: Emit) -> None:
    """What stands in the way of a boot is told now, for all profiles at once, and not by machines that stay silent."""
    path = None if subject.image is None else local_path(subject.image, emit)
    booted = [profile for profile in pipeline.profiles if profile.endpoint is None]
    found = [
        problem
        for profile in booted
        for problem in kernels.problems(kernel, subject.image, path, profile, pipeline.access)
    ]
    if found:
        raise PipelineError(found[0].message, hint=found[0].hint, problems=tuple(dict.fromkeys(found)))
    for text in dict.fromkeys(wish for profile in booted for wish in kernels.wishes(kernel, profile, pipeline.access)):
        emit(Message(text=text, level=Level.WARNING, place="kernel"))


def _image(pipeline: Pipeline, emit: Emit, image: Path | None) -> Image | None:
    if image is not None:
        path = glob.escape(str(image.absolute()))
        source = dataclasses.replace(pipeline.image or ImageSource(), path=path, url=None, sha256=None, azure=None)
        return resolve(source, Path(pipeline.folder), emit)
    return None if pipeline.image is None else resolve(pipeline.image, Path(pipeline.folder), emit)


def kernel_now(kernel: Kernel) -> Kernel:
    """A planned kernel with the digest that its files have at this moment; PipelineError where one is missing."""
    return _found_kernel(kernel, Path())


def _found_kernel(kernel: Kernel, folder: Path) -> Kernel:
    """The kernel with paths from the working directory, and the digest over all its parts and its command line."""
    parts = {name: getattr(kernel, name) for name in ("image", "modules", "config", "initrd", "vmlinux")}
    paths = {name: folder / value for name, value in parts.items() if value}
    digest = hashlib.sha256()
    shown = {name: from_here(path) for name, path in paths.items()}
    if kernel.source is not None:
        source = folder / kernel.source
        extra = None if kernel.extra is None else folder / kernel.extra
        shown |= {"source": from_here(source), "delivery": kernels.delivery_digest(source, extra)}
        shown |= {} if extra is None else {"extra": from_here(extra)}
        digest.update(f"from {shown['delivery']}\n".encode())
    for name, path in paths.items():
        digest.update(f"{name} {_digest(name, path)}\n".encode())
    digest.update(f"command_line {kernel.command_line or ''}\n".encode())
    return dataclasses.replace(kernel, **shown, digest=digest.hexdigest())


def _digest(name: str, path: Path) -> str:
    wants_folder = name == "modules"
    try:
        if path.is_dir() != wants_folder or not path.exists():
            what = "folder" if wants_folder else "file"
            raise PipelineError(
                f"kernel.{name}: there is no {what} {path}", hint="build the kernel first, or correct the path"
            )
        return files.tree_digest(path) if wants_folder else files.sha256_file(path)
    except OSError as error:
        raise PipelineError(f"kernel.{name}: cannot read {error.filename}: {error.strerror}") from error
