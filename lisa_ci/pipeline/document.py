"""A YAML file as a tree of nodes that know their place, whatever bytes the file holds.

PyYAML's scanner and parser do the reading. The tree is built here from their events instead of by PyYAML's composer,
which recurses (a deep file ends it), forgets duplicate keys and lets a few aliases grow into billions of values. What
a plain word means (``no``, ``010``, ``1:30``) is told as SafeLoader sees it; nothing is converted and nothing is made.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final, NoReturn, Protocol

import yaml
from yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from lisa_ci.errors import Location, PipelineError, Problem

MAX_BYTES: Final = 512 << 10
MAX_DEPTH: Final = 24
MAX_VALUES: Final = 50_000
_STANDARD: Final = "tag:yaml.org,2002:"
_SCALAR_TAGS: Final = frozenset({"str", "int", "float", "bool", "null", "timestamp", "merge", "value"})
_FORBIDDEN: Final = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")
_HINTS: Final = (
    ("character '\\t'", "use spaces: YAML allows no tabs for indentation"),
    ("mapping values are not allowed here", "put text that holds ': ' in quotes, or check the indentation"),
    ("expected <block end>", "check the indentation: keys of one block start in the same column"),
    ("could not find expected ':'", "a key ends with ': '"),
    ("found character '%'", "put text that starts with '%' in quotes"),
    ("found character '@'", "put text that starts with '@' in quotes"),
    ("found character '`'", "put text that starts with '`' in quotes"),
    ("unexpected end of stream", "a quote or bracket is not closed"),
    ("expected alphabetic or numeric character", "put text that starts with '*' or '&' in quotes"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalarNode:
    """``tag`` is what YAML 1.1 takes it for: str, int, float, bool, null, timestamp, merge or value."""

    location: Location
    text: str
    tag: str
    weight: int = 1
    height: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ListNode:
    """``weight`` counts the values in it with every alias written out, ``height`` the levels below it."""

    location: Location
    items: tuple[Node, ...]
    weight: int
    height: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MappingNode:
    """Entries in the order of the file; keys are unique, merge keys are resolved."""

    location: Location
    entries: tuple[tuple[ScalarNode, Node], ...]
    weight: int
    height: int


Node = ScalarNode | ListNode | MappingNode


def parse_document(data: bytes, file: str) -> tuple[Node | None, tuple[Problem, ...]]:
    """The tree of the one document in ``data`` (None: an empty file), and the mistakes that leave a tree.

    PipelineError for a file that gives no tree at all: not UTF-8, not YAML, too large, too deep, endless.
    """
    return _Builder(file).build(_decode(data, file))


def shown(text: str) -> str:
    """``text`` in quotes for a message: control characters escaped, long text cut."""
    return repr(text if len(text) <= 60 else text[:57] + "...")


def _decode(data: bytes, file: str) -> str:
    if len(data) > MAX_BYTES:
        _fail(
            f"the file is larger than {MAX_BYTES >> 10} KiB",
            Location(file=file),
            "split what is not configuration out of it",
        )
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        _fail("the file is UTF-16", Location(file=file), "save it as UTF-8")
    try:
        text = data.removeprefix(b"\xef\xbb\xbf").decode()
    except UnicodeDecodeError as error:
        before = data[: error.start].removeprefix(b"\xef\xbb\xbf").decode()
        _fail(f"byte 0x{data[error.start]:02x} is not UTF-8", _location_after(before, file), "save the file as UTF-8")
    if found := _FORBIDDEN.search(text):
        place = _location_after(text[: found.start()], file)
        _fail(
            f"character U+{ord(found[0]):04X} is not allowed in YAML",
            place,
            "remove it, or write it as an escape in double quotes",
        )
    return text


def _location_after(before: str, file: str) -> Location:
    lines = re.split("\r\n|[\r\n\x85\u2028\u2029]", before)
    return Location(file=file, line=len(lines), column=len(lines[-1]) + 1)


def _fail(message: str, location: Location, hint: str = "") -> NoReturn:
    raise PipelineError(message, hint=hint, location=location)


class _Mark(Protocol):
    """PyYAML's mark: line and column count from 0."""

    line: int
    column: int


@dataclass(slots=True)
class _Frame:
    """A list or mapping that is still open."""

    location: Location
    anchor: str | None
    is_mapping: bool
    children: list[Node] = field(default_factory=list)
    weight: int = 1
    height: int = 0


class _Builder:
    def __init__(self, file: str) -> None:
        self._file = file
        self._resolve: Callable[..., object] = yaml.SafeLoader("").resolve
        self._problems: list[Problem] = []
        self._anchors: dict[str, Node | None] = {}
        self._open: list[_Frame] = []
        self._root: Node | None = None
        self._documents = 0

    def build(self, text: str) -> tuple[Node | None, tuple[Problem, ...]]:
        for event in self._events(text):
            self._take(event)
        return self._root, tuple(self._problems)

    def _events(self, text: str) -> Iterator[Event]:
        try:
            yield from yaml.parse(text, Loader=yaml.SafeLoader)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            said = error.problem or error.context or "it cannot be read"
            hint = next((hint for part, hint in _HINTS if part in said), "")
            _fail(f"not valid YAML: {said}", self._place(mark), hint)
        except (yaml.YAMLError, ValueError, OverflowError):
            # PyYAML lets chr() and int() raise without a place.
            _fail("not valid YAML: an escape or a version number is out of range", Location(file=self._file))

    def _place(self, mark: _Mark | None) -> Location:
        if mark is None:
            return Location(file=self._file)
        return Location(file=self._file, line=mark.line + 1, column=mark.column + 1)

    def _take(self, event: Event) -> None:
        place = self._place(event.start_mark)
        match event:
            case DocumentStartEvent():
                self._documents += 1
                if self._documents > 1:
                    _fail("a second YAML document starts here", place, "remove the '---' line and what belongs to it")
            case AliasEvent():
                self._add(self._target(event.anchor, place), place)
            case ScalarEvent():
                node = ScalarNode(location=place, text=event.value, tag=self._tag(event, place))
                self._remember(event.anchor, node)
                self._add(node, place)
            case SequenceStartEvent() | MappingStartEvent():
                self._refuse_tag(event.tag, place)
                self._remember(event.anchor, None)
                is_mapping = isinstance(event, MappingStartEvent)
                self._open.append(_Frame(location=place, anchor=event.anchor, is_mapping=is_mapping))
                self._check_depth(len(self._open), place)
            case SequenceEndEvent() | MappingEndEvent():
                self._close()
            case _:
                pass

    def _remember(self, anchor: str | None, node: Node | None) -> None:
        if anchor is not None:
            self._anchors[anchor] = node

    def _target(self, anchor: str | None, place: Location) -> Node:
        if anchor is None or anchor not in self._anchors:
            _fail(
                f"alias {shown(f'*{anchor}')} has no anchor {shown(f'&{anchor}')} above it",
                place,
                "text that starts with '*' needs quotes",
            )
        node = self._anchors[anchor]
        if node is None:
            _fail(f"alias {shown(f'*{anchor}')} lies inside its own anchor", place, "a value cannot contain itself")
        return node

    def _add(self, node: Node, place: Location) -> None:
        self._check_depth(len(self._open) + node.height, place)
        if not self._open:
            self._root = node
            return
        frame = self._open[-1]
        frame.children.append(node)
        frame.weight += node.weight
        frame.height = max(frame.height, node.height + 1)
        if frame.weight > MAX_VALUES:
            _fail(f"the file grows to more than {MAX_VALUES} values here", place, "use fewer values or aliases")

    def _check_depth(self, depth: int, place: Location) -> None:
        if depth > MAX_DEPTH:
            _fail(f"nested deeper than {MAX_DEPTH} levels", place, "nothing in this file needs that")

    def _close(self) -> None:
        frame = self._open.pop()
        node: Node
        if frame.is_mapping:
            entries = self._entries(frame)
            node = MappingNode(location=frame.location, entries=entries, weight=frame.weight, height=frame.height)
        else:
            items = tuple(frame.children)
            node = ListNode(location=frame.location, items=items, weight=frame.weight, height=frame.height)
        self._remember(frame.anchor, node)
        self._add(node, frame.location)

    # ---- mappings --------------------------------------------------------------------------------------------------

    def _entries(self, frame: _Frame) -> tuple[tuple[ScalarNode, Node], ...]:
        own: dict[str, tuple[ScalarNode, Node]] = {}
        merged: list[MappingNode] = []
        for key, value in zip(frame.children[::2], frame.children[1::2], strict=True):
            if not isinstance(key, ScalarNode):
                self._report("a key must be text", key.location, "lists and mappings cannot be keys")
            elif key.tag == "merge":
                merged += self._merged(value)
            elif key.text in own:
                first = own[key.text][0].location
                self._report(
                    f"key {shown(key.text)} is given twice", key.location, f"the first is in line {first.line}"
                )
            else:
                own[key.text] = (key, value)
        for mapping in merged:
            for key, value in mapping.entries:
                own.setdefault(key.text, (key, value))
        return tuple(own.values())

    def _merged(self, value: Node) -> list[MappingNode]:
        sources = value.items if isinstance(value, ListNode) else (value,)
        for source in sources:
            if not isinstance(source, MappingNode):
                self._report("'<<' takes a mapping, or a list of mappings", source.location, "write '<<: *anchor'")
        return [source for source in sources if isinstance(source, MappingNode)]

    def _report(self, message: str, location: Location, hint: str) -> None:
        self._problems.append(Problem(message=message, hint=hint, location=location))

    # ---- tags ------------------------------------------------------------------------------------------------------

    def _tag(self, event: ScalarEvent, place: Location) -> str:
        tag = event.tag
        if tag is None or tag == "!":
            implicit = (False, True) if tag == "!" else event.implicit
            tag = str(self._resolve(yaml.ScalarNode, event.value, implicit))
        name = tag.removeprefix(_STANDARD)
        if name not in _SCALAR_TAGS or not tag.startswith(_STANDARD):
            self._unknown_tag(tag, place)
        return str(name)

    def _refuse_tag(self, tag: str | None, place: Location) -> None:
        if tag not in (None, "!", f"{_STANDARD}seq", f"{_STANDARD}map"):
            self._unknown_tag(str(tag), place)

    def _unknown_tag(self, tag: str, place: Location) -> NoReturn:
        said = tag.replace(_STANDARD, "!!")
        _fail(
            f"YAML tag {shown(said)} is not used here", place, "remove it, or put text that starts with '!' in quotes"
        )
