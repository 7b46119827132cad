"""From what a listing command printed to cases; and from a case to the command that runs it.

One case a line: an executable's path below the suite's folder (``checks/foo.sh``), or an id, a TAB and a line for
``sh -c``. Blank lines and lines that start with ``#`` say nothing. The text comes from a machine: it is bounded, and
names that are no legal ids are made legal, always in the same way, because shards are cut by the id.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import Final

from lisa_ci.drivers.wording import lines, one_line
from lisa_ci.model import Case, Command, Suite, is_id

CASE_LIMIT: Final = 100_000
_ILLEGAL: Final = re.compile(r"[^a-z0-9._-]+")
_DOTS: Final = re.compile(r"\.{2,}")


def listing_command(suite: Suite) -> Command | None:
    """The suite's own listing command; None where its cases are stated."""
    return Command(arguments=suite.listing) if suite.cases is None and suite.listing else None


def run_command(case: Case) -> Command:
    """What the case says, or the executable that is called like the case, beside ``suite.yaml``."""
    return Command(arguments=case.run or (f"./{case.id}",))


def listed_cases(suite: Suite, listing: bytes) -> Sequence[Case]:
    """The cases that a listing names, at most 100,000, in its order; a name given twice is one case."""
    found: dict[str, Case] = {}
    seen: set[str] = set()
    for line in lines(listing):
        name, _, shell_line = line.strip().partition("\t")
        name = name.strip()
        if not name or name.startswith("#") or name in seen:
            continue
        if len(found) >= CASE_LIMIT:
            break
        seen.add(name)
        case_id = legal_id(name)
        if case_id in found:  # two names that differ only where ids cannot
            case_id = f"{case_id[:100].rstrip('._-')}-{_short_digest(name)}"
        run = ("sh", "-c", shell_line.strip()) if shell_line.strip() else (f"./{name}",)
        found[case_id] = Case(
            suite=suite.name, id=case_id, title="" if case_id == name else one_line(name, 200), run=run
        )
    return tuple(found.values())


def legal_id(name: str) -> str:
    """``name`` as a legal id: itself where it is one, else lower case with ``-`` for what is not allowed."""
    if is_id(name):
        return name
    plain = _DOTS.sub(".", _ILLEGAL.sub("-", name.lower())).strip("._-")
    if is_id(plain):
        return plain
    return f"{plain[:100].rstrip('._-')}-{_short_digest(name)}".lstrip("-")


def _short_digest(name: str) -> str:
    return hashlib.sha256(name.encode("utf-8", "replace")).hexdigest()[:8]
