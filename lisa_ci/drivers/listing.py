"""From what a listing command printed to cases; and from a case to the command that runs it.

One case a line: an executable's path below the suite's folder (``checks/foo.sh``), or an id, a TAB and a line for
``sh -c``. Blank lines and lines that start with ``#`` say nothing. The text comes from a machine: it is bounded, and
names that are no legal ids are made legal, always in the same way, because shards are cut by the id.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from lisa_ci.drivers.wording import lines, one_line
from lisa_ci.model import Case, Command, Requirements, Suite, is_id

CASE_LIMIT: Final = 100_000
_ILLEGAL: Final = re.compile(r"[^a-z0-9._-]+")
_DOTS: Final = re.compile(r"\.{2,}")


def listing_command(suite: Suite) -> Command | None:
    """The suite's own listing command; None where its cases are stated."""
    return Command(arguments=suite.listing) if suite.cases is None and suite.listing else None


def run_command(case: Case) -> Command:
    """What the case says, or the executable that is called like the case, beside ``suite.yaml``."""
    return Command(arguments=case.run or (f"./{case.id}",))


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """One test as a listing names it. ``id_from`` is what its id is made of, where that is not the name."""

    name: str
    run: tuple[str, ...]
    id_from: str = ""
    timeout: timedelta | None = None
    requires: Requirements = field(default_factory=dict)


def listed_cases(suite: Suite, listing: bytes) -> Sequence[Case]:
    """The cases of the common form, one a line."""
    return cases_of(suite, _lines(listing))


def cases_of(suite: Suite, tests: Iterable[Listed]) -> Sequence[Case]:
    """The tests as cases, at most 100,000, in their order; what is named and run twice is one case."""
    found: dict[str, Case] = {}
    names: set[str] = set()
    seen: set[tuple[str, tuple[str, ...]]] = set()
    for test in tests:
        if (test.name, test.run) in seen:
            continue
        if len(found) >= CASE_LIMIT:
            break
        seen.add((test.name, test.run))
        case_id = legal_id(test.id_from or test.name)
        if case_id in found:  # one name with two commands, or two names that differ only where ids cannot
            told = "\0".join(test.run) if test.name in names else test.name
            case_id = f"{_cut(case_id)}-{_short_digest(told)}"
            if case_id in found:
                continue
        names.add(test.name)
        found[case_id] = Case(
            suite=suite.name,
            id=case_id,
            title="" if case_id == test.name else one_line(test.name, 200),
            run=test.run,
            timeout=test.timeout,
            requires=test.requires,
        )
    return tuple(found.values())


def _lines(listing: bytes) -> Iterator[Listed]:
    names: set[str] = set()
    for line in lines(listing):
        name, _, shell_line = line.strip().partition("\t")
        name = name.strip()
        if not name or name.startswith("#") or name in names:
            continue
        names.add(name)
        yield Listed(name=name, run=("sh", "-c", shell_line.strip()) if shell_line.strip() else (f"./{name}",))


def legal_id(name: str) -> str:
    """``name`` as a legal id: itself where it is one, else lower case with ``-`` for what is not allowed."""
    if is_id(name):
        return name
    plain = _DOTS.sub(".", _ILLEGAL.sub("-", name.lower())).strip("._-")
    if is_id(plain):
        return plain
    return f"{_cut(plain)}-{_short_digest(name)}".lstrip("-")


def _cut(case_id: str) -> str:
    return case_id[:100].rstrip("._-")


def _short_digest(name: str) -> str:
    return hashlib.sha256(name.encode("utf-8", "replace")).hexdigest()[:8]
