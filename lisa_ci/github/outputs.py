"""What a step leaves behind for other steps and for people: outputs, environment, the job summary.

All three are files that the runner names in the environment. Values are written between random delimiters, so that no
value can end early and become a second output.
"""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from lisa_ci.errors import PipelineError
from lisa_ci.github.limits import OUTPUT_BYTES, SUMMARY_TARGET_BYTES

_DELIMITER: Final = "ghadelimiter_"
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,127}")
_REFUSED_BY_THE_RUNNER: Final = frozenset({"NODE_OPTIONS"})
_CODE_FENCE: Final = re.compile(r" {0,3}(`{3,}|~{3,})(.*)")
_HTML_BLOCK: Final = re.compile(r" {0,3}</?(?:details|summary|table|p|div)(?:[ \t>/]|$)", re.IGNORECASE)
_DETAILS: Final = re.compile(r"</?details\b", re.IGNORECASE)
_CUT_NOTE: Final = "*Cut here: the summary is longer than GitHub shows. The whole of it is in the report's files.*"


def is_github(environment: Mapping[str, str] | None = None) -> bool:
    """True inside a step of a GitHub workflow (and under act)."""
    return _environment(environment).get("GITHUB_ACTIONS") == "true"


def set_output(name: str, value: str, *, environment: Mapping[str, str] | None = None) -> bool:
    """Set a step output; False where there is no GitHub to tell. PipelineError where it cannot be carried."""
    return _set("GITHUB_OUTPUT", name, value, _environment(environment))


def set_environment(name: str, value: str, *, environment: Mapping[str, str] | None = None) -> bool:
    """Set an environment variable for the steps that follow; False where there is no GitHub to tell."""
    if name.upper() in _REFUSED_BY_THE_RUNNER:
        raise PipelineError(
            f"GitHub refuses to set the environment variable {name}", hint="set it with `env:` in the step"
        )
    return _set("GITHUB_ENV", name, value, _environment(environment))


def append_summary(markdown: str, *, environment: Mapping[str, str] | None = None) -> bool:
    """Add to the step's summary page, cut to what GitHub shows; False where there is no GitHub to tell.

    One byte over the limit and GitHub shows nothing at all, so what the step wrote before counts as well.
    """
    where = _environment(environment).get("GITHUB_STEP_SUMMARY")
    if not where:
        return False
    path = Path(where)
    room = SUMMARY_TARGET_BYTES - _size(path)
    text = cut_markdown(markdown if markdown.endswith("\n") else markdown + "\n", room)
    with path.open("ab") as stream:
        stream.write(text.encode("utf-8", "replace"))
    return True


def cut_markdown(markdown: str, limit_bytes: int) -> str:
    """``markdown`` in at most ``limit_bytes`` of UTF-8, cut between lines, with open code blocks and details closed."""
    if len(markdown.encode("utf-8", "replace")) <= limit_bytes:
        return markdown
    kept: list[str] = []
    used, state = 0, _Open()
    for line in markdown.splitlines(keepends=True):
        used += len(line.encode("utf-8", "replace"))
        after = state.after(line)
        if used + len(after.ending().encode()) > limit_bytes:
            break
        kept.append(line)
        state = after
    ending = state.ending()
    return "".join(kept) + ending if len(ending.encode()) <= limit_bytes else ""


@dataclass(frozen=True, slots=True)
class _Open:
    """What is open after a line: a code ``fence`` ('' for none), an HTML block, and how many ``<details>``.

    As CommonMark reads it: a tag of a block at the beginning of a line starts HTML up to the next blank line, and in
    there a fence is only text.
    """

    fence: str = ""
    is_html: bool = False
    details: int = 0

    def after(self, line: str) -> _Open:
        found = _CODE_FENCE.match(line)
        if self.fence:
            closes = found is not None and found[1].startswith(self.fence) and not found[2].strip()
            return self if not closes else replace(self, fence="")
        is_html = bool(line.strip()) and (self.is_html or _HTML_BLOCK.match(line) is not None)
        if is_html:
            # As deep as it is open: an end without a beginning closes nothing.
            depth = self.details
            for tag in _DETAILS.findall(line):
                depth = max(depth - 1, 0) if tag.startswith("</") else depth + 1
            return _Open(is_html=True, details=depth)
        is_fence = found is not None and not (found[1][0] == "`" and "`" in found[2])
        return _Open(fence=found[1] if found is not None and is_fence else "", details=self.details)

    def ending(self) -> str:
        """Closes everything, and says that something is missing. The blank line in front ends an HTML block."""
        return "\n" + (f"{self.fence}\n\n" if self.fence else "") + "</details>\n\n" * self.details + _CUT_NOTE + "\n"


def _set(variable: str, name: str, value: str, environment: Mapping[str, str]) -> bool:
    where = environment.get(variable)
    if not where:
        return False
    if _NAME.fullmatch(name) is None:
        raise PipelineError(
            f"not a name for a GitHub output or variable: {name!r}", hint="letters, digits, '_' and '-'"
        )
    if _DELIMITER in name or _DELIMITER in value:
        raise PipelineError(
            f"{name}: the value holds {_DELIMITER!r}, with which GitHub's outputs are delimited",
            hint="a value that holds it is an attempt to add outputs of its own; look where it comes from",
        )
    delimiter = f"{_DELIMITER}{uuid.uuid4()}"
    entry = f"{name}<<{delimiter}\n{value}\n{delimiter}\n".encode("utf-8", "replace")
    path = Path(where)
    # What the file holds already is counted in UTF-8; other steps of the job are counted by GitHub only.
    size = _size(path) + len(value.encode("utf-16-le", "replace"))
    if size > OUTPUT_BYTES:
        raise PipelineError(
            f"{name}: {size:,} bytes (UTF-16, with what the job set before), and GitHub carries {OUTPUT_BYTES:,}",
            hint="pass large data as an artifact, and only its name as an output",
        )
    with path.open("ab") as stream:
        stream.write(entry)
    return True


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _environment(given: Mapping[str, str] | None) -> Mapping[str, str]:
    return os.environ if given is None else given
