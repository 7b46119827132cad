"""How drivers put into one line what a program printed over many. Pure text work, linear in its input."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from typing import Final

from lisa_ci.model import Completed

MESSAGE_LIMIT: Final = 500  # characters of Result.message
DETAIL_LIMIT: Final = 16 * 1024  # bytes of output that travel inside a Result; the whole is in the case's log
_LINE_LIMIT: Final = 4096  # bytes of a line that are looked at
_TAIL_LINES: Final = 60

_VERDICT_LINE: Final = re.compile(r"\s*(?:FAIL|FAILED|ERROR|FATAL|not ok|Bail out!)(?!\w)", re.ASCII)
_ERROR_WORDS: Final = re.compile(
    r"\b(?:error|fail(?:ed|ure)?|fatal|panic|denied|cannot|can't|not found|no such|unable|refused|assert\w*)\b",
    re.ASCII | re.IGNORECASE,
)
_SKIP_LINE: Final = re.compile(r"\s*SKIP(?:PED|PING)?\b[:\s]*(.*)", re.ASCII | re.IGNORECASE | re.DOTALL)


def one_line(text: str, limit: int = MESSAGE_LIMIT) -> str:
    """Every run of white space becomes one space; at most ``limit`` characters, with an ellipsis where cut."""
    # A cut before the split keeps a line of many megabytes cheap; white space inside only shortens it further.
    line = " ".join(text[: limit * 8].split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def lines(output: bytes) -> Iterator[str]:
    """The lines of ``output`` without their ends (LF or CRLF), undecodable bytes replaced, long lines cut."""
    start = 0
    while start < len(output):
        end = output.find(b"\n", start)
        end = len(output) if end < 0 else end
        yield output[start : min(end, start + _LINE_LIMIT)].rstrip(b"\r").decode("utf-8", "replace")
        start = end + 1


def parts(completed: Completed) -> tuple[bytes, bytes]:
    """The output before and after what was cut out, without the torn lines at both edges; all and b"" if whole."""
    if not completed.dropped_bytes:
        return completed.output, b""
    head, rest = completed.output[: completed.head_bytes], completed.output[completed.head_bytes :]
    return head[: head.rfind(b"\n") + 1], rest[rest.find(b"\n") + 1 :] if b"\n" in rest else b""


def tail(output: bytes, limit: int = DETAIL_LIMIT) -> str:
    """The last ``limit`` bytes, from the start of a line where they hold one."""
    if len(output) <= limit:
        return output.decode("utf-8", "replace")
    cut = output[-limit:]
    newline = cut.find(b"\n")
    return cut[newline + 1 :].decode("utf-8", "replace") if 0 <= newline < limit - 1 else cut.decode("utf-8", "replace")


def detail(completed: Completed) -> str:
    """The capped tail of the output, with a word about what is not in it."""
    text = tail(completed.output)
    is_cut = completed.dropped_bytes > 0 or len(completed.output) > DETAIL_LIMIT
    total = len(completed.output) + completed.dropped_bytes
    return f"[the end of {total} bytes of output]\n{text}" if is_cut else text


def last_line(output: bytes) -> str:
    """The last line that is not blank, or ''."""
    for line in reversed(list(lines(output[-DETAIL_LIMIT:]))):
        if line.strip():
            return one_line(line)
    return ""


def telling_line(output: bytes) -> str:
    """The line that best says why a program failed.

    The first line of the last 60 that is a verdict by itself (``FAIL: ...``), else the last that has a word of
    failure in it, else the last one.
    """
    recent = [line for line in lines(output[-DETAIL_LIMIT:]) if line.strip()][-_TAIL_LINES:]
    for line in recent:
        if _VERDICT_LINE.match(line):
            return one_line(line)
    for line in reversed(recent):
        if _ERROR_WORDS.search(line):
            return one_line(line)
    return one_line(recent[-1]) if recent else ""


def skip_reason(output: bytes) -> str:
    """The last ``SKIP: reason`` line's reason, else the last line, else ''."""
    recent = [line for line in lines(output[-DETAIL_LIMIT:]) if line.strip()][-_TAIL_LINES:]
    for line in reversed(recent):
        found = _SKIP_LINE.match(line)
        if found and found[1].strip():
            return one_line(found[1])
    return one_line(recent[-1]) if recent else ""


def ending(exit_status: int) -> str:
    """How a command ended, in words: ``exit 1``, or ``killed by SIGSEGV (exit 139)``."""
    number = exit_status - 128
    try:
        name = signal.Signals(number).name if number > 0 else ""
    except ValueError:
        name = ""
    return f"killed by {name} (exit {exit_status})" if name else f"exit {exit_status}"


def span(completed: Completed) -> str:
    """The wall time for a person: ``30s``, ``2m 5s``."""
    seconds = completed.wall.total_seconds()
    if seconds < 60:
        return f"{seconds:.3g}s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}m {rest}s" if rest else f"{minutes}m"
