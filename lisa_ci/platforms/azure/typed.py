"""Bodies held against the types of Azure's API, before anything is sent: closed-world, so that a typing mistake shows.

The SDK sends any key; Azure may ignore one that it does not know. The types are those of Bicep, which are generated
from Azure's API descriptions.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

TYPES_FILE: Final = Path(__file__).parent / "data" / "types.json"

_REQUIRED: Final = 1
_READ_ONLY: Final = 2
_IN_ADDRESS: Final = frozenset({"id", "name", "type", "apiVersion"})
"""Of the resource as a whole, these stand in a PUT's address."""
_OPEN: Final = frozenset({"vmSize"})
"""The list of values in the description is years behind; elsewhere a value that it lacks is taken for a mistake."""
_FLOATS: Final = frozenset({"maxPrice"})
"""Bicep has no numbers with a fraction, and calls them whole."""

Type = Mapping[str, Any]


@functools.cache
def _data() -> Mapping[str, Any]:
    read: Mapping[str, Any] = json.loads(TYPES_FILE.read_bytes())
    return read


def known_types() -> frozenset[str]:
    """``TYPE@API-VERSION`` of every resource that can be checked."""
    return frozenset(_data()["resources"])


def mistakes(kind: str, api_version: str, body: Mapping[str, Any]) -> tuple[str, ...]:
    """What is wrong with the body of a PUT; a sentence each that begins with the place, ``/properties/osDisk``."""
    number = _data()["resources"].get(f"{kind}@{api_version}")
    if number is None:
        return (f"{kind}@{api_version}: no such type is known",)
    return tuple(_check(number, body, ""))


def writable(kind: str, api_version: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """A resource as it was read, as it can be put again: without what only Azure says, at every depth."""
    told: dict[str, Any] = _writable(_data()["resources"][f"{kind}@{api_version}"], body, "")
    return {key: value for key, value in told.items() if key not in _IN_ADDRESS}


def _writable(number: int, value: Any, place: str) -> Any:
    type_: Type = _data()["types"][number]
    match type_["is"]:
        case "ObjectType" if isinstance(value, Mapping):
            said, more = type_["properties"], type_.get("more")
            kept = {}
            for name, item in value.items():
                inner, flags = said.get(name, (more if more is not None else -1, 0))
                if inner >= 0 and not flags & _READ_ONLY:
                    kept[name] = _writable(inner, item, f"{place}/{name}")
            return kept
        case "ArrayType" if isinstance(value, list | tuple):
            return [_writable(type_["item"], item, f"{place}/{index}") for index, item in enumerate(value)]
        case "UnionType":
            fits = (one for one in type_["of"] if _data()["types"][one]["is"] in {"ObjectType", "ArrayType"})
            return next((_writable(one, value, place) for one in fits), value)
    return value


def _check(number: int, value: Any, place: str) -> Iterator[str]:
    type_: Type = _data()["types"][number]
    match type_["is"]:
        case "AnyType":
            return
        case "ObjectType":
            yield from _object(type_, value, place)
        case "ArrayType":
            yield from _array(type_, value, place)
        case "UnionType":
            yield from _union(type_, value, place)
        case "StringType":
            yield from _text(type_, value, place)
        case "StringLiteralType":
            if value != type_["value"]:
                yield f"{place}: {value!r} is not {type_['value']!r}"
        case "IntegerType":
            yield from _whole(type_, value, place)
        case "BooleanType":
            if not isinstance(value, bool):
                yield f"{place}: {value!r} is not true or false"
        case other:
            yield f"{place}: no rule for the type {other}"


def _object(type_: Type, value: Any, place: str) -> Iterator[str]:
    if not isinstance(value, Mapping):
        yield f"{place or '/'}: {value!r} is no object"
        return
    properties = type_["properties"]
    skipped = frozenset() if place else _IN_ADDRESS
    for name, (_, flags) in properties.items():
        if flags & _REQUIRED and name not in value and name not in skipped:
            yield f"{place}/{name}: is missing"
    for name, item in value.items():
        if name in properties:
            inner, flags = properties[name]
            if flags & _READ_ONLY:
                yield f"{place}/{name}: is Azure's to say"
            else:
                yield from _check(inner, item, f"{place}/{name}")
        elif "more" in type_:
            yield from _check(type_["more"], item, f"{place}/{name}")
        else:
            yield f"{place}/{name}: no such property"


def _array(type_: Type, value: Any, place: str) -> Iterator[str]:
    if not isinstance(value, list | tuple):
        yield f"{place}: {value!r} is no list"
        return
    if not type_.get("minLength", 0) <= len(value) <= type_.get("maxLength", len(value)):
        yield f"{place}: has {len(value)} entries"
    for index, item in enumerate(value):
        yield from _check(type_["item"], item, f"{place}/{index}")


def _union(type_: Type, value: Any, place: str) -> Iterator[str]:
    """One of several. A list of words that ends in 'or any text' is taken for the list alone."""
    kinds = [_data()["types"][one] for one in type_["of"]]
    words = [one["value"] for one in kinds if one["is"] == "StringLiteralType"]
    if words and isinstance(value, str):
        is_open = place.rpartition("/")[2] in _OPEN and len(words) < len(kinds)
        if value not in words and not is_open:
            yield f"{place}: {value!r} is none of {', '.join(words[:8])}"
    elif all(next(_check(one, value, place), None) for one in type_["of"]):
        yield f"{place}: {value!r} fits none of its types"


def _text(type_: Type, value: Any, place: str) -> Iterator[str]:
    if not isinstance(value, str):
        yield f"{place}: {value!r} is no text"
    elif not type_.get("minLength", 0) <= len(value) <= type_.get("maxLength", len(value)):
        yield f"{place}: {value[:80]!r} has {len(value)} characters"
    elif "pattern" in type_ and re.search(type_["pattern"], value) is None:
        yield f"{place}: {value[:80]!r} does not match {type_['pattern']}"


def _whole(type_: Type, value: Any, place: str) -> Iterator[str]:
    may_be_float = place.rpartition("/")[2] in _FLOATS
    if isinstance(value, bool) or not isinstance(value, int | float if may_be_float else int):
        yield f"{place}: {value!r} is no number"
    elif not type_.get("minValue", value) <= value <= type_.get("maxValue", value):
        yield f"{place}: {value} is out of range"
