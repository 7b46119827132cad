"""A line of a console as a value: what the kernel stamped, and what anybody else wrote."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

LINE_LIMIT: Final = 4096  # bytes of a line that are looked at; the kernel's own lines have at most 1 KiB

_ANSI: Final = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -/]*[0-Z^-~])")
_CONTROL: Final = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]")
# "[   12.345678]", "[   12.345678][  T123]" or "[   12.345678] [    C1]" (CONFIG_PRINTK_CALLER); print_prefix() in
# kernel/printk/printk.c. A program that ended its line without a line break leaves its text in front.
_STAMPED: Final = re.compile(r"(?:<\d{1,3}>)?(\[ *(\d{1,9}\.\d{6})\](?: ?\[ *([TC]\d+)[^\]]{0,24}\])?) ?")
STAMPS: Final = re.compile(rb"\n(?:<\d{1,3}>)?\[ *(\d{1,9}\.\d{6})\]")
"""Finds the seconds of stamps in many lines at once; the text starts with a line break."""
_LEVEL: Final = re.compile(r"<\d{1,3}>")


@dataclass(frozen=True, slots=True)
class Line:
    """``stamp`` is in seconds since boot, None for a line without one; ``caller`` is ``T123`` (a thread), ``C1`` (a CPU
    in an interrupt) or '' where the kernel does not tell. ``text`` is the message, ``shown`` the line as people see it.
    ``is_candidate``: a word of the table is in it.
    """

    text: str
    stamp: float | None
    caller: str
    shown: str
    is_candidate: bool = True


def parse_line(data: bytes, *, is_candidate: bool = True) -> Line:
    """A line without its line break, whatever its bytes: no control characters are left."""
    raw = data.decode("utf-8", "ignore")
    if "\x1b" in raw:
        raw = _ANSI.sub("", raw)
    if not raw.isprintable():
        raw = _CONTROL.sub("", raw)
    found = _STAMPED.search(raw)
    if found is None:
        return Line(_LEVEL.sub("", raw, count=1) if raw.startswith("<") else raw, None, "", raw, is_candidate)
    stamp, seconds, caller = found.groups()
    text = raw[found.end() :]
    return Line(text, float(seconds), caller or "", f"{stamp} {text}", is_candidate)
