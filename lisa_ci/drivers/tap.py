"""Driver ``tap``: a case prints TAP or KTAP; its sub-tests, its plan and its exit status are the judgement.

The rule behind the table in docs/drivers.md: a failure that was seen is FAILED, whatever else went wrong; without
one, output that does not prove that everything ran is ERRORED, because then the image was not judged.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from lisa_ci.drivers import wording
from lisa_ci.drivers.listing import listed_cases, listing_command, run_command
from lisa_ci.drivers.result import result_of
from lisa_ci.drivers.tap_lines import KERNEL, is_tap
from lisa_ci.drivers.tap_stream import Level, Shared
from lisa_ci.model import Case, Command, Completed, Outcome, Result, Suite

SKIPPED: Final = 4  # KSFT_SKIP: a kselftest program that cannot run here


class TapDriver:
    """TAP 12, 13, 14 and KTAP, nested in any of their forms."""

    def listing(self, suite: Suite) -> Command | None:
        return listing_command(suite)

    def discover(self, suite: Suite, listing: bytes) -> Sequence[Case]:
        """The cases a listing names; see ``listing.listed_cases`` for its form."""
        return suite.cases if suite.cases is not None else listed_cases(suite, listing)

    def command(self, case: Case) -> Command:
        return run_command(case)

    def interpret(self, case: Case, completed: Completed) -> Result:
        """One result, whatever the case printed; at most 10,000 sub-tests in it, its outcome from all of them."""
        return judged(case, completed, read(completed))


def read(completed: Completed, level: Level | None = None, clean: Callable[[str], str] | None = None) -> Level:
    """The whole stream, read; where output was cut out, the torn lines at both edges are left out.

    ``clean`` takes from a line what does not belong to it: the kernel log's stamp where it stands before TAP.
    """
    level = level or Level(Shared())
    head, rest = wording.parts(completed)
    for line in wording.lines(head):
        level.feed((clean or without_stamp)(line))
    if completed.dropped_bytes:
        level.gap()
        for line in wording.lines(rest):
            level.feed((clean or without_stamp)(line))
    level.finish()
    return level


def judged(case: Case, completed: Completed, stream: Level) -> Result:
    """The result by the table of docs/drivers.md."""
    outcome, message = _judge(completed, stream)
    return result_of(
        case,
        completed,
        outcome,
        "; ".join(part for part in (message, *notes(completed, stream, outcome)) if part),
        children=tuple(stream.children),
        dropped_children=stream.shared.room.dropped,
        place=stream.shared.place,
        measures=True,
    )


def without_stamp(line: str) -> str:
    """KUnit's KTAP as the kernel log shows it, without the time before it; other lines as they are."""
    stamp = KERNEL.match(line)
    return line[stamp.end() :] if stamp is not None and _is_meant(line[stamp.end() :]) else line


def _is_meant(text: str) -> bool:
    text = text.lstrip(" \t")
    return text.startswith(("# ", "Expected ")) or is_tap(text)


def _judge(completed: Completed, stream: Level) -> tuple[Outcome, str]:
    counts, status = stream.counts, completed.exit
    failed = counts[Outcome.FAILED]
    first = stream.shared.first_failure
    if completed.is_timed_out:
        return Outcome.FAILED, f"timed out after {wording.span(completed)}, {so_far(stream)}"
    if not stream.has_tap:
        return _judge_without_tap(completed)
    if failed:
        said = f"{failed} of {stream.points} failed: {first}" if stream.points > 1 else first
        return Outcome.FAILED, said if status in {0, 1, None} else f"{said} ({wording.ending(status)})"
    if stream.shared.bail is not None:
        return Outcome.ERRORED, f"Bail out! {stream.shared.bail}".strip() + f" ({so_far(stream)})"
    if status == SKIPPED:
        return Outcome.SKIPPED, stream.skip_all or wording.skip_reason(completed.output)
    if status:
        return Outcome.FAILED, f"no test failed, but {wording.ending(status)} ({so_far(stream)})"
    doubts = _doubts(completed, stream)
    return (Outcome.ERRORED, "; ".join(doubts)) if doubts else _judge_good(stream)


def _doubts(completed: Completed, stream: Level) -> list[str]:
    """Why a stream without a failure proves nothing; empty when it does."""
    errored = stream.counts[Outcome.ERRORED]
    if completed.exit is None:
        return [f"never ended by itself, {so_far(stream)}"]
    if completed.dropped_bytes and not stream.is_proven_by_totals:
        return [f"{completed.dropped_bytes} bytes of output were cut out, so the tests cannot be counted"]
    return stream.problems or ([f"{errored} of {stream.points} not judged"] if errored else [])


def _judge_without_tap(completed: Completed) -> tuple[Outcome, str]:
    said = wording.telling_line(completed.output)
    rest = f": {said}" if said else ""
    match completed.exit:
        case 0:
            return Outcome.ERRORED, f"no TAP output{rest}"
        case None:
            return Outcome.ERRORED, f"never ended by itself, no TAP output{rest}"
        case status if status == SKIPPED:
            return Outcome.SKIPPED, wording.skip_reason(completed.output) or "exit 4, no reason given"
        case status:
            return Outcome.FAILED, f"{wording.ending(status)}, no TAP output{rest}"


def _judge_good(stream: Level) -> tuple[Outcome, str]:
    if stream.counts[Outcome.PASSED]:
        return Outcome.PASSED, ""
    if stream.is_proven_by_totals:
        return Outcome.PASSED, "counted by its own totals"
    if stream.points:
        reasons = [child.message for child in stream.children if child.message]
        return Outcome.SKIPPED, f"all {stream.points} skipped" + (f": {reasons[0]}" if reasons else "")
    return Outcome.SKIPPED, stream.skip_all or "no tests planned"


def so_far(stream: Level) -> str:
    """Where a program that did not end well had got to."""
    plan = f" of {stream.first_plan}" if stream.first_plan else ""
    return f"after {stream.points}{plan} tests"


def notes(completed: Completed, stream: Level, outcome: Outcome) -> list[str]:
    """What does not decide, and must not be lost."""
    shared, notes = stream.shared, []
    if shared.unexpected_count:
        names = ", ".join(shared.unexpected)
        notes.append(f"{shared.unexpected_count} passed unexpectedly: {names}")
    if stream.counts[Outcome.FAILED] and not completed.is_timed_out:  # else the message says how far it came
        notes += stream.problems
    if outcome is Outcome.FAILED and shared.bail is not None:
        notes.append(f"Bail out! {shared.bail}".strip())
    if outcome in {Outcome.FAILED, Outcome.ERRORED} and shared.kernel_lines:
        notes.append(f"{shared.kernel_lines} kernel lines between")
    return notes
