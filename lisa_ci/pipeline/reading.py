"""Reading a user's file: values with their places, and the mistakes found on the way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from lisa_ci.errors import Location, PipelineError, Problem
from lisa_ci.pipeline.document import ListNode, MappingNode, Node, ScalarNode, shown

Schema = dict[str, Any]

MAX_PROBLEMS: Final = 100


@dataclass(frozen=True, slots=True)
class Found:
    """A value and its place. Tables and mappings hold a dict of Found, lists a tuple of Found.

    ``is_whole`` is false where a part of it was wrong; a wrong value of a table is None.
    """

    value: Any
    location: Location
    is_whole: bool = True

    def get(self, key: str) -> Found | None:
        """The entry of a table or mapping; None where it is not given or wrong."""
        found = self.value.get(key)
        return found if isinstance(found, Found) and found.value is not None else None

    def plain(self) -> Any:
        """The value with no places in it."""
        match self.value:
            case dict():
                return {key: found.plain() for key, found in self.value.items()}
            case tuple():
                return tuple(found.plain() for found in self.value)
            case _:
                return self.value


class Reading:
    """The mistakes found so far in one file."""

    def __init__(self, file: str, problems: Sequence[Problem] = ()) -> None:
        self.file = file
        self._problems = list(problems)

    def report(self, message: str, location: Location, hint: str = "") -> None:
        self._problems.append(Problem(message=message, hint=hint, location=location))

    def add(self, problems: Sequence[Problem]) -> None:
        self._problems += problems

    @property
    def is_clean(self) -> bool:
        return not self._problems

    def _order(self, problem: Problem) -> tuple[bool, str, int, int]:
        """This file first, then the others by name; within a file by place."""
        place = problem.location or Location(file=self.file)
        return place.file != self.file, place.file, place.line or 0, place.column or 0

    @property
    def is_full(self) -> bool:
        """More mistakes than are shown: looking for better words is wasted."""
        return len(self._problems) > MAX_PROBLEMS

    def stop_on_problems(self) -> None:
        """PipelineError with all mistakes in the order of the file; nothing where there are none."""
        if not self._problems:
            return
        unique = list(dict.fromkeys(self._problems))
        unique.sort(key=self._order)
        if len(unique) > MAX_PROBLEMS:
            more = Problem(message=f"{len(unique) - MAX_PROBLEMS} more mistakes", location=Location(file=self.file))
            unique = [*unique[:MAX_PROBLEMS], more]
        first = unique[0]
        count = "1 mistake" if len(unique) == 1 else f"{len(unique)} mistakes"
        raise PipelineError(f"{self.file}: {count}", hint=first.hint, location=first.location, problems=tuple(unique))


class Kind(Protocol):
    """What a value may be."""

    @property
    def words(self) -> str:
        """For messages and docs: 'a whole number from 1 to 64'."""

    def schema(self) -> Schema: ...

    def read(self, node: Node, reading: Reading, name: str) -> Found | None: ...


def describe(node: Node) -> str:
    """A node as messages call it."""
    match node:
        case ScalarNode(tag="null"):
            return "nothing"
        case ScalarNode():
            return shown(node.text)
        case ListNode():
            return "a list"
        case MappingNode():
            return "a mapping"
