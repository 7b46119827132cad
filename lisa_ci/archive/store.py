"""A place that keeps named blobs: what the archive needs of it, and no more.

A blob appears whole or not at all and is never changed; two writers of one name cannot both win. So every step of the
archive can be repeated, from anywhere, at any time.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import IO, Final, Protocol

_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?(?:/[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?){0,9}")
_NAME_LIMIT: Final = 600


class Tier(StrEnum):
    """What keeping a blob costs against what reading it costs. A folder has but one."""

    HOT = "hot"
    COOL = "cool"
    COLD = "cold"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A blob that is there. ``version`` changes whenever it is refreshed; ``modified`` is by the place's clock."""

    name: str
    size_bytes: int
    modified: datetime
    version: str


class Store(Protocol):
    """Names are as ``is_name`` allows. PublishingError where it cannot be written, StorageError where it cannot be
    read, PipelineError where we may not.
    """

    @property
    def place(self) -> str:
        """What people call it; holds no secret."""

    def put_new(self, name: str, data: IO[bytes], size_bytes: int, *, tier: Tier = Tier.HOT) -> bool:
        """Write all of ``data`` (seekable, at its begin), checked on arrival. False where the name was taken."""

    def find(self, name: str) -> Entry | None: ...

    def refresh(self, name: str) -> bool:
        """Count the blob as new from now on; False where it is gone."""

    def read(self, name: str) -> Iterator[bytes] | None:
        """Its bytes in blocks; None where it is not there."""

    def names(self, prefix: str) -> Iterator[str]:
        """Every blob whose name begins so, in order; foreign names are left out."""

    def entries(self, prefix: str) -> Iterator[Entry]: ...

    def remove(self, entry: Entry) -> bool:
        """Only where it is still as ``entry`` says; False where it is gone or was refreshed."""

    def now(self) -> datetime:
        """By the place's clock, as ``Entry.modified``."""

    def close(self) -> None: ...


def is_name(text: str) -> bool:
    """True for a name that the archive gives; nothing else in a place is looked at."""
    return len(text) <= _NAME_LIMIT and ".." not in text and _NAME.fullmatch(text) is not None
