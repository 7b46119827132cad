"""Driver ``shell``: a case is a command, and its exit status is the judgement (docs/drivers.md has the table)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from lisa_ci.drivers import wording
from lisa_ci.drivers.listing import listed_cases, listing_command, run_command
from lisa_ci.drivers.result import result_of
from lisa_ci.model import Case, Command, Completed, Outcome, Result, Suite

SKIPPED: Final = 77  # the convention of automake, LTP's shell tests and many distributions' own suites


class ShellDriver:
    """0 passed, 77 skipped, anything else failed; a case that ran out of time failed as well."""

    def listing(self, suite: Suite) -> Command | None:
        return listing_command(suite)

    def discover(self, suite: Suite, listing: bytes) -> Sequence[Case]:
        """The cases a listing names; see ``listing.listed_cases`` for its form."""
        return suite.cases if suite.cases is not None else listed_cases(suite, listing)

    def command(self, case: Case) -> Command:
        return run_command(case)

    def interpret(self, case: Case, completed: Completed) -> Result:
        """One result, whatever the case printed."""
        outcome, message = _judge(completed)
        return result_of(case, completed, outcome, message, measures=True)


def _judge(completed: Completed) -> tuple[Outcome, str]:
    said = wording.telling_line(completed.output)
    if completed.is_timed_out:
        # The image was judged: it had its time and hung, or was too slow. A lost machine never comes here.
        return Outcome.FAILED, _joined(f"timed out after {wording.span(completed)}", said)
    status = completed.exit
    if status is None:
        return Outcome.ERRORED, _joined("never ended by itself", said)
    if status == 0:
        return Outcome.PASSED, ""
    if status == SKIPPED:
        return Outcome.SKIPPED, wording.skip_reason(completed.output) or "exit 77, no reason given"
    if said and status == 1:
        return Outcome.FAILED, said
    return Outcome.FAILED, _joined(wording.ending(status), said)


def _joined(what: str, said: str) -> str:
    return f"{what}: {said}" if said else what
