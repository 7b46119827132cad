"""What all parts share: how evidence is refused, what is left open, and a reader that cannot run past the end."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

SHOWN_BYTES: Final = 24


class Refused(Exception):
    """The evidence is not what it claims to be; ``str()`` says what is wrong, with the values seen and wanted."""


class Missing(Refused):
    """Nothing contradicts the evidence, but a part without which it proves nothing is not there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """Evidence in which nothing is wrong. ``proven`` are sentences that hold, ``open`` what nothing here decides."""

    proven: tuple[str, ...]
    open: tuple[str, ...]


def shown(data: bytes) -> str:
    """Bytes for a message: hexadecimal, cut."""
    return data.hex() if len(data) <= SHOWN_BYTES else f"{data[:SHOWN_BYTES].hex()}..."


def must_be_zero(data: bytes, what: str) -> None:
    """Refused where a reserved field has a bit set: a later format, or not what it says."""
    if any(data):
        raise Refused(f"{what} is not zero: {shown(data)}")


class Reader:
    """Bytes from front to back, little-endian; what would go past the end is Refused."""

    def __init__(self, data: bytes, what: str) -> None:
        self._data = data
        self._what = what
        self.place = 0

    @property
    def left(self) -> int:
        """Bytes not read yet."""
        return len(self._data) - self.place

    def take(self, count: int, field: str) -> bytes:
        """The next ``count`` bytes."""
        if count > self.left:
            raise Refused(
                f"{self._what}: {field} of {count} bytes at byte {self.place} goes past the end, {self.left} are left"
            )
        taken = self._data[self.place : self.place + count]
        self.place += count
        return taken

    def number(self, size_bytes: int, field: str) -> int:
        """The next whole number, without a sign."""
        return int.from_bytes(self.take(size_bytes, field), "little")


def number_at(data: bytes, offset: int, form: str) -> int:
    """A number at a known place of data whose size was checked; ``form`` is struct's letter."""
    value: int = struct.unpack_from(f"<{form}", data, offset)[0]
    return value
