"""The lines of TAP and KTAP: their forms, and what a description and a totals line say."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from lisa_ci.drivers.result import Place

# A number has at most 9 digits: a longer one is no test number, and int() has a limit of its own.
POINT: Final = re.compile(
    r"(not )?ok(?=[ \t]|$)[ \t]*(?:(\d{1,9})(?=[ \t]|$))?[ \t]*(?:-[ \t]+)?(.*)$", re.ASCII | re.DOTALL
)
PLAN: Final = re.compile(r"1\.\.(\d{1,9})[ \t]*(?:#[ \t]*(.*))?$", re.ASCII)
VERSION: Final = re.compile(r"K?TAP version \d{1,3}\b", re.ASCII | re.IGNORECASE)
BAIL: Final = re.compile(r"Bail out![ \t]*(.*)$", re.ASCII | re.IGNORECASE)
PRAGMA: Final = re.compile(r"pragma[ \t]+[+-]\w", re.ASCII)
SUBTEST: Final = re.compile(r"#[ \t]*Subtest:?[ \t]*(.*)$", re.ASCII)
SELFTESTS: Final = re.compile(r"(selftests: [\w./+-]+: [\w./+ -]+)$", re.ASCII)
TOTALS: Final = re.compile(r"Totals:[ \t]*[a-z]+:\d", re.ASCII)
KERNEL: Final = re.compile(r"(?:<\d{1,3}>)?\[ *\d{1,9}\.\d{6}\](?:\[ *[TC]\d+\])? ?", re.ASCII)
CLAIM: Final = re.compile(r"FAILED at [\w./+-]{1,200}:\d|^[\w./+-]{1,200}:\d{1,7}:\w{1,200}:Expected ", re.ASCII)
EXPECTED: Final = re.compile(r"[ \t]*Expected ", re.ASCII)

_PLACES: Final = (
    re.compile(r"FAILED at ([\w./+-]{1,200}):(\d{1,7})\b", re.ASCII),  # KUnit
    re.compile(r"[ \t]*([\w./+-]{1,200}\.[ch]):(\d{1,7}):", re.ASCII),  # kselftest's harness
    re.compile(r"\bat ([\w./+-]{1,200}) line (\d{1,7})\b", re.ASCII),  # Perl's Test::More
)
_TOTAL: Final = re.compile(r"\b([a-z]+):(\d{1,9})\b", re.ASCII)
_DIRECTIVE: Final = re.compile(
    r"#[ \t]*(?:(skip)\S*|(todo|xfail|xpass|timeout|error)\b|(?=(exit)=\d))[:\s]*", re.ASCII | re.IGNORECASE
)
_ESCAPED: Final = re.compile(r"\\([#\\])")


class Directive(StrEnum):
    """What may follow a ``#`` in a test line. TIMEOUT, ERROR and EXIT (``# exit=1``) only explain a ``not ok``."""

    SKIP = "skip"
    TO_DO = "todo"
    XFAIL = "xfail"
    XPASS = "xpass"
    TIMEOUT = "timeout"
    ERROR = "error"
    EXIT = "exit"


_EXPLAINING: Final = frozenset({Directive.TIMEOUT, Directive.ERROR, Directive.EXIT})


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """``# Totals: pass:1 fail:0 xfail:0 xpass:0 skip:0 error:0``, as kselftest and KUnit print it."""

    passed: int
    failed: int
    run: int

    def proves(self, plan: int) -> bool:
        """True when every planned test is accounted for and none failed."""
        return self.failed == 0 and self.passed > 0 and self.run == plan


def read_totals(text: str) -> Totals:
    given = {name: int(number) for name, number in _TOTAL.findall(text)}
    failed = given.get("fail", 0) + given.get("error", 0)
    run = sum(number for name, number in given.items() if name != "total")
    return Totals(passed=given.get("pass", 0), failed=failed, run=run)


def is_tap(line: str) -> bool:
    """True for a line that means something without its context."""
    return any(pattern.match(line) for pattern in (POINT, PLAN, VERSION, BAIL))


def first_place(texts: Iterable[str]) -> Place | None:
    """The first place in sources that one of the diagnostics names."""
    for text in texts:
        for pattern in _PLACES:
            found = pattern.match(text) if pattern is _PLACES[1] else pattern.search(text)
            if found:
                return Place(file=found[1], line=int(found[2]))
    return None


def described(text: str, *, is_ok: bool) -> tuple[Directive | None, str, str]:
    r"""A test line's description as (directive, its reason, name).

    A directive follows a ``#`` after white space, so an escaped ``\#`` is none. The name of kselftest's
    ``ok 3 # SKIP CLOCK_REALTIME`` is its reason, too.
    """
    start = text.find("#")
    while start >= 0:
        found = _DIRECTIVE.match(text, start) if start == 0 or text[start - 1] in " \t" else None
        directive = Directive((found[1] or found[2] or found[3]).lower()) if found else None
        if found and directive and not (is_ok and directive in _EXPLAINING):
            reason = _unescaped(text[found.end() :])
            if directive in {Directive.TIMEOUT, Directive.ERROR}:
                reason = f"{directive.value} {reason}".strip()
            return directive, reason, _unescaped(text[:start]) or reason
        start = text.find("#", start + 1)
    return None, "", _unescaped(text)


def _unescaped(text: str) -> str:
    return _ESCAPED.sub(r"\1", text).strip()
