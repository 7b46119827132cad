"""The demo's folder: what lies where, and how an old run is cleared without touching anything that is not ours."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from lisa_ci import files
from lisa_ci.errors import PipelineError, StorageError

_MARK: Final = ".lisa-ci-demo"
_MARK_TEXT: Final = b"made by `lisa-ci demo`; its next run removes what this one made, and nothing else\n"


class Scenario(StrEnum):
    """What a demo shows. RELEASE: everything from the image to its release. CRASH: how a leg survives its machine."""

    RELEASE = "release"
    CRASH = "crash"


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoFolder:
    """Paths of everything that a demo makes."""

    root: Path

    @property
    def pipeline(self) -> Path:
        return self.root / "lisa-ci.yml"

    @property
    def suite(self) -> Path:
        """The suite of scenario CRASH."""
        return self.root / "crash"

    @property
    def image(self) -> Path:
        """A link to the image in the cache."""
        return self.root / "debian.qcow2"

    @property
    def plan(self) -> Path:
        return self.root / "plan.json"

    @property
    def results(self) -> Path:
        return self.root / "results"

    @property
    def report(self) -> Path:
        return self.root / "report"

    @property
    def release(self) -> Path:
        return self.root / "release"

    @property
    def published(self) -> Path:
        return self.root / "published"

    @property
    def key(self) -> Path:
        """The private key, while the demo runs."""
        return self.root / "trusted-key"

    @property
    def public_key(self) -> Path:
        return self.root / "trusted-key.pub"

    def begin(self, image: Path, scenario: Scenario = Scenario.RELEASE) -> None:
        """An empty place for a new run, with the scenario's pipeline file and the image in it.

        PipelineError where the folder holds something and is not the folder of an earlier demo.
        """
        mark = self.root / _MARK
        try:
            if self.root.exists() and not self.root.is_dir():
                raise PipelineError(f"{self.root} is not a folder", hint="choose another one with --out")
            if self.root.is_dir() and any(self.root.iterdir()) and not mark.is_file():
                hint = "choose another one with --out; the demo only clears what it made itself"
                raise PipelineError(f"{self.root} holds files that are not the demo's", hint=hint)
            files.write_atomically(mark, _MARK_TEXT)
            for path in self._made():
                _remove(path)
            templates = files.shipped("templates") / "demo"
            match scenario:
                case Scenario.RELEASE:
                    shutil.copyfile(templates / "lisa-ci.yml", self.pipeline)
                case Scenario.CRASH:
                    shutil.copyfile(templates / "crash.yml", self.pipeline)
                    shutil.copytree(templates / "crash", self.suite)
            self.image.symlink_to(image.absolute())
        except OSError as error:
            raise StorageError.of(error.filename, error, hint="choose --out DIR") from error

    def forget_key(self) -> None:
        """The private key has done its work: a key nobody has can sign nothing else."""
        self.key.unlink(missing_ok=True)

    def _made(self) -> Iterator[Path]:
        yield from (self.pipeline, self.suite, self.image, self.plan, self.results, self.report)
        yield from (self.release, self.published, self.key, self.public_key)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
