"""What a list or a mapping in a user's file may be. A ``Table`` of ``Setting`` feeds loader, JSON Schema and docs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Any, Final

from lisa_ci.pipeline.close import closest
from lisa_ci.pipeline.document import ListNode, MappingNode, Node, ScalarNode, shown
from lisa_ci.pipeline.kinds import Text, duration_text
from lisa_ci.pipeline.reading import Found, Kind, Reading, Schema, describe


@dataclass(frozen=True, slots=True, kw_only=True)
class ListOf:
    """A list of values of one kind."""

    kind: Kind
    least: int = 0
    most: int = 1000
    is_unique: bool = False

    @property
    def words(self) -> str:
        amount = f"{self.least} to {self.most}" if self.least else f"at most {self.most}"
        return f"a list of {amount}, each {self.kind.words}"

    def schema(self) -> Schema:
        unique = {"uniqueItems": True} if self.is_unique else {}
        return {"type": "array", "items": self.kind.schema(), "minItems": self.least, "maxItems": self.most, **unique}

    def read(self, node: Node, reading: Reading, name: str) -> Found | None:
        if not isinstance(node, ListNode):
            reading.report(
                f"'{name}' must be a list, not {describe(node)}", node.location, "start each entry with '- '"
            )
            return None
        if not self.least <= len(node.items) <= self.most:
            message = f"'{name}' has {len(node.items)} entries"
            reading.report(message, node.location, f"give {self.least} to {self.most}")
            return None
        found = [self.kind.read(item, reading, name) for item in node.items]
        if self.is_unique:
            _refuse_repeats([item for item in found if item is not None], reading, name)
        whole = all(item is not None and item.is_whole for item in found)
        return Found(tuple(item for item in found if item is not None), node.location, whole)


def _refuse_repeats(found: Sequence[Found], reading: Reading, name: str) -> None:
    seen = set()
    for item in found:
        if item.value in seen:
            reading.report(f"{shown(str(item.value))} is in '{name}' twice", item.location, "remove one")
        seen.add(item.value)


@dataclass(frozen=True, slots=True, kw_only=True)
class MapOf:
    """A mapping whose keys are free, within a pattern."""

    key: Text
    value: Kind
    most: int = 1000

    @property
    def words(self) -> str:
        return f"a mapping from {self.key.words} to {self.value.words}"

    def schema(self) -> Schema:
        names = {"propertyNames": {"pattern": f"^(?:{self.key.pattern})$"}} if self.key.pattern else {}
        return {"type": "object", "additionalProperties": self.value.schema(), "maxProperties": self.most, **names}

    def read(self, node: Node, reading: Reading, name: str) -> Found | None:
        if not isinstance(node, MappingNode):
            reading.report(
                f"'{name}' must be a mapping, not {describe(node)}", node.location, "write 'KEY: VALUE' lines"
            )
            return None
        if len(node.entries) > self.most:
            reading.report(f"'{name}' has {len(node.entries)} entries", node.location, f"give at most {self.most}")
            return None
        entries = {}
        is_whole = True
        for key, value in node.entries:
            # A key is text however YAML reads it: here its spelling is kept.
            as_text = ScalarNode(location=key.location, text=key.text, tag="str")
            key_found = self.key.read(as_text, reading, f"key of {name}")
            value_found = self.value.read(value, reading, key.text if key_found else name)
            if key_found and value_found:
                entries[key.text] = value_found
            is_whole = is_whole and key_found is not None and value_found is not None and value_found.is_whole
        return Found(entries, node.location, is_whole)


@dataclass(frozen=True, slots=True, kw_only=True)
class Either:
    """A short form (a scalar or a list) or a long one. The node's shape decides which."""

    short: Kind
    long: Kind
    words: str = ""
    shapes: tuple[type[Any], ...] = field(default=(ScalarNode,))

    def schema(self) -> Schema:
        return {"anyOf": [self.short.schema(), self.long.schema()]}

    def read(self, node: Node, reading: Reading, name: str) -> Found | None:
        return (self.short if isinstance(node, self.shapes) else self.long).read(node, reading, name)


ABSENT: Final = object()


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One key: all that loader, schema and docs say about it comes from here."""

    name: str
    kind: Kind
    description: str
    is_required: bool = False
    default: object = ABSENT
    example: object = ABSENT


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A mapping with known keys. ``one_of``: exactly one of these keys; ``needs``: key -> the key it needs."""

    title: str
    description: str
    settings: tuple[Setting, ...]
    one_of: tuple[tuple[str, ...], ...] = ()
    needs: Mapping[str, str] = field(default_factory=dict)

    @property
    def words(self) -> str:
        return f"a mapping ({self.title})"

    def schema(self) -> Schema:
        required = [setting.name for setting in self.settings if setting.is_required]
        schema: Schema = {
            "type": "object",
            "description": self.description,
            "properties": {setting.name: _setting_schema(setting) for setting in self.settings},
            "additionalProperties": False,
        }
        if required:
            schema["required"] = required
        if self.one_of:
            schema["allOf"] = [{"oneOf": [{"required": [name]} for name in names]} for names in self.one_of]
        if self.needs:
            schema["dependentRequired"] = {name: [needed] for name, needed in self.needs.items()}
        return schema

    def read(self, node: Node, reading: Reading, name: str) -> Found | None:
        if not isinstance(node, MappingNode):
            hint = f"its keys: {', '.join(setting.name for setting in self.settings[:8])}"
            reading.report(f"'{name}' must be a mapping, not {describe(node)}", node.location, hint)
            return None
        by_name = {setting.name: setting for setting in self.settings}
        found = {}
        is_whole = True
        meant: set[str | None] = set()
        for key, value in node.entries:
            setting = by_name.get(key.text)
            if setting is None:
                close = None if reading.is_full else closest(key.text, by_name)
                meant.add(close)
                hint = f"did you mean '{close}'?" if close else f"known keys: {', '.join(by_name)}"
                reading.report(f"unknown key {shown(key.text)}", key.location, hint)
                continue
            entry = setting.kind.read(value, reading, key.text)
            # A wrong value keeps its key, so that nobody calls the key missing.
            found[key.text] = entry or Found(None, value.location, is_whole=False)
            is_whole = is_whole and found[key.text].is_whole
        missing = self._missing({key.text for key, _ in node.entries}, meant, name)
        for message, hint in missing:
            reading.report(message, node.location, hint)
        is_whole = is_whole and not meant and not missing
        return Found(found, node.location, is_whole)

    def _missing(self, given: set[str], meant: set[str | None], name: str) -> list[tuple[str, str]]:
        """What the keys as a whole lack, as messages with hints. A key ``meant`` by a misspelt one is not missing."""
        found = given | meant
        problems = [
            (f"'{name}' lacks the key '{setting.name}'", f"add '{setting.name}: {_example(setting)}'")
            for setting in self.settings
            if setting.is_required and setting.name not in found
        ]
        for names in self.one_of:
            said = " or ".join(f"'{one}'" for one in names)
            both = [f"'{one}'" for one in names if one in given]
            if not found.intersection(names):
                problems.append((f"'{name}' lacks {said}", f"add one of them: '{names[0]}: ...'"))
            elif len(both) > 1:
                problems.append((f"'{name}' has both {' and '.join(both)}", "keep one"))
        for key, needed in self.needs.items():
            if key in given and needed not in found:
                problems.append((f"'{name}' has '{key}' but not '{needed}'", f"add '{needed}: ...'"))
        return problems


def _example(setting: Setting) -> str:
    return str(setting.example) if isinstance(setting.example, str | int) else "..."


def _setting_schema(setting: Setting) -> Schema:
    schema = {**setting.kind.schema(), "description": setting.description}
    if setting.default is not ABSENT:
        schema["default"] = plain_json(setting.default)
    if setting.example is not ABSENT:
        schema["examples"] = [plain_json(setting.example)]
    return schema


def plain_json(value: object) -> Any:
    """A default or example as JSON and YAML write it."""
    match value:
        case timedelta():
            return duration_text(value)
        case StrEnum():
            return value.value
        case tuple() | list():
            return [plain_json(item) for item in value]
        case Mapping():
            return {key: plain_json(item) for key, item in value.items()}
        case _:
            return value
