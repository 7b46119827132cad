"""What a scalar in a user's file may be: each kind reads a node, describes itself, and gives its JSON Schema.

A kind reports every mistake with its place and goes on; ``None`` instead of a ``Found`` means "wrong, and reported".
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Final

from lisa_ci.model import ID_PATTERN, is_id
from lisa_ci.pipeline.close import did_you_mean
from lisa_ci.pipeline.document import Node, ScalarNode, shown
from lisa_ci.pipeline.reading import Found, Kind, Reading, Schema, describe

_DURATION: Final = re.compile(r"(?:([0-9]{1,6})h)?(?:([0-9]{1,6})m)?(?:([0-9]{1,6})s)?")
_WHOLE: Final = re.compile(r"0|-?[1-9][0-9]{0,17}")
_HIDDEN: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_HIDDEN_IN_LINES: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_READ_AS: Final = {
    "int": "a number",
    "float": "a number",
    "bool": "true or false",
    "timestamp": "a date",
    "null": "nothing",
    "merge": "a merge key",
    "value": "a default value",
}


def _wrong(kind: Kind, node: Node, reading: Reading, name: str, hint: str = "") -> None:
    if isinstance(node, ScalarNode) and node.tag == "null" and not hint:
        hint = "give it a value or remove it"
    reading.report(f"'{name}' must be {kind.words}, not {describe(node)}", node.location, hint)


def read_text(kind: Kind, node: Node, reading: Reading, name: str) -> str | None:
    """The text of a scalar. A word that YAML takes for something else is refused, because it may lose its spelling."""
    if isinstance(node, ScalarNode) and node.tag == "str":
        return node.text
    if isinstance(node, ScalarNode) and node.tag in _READ_AS and node.text:
        message = f"'{name}' must be {kind.words}, but YAML reads {shown(node.text)} as {_READ_AS[node.tag]}"
        reading.report(message, node.location, f'put it in quotes: "{node.text}"')
        return None
    _wrong(kind, node, reading, name)
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """Text of one line (or of several), optionally in the form of a pattern that ``words`` explain."""

    words: str = "text"
    pattern: str | None = None
    hint: str = ""
    least: int = 1
    most: int = 1000
    is_lines: bool = False

    def schema(self) -> Schema:
        pattern = {"pattern": f"^(?:{self.pattern})$"} if self.pattern else {}
        return {"type": "string", "minLength": self.least, "maxLength": self.most, **pattern}

    def read(self, node: Node, reading: Reading, name: str) -> Found | None:
        text = read_text(self, node, reading, name)
        if text is None:
            return None
        hidden = (_HIDDEN_IN_LINES if self.is_lines else _HIDDEN).search(text)
        if hidden:
            what = "a line break" if hidden[0] in "\r\n" else f"control character U+{ord(hidden[0]):04X}"
            reading.report(f"'{name}' must not hold {what}", node.location, "remove it")
        elif not self.least <= len(text) <= self.most:
            size = "empty" if not text else f"{len(text)} characters long"
            reading.report(f"'{name}' is {size}", node.location, f"use {self.least} to {self.most} characters")
        elif self.pattern and re.fullmatch(self.pattern, text) is None:
            _wrong(self, node, reading, name, self.hint)
        else:
            return Found(text, node.location)
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Id:
    """A name that is also a legal folder, artifact and check name."""

    most: int = 100
    words: str = "an id"
    refuse: str | None = None
    refuse_words: str = ""

    def schema(self) -> Schema:
        schema: Schema = {"type": "string", "maxLength": self.most, "pattern": f"^(?:{ID_PATTERN})$"}
        unwanted = ["\\.\\.", *([self.refuse] if self.refuse else [])]
        return {**schema, "not": {"pattern": "|".join(unwanted)}}

    def read(self, node: Node, reading: Reading, name: str) -> Found | None:
        text = read_text(self, node, reading, name)
        if text is None:
            return None
        if not is_id(text) or len(text) > self.most:
            _wrong(self, node, reading, name, _id_hint(text, self.most))
        elif self.refuse and re.search(self.refuse, text):
            reading.report(f"'{name}' must not be {shown(text)}", node.location, self.refuse_words)
        else:
            return Found(text, node.location)
        return None


def _id_hint(text: str, most: int) -> str:
    close = re.sub(r"\.{2,}", ".", re.sub(r"[^a-z0-9._-]+", "-", text.lower())).strip("._-")[:60].rstrip("._-")
    if is_id(close):
        return f"did you mean '{close}'?"
    return f"an id has 1 to {most} of a-z, 0-9, '.', '_' and '-', a letter or digit first and last, and no '..'"


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole:
    """A whole number in plain decimal digits."""

    least: int
    most: int

    @property
    def words(self) -> str:
        return f"a whole number from {self.least} to {self.most}"

    def schema(self) -> Schema:
        return {"type": "integer", "minimum": self.least, "maximum": self.most}

    def read(self, node: Node, reading: Reading, name: str) -> Found | None:
        if not isinstance(node, ScalarNode) or node.tag != "int":
            hint = "remove the quotes" if isinstance(node, ScalarNode) and _WHOLE.fullmatch(node.text) else ""
            _wrong(self, node, reading, name, hint)
        elif _WHOLE.fullmatch(node.text) is None:
            hint = "write plain decimal digits: YAML takes a leading 0 for octal and ':' for base 60"
            _wrong(self, node, reading, name, hint)
        elif not self.least <= int(node.text) <= self.most:
            _wrong(self, node, reading, name)
        else:
            return Found(int(node.text), node.location)
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Flag:
    """``true`` or ``false``, in no other spelling: what ``yes`` means depends on YAML's version."""

    words: str = "true or false"

    def schema(self) -> Schema:
        return {"type": "boolean"}

    def read(self, node: Node, reading: Reading, name: str) -> Found | None:
        if isinstance(node, ScalarNode) and node.tag == "bool" and node.text in {"true", "false"}:
            return Found(node.text == "true", node.location)
        meant = {"yes": "true", "on": "true", "no": "false", "off": "false", "true": "true", "false": "false"}
        word = meant.get(node.text.lower()) if isinstance(node, ScalarNode) else None
        _wrong(self, node, reading, name, f"write {word}" if word else "")
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One of a few words; ``of`` makes it a member of that enumeration."""

    of: type[StrEnum] | None = None
    choices: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        return self.choices or tuple(str(member.value) for member in self.of or ())

    @property
    def words(self) -> str:
        return f"one of {', '.join(self.names)}"

    def schema(self) -> Schema:
        return {"enum": list(self.names)}

    def read(self, node: Node, reading: Reading, name: str) -> Found | None:
        text = read_text(self, node, reading, name)
        if text is None:
            return None
        if text not in self.names:
            _wrong(self, node, reading, name, did_you_mean(text, self.names))
            return None
        return Found(self.of(text) if self.of else text, node.location)


@dataclass(frozen=True, slots=True, kw_only=True)
class Duration:
    """A time with its unit: ``30s``, ``5m``, ``1h30m``."""

    least: timedelta = timedelta(seconds=1)
    most: timedelta = timedelta(hours=120)

    @property
    def words(self) -> str:
        return f"a duration from {duration_text(self.least)} to {duration_text(self.most)}"

    def schema(self) -> Schema:
        return {"type": "string", "pattern": "^(?=.)(?:[0-9]{1,6}h)?(?:[0-9]{1,6}m)?(?:[0-9]{1,6}s)?$"}

    def read(self, node: Node, reading: Reading, name: str) -> Found | None:
        text = node.text if isinstance(node, ScalarNode) else ""
        found = _DURATION.fullmatch(text) if text else None
        if found is None:
            number = _WHOLE.fullmatch(text)
            hint = f"add a unit: {text}s, {text}m or {text}h" if number else "write it as 30s, 5m or 1h30m"
            _wrong(self, node, reading, name, hint)
            return None
        hours, minutes, seconds = (int(part or 0) for part in found.groups())
        value = timedelta(hours=hours, minutes=minutes, seconds=seconds)
        if not self.least <= value <= self.most:
            _wrong(self, node, reading, name)
            return None
        return Found(value, node.location)


def duration_text(value: timedelta) -> str:
    """A duration as the file writes it: ``1h30m``."""
    total = int(value.total_seconds())
    parts = ((total // 3600, "h"), (total // 60 % 60, "m"), (total % 60, "s"))
    return "".join(f"{number}{unit}" for number, unit in parts if number) or "0s"
