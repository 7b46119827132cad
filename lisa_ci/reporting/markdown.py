"""Foreign text in GitHub's Markdown: always as code, where no mention, link, tag or table can come out of it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from lisa_ci.github.commands import cut, printable

_BACKTICKS: Final = re.compile("`+")
_CODE_UNITS: Final = 300


def code(text: str, units: int = _CODE_UNITS) -> str:
    """A code span of one line. Inside, Markdown reads nothing, and GitHub makes no links and mentions nobody."""
    line = cut(" ".join(printable(text).split()), units)
    if not line:
        return "` `"
    fence = "`" * (_longest_run(line) + 1)
    pad = " " if line[0] == "`" or line[-1] == "`" else ""
    return f"{fence}{pad}{line}{pad}{fence}"


def block(text: str, language: str = "text") -> str:
    """A code block, with a fence longer than any run of backticks inside. Ends with a newline."""
    fence = "`" * max(_longest_run(text) + 1, 3)
    body = "\n".join(printable(text).splitlines())
    return f"{fence}{language}\n{body}\n{fence}\n"


def cell(text: str) -> str:
    """A code span for a table. A bar would end the cell even there, and is shown as a broken one."""
    return code(text.replace("|", "¦"))


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Lines of a table; cells are Markdown already. Columns that hold numbers align right by a head ending in ``:``."""
    yield f"| {' | '.join(name.removesuffix(':') for name in head)} |"
    yield f"|{'|'.join('---:' if name.endswith(':') else '---' for name in head)}|"
    yield from (f"| {' | '.join(row)} |" for row in rows)


def _longest_run(text: str) -> int:
    return max((len(run) for run in _BACKTICKS.findall(text)), default=0)
