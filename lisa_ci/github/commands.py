"""Workflow commands: the lines by which a step talks to the GitHub runner, escaped as the runner parses them.

The runner looks for commands in *everything* a step prints. Two forms exist: ``::name k=v,k=v::data`` at the start of
a line (leading white space allowed) and the old ``##[name k=v;k=v]data`` anywhere in a line. So text that comes from a
machine, a pull request or a file is never printed bare: ``Fence`` for many lines, ``neutral`` for a piece of a line.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Iterator
from typing import Final

from lisa_ci.github.limits import MESSAGE_UNITS

_NAME: Final = re.compile(r"[a-z][a-z-]*")
_PROPERTIES: Final = frozenset({"title", "file", "line", "endLine", "col", "endColumn"})
_ANNOTATIONS: Final = frozenset({"error", "warning", "notice"})
# C0 and C1 controls except tab, newline and carriage return; lone surrogates cannot be written as UTF-8.
_UNPRINTABLE: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
_ESCAPE_SEQUENCE: Final = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b\r\n]{0,2000}(?:\x07|\x1b\\)|[@-Z\\-_])")
_V1: Final = re.compile(r"##\[")
_V2_AT_LINE_START: Final = re.compile(r"(^|[\r\n])([^\S\r\n]*)::")
_CUT: Final = " … (cut)"


def printable(text: str) -> str:
    """``text`` without terminal escape sequences; other control characters and lone surrogates become U+FFFD."""
    return _UNPRINTABLE.sub("\ufffd", _ESCAPE_SEQUENCE.sub("", text))


def command(name: str, data: str = "", **properties: str | int | None) -> str:
    """One workflow command as one line, without the newline. Properties that are None or empty are left out.

    ``title``, ``file``, ``line``, ``endLine``, ``col`` and ``endColumn`` are the only property names; anything else, or
    a name that is no command, is our own mistake and a ValueError. An annotation's data is cut to what GitHub keeps.
    """
    if _NAME.fullmatch(name) is None:
        raise ValueError(f"not the name of a workflow command: {name!r}")
    unknown = properties.keys() - _PROPERTIES
    if unknown:
        raise ValueError(f"not properties of a workflow command: {sorted(unknown)}")
    text = printable(data)
    if name in _ANNOTATIONS:
        text = cut(text, MESSAGE_UNITS)
    given = {key: printable(str(value)) for key, value in properties.items() if value not in {None, ""}}
    shown = ",".join(f"{key}={_escape_property(value)}" for key, value in given.items())
    return f"::{name}{' ' + shown if shown else ''}::{_escape_data(text)}"


def group(title: str) -> str:
    """Opens a folded group of log lines. Groups do not nest: a second one ends the first."""
    return command("group", " ".join(title.split()))


def endgroup() -> str:
    return command("endgroup")


def add_mask(secret: str) -> Iterator[str]:
    """The commands that hide ``secret`` in the log, one for the whole and one for each line; nothing for an empty one.

    Print them before anything that could print the secret. Pieces shorter than four characters are left out, because
    they would blot out the log.
    """
    pieces = dict.fromkeys([secret.strip(), *(line.strip() for line in secret.splitlines())])
    yield from (f"::add-mask::{_escape_data(piece)}" for piece in pieces if len(piece) >= 4)


def neutral(text: str) -> str:
    """``text`` in which the runner finds no command, by a space that a reader can see; for pieces outside a fence."""
    return _V2_AT_LINE_START.sub(r"\1\2: :", _V1.sub("## [", printable(text)))


def cut(text: str, units: int) -> str:
    """``text`` in at most ``units`` UTF-16 units, never inside a character; says so at its end where it was cut."""
    if len(text) * 2 <= units or _units(text) <= units:
        return text
    encoded = text.encode("utf-16-le", "surrogatepass")[: 2 * max(units - _units(_CUT), 0)]
    return encoded.decode("utf-16-le", "ignore") + _CUT


class Fence:
    """Stops the runner from reading commands between ``opening`` and ``closing``, in both forms.

    The token is random, so that nothing between can end the fence. It is longer than six characters on purpose: the
    runner then masks it in the log, and a random token of this length masks nothing else.
    """

    def __init__(self) -> None:
        self._token = f"lisa-ci-{secrets.token_hex(16)}"

    @property
    def opening(self) -> str:
        return f"::stop-commands::{self._token}"

    @property
    def closing(self) -> str:
        return f"::{self._token}::"

    def wrap(self, lines: Iterable[str]) -> Iterator[str]:
        """The lines between the two ends of the fence. An item may itself hold newlines and needs none at its end."""
        yield self.opening
        yield from (printable(line).removesuffix("\n") for line in lines)
        yield self.closing


def _units(text: str) -> int:
    return len(text) + sum(character > "\uffff" for character in text)


def _escape_data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _escape_property(text: str) -> str:
    return _escape_data(text).replace(":", "%3A").replace(",", "%2C")
