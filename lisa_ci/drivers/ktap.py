"""Driver ``ktap``: KUnit's results, from debugfs, from a kernel log, or from ``kunit.py``'s raw output.

KTAP as the kernel itself writes it. Against ``tap``: the outermost document needs no plan (debugfs gives one suite a
file, a log one module after the other), every suite does; and a line may start with whatever a kernel log puts there.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from lisa_ci.drivers.listing import listed_cases, listing_command, run_command
from lisa_ci.drivers.tap import judged, read, without_stamp
from lisa_ci.drivers.tap_stream import Level, Shared
from lisa_ci.model import Case, Command, Completed, Result, Suite

# journalctl -k, dmesg --decode, dmesg --ctime; the plain stamp of dmesg and of a console is ``tap``'s.
_LOG: Final = re.compile(
    r"(?:[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \S{1,255} kernel: "
    r"|\w{1,10} *:\w{1,10} *: (?=\[)"
    r"|\[[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \d{4}\] )",
    re.ASCII,
)


class KtapDriver:
    """One case prints the results of any number of KUnit suites."""

    def listing(self, suite: Suite) -> Command | None:
        return listing_command(suite)

    def discover(self, suite: Suite, listing: bytes) -> Sequence[Case]:
        """The cases a listing names; see ``listing.listed_cases`` for its form."""
        return suite.cases if suite.cases is not None else listed_cases(suite, listing)

    def command(self, case: Case) -> Command:
        return run_command(case)

    def interpret(self, case: Case, completed: Completed) -> Result:
        """One result: a child for each suite, its tests and their parameters below."""
        return judged(case, completed, read(completed, Level(Shared(is_kernel=True)), _without_log))


def _without_log(line: str) -> str:
    start = _LOG.match(line)
    return without_stamp(line[start.end() :] if start else line)
